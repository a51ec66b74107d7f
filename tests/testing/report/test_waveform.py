"""The recording: what goes into the page is what was heard, and a ledger that is wrong is found out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from voice_agent.audio.files import read_audio
from voice_agent.audio.resampling import resample
from voice_agent.budget.ledger import Mark, Turn, TurnBuilder
from voice_agent.errors import AudioError
from voice_agent.testing.harness.speech_bounds import speech_end_s
from voice_agent.testing.report.waveform import RATE, Recording, RecordingSpan, mulaw, peaks, spoken, window_of

from .conftest import write_wav


def decoded(coded: bytes) -> npt.NDArray[np.int32]:
    """G.711's own way back."""
    value = ~np.frombuffer(coded, np.uint8).astype(np.int32) & 0xFF
    size = ((((value & 0x0F) << 3) + 0x84) << ((value >> 4) & 7)) - 0x84
    return np.where(value & 0x80, -size, size)


def test_mulaw_is_g711() -> None:
    pcm = np.array([0, 32767, -32768, 4, -4, 1000], np.int16)
    assert mulaw(pcm)[:3] == b"\xff\x80\x00"  # the standard's own three corners
    every = np.arange(-32000, 32000, 7).astype(np.int16)
    off = np.abs(decoded(mulaw(every)) - every)
    assert (off <= (np.abs(every.astype(np.int32)) + 132) / 32 + 0.1).all()  # 16 steps an octave
    assert mulaw(np.zeros(0, np.int16)) == b""


def test_silence_takes_no_room_and_nothing_that_is_heard_is_lost() -> None:
    pcm = np.zeros(10 * RATE, np.int16)
    pcm[RATE : RATE + 800] = 5000
    pcm[RATE + 1600 : RATE + 2400] = 500  # after a short pause: the same stretch
    pcm[-5:] = -3000
    pieces = spoken(pcm)
    assert len(pieces) == 2
    again = np.zeros_like(pcm)
    for at, piece in pieces:
        again[at : at + len(piece)] = piece
    assert (again == pcm).all()
    assert sum(len(piece) for _, piece in pieces) < 5000
    assert spoken(np.zeros(100, np.int16)) == []


def test_peaks_are_decibels() -> None:
    pcm = np.concatenate([np.full(160, level, np.int16) for level in (0, 33, 1036, 32767)] + [np.array([9], np.int16)])
    assert list(peaks(pcm, RATE))[:4] == [0, 0, 127, 255]  # nothing, -60, -30, 0 dBFS
    assert len(peaks(pcm, RATE)) == 5


@pytest.fixture
def spoken_turn(speech: Path, tmp_path: Path) -> tuple[Path, Turn]:
    """A real sentence, and a tone that answers 0.4 s after its end."""
    clip = read_audio(speech / "ask01.wav")
    user = resample(clip.samples, clip.sample_rate, 16_000)
    ended = 3.0 + speech_end_s(user)
    both = np.zeros((round((ended + 4) * 24_000), 2), np.int16)
    at24 = resample(user, 16_000, 24_000)
    both[72_000 : 72_000 + len(at24), 0] = at24
    begin = round((ended + 0.4) * 24_000)
    both[begin : begin + 24_000, 1] = 8000
    write_wav(tmp_path / "r.wav", both.tobytes())
    builder = TurnBuilder(1)
    builder.mark(Mark.SPEECH_ENDED, ended)
    builder.mark(Mark.FIRST_AUDIBLE, ended + 0.4)
    builder.speech_ended_s, builder.first_audible_s = ended, ended + 0.4
    return tmp_path / "r.wav", builder.build()


def test_the_ledger_is_held_to_the_samples(spoken_turn: tuple[Path, Turn]) -> None:
    path, turn = spoken_turn
    with Recording(path) as recording:
        right = recording.difference_ms(turn)
        assert right is not None
        assert right <= 17  # half a VAD window: where speech ends is known no finer
        assert turn.first_audible_s is not None
        wrong = dataclasses.replace(turn, first_audible_s=turn.first_audible_s - 0.08)
        found = recording.difference_ms(wrong)
        assert found is not None
        assert found == pytest.approx(80, abs=17)
        later = dataclasses.replace(turn, first_audible_s=turn.first_audible_s + 0.9)
        late = recording.difference_ms(dataclasses.replace(later, acknowledged=turn.marks[Mark.FIRST_AUDIBLE]))
        assert late is not None
        assert late <= 17  # a word before the answer is what the samples show
        assert recording.difference_ms(dataclasses.replace(turn, cut_off=True)) is None
        user, agent = recording.read(RecordingSpan(turn.first_audible_s - 1, turn.first_audible_s + 1), RATE)
        assert len(user) == len(agent) == 2 * RATE
        assert int(np.flatnonzero(np.abs(agent) > 300)[0]) == pytest.approx(RATE, abs=40)
        assert len(recording.read(RecordingSpan(900.0, 901.0), RATE)[0]) == 0  # past its end


def test_what_is_no_recording_of_both_sides_is_refused(tmp_path: Path, speech: Path) -> None:
    for path in (tmp_path / "none.wav", speech / "ask01.wav", Path(__file__)):
        with pytest.raises(AudioError):
            Recording(path)


@pytest.mark.parametrize(
    ("said", "following", "expected"),
    [
        ((6.0, 10.0), None, (5.7, 16.4)),
        (None, None, (6.0, 16.4)),
        ((6.0, 10.0), 12.0, (5.7, 12.0)),
        ((6.0, 10.0), 10.1, (5.7, 10.9)),  # spoken into: the reply's beginning stays to be seen
    ],
)
def test_a_turn_has_its_stretch(said: Any, following: float | None, expected: tuple[float, float]) -> None:
    builder = TurnBuilder(1)
    builder.speech_ended_s, builder.first_audible_s = 10.0, 10.4
    found = window_of(builder.build(), said, following)
    assert found is not None
    assert (found.begin_s, found.end_s) == pytest.approx(expected)
    assert window_of(TurnBuilder(1).build(), None, None) is None
