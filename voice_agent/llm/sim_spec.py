"""The spec of a simulated provider as a value: ``sim:ttft=170ms,tps=2314`` -> :class:`SimSpec`. Pure.

``sim:ttft=170ms,tps=2314`` waits 170 ms before the first token and then streams 2,314 tokens a second (a word counts as
1.3 tokens). ``ttft=lognormal(170ms,0.4),stall=5%x3s`` draws each request's time from a log-normal distribution with
that median and sigma, and lets one request in twenty wait 3 s longer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import ConfigError

ERRORS = ("401", "404", "429", "wrapped429", "500", "503", "midstream", "hangup", "silence", "notjson")
_HELP = (
    "write sim:ttft=170ms,tps=2314; allowed: ttft=<duration> or ttft=lognormal(<median>,<sigma>),"
    " tps=<tokens a second>, stall=<share>%x<duration> (before the first word), or stall_at=<word number> with"
    " stall=<duration>,"
    f" error={'|'.join(ERRORS)}, every=<n: only each n-th request stalls or fails>;"
    " seed=<n> (of what is drawn), reply=short|long; durations as 170ms or 1.5s"
)


@dataclass(frozen=True, slots=True)
class SimSpec:
    """The speed. ``stall_at``: number of the word (from 0) before which it stalls for ``stall_s``; ``error``: one of
    ERRORS; ``every`` = n: only each n-th request stalls or fails; ``tps``: tokens a second. ``reply``: ``short`` for
    answers of one to three sentences, ``long`` for one of about half a minute (to test interruptions).

    With ``ttft_sigma`` the time to the first token is log-normal with the median ``ttft_s``; a ``stall_share`` (0 to 1)
    of the requests waits ``stall_s`` longer. Both are drawn from ``seed`` and the request's number.
    """

    ttft_s: float = 0.17
    tps: float = 2314.0
    stall_at: int | None = None
    stall_s: float = 3.0
    error: str | None = None
    every: int = 1
    reply: str = "short"
    ttft_sigma: float = 0.0
    stall_share: float = 0.0
    seed: int = 0

    def __str__(self) -> str:
        text = f"{self.ttft_s * 1000:g} ms + {self.tps:g} tok/s"
        if self.ttft_sigma:
            text = f"log-normal around {self.ttft_s * 1000:g} ms (sigma {self.ttft_sigma:g}) + {self.tps:g} tok/s"
        if self.stall_share:
            text += f", {self.stall_share:.3g} of the requests {self.stall_s:g} s late"
        if self.stall_at is not None:
            text += f", stalls {self.stall_s:g} s at word {self.stall_at}"
        if self.error is not None:
            text += f", error {self.error}"
        if self.reply != "short":
            text += f", {self.reply} replies"
        if self.every > 1 and (self.error or self.stall_at is not None):
            text += f" each {self.every}th request"
        return text


def _duration(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)", text)
    if match is None:
        raise ValueError(text)
    seconds = float(match[1]) / (1000 if match[2] == "ms" else 1)
    if seconds > 600:
        raise ValueError(text)
    return seconds


def _tps(text: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", text) or not 0 < float(text) <= 1e6:
        raise ValueError(text)
    return float(text)


def _count(text: str, least: int) -> int:
    if not re.fullmatch(r"\d{1,6}", text) or int(text) < least:
        raise ValueError(text)
    return int(text)


def _error(text: str) -> str:
    if text not in ERRORS:
        raise ValueError(text)
    return text


def _ttft(text: str) -> dict[str, float]:
    match = re.fullmatch(r"lognormal\(\s*([^,\s]+)\s*,\s*(\d+(?:\.\d+)?)\s*\)", text)
    if match is None:
        return {"ttft_s": _duration(text)}
    if not 0 < float(match[2]) <= 3:
        raise ValueError(text)
    return {"ttft_s": _duration(match[1]), "ttft_sigma": float(match[2])}


def _stall(text: str) -> dict[str, float]:
    share, cross, duration = text.partition("x")
    if not cross:
        return {"stall_s": _duration(text)}
    if not re.fullmatch(r"\d+(\.\d+)?%", share) or float(share[:-1]) > 100:
        raise ValueError(text)
    return {"stall_share": float(share[:-1]) / 100, "stall_s": _duration(duration)}


def _reply(text: str) -> str:
    if text not in ("short", "long"):
        raise ValueError(text)
    return text


_KEYS: Mapping[str, Callable[[str], Mapping[str, float | int | str]]] = {
    "ttft": _ttft,
    "tps": lambda text: {"tps": _tps(text)},
    "stall_at": lambda text: {"stall_at": _count(text, 0)},
    "stall": _stall,
    "error": lambda text: {"error": _error(text)},
    "every": lambda text: {"every": _count(text, 1)},
    "reply": lambda text: {"reply": _reply(text)},
    "seed": lambda text: {"seed": _count(text, 0)},
}


def parse_spec(text: str) -> SimSpec:
    """``sim:key=value,...`` -> :class:`SimSpec`; a missing key keeps its default. Raises ConfigError."""
    head, _, rest = text.strip().partition(":")
    if head != "sim":
        raise ConfigError(f"{text!r} is not a simulation; {_HELP}")
    values: dict[str, float | int | str] = {}
    seen: set[str] = set()
    for item in filter(None, (part.strip() for part in re.split(r",(?![^()]*\))", rest))):
        key, equals, value = item.partition("=")
        if key not in _KEYS or not equals:
            raise ConfigError(f"sim: {item!r} is not allowed; {_HELP}")
        if key in seen:
            raise ConfigError(f"sim: {key} is given twice")
        seen.add(key)
        try:
            values.update(_KEYS[key](value))
        except ValueError:
            raise ConfigError(f"sim: {key}={value} is not allowed; {_HELP}") from None
    return SimSpec(**values)  # type: ignore[arg-type]  # each converter gives its own field's type
