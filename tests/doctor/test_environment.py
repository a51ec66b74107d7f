from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from voice_agent.doctor import environment
from voice_agent.doctor.finding import Status


def distribution(folder: Path, *requires: str) -> str:
    """A package of that name, with these requirements, on disk as pip would leave it."""
    info = folder / "dr_patient-1.0.dist-info"
    info.mkdir()
    lines = "".join(f"Requires-Dist: {r}\n" for r in requires)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dr-patient\nVersion: 1.0\n{lines}")
    return "dr-patient"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_all_fit(folder: Path) -> None:
    name = distribution(folder, "numpy>=1", 'surely-not-there>=1; extra == "more"')
    (found,) = environment.packages(name)
    assert found.status is Status.OK
    assert found.facts == {"required": 1, "wrong": 0}


def test_one_is_missing_and_one_too_old(folder: Path) -> None:
    name = distribution(folder, "numpy>=999", "surely-not-there>=2", "rich")
    (found,) = environment.packages(name)
    assert found.status is Status.FAILED
    assert f"numpy {metadata.version('numpy')} is not >=999" in found.text
    assert "surely-not-there is not installed" in found.text
    assert found.advice == "install them with: pip install -U 'numpy>=999' 'surely-not-there>=2'"


def test_an_optional_one_is_no_failure(folder: Path) -> None:
    name = distribution(folder, "numpy", 'mcp>=999; extra == "mcp"')
    needed, optional = environment.packages(name)
    assert needed.status is Status.OK
    assert (optional.status, optional.name) == (Status.SKIPPED, "MCP")
    assert "voice-agent[mcp]" in optional.advice


def test_not_installed_at_all() -> None:
    (found,) = environment.packages("surely-not-there")
    assert found.status is Status.FAILED


def test_python_and_machine() -> None:
    (found,) = environment.python()
    assert found.status is Status.OK
    (found,) = environment.machine()
    assert isinstance(found.facts["cores"], int)
    assert found.facts["cores"] >= 1
