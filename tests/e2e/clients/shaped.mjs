// LiveKit's SDKs for phones are libwebrtc with signalling of their own. Here is the signalling of each, told from its source, over the
// media of a page in Chromium (harness/shaped.js).

import { DataPacket, DataPacket_Kind, DisconnectReason, LeaveRequest_Action, SignalRequest, SignalResponse, SignalTarget, TrackSource, TrackType, VideoQuality } from "@livekit/protocol";
import WebSocket from "ws";
import { Person } from "../lib/person.mjs";
import { pause, until } from "../lib/until.mjs";

const SIZE = { width: 640, height: 360 };
const LAYERS = [{ rid: "q", scaleResolutionDownBy: 2, maxBitrate: 160_000 }, { rid: "h", maxBitrate: 700_000 }];
const SOURCES = { [TrackSource.CAMERA]: "camera", [TrackSource.MICROPHONE]: "microphone" };
const TARGETS = { publisher: SignalTarget.PUBLISHER, subscriber: SignalTarget.SUBSCRIBER };
/** Of a loss that lasts: browsers and SDKs take both for broken. */
const BROKEN = ["disconnected", "failed"];

/**
 * What each does in its own way: its address, the channels it opens, whether it numbers its offers, how long it waits for more to offer,
 * its first codec, and the order of its steps when it resumes.
 */
const ANDROID = {
  query: (resuming) => ({ protocol: 13, ...resuming, auto_subscribe: 1, adaptive_stream: 0, sdk: "android", version: "2.27.0", device_model: "Google Pixel 9", os: "android", os_version: "16", network: "wifi", client_protocol: 1 }),
  labels: ["_reliable", "_lossy"],
  numbers: true,
  debounceMs: 20,
  codec: "video/VP8",
  simulcastCodec: "vp8",
  stream: true,
  async resume(client, lastSequence) {
    await client.syncState();
    await client.offer({ iceRestart: true });
    await client.connected("subscriber", "publisher");
    await client.replay(lastSequence);
  },
};

const SWIFT = {
  query: (resuming) => ({ protocol: 16, sdk: "swift", version: "2.16.0", client_protocol: 1, os: "iOS", os_version: "26.0.1", device_model: "iPhone17,1", network: "wifi", ...resuming, auto_subscribe: 1, adaptive_stream: 0 }),
  labels: ["_reliable", "_lossy", "_data_track"],
  numbers: true,
  debounceMs: 20,
  // The encoders of iOS in their order. It names none to the server, which then answers with its own first one, as LiveKit's does.
  codec: "video/H264",
  sends: "video/VP8",
  simulcastCodec: "",
  wishes: true,
  async resume(client, lastSequence) {
    await client.replay(lastSequence);
    await client.connected("subscriber");
    await client.syncState();
    await client.offer({ iceRestart: true });
    await client.connected("publisher");
  },
};

const FLUTTER = {
  query: (resuming) => ({ auto_subscribe: 1, adaptive_stream: 0, ...resuming, protocol: 16, client_protocol: 1, sdk: "flutter", version: "2.11.0", network: "wifi", os: "android", os_version: "16", device_model: "Pixel 9" }),
  labels: ["_lossy", "_reliable"],
  numbers: false,
  debounceMs: 100,
  codec: "video/VP8",
  simulcastCodec: "vp8",
  stream: true,
  async resume(client) {
    await client.syncState();
    await client.offer({ iceRestart: true });
    await client.connected("subscriber");
  },
};

class ShapedClient extends Person {
  lacks = {};
  publishes = true;
  plays = true;
  size = SIZE;
  #turn = Promise.resolve();
  #offerId = 0;
  #offering = false;
  #offerAgain = false;
  #left = false;
  #resuming = false;
  #resumed = 0;
  #sequence = 0;
  #sent = [];
  #heard = new Map();
  #published = new Map();
  #waiting = new Map();
  #people = new Map();
  #inbox = [];
  #faults = [];

