"""Measures the TTS: first audio, real-time factor, time from cancel to silence, gaps, memory.

    python scripts/bench_parts/tts.py [--voice NAME_OR_PATH] [--backend onnx|openvino] [--n 30]

First audio: from the first text pushed to LiveKit's first audio event.
CPU: the time of the voice's thread, which other work on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import time
from dataclasses import dataclass

from voice_agent import trace
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
    """One measured figure: its values, and the bar that they must stay below."""

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
class PlayedReply:
    """One reply, as played in real time from the first frame on, with no buffer."""

    first_ms: float
    made_ms: float
    gaps: int
    audio_s: float


async def say(piper: PiperTTS, text: str, *, token_s: float = 0.0) -> PlayedReply:
    """Push ``text`` in tokens of about four characters, ``token_s`` apart, and time the audio."""
    generation = trace.GenerationTrace("bench")
    with trace.generation(generation):
        stream = piper.stream()
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
    made_ms = 1e3 * (generation.marks["tts_first_audio"] - generation.marks["chunk_ready"])
    return PlayedReply(1e3 * (first - start), made_ms, gaps, audio_s)


async def cancel(piper: PiperTTS) -> tuple[float, float]:
    """(ms until a cancelled stream is closed and gives no more audio; ms until the voice's thread is free)."""
    stream = piper.stream()
    stream.push_text(REPLY * 3)
    stream.end_input()
    await anext(stream)
    await asyncio.sleep(0.05)  # in the middle of a chunk
    start = time.perf_counter()
    await stream.aclose()
    closed = time.perf_counter()
    await piper.load()
    return 1e3 * (closed - start), 1e3 * (time.perf_counter() - start)


def real_time_factors(voice: Voice, text: str, *, low_latency: bool, n: int) -> tuple[float, ...]:
    """CPU seconds of this thread per second of speech."""
    factors = []
    for _ in range(n):
        start = time.thread_time()
        samples = sum(chunk.samples.size for chunk in voice.speak(text, low_latency=low_latency))
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
    piper = PiperTTS(options.voice, backend=options.backend)
    await piper.load()
    loaded_s = time.perf_counter() - start
    opening = [await say(piper, OPENING) for _ in range(options.n)]
    clause = [await say(piper, CLAUSE) for _ in range(options.n)]
    long = [await say(piper, PLAIN_180) for _ in range(options.n)]
    slow = [await say(piper, REPLY, token_s=0.02) for _ in range(3)]
    fast = [await say(piper, REPLY) for _ in range(options.n // 3)]
    stops = [await cancel(piper) for _ in range(options.n)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await piper.aclose()
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
