"""Model names -> files on this machine.

Some models come as Python packages, so that everything works without a network once it is installed: Whisper
``tiny.en`` and ``base``, the Piper voice ``en_US-joe-medium``, and SmolLM2-135M-Instruct. :mod:`.known` is the table of
their files, with hashes that are checked before a file is loaded. Any other Whisper or Piper model is a path, or a name
fetched once from its hub.

Fetched and joined files are in :func:`voice_agent.config.cache_dir`.
"""

from __future__ import annotations

from pathlib import Path

from ...errors import ModelError
from ..variables import cache_dir
from .known import SMOLLM2
from .model_store import Installed, ModelStore


def default_store() -> ModelStore:
    """The store of this user's cache folder."""
    return ModelStore(cache_dir() / "models")


def whisper(name: str) -> Path:
    """:meth:`ModelStore.whisper` in this user's cache."""
    return default_store().whisper(name)


def piper(name: str) -> tuple[Path, Path]:
    """:meth:`ModelStore.piper` in this user's cache."""
    return default_store().piper(name)


def smollm2() -> Path:
    """:meth:`ModelStore.smollm2` in this user's cache."""
    return default_store().smollm2()


def installed() -> tuple[Installed, ...]:
    """:meth:`ModelStore.installed` in this user's cache."""
    return default_store().installed()


def assets() -> Path:
    """The folder of recordings that comes with the project: inside an installed package, else in the checkout."""
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "assets", package.parent / "assets"):
        if folder.is_dir():
            return folder
    raise ModelError(f"the folder 'assets' is missing beside {package.name}; install the package again")


__all__ = ["SMOLLM2", "Installed", "ModelStore", "assets", "default_store", "installed", "piper", "smollm2", "whisper"]
