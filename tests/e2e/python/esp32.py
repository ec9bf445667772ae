"""One device that behaves on the wire as LiveKit's SDK for the ESP32 does (client-sdk-esp32 0.3.10 with esp_peer 1.4), with aiortc's media.

Arguments and reports are those of person.py. It publishes a tone (Opus) and a coloured picture (H.264), and receives the first track of sound
that it hears of. What is as in the SDK:

- Protocol 1 on two connections, of which the publishing one is primary; it asks to be subscribed to nothing, and subscribes by itself.
- AddTrack leaves as soon as the socket is open, before the Join has come.
- Descriptions as esp_peer writes them: no trickle, always `setup:passive`, the same few SSRCs in every device, no header extensions. In the
  answers the sections have esp_peer's order. It is ICE-controlled where it answers, nominates nothing there, and takes one offer in all.
- Messages are decoded with fixed sizes (nanopb): one with a longer text or list is dropped, and so is one that exceeds the socket's buffer.
- Whenever the socket or a connection breaks it waits a moment and joins anew.
"""

import asyncio
import json
import random
import sys
import time
from dataclasses import dataclass, field

import aioice
import aiohttp
import aiortc.codecs
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCRtpCodecParameters, RTCSessionDescription
from aiortc.rtcrtpparameters import RTCRtcpFeedback
from aiortc.sdp import SessionDescription
from google.protobuf.message import Message
from livekit.protocol import models, rtc

from aiortc_media import Picture, Tone, watch
from media import HEIGHT, WIDTH, Seen, orders, tell

QUERY = "sdk=esp32&version=0.3.10&os=idf&os_version=v5.5.1&device_model=9&auto_subscribe=false&protocol=1"
# The socket's buffer. A message that comes in pieces is decoded piece by piece, which fails.
MAX_MESSAGE = 20 * 1024
MAX_TEXT = {
    "livekit.ParticipantInfo.sid": 15,
    "livekit.DataPacket.participant_sid": 15,
    "livekit.SessionDescription.type": 8,
    "livekit.RpcRequest.id": 36,
    "livekit.RpcAck.request_id": 36,
    "livekit.RpcResponse.request_id": 36,
}
MAX_ENTRIES = {"livekit.JoinResponse.ice_servers": 4, "livekit.TrackInfo.audio_features": 8}
UNDERSTOOD = {"join", "answer", "offer", "trickle", "update", "leave", "room_update", "pong_resp"}
CHANNELS = {"_reliable": {}, "_lossy": {"ordered": False, "maxRetransmits": 0}}

OPUS = RTCRtpCodecParameters(mimeType="audio/opus", clockRate=48000, channels=2, payloadType=111)
FEEDBACK = [("goog-remb", None), ("transport-cc", None), ("ccm", "fir"), ("nack", None), ("nack", "pli")]
# It says Main, and sends Baseline.
H264 = RTCRtpCodecParameters(
    mimeType="video/H264",
    clockRate=90000,
    payloadType=102,
    rtcpFeedback=[RTCRtcpFeedback(kind, parameter) for kind, parameter in FEEDBACK],
    parameters={"level-asymmetry-allowed": "1", "packetization-mode": "1", "profile-level-id": "4d001f"},
)
aiortc.codecs.CODECS.update(audio=[OPUS], video=[H264])
aiortc.codecs.HEADER_EXTENSIONS.update(audio=[], video=[])
SSRCS = {"audio": 6, "video": 1}
NAMES = {"audio": ("webrtc-opus", "a0"), "video": ("webrtc-h264", "v0")}


class TooLarge(Exception):
    """The message has something that there is no room for."""


def check_sizes(message: Message) -> None:
    for descriptor, value in message.ListFields():
        texts = [value] if isinstance(value, str) else []
        if any(len(text.encode()) > MAX_TEXT.get(descriptor.full_name, MAX_MESSAGE) for text in texts):
            raise TooLarge(f"{descriptor.full_name}: {value}")
        many = descriptor.message_type is not None and not isinstance(value, Message)
        if many and not descriptor.message_type.GetOptions().map_entry and len(value) > MAX_ENTRIES.get(descriptor.full_name, MAX_MESSAGE):
            raise TooLarge(descriptor.full_name)
        if descriptor.message_type is not None and not descriptor.message_type.GetOptions().map_entry:
            for inner in value if many else [value]:
                check_sizes(inner)


