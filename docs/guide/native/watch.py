"""A client without a browser: watch.py URL TOKEN joins and tells what it sees. Needs: pip install livekit"""

import asyncio
import sys

from livekit import rtc


async def count(track: rtc.RemoteVideoTrack, who: str) -> None:
    frames = 0
    async for event in rtc.VideoStream(track):
        frames += 1
        if frames % 30 == 0:
            print(f"{who}: {frames} pictures, {event.frame.width} x {event.frame.height}", flush=True)


async def main(url: str, token: str) -> None:
    room, watching = rtc.Room(), set()

    @room.on("participant_connected")
    def came(who: rtc.RemoteParticipant) -> None:
        print(f"{who.identity} is here", flush=True)

    @room.on("track_subscribed")
    def sees(track: rtc.Track, _publication, who: rtc.RemoteParticipant) -> None:
        if isinstance(track, rtc.RemoteVideoTrack):
            watching.add(asyncio.ensure_future(count(track, who.identity)))

    await room.connect(url, token)
    print(f"in {room.name} with {[who.identity for who in room.remote_participants.values()]}", flush=True)
    await room.local_participant.publish_data("hello from a program", topic="chat")
    await asyncio.Event().wait()


asyncio.run(main(sys.argv[1], sys.argv[2]))
