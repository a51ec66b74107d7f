"""The user's sound of a turn: recordings and synthesised words joined with pauses, keys as tones, perturbed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...audio.files import read_audio
from ...audio.resampling import resample
from ...audio.samples import Int16
from ...config import models
from ...errors import AudioError
from ..harness.speech_bounds import speech_span
from . import stimulus
from .script_file import Script
from .script_schema import ScriptTurn
from .user_schema import Backchannel, Perturb, UtterancePart

if TYPE_CHECKING:
    from ...tts import Voice

QUIET = 150  # of 32767: below this a synthetic voice is silent
AROUND_S = 0.12  # silence before and after spoken words, as in a recording: noise begins before the speech does


@dataclass(frozen=True, slots=True)
class UtteranceAudio:
    """16 kHz mono int16; where the speech in it begins and ends, in seconds (None: no speech, as in tones)."""

    pcm: Int16
    start_s: float | None
    end_s: float | None
    synthetic: bool


def trimmed(pcm: Int16) -> Int16:
    """Without the silence before and after, except 20 ms: a pause is as long as the script says."""
    loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > QUIET)
    if not len(loud):
        return pcm
    margin = stimulus.RATE // 50
    return pcm[max(0, int(loud[0]) - margin) : int(loud[-1]) + margin]


class UtteranceSource:
    """Makes utterances of a script; keeps voices and recordings. ``default_voice``: where the script names none.

    ``say(voice, text)``: speech at 16 kHz; given by tests, else Piper.
    """

    def __init__(self, default_voice: str, say: Callable[[str, str], Int16] | None = None) -> None:
        self._default = default_voice
        self._say = say or Piper().say
        self._spoken: dict[tuple[str, str], Int16] = {}

    def utterance(
        self, script: Script, turn: ScriptTurn | Backchannel, perturb: Perturb, seed: Iterable[int]
    ) -> UtteranceAudio:
        """What ``turn`` sounds like, perturbed by ``perturb`` (the same seed, the same samples).

        The speech's end is that of the clean sound: noise does not move it. Raises AudioError, ModelError.
        """
        synthetic = False
        if isinstance(turn, ScriptTurn) and turn.dtmf is not None:
            pcm, span = stimulus.dtmf(turn.dtmf), None
            synthetic = True
        else:
            pieces = turn.say or turn.audio or ()
            voice = turn.voice or script.scenario.voice or self._default
            pcm = self._join(script, pieces, voice)
            synthetic = any(p.say is not None for p in pieces)
            if perturb.speed is not None:
                pcm = stimulus.speed(pcm, perturb.speed)
            span = speech_span(pcm)
            if span is None and isinstance(turn, ScriptTurn):
                raise AudioError(f"{script.path}: a turn has no speech in it that the VAD can hear")
        rng = np.random.default_rng(list(seed))
        noise = self._noise(script, perturb)
        changed = stimulus.perturb(pcm, perturb.model_copy(update={"speed": None}), rng, noise=noise)
        start, end = span if span is not None else (None, None)
        return UtteranceAudio(changed, start, end, synthetic)

    def _join(self, script: Script, pieces: Iterable[UtterancePart], voice: str) -> Int16:
        parts: list[Int16] = []
        for piece in pieces:
            if piece.hold is not None:
                parts.append(np.zeros(round(piece.hold * stimulus.RATE), np.int16))
            elif piece.audio is not None:
                parts.append(_read(script.folder / piece.audio))
            elif piece.say is not None:
                key = (piece.voice or voice, piece.say)
                if key not in self._spoken:
                    self._spoken[key] = trimmed(self._say(*key))
                parts.append(self._spoken[key])
        around = np.zeros(round(AROUND_S * stimulus.RATE), np.int16)
        return np.concatenate([around, *parts, around])

    def _noise(self, script: Script, perturb: Perturb) -> Int16 | None:
        how = perturb.noise
        if how is None or how.kind in ("white", "pink"):
            return None
        if how.file is not None:
            return _read(script.folder / how.file)
        clips = sorted((models.assets() / "speech").glob("sense*.wav"))  # people reading, for the babble
        return np.concatenate([_read(path) for path in clips])


def _read(path: Path) -> Int16:
    audio = read_audio(path)
    return resample(audio.samples, audio.sample_rate, stimulus.RATE)


class Piper:
    """Speaks the user's part, loading each voice once."""

    def __init__(self) -> None:
        self._loaded: dict[str, Voice] = {}

    def say(self, voice: str, text: str) -> Int16:
        """``text`` at 16 kHz. Raises ModelError for a voice that is not there."""
        from ...tts import Delivery, Voice, speakable

        if voice not in self._loaded:
            self._loaded[voice] = Voice.load(*models.piper(voice))
        speaker = self._loaded[voice]
        pieces = [piece.samples for piece in speaker.speak(speakable(text), Delivery())]
        return resample(np.concatenate(pieces), speaker.sample_rate, stimulus.RATE)
