"""``voice-agent test`` as a user runs it: mistakes, lists, and a real conversation held to its own baseline."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from voice_agent.budget.export import read_jsonl
from voice_agent.budget.ledger import Mark
from voice_agent.cli import main
from voice_agent.config import Secret
from voice_agent.errors import UsageError
from voice_agent.testing.harness.rows import scenes
from voice_agent.testing.scenario.configured import configured
from voice_agent.testing.scenario.results import Result, begin, read_run
from voice_agent.testing.scenario.script_file import parse
from voice_agent.testing.scenario.stage_timing import fell_silent_ms
from voice_agent.testing.scenario.targets import target_for
from voice_agent.testing.verdict.baseline import Baseline

HELLO = "turns:\n  - say: hello\n"


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Scenario"


def test_scripts_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.voice.yaml").write_text("guards: this\n" + HELLO)
    assert main(["test", str(tmp_path), "--list"]) == 0
    assert capsys.readouterr().out.split() == ["a", "this"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ([], "name scripts"),
        (["{}/none.voice.yaml"], "no such file"),
        (["{}"], "no *.voice.yaml"),
        (["{}/bad.voice.yaml"], "bad.voice.yaml:2: unknown key 'sayy'; did you mean 'say'?"),
        (["{}/good.voice.yaml", "--repeat", "0"], "--repeat"),
        (["{}/good.voice.yaml", "-k", "other"], "fits none"),
        (["{}/good.voice.yaml", "--tolerance", "5"], "--tolerance"),
    ],
)
def test_mistakes_end_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], says: str) -> None:
    folder = tmp_path / "scripts"
    (folder / "none").mkdir(parents=True)
    (folder / "good.voice.yaml").write_text(HELLO)
    (folder / "bad.voice.yaml").write_text("turns:\n  - sayy: hello\n")
    where = folder / "none" if more == ["{}"] else folder
    assert main(["test", *(part.format(where) for part in more)]) == 2
    assert says in capsys.readouterr().err


def test_targets_are_named() -> None:
    assert target_for("script")

    def keys(name: str) -> Secret | None:
        return {"LIVEKIT_API_KEY": Secret("k"), "LIVEKIT_API_SECRET": Secret("s")}.get(name)

    assert target_for("ws://localhost:7880", secret=keys)
    with pytest.raises(UsageError, match="LIVEKIT_URL"):
        target_for("room", secret=keys)
    with pytest.raises(UsageError, match="script, room, and the ws"):
        target_for("http://localhost")


def test_the_script_sets_what_it_says_and_nothing_else() -> None:
    from voice_agent.config import load

    script = parse("llm: sim(ttft=5ms)\nsettings: {turn.patience: 0.7}\n" + HELLO, Path("a.voice.yaml"))
    config = configured(load(env={}, flags={"stt.model": "base", "turn.wait_sure_s": 0.3}), script.scenario)
    assert config.llm.spec == "sim:ttft=5ms"
    assert (config.turn.patience, config.turn.wait_sure_s, config.stt.model) == (0.7, 0.3, "base")


def test_interruptions_belong_to_the_turn_before() -> None:
    text = "turns:\n  - say: a\n  - say: b\n    interrupt: {}\n  - silence: 1s\n  - say: c\n"
    turns = list(enumerate(parse(text, Path("a.voice.yaml")).scenario.turns))
    assert [[index for index, _ in scene] for scene in scenes(turns, lambda entry: entry[1].interrupt is not None)] == [
        [0, 1],
        [2],
        [3],
    ]


def test_falling_silent_is_read_off_the_samples() -> None:
    def sound(*loud: tuple[float, float]) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
        pcm = np.zeros(24_000 * 4, np.int16)
        for since, until in loud:
            pcm[round(since * 24_000) : round(until * 24_000)] = 1000
        return pcm

    assert fell_silent_ms(sound((0.0, 0.5)), 0.3) == pytest.approx(200.0)
    assert fell_silent_ms(sound((0.0, 0.5), (0.8, 1.0)), 0.3) == pytest.approx(700.0)  # a pause between sentences
    assert fell_silent_ms(sound((0.0, 0.5), (2.0, 3.0)), 0.3) == pytest.approx(200.0)  # what follows is the answer
    assert fell_silent_ms(sound((0.0, 0.2)), 0.3) == 0.0
    assert fell_silent_ms(sound((2.0, 3.0)), 0.3) is None
    assert fell_silent_ms(sound(), 0.3) is None


def test_nothing_of_an_earlier_run_is_taken_for_one_that_did_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"):
        monkeypatch.setenv(name, "x" * 32)
    (tmp_path / "a.voice.yaml").write_text("perturb: {echo: {delay: 80ms}}\n" + HELLO)
    folder = tmp_path / "runs" / "a"
    folder.mkdir(parents=True)
    stale = ("run.json", "steps.jsonl", "turns.jsonl", "audio.wav")
    for name in stale:
        (folder / name).write_text("of yesterday")
    common = ["test", str(tmp_path), "--runs", str(tmp_path / "runs"), "--target", "ws://127.0.0.1:1"]
    assert main(common) == 1
    assert "echo is for --target script" in capsys.readouterr().out
    assert [name for name in stale if (folder / name).exists()] == ["run.json"]
    data = read_run(folder)
    assert (data["passed"], data["turns"], data["target"]) == (False, 0, "ws://127.0.0.1:1")
    assert "echo is for" in data["error"]
    (tmp_path / "a.voice.yaml").write_text(HELLO + '  - dtmf: "1#"\n')
    assert main(common) == 1  # before anybody is called
    assert "a.voice.yaml:3: keys are for --target script" in read_run(folder)["error"]


def test_a_run_that_is_killed_says_so(tmp_path: Path) -> None:
    result = Result("a", "", Path("a.voice.yaml"), "script", 0, tmp_path)
    assert result.passed  # nothing has failed as yet
    begin(result, {})
    data = read_run(tmp_path)
    assert (data["passed"], data["interrupted"]) == (False, True)


@pytest.mark.e2e
def test_a_conversation_is_measured_and_held_to_its_baseline(
    tmp_path: Path, speech: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "short.voice.yaml").write_text(
        f"""
