"""A worker of the stock Agents SDK: each job joins its room, plays a tone, and stays until its job is ended.

Arguments: URL, the agent's name (may be empty), tone in hertz, and what its jobs are for: "room" or "publisher". Prints
one JSON object per line: {"registered": id}, {"job": {…}} when a job has joined its room, {"left": job} when one ends. A line
{"end": text} on a room's data channel lets the agent end its job by itself. End of input stops the worker, which lets its jobs end.
"""

import asyncio
import json
import logging
import os
import sys
import threading

import numpy
from livekit import rtc
from livekit.agents import AgentServer, JobContext, JobExecutorType
from livekit.agents.worker import ServerType

RATE = 48_000
URL, NAME, TONE, KIND = sys.argv[1:5]
KINDS = {"room": ServerType.ROOM, "publisher": ServerType.PUBLISHER}


def tell(**what) -> None:
    # One write: jobs are processes that share the pipe.
    os.write(1, (json.dumps(what) + "\n").encode())


async def play(source: rtc.AudioSource) -> None:
    count = RATE // 100
    start = 0
    while True:
        phase = 2 * numpy.pi * float(TONE) * (numpy.arange(count) + start) / RATE
        start += count
        samples = (8_000 * numpy.sin(phase)).astype(numpy.int16)
        await source.capture_frame(rtc.AudioFrame(samples.tobytes(), RATE, 1, count))


async def entrypoint(context: JobContext) -> None:
    job = context.job
    await context.connect()
    source = rtc.AudioSource(RATE, 1)
    track = rtc.LocalAudioTrack.create_audio_track("tone", source)
    options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
    await context.room.local_participant.publish_track(track, options)
    playing = asyncio.create_task(play(source))

    def hear(packet: rtc.DataPacket) -> None:
        if json.loads(packet.data).get("end"):
            context.shutdown("asked to")

    async def ended() -> None:
        playing.cancel()
        tell(left=job.id, pid=os.getpid())

    context.room.on("data_received", hear)
    context.add_shutdown_callback(ended)
    about = job.participant.identity if job.HasField("participant") else None
    said = {"id": job.id, "dispatch": job.dispatch_id, "room": job.room.name, "metadata": job.metadata}
    said |= {"attributes": dict(job.attributes), "about": about, "agent": job.agent_name}
    tell(job=said | {"identity": context.room.local_participant.identity, "worker": context.worker_id, "pid": os.getpid()})


async def run() -> None:
    # Whether a worker is too busy is measured on the whole machine, which is: every job is taken.
    server = AgentServer(
        ws_url=URL, api_key="devkey", api_secret="secret", load_threshold=float("inf"), num_idle_processes=1, port=0,
        host="127.0.0.1", job_executor_type=JobExecutorType.PROCESS,
    )
    server.rtc_session(entrypoint, agent_name=NAME, type=KINDS[KIND])
    server.on("worker_registered", lambda worker, _server: tell(registered=worker))
    running = asyncio.create_task(server.run())
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=wait, daemon=True).start()
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    await server.aclose()
    running.cancel()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(run())
