"""How a script writes durations, levels and shares: ``500ms``, ``0.8s``, ``10dB``, ``5%``. Pure."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

_NUMBER = r"([-+]?\d+(?:\.\d+)?)"


def seconds(value: Any) -> float:
    """``500ms`` or ``0.8s`` in seconds. ValueError, saying what is allowed."""
    match = re.fullmatch(_NUMBER + r"\s*(ms|s|min)", value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a duration; write a number and its unit, such as 500ms, 0.8s or 2min")
    found = float(match[1]) / {"ms": 1000, "s": 1, "min": 1 / 60}[match[2]]
    if not 0 <= found <= 3600:
        raise ValueError(f"{value!r} is out of range; allowed are 0ms to 60min")
    return found


def decibels(value: Any) -> float:
    """``10dB`` or ``-6`` in dB. ValueError, saying what is allowed."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        found = float(value)
    else:
        match = re.fullmatch(_NUMBER + r"\s*dB", value.strip(), re.IGNORECASE) if isinstance(value, str) else None
        if match is None:
            raise ValueError(f"{value!r} is not a level; write decibels, such as 10dB or -6dB")
        found = float(match[1])
    if not -100 <= found <= 100:
        raise ValueError(f"{value!r} is out of range; allowed are -100dB to 100dB")
    return found


def share(value: Any) -> float:
    """``5%`` or ``0.05`` as a fraction. ValueError, saying what is allowed."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        found = float(value)
    else:
        match = re.fullmatch(_NUMBER + r"\s*%", value.strip()) if isinstance(value, str) else None
        if match is None:
            raise ValueError(f"{value!r} is not a share; write 5% or 0.05")
        found = float(match[1]) / 100
    if not 0 <= found <= 1:
        raise ValueError(f"{value!r} is out of range; allowed are 0% to 100%")
    return found


Duration = Annotated[float, BeforeValidator(seconds, json_schema_input_type=str)]
"""Seconds; written as ``500ms``, ``0.8s``, ``2min``."""
Level = Annotated[float, BeforeValidator(decibels, json_schema_input_type=str | float)]
"""Decibels; written as ``10dB`` or ``10``."""
Share = Annotated[float, BeforeValidator(share, json_schema_input_type=str | float)]
"""A fraction of 1; written as ``5%`` or ``0.05``."""
