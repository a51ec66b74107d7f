"""Maps every failure of a provider to one of our exceptions, whose message says what to do next. Pure.

The exceptions are :class:`~voice_agent.errors.ProviderError`, not LiveKit's ``APIError``: LiveKit repeats a request by
itself for ``APIError`` only (``LLMStream._main_task``), and an unseen repeat is a late turn without an explanation.
``AgentSession`` and ``FallbackAdapter`` treat both alike, except that they log ours with a traceback.

No message contains a key: a provider's text is redacted and shortened, and omitted if it is about the key. The original
exception is not chained, because its request contains the key.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import openai

from ..config import Secret
from ..config.redaction import redact_message
from ..errors import (
    DeadlineError,
    ProviderAuthError,
    ProviderError,
    ProviderModelError,
    ProviderStreamError,
    ProviderUnavailableError,
    RateLimitedError,
)


@dataclass(frozen=True, slots=True)
class RequestTarget:
    """The target of a request, for messages: provider, host, model, the variable of its key, the key.

    ``credentials``: what authenticates in place of a key, in words.
    """

    provider: str
    host: str
    model: str | None
    key_env: str | None = None
    api_key: Secret | None = None
    credentials: str | None = None

    @property
    def key_setting(self) -> str:
        """Where the key is set, in words."""
        if self.credentials:
            return self.credentials
        return f"{self.key_env} (or llm.api_key)" if self.key_env else "llm.api_key"


def _words(body: object, target: RequestTarget) -> str:
    """The provider's own message as `` (it said: ...)``, or an empty string."""
    text = ""
    body = _unlisted(body)
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        text = str(inner.get("message") or inner.get("detail") or "") if isinstance(inner, Mapping) else str(inner)
    elif isinstance(body, str) and not body.lstrip().startswith("<"):
        text = body
    text = redact_message(text, target.api_key).rstrip(".")
    return f' (it said: "{text}")' if text else ""


def _unlisted(body: object) -> object:
    """``body``, or its only entry: Google sends an error object in a list."""
    return body[0] if isinstance(body, list) and len(body) == 1 else body


