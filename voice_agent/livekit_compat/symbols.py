"""A private name of a library, found when it is used; what happens in a release that no longer has it.

A feature that can be left out is switched off, with one warning a process. A name that no call can be held without is
``required``: then :class:`~voice_agent.errors.DependencyError` names the versions that work.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import re
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from ..errors import DependencyError

log = logging.getLogger("voice_agent")


@dataclass(frozen=True, slots=True)
class Versions:
    """From ``first`` on, below ``end``."""

    first: str
    end: str

    def __contains__(self, version: str) -> bool:
        return _numbers(self.first) <= _numbers(version) < _numbers(self.end)

    def __str__(self) -> str:
        return f">={self.first},<{self.end}"


TESTED = {
    "livekit-agents": Versions("1.8.9", "1.9"),
    "livekit": Versions("1.1.21", "1.2"),
    "livekit-local-inference": Versions("0.2.7", "0.3"),
    "httpx2": Versions("2.16", "3"),
    "httpcore2": Versions("2.16", "3"),
    "faster-whisper": Versions("1.2.1", "1.3"),
}
"""Distribution -> the versions whose private names the contract tests (tests/livekit_compat) hold for; pyproject.toml
has the same bounds."""

_warned: set[str] = set()


@dataclass(frozen=True, slots=True)
class Symbol:
    """``module`` and the dotted ``name`` in it, of a ``distribution``.

    ``lost``: what is switched off without it, as a clause: "the ledger cannot tell ...". ``set_in``: the
    method of the class that gives its instances the attribute; empty for what the module or class itself has.
    """

    distribution: str
    module: str
    name: str
    lost: str
    required: bool = False
    set_in: str = ""

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"

    def find(self) -> Any:
        """The object (of an attribute of instances: the class). None where the release lacks it, warned of once.

        Raises DependencyError if it is required.
        """
        try:
            return self._found()
        except (ImportError, AttributeError):
            return self.missing()

    def exists(self) -> bool:
        """Whether the installed release has it."""
        try:
            self._found()
        except (ImportError, AttributeError):
            return False
        return True

    def _found(self) -> Any:
        found: Any = importlib.import_module(self.module)
        *owners, last = self.name.split(".")
        for owner in owners:
            found = getattr(found, owner)
        if self.set_in and last in inspect.unwrap(getattr(found, self.set_in)).__code__.co_names:
            return found
        return getattr(found, last)

    def missing(self) -> None:
        """Says so once, or raises DependencyError."""
        message = (
            f"{self.distribution} {installed(self.distribution)} has no {self}: {self.lost}."
            f" Run: pip install '{self.distribution}{TESTED[self.distribution]}'"
        )
        if self.required:
            raise DependencyError(message)
        warn_once(message)


def all_found(*symbols: Symbol) -> bool:
    """Whether the installed release has all of them; each that it lacks is warned of."""
    return all([symbol.find() is not None for symbol in symbols])


def warn_once(message: str) -> None:
    """One warning a process, however often it is asked for."""
    if message not in _warned:
        _warned.add(message)
        log.warning("%s", message)


def installed(distribution: str) -> str:
    """The installed version; "(not installed)" if it is not."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _numbers(version: str) -> tuple[int, ...]:
    """The release as numbers: (1, 8, 9); what follows it (rc1, .post1) is left out."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in found[0].split(".")) if found else ()
