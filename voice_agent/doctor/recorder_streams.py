"""The callbacks of the sound checks: one records the microphone, one plays a wave; both keep the time of each block."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..audio.samples import Int16
from ..clock import Clock
from .chirp import Float

AROUND_S = 0.2


@dataclass(slots=True)
class InputRecorder:
    """Records an input stream: its blocks, and the clock's time at which each was delivered."""

    rate: int
    clock: Clock
    blocks: list[Int16] = field(default_factory=list)
    ends: list[tuple[float, int]] = field(default_factory=list)
    ages_s: list[float] = field(default_factory=list)
    samples: int = 0
    lost: int = 0
    enough: threading.Event = field(default_factory=threading.Event)
    until: int = 0

    def __call__(self, pcm: Int16, age_s: float, lost: bool) -> None:
        self.blocks.append(pcm.copy())
        self.samples += len(pcm)
        self.ends.append((self.clock.now(), self.samples))
        self.ages_s.append(age_s - len(pcm) / self.rate)  # of its last sample
        self.lost += lost
        if self.samples >= self.until:
            self.enough.set()

    def wave(self) -> Float:
        """What was recorded; full scale is 1."""
        return np.concatenate(self.blocks).astype(np.float64) / 32768 if self.blocks else np.zeros(0)

    def time_of(self, sample: float) -> float:
        """The clock's time at which ``sample`` was delivered."""
        return _time_of(sample, self.ends, self.rate)

    def sample(self, at: float) -> int:
        """The sample that was delivered at the time ``at``."""
        return next((end for when, end in self.ends if when >= at), self.samples)


@dataclass(slots=True)
class WavePlayer:
    """Plays ``wave`` on an output stream, and keeps the clock's time at which each block was requested."""

    wave: Int16
    rate: int
    clock: Clock
    starts: list[tuple[float, int]] = field(default_factory=list)
    leads_s: list[float] = field(default_factory=list)
    at: int = 0
    lost: int = 0

    def __call__(self, pcm: Int16, until_s: float, lost: bool) -> None:
        piece = self.wave[self.at : self.at + len(pcm)]
        pcm[: len(piece)] = piece
        pcm[len(piece) :] = 0
        self.starts.append((self.clock.now(), self.at))
        self.leads_s.append(until_s)
        self.at += len(pcm)
        self.lost += lost

    def time_of(self, sample: float) -> float:
        """The clock's time at which ``sample`` was requested."""
        return _time_of(sample, self.starts, self.rate)


def _time_of(sample: float, marks: Sequence[tuple[float, int]], rate: int) -> float:
    """The time of ``sample``: the median over the blocks around it, because sound servers work in bursts.

    Not over all blocks: after an xrun, every later block is late.
    """
    near = [at - place / rate for at, place in marks if abs(place - sample) <= AROUND_S * rate]
    return statistics.median(near or [at - place / rate for at, place in marks]) + sample / rate
