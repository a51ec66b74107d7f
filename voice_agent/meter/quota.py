"""Quotas as values: rate headers, configured limits and prices are parsed here. Pure.

There are four quotas: requests and tokens, a minute and a day. Providers name their rate headers differently, as
documented at console.groq.com/docs/rate-limits (requests a day, tokens a minute),
inference-docs.cerebras.ai/support/rate-limits (the window is part of the name), docs.sambanova.ai (``-day`` for a day),
and OpenAI's guide (both a minute). Those of Fireworks are tokens a second without a remaining amount
(docs.fireworks.ai/serverless/rate-limits); they are not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ..errors import ConfigError

QuotaName = Literal["requests_minute", "requests_day", "tokens_minute", "tokens_day"]
NAMES: tuple[QuotaName, ...] = ("requests_minute", "requests_day", "tokens_minute", "tokens_day")
WINDOW_S: Mapping[QuotaName, float] = {
    "requests_minute": 60.0,
    "requests_day": 86_400.0,
    "tokens_minute": 60.0,
    "tokens_day": 86_400.0,
}


@dataclass(frozen=True, slots=True)
class Quota:
    """One limit from rate headers. ``resets_s``: seconds until all of it is available again; None if unknown."""

    name: QuotaName
    limit: int
    remaining: int
    resets_s: float | None = None


# Header endings without a window in their name -> quota, by the row's scheme (``Provider.rate_headers``).
_ENDINGS: Mapping[str, Mapping[str, QuotaName]] = {
    "openai": {"requests": "requests_minute", "tokens": "tokens_minute"},
    "groq": {"requests": "requests_day", "tokens": "tokens_minute"},
    "sambanova": {"requests": "requests_minute"},
    "cerebras": {},
}
# Endings with the window in their name mean the same for all providers.
_PLAIN: Mapping[str, QuotaName] = {
    "requests-minute": "requests_minute",
    "requests-day": "requests_day",
    "tokens-minute": "tokens_minute",
    "tokens-day": "tokens_day",
}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def duration_s(text: str) -> float | None:
    """``7.66s``, ``2m59.5s`` or plain seconds -> seconds; None for a date, an epoch or nonsense."""
    text = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        value = float(text)
        return value if value < 86_400 * 31 else None  # larger: seconds since the epoch, not a duration
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _whole(headers: Mapping[str, str], name: str) -> int | None:
    value = headers.get(name, "")
    return int(float(value)) if re.fullmatch(r"\d{1,15}(\.\d+)?", value.strip()) else None


def from_headers(headers: Mapping[str, str], scheme: str) -> list[Quota]:
    """The quotas in ``headers``. For an unknown ``scheme`` only the endings that name their window are read."""
    found: dict[QuotaName, Quota] = {}
    for ending, name in (*_ENDINGS.get(scheme, {}).items(), *_PLAIN.items()):
        limit = _whole(headers, f"x-ratelimit-limit-{ending}")
        remaining = _whole(headers, f"x-ratelimit-remaining-{ending}")
        if limit is None or remaining is None or limit <= 0:
            continue
        found[name] = Quota(
            name, limit, min(remaining, limit), duration_s(headers.get(f"x-ratelimit-reset-{ending}", ""))
        )
    return list(found.values())


def _number(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmM]?)", text.strip())
    if match is None:
        raise ValueError(text)
    return round(float(match[1]) * {"": 1, "k": 1_000, "m": 1_000_000}[match[2].lower()])


def parse_limits(text: str) -> dict[str, dict[QuotaName, int]]:
    """``cerebras.tokens_day=24M, groq.requests_minute=30`` -> limits by provider. Raises ConfigError."""
    found: dict[str, dict[QuotaName, int]] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        place, _, value = item.partition("=")
        provider, _, name = place.strip().rpartition(".")
        known = next((one for one in NAMES if one == name), None)
        try:
            if known is None or not provider:
                raise ValueError(item)
            found.setdefault(provider.strip().lower(), {})[known] = _number(value)
        except ValueError:
            raise ConfigError(
                f"meter.limits: {item!r} is not allowed; write provider.name=number with one of {', '.join(NAMES)},"
                " such as cerebras.tokens_day=1M"
            ) from None
    return found


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a million tokens, in the currency of the setting."""

    prompt: float
    completion: float

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """The cost of these tokens."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e6


def parse_prices(text: str) -> dict[str, Price]:
    """``cerebras=0.35/0.75`` (a million tokens in / out), several by commas -> prices. Raises ConfigError."""
    found: dict[str, Price] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"([\w.-]+)\s*=\s*(\d+(?:\.\d+)?)\s*/\s*(\d+(?:\.\d+)?)", item)
        if match is None:
            raise ConfigError(
                f"meter.prices: {item!r} is not allowed; write provider=input/output for a million tokens, such as"
                " cerebras=0.35/0.75"
            )
        found[match[1].lower()] = Price(float(match[2]), float(match[3]))
    return found
