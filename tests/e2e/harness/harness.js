// One person with the stock LiveKit client, driven from the tests through `window.e2e`. Every call takes and returns plain values.

const LK = window.LivekitClient;
LK.setLogLevel("warn");

/** Addresses of all WebSockets that the client opened: which signalling path it took. */
const sockets = [];
window.WebSocket = class extends window.WebSocket {
  constructor(address, ...rest) {
    super(address, ...rest);
    sockets.push(new URL(address).pathname);
  }
};

let room;
let media;
let events = [];
let messages = [];
const shown = new Map();
/** Others that note what happens in a room; each is called with a room that is about to be joined. */
const watchers = [];
let recording;

/** As the client numbers them. */
const subscriptionErrors = ["UNKNOWN", "CODEC_UNSUPPORTED", "TRACK_NOT_FOUND"];

const SAMPLE_MS = 200;

const decoder = new TextDecoder();
const encoder = new TextEncoder();

function trackOf(identity, source) {
  const participant = room.remoteParticipants.get(identity);
  return participant?.getTrackPublication(source)?.track;
}

function show(track, participant) {
  const element = track.attach();
  if (track.kind === "video") Object.assign(element, { muted: true, playsInline: true });
  element.dataset.who = `${participant.identity}/${track.source}`;
  document.body.append(element);
  shown.set(track.sid, element);
}

function hide(track) {
  track.detach().forEach((element) => element.remove());
  shown.delete(track.sid);
}

function watch() {
  const note = (kind, details = {}) => events.push({ kind, ...details });
  room
    .on("trackSubscribed", (track, _, participant) => {
      show(track, participant);
      note("trackSubscribed", { who: participant.identity, source: track.source });
    })
    .on("trackUnsubscribed", (track, _, participant) => {
      hide(track);
      note("trackUnsubscribed", { who: participant.identity, source: track.source });
    })
    .on("trackSubscriptionFailed", (sid, participant, reason) => note("trackSubscriptionFailed", { who: participant.identity, error: subscriptionErrors[reason] }))
    .on("trackMuted", (publication, participant) => note("muted", { who: participant.identity, source: publication.source }))
    .on("trackUnmuted", (publication, participant) => note("unmuted", { who: participant.identity, source: publication.source }))
    .on("participantConnected", (participant) => note("joined", { who: participant.identity, sid: participant.sid }))
    .on("participantDisconnected", (participant) => note("left", { who: participant.identity, sid: participant.sid }))
    .on("activeSpeakersChanged", (speakers) => note("speakers", { who: speakers.map((speaker) => speaker.identity) }))
    .on("connectionQualityChanged", (quality, participant) => note("quality", { who: participant.identity, quality }))
    .on("disconnected", (reason) => note("disconnected", { reason: LK.DisconnectReason[reason] }))
    .on("moved", (to) => note("moved", { to }))
    .on("reconnecting", () => note("reconnecting"))
    .on("signalReconnecting", () => note("signalReconnecting"))
    .on("reconnected", () => note("reconnected"))
    .on("mediaDevicesError", (error) => note("mediaDevicesError", { error: error.message }))
    .on("dataReceived", (payload, participant, kind, topic) =>
      messages.push({ from: participant?.identity, text: payload.length > 1000 ? `${payload.length} bytes` : decoder.decode(payload), topic, reliable: kind === LK.DataPacket_Kind.RELIABLE }),
    );
}

/** Frames are encrypted and decrypted in the client's own worker, with a key that is made of the password. */
async function encryptionWith(password) {
  const keyProvider = new LK.ExternalE2EEKeyProvider();
  await keyProvider.setKey(password);
  return { keyProvider, worker: new Worker("e2ee-worker.js") };
}

