from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest
from rich.console import Console

from voice_agent.clock import ManualClock
from voice_agent.config import Secret
from voice_agent.doctor.finding import DoctorCheck, Finding, Status, examine
from voice_agent.doctor.findings_output import FindingsScreen, as_json, passed
from voice_agent.errors import AudioError

from .conftest import CANARY


def good() -> Iterator[Finding]:
    yield Finding(Status.OK, "fine", facts={"ms": 3.0})


def explained() -> Iterator[Finding]:
    yield Finding(Status.OK, "half of it", name="first half")
    raise AudioError("the microphone is gone; plug it in again")


def broken() -> Iterator[Finding]:
    missing: dict[str, str] = {}
    yield Finding(Status.OK, missing[f"Bearer {CANARY}"])


def test_no_check_ends_the_others() -> None:
    checks = [
        DoctorCheck("g", "a", explained),
        DoctorCheck("g", "b", broken),
        DoctorCheck("g", "c", broken, optional=True),
    ]
    found = examine([*checks, DoctorCheck("g", "d", good)], clock=ManualClock())
    assert [f.status for f in found] == [
        Status.FAILED,
        Status.FAILED,
        Status.WARNING,
        Status.OK,
    ]
    assert (found[0].text, found[0].advice) == ("the microphone is gone", "plug it in again")
    assert "KeyError" in found[1].text
    assert [f.name for f in found] == ["a", "b", "c", "d"]
    assert not passed(found)
    assert passed(found[2:])


def test_one_that_hangs_is_left_behind() -> None:
    stuck = threading.Event()

    def hangs() -> Iterator[Finding]:
        stuck.wait(30)
        yield Finding(Status.OK, "late")

    try:
        found = examine([DoctorCheck("g", "a", hangs, deadline_s=0.05, late="unplug it"), DoctorCheck("g", "b", good)])
    finally:
        stuck.set()
    assert [f.status for f in found] == [Status.FAILED, Status.OK]
    assert (found[0].text, found[0].advice) == ("gave no result within 0.05 s", "unplug it")


def test_no_secret_gets_out() -> None:
    def tells() -> Iterator[Finding]:
        yield Finding(Status.FAILED, f"key {CANARY} refused", f"do not use {CANARY}", {"key": CANARY, "ms": 1.0})

    found = examine([DoctorCheck("g", "a", tells), DoctorCheck("g", "b", broken)], secrets=[Secret(CANARY)])
    assert CANARY not in repr(found)
    assert CANARY not in as_json(found)
    assert found[0].facts["ms"] == 1.0


@pytest.mark.parametrize("width", [40, 80])
def test_the_screen(width: int) -> None:
    console = Console(record=True, width=width, force_terminal=False)
    checks = [
        DoctorCheck("sound", "a", explained),
        DoctorCheck("sound", "b", good),
        DoctorCheck("models", "c", broken, optional=True),
    ]
    with FindingsScreen(console) as screen:
        found = examine(checks, on_check=screen.check, on_finding=screen.finding)
    screen.summary(found)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for part in ("sound", "FAIL a", "-> plug it in again", "ok b", "models", "warn c", "1 failed, 1 warnings"):
        assert part in text, text


def test_for_programs() -> None:
    output = json.loads(as_json(examine([DoctorCheck("g", "a", good), DoctorCheck("g", "b", broken)])))
    assert (output["schema"], output["ok"]) == (1, False)
    row = output["findings"][0]
    assert (row["group"], row["name"], row["status"], row["facts"]) == ("g", "a", "ok", {"ms": 3.0})
    assert output["findings"][1]["advice"]
