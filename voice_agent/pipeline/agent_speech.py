"""What the agent says and how far it has been played; the barge-in policy compares it with what it hears."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from livekit import rtc

from ..audio.heard_words import HeardWords
from ..clock import SYSTEM, Clock
from ..turn.detector import AgentSound

KEPT_SPEECHES = 16  # the one that plays, and provisional ones
LOOKAHEAD_S = 0.3  # words that sound this soon count as said


@dataclass(slots=True)
class _SpokenSegment:
    """One segment of synthesised sound: its words, its length so far, whether that is all."""

    words: HeardWords = field(default_factory=HeardWords)
    total_s: float = 0.0
    complete: bool = False


class AgentSpeech:
    """For one session. A speech (LiveKit's id) may have several segments, which are played in order."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._segments: OrderedDict[str, deque[_SpokenSegment]] = OrderedDict()
        self._playing: _SpokenSegment | None = None
        self._began_at = 0.0
        self._paused_at: float | None = None
        self._paused_s = 0.0

    def synthesised(self, speech_id: str) -> Callable[[rtc.AudioFrame | None], None]:
        """A new segment of that speech: call the function that is returned with each frame, then with None."""
        segment = _SpokenSegment()
        self._segments.setdefault(speech_id, deque()).append(segment)
        while len(self._segments) > KEPT_SPEECHES:
            self._segments.popitem(last=False)

        def frame(frame: rtc.AudioFrame | None) -> None:
            if frame is None:
                segment.complete = True
            else:
                segment.words.add(frame, segment.total_s)
                segment.total_s += frame.duration

        return frame

    def playback_started(self, speech_id: str | None) -> None:
        """The next segment of that speech plays from now on."""
        segments = self._segments.get(speech_id) if speech_id is not None else None
        self._playing = segments.popleft() if segments else None
        self._began_at, self._paused_s, self._paused_at = self._clock.now(), 0.0, None

    def playback_paused(self) -> None:
        """Playback stands still from now on."""
        self._paused_at = self._clock.now()

    def playback_resumed(self) -> None:
        """Playback goes on."""
        if self._paused_at is not None:
            self._paused_s += self._clock.now() - self._paused_at
            self._paused_at = None

    def playback_finished(self) -> None:
        """The segment is over, or was cleared."""
        self._playing = self._paused_at = None

    def now_playing(self) -> AgentSound:
        """The words played so far, and how much sound is left (None while it is still being synthesised)."""
        segment = self._playing
        if segment is None:
            return AgentSound()
        until = self._clock.now() if self._paused_at is None else self._paused_at
        position = max(0.0, until - self._began_at - self._paused_s)
        left = max(0.0, segment.total_s - position) if segment.complete else None
        return AgentSound(segment.words.until(position + LOOKAHEAD_S) or "", left)


__all__ = ["AgentSpeech"]
