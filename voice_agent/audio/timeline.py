"""Both sides of a call on one time axis, written to a WAV file while the call goes on.

Sample 0 of the timeline is one instant of the monotonic clock (:attr:`Timeline.started_at`). The user's samples are
placed by counting them, the agent's by the time at which they leave a loudspeaker that plays in real time.
"""

from __future__ import annotations

import contextlib
import wave
from pathlib import Path
from types import TracebackType

import numpy as np

from ..clock import SYSTEM, Clock
from ..errors import UsageError
from .resampling import resample
from .samples import Int16

USER_RATE = 16_000
RECORD_RATE = 24_000
FORGET_S = 5  # samples are forgotten in steps of this size
AUDIBLE = 300  # of 32767 (-41 dBFS): a quieter sample does not count as the start of speech


class Track:
    """One channel at RECORD_RATE: int16 samples placed anywhere, silence elsewhere. Later samples overwrite earlier."""

    def __init__(self) -> None:
        self._pcm: Int16 = np.zeros(RECORD_RATE * 60, np.int16)
        self._base = 0  # samples before it have been forgotten
        self.end = 0

    def place(self, start: int, pcm: Int16) -> None:
        """Write ``pcm`` from sample ``start`` on."""
        first = max(start, self._base)
        pcm, stop = pcm[first - start :], start + len(pcm)
        if not len(pcm):
            return
        missing = stop - self._base - len(self._pcm)
        if missing > 0:
            self._pcm = np.concatenate([self._pcm, np.zeros(max(missing, len(self._pcm)), np.int16)])
        self._pcm[first - self._base : stop - self._base] = pcm
        self.end = max(self.end, stop)

    def mix(self, start: int, pcm: Int16) -> None:
        """Add ``pcm`` to what is there from sample ``start`` on (two sounds at once), clipped to int16."""
        both = self.read(start, start + len(pcm)).astype(np.int32) + pcm
        self.place(start, np.clip(both, -32768, 32767).astype(np.int16))

    def silence_from(self, start: int) -> None:
        """Replace everything from sample ``start`` on by silence: it was not heard."""
        start = max(start, self._base)
        self._pcm[start - self._base : max(start, self.end) - self._base] = 0
        self.end = min(self.end, start)

    def read(self, start: int, stop: int) -> Int16:
        """Samples ``start`` to ``stop``; silence after the end and where samples have been forgotten."""
        out = np.zeros(stop - start, np.int16)
        first = max(start, self._base)
        have = self._pcm[first - self._base : max(first, min(stop, self._base + len(self._pcm))) - self._base]
        out[first - start : first - start + len(have)] = have
        return out

    def forget(self, before: int) -> None:
        """Forget the samples before this one. The rest moves to the front of the same buffer, so a long call takes as
        much memory as a short one."""
        gone = before - self._base
        if gone <= RECORD_RATE * FORGET_S:
            return
        end = self.end - self._base  # after it everything is silence
        left = max(0, end - gone)
        self._pcm[:left] = self._pcm[gone : gone + left]
        self._pcm[left : max(left, end)] = 0
        self._base = before


class Timeline:
    """Two tracks and a clock. ``path``: a stereo WAV (left user, right agent) that is readable at any moment.

    ``keep``: all samples stay in memory, for evaluation afterwards; else only those not written yet (a long call).
    """

    def __init__(self, path: Path | None = None, clock: Clock = SYSTEM, *, keep: bool = True) -> None:
        self._keep = keep
        self.clock = clock
        self.started_at = clock.now()
        self.user = Track()
        self.agent = Track()
        self._written = 0
        self._wav: wave.Wave_write | None = None
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._wav = wave.open(str(path), "wb")  # noqa: SIM115 - closed in close()
            except OSError as e:
                raise UsageError(f"{path}: cannot be written ({e.strerror}); name a file in a folder of yours") from e
            self._wav.setnchannels(2)
            self._wav.setsampwidth(2)
            self._wav.setframerate(RECORD_RATE)

    def start(self) -> None:
        """Set sample 0 to now."""
        self.started_at = self.clock.now()

    def seconds(self, at: float) -> float:
        """A time of the monotonic clock as seconds on the timeline."""
        return at - self.started_at

    def place_user(self, sample_16k: int, pcm: Int16) -> None:
        """The user's 16 kHz ``pcm`` begins at sample ``sample_16k``; it is mixed with what is there."""
        self.user.mix(sample_16k * RECORD_RATE // USER_RATE, resample(pcm, USER_RATE, RECORD_RATE))

    def place_agent(self, at: float, pcm: Int16, rate: int) -> None:
        """The agent's ``pcm`` (at ``rate`` Hz) is played from the time ``at`` on."""
        self.agent.place(round(self.seconds(at) * RECORD_RATE), resample(pcm, rate, RECORD_RATE))

    def cut_agent(self, at: float) -> None:
        """Nothing of the agent is played from the time ``at`` on."""
        self.agent.silence_from(max(0, round(self.seconds(at) * RECORD_RATE)))

    def write(self, until_s: float | None = None) -> None:
        """Write up to ``until_s`` seconds (default: everything). Written samples can no longer change."""
        if self._wav is None:
            return
        end = max(self.user.end, self.agent.end) if until_s is None else int(until_s * RECORD_RATE)
        if end <= self._written:
            return
        stereo = np.stack([self.user.read(self._written, end), self.agent.read(self._written, end)], axis=1)
        self._wav.writeframes(stereo.tobytes())  # also updates the header, so the file is valid after each write
        self._written = end
        if not self._keep:
            self.user.forget(end)
            self.agent.forget(end)

    def close(self) -> None:
        """Write the rest."""
        if self._wav is not None:
            self.write()
            with contextlib.suppress(OSError):
                self._wav.close()
            self._wav = None

    def __enter__(self) -> Timeline:
        return self

    def __exit__(self, a: type[BaseException] | None, b: BaseException | None, c: TracebackType | None) -> None:
        self.close()
