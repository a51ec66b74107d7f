from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest

from voice_agent.stt import Hypothesis, WhisperEngine
from voice_agent.stt.hypothesis import Word, words_key
from voice_agent.stt.incremental import FREEZE_FROM_S, IncrementalDecoder, PassResult, boundary, common_words, join
from voice_agent.stt.pcm import quietest

from .recorded_clips import RecordedClip

RATE = 16_000
Float32 = npt.NDArray[np.float32]


@pytest.mark.parametrize(
    ("a", "b", "shared"),
    [
        ("Who wrote it?", "who wrote it", 3),
        ("Who wrote it?", "Who wrote that?", 2),
        ("Who wrote it?", "Who wrote it down?", 3),
        ("twenty-one", "twenty one", 2),
        ("so", "Who", 0),
        ("", "Who", 0),
    ],
)
def test_common_words(a: str, b: str, shared: int) -> None:
    assert common_words(a, b) == common_words(b, a) == shared


@pytest.mark.parametrize(
    ("a", "b", "joined"), [("", "b", "b"), ("a", "", "a"), ("a ", " b", "a b"), ("", "", ""), ("a.", "B", "a. B")]
)
def test_join(a: str, b: str, joined: str) -> None:
    assert join(a, b) == joined


def with_gap(at_s: float, *, length_s: float = 1.0, gap_s: float = 0.06) -> Float32:
    pcm = np.random.default_rng(1).normal(scale=0.1, size=round(length_s * RATE)).astype(np.float32)
    pcm[round((at_s - gap_s / 2) * RATE) : round((at_s + gap_s / 2) * RATE)] *= 0.01
    return pcm


