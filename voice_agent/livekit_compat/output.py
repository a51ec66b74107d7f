"""The agent's voice on its way into a room.

LiveKit's own output, with these differences: it is published as soon as the room is there (not when the first person
has been found); it hands sound on in pieces that begin at 20 ms (LiveKit's have 50) and grow, because each piece costs
the same; it says when the first audible sample of a reply was handed to the track, and when the track ran dry; and what
a pause takes out of the native source's 200 ms is played when the reply goes on. Those 200 ms stay, so that a busy
moment of this process makes no gap.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from livekit import rtc
from livekit.agents import utils

# LiveKit's output has no public name (1.8.9); another one would repeat its 300 lines of playout bookkeeping.
from livekit.agents.voice.room_io._output import _ParticipantAudioOutput

from ..audio.timeline import AUDIBLE
from ..clock import SYSTEM, Clock
from .track import publish_options

SAMPLE_RATE = 24_000
PIECE_MS = 100  # at most; the first has 20
QUEUE_MS = 200


class KeepingSource(rtc.AudioSource):
    """Gives back what a pause threw away, before the next frame.

    ``paused()``: is a cleared queue to be kept? ``on_again(s)``: that much sound is given to the track a second time.
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
        self._most = 2 * num_channels * sample_rate * queue_size_ms // 1000  # bytes
        self._given = self._kept = b""

    def clear_queue(self) -> None:
        """As LiveKit's; in a pause what had not been played is kept for later."""
        count = 2 * self.num_channels * round(self.queued_duration * self.sample_rate)
        self._kept = self._given[-count:] if count and self._paused() else b""
        self._given = b""
        super().clear_queue()

    def forget(self) -> None:
        """What was kept will not be wanted."""
        self._kept = b""

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        """As LiveKit's."""
        data = bytes(frame.data)
        if self._kept:
            kept, self._kept = self._kept, b""
            samples = len(kept) // 2 // self.num_channels
            self._on_again(samples / self.sample_rate)
            data = kept + data
            frame = rtc.AudioFrame(data, self.sample_rate, self.num_channels, samples + frame.samples_per_channel)
        self._given = (self._given + data)[-self._most :]
        await super().capture_frame(frame)


class RoomOutput(_ParticipantAudioOutput):
    """``on_audible(at)``: the first audible sample of a reply was handed to the track at ``at`` (monotonic).

    ``on_gaps(count, total_ms)``: how often the track has run dry in the present reply, told when it did.
    """

    def __init__(
        self,
        room: rtc.Room,
        *,
        on_audible: Callable[[float], None],
        on_gaps: Callable[[int, float], None],
        clock: Clock = SYSTEM,
    ) -> None:
        super().__init__(
            room,
            sample_rate=SAMPLE_RATE,
            num_channels=1,
            track_publish_options=publish_options(),
        )
        self._audio_bstream = utils.audio.AudioByteStream(
            SAMPLE_RATE, 1, samples_per_channel=SAMPLE_RATE * PIECE_MS // 1000, progressive=True
        )
        replaced = self._audio_source
        self._audio_source = self._keeping = KeepingSource(
            SAMPLE_RATE,
            1,
            QUEUE_MS,
            paused=lambda: not self._playback_enabled.is_set() and not self._interrupted_event.is_set(),
            on_again=self._again,
        )
        replaced._ffi_handle.dispose()  # or it lives until it is collected
        self._on_audible = on_audible
        self._on_gaps = on_gaps
        self._gaps, self._gaps_ms = 0, 0.0
        self._until: float | None = None  # when the track has played all it was given, monotonic
        self._clock = clock
        self._heard = False

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        self._count_gap(frame)
        if self._heard:
            return
        loud = np.flatnonzero(np.abs(np.frombuffer(frame.data, np.int16).astype(np.int32)) > AUDIBLE)
        if len(loud):
            self._heard = True
            ahead_s = max(0.0, self._pushed_duration + self._audio_bstream.buffered_duration - frame.duration)
            self._on_audible(self._clock.now() + ahead_s + int(loud[0]) / frame.sample_rate)

    def flush(self) -> None:
        super().flush()
        self._audio_bstream.reset_progressive()
        self._reset()

    def _again(self, seconds: float) -> None:
        self._source_discarded_duration -= seconds
        self._run_offset -= seconds

    def clear_buffer(self) -> None:
        self._keeping.forget()
        super().clear_buffer()
        self._reset()

    def pause(self) -> None:
        super().pause()
        self._until = None  # what is silent now is meant to be

    def _count_gap(self, frame: rtc.AudioFrame) -> None:
        if not self._playback_enabled.is_set():
            return
        now = self._clock.now()
        if self._until is not None and now > self._until:
            self._gaps += 1
            self._gaps_ms += (now - self._until) * 1000
            self._on_gaps(self._gaps, self._gaps_ms)
        self._until = max(now, self._until or 0.0) + frame.duration

    def _reset(self) -> None:
        self._heard = False
        self._gaps, self._gaps_ms, self._until = 0, 0.0, None
