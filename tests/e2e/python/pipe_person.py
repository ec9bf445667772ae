"""One person with the Rust client, which has no codecs: the program `pipe` of its examples sends and receives, PyAV encodes and decodes.
Publishes a tone and a coloured picture, and reports what it receives (media.py).

Arguments: path of that program, URL, token, tone in hertz, colour as "red,green,blue". {"say": text} sends a message, {"mute": bool}
mutes and unmutes the tone.
"""

import asyncio
import base64
import json
import sys
from asyncio.subprocess import PIPE, Process

import av
import numpy
from av.video.frame import PictureType

from media import FRAMES_PER_SECOND, HEIGHT, RATE, WIDTH, Clock, Seen, orders, picture, tell, tone

CHUNK = RATE // 50
VIDEO_CLOCK = 90_000
# A frame in base64 on one line.
LONGEST_LINE = 1 << 20


class Person:
    """What arrives, by the identity of the sender."""

    def __init__(self, client: Process) -> None:
        self.client = client
        self.people: dict[str, Seen] = {}
        self.messages: list[dict] = []
        self.states: list[str] = []
        self.decoders: dict[str, Decoder] = {}
        self.keyframe_wanted = False

    def order(self, **order) -> None:
        self.client.stdin.write(f"{json.dumps(order)}\n".encode())

    def send(self, kind: str, packet: av.Packet, timestamp: int) -> None:
        self.order(**{kind: base64.b64encode(bytes(packet)).decode(), "timestamp": timestamp % 2**32})

    async def publish_tone(self, hertz: float) -> None:
        encoder = av.CodecContext.create("libopus", "w")
        encoder.sample_rate, encoder.layout, encoder.format = RATE, "mono", "s16"
        clock, sent = Clock(RATE / CHUNK), 0
        while True:
            start = await clock.tick() * CHUNK
            frame = av.AudioFrame.from_ndarray(tone(hertz, start, CHUNK).reshape(1, -1), format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, start
            for packet in encoder.encode(frame):
                self.send("sound", packet, sent)
                sent += CHUNK

    async def publish_picture(self, colour: list[int]) -> None:
        encoder = av.CodecContext.create("libvpx", "w")
        encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        encoder.framerate, encoder.bit_rate = FRAMES_PER_SECOND, 500_000
        encoder.options = {"deadline": "realtime", "lag-in-frames": "0", "auto-alt-ref": "0"}
        clock = Clock(FRAMES_PER_SECOND)
        while True:
            count = await clock.tick()
            frame = av.VideoFrame.from_ndarray(picture(colour, count), format="rgb24").reformat(format="yuv420p")
            frame.pts = count
            frame.pict_type = PictureType.I if self.keyframe_wanted else PictureType.NONE
            self.keyframe_wanted = False
            for packet in encoder.encode(frame):
                self.send("picture", packet, count * VIDEO_CLOCK // FRAMES_PER_SECOND)

    async def listen(self) -> None:
        """Takes what the client tells until it ends."""
        while line := await self.client.stdout.readline():
            match json.loads(line):
                case {"frame": payload, **frame}:
                    self.decode(base64.b64decode(payload), frame)
                case {"message": text, "from": sender, "topic": topic}:
                    self.messages.append({"from": sender, "text": text, "topic": topic})
                case {"keyframe wanted": True}:
                    self.keyframe_wanted = True
                case {"state": state, **details}:
                    self.states.append("joined anew" if details.get("full") else state)

    def decode(self, payload: bytes, frame: dict) -> None:
        decoder = self.decoders.setdefault(frame["track"], Decoder(frame["codec"]))
        decoder.take(payload, self.people.setdefault(frame["from"], Seen()))

    def report(self) -> dict:
        people = {identity: seen.report() for identity, seen in self.people.items()}
        return {"people": people, "messages": self.messages, "states": self.states}


class Decoder:
    """Of one track."""

    def __init__(self, codec: str) -> None:
        self.context = av.CodecContext.create({"opus": "libopus"}.get(codec, codec), "r")
        self.mono = av.AudioResampler(format="s16", layout="mono", rate=RATE)

    def take(self, payload: bytes, seen: Seen) -> None:
        for frame in self.context.decode(av.Packet(payload)):
            if isinstance(frame, av.VideoFrame):
                seen.look(frame.to_ndarray(format="rgb24"))
                continue
            for piece in self.mono.resample(frame):
                seen.listen(piece.to_ndarray().reshape(-1).astype(numpy.float32))


async def obey(person: Person) -> None:
    async for order in orders():
        person.order(**order)


async def main() -> None:
    program, url, token, hertz, colour = sys.argv[1:6]
    client = await asyncio.create_subprocess_exec(program, url, token, f"{WIDTH}x{HEIGHT}", stdin=PIPE, stdout=PIPE, limit=LONGEST_LINE)
    person = Person(client)
    # The client ends by itself when it cannot join or its session is over; everybody else never does.
    listening = asyncio.create_task(person.listen())
    work = [
        listening,
        asyncio.create_task(person.publish_tone(float(hertz))),
        asyncio.create_task(person.publish_picture([int(part) for part in colour.split(",")])),
        asyncio.create_task(tell(person.report)),
        asyncio.create_task(obey(person)),
    ]
    done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    client.stdin.close()
    await client.wait()
    if listening in done:
        sys.exit(f"the client ended with {client.returncode}")


asyncio.run(main())
