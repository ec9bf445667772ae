"""One person with GStreamer's webrtcbin: publishes a tone and a coloured picture by WHIP, or plays by WHEP and reports what it
receives (media.py). GStreamer 1.22 has no elements for WHIP and WHEP: whip.py does their HTTP.

Arguments: URL, token, tone in hertz, colour as "red,green,blue". A URL that ends with /whip publishes, any other plays. Runs with the
Python of the system, whose packages have the bindings.
"""

import asyncio
import sys

import gi
import numpy

for library in ("Gst", "GstSdp", "GstWebRTC"):
    gi.require_version(library, "1.0")
from gi.repository import Gst, GstSdp, GstWebRTC

import whip
from media import AMPLITUDE, FRAMES_PER_SECOND, HEIGHT, RATE, WIDTH, Seen, orders, tell

VIDEO = "application/x-rtp,media=video,encoding-name=VP8,clock-rate=90000,payload=96"
AUDIO = "application/x-rtp,media=audio,encoding-name=OPUS,clock-rate=48000,encoding-params=(string)2,payload=97"
# The encoder is made for live sources and answers a request for a keyframe.
PUBLISHER = """
    webrtcbin name=peer bundle-policy=max-bundle
    audiotestsrc is-live=true freq={hertz} volume={volume} ! audio/x-raw,rate={rate},channels=1 ! opusenc
        ! rtpopuspay ! {audio} ! peer.
    videotestsrc is-live=true pattern=solid-color foreground-color={colour} ! video/x-raw,width={width},height={height},framerate={fps}/1
        ! vp8enc deadline=1 target-bitrate=500000 ! rtpvp8pay picture-id-mode=15-bit ! {video} ! peer.
"""
PLAYER = "webrtcbin name=peer bundle-policy=max-bundle"
# Without being told so it goes on with what it lost, and never asks for a new picture.
DECODERS = {
    "VP8": "rtpvp8depay request-keyframe=true wait-for-keyframe=true ! vp8dec ! videoconvert ! video/x-raw,format=RGB ! appsink name=out emit-signals=true sync=false",
    "OPUS": "rtpopusdepay ! opusdec ! audioconvert ! audioresample ! audio/x-raw,format=S16LE,rate={rate},channels=1 ! appsink name=out emit-signals=true sync=false",
}


class Person:
    def __init__(self, description: str, session: whip.Session, loop: asyncio.AbstractEventLoop) -> None:
        self.session = session
        self.loop = loop
        self.seen = Seen()
        self.candidates: list[str] = []
        self.pipeline = Gst.Pipeline()
        self.bin = Gst.parse_bin_from_description(description, False)
        self.pipeline.add(self.bin)
        self.peer = self.bin.get_by_name("peer")
        # Both come from threads of GStreamer's.
        self.peer.connect("on-ice-candidate", lambda _peer, _line, candidate: self.candidates.append(f"a={candidate}"))
        self.peer.connect("pad-added", self.decode)

    def ask(self, action: str, *arguments) -> Gst.Structure | None:
        """Has the peer connection do something, and waits for that. Values in the reply live as long as the reply."""
        promise = Gst.Promise.new()
        self.peer.emit(action, *arguments, promise)
        promise.wait()
        return promise.get_reply()

    def negotiate(self, url: str) -> None:
        reply = self.ask("create-offer", None)
        offer = reply.get_value("offer")
        self.ask("set-local-description", offer)
        text = offer.sdp.as_text()
        answer = self.session.begin(url, text)
        _, parsed = GstSdp.SDPMessage.new_from_text(answer)
        self.ask("set-remote-description", GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, parsed))
        self.session.trickle(whip.credentials(text), self.candidates)

    def decode(self, _peer: Gst.Element, pad: Gst.Pad) -> None:
        """Something arrives: its decoder is made."""
        if pad.direction != Gst.PadDirection.SRC:
            return
        codec = pad.get_current_caps().get_structure(0).get_string("encoding-name")
        decoder = Gst.parse_bin_from_description(DECODERS[codec].format(rate=RATE), True)
        take = self.look if codec == "VP8" else self.listen
        decoder.get_by_name("out").connect("new-sample", lambda sink: take(sink.emit("pull-sample")))
        self.bin.add(decoder)
        decoder.sync_state_with_parent()
        pad.link(decoder.sinkpads[0])

    def look(self, sample: Gst.Sample) -> Gst.FlowReturn:
        shape = sample.get_caps().get_structure(0)
        height, width = shape.get_value("height"), shape.get_value("width")
        # Rows begin at multiples of four bytes.
        rows = numpy.frombuffer(data(sample), dtype=numpy.uint8).reshape(height, -1)
        pixels = rows[:, : width * 3].reshape(height, width, 3)
        self.loop.call_soon_threadsafe(self.seen.look, pixels)
        return Gst.FlowReturn.OK

    def listen(self, sample: Gst.Sample) -> Gst.FlowReturn:
        self.loop.call_soon_threadsafe(self.seen.listen, numpy.frombuffer(data(sample), dtype=numpy.int16))
        return Gst.FlowReturn.OK

    def report(self) -> dict:
        return {"connection": self.peer.get_property("connection-state").value_nick, "seen": self.seen.report()}


def data(sample: Gst.Sample) -> bytes:
    buffer = sample.get_buffer()
    return buffer.extract_dup(0, buffer.get_size())


def publisher(hertz: str, colour: str) -> str:
    red, green, blue = (int(part) for part in colour.split(","))
    values = {"hertz": hertz, "volume": AMPLITUDE / 32_768, "rate": RATE, "colour": (255 << 24) + (red << 16) + (green << 8) + blue}
    return PUBLISHER.format(**values, width=WIDTH, height=HEIGHT, fps=FRAMES_PER_SECOND, audio=AUDIO, video=VIDEO)


async def main() -> None:
    url, token, hertz, colour = sys.argv[1:5]
    Gst.init(None)
    publishes = url.endswith("/whip")
    person = Person(publisher(hertz, colour) if publishes else PLAYER, whip.Session(token), asyncio.get_running_loop())
    for index, caps in enumerate((AUDIO, VIDEO)):
        if publishes:
            person.peer.emit("get-transceiver", index).set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)
        else:
            transceiver = person.peer.emit("add-transceiver", GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY, Gst.Caps.from_string(caps))
            transceiver.set_property("do-nack", caps == VIDEO)
    person.pipeline.set_state(Gst.State.PLAYING)
    await asyncio.to_thread(person.negotiate, url)
    telling = asyncio.create_task(tell(person.report))
    async for _ in orders():
        pass
    telling.cancel()
    await asyncio.to_thread(person.session.end)
    person.pipeline.set_state(Gst.State.NULL)


asyncio.run(main())
