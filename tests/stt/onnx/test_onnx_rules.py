from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from voice_agent.stt.onnx.rules import Rules

# A vocabulary of 20: words 0-9, end 10, <|notimestamps|> 11, times 12-19.
EOT, BEGIN, SIZE = 10, 12, 20
RULES = Rules(EOT, BEGIN, np.array([7]), np.array([3, EOT]), first_timestamp=2)


def logits(**likely: float) -> npt.NDArray[np.float32]:
    """Zero everywhere but at ``t12=5.0`` and the like."""
    values = np.zeros(SIZE, np.float32)
    for name, value in likely.items():
        values[int(name[1:])] = value
    return values


def test_a_text_begins_with_a_time_near_the_start() -> None:
    assert RULES.choose(logits(t5=9.0, t18=8.0, t13=1.0), [])[0] == 13


def test_after_one_time_at_the_beginning_comes_a_word() -> None:
    # two times in a row are the end of a segment and the beginning of the next; one alone is the first
    assert RULES.choose(logits(t15=9.0, t4=1.0), [12])[0] == 4


def test_after_an_end_mark_comes_a_time_or_the_end() -> None:
    assert RULES.choose(logits(t4=9.0, t16=5.0), [12, 4, 16])[0] == 16
    assert RULES.choose(logits(t4=9.0, t10=5.0), [12, 4, 16])[0] == EOT


def test_time_does_not_run_backwards() -> None:
    assert RULES.choose(logits(t13=9.0, t17=5.0), [12, 4, 15])[0] == 17
    assert RULES.choose(logits(t15=9.0, t13=9.0, t17=5.0), [12, 4, 15])[0] == 15  # the next may begin at once
    assert RULES.choose(logits(t15=9.0, t16=5.0), [12, 4, 15, 15, 5])[0] == 16  # but a segment lasts


def test_what_is_never_said() -> None:
    assert RULES.choose(logits(t7=9.0, t11=9.0, t2=5.0), [12])[0] == 2


def test_times_that_are_likelier_together_than_any_word() -> None:
    spread = {f"t{i}": 2.0 for i in range(13, 20)}
    token, likelihood = RULES.choose(logits(t4=3.0, **spread), [12, 4])
    assert token == 13
    assert likelihood == pytest.approx(np.log(1 / 7), abs=1e-5)  # among the times alone


def test_the_likelihood_is_among_what_is_allowed() -> None:
    token, likelihood = RULES.choose(logits(t4=3.0), [12])
    allowed = [3.0] + [0.0] * 9  # 10 words but the suppressed one, and the end
    assert token == 4
    assert likelihood == pytest.approx(3.0 - np.log(np.exp(allowed).sum()), abs=1e-5)
