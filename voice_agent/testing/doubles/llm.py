"""A doubled language model: the real client with its deadlines and errors; only the provider is scripted.

:class:`ScriptedProvider` is an httpx2 transport that answers like an OpenAI-compatible server, on the event loop
(virtual or not) and without a socket. :class:`ScriptedLLM` is a :class:`~voice_agent.llm.client.ChatLLM` on it.
"""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2

from ...clock import SYSTEM, Clock
from ...config import LlmConfig
from ...llm.client import ChatLLM
from ...llm.hedging.trial import TRIAL_TEXT
from ...llm.local.sim_server import FAILURES, MODEL, REPLIES, TOKENS_PER_WORD, first_token_s
from ...llm.memory.summary import SUMMARY_ASK
from ...llm.provider_table import SIMULATED
from ...llm.sim_spec import SimSpec
from ...llm.types import Endpoint, RequestDeadlines
from .deviations import Deviations


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model answers in one turn of the user.

    ``to``: a regular expression that the user's text must match, upper or lower case. ``calls``: tools (name ->
    arguments) called first; ``text`` is then said with their results in hand. ``pace``: the first token, the speed,
    stalls and failures of this reply (its ``every`` is not used).
    """

    text: str
    to: str | None = None
    calls: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    pace: SimSpec | None = None


Replies = Sequence[Reply | str] | Callable[[str], Reply] | None
"""One for each turn of the user, in order; or made from the user's text; None: canned ones."""


def canned(user_text: str) -> str:
    """The reply of ``sim:`` to a text: the same text, the same reply."""
    return REPLIES[zlib.crc32(json.dumps(user_text).encode()) % len(REPLIES)]


class ScriptedProvider(httpx2.AsyncBaseTransport):
    """The scripted provider.

    ``replies``: one for each turn of the user, in order; or a function of the user's text; None: any number of canned
    ones.

    A turn is counted by the user's messages in the request, so provisional requests that are thrown away get the same
    reply. ``pace`` is that of replies which have none of their own. :meth:`verify` raises ScriptError for turns
    that the script lacks, texts that do not match ``to``, and replies that were not requested.
    """

    def __init__(self, replies: Replies = None, *, pace: SimSpec | None = None) -> None:
        self._make = replies if callable(replies) else lambda text: Reply(canned(text))
        listed = None if replies is None or callable(replies) else replies
        self.replies = None if listed is None else [Reply(r) if isinstance(r, str) else r for r in listed]
        self.pace = pace or SimSpec()
        self.requests = 0
        self.background_requests: list[str] = []  # user texts of trials and summaries, which belong to no turn
        self.background_reply: Callable[[str], Reply] = lambda text: Reply(
            "Yes." if text == TRIAL_TEXT else "They have talked."
        )
        self.asked: dict[int, str] = {}  # turn, from 1 -> the user's text it was last asked with

    def verify(self) -> None:
        """Raise ScriptError if the conversation did not go by the script."""
        if self.replies is None:
            return
        notes = Deviations("the language model")
        for turn, text in self.asked.items():
            if turn > len(self.replies):
                notes.unexpected(f"turn {turn}, {text!r}", f"{len(self.replies)} turns")
            elif (want := self.replies[turn - 1].to) is not None and not re.search(want, text, re.IGNORECASE):
                notes.unexpected(f"{text!r}", f"turn {turn} to match {want!r}")
        notes.left_over(
            [f"the reply to turn {n} {r.text!r}" for n, r in enumerate(self.replies, 1) if n not in self.asked]
        )
        notes.check()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/models"):
            return _json(request, 200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]})
        self.requests += 1
        body = json.loads(await request.aread())
        messages = body.get("messages", [])
        said = [m for m in messages if m.get("role") == "user"]
        text = _text(said[-1]) if said else ""
        turn = max(1, len(said))
        background = text == TRIAL_TEXT or (bool(messages) and _text(messages[0]) == SUMMARY_ASK)
        if background:
            self.background_requests.append(text)
        else:
            self.asked[turn] = text
        if background:
            reply = self.background_reply(text)
        elif self.replies is None:
            reply = self._make(text)
        elif turn <= len(self.replies):
            reply = self.replies[turn - 1]
        else:
            # A provider's error shows the place in the conversation; verify() says what it was.
            message = f"the script has {len(self.replies)} replies, and this is turn {turn}, {text!r}"
            return _json(request, 400, {"error": {"message": message, "type": "script"}})
        pace = reply.pace or self.pace
        if pace.ttft_sigma or pace.stall_share:
            drawn_s = first_token_s(
                pace.ttft_s, pace.ttft_sigma, pace.stall_share, pace.stall_s, pace.seed, self.requests
            )
            pace = replace(pace, ttft_s=drawn_s)
        bad = self.requests % pace.every == 0 if reply.pace is None else True
        error = pace.error if bad else None
        if error in FAILURES:
            await asyncio.sleep(pace.ttft_s)
            status, message, code = FAILURES[error]
            headers = {"Retry-After": "2"} if error == "429" else {}
            return _json(request, status, {"error": {"message": message, "type": code, "code": code}}, headers)
        if error == "wrapped429":
            await asyncio.sleep(pace.ttft_s)
            return _json(request, 200, {"error": {"message": "Too many requests upstream", "code": 429}})
        called = bool(reply.calls) and (not messages or messages[-1].get("role") != "tool")
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        stream = _Stream(reply, replace(pace, error=error), self.requests, bad, called, limit, messages)
        return httpx2.Response(200, headers={"Content-Type": "text/event-stream"}, stream=stream, request=request)


