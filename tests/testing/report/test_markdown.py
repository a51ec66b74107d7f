"""The comment for a pull request: short, inert, and the verdicts in sight."""

from __future__ import annotations

import re
from pathlib import Path

from voice_agent.testing.report import markdown, report_on
from voice_agent.testing.report.collect import collect
from voice_agent.testing.report.markdown import LONGEST
from voice_agent.testing.report.read_runs import compared, load

from .conftest import HOSTILE, Make


def test_the_markdown_is_short_and_inert(make: Make) -> None:
    runs = [make(f"script{n}", turns=6, text=HOSTILE + f" {n}", guards=HOSTILE, late_ms=300.0) for n in range(3)]
    report = collect(load(runs))
    text = markdown(report)
    assert text.count("<details>") == text.count("</details>") == 3
    assert set(re.findall(r"<(\w+)", text)) == {"details", "summary"}
    assert "@octocat" not in text  # nobody is called
    assert not re.search(r"(?<!\\)\]\(", text)  # no link
    assert all(line.count(" | ") == 6 for line in text.splitlines() if line.startswith("| script"))
    report.runs *= 200
    assert len(markdown(report)) <= LONGEST + 100
    assert "more are in the HTML report" in markdown(report)


def test_the_verdict_against_a_baseline_is_above_the_fold(make: Make) -> None:
    before, after = load([make(in_="old"), make(in_="new", late_ms=60.0)])
    after.result.comparison = compared(before, after)
    above, _, _ = markdown(collect([after])).partition("<details>")
    assert "**hotel, against the baseline:** regression" in above
    assert "guilty: llm" in above
    assert "baseline" not in markdown(collect([before]))


def test_a_run_that_never_began_is_named(make: Make, tmp_path: Path) -> None:
    text = markdown(report_on([make(turns=2), tmp_path / "never"]))
    assert text.startswith("### voice-agent: Failed")
    assert "**Never began:**" in text
    assert "never: no such run" in text