def decode(data: bytes) -> rtc.SignalResponse | None:
    """What the device makes of a frame; `None` when it has no use for it."""
    if len(data) > MAX_MESSAGE:
        raise TooLarge(f"{len(data)} bytes")
    response = rtc.SignalResponse.FromString(data)
    if response.WhichOneof("message") not in UNDERSTOOD:
        return None
    check_sizes(response)
    return response


def written_by_esp_peer(sdp: str) -> str:
    """A description of aiortc's in the words of esp_peer, with its order of sections."""
    known = {media.kind: media for media in SessionDescription.parse(sdp).media}
    sections = [known[kind] for kind in ("audio", "video", "application") if kind in known]
    lines = ["v=0", "o=- 7801614086411001801 2 IN IP4 0.0.0.0", "s=-", "t=0 0", "a=msid-semantic: esp-webrtc"]
    lines.append(f"a=group:BUNDLE {' '.join(media.rtp.muxId for media in sections)}")
    for media in sections:
        lines += data_section(media) if media.kind == "application" else media_section(media)
        lines += transport(media)
        if media is sections[0]:
            lines += candidates(media)
    return "".join(f"{line}\r\n" for line in lines)


def data_section(media) -> list[str]:
    head = ["m=application 50712 UDP/DTLS/SCTP webrtc-datachannel", f"a=mid:{media.rtp.muxId}", "a=sctp-port:5000"]
    return [*head, "c=IN IP4 0.0.0.0", "a=max-message-size:262144"]


def media_section(media) -> list[str]:
    (cname, track), ssrc = NAMES[media.kind], SSRCS[media.kind]
    audio = ["m=audio 9 UDP/TLS/RTP/SAVP 111", "a=rtpmap:111 opus/48000/2"]
    video = ["m=video 9 UDP/TLS/RTP/SAVPF 102 106"]
    for number in (102, 106):
        video.append(f"a=rtpmap:{number} H264/90000")
        video += [f"a=rtcp-fb:{number} {' '.join(filter(None, words))}" for words in FEEDBACK]
        video.append(f"a=fmtp:{number} level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f")
    own = [f"a=ssrc:{ssrc} cname:{cname}", f"a=ssrc:{ssrc} msid:esp_stream {track}", "a=sendrecv", f"a=mid:{media.rtp.muxId}"]
    return [*(audio if media.kind == "audio" else video), *own, f"a=msid:esp_stream {track}", "c=IN IP4 0.0.0.0", "a=rtcp-mux"]


def transport(media) -> list[str]:
    (fingerprint,) = [each for each in media.dtls.fingerprints if each.algorithm == "sha-256"]
    ice = [f"a=ice-ufrag:{media.ice.usernameFragment}", f"a=ice-pwd:{media.ice.password}"]
    return [f"a=fingerprint:sha-256 {fingerprint.value}", "a=setup:passive", *ice]


def candidates(media) -> list[str]:
    found = [each for each in media.ice_candidates if ":" not in each.ip]
    return [f"a=candidate:{index} 1 UDP {each.priority} {each.ip} {each.port} typ host" for index, each in enumerate(found)]


def with_candidates(sdp: str) -> str:
    """The server's description with its candidates in every section: on one transport aiortc takes those of the last. None over TCP."""
    lines = sdp.splitlines(keepends=True)
    found = [line for line in lines if line.startswith("a=candidate:") and " udp " in line.lower()]
    written, rest = [], [line for line in lines if not line.startswith("a=candidate:")]
    for line, after in zip(rest, [*rest[1:], "m="]):
        written += [line, *(found if after.startswith("m=") and any(each.startswith("m=") for each in written) else [])]
    return "".join(written)


@dataclass
class Device:
    """What outlives a session."""

    url: str
    token: str
    hertz: float
    colour: list[int]
    people: dict[str, Seen] = field(default_factory=dict)
    messages: list[dict] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    session: "Session | None" = None

    def report(self) -> dict:
        people = {identity: seen.report() for identity, seen in self.people.items()}
        return {"people": people, "messages": self.messages, "states": self.states, "faults": self.faults}

    async def live(self) -> None:
        """Joins, again and again, a little later each time."""
        attempt = 0
        while True:
            self.session = Session(self)
            try:
                await self.session.run()
            except (aiohttp.ClientError, ConnectionError):
                pass
            attempt = 1 if self.session.connected else attempt + 1
            self.states.append("backoff")
            await asyncio.sleep(min(7.0, 0.1 * (1 << attempt) + random.random()))


