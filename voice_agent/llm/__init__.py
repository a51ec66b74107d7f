"""The mind: a LiveKit ``llm.LLM`` for any OpenAI-compatible endpoint, and two endpoints of our own.

Read in this order: ``table`` and ``providers`` (who answers), ``choice`` (which model), ``client`` and ``stream`` (how
they are asked), ``deltas`` (what they say), ``errors`` (how they fail), ``pool`` (warm connections), ``window`` and
``summary`` (how much of a long conversation is sent), ``hedge`` with ``attempt``, ``breaker`` and ``trial`` (a second
request when the first is late), ``adapters`` (AWS, Google, Azure, Replicate), ``embedded`` and ``sim`` (servers started
by us).

Names are imported when first used, since LiveKit and llama.cpp take a second to import.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .choice import Choice, choose_model
    from .client import ChatLLM, Counters
    from .endpoints import Endpoint, resolve
    from .local.embedded import EmbeddedModel
    from .local.sim import SimServer, SimSpec, parse_spec
    from .provider_table import PROVIDERS, Provider
    from .start import running
    from .stream import RequestDeadlines

__all__ = [
    "PROVIDERS",
    "ChatLLM",
    "Choice",
    "Counters",
    "EmbeddedModel",
    "Endpoint",
    "Provider",
    "RequestDeadlines",
    "SimServer",
    "SimSpec",
    "choose_model",
    "parse_spec",
    "resolve",
    "running",
]

_HOMES = {
    "choice": ("Choice", "choose_model"),
    "client": ("ChatLLM", "Counters"),
    "embedded": ("EmbeddedModel",),
    "providers": ("Endpoint", "resolve"),
    "sim": ("SimServer", "SimSpec", "parse_spec"),
    "start": ("running",),
    "stream": ("RequestDeadlines",),
    "table": ("PROVIDERS", "Provider"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
