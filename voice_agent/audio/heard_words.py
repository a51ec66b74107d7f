"""Which words of a reply were played, from the word times on its frames and the number of samples played.

For an audio output: call :meth:`HeardWords.add` with every frame, and pass :meth:`HeardWords.until` to LiveKit as
``synchronized_transcript`` when the playback was interrupted. That text becomes the assistant's message, so that the
model remembers what was heard and not what it wrote.
"""

from __future__ import annotations

from livekit import rtc
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT, TimedString


class HeardWords:
    """The words of one segment, ordered by time."""

    def __init__(self) -> None:
        self._words: list[tuple[str, float, float]] = []  # text with its spaces, start and end in seconds of sound
        self._known = False

    def add(self, frame: rtc.AudioFrame, position_s: float) -> None:
        """``frame`` was captured; ``position_s``: seconds of the segment before it (for words without times)."""
        for text in frame.userdata.get(USERDATA_TIMED_TRANSCRIPT, ()):
            if not isinstance(text, TimedString):
                continue
            self._known = True
            start = text.start_time if isinstance(text.start_time, float) else position_s
            end = text.end_time if isinstance(text.end_time, float) else start
            self._words.append((str(text), start, end))

    def until(self, position_s: float) -> str | None:
        """The text of the first ``position_s`` seconds of audio; a word counts if half of it was played.

        None if the voice gave no word times.
        """
        if not self._known:
            return None
        return "".join(text for text, start, end in self._words if (start + end) / 2 <= position_s).rstrip()
