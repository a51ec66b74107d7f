"""A string that does not show itself."""

from __future__ import annotations

from typing import Any, NoReturn


class Secret:
    """A string whose ``str``, ``repr`` and formatting give ``***``.

    Call :meth:`reveal` where the string is sent, and nowhere else. A Secret cannot be pickled, so it reaches no dump.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The string itself."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(("Secret", self._value))

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self  # immutable; dataclasses.asdict copies what it finds

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled")
