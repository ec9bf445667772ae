// The media of a client with two connections and nothing else: whoever drives it through `window.e2e` does the signalling, and is told
// through `window.tell` of what happens.

let connections;
let channels;
let media;
/** Track ids to what shows and plays them. */
const shown = new Map();
/** "identity/source" to track ids. */
let known = {};

const base64 = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)));
const unbase64 = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

function makeConnection(target) {
  const connection = new RTCPeerConnection();
  connection.onicecandidate = ({ candidate }) => candidate?.candidate && window.tell({ kind: "candidate", target, init: candidate.toJSON() });
  connection.onconnectionstatechange = () => window.tell({ kind: "state", target, state: connection.connectionState });
  return connection;
}

function listen(channel) {
  channel.binaryType = "arraybuffer";
  channel.onopen = () => window.tell({ kind: "open", label: channel.label });
  channel.onmessage = ({ data }) => window.tell({ kind: "data", label: channel.label, bytes: base64(data) });
  return channel;
}

function show({ track, streams: [stream] }) {
  const sid = stream?.id.split("|")[1]?.startsWith("TR") ? stream.id.split("|")[1] : track.id;
  const element = Object.assign(document.createElement(track.kind), { autoplay: true, muted: track.kind === "video", srcObject: new MediaStream([track]) });
  document.body.append(element);
  shown.set(sid, { element, track });
  stream.onremovetrack = () => shown.delete(sid);
  window.tell({ kind: "track", stream: stream?.id, track: sid });
}

async function inbound(track) {
  const report = await connections.subscriber.getStats(track);
  return [...report.values()].find(({ type }) => type === "inbound-rtp");
}

/** What the receiver would like, as some clients add it to their answers: both channels, and lost sound again. */
function withWishes(answer, offer) {
  const opus = /a=rtpmap:(\d+) opus\//.exec(answer)?.[1];
  if (!opus) return answer;
  let sdp = answer;
  if (offer.includes("sprop-stereo=1")) sdp = sdp.replaceAll(new RegExp(`(a=fmtp:${opus} [^\r\n]*)`, "g"), "$1;stereo=1");
  if (new RegExp(`a=rtcp-fb:${opus} nack`).test(offer)) sdp = sdp.replaceAll(new RegExp(`(a=rtpmap:${opus} [^\r\n]*\r\n)`, "g"), `$1a=rtcp-fb:${opus} nack\r\n`);
  return sdp;
}

async function setMunged(connection, { type, sdp }, munged) {
  try {
    await connection.setLocalDescription({ type, sdp: munged });
  } catch {
    await connection.setLocalDescription({ type, sdp });
  }
  return connection.localDescription.sdp;
}

window.e2e = {
  open({ labels }) {
    connections = { publisher: makeConnection("publisher"), subscriber: makeConnection("subscriber") };
    const settings = (label) => (label === "_reliable" ? { ordered: true } : { ordered: false, maxRetransmits: 0 });
    channels = Object.fromEntries(labels.map((label) => [label, listen(connections.publisher.createDataChannel(label, settings(label)))]));
    connections.subscriber.ondatachannel = ({ channel }) => listen(channel);
    connections.subscriber.ontrack = show;
  },

  async make({ colour, tone }) {
    media = await makeMedia({ colour, tone });
    return { audio: media.audio.id, video: media.video.id };
  },

  /** Begins to send a track, the picture in the layers given, with the codec of this name before others. */
  async add({ kind, layers, codec, stream }) {
    const { publisher } = connections;
    const streams = stream ? [new MediaStream()] : [];
    const transceiver = publisher.addTransceiver(media[kind], { direction: "sendonly", streams, ...(layers && { sendEncodings: layers }) });
    if (!codec) return;
    const { codecs } = RTCRtpSender.getCapabilities(kind);
    const first = ({ mimeType }) => (mimeType === codec ? 0 : 1);
    transceiver.setCodecPreferences(codecs.toSorted((a, b) => first(a) - first(b)));
    await transceiver.sender.setParameters({ ...transceiver.sender.getParameters(), degradationPreference: "maintain-resolution" });
  },

  async offer({ iceRestart }) {
    const { publisher } = connections;
    if (iceRestart && publisher.signalingState === "have-local-offer" && publisher.remoteDescription) await publisher.setRemoteDescription(publisher.remoteDescription);
    await publisher.setLocalDescription(await publisher.createOffer({ iceRestart }));
    return publisher.localDescription.sdp;
  },

  answered: ({ sdp }) => connections.publisher.setRemoteDescription({ type: "answer", sdp }),

  async answer({ sdp, wishes }) {
    const { subscriber } = connections;
    await subscriber.setRemoteDescription({ type: "offer", sdp });
    const answer = await subscriber.createAnswer();
    return setMunged(subscriber, answer, wishes ? withWishes(answer.sdp, sdp) : answer.sdp);
  },

  candidate: ({ target, init }) => connections[target].addIceCandidate(init),

  /** What it had agreed on to receive. */
  agreed: () => ({ offer: connections.subscriber.remoteDescription?.sdp, answer: connections.subscriber.localDescription?.sdp }),

  channels: () => Object.values(channels).map(({ label, id }) => ({ label, id: id ?? 0 })),

  states: () => Object.fromEntries(Object.entries(connections).map(([target, { connectionState }]) => [target, connectionState])),

  send({ label, bytes }) {
    channels[label].send(unbase64(bytes));
  },

  know(tracks) {
    known = tracks;
  },

  setEnabled({ kind, enabled }) {
    media[kind].enabled = enabled;
  },

  async video({ identity, source = "camera" }) {
    const found = shown.get(known[`${identity}/${source}`]);
    if (!found) return { frames: 0 };
    const entry = await inbound(found.track);
    return { frames: entry?.framesDecoded ?? 0, width: entry?.frameWidth, height: entry?.frameHeight, colour: colourOf(found.element) };
  },

  async tone({ identity, source = "microphone" }) {
    const found = shown.get(known[`${identity}/${source}`]);
    return found ? toneOf(found.track) : { hz: 0, amplitude: -1 };
  },

  close() {
    media?.stop();
    Object.values(connections ?? {}).forEach((connection) => connection.close());
  },
};
