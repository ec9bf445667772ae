// One person with the Node SDK: publishes a tone and a coloured picture, and reports what it receives. Arguments, reports and
// orders are those of python/person.py; the SDK has no call to mute a track of one's own.

import { createInterface } from "node:readline";
import { AudioFrame, AudioSource, AudioStream, LocalAudioTrack, LocalVideoTrack, Room, RoomEvent, TrackKind, TrackPublishOptions, TrackSource, VideoBufferType, VideoFrame, VideoSource, VideoStream, dispose } from "@livekit/rtc-node";
import { pause } from "../lib/until.mjs";

const RATE = 48_000;
const CHUNK = RATE / 100;
const [WIDTH, HEIGHT] = [320, 180];
const PICTURE_MS = 1000 / 15;
const WINDOW = 8192;
const AUDIBLE = 0.005;

const [url, token, tone, colour] = process.argv.slice(2);
const room = new Room();
const report = { people: {}, messages: [], left: [], states: [] };
const personOf = (identity) => (report.people[identity] ??= { frames: 0, hz: 0, muted: [] });

function watch() {
  room
    .on(RoomEvent.TrackSubscribed, (track, _, who) => (track.kind === TrackKind.KIND_VIDEO ? look : listen)(track, personOf(who.identity)))
    .on(RoomEvent.DataReceived, (payload, who, _, topic) => report.messages.push({ from: who?.identity, text: Buffer.from(payload).toString(), topic }))
    .on(RoomEvent.Reconnecting, () => report.states.push("reconnecting"))
    .on(RoomEvent.Reconnected, () => report.states.push("reconnected"));
}

async function look(track, seen) {
  for await (const { frame } of new VideoStream(track)) {
    const { width, height, data } = frame.convert(VideoBufferType.RGB24);
    const middle = (Math.floor(height / 2) * width + Math.floor(width / 2)) * 3;
    Object.assign(seen, { frames: seen.frames + 1, width, height, colour: [...data.subarray(middle, middle + 3)] });
  }
}

async function listen(track, heard) {
  let samples = [];
  for await (const { data } of new AudioStream(track, RATE, 1)) {
    samples.push(...data);
    if (samples.length < WINDOW) continue;
    heard.hz = pitch(samples);
    samples = [];
  }
}

/** The strongest frequency below 1,500 Hz, in steps of 4 Hz; 0 for silence. */
function pitch(samples) {
  let best = { hz: 0, amplitude: AUDIBLE };
  for (let hz = 100; hz < 1500; hz += 4) {
    const factor = 2 * Math.cos((2 * Math.PI * hz) / RATE);
    let [before, last] = [0, 0];
    for (const sample of samples) [before, last] = [last, sample / 32_768 + factor * last - before];
    const power = before * before + last * last - factor * before * last;
    const amplitude = (2 * Math.sqrt(Math.max(0, power))) / samples.length;
    if (amplitude > best.amplitude) best = { hz, amplitude };
  }
  return best.hz;
}

async function publishTone() {
  const source = new AudioSource(RATE, 1);
  await room.localParticipant.publishTrack(LocalAudioTrack.createAudioTrack("tone", source), new TrackPublishOptions({ source: TrackSource.SOURCE_MICROPHONE }));
  for (let start = 0; ; start += CHUNK) {
    const samples = Int16Array.from({ length: CHUNK }, (_, index) => 8000 * Math.sin((2 * Math.PI * Number(tone) * (start + index)) / RATE));
    await source.captureFrame(new AudioFrame(samples, RATE, 1, CHUNK));
  }
}

async function publishPicture() {
  const source = new VideoSource(WIDTH, HEIGHT);
  const options = new TrackPublishOptions({ source: TrackSource.SOURCE_CAMERA, simulcast: false });
  await room.localParticipant.publishTrack(LocalVideoTrack.createVideoTrack("picture", source), options);
  const pixels = new Uint8Array(WIDTH * HEIGHT * 4);
  for (let count = 0; ; count++) {
    const plain = [...colour.split(",").map(Number), 255];
    for (let at = 0; at < pixels.length; at += 4) pixels.set(plain, at);
    // Something that moves.
    const start = ((HEIGHT - 10) * WIDTH + ((count * 8) % (WIDTH - 40))) * 4;
    pixels.fill(0, start, start + 40 * 4);
    source.captureFrame(new VideoFrame(pixels, WIDTH, HEIGHT, VideoBufferType.RGBA));
    await pause(PICTURE_MS);
  }
}

async function tell() {
  for (let last = ""; ; await pause(250)) {
    const line = JSON.stringify(report);
    if (line !== last) console.log(line);
    last = line;
  }
}

watch();
await room.connect(url, token, { autoSubscribe: true, dynacast: false });
for (const work of [publishTone, publishPicture, tell]) work().catch((error) => { console.error(error); process.exit(1); });
for await (const line of createInterface({ input: process.stdin })) {
  const { say } = JSON.parse(line);
  if (say) await room.localParticipant.publishData(Buffer.from(say), { reliable: true, topic: "node" });
}
await room.disconnect();
await dispose();
process.exit(0);
