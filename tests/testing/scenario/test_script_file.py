"""Scripts: what is understood, and what a mistake is answered with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from voice_agent.errors import ConfigError, UsageError
from voice_agent.testing.scenario.script_file import collect, load, parse
from voice_agent.testing.scenario.script_schema import Scenario, json_schema
from voice_agent.testing.scenario.select import matches, select
from voice_agent.testing.scenario.units import decibels, seconds, share
from voice_agent.testing.scenario.user_schema import UtterancePart

HERE = Path("folder/x.voice.yaml")


def test_shorthand_becomes_pieces() -> None:
    script = parse(
        """
turns:
  - say: [Had he, {hold: 0.8s}, {say: married, voice: other}]
  - audio: [a.wav, {hold: 1100ms}, b.wav]
    backchannel: Mm-hmm.
  - say: no
    interrupt: {after: 1.2s}
    expect: {stops_within: 200ms, heard: "n.", tool_called: [a, {name: b, args: {x: 1}}]}
""",
        HERE,
    )
    scenario = script.scenario
    assert scenario.name == "x"  # the file's, where the script has none
    assert script.lines == (3, 4, 6)
    assert scenario.turns[0].pieces == (
        UtterancePart(say="Had he"),
        UtterancePart.model_validate({"hold": "0.8s"}),
        UtterancePart(say="married", voice="other"),
    )
    assert [p.hold for p in scenario.turns[1].pieces] == [None, 1.1, None]
    back = scenario.turns[1].backchannel
    assert back is not None
    assert back.say == (UtterancePart(say="Mm-hmm."),)
    assert scenario.turns[2].interrupt is not None
    expect = scenario.turns[2].expect
    assert expect.stops_within == 0.2
    assert expect.heard is not None
    assert expect.heard.regex == "n."
    assert [call.name for call in expect.tool_called or ()] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("turns:\n  - say: hi\n    expect:\n      wihtin: 1s\n", 4, "did you mean 'within'?"),
        ("turns:\n  - say: hi\n    expect: {stages: {lllm: 1s}}\n", 3, "did you mean 'llm'?"),
        ("turns:\n  - say: hi\n    expect:\n      within: 500\n", 4, "a number and its unit"),
        ("turns:\n  - say: hi\n    dtmf: '12'\n", 2, "a turn is one of"),
        ("turns:\n  - say: [a, {hold: 2}]\n", 2, "not a duration"),
        ("turns:\n  - silence: 1s\n  - silence: 1s\n    interrupt: {}\n", 3, "something to say"),
        ("turns:\n  - say: hi\n    expect: {resumes: true}\n", 2, "backchannel"),
        ("turns:\n  - say: hi\n    expect: {heard: '['}\n", 3, "regular expression"),
        ("name: a b\nturns:\n  - say: hi\n", 1, "name"),
        ("llm: sim(tfft=1ms)\nturns:\n  - say: hi\n", 1, "ttft=<duration>"),
        ("settings:\n  turn.patiense: 1\nturns:\n  - say: hi\n", 1, "turn.patience"),
        ("turns:\n  - say: hi\nturns: []\n", 3, "given twice"),
        ("turns:\n  - say: hi\n  -say: x\n", 3, "not valid YAML"),
        ("- a\n", 1, "a mapping"),
        ("turns: []\n", 1, "at least 1 item"),
        ("perturb:\n  noise: {snr: loud}\nturns:\n  - say: hi\n", 2, "decibels"),
        ("perturb:\n  loss: {rate: 200%}\nturns:\n  - say: hi\n", 2, "0% to 100%"),
    ],
)
def test_a_mistake_names_file_line_and_what_is_allowed(text: str, line: int, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, HERE)
    first = str(caught.value).splitlines()[0]
    assert first.startswith(f"{HERE}:{line}: ")
    assert says in first


def test_all_mistakes_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("nam: x\nturns:\n  - sayy: hi\n", HERE)
    assert "nam" in str(caught.value)


def test_units() -> None:
    assert (seconds("500ms"), seconds("0.8s"), seconds("2min")) == (0.5, 0.8, 120.0)
    assert (decibels("-6dB"), decibels(10), decibels("3 db")) == (-6.0, 10.0, 3.0)
    assert (share("5%"), share(0.5)) == (0.05, 0.5)
    for wrong in ("5", 5, "-1s", "2h", True, None):
        with pytest.raises(ValueError, match=r"not a duration|out of range"):
            seconds(wrong)


def test_keys_stay_as_they_are_written() -> None:
    assert parse("turns:\n  - dtmf: 012\n", HERE).scenario.turns[0].dtmf == "012"


def test_folders_names_and_selection(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no \*\.voice\.yaml"):
        collect([tmp_path])
    for name in ("echo", "noise", "slow-noise"):
        (tmp_path / f"{name}.voice.yaml").write_text("turns:\n  - say: hi\n")
    scripts = collect([tmp_path])
    assert [s.scenario.name for s in scripts] == ["echo", "noise", "slow-noise"]
    assert [s.scenario.name for s in select(scripts, "noise and not slow")] == ["noise"]
    with pytest.raises(UsageError, match="fits none"):
        select(scripts, "nothing")
    (tmp_path / "other.voice.yaml").write_text("name: echo\nturns:\n  - say: hi\n")
    with pytest.raises(ConfigError, match="already the name"):
        collect([tmp_path])
    with pytest.raises(UsageError, match="no such file"):
        load(tmp_path / "none.voice.yaml")


def test_expressions() -> None:
    assert matches("a or (b and not c)", "xb")
    assert not matches("a or (b and not c)", "xbc")
    for wrong in ("", "and", "(a", "a b", "not"):
        with pytest.raises(UsageError, match="-k"):
            matches(wrong, "a")


def test_json_schema_knows_the_shorthand() -> None:
    schema = json.loads(json.dumps(json_schema()))
    assert schema["additionalProperties"] is False
    say = json.dumps(schema["$defs"]["ScriptTurn"]["properties"]["say"])
    assert '"type": "string"' in say
    assert schema["$defs"]["TurnExpect"]["properties"]["within"]["description"]


def test_shipped_scenarios_are_understood_and_say_what_they_guard(assets: Path) -> None:
    scripts = collect([assets / "scenarios"])
    assert len(scripts) >= 17
    for script in scripts:
        assert script.scenario.guards
        assert "\n" not in script.scenario.guards
        for turn in script.scenario.turns:
            for piece in turn.pieces:
                assert piece.audio is None or (script.folder / piece.audio).is_file(), script.path
    assert isinstance(scripts[0].scenario, Scenario)
