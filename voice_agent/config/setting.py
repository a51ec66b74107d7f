"""One setting: its line in a section, and the checks that follow from that line.

A section is a frozen dataclass that derives from :class:`Section`; each of its fields is written with :func:`setting`.
Values of any origin (file, environment, flag, code) pass :func:`accept`, so all are held to the same types and limits.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, NoReturn, TypeVar

from ..errors import ConfigError
from .secret import Secret

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits(Generic[T]):
    """What a setting's line says besides its name, type and default."""

    doc: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[T, ...] = ()


def setting(
    default: T, doc: str, *, minimum: float | None = None, maximum: float | None = None, choices: tuple[T, ...] = ()
) -> T:
    """One setting. ``minimum`` and ``maximum`` are allowed themselves; ``choices`` lists every allowed value."""
    limits = Limits(" ".join(doc.split()), minimum, maximum, choices)
    # Typed as its default, like dataclasses.field: the class body then reads as the values it makes.
    return field(default=default, metadata={"limits": limits})


class Section:
    """Base of the sections. A value made in code is converted and checked like one from a file."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for key in keys(type(self)).values():
            given = getattr(self, key.name)
            accepted = accept(key, given, f"{type(self).__name__}({key.name}=...)")
            if accepted is not given:
                object.__setattr__(self, key.name, accepted)  # frozen: there is no other way in __post_init__


@dataclass(frozen=True, slots=True)
class Key:
    """A setting as the checks see it. ``kind`` is the type without ``| None``."""

    name: str
    kind: type
    optional: bool
    default: Any
    limits: Limits[Any]

    @property
    def type_name(self) -> str:
        """The type in words."""
        plain = {str: "text", int: "whole number", float: "number", bool: "true or false", Secret: "text"}
        return plain[self.kind] + (", or left out" if self.optional else "")

    @property
    def allowed(self) -> str:
        """The limits in words; ``any`` if there are none."""
        limits = self.limits
        if limits.choices:
            return " | ".join(str(choice) for choice in limits.choices)
        if limits.minimum is not None and limits.maximum is not None:
            return f"{limits.minimum:g} to {limits.maximum:g}"
        if limits.minimum is not None:
            return f"{limits.minimum:g} or more"
        return f"{limits.maximum:g} or less" if limits.maximum is not None else "any"

    @property
    def expected(self) -> str:
        """Type and limits in words."""
        return self.type_name if self.allowed == "any" else f"{self.type_name}: {self.allowed}"


# By section: get_type_hints evaluates every annotation again, and each section that is made needs them.
_KEYS: dict[type[Section], dict[str, Key]] = {}


def keys(section: type[Section]) -> dict[str, Key]:
    """The settings of ``section`` by name."""
    if section not in _KEYS:
        hints = typing.get_type_hints(section)
        fields = dataclasses.fields(section)  # type: ignore[arg-type]  # every subclass is a dataclass
        _KEYS[section] = {item.name: _key(item, hints[item.name]) for item in fields}
    return _KEYS[section]


def _key(item: dataclasses.Field[Any], hint: Any) -> Key:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    (kind,) = (option for option in options if option is not types.NoneType)
    return Key(item.name, kind, types.NoneType in options, item.default, item.metadata["limits"])


def accept(key: Key, value: object, where: str) -> Any:
    """``value`` as the setting's type: text becomes a :class:`Secret` and a whole number a float, where needed.

    Raises ConfigError that names ``where`` and what is allowed.
    """
    if value is None and key.optional:
        return None
    if key.kind is Secret and isinstance(value, str):
        return Secret(value)
    fits = isinstance(value, (int, float) if key.kind is float else key.kind)
    if not fits or (isinstance(value, bool) and key.kind is not bool):
        refuse(key, value, where)
    limits = key.limits
    if limits.choices and value not in limits.choices:
        refuse(key, value, where)
    if isinstance(value, int | float) and not isinstance(value, bool):
        too_low = limits.minimum is not None and value < limits.minimum
        too_high = limits.maximum is not None and value > limits.maximum
        if too_low or too_high or not math.isfinite(value):
            refuse(key, value, where)
    return float(value) if key.kind is float and isinstance(value, int) else value


def accept_text(key: Key, text: str, where: str) -> Any:
    """:func:`accept` for a value that was written as text. Empty text leaves an optional setting out."""
    if text == "" and key.optional:
        return None
    try:
        value = _PARSERS[key.kind](text)
    except (ValueError, KeyError):
        refuse(key, text, where)
    return accept(key, value, where)


def refuse(key: Key, value: object, where: str) -> NoReturn:
    """Raise ConfigError: ``value`` is not allowed."""
    shown = "***" if key.kind is Secret else repr(value)
    raise ConfigError(f"{where}: {shown} is not allowed; {key.name} takes {key.expected}")


def _bool(text: str) -> bool:
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    return words[text.strip().lower()]


_PARSERS: dict[type, Callable[[str], Any]] = {int: int, float: float, bool: _bool, str: str, Secret: Secret}
