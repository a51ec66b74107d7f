"""Scenarios of ``pipecat eval``: what has a counterpart is taken over, the rest is refused with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from voice_agent.errors import ConfigError
from voice_agent.testing.scenario.script_file import parse

HERE = Path("starter.yaml")
STARTER = """
name: starter
user:
  modality: audio
scenarios:
  - name: one
    turns:
      - expect:
          - event: response
            eval: "a greeting"
            within_ms: 5000
      - user: ["So last week I went to", {pause_ms: 2000}, "Spain."]
        expect:
          - event: user_transcription
            text_contains: "last  week"
          - event: function_call
            calls: [{name: book, args: {city: Madrid}}]
          - event: response
            within_ms: 900
            text_contains: Spain
            text_excludes: error
      - user: "Stop."
        send_after: {event: bot_started_speaking, delay_ms: 700}
      - dtmf: "12#"
"""


def test_a_starter_is_understood() -> None:
    script = parse(STARTER, HERE)
    greeting, said, stop, keys = script.scenario.turns
    assert script.scenario.name == "one"
    assert greeting.listen == 5.0
    assert greeting.expect.says is not None
    assert greeting.expect.says.judge == "a greeting"
    assert [p.hold for p in said.pieces] == [None, 2.0, None]
    assert said.expect.within == 0.9
    assert said.expect.heard is not None
    assert said.expect.heard.regex == r"last\s*week"
    assert said.expect.says is not None
    regex = said.expect.says.regex
    assert regex is not None
    assert re.search(regex, "It was Spain")
    assert not re.search(regex, "Spain error")
    assert [call.args for call in said.expect.tool_called or ()] == [{"city": "Madrid"}]
    assert stop.interrupt is not None
    assert stop.interrupt.after == 0.7
    assert keys.dtmf == "12#"
    assert script.lines[1] == 12


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("scenarios:\n  - persona: x\n    goal: y\n", 2, "simulated caller"),
        ("scenarios:\n  - turns:\n      - user: hi\n        expect:\n          - event: image\n", 5, "'image'"),
        ("scenarios:\n  - turns:\n      - user: hi\n        image: a.png\n", 4, "'image'"),
        ("scenarios:\n  - turns: []\n  - turns: []\n", 1, "one scenario a file"),
        ("turns:\n  - user: hi\ncontext:\n  - role: system\n", 3, "history"),
    ],
)
def test_what_has_no_counterpart_is_refused(text: str, line: int, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, HERE)
    assert str(caught.value).startswith(f"{HERE}:{line}: ")
    assert says in str(caught.value)