def _is_status(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 400 <= value < 600


def status_in(body: object) -> int | None:
    """The HTTP status in an error object's ``code`` or ``status`` (routers send it under a 200 or a 500), or None."""
    body = _unlisted(body)
    if not isinstance(body, Mapping):
        return None
    inner = body.get("error", body)
    if not isinstance(inner, Mapping):
        return None
    for name in ("code", "status", "status_code"):
        value = inner.get(name)
        if isinstance(value, str) and re.fullmatch(r"[45]\d\d", value):
            value = int(value)
        if isinstance(value, int) and _is_status(value):
            return value
    kind = f"{inner.get('code')} {inner.get('type')}"
    return 429 if "rate_limit" in kind or "too_many_requests" in kind else None


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds from ``retry-after-ms`` or ``retry-after``; None if absent, or a date (clocks differ)."""
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            wait_s = float(headers[name]) / scale
        except (KeyError, ValueError):
            continue
        if 0 <= wait_s < 86_400 * 31:
            return wait_s
    return None


def from_status(
    status: int, body: object, target: RequestTarget, headers: Mapping[str, str] | None = None
) -> ProviderError:
    """The exception for an HTTP answer (or an error object in a stream) of ``status``."""
    inside = status_in(body)
    if inside is not None and (status < 400 or status >= 500):
        status = inside  # a 429 wrapped by a router
    who, words = target.provider, _words(body, target)
    if status in (401, 403):
        # The provider's text is omitted: some providers quote parts of the key.
        what = "refused the key" if target.api_key else "wants a key, and none is set"
        return ProviderAuthError(f"{who} {what} ({status}); check {target.key_setting} and what the key may use")
    if status == 402:
        return ProviderAuthError(f"{who} wants payment (402){words}; check the account, or use another provider")
    if status == 404:
        return ProviderModelError(
            f"{who} found no model {target.model!r} at this address (404){words}; check llm.model and llm.base_url"
        )
    if status == 429:
        wait_s = retry_after_s(headers or {})
        when = f"again in {wait_s:g} s" if wait_s is not None else "later"
        return RateLimitedError(
            f"{who} allows no more requests for now (429){words}; ask {when}, or use another provider or plan",
            retry_after_s=wait_s,
        )
    if status in (408, 504):
        return ProviderUnavailableError(f"{who} took too long ({status}){words}; try again, or use another provider")
    if status >= 500:
        return ProviderUnavailableError(
            f"{who} cannot answer now ({status}){words}; try again, or use another provider (--provider)"
        )
    if status >= 400:
        return ProviderError(
            f"{who} refused the request ({status}){words}; check llm.model and the llm settings, and start a new"
            " conversation if this one has grown too long"
        )
    return ProviderStreamError(f"{who} sent an error{words}; try again, or use another provider")


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _from_connection(error: BaseException, target: RequestTarget, connect_s: float) -> ProviderError:
    chain = list(_chain(error))
    texts = " ".join(str(link) for link in chain)
    where = f"{target.provider} at {target.host}"
    if any(isinstance(link, ssl.SSLError) for link in chain) or "CERTIFICATE" in texts or "SSL" in texts:
        return ProviderUnavailableError(
            f"no safe connection to {where} (TLS failed); check that llm.base_url says https only where the server"
            " speaks it, the machine's date, and any proxy between"
        )
    if any(isinstance(link, httpx2.ConnectTimeout) for link in chain):
        return DeadlineError(
            f"no connection to {where} within {connect_s:g} s; check the network, or raise llm.connect_timeout_s",
            deadline_s=connect_s,
        )
    if any(isinstance(link, socket.gaierror) for link in chain) or "Name or service" in texts or "getaddr" in texts:
        return ProviderUnavailableError(f"the name {target.host} is not known; check llm.base_url and the network")
    if any(isinstance(link, httpx2.RemoteProtocolError | httpx2.ReadError | httpx2.WriteError) for link in chain):
        return ProviderStreamError(f"{target.provider} hung up in mid-answer; try again, or use another provider")
    return ProviderUnavailableError(
        f"no connection to {where}; check that the server runs, llm.base_url, and the network"
    )


def explain(error: Exception, target: RequestTarget, connect_s: float) -> ProviderError:
    """An exception of the ``openai`` package or of its transport -> ours. Raise it ``from None``."""
    if isinstance(error, ProviderError):
        return error
    if isinstance(error, openai.APIStatusError):
        return from_status(error.status_code, error.body, target, error.response.headers)
    if isinstance(error, openai.APIConnectionError | httpx2.HTTPError | OSError):
        return _from_connection(error, target, connect_s)
    if isinstance(error, openai.APIError):
        # An error object in the stream; the status was 200.
        return from_status(200, error.body, target)
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return not_understood(target)
    if isinstance(error, openai.OpenAIError):
        # Raised by the package's own providers (AWS, Google) before the request is sent.
        words = redact_message(str(error), target.api_key).rstrip(".")
        return ProviderAuthError(f"{target.provider} could not be asked: {words}; check {target.key_setting}")
    return ProviderError(f"asking {target.provider} failed ({type(error).__name__}); try again, or another provider")


def not_understood(target: RequestTarget) -> ProviderStreamError:
    """The error for an answer that is not a chat-completions stream."""
    return ProviderStreamError(
        f"{target.provider} sent something that is not a chat-completions stream; check that llm.base_url ends where"
        " the API starts (mostly /v1)"
    )


def late(what: str, deadline_s: float, setting: str, target: RequestTarget) -> DeadlineError:
    """The error for one of our deadlines. ``setting``: the one that raises it."""
    return DeadlineError(
        f"{target.provider} gave no {what} within {deadline_s:g} s; try again, use a faster provider or model, or raise"
        f" {setting}",
        deadline_s=deadline_s,
    )


def refused_field(body: object, fields: Any) -> str | None:
    """The one of the optional request ``fields`` that a 400 or 422 refuses; None if it has another reason."""
    inner = body.get("error", body) if isinstance(body, Mapping) else body
    param = inner.get("param") if isinstance(inner, Mapping) else None
    if isinstance(param, str):
        for name in fields:
            if param == name or param.startswith(name + "."):
                return str(name)
    text = json.dumps(body, default=str)
    found = [(text.find(name), name) for name in fields if re.search(rf"\b{name}\b", text)]
    # "Unsupported parameter: 'max_tokens' ... Use 'max_completion_tokens' instead": the first name is the refused one.
    return str(min(found)[1]) if found else None
