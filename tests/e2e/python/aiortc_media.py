"""What aiortc publishes and what it hands over, in pictures and sounds that can be recognised (media.py)."""

import fractions

import av
import numpy
from aiortc import AudioStreamTrack, MediaStreamTrack, VideoStreamTrack
from aiortc.mediastreams import MediaStreamError

from media import FRAMES_PER_SECOND, RATE, Clock, Seen, picture, tone

CHUNK = RATE // 50
VIDEO_CLOCK = 90_000


class Tone(AudioStreamTrack):
    def __init__(self, hertz: float) -> None:
        super().__init__()
        self.hertz = hertz
        self.clock = Clock(RATE / CHUNK)

    async def recv(self) -> av.AudioFrame:
        start = await self.clock.tick() * CHUNK
        frame = av.AudioFrame.from_ndarray(tone(self.hertz, start, CHUNK).reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, start, fractions.Fraction(1, RATE)
        return frame


class Picture(VideoStreamTrack):
    def __init__(self, colour: list[int]) -> None:
        super().__init__()
        self.colour = colour
        self.clock = Clock(FRAMES_PER_SECOND)

    async def recv(self) -> av.VideoFrame:
        count = await self.clock.tick()
        frame = av.VideoFrame.from_ndarray(picture(self.colour, count), format="rgb24")
        frame.pts, frame.time_base = count * VIDEO_CLOCK // FRAMES_PER_SECOND, fractions.Fraction(1, VIDEO_CLOCK)
        return frame


async def watch(track: MediaStreamTrack, seen: Seen) -> None:
    """Until the track ends."""
    mono = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    try:
        while True:
            frame = await track.recv()
            if track.kind == "video":
                seen.look(frame.to_ndarray(format="rgb24"))
            else:
                for piece in mono.resample(frame):
                    seen.listen(piece.to_ndarray().reshape(-1).astype(numpy.float32))
    except MediaStreamError:
        pass