class TestQuietest:
    @pytest.mark.parametrize("at_s", [0.1, 0.5, 0.77])
    def test_it_is_found(self, at_s: float) -> None:
        assert quietest(with_gap(at_s), 0, RATE) / RATE == pytest.approx(at_s, abs=0.02)

    def test_only_between_the_bounds(self) -> None:
        cut = quietest(with_gap(0.2), RATE // 2, RATE)
        assert RATE // 2 <= cut <= RATE

    @pytest.mark.parametrize(("start", "stop"), [(0, 100), (0, 1), (0, 480), (15_500, 15_600)])
    def test_a_stretch_shorter_than_30_ms(self, start: int, stop: int) -> None:
        assert start <= quietest(with_gap(0.5), start, stop) <= RATE

    def test_two_words_are_cut_where_it_is_quiet(self) -> None:
        pcm = with_gap(0.56)
        cut, loudness = boundary(pcm, Word(" a", 0.3, 0.5, 1.0), Word(" b", 0.55, 0.8, 1.0))
        assert cut / RATE == pytest.approx(0.56, abs=0.02)
        assert loudness < 0.01
        _, elsewhere = boundary(pcm, Word(" a", 0.0, 0.2, 1.0), Word(" b", 0.2, 0.4, 1.0))
        assert elsewhere > 0.05


@dataclass
class ScriptedEngine:
    """Gives ``texts`` pass by pass, with words of equal length, and notes its arguments."""

    texts: list[str]
    confirms: bool = False
    decoded: list[tuple[int, str]] = field(default_factory=list)
    confirmed: int = 0
    thorough: list[bool] = field(default_factory=list)

    def decode(
        self,
        pcm: Float32,
        *,
        previous: str = "",
        before: Hypothesis | None = None,
        speech_s: float | None = None,
        thorough: bool = True,
    ) -> Hypothesis:
        self.thorough.append(thorough)
        if before is not None and speech_s is not None:
            self.confirmed += 1
            if self.confirms:
                return before
        self.decoded.append((len(pcm), previous))
        return Hypothesis(self.texts.pop(0), (1,), len(pcm) / RATE, len(pcm) / RATE + 1.5, -0.1, 0.0)

    def words(self, h: Hypothesis) -> list[Word]:
        written = h.text.split()
        each = h.audio_s / len(written)
        return [Word(f" {w}", i * each, (i + 1) * each, 1.0) for i, w in enumerate(written)]


def incremental(engine: ScriptedEngine) -> IncrementalDecoder:
    return IncrementalDecoder(engine, freeze_from_s=4.0, keep_s=1.0)  # type: ignore[arg-type]


def sound(seconds: float) -> Float32:
    return np.random.default_rng(2).normal(scale=0.1, size=round(seconds * RATE)).astype(np.float32)


class TestFreezing:
    LONG = "one two three four five six seven eight"

    def test_short_speech_is_not_cut(self) -> None:
        engine = ScriptedEngine([self.LONG, self.LONG])
        u = incremental(engine)
        assert [u.decode(sound(3)).drop_samples, u.decode(sound(3.5)).drop_samples] == [0, 0]

    def test_words_that_two_passes_agree_on_are_frozen(self) -> None:
        engine = ScriptedEngine([self.LONG, self.LONG + " nine", "rest"])
        u = incremental(engine)
        assert u.decode(sound(5)).drop_samples == 0  # one pass agrees with nobody
        second = u.decode(sound(5.2))
        assert second.text == self.LONG + " nine"
        assert 1.0 * RATE < second.drop_samples <= (5.2 - 1.0) * RATE + RATE // 8
        third = u.decode(sound(1))
        frozen = third.text.removesuffix(" rest")
        assert self.LONG.startswith(frozen)
        assert len(frozen.split()) >= 3
        assert engine.decoded[-1] == (RATE, frozen)  # the frozen words are the context of the tail

    def test_what_they_disagree_on_is_not(self) -> None:
        engine = ScriptedEngine([self.LONG, "one two tree for fife", "x"])
        u = incremental(engine)
        u.decode(sound(5))
        assert u.decode(sound(5)).drop_samples == 0

    def test_nothing_is_frozen_in_the_pause(self) -> None:
        engine = ScriptedEngine([self.LONG, self.LONG])
        u = incremental(engine)
        u.decode(sound(5))
        assert u.decode(sound(5), final=True).drop_samples == 0

    @pytest.mark.parametrize("confirms", [True, False])
    def test_the_pause_asks_whether_the_text_still_holds(self, confirms: bool) -> None:
        engine = ScriptedEngine(["hello", "hello there"], confirms=confirms)
        u = incremental(engine)
        u.decode(sound(1))
        heard = u.decode(sound(1.2), final=True, speech_s=1.1)
        assert engine.confirmed == 1
        assert engine.thorough == [False, True]
        assert heard.text == ("hello" if confirms else "hello there")
        assert len(engine.decoded) == (1 if confirms else 2)

    def test_while_the_user_speaks_nothing_is_asked(self) -> None:
        engine = ScriptedEngine(["hello", "hello there"], confirms=True)
        u = incremental(engine)
        u.decode(sound(1))
        assert u.decode(sound(1.2)).text == "hello there"
        assert engine.confirmed == 0

    def test_the_first_pass_has_nothing_to_confirm(self) -> None:
        engine = ScriptedEngine(["hello"])
        assert incremental(engine).decode(sound(1), final=True, speech_s=0.9).text == "hello"
        assert engine.confirmed == 0

    def test_passes_that_never_agree_lose_no_sound(self) -> None:
        engine = ScriptedEngine(["head", "tail"])
        heard = incremental(engine).decode(sound(29))
        assert heard.text == "head tail"
        (first, _), (second, _) = engine.decoded
        assert first + second == 29 * RATE
        assert heard.drop_samples == first


def decode_growing(engine: WhisperEngine, pcm: Float32, step_s: float) -> tuple[PassResult, list[float], float]:
    """Decode ``pcm`` as it grows; returns the last result, the windows of all passes, and the longest tail in s."""
    u, dropped, windows, longest = IncrementalDecoder(engine), 0, [], 0.0
    for end in range(round(step_s * RATE), len(pcm), round(step_s * RATE)):
        heard = u.decode(pcm[dropped:end])
        longest = max(longest, (end - dropped) / RATE)
        dropped += heard.drop_samples
        windows.append(heard.hypothesis.window_s)
    last = u.decode(pcm[dropped:], final=True, speech_s=(len(pcm) - dropped) / RATE)
    return last, [*windows, last.hypothesis.window_s], longest


def joined(clips: list[RecordedClip], times: int) -> tuple[Float32, str]:
    pause = np.zeros(round(0.15 * RATE), np.float32)
    pcm = np.concatenate([np.concatenate([clip.float32, pause]) for clip in clips * times])
    return pcm, " ".join(clip.text for clip in clips * times)


def test_the_cost_of_a_pass_does_not_grow_with_the_utterance(engine: WhisperEngine, read: list[RecordedClip]) -> None:
    pcm, truth = joined(read, 2)
    assert len(pcm) / RATE > 30
    last, windows, longest_s = decode_growing(engine, pcm, 1.0)
    half = len(windows) // 2
    assert longest_s < FREEZE_FROM_S + 8
    assert max(windows[half:]) <= max(windows[:half]) + 3
    assert windows[-1] < FREEZE_FROM_S + 5
    wanted, got = words_key(truth), words_key(last.text)
    assert len(wanted) * 0.85 <= len(got) <= len(wanted) * 1.15
    kept = sum(word in got for word in set(wanted)) / len(set(wanted))
    assert kept > 0.85, last.text
