"""The user's microphone and loudspeaker in a test: speech with known words in, the words of the replies out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import numpy as np
from livekit import rtc

from ...audio.timeline import USER_RATE, Timeline
from ...clock import SYSTEM, Clock
from ..harness.script_input import ScriptInput
from ..harness.script_output import ScriptOutput
from .deviations import Deviations
from .synthetic_speech import Spoken, spoken, text_in


class ScriptedInput(ScriptInput):
    """The user's microphone, on a timeline of its own or one that it shares with a :class:`ScriptedOutput`.

    ``async with ScriptedInput(timeline) as microphone: ... microphone.speak("Hello.")``. Leaving the block raises
    ScriptError for sentences that were not spoken to their end.
    """

    def __init__(self, timeline: Timeline | None = None, *, clock: Clock = SYSTEM) -> None:
        self.timeline = timeline or Timeline(None, clock)
        super().__init__(self.timeline)
        self._sentences: list[tuple[int, Spoken]] = []
        self._feeding: asyncio.Task[None] | None = None

    def speak(self, *parts: str | float) -> float:
        """Say texts, with seconds of silence between them. Returns when the last word ends (the clock's time)."""
        said = spoken(*parts)
        start = self.say(said.pcm)
        self._sentences.append((start + len(said.pcm), said))
        return self.timeline.started_at + start / USER_RATE + said.end_s

    def verify(self) -> None:
        """Raise ScriptError for sentences that were not spoken to their end."""
        notes = Deviations("the user")
        notes.left_over([repr(said.text) for stop, said in self._sentences if stop > self.position])
        notes.check()

    async def __aenter__(self) -> ScriptedInput:
        self.timeline.start()
        self._feeding = asyncio.create_task(self.feed())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._feeding is not None:
            self._feeding.cancel()
            await asyncio.gather(self._feeding, return_exceptions=True)
        if kind is None:
            self.verify()


class ScriptedOutput(ScriptOutput):
    """The user's loudspeaker. ``heard``: the words of each reply that were played, up to its interruption.

    ``expected``: the replies, in order. :meth:`verify` raises ScriptError for other replies and for missing ones; an
    interrupted reply must be the beginning of the expected one. Only a doubled voice has words
    (:class:`~voice_agent.testing.doubles.tts.ScriptedTTS`), and only if nothing on the way changes samples.
    """

    def __init__(
        self,
        timeline: Timeline,
        *,
        expected: Sequence[str] | None = None,
        on_audible: Callable[[float], None] = lambda at: None,
        on_gaps: Callable[[int, float], None] = lambda count, total_ms: None,
    ) -> None:
        super().__init__(timeline, on_audible=on_audible, on_gaps=on_gaps)
        self._expected = None if expected is None else list(expected)
        self._frames: list[rtc.AudioFrame] = []
        self._waiting: list[list[rtc.AudioFrame]] = []
        self.heard: list[str] = []
        self.interrupted: list[bool] = []

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        self._frames.append(frame)
        await super().capture_frame(frame)

    def flush(self) -> None:
        if self._frames:
            self._waiting.append(self._frames)
            self._frames = []
        super().flush()

    def on_playback_finished(
        self, *, playback_position: float, interrupted: bool, synchronized_transcript: str | None = None
    ) -> None:
        frames = self._waiting.pop(0) if self._waiting else self._frames
        if frames is self._frames:
            self._frames = []
        if frames:
            pcm = np.concatenate([np.frombuffer(f.data, np.int16) for f in frames])
            self.heard.append(text_in(pcm[: round(playback_position * frames[0].sample_rate)]))
            self.interrupted.append(interrupted)
        super().on_playback_finished(
            playback_position=playback_position,
            interrupted=interrupted,
            synchronized_transcript=synchronized_transcript,
        )

    def verify(self) -> None:
        """Raise ScriptError if something else was heard than expected (without ``expected``: never)."""
        if self._expected is None:
            return
        notes = Deviations("the loudspeaker")
        for n, (text, cut) in enumerate(zip(self.heard, self.interrupted, strict=True)):
            want = self._expected[n] if n < len(self._expected) else None
            words = text.split()
            beginning = [] if want is None else want.split()[: len(words)] if cut else want.split()
            fits = want is not None and beginning == words
            if not fits:
                notes.unexpected(repr(text), f"reply {n + 1} to be {want!r}" if want else "no further reply")
        notes.left_over([repr(text) for text in self._expected[len(self.heard) :]])
        notes.check()
