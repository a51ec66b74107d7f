"""The body and bytes of a chat-completions request, without the fields that the endpoint has refused before."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Mapping
from typing import Any

import openai

from ..livekit_compat.inference import accepted_fields
from . import failures
from .choice import reasoning_params, reasoning_room
from .types import Endpoint

# Request fields that some endpoint refuses and answers without.
_OPTIONAL = (
    "stream_options",
    "reasoning_effort",
    "temperature",
    "prompt_cache_key",
    "max_completion_tokens",
    "max_tokens",
)
_GZIP = "gzip"  # an entry of the refused fields
# An idle connection may send about ten segments of 1,460 bytes before it waits for an acknowledgement (RFC 6928,
# RFC 5681 section 4.1): only a larger body arrives a round trip earlier when it is compressed.
GZIP_FROM_BYTES = 14_000
_OTHER_LIMIT = {"max_completion_tokens": "max_tokens", "max_tokens": "max_completion_tokens"}


class RequestBuilder:
    """Builds requests to one endpoint and remembers which optional fields it refuses. ``headers`` go with each."""

    def __init__(
        self,
        endpoint: Endpoint,
        headers: Mapping[str, Any],
        *,
        max_completion_tokens: int | None,
        temperature: float | None,
    ) -> None:
        self._endpoint = endpoint
        self._headers = dict(headers)
        self._max_completion_tokens = max_completion_tokens
        self._temperature = temperature
        self._cache_key = f"voice-{uuid.uuid4().hex[:16]}"
        self._refused: set[str] = set()

    def body(
        self, model: str, messages: list[dict[str, Any]], tools: list[dict[str, Any]], extra: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The body as JSON types. The fields of ``extra`` override ours."""
        fields: dict[str, Any] = {"stream_options": {"include_usage": True}, **reasoning_params(model)}
        if self._temperature is not None:
            fields["temperature"] = self._temperature
        row = self._endpoint.provider
        if self._max_completion_tokens is not None:
            name, room = row.max_tokens_field, reasoning_room(model)
            fields[_OTHER_LIMIT[name] if name in self._refused else name] = self._max_completion_tokens + room
        if row.cache_key:
            fields["prompt_cache_key"] = self._cache_key
        fields.update(self._endpoint.extra_body)
        fields.update(extra)
        fields = accepted_fields(model, fields, tools)
        never = {*self._refused, *row.refuses}
        kept = {name: value for name, value in fields.items() if name not in never}
        if tools:
            kept["tools"] = tools
        return {"model": model, "messages": messages, "stream": True, **kept}

    def encode(self, body: Mapping[str, Any]) -> tuple[bytes, dict[str, Any]]:
        """The bytes and headers of ``body``: compressed if the endpoint accepts gzip and it saves a round trip."""
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json", **self._headers}
        if self._endpoint.provider.gzip and len(content) >= GZIP_FROM_BYTES and _GZIP not in self._refused:
            content = gzip.compress(content, compresslevel=1, mtime=0)
            headers["Content-Encoding"] = "gzip"
        return content, headers

    def refuse(self, error: openai.APIStatusError, body: Mapping[str, Any], *, compressed: bool = False) -> bool:
        """Remember the optional field that ``error`` refuses. False: the error has another reason."""
        if compressed and error.status_code in (400, 415):
            self._refused.add(_GZIP)
            return True
        if error.status_code not in (400, 422):
            return False
        name = failures.refused_field(error.body, [field for field in _OPTIONAL if field in body])
        if name is None:
            return False
        self._refused.add(name)
        return True
