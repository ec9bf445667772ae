// Pictures and sounds whose arrival can be recognised: a coloured canvas that moves, a steady tone, and once a second a white
// flash together with a beep.

const BEEP_HZ = 3000;
const BEEP_SECONDS = 0.2;
const BEEP_PERIOD_MS = 1000;
const FRAMES_PER_SECOND = 20;
/** Sides of the patch of noise, as a share of the picture's. */
const BUSY_SHARE = 0.3;

let sharedContext;

/** The page's audio context, running. */
async function audioContext() {
  sharedContext ??= new AudioContext();
  await sharedContext.resume();
  return sharedContext;
}

/**
 * A moving picture in one colour. `flash()` makes it white for the length of a beep. A `busy` one has a patch of noise that
 * jumps about, so that an encoder sends as much as it may, at the full frame rate; else there is next to nothing to send.
 */
function makePicture({ colour, width, height, busy = false }) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const pen = canvas.getContext("2d", { alpha: false });
  const noise = busy && makeNoise(width * BUSY_SHARE, height * BUSY_SHARE);
  let flashUntil = 0;
  let frame = 0;
  const draw = () => {
    frame += 1;
    pen.fillStyle = performance.now() < flashUntil ? "#fff" : colour;
    pen.fillRect(0, 0, width, height);
    if (noise) pen.drawImage(noise, Math.random() * (width - noise.width), Math.random() * (height - noise.height));
    pen.fillStyle = "#000";
    pen.fillRect((frame * 8) % width, height - 24, 40, 20);
  };
  draw();
  const timer = setInterval(draw, 1000 / FRAMES_PER_SECOND);
  const [track] = canvas.captureStream().getVideoTracks();
  return {
    track,
    flash() {
      flashUntil = performance.now() + BEEP_SECONDS * 1000;
      draw();
    },
    stop: () => clearInterval(timer),
  };
}

/** Grey specks, half transparent: the colour behind stays recognisable. */
function makeNoise(width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const pen = canvas.getContext("2d");
  for (let speck = 0; speck < (width * height) / 200; speck++) {
    pen.fillStyle = Math.random() < 0.5 ? "#0006" : "#fff6";
    pen.fillRect(Math.random() * width, Math.random() * height, 4 + Math.random() * 8, 4 + Math.random() * 8);
  }
  return canvas;
}

/** A steady tone, in `stereo` on the left and a fifth above on the right. `beep()` adds a short high one, where the browser can. */
async function makeSound({ tone, stereo = false }) {
  if (navigator.userAgent.includes("Firefox")) return makeFakeSound();
  const context = await audioContext();
  const output = context.createMediaStreamDestination();
  const steady = new OscillatorNode(context, { frequency: tone });
  const beeper = new OscillatorNode(context, { frequency: BEEP_HZ });
  const beepGain = new GainNode(context, { gain: 0 });
  const level = new GainNode(context, { gain: 0.2 });
  steady.connect(level);
  if (stereo) {
    const right = new OscillatorNode(context, { frequency: tone * 1.5 });
    const both = new ChannelMergerNode(context, { numberOfInputs: 2 });
    level.connect(both, 0, 0);
    right.connect(new GainNode(context, { gain: 0.2 })).connect(both, 0, 1);
    both.connect(output);
    right.start();
  } else {
    level.connect(output);
  }
  beeper.connect(beepGain).connect(output);
  steady.start();
  beeper.start();
  return {
    track: output.stream.getAudioTracks()[0],
    beep() {
      beepGain.gain.setValueAtTime(0.5, context.currentTime);
      beepGain.gain.setValueAtTime(0, context.currentTime + BEEP_SECONDS);
    },
    stop: () => [steady, beeper].forEach((node) => node.stop()),
  };
}

/** Firefox's make-believe microphone; its frequency is a setting of the browser. */
async function makeFakeSound() {
  const raw = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const [track] = (await navigator.mediaDevices.getUserMedia({ audio: raw })).getAudioTracks();
  return { track, beep: () => undefined, stop: () => track.stop() };
}

/** Picture and sound of one person, flashing and beeping at the same moments. */
async function makeMedia({ colour, tone, width = 640, height = 360, busy, stereo }) {
  const picture = makePicture({ colour, width, height, busy });
  const sound = await makeSound({ tone, stereo });
  const timer = setInterval(() => {
    picture.flash();
    sound.beep();
  }, BEEP_PERIOD_MS);
  return {
    video: picture.track,
    audio: sound.track,
    stop() {
      clearInterval(timer);
      picture.stop();
      sound.stop();
    },
  };
}