guards: the whole way
llm: sim(ttft=100ms, tps=2314)
settings: {{llm.max_completion_tokens: 8}}
gap: 300ms
turns:
  - audio: {speech}/ask02.wav
    text: Who wrote it?
    expect: {{within: 60s, heard: {{wer: 100%}}}}
  - audio: {speech}/ask02.wav
    expect: {{says: "."}}
  - silence: 300ms
    expect: {{answered: false}}
expect: {{unanswered: 0, p95: 60s}}
"""
    )
    runs, junit = tmp_path / "runs", tmp_path / "junit.xml"
    common = ["test", str(tmp_path), "--runs", str(runs), "--repeat", "3", "--warmup", "0"]
    assert main([*common, "--update-baseline", "--junit", str(junit)]) == 0, capsys.readouterr()
    folder = runs / "short"
    turns, problems = read_jsonl(folder / "turns.jsonl")
    assert (len(turns), problems) == (6, [])
    for turn in turns:
        chunk, sound = turn.marks[Mark.CHUNK_READY], turn.marks[Mark.TTS_FIRST_AUDIO]
        assert chunk is not None
        assert sound is not None
        assert 0 < turn.evidence["tts_first_sound_own_ms"] <= (sound - chunk) * 1000 + 1.0
        assert turn.evidence["other_programs_ms"] >= 0
        assert 0 < turn.evidence["stt_pass_own_ms"] <= turn.evidence["stt_pass_ms"] + turn.evidence["other_programs_ms"]
    steps = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    assert [step["kind"] for step in steps] == ["speech", "speech", "silence"] * 3
    data = read_run(folder)
    assert data["self_check"]["turns"] == 6
    assert data["self_check"]["worst_difference_ms"] < 20
    assert len(data["calibration_ms"]) == 9
    assert (folder / "audio.wav").stat().st_size > 100_000
    assert len(ElementTree.parse(junit).findall("testsuite/testcase")) == 9 + 2
    baseline = Baseline.read(tmp_path / "short.baseline.yaml")
    assert baseline.turns == 6
    # As if everything had been two seconds faster before: whatever the machine does, this is slower.
    for items in baseline.samples.values():
        for item in items:
            items[item][:] = [ms - 2000 for ms in items[item]]
    baseline.write(tmp_path / "short.baseline.yaml")
    assert main([*common, "--against", str(tmp_path)]) == 1
    assert read_run(folder)["verdict"]["outcome"] in ("regression", "not ours: machine")
