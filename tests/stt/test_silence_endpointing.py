from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from voice_agent.stt.silence_endpointing import SilenceEndpointing
from voice_agent.turn_events import Discard, EndOfTurn, SpeechStarted


class TestSilenceEndpointing:
    W = 0.032

    def run(self, windows: str, *, text: str = "yes", covers_s: float | None = None) -> list[Any]:
        """``#`` is a window with speech, ``.`` one without, ``t`` a text that covers all so far."""
        turn_detector, said, n = SilenceEndpointing(0.25, give_up_s=0.7), list[Any](), 0
        turn_detector.bind(said.append)
        for c in windows:
            if c == "t":
                turn_detector.text(text, n * self.W if covers_s is None else covers_s, n * self.W)
            else:
                n += 1
                turn_detector.window(n * self.W, 0.9 if c == "#" else 0.1, np.zeros(512, np.int16))
        return said

    def test_speech_text_silence(self) -> None:
        started, commit = self.run("...####t" + "." * 10)
        assert isinstance(started, SpeechStarted)
        assert started.at_s == pytest.approx(3 * self.W)
        assert isinstance(commit, EndOfTurn)
        assert (commit.text, commit.wait_s) == ("yes", 0.25)
        assert commit.speech_ended_s == pytest.approx(7 * self.W)
        assert commit.waited_s >= 0.25

    @pytest.mark.parametrize("windows", ["#.#.#.#", "....", "####t....", "####" + "." * 30, "####t....####...."])
    def test_no_end_yet(self, windows: str) -> None:
        assert not any(isinstance(d, EndOfTurn | Discard) for d in self.run(windows))

    def test_a_late_text_commits_at_once(self) -> None:
        assert isinstance(self.run("####" + "." * 30 + "t")[-1], EndOfTurn)

    def test_a_text_that_has_not_heard_the_end_does_not_commit(self) -> None:
        assert len(self.run("####" + "." * 30 + "t", covers_s=0.05)) == 1

    def test_no_words_are_given_up(self) -> None:
        assert isinstance(self.run("####t" + "." * 30, text="")[-1], Discard)
