"""LiveKit's table of the request fields that a model refuses (livekit-agents 1.8.9, undocumented)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .symbols import Symbol

DROP_UNSUPPORTED = Symbol(
    "livekit-agents",
    "livekit.agents.inference.llm",
    "drop_unsupported_params",
    "a field that a model refuses costs one more request, once",
)


def accepted_fields(model: str, fields: dict[str, Any], tools: Sequence[Any] | None) -> dict[str, Any]:
    """``fields`` without those that ``model`` is known to refuse (with ``tools``, if there are any)."""
    drop = DROP_UNSUPPORTED.find()
    return fields if drop is None else dict(drop(model, fields, tools=list(tools) if tools else None))
