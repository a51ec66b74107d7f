"""Which words were heard: the voice's word times ride on the frames, and an output counts the samples it has played.

For an output of one's own: call :meth:`HeardWords.add` with every frame, and give :meth:`HeardWords.until` as LiveKit's
``synchronized_transcript`` when the playback was interrupted. That text becomes the assistant's message, so that the
model remembers what was heard and not what it wrote.
"""

from __future__ import annotations

from livekit import rtc
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT, TimedString


class HeardWords:
    """The words of one segment, in the order of time."""

    def __init__(self) -> None:
        self._words: list[tuple[str, float, float]] = []  # text with its spaces, start and end in seconds of sound
        self._known = False

    def add(self, frame: rtc.AudioFrame, position_s: float) -> None:
        """``frame`` was handed in; ``position_s``: how much of the segment came before it (for words without times)."""
        for text in frame.userdata.get(USERDATA_TIMED_TRANSCRIPT, ()):
            if not isinstance(text, TimedString):
                continue
            self._known = True
            start = text.start_time if isinstance(text.start_time, float) else position_s
            end = text.end_time if isinstance(text.end_time, float) else start
            self._words.append((str(text), start, end))

    def until(self, position_s: float) -> str | None:
        """What was heard in the first ``position_s`` seconds of sound; a word counts once half of it was.

        None if the voice gave no word times: then nobody knows.
        """
        if not self._known:
            return None
        return "".join(text for text, start, end in self._words if (start + end) / 2 <= position_s).rstrip()
