from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnxruntime as ort
import pytest

from voice_agent.onnx_tools.onnx_session import session_options
from voice_agent.stt.backends.onnx.token_rules import LEAST, Best, Rules
from voice_agent.stt.backends.onnx.whisper_graph import Network, best

# A vocabulary of 20: words 0-8, end 9, <|nospeech|> 10, <|notimestamps|> 11, times 12-19.
EOT, BEGIN, SIZE = 9, 12, 20
RULES = Rules(EOT, BEGIN, SIZE, frozenset({7}), first_timestamp=2)


@pytest.fixture(scope="module")
def session() -> ort.InferenceSession:
    """What the decoder does with its logits, alone."""
    g = Network(blocks=True)
    best(g, g.input("logits"), RULES)
    return ort.InferenceSession(g.model(), session_options(1))


class Chooser:
    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session

    def rows(self, logits: Sequence[dict[str, float]], said: Sequence[Sequence[int]]) -> list[Best]:
        """``logits``: 0 but at ``t12=5.0`` and the like, a row for each of ``said``."""
        values = np.zeros((1, len(logits), SIZE), np.float32)
        for row, likely in zip(values[0], logits, strict=True):
            for name, value in likely.items():
                row[int(name[1:])] = value
        times = np.array([RULES.times(one) for one in said], np.int64)
        feeds = {"logits": values, "from": times[:, :1], "to": times[:, 1:]}
        ids, scores = self._session.run(["ids", "scores"], feeds)
        return [Best(*i, *s) for i, s in zip(ids[0].tolist(), scores[0].tolist(), strict=True)]

    def __call__(self, said: Sequence[int], **likely: float) -> tuple[int, float]:
        return RULES.choose(self.rows([likely], [said])[0], said)


@pytest.fixture(scope="module")
def choose(session: ort.InferenceSession) -> Chooser:
    return Chooser(session)


def test_a_text_begins_with_a_time_near_the_start(choose: Chooser) -> None:
    assert choose([], t5=9.0, t18=8.0, t13=1.0)[0] == 13


def test_after_one_time_at_the_beginning_comes_a_word(choose: Chooser) -> None:
    # two times in a row are the end of a segment and the beginning of the next; one alone is the first
    assert choose([12], t15=9.0, t4=1.0)[0] == 4
    assert choose([12, 4, 15, 15], t16=9.0, t5=1.0)[0] == 5


def test_after_an_end_mark_comes_a_time_or_the_end(choose: Chooser) -> None:
    assert choose([12, 4, 16], t4=9.0, t16=5.0)[0] == 16
    assert choose([12, 4, 16], t4=9.0, t9=5.0)[0] == EOT


def test_time_does_not_run_backwards(choose: Chooser) -> None:
    assert choose([12, 4, 15], t13=9.0, t17=5.0)[0] == 17
    assert choose([12, 4, 15], t15=9.0, t13=9.0, t17=5.0)[0] == 15  # the next may begin at once
    assert choose([12, 4, 15, 15, 5], t15=9.0, t16=5.0)[0] == 16  # but a segment lasts


def test_what_is_never_said(choose: Chooser) -> None:
    assert choose([12], t7=9.0, t10=9.0, t11=9.0, t2=5.0)[0] == 2


def test_the_end_may_come_without_a_time(choose: Chooser) -> None:
    assert choose([12, 4], t9=9.0)[0] == EOT


def test_times_that_are_likelier_together_than_any_word(choose: Chooser) -> None:
    token, likelihood = choose([12, 4], t4=3.0, **{f"t{i}": 2.0 for i in range(13, 20)})
    assert token == 13
    assert likelihood == pytest.approx(math.log(1 / 7), abs=1e-5)  # among the times alone
    assert choose([12, 4], t4=4.0, **{f"t{i}": 2.0 for i in range(13, 20)})[0] == 4


def test_the_likelihood_is_among_what_is_allowed(choose: Chooser) -> None:
    token, likelihood = choose([12], t4=3.0)
    words = math.exp(3.0) + 8  # 9 words but the suppressed one, and the end
    assert token == 4
    assert likelihood == pytest.approx(3.0 - math.log(words), abs=1e-5)
    _, likelihood = choose([12, 4], t4=3.0)
    assert likelihood == pytest.approx(3.0 - math.log(words + 7), abs=1e-5)  # and the times after the first
    _, likelihood = choose([12, 4, 16], t16=1.0, t9=8.0, t4=9.0)
    assert likelihood == pytest.approx(8.0 - math.log(math.exp(8.0) + math.exp(1.0) + 3), abs=1e-3)  # end or time


def test_each_row_by_its_own_past(choose: Chooser) -> None:
    likely = {"t4": 3.0, "t15": 9.0}
    said = [[], [12], [12, 4]]
    rows = choose.rows([likely] * 3, said)
    assert [row.time_id for row in rows] == [12, rows[1].time_id, 15]
    assert rows[1].times < LEAST / 2  # none
    assert [RULES.choose(row, one)[0] for row, one in zip(rows, said, strict=True)] == [12, 4, 15]
