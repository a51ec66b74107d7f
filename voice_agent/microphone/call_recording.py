"""The recording of a call at the microphone: both sides on one timeline, written while the call goes on."""

from __future__ import annotations

from pathlib import Path

from ..audio.samples import Int16
from ..audio.stream_recorder import StreamRecorder
from ..audio.timeline import Timeline
from ..clock import Clock
from .audio_processing import RATE

WRITE_EVERY_S, WRITE_BEHIND_S = 1.0, 2.0


class CallRecording:
    """A stereo WAV at ``path`` (left the user, right the agent). Without a path the timeline stays empty."""

    def __init__(self, path: Path | None, clock: Clock) -> None:
        self._clock = clock
        self._wanted = path is not None
        self._written_at = clock.now()
        self._agent: StreamRecorder | None = None
        self._user: StreamRecorder | None = None
        self.timeline = Timeline(path, clock, keep=False)
        self.timeline.start()

    def devices_opened(self, output_rate: int) -> None:
        """The streams begin anew; the loudspeaker runs at ``output_rate`` Hz."""
        if self._wanted:
            self._agent = StreamRecorder(self.timeline, self.timeline.agent, output_rate)
            self._user = StreamRecorder(self.timeline, self.timeline.user, RATE)

    def add_agent(self, pcm: Int16, at: float) -> None:
        """``pcm`` was played; its first sample is heard at ``at`` (monotonic)."""
        if self._agent is not None:
            self._agent.add(pcm, at)

    def add_user(self, pcm: Int16, at: float) -> None:
        """``pcm`` (16 kHz) was captured, its first sample at ``at`` (monotonic)."""
        if self._user is not None:
            self._user.add(pcm, at)

    def write_due(self) -> None:
        """Write to the file what is older than ``WRITE_BEHIND_S``, at most once in ``WRITE_EVERY_S``."""
        now = self._clock.now()
        if self._wanted and now - self._written_at >= WRITE_EVERY_S:
            self._written_at = now
            self.timeline.write(self.timeline.seconds(now) - WRITE_BEHIND_S)

    def close(self) -> None:
        """Write the rest."""
        self.timeline.close()
