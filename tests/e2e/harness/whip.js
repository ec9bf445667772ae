// A publisher over WHIP or a player over WHEP with what browsers have of their own, driven from the tests through `window.e2e`.

let connection;
let media;
let session;
const elements = {};

const authorization = () => ({ authorization: `Bearer ${session.token}` });

/** Offers, and takes the answer. Candidates that are found later follow by PATCH. */
async function negotiate({ url, token }) {
  const pending = [];
  connection.onicecandidate = ({ candidate }) => {
    if (!candidate?.candidate) return;
    pending.push(candidate);
    if (session?.url) trickle(pending.splice(0));
  };
  session = { token };
  await connection.setLocalDescription();
  const response = await fetch(url, { method: "POST", headers: { "content-type": "application/sdp", ...authorization() }, body: connection.localDescription.sdp });
  const body = await response.text();
  if (response.status !== 201) throw new Error(`${response.status}: ${body}`);
  session = { token, url: new URL(response.headers.get("location"), url).href, etag: response.headers.get("etag"), patches: [], links: linksOf(response, url) };
  await connection.setRemoteDescription({ type: "answer", sdp: body });
  trickle(pending.splice(0));
}

/** The addresses in a `Link` header, by relation. */
function linksOf(response, base) {
  const links = (response.headers.get("link") ?? "").matchAll(/<([^>]*)>; rel="([^"]*)"/g);
  return Object.fromEntries([...links].map(([, address, relation]) => [relation, new URL(address, base).href]));
}

function post(address, value) {
  return fetch(address, { method: "POST", headers: { "content-type": "application/json", ...authorization() }, body: JSON.stringify(value) });
}

async function trickle(candidates) {
  const lines = candidates.map(({ candidate }) => `a=${candidate}\r\n`).join("");
  const { status } = await patch(session.etag, `${credentials(connection.localDescription.sdp)}${lines}`);
  session.patches.push(status);
}

function patch(tag, body) {
  return fetch(session.url, { method: "PATCH", headers: { "content-type": "application/trickle-ice-sdpfrag", "if-match": tag, ...authorization() }, body });
}

const valueOf = (text, name) => text.match(new RegExp(`a=${name}:(.*)`))[1].trim();

function credentials(sdp) {
  return ["ice-ufrag", "ice-pwd"].map((name) => `a=${name}:${valueOf(sdp, name)}\r\n`).join("");
}

async function statsOf(type, kind) {
  return [...(await connection.getStats()).values()].filter((entry) => entry.type === type && entry.kind === kind);
}

window.e2e = {
  /** Publishes a coloured picture and a tone; with `layers`, the picture in two sizes. */
  async publish({ url, token, colour, tone, layers = false, codec }) {
    media = await makeMedia({ colour, tone });
    connection = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    const stream = new MediaStream([media.audio, media.video]);
    connection.addTransceiver(media.audio, { direction: "sendonly", streams: [stream] });
    const sendEncodings = layers ? [{ rid: "q", scaleResolutionDownBy: 2, maxBitrate: 150_000 }, { rid: "f", maxBitrate: 900_000 }] : [{ maxBitrate: 900_000 }];
    const video = connection.addTransceiver(media.video, { direction: "sendonly", streams: [stream], sendEncodings });
    if (codec) video.setCodecPreferences(RTCRtpSender.getCapabilities("video").codecs.filter(({ mimeType }) => mimeType === codec || mimeType === "video/rtx"));
    media.video.contentHint = "detail";
    await negotiate({ url, token });
    return session;
  },

  /** Plays one picture and one sound. */
  async play({ url, token }) {
    connection = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    for (const kind of ["audio", "video"]) {
      const { receiver } = connection.addTransceiver(kind, { direction: "recvonly" });
      const element = Object.assign(document.createElement(kind), { autoplay: true, muted: kind === "video" });
      document.body.append(element);
      elements[kind] = { element, track: receiver.track };
    }
    const streams = new Set();
    connection.ontrack = ({ track, streams: [stream] }) => {
      streams.add(stream.id);
      elements[track.kind].element.srcObject = new MediaStream([track]);
    };
    await negotiate({ url, token });
    return { ...session, streams: streams.size };
  },

  state: () => ({ connection: connection.connectionState, patches: session.patches }),

  /** What arrives of the picture. */
  async video() {
    const inbound = (await statsOf("inbound-rtp", "video")).at(-1);
    return { frames: inbound?.framesDecoded ?? 0, width: inbound?.frameWidth, height: inbound?.frameHeight, colour: colourOf(elements.video.element) };
  },

  /** Chooses a layer; returns the status. */
  choose: async (choice) => (await post(session.links["urn:ietf:params:whep:ext:core:layer"], choice)).status,

  /** Listens for events with what browsers have for that; `events` returns what came. */
  async listen() {
    const entry = session.links["urn:ietf:params:whep:ext:core:server-sent-events"];
    const made = await post(entry, ["active", "inactive", "layers"]);
    const source = new EventSource(new URL(made.headers.get("location"), entry));
    session.events = [];
    for (const name of ["active", "inactive", "layers"]) source.addEventListener(name, ({ data }) => session.events.push({ name, data: JSON.parse(data) }));
    return made.status;
  },

  events: () => session.events,

  tone: () => toneOf(elements.audio.track),

  /** Layers of the picture that are sent. */
  async sent() {
    return (await statsOf("outbound-rtp", "video")).map(({ rid, framesEncoded }) => ({ rid, frames: framesEncoded ?? 0 }));
  },

  /** Restarts ICE: new credentials by PATCH, and the server's from its answer. Returns the candidate pair's user fragments. */
  async restart() {
    const answer = connection.remoteDescription.sdp;
    connection.restartIce();
    const offer = await connection.createOffer();
    const fresh = credentials(offer.sdp);
    const old = session.etag;
    const response = await patch("*", fresh);
    const fragment = await response.text();
    if (response.status !== 200) throw new Error(`${response.status}: ${fragment}`);
    session.etag = response.headers.get("etag");
    await connection.setLocalDescription(offer);
    let sdp = answer;
    for (const name of ["ice-ufrag", "ice-pwd"]) sdp = sdp.replaceAll(new RegExp(`a=${name}:.*`, "g"), `a=${name}:${valueOf(fragment, name)}`);
    await connection.setRemoteDescription({ type: "answer", sdp });
    const late = await patch(old, fresh);
    return { late: late.status, ufrag: valueOf(fragment, "ice-ufrag") };
  },

  /** The server's user fragment on the pair of candidates in use, and how many answers to checks came on it. */
  async pair() {
    const report = await connection.getStats();
    const transport = [...report.values()].find(({ type }) => type === "transport");
    const pair = report.get(transport.selectedCandidatePairId);
    return { ufrag: report.get(pair.remoteCandidateId).usernameFragment, responses: pair.responsesReceived };
  },

  async end() {
    const { status } = await fetch(session.url, { method: "DELETE", headers: authorization() });
    return status;
  },

  /** Vanishes without a word to the server but that of DTLS. */
  close() {
    connection.close();
    media?.stop();
  },
};
