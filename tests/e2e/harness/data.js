// Everything about data: streams, calls, chat, attributes, data tracks. Adds to `window.e2e` of harness.js.

/** What has arrived, oldest first. Long contents are kept as length and checksum. */
let arrived = [];
let numbers;
let sending;
const localDataTracks = new Map();
const remoteDataTracks = new Map();

const hex = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const checksum = async (bytes) => hex(await crypto.subtle.digest("SHA-256", bytes)).slice(0, 16);

async function brief(bytes) {
  return bytes.length > 200 ? { length: bytes.length, checksum: await checksum(bytes) } : { text: decoder.decode(bytes) };
}

/** Contents that are the same for the same length, and differ everywhere. */
function contents(length) {
  const bytes = new Uint8Array(length);
  let state = length;
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    // Letters, so that it is text as well.
    bytes[at] = 97 + ((state >>> 16) % 26);
  }
  return bytes;
}

function joinChunks(chunks) {
  const whole = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

/** Notes everything that arrives from now on, in a room that is not joined yet. */
function watchData(room) {
  arrived = [];
  localDataTracks.clear();
  remoteDataTracks.clear();
  room.registerTextStreamHandler("text", async (reader, { identity }) => {
    arrived.push({ kind: "text", from: identity, ...(await brief(encoder.encode(await reader.readAll()))) });
  });
  room.registerByteStreamHandler("file", async (reader, { identity }) => {
    arrived.push({ kind: "file", from: identity, name: reader.info.name, ...(await brief(joinChunks(await reader.readAll()))) });
  });
  room
    .on("sipDTMFReceived", ({ code, digit }, who) => arrived.push({ kind: "dtmf", from: who?.identity, code, digit }))
    .on("transcriptionReceived", (segments, who) => arrived.push({ kind: "transcription", from: who?.identity, text: segments.map(({ text }) => text).join(" ") }))
    .on("chatMessage", ({ message }, who) => arrived.push({ kind: "chat", from: who?.identity, text: message }))
    .on("participantAttributesChanged", (changed, who) => arrived.push({ kind: "attributes", from: who.identity, changed }))
    .on("participantMetadataChanged", (_, who) => arrived.push({ kind: "metadata", from: who.identity, text: who.metadata }))
    .on("dataTrackPublished", (track) => {
      remoteDataTracks.set(track.info.name, track);
      arrived.push({ kind: "data track", from: track.publisherIdentity, name: track.info.name });
    })
    .on("dataTrackUnpublished", () => arrived.push({ kind: "data track gone" }));
}

/** Plain values of an error: a page's exceptions lose their fields on the way to the test. */
const failure = (error) => ({ failed: error.message, code: error.code ?? error.reason, reason: error.reasonName });

const attempt = async (work) => {
  try {
    return await work();
  } catch (error) {
    return failure(error);
  }
};

Object.assign(window.e2e, {
  arrived: () => arrived,

  sendText: ({ text, length, to }) => attempt(async () => void (await room.localParticipant.sendText(text ?? decoder.decode(contents(length)), { topic: "text", destinationIdentities: to }))),

  sendFile: ({ name, length }) => attempt(async () => void (await room.localParticipant.sendFile(new File([contents(length)], name), { topic: "file" }))),

  checksumOf: async ({ length }) => checksum(contents(length)),

  call: ({ to, method, payload, length, timeout }) =>
    attempt(async () => {
      const given = payload ?? decoder.decode(contents(length));
      const answer = await room.localParticipant.performRpc({ destinationIdentity: to, method, payload: given, responseTimeout: timeout });
      return brief(encoder.encode(answer));
    }),

  chat: ({ text }) => attempt(async () => void (await room.localParticipant.sendChatMessage(text))),
  dial: ({ code, digit }) => attempt(() => room.localParticipant.publishDtmf(code, digit)),
  setMetadata: ({ text }) => attempt(() => room.localParticipant.setMetadata(text)),
  setAttributes: (attributes) => attempt(() => room.localParticipant.setAttributes(attributes)),
  attributesOf: ({ identity }) => room.remoteParticipants.get(identity)?.attributes,

  publishDataTrack: ({ name }) => attempt(async () => void localDataTracks.set(name, await room.localParticipant.publishDataTrack({ name }))),
  unpublishDataTrack: ({ name }) => attempt(() => localDataTracks.get(name).unpublish()),

  /** Sends frames of this length, one after the other. */
  pushFrames: ({ name, count, length }) =>
    attempt(async () => {
      const track = localDataTracks.get(name);
      for (let sent = 0; sent < count; sent++) {
        await track.tryPush({ payload: contents(length), userTimestamp: BigInt(sent) });
        await track.flush();
      }
    }),

  /** Receives a data track until it ends; how many of its frames came, and of what. */
  subscribeDataTrack({ name }) {
    const note = { kind: "frames", name, count: 0, ended: false };
    arrived.push(note);
    const read = async () => {
      for await (const { payload } of remoteDataTracks.get(name).subscribe()) {
        Object.assign(note, { count: note.count + 1, ...(await brief(payload)) });
      }
      note.ended = true;
    };
    read().catch((error) => Object.assign(note, failure(error)));
  },

  /** Sends numbered reliable messages without waiting for anybody. */
  async sendNumbers({ from = 0, count, length, to }) {
    const payload = contents(length);
    for (let number = from; number < from + count; number++) {
      new DataView(payload.buffer).setUint32(0, number);
      await room.localParticipant.publishData(payload, { reliable: true, topic: "numbers", destinationIdentities: to });
    }
  },

  /** Starts sending numbered messages; `sending` tells how far it has come. */
  startNumbers({ count, length }) {
    sending = { sent: 0, started: performance.now(), ms: undefined };
    const send = async () => {
      for (; sending.sent < count; sending.sent += 1) await this.sendNumbers({ from: sending.sent, count: 1, length });
      sending.ms = Math.round(performance.now() - sending.started);
    };
    send();
  },

  sending: () => sending,

  /** Which numbered messages have come: how many, the first and last, and how often one did not follow the one before. */
  numbers: () => numbers,
});

function watchNumbers(room) {
  numbers = { count: 0, gaps: 0 };
  room.on("dataReceived", (payload, _who, _kind, topic) => {
    if (topic !== "numbers") return;
    const number = new DataView(payload.buffer, payload.byteOffset).getUint32(0);
    numbers.first ??= number;
    if (numbers.last !== undefined && number !== numbers.last + 1) numbers.gaps += 1;
    numbers.last = number;
    numbers.count += 1;
  });
}

watchers.push(watchData, watchNumbers);
