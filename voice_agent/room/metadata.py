"""What the metadata of a job may change, and how it is checked.

The metadata of a dispatch comes from outside: JSON of bounded size with the keys below, and no others. Voices and
languages are chosen from lists in the settings, because loading one costs memory, and a voice may be a path.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from ..config import AgentConfig, BudgetConfig, Config
from ..errors import ConfigError

MAX_BYTES = 16_384
MAX_INSTRUCTIONS = 8_000  # characters: about 2,000 tokens in front of every request
MAX_GREETING = 500
KEYS = ("instructions", "greeting", "voice", "language", "budget")


def configured(config: Config, metadata: str) -> Config:
    """``config`` for one call: changed by the job's ``metadata`` ("" changes nothing).

    Raises ConfigError, naming the key, for metadata that is no JSON object, too long, or not allowed.
    """
    if not metadata.strip():
        return config
    if len(metadata.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise ConfigError(f"job metadata: longer than {MAX_BYTES} bytes")
    try:
        found = json.loads(metadata)
    except (ValueError, RecursionError):
        raise ConfigError(f"job metadata: not JSON; write an object with {', '.join(KEYS)}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"job metadata: an object is wanted, with {', '.join(KEYS)}")
    for key in found:
        if key not in KEYS:
            raise ConfigError(f"job metadata: unknown key {key[:40]!r}; known: {', '.join(KEYS)}")
    agent = _agent(config.agent, found)
    tts, stt = config.tts, config.stt
    if (voice := _choice(found, "voice", config.room.voices, tts.voice)) != tts.voice:
        tts = dataclasses.replace(tts, voice=voice, speaker=None)
    if (language := _choice(found, "language", config.room.languages, stt.language)) != stt.language:
        stt = dataclasses.replace(stt, language=language)
    return dataclasses.replace(config, agent=agent, tts=tts, stt=stt, budget=_budget(config.budget, found))


def _agent(agent: AgentConfig, found: dict[str, Any]) -> AgentConfig:
    for key, most in (("instructions", MAX_INSTRUCTIONS), ("greeting", MAX_GREETING)):
        if key in found:
            agent = dataclasses.replace(agent, **{key: _text(found, key, most)})
    return agent


def _text(found: dict[str, Any], key: str, most: int) -> str:
    value = found[key]
    if not isinstance(value, str) or len(value) > most:
        raise ConfigError(f"job metadata: {key} wants a text of at most {most} characters")
    return value


def _choice(found: dict[str, Any], key: str, allowed: str, present: str) -> str:
    if key not in found:
        return present
    names = [present, *(name.strip() for name in allowed.split(",") if name.strip())]
    value = found[key]
    if value not in names:
        raise ConfigError(
            f"job metadata: {key} {str(value)[:40]!r} is not offered; offered: {', '.join(names)} (room.{key}s)"
        )
    return str(value)


def _budget(budget: BudgetConfig, found: dict[str, Any]) -> BudgetConfig:
    if "budget" not in found:
        return budget
    asked, known = found["budget"], [f.name for f in dataclasses.fields(BudgetConfig) if f.name.endswith("_ms")]
    if not isinstance(asked, dict) or not set(asked) <= set(known):
        raise ConfigError(f"job metadata: budget wants an object with {', '.join(known)}")
    shares: dict[str, Any] = {k: float(v) for k, v in asked.items() if _number(k, v)}
    try:
        return dataclasses.replace(budget, **shares)
    except ConfigError as e:
        raise ConfigError(f"job metadata: budget: {e}") from None


def _number(key: str, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e9:
        raise ConfigError(f"job metadata: budget: {key} wants a number of milliseconds")
    return True
