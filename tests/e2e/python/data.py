"""One person with the native Python SDK that sends and receives data of every kind.

Arguments: URL, token. Lines on standard input are JSON: {"id": number, "do": name, ...arguments}; each is answered by a line
{"answer": id, "result": anything}. Whatever arrives is a line {"arrived": {...}}. End of input leaves.
"""

import asyncio
import hashlib
import json
import sys

from livekit import rtc


def contents(length: int) -> bytes:
    """As in harness/data.js."""
    state, letters = length, bytearray()
    for _ in range(length):
        state = (state * 1_103_515_245 + 12_345) & 0xFFFFFFFF
        letters.append(97 + (state >> 16) % 26)
    return bytes(letters)


def brief(data: bytes) -> dict:
    if len(data) > 200:
        return {"length": len(data), "checksum": hashlib.sha256(data).hexdigest()[:16]}
    return {"text": data.decode()}


def tell(line: dict) -> None:
    print(json.dumps(line), flush=True)


def arrived(kind: str, sender: str | None, **details) -> None:
    tell({"arrived": {"kind": kind, "from": sender, **details}})


class Person:
    """Does what it is asked and notes what it gets."""

    def __init__(self, room: rtc.Room) -> None:
        self.room = room
        self.tasks: set[asyncio.Task] = set()
        self.local_tracks: dict[str, rtc.LocalDataTrack] = {}
        self.remote_tracks: dict[str, rtc.RemoteDataTrack] = {}

    def start(self, work) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def watch(self) -> None:
        room = self.room
        room.register_text_stream_handler("text", lambda reader, who: self.start(self.read_text(reader, who)))
        room.register_byte_stream_handler("file", lambda reader, who: self.start(self.read_file(reader, who)))
        room.on("data_received", lambda packet: arrived("message", packet.participant and packet.participant.identity, topic=packet.topic, **brief(packet.data)))
        room.on("sip_dtmf_received", lambda dtmf: arrived("dtmf", dtmf.participant and dtmf.participant.identity, code=dtmf.code, digit=dtmf.digit))
        room.on("transcription_received", lambda segments, who, _track: arrived("transcription", who and who.identity, text=" ".join(segment.text for segment in segments)))
        room.on("participant_attributes_changed", lambda changed, who: arrived("attributes", who.identity, changed=dict(changed)))
        room.on("participant_metadata_changed", lambda who, _old, new: arrived("metadata", who.identity, text=new))
        room.on("data_track_published", self.track_published)

    def track_published(self, track: rtc.RemoteDataTrack) -> None:
        self.remote_tracks[track.info.name] = track
        arrived("data track", track.publisher_identity, name=track.info.name)

    async def read_text(self, reader: rtc.TextStreamReader, who: str) -> None:
        arrived("text", who, **brief((await reader.read_all()).encode()))

    async def read_file(self, reader: rtc.ByteStreamReader, who: str) -> None:
        data = b"".join([chunk async for chunk in reader])
        arrived("file", who, name=reader.info.name, **brief(data))

    async def read_frames(self, name: str) -> None:
        count, payload = 0, b""
        async for frame in self.remote_tracks[name].subscribe():
            count, payload = count + 1, frame.payload
            arrived("frames", None, name=name, count=count, **brief(payload))
        arrived("frames ended", None, name=name)

    async def answer_calls(self, method: str) -> None:
        async def shout(call: rtc.RpcInvocationData) -> str:
            if not call.payload:
                raise rtc.RpcError(7, "nothing to shout")
            return call.payload.upper()

        self.room.local_participant.register_rpc_method(method, shout)

    async def call(self, to: str, method: str, payload: str | None = None, length: int = 0) -> dict:
        given = contents(length).decode() if payload is None else payload
        try:
            answer = await self.room.local_participant.perform_rpc(destination_identity=to, method=method, payload=given)
        except rtc.RpcError as error:
            return {"code": error.code, "failed": error.message}
        return brief(answer.encode())

    async def send_text(self, length: int) -> None:
        await self.room.local_participant.send_text(contents(length).decode(), topic="text")

    async def send_file(self, name: str, length: int) -> None:
        writer = await self.room.local_participant.stream_bytes(name, total_size=length, topic="file")
        await writer.write(contents(length))
        await writer.aclose()

    async def dial(self, code: int, digit: str) -> None:
        await self.room.local_participant.publish_dtmf(code=code, digit=digit)

    async def transcribe(self, text: str, who: str) -> None:
        segment = rtc.TranscriptionSegment(id="1", text=text, start_time=0, end_time=0, final=True, language="en")
        transcription = rtc.Transcription(participant_identity=who, track_sid="", segments=[segment])
        await self.room.local_participant.publish_transcription(transcription)

    async def set_attributes(self, attributes: dict[str, str]) -> None:
        await self.room.local_participant.set_attributes(attributes)

    async def publish_data_track(self, name: str) -> None:
        self.local_tracks[name] = await self.room.local_participant.publish_data_track(name=name)

    async def push_frames(self, name: str, count: int, length: int) -> None:
        for _ in range(count):
            self.local_tracks[name].try_push(rtc.DataTrackFrame(payload=contents(length)))
            await asyncio.sleep(0.02)

    async def subscribe_data_track(self, name: str) -> None:
        self.start(self.read_frames(name))

    async def obey(self) -> None:
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            asked = json.loads(line)
            number, action = asked.pop("id"), asked.pop("do")
            try:
                result = await getattr(self, action)(**asked)
            except Exception as error:  # told, whatever it is
                result = {"failed": f"{type(error).__name__}: {error}"}
            tell({"answer": number, "result": result})


async def main() -> None:
    url, token = sys.argv[1:3]
    room = rtc.Room()
    person = Person(room)
    person.watch()
    await room.connect(url, token)
    await person.obey()
    for task in list(person.tasks):
        task.cancel()
    await room.disconnect()


asyncio.run(main())
