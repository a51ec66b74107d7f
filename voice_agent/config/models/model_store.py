"""Finds a model's files by name: in an installed package, by path, in the cache, or on a hub.

Files of a known model are checked against the table (:mod:`.known`). Packages are looked up by their folder and never
imported; none is installed from here.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...errors import ModelError
from .join import join_parts, workshop
from .known import (
    KNOWN_MODELS,
    PIPER_JOE,
    SMOLLM2,
    WHISPER_BASE,
    WHISPER_BASE_JOINED,
    WHISPER_EMBEDDED,
    WHISPER_TINY_EN,
    KnownModel,
)
from .verify import verify


@dataclass(frozen=True, slots=True)
class Installed:
    """One model: ``path`` is None if it is not on this machine."""

    kind: str
    name: str
    path: Path | None
    size_bytes: int
    install: str = ""


def package_folder(name: str) -> Path | None:
    """The folder of an installed package, found without importing it; None if there is no such package."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def fetch_whisper(name: str) -> Path:
    """A Whisper model from the hub (or the hub's own cache on this machine), by size or ``owner/name``."""
    from faster_whisper.utils import download_model  # imports CTranslate2: only when it is needed

    return Path(download_model(name))


def fetch_voice(name: str, target: Path) -> None:
    """A Piper voice by name: writes ``name.onnx`` and ``name.onnx.json`` into ``target``."""
    from piper.download_voices import download_voice

    download_voice(name, target)


@dataclass(frozen=True, slots=True)
class ModelStore:
    """Finds models. ``cache`` is where fetched and joined ones are; the callables lead to the outside."""

    cache: Path
    find_package: Callable[[str], Path | None] = package_folder
    fetch_whisper: Callable[[str], Path] = fetch_whisper
    fetch_voice: Callable[[str, Path], None] = fetch_voice

    def whisper(self, name: str) -> Path:
        """The folder of a CTranslate2 Whisper model: an embedded name, a path, or a hub name. Raises ModelError."""
        if name == WHISPER_TINY_EN.name and (files := self._checked(WHISPER_TINY_EN)) is not None:
            return files[0].parent
        if name == WHISPER_BASE.name and (parts := self._files(WHISPER_BASE)) is not None:
            return self._joined_base(parts)
        path = Path(name).expanduser()
        if path.is_dir():
            if not (path / "model.bin").is_file():
                raise ModelError(
                    f"{path} has no model.bin: not a CTranslate2 Whisper model; convert one with"
                    " ct2-transformers-converter, or use one of " + ", ".join(WHISPER_EMBEDDED)
                )
            return path
        if path.exists() or name.startswith((".", "/", "~")):
            what = "is a file" if path.exists() else "does not exist"
            raise ModelError(f"{path} {what}; a Whisper model is a folder with model.bin and tokenizer.json in it")
        try:
            return self.fetch_whisper(name)
        # The hub's client raises errors of many unrelated kinds; to the user they mean one thing: it was not fetched.
        except Exception as error:
            raise ModelError(
                f"Whisper model {name!r} is not installed and could not be fetched ({_first_line(error)});"
                f" use one of {', '.join(WHISPER_EMBEDDED)}, the path of a CTranslate2 model folder,"
                " or a hub id such as owner/model while online"
            ) from error

    def piper(self, name: str) -> tuple[Path, Path]:
        """The ``.onnx`` and ``.onnx.json`` of a Piper voice: embedded name, path, or voice name. Raises ModelError."""
        if name == PIPER_JOE.name and (files := self._checked(PIPER_JOE)) is not None:
            graph, settings = files
            return graph, settings
        if name.endswith(".onnx"):
            return _voice_files(Path(name).expanduser())
        fetched = self.cache / "piper" / f"{name}.onnx"
        if not (fetched.is_file() and fetched.with_suffix(".onnx.json").is_file()):
            if os.sep in name:
                raise ModelError(f"{name}: a Piper voice is a path ending in .onnx, or a name like {PIPER_JOE.name}")
            self._fetch_piper(name, fetched)
        return _voice_files(fetched)

    def smollm2(self) -> Path:
        """The GGUF file of SmolLM2-135M-Instruct (98 MB).

        Raises ModelError, which names the command that installs it. Callers can do without it: on rules, or with
        another model.
        """
        files = self._checked(SMOLLM2)
        if files is None:
            raise ModelError(f"{SMOLLM2.name} is not on this machine; install it with: {SMOLLM2.install}")
        return files[0]

    def installed(self) -> tuple[Installed, ...]:
        """The known models, then the fetched voices, and where each is; fetches, joins and checks nothing."""
        found = [self._installed(model) for model in KNOWN_MODELS]
        found += [
            Installed("piper", path.stem, path, path.stat().st_size)
            for path in sorted((self.cache / "piper").glob("*.onnx"))
        ]
        return tuple(found)

    def _installed(self, model: KnownModel) -> Installed:
        files = self._files(model)
        path = None if files is None else files[0]
        joined = self.cache / "whisper-base" / "model.bin"
        if model is WHISPER_BASE and joined.is_file():
            path = joined
        here = path is not None and path.is_file()
        size = path.stat().st_size if path is not None and here else 0
        return Installed(model.kind, model.name, path if here else None, size, model.install)

    def _files(self, model: KnownModel) -> tuple[Path, ...] | None:
        """The files of ``model`` in its packages, in the table's order; None if a package is not installed."""
        paths = []
        for known in model.files:
            folder = self.find_package(known.package)
            if folder is None:
                return None
            paths.append(folder / known.in_package)
        return tuple(paths)

    def _checked(self, model: KnownModel) -> tuple[Path, ...] | None:
        if (files := self._files(model)) is not None:
            advice = f"install it again: {model.reinstall}"
            verify(dict(zip(files, model.files, strict=True)), self._stamps, advice)
        return files

    def _joined_base(self, files: tuple[Path, ...]) -> Path:
        folder = self.cache / "whisper-base"
        beside = WHISPER_BASE.files[2:]
        try:
            join_parts(files[:2], files[2:], folder)
        except FileNotFoundError as error:
            raise ModelError(f"{error.filename} is missing; install it again: {WHISPER_BASE.reinstall}") from None
        made = {folder / known.name: known for known in (WHISPER_BASE_JOINED, *beside)}
        verify(made, self._stamps, f"remove {folder}, so that it is made again, or: {WHISPER_BASE.reinstall}")
        return folder

    @property
    def _stamps(self) -> Path:
        return self.cache / "verified"

    def _fetch_piper(self, name: str, place: Path) -> None:
        try:
            with workshop(place) as folder:
                self.fetch_voice(name, folder)
                # The graph last: it is there only if its configuration is.
                for suffix in (".onnx.json", ".onnx"):
                    (folder / (name + suffix)).replace(place.with_name(name + suffix))
        except (OSError, ValueError) as error:
            raise ModelError(
                f"Piper voice {name!r} is not installed and could not be fetched ({_first_line(error)});"
                f" use {PIPER_JOE.name}, or the path of an .onnx file with its .onnx.json beside it"
            ) from error


def _voice_files(graph: Path) -> tuple[Path, Path]:
    settings = graph.with_name(graph.name + ".json")
    for path in (graph, settings):
        if not path.is_file():
            raise ModelError(f"{path} does not exist; a Piper voice is an .onnx file with its .onnx.json beside it")
    return graph, settings


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
