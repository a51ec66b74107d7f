"""Checks the SHA-256 of a model's files, once for each state of the files.

A stamp in the cache remembers that files were checked: its name is made from path, size, modification time, inode and
expected sum of each. A file that changes has no stamp and is checked again; a start with unchanged files reads no
weights.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path

from ...errors import ModelError
from .known import KnownFile


def verify(files: Mapping[Path, KnownFile], stamps: Path, advice: str) -> None:
    """Check ``files`` against the table; ``stamps`` is the folder of the stamps.

    Blocks for about 2 ms a MB where a file is read. Raises ModelError, which ends with ``advice``.
    """
    state = "\n".join(_state(path, known) for path, known in files.items())
    stamp = stamps / hashlib.sha256(state.encode()).hexdigest()
    if stamp.is_file():
        return
    for path, known in files.items():
        _check(path, known, advice)
    with contextlib.suppress(OSError):  # a cache that cannot be written: the files are checked at each start
        stamps.mkdir(parents=True, exist_ok=True)
        stamp.write_text(state)


def _state(path: Path, known: KnownFile) -> str:
    try:
        info = path.stat()
    except OSError:
        return f"{path} missing"
    return f"{path} {info.st_size} {info.st_mtime_ns} {info.st_ino} {known.sha256}"


def _check(path: Path, known: KnownFile, advice: str) -> None:
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest() if size == known.size_bytes else ""
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); {advice}") from None
    if size != known.size_bytes:
        raise ModelError(f"{path} was changed: {size} bytes, not {known.size_bytes}; {advice}")
    if found != known.sha256:
        raise ModelError(f"{path} was changed: SHA-256 {found[:16]}..., not {known.sha256[:16]}...; {advice}")