/**
 * The strongest frequency in an audio track, in hertz, and its amplitude from 0 to 1. Records a piece and looks at it off line:
 * that works in every browser, also in Firefox on a machine without a sound card, whose live AudioContext never runs.
 */
async function toneOf(track) {
  const piece = await record(track, RECORDED_MS);
  const samples = await decode(piece);
  // The end: the beginning may still hold what was queued before.
  return strongestTone(samples.subarray(-MEASURED_SAMPLES));
}

const RECORDED_MS = 500;
const MEASURED_SAMPLES = 12_000;
const RATE = 48_000;

async function record(track, ms) {
  const recorder = new MediaRecorder(new MediaStream([track]));
  const parts = [];
  recorder.ondataavailable = ({ data }) => parts.push(data);
  const stopped = new Promise((resolve) => { recorder.onstop = resolve; });
  recorder.start();
  setTimeout(() => recorder.state === "recording" && recorder.stop(), ms);
  await stopped;
  return new Blob(parts);
}

async function decode(blob, channel = 0) {
  const offline = new OfflineAudioContext(1, RATE, RATE);
  const buffer = await offline.decodeAudioData(await blob.arrayBuffer()).catch(() => undefined);
  return buffer && channel < buffer.numberOfChannels ? buffer.getChannelData(channel) : new Float32Array();
}

/** What [`toneOf`] finds on the left and on the right. */
async function stereoOf(track) {
  const piece = await record(track, RECORDED_MS);
  const channels = await Promise.all([0, 1].map((channel) => decode(piece, channel)));
  return channels.map((samples) => strongestTone(samples.subarray(-MEASURED_SAMPLES)));
}

/** Tries every fourth frequency from 100 to 2,500 Hz: the beep is above. */
function strongestTone(samples) {
  let best = { hz: 0, amplitude: 0 };
  for (let hz = 100; hz < 2500; hz += 4) {
    const amplitude = amplitudeAt(samples, hz);
    if (amplitude > best.amplitude) best = { hz, amplitude };
  }
  return best;
}

/** Goertzel's algorithm: how much of one frequency is in the samples. */
function amplitudeAt(samples, hz) {
  const factor = 2 * Math.cos((2 * Math.PI * hz) / RATE);
  let [before, last] = [0, 0];
  for (const sample of samples) [before, last] = [last, sample + factor * last - before];
  const power = before * before + last * last - factor * before * last;
  return (2 * Math.sqrt(Math.max(0, power))) / Math.max(1, samples.length);
}

/** The colour in the middle of a video element, as [red, green, blue]; undefined before its first frame. */
function colourOf(video) {
  if (video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA || !video.videoWidth) return undefined;
  const canvas = (colourOf.canvas ??= new OffscreenCanvas(4, 4));
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(video, video.videoWidth / 2 - 8, video.videoHeight / 2 - 8, 16, 16, 0, 0, 4, 4);
  return Array.from(pen.getImageData(1, 1, 1, 1).data.slice(0, 3));
}

/**
 * Measures how far sound lags behind picture, in milliseconds: for each of `count` flashes in `video` the distance to the nearest
 * beep in `track`. Needs a running AudioContext.
 */
async function measureLag(video, track, count) {
  const context = await audioContext();
  const beeps = [];
  const source = context.createMediaStreamSource(new MediaStream([track]));
  await context.audioWorklet.addModule("onsets.js");
  const detector = new AudioWorkletNode(context, "onsets", { processorOptions: { hz: BEEP_HZ } });
  // The detector hears what is about to be played: browsers align pictures with what leaves the loudspeaker.
  detector.port.onmessage = ({ data }) => beeps.push(data + context.outputLatency * 1000);
  source.connect(detector).connect(context.destination);
  // One more: the last one may still wait for its beep.
  const flashes = (await flashesOf(video, count + 1)).slice(0, count);
  source.disconnect();
  detector.disconnect();
  return flashes.map((seen) => {
    const lags = beeps.map((heard) => heard - seen);
    return Math.round(lags.reduce((best, lag) => (Math.abs(lag) < Math.abs(best) ? lag : best), Infinity));
  });
}

/** When the picture turned white, in milliseconds of the wall clock. */
function flashesOf(video, count) {
  const flashes = [];
  let white = true;
  return new Promise((resolve) => {
    const look = (_, { expectedDisplayTime }) => {
      const nowWhite = Math.min(...(colourOf(video) ?? [0])) > 200;
      if (nowWhite && !white) flashes.push(performance.timeOrigin + expectedDisplayTime);
      white = nowWhite;
      if (flashes.length === count) resolve(flashes);
      else video.requestVideoFrameCallback(look);
    };
    video.requestVideoFrameCallback(look);
  });
}
