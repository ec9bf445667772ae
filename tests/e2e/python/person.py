"""One person with the native Python SDK: publishes a tone and a coloured picture, and reports what it receives.

Arguments: URL, token, tone in hertz, colour as "red,green,blue". Prints the whole report as one JSON object per line whenever it
changes, at most a few times a second. Lines on standard input are JSON: {"say": text} sends a message, {"mute": bool} mutes and
unmutes the tone; end of input leaves.
"""

import asyncio
import json
import sys

import numpy
from livekit import rtc

RATE = 48_000
WIDTH, HEIGHT = 320, 180
FRAMES_PER_SECOND = 15
# Samples that a pitch is measured over: bins of about 6 Hz.
WINDOW = 8192


class Person:
    """What arrives, by the identity of the sender."""

    def __init__(self, room: rtc.Room) -> None:
        self.room = room
        self.people: dict[str, dict] = {}
        self.messages: list[dict] = []
        self.left: list[str] = []
        self.states: list[str] = []
        self.tasks: set[asyncio.Task] = set()

    def watch(self) -> None:
        self.room.on("track_subscribed", self.subscribed)
        self.room.on("track_muted", lambda who, publication: self.muted(who, publication, True))
        self.room.on("track_unmuted", lambda who, publication: self.muted(who, publication, False))
        self.room.on("data_received", self.received)
        self.room.on("reconnecting", lambda: self.states.append("reconnecting"))
        self.room.on("reconnected", lambda: self.states.append("reconnected"))
        self.room.on("participant_disconnected", lambda who: self.left.append(who.identity))

    def of(self, identity: str) -> dict:
        return self.people.setdefault(identity, {"frames": 0, "hz": 0, "muted": []})

    def muted(self, who: rtc.Participant, publication: rtc.TrackPublication, muted: bool) -> None:
        kind = "audio" if publication.kind == rtc.TrackKind.KIND_AUDIO else "video"
        others = [known for known in self.of(who.identity)["muted"] if known != kind]
        self.of(who.identity)["muted"] = others + [kind] if muted else others

    def received(self, packet: rtc.DataPacket) -> None:
        sender = packet.participant.identity if packet.participant else None
        self.messages.append({"from": sender, "text": packet.data.decode(), "topic": packet.topic})

    def subscribed(self, track: rtc.Track, _publication: rtc.TrackPublication, who: rtc.RemoteParticipant) -> None:
        reading = self.look(track, who) if track.kind == rtc.TrackKind.KIND_VIDEO else self.listen(track, who)
        self.start(reading)

    def start(self, work) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def look(self, track: rtc.Track, who: rtc.RemoteParticipant) -> None:
        seen = self.of(who.identity)
        async for event in rtc.VideoStream(track, format=rtc.VideoBufferType.RGB24):
            frame = event.frame
            pixels = numpy.frombuffer(frame.data, dtype=numpy.uint8).reshape(frame.height, frame.width, 3)
            middle = pixels[frame.height // 2, frame.width // 2]
            seen.update(frames=seen["frames"] + 1, width=frame.width, height=frame.height, colour=middle.tolist())

    async def listen(self, track: rtc.Track, who: rtc.RemoteParticipant) -> None:
        heard = self.of(who.identity)
        samples = numpy.zeros(0, dtype=numpy.float32)
        async for event in rtc.AudioStream(track, sample_rate=RATE, num_channels=1):
            samples = numpy.append(samples, numpy.frombuffer(event.frame.data, dtype=numpy.int16))
            if len(samples) >= WINDOW:
                heard["hz"] = pitch(samples[:WINDOW])
                samples = samples[WINDOW:]

    def report(self) -> str:
        return json.dumps({"people": self.people, "messages": self.messages, "left": self.left, "states": self.states, "identity": self.room.local_participant.identity})


def pitch(samples: numpy.ndarray) -> int:
    """The strongest frequency below 2,500 Hz; 0 for silence."""
    spectrum = numpy.abs(numpy.fft.rfft(samples * numpy.hanning(len(samples))))
    below = spectrum[: int(2500 * len(samples) / RATE)]
    loudest = int(numpy.argmax(below))
    return round(loudest * RATE / len(samples)) if below[loudest] > 1000 * 50 else 0


async def publish_tone(room: rtc.Room, source: rtc.AudioSource, track: rtc.LocalAudioTrack, hertz: float) -> None:
    await room.local_participant.publish_track(track, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE))
    chunk = RATE // 100
    start = 0
    while True:
        phase = 2 * numpy.pi * hertz * (numpy.arange(start, start + chunk) / RATE)
        frame = rtc.AudioFrame.create(RATE, 1, chunk)
        numpy.frombuffer(frame.data, dtype=numpy.int16)[:] = (numpy.sin(phase) * 8000).astype(numpy.int16)
        await source.capture_frame(frame)
        start += chunk


async def publish_picture(room: rtc.Room, colour: list[int]) -> None:
    source = rtc.VideoSource(WIDTH, HEIGHT)
    track = rtc.LocalVideoTrack.create_video_track("picture", source)
    options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA, simulcast=False, video_codec=rtc.VideoCodec.VP8)
    await room.local_participant.publish_track(track, options)
    pixels = numpy.zeros((HEIGHT, WIDTH, 4), dtype=numpy.uint8)
    count = 0
    while True:
        pixels[:] = [*colour, 255]
        pixels[-20:, (count * 8) % (WIDTH - 40) : (count * 8) % (WIDTH - 40) + 40] = [0, 0, 0, 255]
        source.capture_frame(rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.RGBA, pixels.tobytes()))
        count += 1
        await asyncio.sleep(1 / FRAMES_PER_SECOND)


async def obey(room: rtc.Room, tone: rtc.LocalAudioTrack) -> None:
    """Does what standard input asks, until it ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        match json.loads(line):
            case {"say": text}:
                await room.local_participant.publish_data(text, reliable=True, topic="python")
            case {"mute": muted}:
                tone.mute() if muted else tone.unmute()


async def tell(person: Person) -> None:
    last = ""
    while True:
        report = person.report()
        if report != last:
            print(report, flush=True)
        last = report
        await asyncio.sleep(0.25)


async def main() -> None:
    url, token, tone, colour = sys.argv[1:5]
    room = rtc.Room()
    person = Person(room)
    person.watch()
    await room.connect(url, token)
    source = rtc.AudioSource(RATE, 1)
    sound = rtc.LocalAudioTrack.create_audio_track("tone", source)
    person.start(publish_tone(room, source, sound, float(tone)))
    person.start(publish_picture(room, [int(part) for part in colour.split(",")]))
    person.start(tell(person))
    await obey(room, sound)
    for task in list(person.tasks):
        task.cancel()
    await room.disconnect()


asyncio.run(main())
