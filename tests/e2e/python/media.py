"""Pictures and sounds that can be recognised, what a person reports of those that arrive, and how it is told and ordered about.

Standard output has the whole report as one JSON object per line whenever it changes, at most a few times a second. Lines on standard
input are JSON too; its end means to leave.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator

import numpy

RATE = 48_000
WIDTH, HEIGHT = 320, 180
FRAMES_PER_SECOND = 15
# Samples that a pitch is measured over: bins of about 6 Hz.
WINDOW = 8192
# Who sends nothing for so long is silent. Seconds.
SILENCE = 0.5
AMPLITUDE = 8000


def pitch(samples: numpy.ndarray) -> int:
    """The strongest frequency below 2,500 Hz; 0 for silence. Samples of 16 bits, one channel."""
    spectrum = numpy.abs(numpy.fft.rfft(samples * numpy.hanning(len(samples))))
    below = spectrum[: int(2500 * len(samples) / RATE)]
    loudest = int(numpy.argmax(below))
    return round(loudest * RATE / len(samples)) if below[loudest] > 1000 * 50 else 0


def tone(hertz: float, start: int, samples: int) -> numpy.ndarray:
    """A piece of a steady tone, from sample `start` on."""
    phase = 2 * numpy.pi * hertz * (numpy.arange(start, start + samples) / RATE)
    return (numpy.sin(phase) * AMPLITUDE).astype(numpy.int16)


def picture(colour: list[int], count: int) -> numpy.ndarray:
    """One picture, red, green and blue, with something in it that moves."""
    pixels = numpy.zeros((HEIGHT, WIDTH, 3), dtype=numpy.uint8)
    pixels[:] = colour
    pixels[-20:, (count * 8) % (WIDTH - 40) : (count * 8) % (WIDTH - 40) + 40] = 0
    return pixels


class Seen:
    """What arrives of somebody."""

    def __init__(self) -> None:
        self.frames = 0
        self.hz = 0
        self.muted: list[str] = []
        self.last: dict = {}
        self.samples = numpy.zeros(0, dtype=numpy.float32)
        self.heard_at = 0.0

    def look(self, pixels: numpy.ndarray) -> None:
        """A picture, red, green and blue."""
        height, width, _ = pixels.shape
        self.frames += 1
        self.last = {"width": width, "height": height, "colour": pixels[height // 2, width // 2].tolist()}

    def listen(self, samples: numpy.ndarray) -> None:
        """A piece of sound, one channel of 16 bits."""
        self.heard_at = time.monotonic()
        self.samples = numpy.append(self.samples, samples)
        if len(self.samples) >= WINDOW:
            self.hz = pitch(self.samples[:WINDOW])
            self.samples = self.samples[WINDOW:]

    def report(self) -> dict:
        silent = time.monotonic() - self.heard_at > SILENCE
        return {"frames": self.frames, "hz": 0 if silent else self.hz, "muted": self.muted, **self.last}


async def orders() -> AsyncIterator[dict]:
    """What standard input asks, until it ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield json.loads(line)


async def tell(report) -> None:
    """Prints what `report()` returns, for ever."""
    last = ""
    while True:
        line = json.dumps(report())
        if line != last:
            print(line, flush=True)
        last = line
        await asyncio.sleep(0.25)


class Clock:
    """Paces what is sent: `await clock.tick()` returns `rate` times a second."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.count = 0
        self.start = time.monotonic()

    async def tick(self) -> int:
        """Returns how often it has ticked before."""
        await asyncio.sleep(max(0.0, self.start + self.count / self.rate - time.monotonic()))
        self.count += 1
        return self.count - 1