  static async open({ stage, browser, identity, shape }) {
    const page = await stage[browser].page();
    await page.goto(`${stage.site.url}shaped.html`);
    const client = Object.assign(new ShapedClient(stage.server, page, identity), { shape, codec: shape.sends ?? shape.codec });
    await page.exposeFunction("tell", (news) => client.#learn(news));
    return client;
  }

  async join(room, gate) {
    this.address = gate.socketUrl;
    this.token = await this.server.token(room, this.identity);
    const join = await this.#connect("join");
    this.sid = join.participant.sid;
    this.pings = setInterval(() => this.#ping(), join.pingInterval * 1000);
    await this.do("open", { labels: this.shape.labels });
    if (!join.subscriberPrimary || join.fastPublish) await this.offer();
    await this.#meet(join.otherParticipants);
    this.#ready();
    await this.connected("subscriber");
  }

  /** AddTrack and the offer leave together, since the server has named codecs. */
  async publish() {
    const ids = await this.do("make", this.look);
    const audio = { source: TrackSource.MICROPHONE, type: TrackType.AUDIO, name: "microphone", disableDtx: false, disableRed: false };
    const layer = (quality, scale, bitrate) => ({ quality, width: SIZE.width / scale, height: SIZE.height / scale, bitrate });
    const layers = [layer(VideoQuality.LOW, 2, LAYERS[0].maxBitrate), layer(VideoQuality.MEDIUM, 1, LAYERS[1].maxBitrate)];
    const video = { source: TrackSource.CAMERA, type: TrackType.VIDEO, name: "camera", ...SIZE, layers, simulcastCodecs: [{ codec: this.shape.simulcastCodec, cid: ids.video }] };
    await this.#publishOne("audio", { cid: ids.audio, ...audio });
    await this.#publishOne("video", { cid: ids.video, ...video }, { layers: LAYERS, codec: this.shape.codec });
  }

  async #publishOne(kind, request, sending = {}) {
    const published = new Promise((resolve) => this.#waiting.set(request.cid, resolve));
    this.#send("addTrack", request);
    await this.do("add", { kind, stream: this.shape.stream, ...sending });
    await pause(this.shape.debounceMs);
    await this.offer();
    this.#published.set(kind, { cid: request.cid, track: await published });
  }

  async setMuted(muted) {
    await this.do("setEnabled", { kind: "audio", enabled: !muted });
    this.#send("mute", { sid: this.#published.get("audio").track.sid, muted });
  }

  async send(text) {
    this.#sequence += 1;
    const value = { case: "user", value: { payload: Buffer.from(text), topic: "shaped" } };
    const packet = new DataPacket({ kind: DataPacket_Kind.RELIABLE, sequence: this.#sequence, participantIdentity: this.identity, participantSid: this.sid, value });
    this.#sent.push(packet);
    await this.#transmit(packet);
  }

  #transmit(packet) {
    return this.do("send", { label: "_reliable", bytes: Buffer.from(packet.toBinary()).toString("base64") });
  }

  async replay(lastSequence) {
    for (const packet of this.#sent.filter(({ sequence }) => sequence > lastSequence)) await this.#transmit(packet);
  }

  receives(text, from) {
    return until(`${this.identity} to receive "${text}"`, async () => this.#inbox, (inbox) => inbox.some((message) => message.text === text && message.from === from.identity));
  }

  async pictures(other) {
    return (await this.do("video", { identity: other.identity })).frames;
  }

  async resume(gate) {
    const before = this.#resumed;
    gate.cut();
    gate.mend();
    await until(`${this.identity} to have resumed`, async () => this.#resumed, (resumed) => resumed > before);
  }

  async leave() {
    this.#left = true;
    clearInterval(this.pings);
    this.#send("leave", { reason: DisconnectReason.CLIENT_INITIATED, action: LeaveRequest_Action.DISCONNECT });
    this.socket.close(1000);
    await this.do("close");
    if (this.#faults.length > 0) throw new Error(this.#faults.join("\n"));
  }

  async close() {
    this.#left = true;
    clearInterval(this.pings);
    this.socket?.terminate();
    await super.close();
  }

  /** Resolves when these connections are up. */
  connected(...targets) {
    return until(`${targets.join(" and ")} of ${this.identity} to be connected`, () => this.do("states"), (states) => targets.every((target) => states[target] === "connected"));
  }

  /** One offer at a time; a restart of ICE waits for no answer. */
  async offer({ iceRestart = false } = {}) {
    if (this.#offering && !iceRestart) {
      this.#offerAgain = true;
      return;
    }
    this.#offering = true;
    this.#offerId += 1;
    const id = this.shape.numbers ? this.#offerId : 0;
    const sdp = await this.do("offer", { iceRestart });
    this.#send("offer", { type: "offer", sdp, id });
  }

  async syncState() {
    const { offer, answer } = await this.do("agreed");
    this.#send("syncState", {
      offer: { type: "offer", sdp: offer },
      answer: { type: "answer", sdp: answer },
      subscription: { trackSids: [], participantTracks: [], subscribe: false },
      publishTracks: [...this.#published.values()],
      dataChannels: await this.do("channels"),
      datachannelReceiveStates: [...this.#heard].map(([publisherSid, lastSeq]) => ({ publisherSid, lastSeq })),
    });
  }

  /** Opens a socket; resolves with its first message, which must be of this kind. What follows waits until `#ready`. */
  async #connect(kind, resuming = {}) {
    const query = new URLSearchParams(this.shape.query(resuming));
    const socket = new WebSocket(`${this.address}/rtc?${query}`, { headers: { authorization: `Bearer ${this.token}` } });
    this.socket?.close(1000);
    this.socket = socket;
    this.early = [];
    return new Promise((resolve, reject) => {
      socket.once("error", reject);
      socket.once("message", (frame) => {
        const { message } = SignalResponse.fromBinary(frame);
        if (message.case !== kind) return reject(new Error(`the first message is ${message.case} and not ${kind}`));
        socket.on("error", () => undefined);
        socket.on("message", (frame) => this.#arrived(socket, SignalResponse.fromBinary(frame).message));
        socket.once("close", () => socket === this.socket && this.#reconnect());
        resolve(message.value);
      });
    });
  }

  #ready() {
    const early = this.early;
    this.early = undefined;
    early.forEach((message) => this.#inTurn(message));
  }

  #arrived(socket, message) {
    if (socket !== this.socket) return;
    if (this.early) this.early.push(message);
    else this.#inTurn(message);
  }

  #inTurn(message) {
    this.#turn = this.#turn.then(() => this.#take(message)).catch((error) => this.#left || this.#faults.push(`${message.case}: ${error.message}`));
  }

  async #take({ case: kind, value }) {
    if (kind === "offer") {
      const sdp = await this.do("answer", { sdp: value.sdp, wishes: this.shape.wishes });
      this.#send("answer", { type: "answer", sdp, id: this.shape.numbers ? value.id : 0 });
    } else if (kind === "answer") await this.#answered(value);
    else if (kind === "trickle") await this.#candidate(value);
    else if (kind === "update") await this.#meet(value.participants);
    else if (kind === "trackPublished") this.#waiting.get(value.cid)?.(value.track);
    else if (kind === "refreshToken") this.token = value;
    else if (kind === "pongResp") this.answeredAt = Date.now();
    else if (kind === "leave") this.#faults.push(`told to leave: ${value.reason}`);
  }

  async #answered({ sdp, id }) {
    if (this.shape.numbers && id !== this.#offerId) return;
    await this.do("answered", { sdp });
    this.#offering = false;
    if (!this.#offerAgain) return;
    this.#offerAgain = false;
    await this.offer();
  }

  /** Kotlin's and Swift's decoders want these fields. */
  async #candidate({ candidateInit, target }) {
    const init = JSON.parse(candidateInit);
    if (typeof init.candidate !== "string" || !Number.isInteger(init.sdpMLineIndex) || !("sdpMid" in init)) this.#faults.push(`a candidate without its fields: ${candidateInit}`);
    if (init.candidate) await this.do("candidate", { target: target === SignalTarget.PUBLISHER ? "publisher" : "subscriber", init });
  }

  async #meet(participants) {
    for (const { sid, identity, tracks } of participants) this.#people.set(sid, { identity, tracks });
    const all = [...this.#people.values()].flatMap(({ identity, tracks }) => tracks.map(({ sid, source }) => [`${identity}/${SOURCES[source]}`, sid]));
    await this.do("know", Object.fromEntries(all));
  }

  #learn({ kind, target, init, state, bytes, stream }) {
    if (kind === "candidate") this.#send("trickle", { target: TARGETS[target], candidateInit: JSON.stringify({ candidate: init.candidate, sdpMLineIndex: init.sdpMLineIndex, sdpMid: init.sdpMid }) });
    else if (kind === "state" && BROKEN.includes(state)) this.#reconnect();
    else if (kind === "data") this.#received(DataPacket.fromBinary(Buffer.from(bytes, "base64")));
    // The SDKs find out whose it is by the stream's id, and have no use for it otherwise.
    else if (kind === "track" && !this.#people.has(stream?.split("|")[0])) this.#faults.push(`a track of nobody: ${stream}`);
  }

  #received({ value, sequence, participantSid, participantIdentity }) {
    if (sequence > 0 && sequence <= (this.#heard.get(participantSid) ?? 0)) return;
    if (sequence > 0) this.#heard.set(participantSid, sequence);
    if (value.case === "user") this.#inbox.push({ from: participantIdentity, text: Buffer.from(value.value.payload).toString() });
  }

  async #reconnect() {
    if (this.#left || this.#resuming) return;
    this.#resuming = true;
    try {
      const { lastMessageSeq } = await this.#connect("reconnect", { reconnect: 1, sid: this.sid });
      this.#ready();
      await this.shape.resume(this, lastMessageSeq);
      this.#resumed += 1;
    } catch (error) {
      this.#faults.push(`it did not resume: ${error.message}`);
    }
    this.#resuming = false;
  }

  #ping() {
    const timestamp = BigInt(Date.now());
    this.#send("ping", timestamp);
    this.#send("pingReq", { timestamp, rtt: 10n });
  }

  #send(kind, value) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(new SignalRequest({ message: { case: kind, value } }).toBinary());
  }
}

const row = (name, shape) => ({ name, identity: "ada", open: ShapedClient.open, options: { browser: "chromium", shape } });

/** Rows of the matrix. */
export const SHAPED = [
  row("shaped like the Android SDK, protocol 13", ANDROID),
  row("shaped like the Swift SDK, protocol 16", SWIFT),
  row("shaped like the Flutter SDK, protocol 16", FLUTTER),
];
