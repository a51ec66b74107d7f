from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from voice_agent.config.models.join import join_parts


def pieces(folder: Path) -> tuple[list[Path], list[Path]]:
    """Two parts, and three files to copy."""
    folder.mkdir(exist_ok=True)
    parts = [folder / f"model.bin.part{number}" for number in (1, 2)]
    for number, part in enumerate(parts, 1):
        part.write_bytes(bytes([number]) * 1000 * number)
    beside = [folder / name for name in ("config.json", "tokenizer.json", "vocabulary.json")]
    for path in beside:
        path.write_text(path.name)
    return parts, beside


def test_parts_are_joined_once_in_the_right_order(tmp_path: Path) -> None:
    given = pieces(tmp_path / "packages")
    folder = join_parts(*given, tmp_path / "cache" / "joined")
    assert (folder / "model.bin").read_bytes() == b"\x01" * 1000 + b"\x02" * 2000
    assert (folder / "vocabulary.json").read_text() == "vocabulary.json"
    made = (folder / "model.bin").stat().st_mtime_ns
    assert join_parts(*given, folder) == folder
    assert (folder / "model.bin").stat().st_mtime_ns == made
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["joined"]


@pytest.mark.parametrize("damage", ["short", "missing", "empty"])
def test_an_incomplete_join_is_made_again(tmp_path: Path, damage: str) -> None:
    given = pieces(tmp_path / "packages")
    folder = join_parts(*given, tmp_path / "cache" / "joined")
    if damage == "short":
        (folder / "model.bin").write_bytes(b"\x01")
    for path in folder.iterdir() if damage == "empty" else [folder / "config.json"] if damage == "missing" else []:
        path.unlink()
    assert (join_parts(*given, folder) / "model.bin").stat().st_size == 3000
    assert (folder / "config.json").is_file()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["joined"]


def test_several_processes_join_at_once(tmp_path: Path) -> None:
    parts = []
    for number in (1, 2):
        parts.append(tmp_path / f"part{number}")
        parts[-1].write_bytes(bytes([number]) * 8_000_000)
    program = (
        "import sys; from pathlib import Path; from voice_agent.config.models.join import join_parts;"
        "parts = [Path(arg) for arg in sys.argv[1:3]]; sys.stdin.read(1);"
        "folder = join_parts(parts, [], Path(sys.argv[3]));"
        "assert (folder / 'model.bin').stat().st_size == 16_000_000"
    )
    command = [sys.executable, "-c", program, *map(str, parts), str(tmp_path / "cache" / "joined")]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for process in running:  # all wait on their input; this lets them go together
        assert process.stdin is not None
        process.stdin.write("x")
        process.stdin.flush()
    results = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0] * 4, results
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["joined"]
