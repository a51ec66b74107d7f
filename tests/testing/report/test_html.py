"""The page as text: everything inside, nothing from outside, no secret, and no conversation that becomes markup."""

from __future__ import annotations

import html.parser
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from voice_agent.cli import main
from voice_agent.errors import UsageError
from voice_agent.testing.report import markdown, write_html
from voice_agent.testing.report.collect import collect, label
from voice_agent.testing.report.html import MODULES, PAGE, bundle, data_block
from voice_agent.testing.report.overall_verdict import overall
from voice_agent.testing.report.read_runs import load
from voice_agent.testing.scenario.results import AUDIO, RUN

from .conftest import HOSTILE, Make

CANARY = "sk-canary1234567890abcdef"


class Blocks(html.parser.HTMLParser):
    """What a parser makes of the page: its elements, and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self._open: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self._open = dict(attrs).get("id") or "module"
            self.scripts[self._open] = ""

    def handle_endtag(self, tag: str) -> None:
        self._open = None

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self.scripts[self._open] += data

    def json(self, name: str) -> Any:
        return json.loads(self.scripts[name])


def page_of(path: Path, *folders: Path, **options: Any) -> Blocks:
    write_html(folders, path, **options)
    return Blocks(path.read_text())


def test_the_page_holds_every_turn_and_its_figures(make: Make, tmp_path: Path) -> None:
    page = page_of(tmp_path / "deep" / "r.html", make(turns=12, sound=True))
    facts = page.json("index")
    assert len(facts["turns"]) == 13  # the silence too
    assert facts["runs"][0]["self_check"]["turns"] > 0
    assert facts["runs"][0]["simulated"] == ["language model"]
    assert facts["audio"]["embedded"] == facts["audio"]["of"] == 12
    for number, line in enumerate(facts["turns"][:12]):
        turn = page.json(f"t{number}")
        assert turn["v2v"] == line["v2v"]
        assert sum(turn["spans"].values()) == pytest.approx(turn["v2v"], abs=0.05 * len(turn["spans"]) + 0.05)
        assert turn["wave"]["begin_ms"] < -1000
        assert turn["evidence"]["vad"]
        assert turn["evidence"]["passes"][1][3] == -1.2
        assert page.json(f"a{number}")["user"]
    assert page.json("t1")["speculation"] == {
        "requests": 3, "used": 1, "thrown_away": 2, "tokens_wasted": 41, "lead_ms": pytest.approx(290.0),
    }  # fmt: skip


def test_evidence_lies_on_the_turns_own_time(make: Make, tmp_path: Path) -> None:
    turn = page_of(tmp_path / "r.html", make()).json("t3")
    last_speech = max(at for at, p in turn["evidence"]["vad"] if p > 50)
    assert -40 <= last_speech <= 40
    assert turn["evidence"]["passes"][1][:2] == pytest.approx([0, 60], abs=1)


def test_nothing_is_loaded_from_anywhere(make: Make, tmp_path: Path) -> None:
    page = page_of(tmp_path / "r.html", make(sound=True))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"link", "img", "iframe", "object", "embed", "form", "base"}
    assert all("src" not in attributes for _, attributes in page.elements)
    text = (tmp_path / "r.html").read_text()
    assert not re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", re.sub(r"http://www\.w3\.org/2000/svg", "", text))
    policy = next(a["content"] for t, a in page.elements if t == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_hostile_text_is_inert(make: Make, tmp_path: Path) -> None:
    page = page_of(tmp_path / "r.html", make(turns=3, text=HOSTILE, guards=HOSTILE, scenario=HOSTILE, notes=[HOSTILE]))
    assert {tag for tag, _ in page.elements} == {
        "html", "head", "meta", "title", "style", "body", "div", "noscript", "code", "script",
    }  # fmt: skip
    assert sum(tag == "script" for tag, _ in page.elements) == 4 + 1 + 1
    assert page.json("t1")["user_text"] == HOSTILE
    assert page.json("index")["notes"] == []
    said = data_block("x", {"a": "<!--<script>\u2028&"})
    assert "<" not in said[len('<script type="application/json" id="x">') : -len("</script>\n")]


def test_no_secret_leaves(make: Make, tmp_path: Path) -> None:
    folder = make(
        turns=3, late_ms=400.0, text=f"my key is {CANARY}", notes=[f"Authorization: Bearer {CANARY}"],
        config={"llm": {"api_key": "hunter2hunter2", "base_url": "https://me:hunter2hunter2@host.example/v1"}},
    )  # fmt: skip
    out = tmp_path / "r.html", tmp_path / "r.md", tmp_path / "r.xml"
    args = ["--html", str(out[0]), "--markdown", str(out[1]), "--junit", str(out[2])]
    assert main(["report", str(folder), *args]) == 0
    for path in out:
        text = path.read_text()
        assert CANARY not in text, path
        assert "hunter2" not in text, path
        assert "***" in text.replace("\\", "")
    ElementTree.fromstring(out[2].read_text())


def test_sound_that_does_not_fit_is_linked(make: Make, tmp_path: Path) -> None:
    folder = make(turns=13, sound=True)
    all_of_it = page_of(tmp_path / "a.html", folder)
    some = page_of(tmp_path / "b.html", folder, audio_mb=0.3)
    none = page_of(tmp_path / "c.html", folder, audio_mb=0)
    embedded = [p.json("index")["audio"]["embedded"] for p in (all_of_it, some, none)]
    assert embedded[0] == 13
    assert 0 < embedded[1] < 13
    assert embedded[2] == 0
    assert "a12" in some.scripts  # turn 13 was cut off: what went wrong is kept before the rest
    assert sum(len(text) for name, text in some.scripts.items() if re.fullmatch(r"a\d+", name)) <= 300_000
    link = none.json("t2")["wave"]["link"]
    assert (tmp_path / unquote(link)).resolve() == (folder / AUDIO).resolve()


def test_a_ledger_that_its_recording_contradicts_is_not_to_be_trusted(make: Make, tmp_path: Path) -> None:
    checked = {"worst_difference_ms": 31.0, "turns": 4, "trusted": False}
    report = collect(load([make(), make("off", self_check=checked)]))
    assert not report.trusted
    said = overall(report)
    assert said["word"] == "Not to be trusted"
    assert "off (31 ms)" in said["text"]
    text = markdown(report)
    assert "Not to be trusted" in text
    assert "**31, not trusted**" in text


@pytest.mark.parametrize(
    ("change", "word"),
    [({"failures": [], "whole": [{"what": "p50", "ok": False, "said": "9"}]}, "Failed"), ({"error": "no"}, "Failed")],
)
def test_the_verdict_is_that_of_the_worst(make: Make, change: dict[str, Any], word: str) -> None:
    fine = make("fine", turns=2)
    assert overall(collect(load([fine])))["word"] == "Passed"
    assert overall(collect(load([fine, make("other", turns=2, **change)])))["word"] == word


def test_two_runs_are_set_side_by_side(make: Make, tmp_path: Path) -> None:
    page = page_of(tmp_path / "r.html", make(in_="old"), make(in_="new", late_ms=60.0))
    facts = page.json("index")
    (pair,) = facts["pairs"]
    assert (pair["before"], pair["after"], pair["outcome"], pair["guilty"]) == (0, 1, "regression", "llm")
    assert facts["verdict"]["word"] == "Regression"
    assert facts["verdict"]["text"].startswith("voice to voice +60 ms")
    assert {row["item"] for row in pair["items"]} == {f"{n} question" for n in range(7)}
    assert all(row["after_ms"] - row["before_ms"] == pytest.approx(60, abs=0.2) for row in pair["items"])


def test_the_sides_of_a_comparison_have_names(make: Make) -> None:
    report = collect(load([make(in_="a", turns=6), make(in_="b", turns=6), make("else")]), names=("stock", "ours"))
    assert [label(report, n) for n in range(3)] == ["hotel (stock)", "hotel (ours)", "else"]
    text = markdown(report)
    assert "| hotel (stock) |" in text
    assert "**hotel, stock and ours:**" in text


def test_the_modules_are_put_together_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {path.stem for path in PAGE.glob("*.js")} == set(MODULES)
    text = bundle()
    assert "import " not in re.sub(r"//.*", "", text)
    assert "\nexport " not in text
    monkeypatch.setattr("voice_agent.testing.report.html.MODULES", tuple(reversed(MODULES)))
    with pytest.raises(ValueError, match="does not stand before"):
        bundle()


def test_the_verb_writes_what_is_asked_for(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make(turns=2)
    assert main(["report", str(folder)]) == 0
    assert (tmp_path / "out" / "report.html").stat().st_size > 20_000
    assert "Passed" in capsys.readouterr().out
    assert main(["report", str(folder), "--markdown", "x/c.md"]) == 0
    assert (tmp_path / "x" / "c.md").read_text().startswith("### voice-agent: Passed")
    shown: list[str] = []

    def opens(address: str) -> bool:
        shown.append(address)
        return True

    monkeypatch.setattr("webbrowser.open", opens)
    assert main(["report", str(folder), "--open", "--html", "y.html"]) == 0
    assert shown == [(tmp_path / "y.html").as_uri()]
    for wrong in (["none"], [str(folder), "--audio", "-1"], [str(folder), "--html", str(folder)]):
        assert main(["report", *wrong]) == 2


def test_a_script_that_never_began_is_no_pass(make: Make, tmp_path: Path) -> None:
    page = page_of(tmp_path / "r.html", make(turns=2), tmp_path / "never")
    facts = page.json("index")
    assert facts["verdict"]["word"] == "Failed"
    assert "1 run never began" in facts["verdict"]["text"]
    assert "never: no such run" in facts["notes"][0]
    with pytest.raises(UsageError, match="no such run"):
        write_html([tmp_path / "never"], tmp_path / "r.html")


def test_a_page_that_cannot_be_written_is_an_error_that_says_so(make: Make) -> None:
    folder = make(turns=2)
    with pytest.raises(UsageError, match="cannot be written"):
        write_html([folder], folder / RUN / "r.html")
