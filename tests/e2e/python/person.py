"""One person with the native Python SDK: publishes a tone and a coloured picture, and reports what it receives (media.py).

Arguments: URL, token, tone in hertz, colour as "red,green,blue". {"say": text} sends a message, {"mute": bool} mutes and unmutes the
tone.
"""

import asyncio
import sys

import numpy
from livekit import rtc

from media import FRAMES_PER_SECOND, HEIGHT, RATE, WIDTH, Clock, Seen, orders, picture, tell, tone


class Person:
    """What arrives, by the identity of the sender."""

    def __init__(self, room: rtc.Room) -> None:
        self.room = room
        self.people: dict[str, Seen] = {}
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

    def of(self, identity: str) -> Seen:
        return self.people.setdefault(identity, Seen())

    def muted(self, who: rtc.Participant, publication: rtc.TrackPublication, muted: bool) -> None:
        kind = "audio" if publication.kind == rtc.TrackKind.KIND_AUDIO else "video"
        seen = self.of(who.identity)
        others = [known for known in seen.muted if known != kind]
        seen.muted = others + [kind] if muted else others

    def received(self, packet: rtc.DataPacket) -> None:
        sender = packet.participant.identity if packet.participant else None
        self.messages.append({"from": sender, "text": packet.data.decode(), "topic": packet.topic})

    def subscribed(self, track: rtc.Track, _publication: rtc.TrackPublication, who: rtc.RemoteParticipant) -> None:
        reading = look if track.kind == rtc.TrackKind.KIND_VIDEO else listen
        self.start(reading(track, self.of(who.identity)))

    def start(self, work) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def report(self) -> dict:
        people = {identity: seen.report() for identity, seen in self.people.items()}
        return {"people": people, "messages": self.messages, "left": self.left, "states": self.states, "identity": self.room.local_participant.identity}


async def look(track: rtc.Track, seen: Seen) -> None:
    async for event in rtc.VideoStream(track, format=rtc.VideoBufferType.RGB24):
        frame = event.frame
        seen.look(numpy.frombuffer(frame.data, dtype=numpy.uint8).reshape(frame.height, frame.width, 3))


async def listen(track: rtc.Track, seen: Seen) -> None:
    async for event in rtc.AudioStream(track, sample_rate=RATE, num_channels=1):
        seen.listen(numpy.frombuffer(event.frame.data, dtype=numpy.int16))


async def publish_tone(room: rtc.Room, source: rtc.AudioSource, track: rtc.LocalAudioTrack, hertz: float) -> None:
    await room.local_participant.publish_track(track, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE))
    chunk = RATE // 100
    start = 0
    while True:
        frame = rtc.AudioFrame.create(RATE, 1, chunk)
        numpy.frombuffer(frame.data, dtype=numpy.int16)[:] = tone(hertz, start, chunk)
        await source.capture_frame(frame)
        start += chunk


async def publish_picture(room: rtc.Room, colour: list[int]) -> None:
    source = rtc.VideoSource(WIDTH, HEIGHT)
    track = rtc.LocalVideoTrack.create_video_track("picture", source)
    options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA, simulcast=False, video_codec=rtc.VideoCodec.VP8)
    await room.local_participant.publish_track(track, options)
    clock = Clock(FRAMES_PER_SECOND)
    while True:
        pixels = picture(colour, await clock.tick())
        source.capture_frame(rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.RGB24, pixels.tobytes()))


async def obey(room: rtc.Room, sound: rtc.LocalAudioTrack) -> None:
    async for order in orders():
        match order:
            case {"say": text}:
                await room.local_participant.publish_data(text, reliable=True, topic="python")
            case {"mute": muted}:
                sound.mute() if muted else sound.unmute()


async def main() -> None:
    url, token, hertz, colour = sys.argv[1:5]
    room = rtc.Room()
    person = Person(room)
    person.watch()
    await room.connect(url, token)
    source = rtc.AudioSource(RATE, 1)
    sound = rtc.LocalAudioTrack.create_audio_track("tone", source)
    person.start(publish_tone(room, source, sound, float(hertz)))
    person.start(publish_picture(room, [int(part) for part in colour.split(",")]))
    person.start(tell(person.report))
    await obey(room, sound)
    for task in list(person.tasks):
        task.cancel()
    await room.disconnect()


asyncio.run(main())
