from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from voice_agent.config.models.known import KnownFile
from voice_agent.config.models.verify import verify
from voice_agent.errors import ModelError

WEIGHTS = b"weights" * 1000


def known(content: bytes = WEIGHTS) -> KnownFile:
    return KnownFile("package/data/w.bin", len(content), hashlib.sha256(content).hexdigest())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "w.bin"
    path.write_bytes(WEIGHTS)
    return path


def test_a_file_is_read_once_for_each_state(file: Path, tmp_path: Path) -> None:
    stamps = tmp_path / "stamps"
    verify({file: known()}, stamps, "")
    assert len(list(stamps.iterdir())) == 1
    info = file.stat()
    changed = bytearray(WEIGHTS)
    changed[0] ^= 1
    file.write_bytes(changed)
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))
    verify({file: known()}, stamps, "")  # size, time and inode are those of the stamp: the file is not read
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns + 1))
    with pytest.raises(ModelError, match="SHA-256"):
        verify({file: known()}, stamps, "")


@pytest.mark.parametrize(
    ("content", "said"),
    [(WEIGHTS[:-1], "6999 bytes, not 7000"), (b"W" + WEIGHTS[1:], "SHA-256"), (None, "cannot be read")],
)
def test_a_file_that_differs_is_refused(file: Path, tmp_path: Path, content: bytes | None, said: str) -> None:
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ModelError, match=rf"w\.bin .*{said}.*; fetch it again"):
        verify({file: known()}, tmp_path / "stamps", "fetch it again")
    assert not (tmp_path / "stamps").exists()


def test_another_table_asks_for_another_check(file: Path, tmp_path: Path) -> None:
    verify({file: known()}, tmp_path / "stamps", "")
    with pytest.raises(ModelError, match="SHA-256"):
        verify({file: known(b"W" + WEIGHTS[1:])}, tmp_path / "stamps", "")


def test_a_cache_that_cannot_be_written_keeps_nobody_from_working(file: Path, tmp_path: Path) -> None:
    (tmp_path / "stamps").write_text("a file in the way")
    verify({file: known()}, tmp_path / "stamps", "")