class _Stream(httpx2.AsyncByteStream):
    """One answer, word by word."""

    def __init__(
        self, reply: Reply, pace: SimSpec, number: int, bad: bool, called: bool, limit: int | None, messages: list[Any]
    ) -> None:
        self._reply, self._pace, self._number, self._bad = reply, pace, number, bad
        self._called, self._limit, self._messages = called, limit, messages

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pace, arrived = self._pace, asyncio.get_running_loop().time()

        async def until(due_s: float) -> None:
            await asyncio.sleep(max(0.0, arrived + due_s - asyncio.get_running_loop().time()))

        if pace.error == "silence":
            await asyncio.sleep(3600)
        words = self._reply.text.split()
        if self._limit is not None:
            words = words[: max(1, int(self._limit / TOKENS_PER_WORD))]
        if self._called:
            await until(pace.ttft_s)
            calls = [
                {"index": i, "id": f"call_{self._number}_{i}", "type": "function",
                 "function": {"name": name, "arguments": json.dumps(dict(args))}}
                for i, (name, args) in enumerate(self._reply.calls.items())
            ]  # fmt: skip
            yield self._event(delta={"tool_calls": calls})
            yield self._event(finish="tool_calls")
            words = []
        stalled = 0.0
        for index, word in enumerate(words):
            if self._bad and index == pace.stall_at:
                stalled = pace.stall_s
            await until(pace.ttft_s + index * TOKENS_PER_WORD / pace.tps + stalled)
            if index == len(words) // 2 and pace.error in ("midstream", "hangup", "notjson"):
                if pace.error == "midstream":
                    yield b'data: {"error": {"message": "Upstream failed", "code": 502}}\n\n'
                elif pace.error == "notjson":
                    yield b"data: <html>Bad gateway</html>\n\n"
                else:
                    raise httpx2.RemoteProtocolError("peer closed connection without sending complete message body")
                return
            yield self._event(delta={"content": word + (" " if index + 1 < len(words) else "")})
        if not self._called:
            yield self._event(finish="stop")
        tokens = max(1, round(len(words) * TOKENS_PER_WORD))
        prompt = round(len(json.dumps(self._messages)) / 5)
        usage = {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}
        yield self._event(usage=usage)
        yield b"data: [DONE]\n\n"

    def _event(
        self, *, delta: dict[str, Any] | None = None, finish: str | None = None, usage: dict[str, Any] | None = None
    ) -> bytes:
        body: dict[str, Any] = {"id": f"scripted-{self._number}", "object": "chat.completion.chunk", "model": MODEL}
        body["choices"] = [] if usage else [{"index": 0, "delta": delta or {}, "finish_reason": finish}]
        if usage is not None:
            body["usage"] = usage
        return b"data: " + json.dumps(body).encode() + b"\n\n"


def _json(
    request: httpx2.Request, status: int, body: dict[str, Any], headers: dict[str, str] | None = None
) -> httpx2.Response:
    return httpx2.Response(status, headers=headers, json=body, request=request)


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return " ".join(part.get("text", "") for part in content if isinstance(part, Mapping))
    return str(content or "")


def endpoint() -> Endpoint:
    """Where a :class:`ScriptedProvider` is asked; labelled as simulated."""
    return Endpoint(SIMULATED, "http://scripted.invalid/v1", None, MODEL, True, "scripted", kind="remote")


class ScriptedLLM(ChatLLM):
    """A language model that follows a script, for any ``AgentSession(llm=ScriptedLLM(["Hello!"]))``.

    ``replies``, ``pace``: see :class:`ScriptedProvider`. :meth:`verify` at the end of the test raises ScriptError for
    what was not expected and what was left over.
    """

    def __init__(
        self,
        replies: Replies | ScriptedProvider = None,
        *,
        pace: SimSpec | None = None,
        deadlines: RequestDeadlines | None = None,
        max_completion_tokens: int | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self.script = replies if isinstance(replies, ScriptedProvider) else ScriptedProvider(replies, pace=pace)
        super().__init__(
            endpoint(),
            deadlines=deadlines,
            max_completion_tokens=max_completion_tokens,
            warm_connections=0,
            transport=self.script,
            clock=clock,
        )

    @classmethod
    def following(cls, script: ScriptedProvider, cfg: LlmConfig, *, clock: Clock = SYSTEM) -> ScriptedLLM:
        """With the settings' deadlines and answer length."""
        deadlines = RequestDeadlines(
            connect_s=cfg.connect_timeout_s, first_content_s=cfg.first_content_timeout_s, total_s=cfg.total_timeout_s
        )
        return cls(script, deadlines=deadlines, max_completion_tokens=cfg.max_completion_tokens, clock=clock)

    def verify(self) -> None:
        """See :meth:`ScriptedProvider.verify`."""
        self.script.verify()
