"""What the mouth takes: first audio, real-time factor, cancel to silence, gaps, memory.

    python scripts/bench_parts/tts.py [--voice NAME_OR_PATH] [--backend onnx|openvino] [--n 30]

First audio is taken at LiveKit's event, from the moment the first text was pushed: nothing in between is left out.
"CPU" is the time of the voice's own thread, which other work on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import time
from dataclasses import dataclass

from voice_agent import trace as probe
from voice_agent.budget.stats import percentile
from voice_agent.config import models
from voice_agent.tts import PiperTTS, Voice

OPENING = "Sure, I can help you with that."
CLAUSE = "I can help you with that."
PLAIN_180 = (
    "The quick brown fox jumps over the lazy dog near the river bank and then it turns around to look at the people who"
    " are standing on the bridge and watching it with great interest now."
)
REPLY = (
    "Well, the museum opens at nine thirty every morning, except on Mondays. A ticket is 12 dollars, and children under"
    " six go free. If you want to see the new wing, come early, because it fills up fast."
)


@dataclass(frozen=True, slots=True)
class Row:
    """One measured figure: its values, and the bar it has to keep below."""

    name: str
    values: tuple[float, ...]
    bar: float
    unit: str = "ms"

    def line(self) -> str:
        low, mid, high = (percentile(self.values, q) for q in (0, 50, 95))
        digits = 3 if self.unit == "" else 1
        return (
            f"| {self.name} | {len(self.values)} | {low:.{digits}f} | {mid:.{digits}f} | {high:.{digits}f} |"
            f" {f'{self.bar:g} {self.unit}'.strip()} |"
        )


@dataclass(frozen=True, slots=True)
class Heard:
    """One reply as a sink that plays in real time from the first frame on would have heard it."""

    first_ms: float
    made_ms: float
    gaps: int
    audio_s: float


async def say(mouth: PiperTTS, text: str, *, token_s: float = 0.0) -> Heard:
    """Push ``text`` in tokens of about four characters, ``token_s`` apart, and listen."""
    trace = probe.GenerationTrace("bench")
    with probe.generation(trace):
        stream = mouth.stream()
    start = time.perf_counter()

    async def feed() -> None:
        for at in range(0, len(text), 4):
            stream.push_text(text[at : at + 4])
            await asyncio.sleep(token_s)
        stream.end_input()

    feeding = asyncio.create_task(feed())
    first, until, gaps, audio_s = 0.0, 0.0, 0, 0.0
    async for event in stream:
        now = time.perf_counter()
        if not first:
            first = until = now
        gaps += now > until + 0.001
        until = max(until, now) + event.frame.duration
        audio_s += event.frame.duration
    await feeding
    await stream.aclose()
    made_ms = 1e3 * (trace.marks["tts_first_audio"] - trace.marks["chunk_ready"])
    return Heard(1e3 * (first - start), made_ms, gaps, audio_s)


async def cancel(mouth: PiperTTS) -> tuple[float, float]:
    """(ms until a cancelled stream is closed, with nothing more to come; ms until the voice's thread is free)."""
    stream = mouth.stream()
    stream.push_text(REPLY * 3)
    stream.end_input()
    await anext(stream)
    await asyncio.sleep(0.05)  # in the middle of a piece
    start = time.perf_counter()
    await stream.aclose()
    closed = time.perf_counter()
    await mouth.load()
    return 1e3 * (closed - start), 1e3 * (time.perf_counter() - start)


def real_time_factors(voice: Voice, text: str, *, low_latency: bool, n: int) -> tuple[float, ...]:
    """CPU seconds of this thread per second of speech."""
    factors = []
    for _ in range(n):
        start = time.thread_time()
        samples = sum(piece.samples.size for piece in voice.speak(text, low_latency=low_latency))
        factors.append((time.thread_time() - start) * voice.sample_rate / samples)
    return tuple(factors)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voice", default="en_US-joe-medium")
    parser.add_argument("--backend", default="onnx", choices=("onnx", "openvino"), help="what runs it: tts.backend")
    parser.add_argument("--n", type=int, default=30)
    options = parser.parse_args()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    mouth = PiperTTS(options.voice, backend=options.backend)
    await mouth.load()
    loaded_s = time.perf_counter() - start
    opening = [await say(mouth, OPENING) for _ in range(options.n)]
    clause = [await say(mouth, CLAUSE) for _ in range(options.n)]
    long = [await say(mouth, PLAIN_180) for _ in range(options.n)]
    slow = [await say(mouth, REPLY, token_s=0.02) for _ in range(3)]
    fast = [await say(mouth, REPLY) for _ in range(options.n // 3)]
    stops = [await cancel(mouth) for _ in range(options.n)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await mouth.aclose()
    voice = Voice.load(*models.piper(options.voice), backend=options.backend)
    rows = [
        Row('first audio, "Sure, ..."', tuple(h.first_ms for h in opening), 60),
        Row("first audio, clause of 25 characters", tuple(h.first_ms for h in clause), 60),
        Row("first audio, 180 characters", tuple(h.first_ms for h in long), 130),
        Row('of it chunk to samples, "Sure, ..."', tuple(h.made_ms for h in opening), 60),
        Row("cancel to silence", tuple(s[0] for s in stops), 30),
        Row("cancel until the voice is free", tuple(s[1] for s in stops), 30),
        Row(
            "real-time factor (CPU), a reply", real_time_factors(voice, REPLY, low_latency=True, n=options.n), 0.12, ""
        ),
        Row(
            "real-time factor (CPU), sound ahead",
            real_time_factors(voice, REPLY, low_latency=False, n=options.n),
            0.12,
            "",
        ),
    ]
    print("| what | n | min | P50 | P95 | bar |\n|---|---|---|---|---|---|")
    for row in rows:
        print(row.line())
    replies = [*opening, *clause, *long, *slow, *fast]
    print(f"\ngaps: {sum(h.gaps for h in replies)} in {len(replies)} replies, {sum(h.audio_s for h in replies):.0f} s")
    print(
        f"load and warm-up: {loaded_s:.2f} s; peak memory {peak / 1024:.0f} MB, of it {(peak - before) / 1024:.0f} ours"
    )


if __name__ == "__main__":
    asyncio.run(main())
