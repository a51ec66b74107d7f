"""The services that a call needs: the LLM provider, and the LiveKit server if one is configured."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp

from ..clock import SYSTEM, Clock
from ..config import Config, models
from ..errors import ModelError, ProviderError
from ..llm.endpoints import resolve
from ..llm.types import Endpoint
from ..room.access import API_KEY as KEY
from ..room.access import API_SECRET as SECRET
from ..room.access import URL
from .finding import Facts, Finding, KeyLookup, Status, against_budget

if TYPE_CHECKING:
    from livekit.agents.llm import ChatContext

    from ..llm.client import ChatLLM

LIVEKIT_TIMEOUT_S = 8.0


def livekit(keys: KeyLookup, clock: Clock = SYSTEM) -> Iterator[Finding]:
    """Connect to the server of ``LIVEKIT_URL`` and check that it accepts a token made with our key."""
    url, key, secret = keys(URL), keys(KEY), keys(SECRET)
    if url is None:
        yield Finding(Status.SKIPPED, f"{URL} is not set: only rooms on a server of your own need it")
        return
    address = url.reveal()
    try:
        parts = urlsplit(address)
        fits = parts.scheme in ("ws", "wss", "http", "https") and bool(parts.hostname)
        shown = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"
    except ValueError:
        fits, shown = False, ""
    if not fits:
        yield Finding(Status.FAILED, f"{URL} is no address", f"set it to something like {URL}=wss://your.server")
        return
    if key is None or secret is None:
        missing = " and ".join(name for name, value in ((KEY, key), (SECRET, secret)) if value is None)
        yield Finding(Status.FAILED, f"{missing} not set", "take them from the server's configuration or project page")
        return
    yield asyncio.run(_ask_livekit(address, shown, key.reveal(), secret.reveal(), clock))


async def _ask_livekit(url: str, shown: str, key: str, secret: str, clock: Clock) -> Finding:
    from livekit import api

    began = clock.now()
    limit = aiohttp.ClientTimeout(total=LIVEKIT_TIMEOUT_S)
    try:
        async with api.LiveKitAPI(url, key, secret, timeout=limit, failover=False) as server:
            rooms = await server.room.list_rooms(api.ListRoomsRequest())
    except api.TwirpError as error:
        if error.status in (401, 403):
            advice = f"check {KEY} and {SECRET}: they must be those of this server; and the clock of this machine"
            return Finding(Status.FAILED, f"{shown} refuses our token ({error.status})", advice)
        return Finding(Status.FAILED, f"{shown} answers {error.code} ({error.status})", "see the server's own log")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        why = "no answer in time" if isinstance(error, TimeoutError) else "no connection"
        return Finding(
            Status.FAILED,
            f"{shown}: {why}",
            f"check {URL}, that the server runs, and the network",
            {"url": shown},
        )
    ms = (clock.now() - began) * 1000
    text = f"{shown}: reached in {ms:.0f} ms, token accepted, {len(rooms.rooms)} rooms open"
    return Finding(Status.OK, text, facts={"url": shown, "ms": round(ms, 1), "rooms": len(rooms.rooms)})


def provider(config: Config, keys: KeyLookup, clock: Clock = SYSTEM) -> Iterator[Finding]:
    """Connect to the provider, check that it serves the model, and send one request."""
    from ..llm.start import running

    endpoint = resolve(config.llm, keys)
    try:
        with running(endpoint, lambda: models.smollm2()) as ready:
            yield from asyncio.run(_ask_provider(config, ready, clock))
    except ModelError as error:
        said, _, advice = str(error).partition("; ")
        yield Finding(Status.FAILED, said, advice or "name a provider with --llm", name="provider")


async def _ask_provider(config: Config, endpoint: Endpoint, clock: Clock) -> list[Finding]:
    from ..llm.client import ChatLLM

    facts: Facts = {"provider": endpoint.provider.name, "kind": endpoint.kind, "simulated": endpoint.simulated}
    client = ChatLLM.from_config(config.llm, endpoint, clock=clock)
    try:
        began = clock.now()
        try:
            choice = await client.warm()
        except ProviderError as error:
            return [_refused(endpoint, error, facts)]
        ms = (clock.now() - began) * 1000
        facts = {**facts, "model": choice.model}
        line = f"{endpoint.label}: reached in {ms:.0f} ms, {choice.model} ({choice.reason})"
        reached = Finding(Status.OK, line, facts={**facts, "ms": round(ms, 1)}, name="provider")
        return [reached, await _first_words(config, endpoint, client, facts, clock)]
    finally:
        await client.aclose()


async def _first_words(config: Config, endpoint: Endpoint, client: ChatLLM, facts: Facts, clock: Clock) -> Finding:
    """Send one request; the time to its first content against the budget."""
    from livekit.agents import llm

    ctx = llm.ChatContext.empty()
    ctx.add_message(role="system", content=config.agent.prompt)
    ctx.add_message(role="user", content="Hello, can you hear me?")
    label = {"embedded": " (embedded)", "sim": " (simulated)"}.get(endpoint.kind, "")
    try:
        if endpoint.kind == "embedded":  # it evaluates its instructions once before a conversation, so here too
            await _first_content(client, ctx, clock)
        first_s = await _first_content(client, ctx, clock)
    except ProviderError as error:
        return _refused(endpoint, error, facts, name="first words")
    if first_s is None:
        text = f"{facts['model']}{label} answered nothing"
        return Finding(Status.FAILED, text, "name another model with --model", facts, "first words")
    ms = first_s * 1000
    timed = against_budget(f"{ms:.0f} ms{label}, n=1", ms, config.budget.llm_ms, {**facts, "ms": round(ms, 1)})
    if timed.status is Status.WARNING:
        timed = replace(timed, advice="use a faster provider or model (docs/providers.md)")
    return replace(timed, name="first words")


def _refused(endpoint: Endpoint, error: ProviderError, facts: Facts, *, name: str = "provider") -> Finding:
    said, _, advice = str(error).partition("; ")
    return Finding(
        Status.FAILED, f"{endpoint.label}: {said}", advice, {**facts, "error": type(error).__name__}, name=name
    )


async def _first_content(client: ChatLLM, ctx: ChatContext, clock: Clock) -> float | None:
    """Seconds until the first content. None: the reply was empty."""
    began = clock.now()
    async with client.chat(chat_ctx=ctx) as stream:
        async for chunk in stream:
            if chunk.delta is not None and chunk.delta.content:
                return clock.now() - began
    return None
