"""Makes files in the cache so that each appears whole or not at all, also when several processes start at once."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...errors import ModelError


@contextlib.contextmanager
def workshop(place: Path) -> Iterator[Path]:
    """A temporary folder on the file system of ``place``, so that a rename from one to the other is atomic."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=place.parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def join_parts(parts: Sequence[Path], beside: Sequence[Path], folder: Path) -> Path:
    """Make ``folder`` with ``model.bin``, the ``parts`` joined, and copies of the files ``beside``.

    Does nothing if the files are there with these sizes. Safe in several processes at once. Returns ``folder``.
    """
    expected = {"model.bin": sum(part.stat().st_size for part in parts)}
    expected |= {path.name: path.stat().st_size for path in beside}

    def complete() -> bool:
        return all((folder / name).is_file() and (folder / name).stat().st_size == n for name, n in expected.items())

    if complete():
        return folder
    with workshop(folder) as temporary:
        made = temporary / "new"
        made.mkdir()
        with (made / "model.bin").open("wb") as whole:
            for part in parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, whole, length=1 << 22)
        for path in beside:
            shutil.copyfile(path, made / path.name)
        for _ in range(3):
            try:
                made.rename(folder)
                break
            except OSError:
                # Something is there: another process's finished folder, or an incomplete one of an older version.
                if complete():
                    break
                with contextlib.suppress(FileNotFoundError):
                    folder.rename(temporary / f"old-{len(list(temporary.iterdir()))}")
    if not complete():
        raise ModelError(f"{folder} could not be made; remove it, check the free disk space, and try again")
    return folder