/** A description in which video sections lack the codecs of these names, and what repeats them. */
function withoutCodecs(sdp, names) {
  const hidden = new Set();
  for (const [, type, name] of sdp.matchAll(/^a=rtpmap:(\d+) ([^/\r\n]+)\/90000/gm)) if (names.includes(name)) hidden.add(type);
  for (const [, type, apt] of sdp.matchAll(/^a=fmtp:(\d+) apt=(\d+)/gm)) if (hidden.has(apt)) hidden.add(type);
  const lines = sdp.split("\r\n").filter((line) => !hidden.has(/^a=(?:rtpmap|fmtp|rtcp-fb):(\d+) /.exec(line)?.[1]));
  const shorter = (line) => line.split(" ").filter((word, index) => index < 3 || !hidden.has(word)).join(" ");
  return lines.map((line) => (line.startsWith("m=video") ? shorter(line) : line)).join("\r\n");
}

async function codecOf(receiver, inbound) {
  return (await receiver.getStats()).get(inbound.codecId)?.mimeType;
}

async function inboundOf(track) {
  const report = await track.receiver.getStats();
  return [...report.values()].find((entry) => entry.type === "inbound-rtp");
}

window.e2e = {
  /** From now on this browser knows nothing of these video codecs ("VP9"): they are left out of all that it says of itself. */
  hideCodecs({ names }) {
    for (const method of ["createOffer", "createAnswer"]) {
      const original = RTCPeerConnection.prototype[method];
      RTCPeerConnection.prototype[method] = async function (...options) {
        const { type, sdp } = await original.apply(this, options);
        return { type, sdp: withoutCodecs(sdp, names) };
      };
    }
  },

  /**
   * Enters a room. `single` chooses one connection over `/rtc/v1`, or two over `/rtc`; with `appends` the client appends to its frames what
   * it is told to when it publishes, and reads what others append.
   */
  async join({ url, token, single, password, appends, options = {} }) {
    sockets.length = 0;
    events = [];
    messages = [];
    const encryption = password && (await encryptionWith(password));
    room = new LK.Room({ singlePeerConnection: single, adaptiveStream: false, dynacast: false, ...(encryption && { encryption }), ...(appends && { frameMetadata: { worker: new Worker("frame-worker.js") } }), ...options });
    if (encryption) await room.setE2EEEnabled(true);
    watch();
    watchers.forEach((watcher) => watcher(room));
    const started = performance.now();
    await room.connect(url, token);
    return { identity: room.localParticipant.identity, sid: room.localParticipant.sid, paths: [...sockets], ms: Math.round(performance.now() - started) };
  },

  /** Publishes a coloured picture as camera and a tone as microphone. */
  async publish({ colour, tone, width, height, busy, red = true, simulcast = false, codec = "vp8", layers, degradationPreference = "maintain-resolution", stereo = false, video = {} }) {
    media?.stop();
    media = await makeMedia({ colour, tone, width, height, busy, stereo });
    const { localParticipant } = room;
    await localParticipant.publishTrack(media.audio, { source: LK.Track.Source.Microphone, dtx: false, red, forceStereo: stereo });
    await localParticipant.publishTrack(media.video, {
      source: LK.Track.Source.Camera,
      simulcast,
      videoCodec: codec,
      videoEncoding: { maxBitrate: 900_000, maxFramerate: 20 },
      // With another one, a browser on a busy machine, or one that still measures the network, sends a smaller picture.
      degradationPreference,
      ...video,
      ...(layers && { videoSimulcastLayers: layers.map(([w, h, bitrate]) => new LK.VideoPreset(w, h, bitrate, 20)) }),
    });
  },

  /** What the publisher's client appended to a frame of somebody's camera, as far as this client knows it. */
  async appended({ identity }) {
    const track = trackOf(identity, "camera");
    const { rtpTimestamp } = await new Promise((resolve) => shown.get(track.sid).requestVideoFrameCallback((_, frame) => resolve(frame)));
    const found = track.lookupFrameMetadata({ rtpTimestamp });
    return found && { frameId: Number(found.frameId), age: Math.round(Date.now() - Number(found.userTimestamp) / 1000) };
  },

  /** The last four bytes of the next frames of somebody's camera, as they come out of the connection. */
  async frameEnds({ identity }) {
    const code = `onrtctransform = ({ transformer }) => transformer.readable
      .pipeThrough(new TransformStream({ transform(frame, next) { postMessage(new Uint8Array(frame.data.slice(-4))); next.enqueue(frame); } }))
      .pipeTo(transformer.writable);`;
    const worker = new Worker(URL.createObjectURL(new Blob([code])));
    const ends = [];
    const enough = new Promise((resolve) => { worker.onmessage = ({ data }) => ends.push(String.fromCharCode(...data)) >= 10 && resolve(); });
    trackOf(identity, "camera").receiver.transform = new RTCRtpScriptTransform(worker, {});
    await enough;
    return ends;
  },

  /** Publishes the browser's own camera, without layers. */
  async publishCamera({ width, height, fps, bitrate }) {
    const track = await LK.createLocalVideoTrack({ resolution: { width, height, frameRate: fps } });
    const videoEncoding = { maxBitrate: bitrate, maxFramerate: fps };
    await room.localParticipant.publishTrack(track, { simulcast: false, videoCodec: "vp8", videoEncoding });
  },

  /** Shares the screen with the browser's own picker. */
  async shareScreen() {
    await room.localParticipant.setScreenShareEnabled(true, { resolution: { width: 640, height: 360, frameRate: 10 } });
  },

  async stopScreen() {
    await room.localParticipant.setScreenShareEnabled(false);
  },

  /** Publishes a canvas as if it were a screen, where the browser has no screen to record. */
  async shareCanvas({ colour, tone }) {
    const picture = makePicture({ colour, width: 640, height: 360 });
    await room.localParticipant.publishTrack(picture.track, { source: LK.Track.Source.ScreenShare, simulcast: false });
    if (tone) await room.localParticipant.publishTrack((await makeSound({ tone })).track, { source: LK.Track.Source.ScreenShareAudio });
  },

  async setMuted({ source, muted }) {
    const publication = room.localParticipant.getTrackPublication(source);
    await (muted ? publication.mute() : publication.unmute());
  },

  /** The track stays with its owner, and can be published again. */
  async unpublish({ source, stop = true }) {
    const publication = room.localParticipant.getTrackPublication(source);
    await room.localParticipant.unpublishTrack(publication.track, stop);
  },

  /** Publishes the picture of the last `publish` again: the same track, with the same id. */
  async publishAgain() {
    await room.localParticipant.publishTrack(media.video, { source: LK.Track.Source.Camera, simulcast: false, videoCodec: "vp8" });
  },

  /** Publishes a picture that is muted from the start. */
  async publishMuted({ colour, width = 640, height = 360 }) {
    media?.stop();
    media = makePicture({ colour, width, height });
    const track = new LK.LocalVideoTrack(media.track, undefined, true);
    await track.mute();
    await room.localParticipant.publishTrack(track, { source: LK.Track.Source.Camera, simulcast: false, videoCodec: "vp8" });
  },

  /** Sends another picture in place of the camera's, without a word to the server. */
  async replaceCamera({ colour, width = 640, height = 360 }) {
    const picture = makePicture({ colour, width, height });
    await room.localParticipant.getTrackPublication("camera").track.replaceTrack(picture.track, true);
  },

  /** Publishes only a picture, and tells how that ended. */
  async tryToPublish({ colour, source }) {
    const picture = source === "microphone" ? { track: (await makeSound({ tone: 300 })).track } : makePicture({ colour, width: 320, height: 180 });
    try {
      const { trackSid } = await room.localParticipant.publishTrack(picture.track, { source, simulcast: false });
      return { sid: trackSid };
    } catch (error) {
      return { error: error.message };
    }
  },

  /** Who may receive this person's tracks: everybody, or these people. */
  allow({ everybody, people = [] }) {
    const each = people.map((participantIdentity) => ({ participantIdentity, allowAll: true }));
    room.localParticipant.setTrackSubscriptionPermissions(everybody, each);
  },

  async leave() {
    clearInterval(recording?.timer);
    media?.stop();
    media = undefined;
    await room.disconnect();
    shown.forEach((element) => element.remove());
    shown.clear();
  },

  async send({ text, bytes, reliable, topic, to }) {
    const payload = bytes ? new Uint8Array(bytes).fill(7) : encoder.encode(text);
    await room.localParticipant.publishData(payload, { reliable, topic, destinationIdentities: to });
  },

  /** Answers procedure calls of this name with the payload in capitals; one without payload is an error. */
  answerCalls({ method }) {
    room.registerRpcMethod(method, async ({ payload }) => {
      if (!payload) throw new LK.RpcError(7, "nothing to shout");
      return payload.toUpperCase();
    });
  },

  /** What this person knows of itself and of the room. */
  me() {
    const { name, metadata, attributes, permissions, trackPublications } = room.localParticipant;
    const { canPublish, canSubscribe, canPublishData } = permissions;
    const tracks = [...trackPublications.values()].map((publication) => ({ sid: publication.trackSid, source: publication.source, muted: publication.isMuted }));
    return { name, metadata, attributes, canPublish, canSubscribe, canPublishData, tracks, roomMetadata: room.metadata };
  },

  messages: () => messages,
  events: () => events,
  forgetEvents() {
    events = [];
  },

  /** Plays one of the client's own scenarios of failure. */
  simulate: ({ scenario }) => room.simulateScenario(scenario),

  state: () => room.state,

  /** The others, and what each has published. */
  people() {
    return [...room.remoteParticipants.values()].map((participant) => ({
      identity: participant.identity,
      sid: participant.sid,
      name: participant.name,
      speaking: participant.isSpeaking,
      quality: participant.connectionQuality,
      tracks: [...participant.trackPublications.values()].map((publication) => ({
        source: publication.source,
        muted: publication.isMuted,
        subscribed: publication.isSubscribed,
        simulcasted: publication.simulcasted,
        mimeType: publication.mimeType,
        encrypted: publication.isEncrypted,
        width: publication.dimensions?.width,
        height: publication.dimensions?.height,
      })),
    }));
  },

  /** What arrives of somebody's picture: frames decoded so far, their size, and the colour in the middle. */
  async video({ identity, source = "camera" }) {
    const track = trackOf(identity, source);
    if (!track) return { frames: 0 };
    const inbound = await inboundOf(track);
    const element = shown.get(track.sid);
    return {
      codec: inbound && (await codecOf(track.receiver, inbound)),
      frames: inbound?.framesDecoded ?? 0,
      width: inbound?.frameWidth ?? element?.videoWidth,
      height: inbound?.frameHeight ?? element?.videoHeight,
      colour: element && colourOf(element),
      lost: inbound?.packetsLost,
      freezes: inbound?.freezeCount,
      keyFrames: inbound?.keyFramesDecoded,
    };
  },

  /** The tone in somebody's sound; a negative amplitude when there is no track. */
  async tone({ identity, source = "microphone" }) {
    const track = trackOf(identity, source);
    return track ? toneOf(track.mediaStreamTrack) : { hz: 0, amplitude: -1 };
  },

  /** The same for the left and the right channel. */
  async stereo({ identity }) {
    const track = trackOf(identity, "microphone");
    return track ? stereoOf(track.mediaStreamTrack) : [];
  },

  /** How far somebody's sound lags behind the picture: one number of milliseconds per flash. */
  lag({ identity, count }) {
    const camera = trackOf(identity, "camera");
    return measureLag(shown.get(camera.sid), trackOf(identity, "microphone").mediaStreamTrack, count);
  },

  /** Notes from now on when each picture of somebody is shown, and how many are decoded and how much of the sound is made up. */
  startRecording({ identity }) {
    const element = shown.get(trackOf(identity, "camera").sid);
    const record = { pictures: [], samples: [] };
    const look = (_, { width, height }) => {
      record.pictures.push({ at: Date.now(), width, height });
      element.requestVideoFrameCallback(look);
    };
    element.requestVideoFrameCallback(look);
    const sample = async () => {
      const [video, audio] = await Promise.all(["camera", "microphone"].map((source) => inboundOf(trackOf(identity, source))));
      const { concealedSamples, silentConcealedSamples, totalSamplesReceived } = audio ?? {};
      if (video && audio) record.samples.push({ at: Date.now(), decoded: video.framesDecoded, concealed: concealedSamples - silentConcealedSamples, sound: totalSamplesReceived });
    };
    record.timer = setInterval(sample, SAMPLE_MS);
    recording = record;
  },

  recorded: () => ({ pictures: recording.pictures, samples: recording.samples }),

  /** Asks the server for one of somebody's layers: "LOW", "MEDIUM" or "HIGH". */
  setQuality({ identity, quality }) {
    room.remoteParticipants.get(identity).getTrackPublication("camera").setVideoQuality(LK.VideoQuality[quality]);
  },

  /** Asks the server to send somebody's picture, or not to. */
  setEnabled({ identity, enabled }) {
    room.remoteParticipants.get(identity).getTrackPublication("camera").setEnabled(enabled);
  },

  /** Shows somebody's picture in this size, or hides it when none is given. */
  resize({ identity, width, height }) {
    const { style } = shown.get(trackOf(identity, "camera").sid);
    if (width) Object.assign(style, { display: "block", width: `${width}px`, height: `${height}px` });
    else style.display = "none";
  },

  setSubscribed({ identity, source, subscribed }) {
    room.remoteParticipants.get(identity).getTrackPublication(source).setSubscribed(subscribed);
  },

  /** What this person sends as camera, by layer. */
  async sent() {
    const report = await room.localParticipant.getTrackPublication("camera").track.sender.getStats();
    return [...report.values()]
      .filter((entry) => entry.type === "outbound-rtp")
      .map(({ rid, frameWidth, frameHeight, framesEncoded, active }) => ({ rid, width: frameWidth, height: frameHeight, frames: framesEncoded ?? 0, active }));
  },

  /** What this person encodes: for each codec of all its video tracks, whether any layer of it is on, and the frames so far. */
  async encoders() {
    const { publisher } = room.engine.pcManager;
    const senders = publisher.getTransceivers().map((transceiver) => transceiver.sender).filter((sender) => sender.track?.kind === "video");
    const each = senders.map(async (sender) => {
      const report = await sender.getStats();
      const entries = [...report.values()].filter((entry) => entry.type === "outbound-rtp");
      const codec = report.get(entries.find((entry) => entry.codecId)?.codecId)?.mimeType;
      return { codec, active: sender.getParameters().encodings.some(({ active }) => active), frames: entries.reduce((sum, entry) => sum + (entry.framesEncoded ?? 0), 0) };
    });
    return Promise.all(each);
  },

  /** Mean size in bytes of the packets of sound that this person sends, and that arrive of another. */
  async soundPackets({ identity }) {
    const sent = room.localParticipant.getTrackPublication("microphone")?.track;
    const heard = trackOf(identity, "microphone");
    const meanOf = (entry) => (entry?.packets > 0 ? Math.round(entry.bytes / entry.packets) : 0);
    const entryOf = async (statistics, type, bytes, packets) => {
      const entry = [...((await statistics?.getStats())?.values() ?? [])].find((entry) => entry.type === type);
      return entry && { bytes: entry[bytes], packets: entry[packets] };
    };
    return {
      sent: meanOf(await entryOf(sent?.sender, "outbound-rtp", "bytesSent", "packetsSent")),
      heard: meanOf(await entryOf(heard?.receiver, "inbound-rtp", "bytesReceived", "packetsReceived")),
    };
  },

  /** Cipher and DTLS version of every connection, for the log. */
  async transports() {
    const { publisher, subscriber } = room.engine.pcManager;
    const reports = await Promise.all([publisher, subscriber].filter(Boolean).map((connection) => connection.getStats()));
    return reports.flatMap((report) => [...report.values()].filter((entry) => entry.type === "transport").map(({ srtpCipher, tlsVersion, dtlsRole }) => ({ srtpCipher, tlsVersion, dtlsRole })));
  },
};