class Session:
    """One life of the socket and its two connections."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.socket: aiohttp.ClientWebSocketResponse | None = None
        self.publisher: RTCPeerConnection | None = None
        self.subscriber: RTCPeerConnection | None = None
        self.own_sid = ""
        self.heard: str | None = None
        self.opened: dict = {}
        self.connected = False
        self.offers = 0
        self.heard_at = time.monotonic()
        self.tasks: set[asyncio.Task] = set()

    async def run(self) -> None:
        """Until the socket or a connection is gone."""
        headers = {"Authorization": f"Bearer {self.device.token}"}
        async with aiohttp.ClientSession() as http, http.ws_connect(f"{self.device.url}/rtc?{QUERY}", headers=headers, max_msg_size=0) as socket:
            self.socket = socket
            try:
                await self.add_tracks()
                async for frame in socket:
                    if frame.type == aiohttp.WSMsgType.BINARY:
                        await self.take(frame.data)
            finally:
                await self.close()

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        for connection in (self.publisher, self.subscriber):
            if connection:
                await connection.close()

    async def send(self, **message: Message) -> None:
        await self.socket.send_bytes(rtc.SignalRequest(**message).SerializeToString())

    async def add_tracks(self) -> None:
        audio = rtc.AddTrackRequest(cid="a0", name="Audio", type=models.TrackType.AUDIO, source=models.TrackSource.MICROPHONE)
        layer = models.VideoLayer(quality=models.VideoQuality.HIGH, width=WIDTH, height=HEIGHT)
        video = rtc.AddTrackRequest(
            cid="v0", name="Video", type=models.TrackType.VIDEO, source=models.TrackSource.CAMERA, width=WIDTH, height=HEIGHT,
            layers=[layer], backup_codec_policy=models.BackupCodecPolicy.REGRESSION,
        )  # fmt: skip
        await self.send(add_track=audio)
        await self.send(add_track=video)

    async def take(self, data: bytes) -> None:
        try:
            response = decode(data)
        except TooLarge as error:
            self.device.faults.append(f"dropped: {error}")
            return
        match response and response.WhichOneof("message"):
            case "join":
                await self.joined(response.join)
            case "answer":
                await self.publisher.setRemoteDescription(RTCSessionDescription(sdp=with_candidates(response.answer.sdp), type="answer"))
            case "offer":
                await self.answer(response.offer.sdp)
            case "trickle":
                # Candidates are in the descriptions, too.
                json.loads(response.trickle.candidateInit)["candidate"]
            case "update":
                for participant in response.update.participants:
                    if participant.sid != self.own_sid:
                        await self.subscribe(participant)
            case "pong_resp":
                self.heard_at = time.monotonic()

    async def joined(self, join: rtc.JoinResponse) -> None:
        if not any(server.urls for server in join.ice_servers):
            self.device.faults.append("no ICE server, without which it does not go on")
            raise ConnectionError
        self.own_sid = join.participant.sid
        self.start(self.ping(max(1, join.ping_interval), max(1, join.ping_timeout)))
        self.publisher, self.subscriber = self.connection(), self.connection()
        self.subscriber.on("track", self.hear)
        self.subscriber.on("datachannel", lambda channel: channel.on("message", self.receive))
        await self.offer()
        for participant in join.other_participants:
            await self.subscribe(participant)

    def connection(self) -> RTCPeerConnection:
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))

        async def changed() -> None:
            if connection.connectionState == "failed":
                await self.socket.close()

        connection.on("connectionstatechange", changed)
        return connection

    async def offer(self) -> None:
        for track in (Tone(self.device.hertz), Picture(self.device.colour)):
            sender = self.publisher.addTransceiver(track, direction="sendonly").sender
            sender._ssrc = SSRCS[track.kind]
        for label, settings in CHANNELS.items():
            channel = self.publisher.createDataChannel(label, **settings)
            channel.on("open", lambda channel=channel: self.open(channel))
            channel.on("message", self.receive)
        await self.publisher.setLocalDescription(await self.publisher.createOffer())
        self.refuse_fragments(self.publisher)
        offer = written_by_esp_peer(self.publisher.localDescription.sdp)
        await self.send(offer=rtc.SessionDescription(type="offer", sdp=offer))

    async def answer(self, offer: str) -> None:
        self.offers += 1
        if self.offers > 1:
            self.device.faults.append("there was another offer, which it cannot take")
            return
        connection = self.subscriber
        await connection.setRemoteDescription(RTCSessionDescription(sdp=with_candidates(offer), type="offer"))
        (transport,) = transports(connection)
        transport._set_role("server")
        nominate_nothing(transport.transport._connection)
        await connection.setLocalDescription(await connection.createAnswer())
        self.refuse_fragments(connection)
        answer = written_by_esp_peer(connection.localDescription.sdp)
        await self.send(answer=rtc.SessionDescription(type="answer", sdp=answer))

    def refuse_fragments(self, connection: RTCPeerConnection) -> None:
        """As a DTLS server mbedTLS takes a ClientHello in one piece only."""
        (transport,) = transports(connection)
        receive = transport.transport._recv

        async def one_piece() -> bytes:
            while True:
                data = await receive()
                hello = len(data) > 25 and data[0] == 22 and data[3:5] == bytes(2) and data[13] == 1
                if not hello or data[14:17] == data[22:25]:
                    return data
                self.device.faults.append("dropped: a ClientHello in fragments")

        transport.transport._recv = one_piece

    async def subscribe(self, participant: models.ParticipantInfo) -> None:
        track = next((track for track in participant.tracks if track.type == models.TrackType.AUDIO), None)
        if self.heard is not None or track is None:
            return
        self.heard = participant.identity
        await self.send(subscription=rtc.UpdateSubscription(track_sids=[track.sid], subscribe=True))

    def hear(self, track) -> None:
        self.start(watch(track, self.device.people.setdefault(self.heard, Seen())))

    def open(self, channel) -> None:
        self.opened[channel.label] = channel
        if len(self.opened) == len(CHANNELS):
            self.connected = True
            self.device.states.append("reconnected" if self.device.states else "connected")

    def receive(self, data: bytes) -> None:
        packet = models.DataPacket.FromString(data)
        try:
            check_sizes(packet)
        except TooLarge as error:
            self.device.faults.append(f"dropped: {error}")
            return
        if packet.WhichOneof("value") == "user":
            text = packet.user.payload.decode()
            self.device.messages.append({"from": packet.participant_identity, "text": text, "topic": packet.user.topic})

    def say(self, text: str) -> None:
        packet = models.DataPacket(user=models.UserPacket(payload=text.encode(), topic="esp32"))
        self.opened["_reliable"].send(packet.SerializeToString())

    async def ping(self, interval: int, timeout: int) -> None:
        """Only the answer to a ping keeps it from giving up."""
        self.heard_at = time.monotonic()
        while time.monotonic() - self.heard_at < timeout:
            await asyncio.sleep(interval)
            await self.send(ping_req=rtc.Ping(timestamp=round(time.time() * 1000)))
        self.device.faults.append("no answer to its pings")
        await self.socket.close()

    async def leave(self) -> None:
        await self.send(leave=rtc.LeaveRequest(reason=models.DisconnectReason.CLIENT_INITIATED))
        await self.socket.close()

    def start(self, work) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


def transports(connection: RTCPeerConnection) -> set:
    """Of all sections there is one."""
    return {section.transport for section in [*connection.getReceivers(), connection.sctp] if section}


def nominate_nothing(ice: aioice.Connection) -> None:
    """Its checks say that it is controlled. It takes what answers, which aiortc does as the controlling side."""
    build = ice.build_request

    def controlled(pair, nominate):
        request = build(pair, nominate)
        request.attributes["ICE-CONTROLLED"] = request.attributes.pop("ICE-CONTROLLING")
        request.attributes.pop("USE-CANDIDATE", None)
        return request

    ice.build_request = controlled


async def main() -> None:
    url, token, hertz, colour = sys.argv[1:5]
    device = Device(url, token, float(hertz), [int(part) for part in colour.split(",")])
    tasks = [asyncio.create_task(device.live()), asyncio.create_task(tell(device.report))]
    async for order in orders():
        if text := order.get("say"):
            device.session.say(text)
    await device.session.leave()
    for task in tasks:
        task.cancel()


asyncio.run(main())
