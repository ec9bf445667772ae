// Runs in a page before anything else: Chromium says of itself what Safari does, and takes only what Safari takes.

export const SAFARI = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.3 Safari/605.1.15";

/** H.264 of packetisation mode 1 first, then VP8 and VP9 of profile 0; sound without redundancy. */
export function becomeSafari() {
  const RANKS = { "video/H264": 0, "video/VP8": 1, "video/VP9": 2, "video/rtx": 3 };
  const knows = ({ mimeType, sdpFmtpLine = "" }) => {
    if (mimeType.startsWith("audio/")) return mimeType !== "audio/red";
    return mimeType in RANKS && !sdpFmtpLine.includes("packetization-mode=0") && !/profile-id=[1-9]/.test(sdpFmtpLine);
  };
  const known = (codecs) => codecs.filter(knows).toSorted((a, b) => (RANKS[a.mimeType] ?? 0) - (RANKS[b.mimeType] ?? 0));
  for (const side of [RTCRtpSender, RTCRtpReceiver]) {
    const original = side.getCapabilities;
    side.getCapabilities = (kind) => {
      const capabilities = original.call(side, kind);
      return { ...capabilities, codecs: known(capabilities.codecs) };
    };
  }

  const { setCodecPreferences } = RTCRtpTransceiver.prototype;
  const chosen = new WeakSet();
  RTCRtpTransceiver.prototype.setCodecPreferences = function (codecs) {
    chosen.add(this);
    return setCodecPreferences.call(this, codecs);
  };
  const { createOffer, createAnswer, setRemoteDescription } = RTCPeerConnection.prototype;
  const restrict = (connection) => {
    for (const transceiver of connection.getTransceivers()) {
      if (transceiver.stopped || chosen.has(transceiver)) continue;
      setCodecPreferences.call(transceiver, RTCRtpReceiver.getCapabilities(transceiver.receiver.track.kind).codecs);
    }
  };
  RTCPeerConnection.prototype.createOffer = function (...options) {
    restrict(this);
    return createOffer.apply(this, options);
  };
  RTCPeerConnection.prototype.createAnswer = function (...options) {
    restrict(this);
    return createAnswer.apply(this, options);
  };

  // A section that has received one track does not receive another.
  const carried = new WeakMap();
  window.replaced = [];
  RTCPeerConnection.prototype.setRemoteDescription = function (description) {
    const tracks = carried.get(this) ?? carried.set(this, new Map()).get(this);
    for (const section of description.sdp.split("\r\nm=").slice(1)) {
      const [mid, track] = [/a=mid:(\S+)/, /a=msid:\S+ (\S+)/].map((line) => line.exec(section)?.[1]);
      if (track && (tracks.get(mid) ?? track) !== track) window.replaced.push(`${mid}: ${tracks.get(mid)} by ${track}`);
      if (track) tracks.set(mid, track);
    }
    return setRemoteDescription.call(this, description);
  };
}
