"""The agent's voice on its way into a room.

LiveKit's own output, with these differences:

- it is published as soon as the room is connected, not when the first participant has been found;
- audio is handed on in pieces that begin at 20 ms (LiveKit's have 50) and grow, because each piece costs the same;
- it says when the first audible sample of a reply was handed to the track, and when the track ran dry;
- what a pause takes out of the native source's 200 ms is played when the reply goes on. Those 200 ms stay, so that a
  busy moment of this process makes no gap.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from livekit import rtc

from ..audio.timeline import AUDIBLE
from ..clock import SYSTEM, Clock
from ..livekit_compat.room_output import ParticipantOutput
from .track import publish_options

SAMPLE_RATE = 24_000
PIECE_MS = 100  # at most; the first has 20
QUEUE_MS = 200


class ReplayingSource(rtc.AudioSource):
    """Plays what a pause discarded before the next frame.

    ``paused()``: whether a queue that is cleared now is to be played later. ``on_again(s)``: ``s`` seconds of audio are
    given to the track a second time.
    """

    def __init__(
        self,
        sample_rate: int,
        num_channels: int,
        queue_size_ms: int,
        *,
        paused: Callable[[], bool],
        on_again: Callable[[float], None],
    ) -> None:
        super().__init__(sample_rate, num_channels, queue_size_ms)
        self._paused, self._on_again = paused, on_again
        self._queue_bytes = 2 * num_channels * sample_rate * queue_size_ms // 1000
        self._recent = self._discarded = b""

    def clear_queue(self) -> None:
        """As LiveKit's; in a pause what had not been played is kept for later."""
        count = 2 * self.num_channels * round(self.queued_duration * self.sample_rate)
        self._discarded = self._recent[-count:] if count and self._paused() else b""
        self._recent = b""
        super().clear_queue()

    def forget(self) -> None:
        """Do not play what was discarded."""
        self._discarded = b""

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        """As LiveKit's."""
        data = bytes(frame.data)
        if self._discarded:
            again, self._discarded = self._discarded, b""
            samples = len(again) // 2 // self.num_channels
            self._on_again(samples / self.sample_rate)
            data = again + data
            frame = rtc.AudioFrame(data, self.sample_rate, self.num_channels, samples + frame.samples_per_channel)
        self._recent = (self._recent + data)[-self._queue_bytes :]
        await super().capture_frame(frame)


class RoomOutput(ParticipantOutput):
    """``on_audible(at)``: the first audible sample of a reply was handed to the track at ``at`` (monotonic).

    ``on_gaps(count, total_ms)``: how often the track has run dry in the present reply; called each time that it did.
    """

    def __init__(
        self,
        room: rtc.Room,
        *,
        on_audible: Callable[[float], None],
        on_gaps: Callable[[int, float], None],
        clock: Clock = SYSTEM,
    ) -> None:
        super().__init__(room, sample_rate=SAMPLE_RATE, piece_ms=PIECE_MS, track_publish_options=publish_options())
        self._source = ReplayingSource(
            SAMPLE_RATE,
            1,
            QUEUE_MS,
            paused=lambda: self.paused and not self.interrupted,
            on_again=self.played_again,
        )
        self.replace_source(self._source)
        self._on_audible = on_audible
        self._on_gaps = on_gaps
        self._gaps, self._gaps_ms = 0, 0.0
        self._until: float | None = None  # when the track has played all it was given, monotonic
        self._clock = clock
        self._audible = False

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        self._count_gap(frame)
        if self._audible:
            return
        loud = np.flatnonzero(np.abs(np.frombuffer(frame.data, np.int16).astype(np.int32)) > AUDIBLE)
        if len(loud):
            self._audible = True
            ahead_s = max(0.0, self.pushed_s - frame.duration)
            self._on_audible(self._clock.now() + ahead_s + int(loud[0]) / frame.sample_rate)

    def flush(self) -> None:
        super().flush()
        self._reset()

    def clear_buffer(self) -> None:
        self._source.forget()
        super().clear_buffer()
        self._reset()

    def pause(self) -> None:
        super().pause()
        self._until = None  # silence in a pause is no gap

    def _count_gap(self, frame: rtc.AudioFrame) -> None:
        if self.paused:
            return
        now = self._clock.now()
        if self._until is not None and now > self._until:
            self._gaps += 1
            self._gaps_ms += (now - self._until) * 1000
            self._on_gaps(self._gaps, self._gaps_ms)
        self._until = max(now, self._until or 0.0) + frame.duration

    def _reset(self) -> None:
        self._audible = False
        self._gaps, self._gaps_ms, self._until = 0, 0.0, None
