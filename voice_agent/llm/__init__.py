"""The LLM stage: a LiveKit ``llm.LLM`` for any OpenAI-compatible endpoint, and two servers on this machine.

Read in this order: ``types``, ``provider_table`` and ``endpoints`` (settings -> endpoint), ``choice`` (the model),
``client`` (:class:`ChatLLM`), ``provider_connection`` and ``request_builder`` (what is sent), ``stream`` and ``deltas``
(what comes back), ``failures`` (errors), ``pool`` (warm connections), ``quota_account`` (the usage meter), ``memory/``
(long conversations), ``hedging/`` (a second request when the first is late), ``adapters/`` (AWS, Google, Azure,
Replicate), ``local/`` (the embedded model and the simulation), ``bench/`` (providers compared).

Names are imported at their first use, since LiveKit and llama.cpp take a second to import.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .choice import Choice, choose_model
    from .client import ChatLLM
    from .endpoints import resolve
    from .local.embedded import EmbeddedModel
    from .local.sim import SimServer
    from .provider_table import PROVIDERS, Provider
    from .sim_spec import SimSpec, parse_spec
    from .start import running
    from .types import Counters, Endpoint, RequestDeadlines

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

_MODULES = {
    "choice": ("Choice", "choose_model"),
    "client": ("ChatLLM",),
    "endpoints": ("resolve",),
    "local.embedded": ("EmbeddedModel",),
    "local.sim": ("SimServer",),
    "provider_table": ("PROVIDERS", "Provider"),
    "sim_spec": ("SimSpec", "parse_spec"),
    "start": ("running",),
    "types": ("Counters", "Endpoint", "RequestDeadlines"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
