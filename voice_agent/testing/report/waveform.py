"""The recording around a turn: its waveform, its sound, and whether the ledger agrees with it.

A recording is read in spans, never as a whole: a call may have taken hours. Sound goes into the page as 8-bit
mu-law (ITU-T G.711) at 16 kHz, each side by itself and without its silences: 16 kB a second of speech.
"""

from __future__ import annotations

import dataclasses
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from ...audio.resampling import resample
from ...audio.samples import Int16
from ...audio.timeline import RECORD_RATE, Timeline
from ...budget.ledger import Turn
from ...clock import ManualClock
from ...errors import AudioError
from ..harness.self_check import difference_ms

RATE = 16_000
PEAK_S = 0.010
QUIET = 40  # of 32767: quieter sound is left out of the page, in spans of at least GAP_S
GAP_S = 0.2
BEFORE_S, AFTER_S = 14.0, 6.0  # of a turn, at most: before the user's last sound, after the agent's first
_BIAS, _CLIP = 0x84, 32635
_ALIGN_S = 0.032 * 25  # whole VAD windows and whole samples at either rate


@dataclass(frozen=True, slots=True)
class RecordingSpan:
    """A part of the recording, in seconds from its first sample."""

    begin_s: float
    end_s: float


def window_of(turn: Turn, said_s: tuple[float, float] | None, next_begin_s: float | None) -> RecordingSpan | None:
    """The span of a turn: from just before the user's first sound to the reply's first seconds.

    None if the row does not say where on the recording it is. ``next_begin_s``: where the next turn's sound begins, if
    that is known.
    """
    ended = turn.speech_ended_s if turn.speech_ended_s is not None else said_s[1] if said_s is not None else None
    heard = turn.first_audible_s
    if ended is None:
        if heard is None:
            return None
        ended = heard
    begin = said_s[0] - 0.3 if said_s is not None and said_s[0] < ended else ended - 4.0
    end = max(ended, heard if heard is not None else ended) + AFTER_S
    if next_begin_s is not None and next_begin_s > ended:
        end = min(end, max(next_begin_s, (heard or ended) + 0.5))
    return RecordingSpan(max(0.0, begin, ended - BEFORE_S), end)


class Recording:
    """A stereo WAV: left the user, right the agent. A context manager. Raises AudioError for another file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._wav = wave.open(str(path), "rb")  # noqa: SIM115 - closed on exit
        except (OSError, EOFError, wave.Error) as error:
            raise AudioError(f"{path}: cannot be read as a recording ({error})") from None
        if (self._wav.getnchannels(), self._wav.getsampwidth()) != (2, 2):
            self._wav.close()
            raise AudioError(f"{path}: not a recording of both sides (16 bit, left the user, right the agent)")
        self.rate = self._wav.getframerate()
        self.frames = self._wav.getnframes()

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._wav.close()

    def read(self, window: RecordingSpan, rate: int) -> tuple[Int16, Int16]:
        """Both sides of a span at ``rate``; shorter where the recording ends."""
        first = min(self.frames, round(window.begin_s * self.rate))
        self._wav.setpos(first)
        raw = self._wav.readframes(max(0, round(window.end_s * self.rate) - first))
        both = np.frombuffer(raw[: len(raw) // 4 * 4], "<i2").reshape(-1, 2).astype(np.int16)
        user, agent = np.ascontiguousarray(both[:, 0]), np.ascontiguousarray(both[:, 1])
        return resample(user, self.rate, rate), resample(agent, self.rate, rate)

    def difference_ms(self, turn: Turn) -> float | None:
        """By how much the ledger's voice-to-voice time differs from the samples'; None if they do not tell."""
        if turn.speech_ended_s is None or turn.first_audible_s is None or turn.cut_off:
            return None
        heard = turn.first_audible_s
        if turn.acknowledged_ms is not None:  # "Let me see.": the samples show that first
            heard = min(heard, turn.speech_ended_s + turn.acknowledged_ms / 1000)
        begin = max(0.0, turn.speech_ended_s - 5.0)
        begin -= begin % _ALIGN_S
        user, agent = self.read(RecordingSpan(begin, heard + 2.0), RECORD_RATE)
        line = Timeline(None, ManualClock())
        line.user.place(0, user)
        line.agent.place(0, agent)
        moved = dataclasses.replace(
            turn, speech_ended_s=turn.speech_ended_s - begin, first_audible_s=turn.first_audible_s - begin
        )
        return difference_ms(line, moved)


def peaks(pcm: Int16, rate: int) -> bytes:
    """The largest amplitude of each 10 ms, 0 to 255 for -60 to 0 dBFS: a byte each."""
    step = round(rate * PEAK_S)
    padded = np.concatenate([pcm, np.zeros(-len(pcm) % step, np.int16)]).astype(np.int32)
    highest = np.abs(padded).reshape(-1, step).max(axis=1) if len(padded) else np.zeros(0, np.int32)
    level = 1.0 + np.log10(np.maximum(highest, 1) / 32767) / 3.0
    scaled: npt.NDArray[np.uint8] = np.round(np.clip(level, 0.0, 1.0) * 255).astype(np.uint8)
    return scaled.tobytes()


def mulaw(pcm: Int16) -> bytes:
    """G.711 mu-law, a byte a sample."""
    value = pcm.astype(np.int32)
    sign = np.where(value < 0, 0x80, 0)
    magnitude = np.minimum(np.abs(value), _CLIP) + _BIAS
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 7
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    coded: npt.NDArray[np.uint8] = (~(sign | (exponent << 4) | mantissa) & 0xFF).astype(np.uint8)
    return coded.tobytes()


def spoken(pcm: Int16, rate: int = RATE) -> list[tuple[int, Int16]]:
    """The parts that are not silent: (first sample, samples)."""
    loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > QUIET)
    if not len(loud):
        return []
    gap, margin = round(GAP_S * rate), round(0.02 * rate)
    breaks = np.flatnonzero(np.diff(loud) > gap)
    firsts = loud[np.concatenate([[0], breaks + 1])]
    lasts = loud[np.concatenate([breaks, [len(loud) - 1]])]
    found = []
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        begin = max(0, first - margin)
        found.append((begin, pcm[begin : last + 1 + margin]))
    return found


def spoken_into(turn: Turn, begins_s: Sequence[float]) -> bool:
    """Whether the user spoke into this reply: then the samples alone do not tell which end of speech is meant."""
    if turn.speech_ended_s is None or turn.first_audible_s is None:
        return True
    return turn.interrupted or any(turn.speech_ended_s < at < turn.first_audible_s + 0.6 for at in begins_s)
