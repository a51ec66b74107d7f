"""Measures how fast each provider is: the same requests to all, interleaved in one seeded order.

A request is a voice turn: instructions, an earlier conversation of a given length, and a new short question. The
earlier conversation is the same for all requests of one length, as within a call, so prompt caches help as in a call.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from livekit.agents import llm

from ...clock import SYSTEM, Clock
from ...errors import ProviderError
from ..client import ChatLLM

CONTEXT_TOKENS = (200, 1000, 4000)
_LETTERS_PER_TOKEN = 4
_ASKED = (
    "What should I pack for two days by the sea?",
    "How do I keep bread fresh for longer?",
    "Why is the sky red in the evening?",
    "Tell me how a bicycle stays upright.",
    "What is a good way to learn ten new words a day?",
    "How long should I boil an egg?",
    "What is the difference between a lake and a pond?",
    "How can I fall asleep sooner?",
)
_TOLD = (
    "The train leaves in the morning, and there is a second one after lunch that takes a little longer. ",
    "You can walk along the river for an hour and come back through the old town. ",
    "It depends on the weather, but most people bring a light coat and good shoes. ",
    "The market is open until noon, and the bread there is better than in the shops. ",
)


@dataclass(frozen=True, slots=True)
class BenchRequest:
    """One planned request: its provider, the length of the conversation before it, and how many are sent at once."""

    provider: str
    context_tokens: int
    concurrency: int
    number: int


@dataclass(frozen=True, slots=True)
class RequestTiming:
    """The result of a request. Times in ms; ``ttft_ms`` counts content, not reasoning. ``error``: the exception's
    class."""

    provider: str
    context_tokens: int
    concurrency: int
    ttft_ms: float | None
    total_ms: float | None
    tokens: int
    tokens_per_s: float | None
    error: str | None = None


def conversation(context_tokens: int, number: int) -> llm.ChatContext:
    """A conversation of about ``context_tokens`` and a new question (number ``number`` of a fixed list)."""
    ctx = llm.ChatContext.empty()
    system = "You are a friendly voice assistant on a live call. Answer in one to three short spoken sentences."
    ctx.add_message(role="system", content=system)
    rng, letters = random.Random(context_tokens), len(system)
    question = _ASKED[number % len(_ASKED)]
    while letters + len(question) < context_tokens * _LETTERS_PER_TOKEN:
        user, agent = rng.choice(_ASKED), "".join(rng.choices(_TOLD, k=2))
        ctx.add_message(role="user", content=user)
        ctx.add_message(role="assistant", content=agent.strip())
        letters += len(user) + len(agent)
    ctx.add_message(role="user", content=question)
    return ctx


def plan(
    providers: Sequence[str], n: int, contexts: Sequence[int], concurrencies: Sequence[int], seed: int
) -> Iterator[list[BenchRequest]]:
    """``n`` requests of each kind, in rounds. A round has one group of each provider, context length and concurrency,
    in shuffled order; the requests of a group are sent at the same time."""
    rng, kinds = random.Random(seed), [(p, t, c) for p in providers for t in contexts for c in concurrencies]
    sent = dict.fromkeys(kinds, 0)
    while any(sent[kind] < n for kind in kinds):
        rng.shuffle(kinds)
        for kind in kinds:
            provider, tokens, together = kind
            size = min(together, n - sent[kind])
            if size > 0:
                yield [BenchRequest(provider, tokens, together, sent[kind] + at) for at in range(size)]
                sent[kind] += size


async def ask(client: ChatLLM, request: BenchRequest, clock: Clock = SYSTEM) -> RequestTiming:
    """Send one request and time it. A ProviderError becomes the timing's ``error``."""
    began, first, last, chunks, tokens = clock.now(), None, None, 0, None
    error = None
    try:
        async with client.chat(chat_ctx=conversation(request.context_tokens, request.number)) as stream:
            async for part in stream:
                if part.delta is not None and part.delta.content:
                    last = clock.now()
                    first = last if first is None else first
                    chunks += 1
                if part.usage is not None:
                    tokens = part.usage.completion_tokens
    except ProviderError as failed:
        error = type(failed).__name__
    counted = tokens if tokens is not None else chunks
    spread_s = last - first if first is not None and last is not None else 0.0
    return RequestTiming(
        request.provider,
        request.context_tokens,
        request.concurrency,
        None if first is None or error else (first - began) * 1000,
        None if last is None or error else (last - began) * 1000,
        counted,
        # The first chunk's tokens are not part of the time after it.
        counted * (1 - 1 / chunks) / spread_s if spread_s > 0.001 and chunks > 1 and not error else None,
        error,
    )


async def measure(
    clients: Mapping[str, ChatLLM],
    n: int,
    *,
    contexts: Sequence[int] = CONTEXT_TOKENS,
    concurrencies: Sequence[int] = (1,),
    seed: int = 1,
    clock: Clock = SYSTEM,
    on_timing: Callable[[RequestTiming], None] = lambda _: None,
) -> list[RequestTiming]:
    """Send all requests of :func:`plan`, group after group. ``clients``: warm clients by displayed name."""
    timings: list[RequestTiming] = []
    for group in plan(list(clients), n, contexts, concurrencies, seed):
        for timing in await asyncio.gather(*(ask(clients[request.provider], request, clock) for request in group)):
            timings.append(timing)
            on_timing(timing)
    return timings
