"""The models: which are here and where, and one timed run of each stage on this machine, against the budget."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..audio.files import read_audio
from ..audio.resampling import resample
from ..clock import SYSTEM, Clock
from ..config import Config, Secret, models
from ..errors import ConfigError, ModelError, ProviderError
from ..llm.endpoints import Endpoint, resolve
from .finding import Facts, Finding, Status

if TYPE_CHECKING:
    from livekit.agents.llm import ChatContext

    from ..llm.client import ChatLLM

CLIP = "sense05"  # a person reading, 2.9 s; assets/speech/README.md says who
RUNS = 3
HEARD_ENOUGH = 0.6
SENTENCE = "Yes, of course, I can tell you more about that."
WHOLE, BROKEN = "What time does the library open tomorrow", "I would like to know whether the"
SLOW = "use a smaller model, end what else runs on this machine, or raise the budget in [budget]"
KeyLookup = Callable[[str], Secret | None]


def found(config: Config) -> Iterator[Finding]:
    """The models that come as packages or were fetched, and where they are."""
    for one in models.installed():
        name = f"{one.kind} {one.name}"
        if one.path is not None:
            facts: Facts = {"path": str(one.path), "bytes": one.size_bytes}
            yield Finding(Status.OK, f"{one.size_bytes / 1e6:.0f} MB, {_short(one.path)}", facts=facts, name=name)
        elif one.kind == "llm":
            yield Finding(
                Status.WARNING,
                "not here: without it turns are judged by rules, and there is no embedded model",
                f"install it with: {one.install}",
                name=name,
            )
        elif one.name in (config.stt.model, config.tts.voice):
            yield Finding(Status.FAILED, "not here", f"install it with: {one.install}", name=name)
        else:
            yield Finding(Status.SKIPPED, "not here, and not asked for", name=name)


def _short(path: Path) -> str:
    """The path from the environment's packages or the user's home on: the beginning is the same for all."""
    text = str(path)
    if "site-packages" in text:
        return "site-packages" + text.partition("site-packages")[2]
    return text.replace(str(Path.home()), "~", 1)


def ears(config: Config, clock: Clock = SYSTEM) -> Iterator[Finding]:
    """Load Whisper, hear a recorded sentence."""
    from ..stt.decoder import WhisperEngine
    from ..stt.pcm import SAMPLE_RATE

    stt = config.stt
    path = models.whisper(stt.model)
    began = clock.now()
    engine = WhisperEngine(
        path, device=stt.device, compute_type=stt.compute_type, backend=stt.backend,
        language=stt.language, hotwords=stt.hotwords, threads=stt.threads, clock=clock,
    )  # fmt: skip
    loaded_s = clock.now() - began
    folder = models.assets() / "speech"
    audio = read_audio(folder / f"{CLIP}.wav")
    pcm = resample(audio.samples, audio.sample_rate, SAMPLE_RATE).astype(np.float32) / np.float32(32768)
    heard = engine.decode(pcm)
    times = [_timed(lambda: engine.decode(pcm), clock) for _ in range(RUNS)]
    took_ms = statistics.median(times) * 1000
    true = _words(json.loads((folder / f"{CLIP}.json").read_text("utf-8"))["text"])
    share = len(true & _words(heard.text)) / len(true)
    facts: Facts = {"ms": round(took_ms, 1), "n": RUNS, "load_s": round(loaded_s, 2), "words_heard": round(share, 2)}
    text = f"{stt.model}: {took_ms:.0f} ms for a sentence of {len(pcm) / SAMPLE_RATE:.1f} s, loaded in {loaded_s:.1f} s"
    if share < HEARD_ENOUGH and stt.language in ("en", "auto"):
        yield Finding(
            Status.FAILED,
            f'{text}; but it heard "{heard.text[:60]}"',
            "use another model: --whisper base",
            facts,
        )
    else:
        yield _against(text, took_ms, config.budget.stt_ms, facts)


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z']+", text.casefold()))


def _timed(work: Callable[[], object], clock: Clock) -> float:
    began = clock.now()
    work()
    return clock.now() - began


def _against(text: str, took_ms: float, budget_ms: float, facts: Facts) -> Finding:
    facts = {**facts, "budget_ms": budget_ms}
    if took_ms > budget_ms:
        return Finding(Status.WARNING, f"{text}; over its budget of {budget_ms:.0f} ms", SLOW, facts)
    return Finding(Status.OK, f"{text} (budget {budget_ms:.0f} ms)", facts=facts)


def end_of_turn_model(config: Config, keys: KeyLookup, clock: Clock = SYSTEM) -> Iterator[Finding]:
    """Whether the judge of texts tells a whole sentence from a broken one, and how fast."""
    from ..pipeline.loaded_models import reading
    from ..turn import EndOfTurnModel, RuleEndOfTurnModel, TextEndOfTurnModel

    with contextlib.ExitStack() as stack:
        who: EndOfTurnModel = RuleEndOfTurnModel()
        if config.turn.end_of_turn_model == "embedded":
            from ..llm.local.embedded import EmbeddedModel

            path, chatting = models.smollm2(), None
            if _chats_with_it(config, keys):
                chatting = stack.enter_context(EmbeddedModel.shared(path))
            who = TextEndOfTurnModel(reading(path, chatting)())
        who.score("hello there")
        took_ms = statistics.median(_timed(partial(who.score, text), clock) for text in (WHOLE, BROKEN, WHOLE)) * 1000
        whole, broken = who.score(WHOLE), who.score(BROKEN)
    facts: Facts = {"ms": round(took_ms, 1), "whole": round(whole, 2), "broken": round(broken, 2)}
    text = f"{config.turn.end_of_turn_model}: {took_ms:.0f} ms for a new text; whole {whole:.1f}, broken {broken:.1f}"
    if whole <= broken:
        yield Finding(
            Status.FAILED, f"{text}: it cannot tell them apart", "use --set turn.end_of_turn_model=rules", facts
        )
    else:
        yield Finding(Status.OK, text, facts=facts)


def _chats_with_it(config: Config, keys: KeyLookup) -> bool:
    try:
        return resolve(config.llm, keys).kind == "embedded"
    except (ConfigError, ProviderError):  # another check says so
        return False


def mouth(config: Config, clock: Clock = SYSTEM) -> Iterator[Finding]:
    """Load the voice, speak a sentence."""
    from ..tts import Delivery, Voice

    tts = config.tts
    began = clock.now()
    voice = Voice.load(*models.piper(tts.voice), runtime=tts.backend_for(several=False))
    loaded_s = clock.now() - began
    delivery = Delivery(speaker=tts.speaker, length_scale=tts.length_scale)
    firsts, alls, length_s = list[float](), list[float](), 0.0
    for _ in range(RUNS):
        began, first, samples = clock.now(), 0.0, 0
        for piece in voice.speak(SENTENCE, delivery):
            first = first or clock.now() - began
            samples += len(piece.samples)
        firsts.append(first)
        alls.append(clock.now() - began)
        length_s = samples / voice.sample_rate
    first_ms, speed = statistics.median(firsts) * 1000, length_s / statistics.median(alls)
    facts: Facts = {
        "ms": round(first_ms, 1),
        "n": RUNS,
        "load_s": round(loaded_s, 2),
        "times_real_time": round(speed, 1),
    }
    text = f"{tts.voice}: first sound after {first_ms:.0f} ms, {speed:.1f} times real time, loaded in {loaded_s:.1f} s"
    if speed < 1.2:
        yield Finding(
            Status.FAILED,
            f"{text}: speech would break off",
            "use a smaller voice (-low), a faster machine",
            facts,
        )
    else:
        yield _against(text, first_ms, config.budget.tts_ms, facts)


def mind(config: Config, keys: KeyLookup, clock: Clock = SYSTEM) -> Iterator[Finding]:
    """Reach the provider, see that it serves the model, ask one question."""
    from ..llm.start import running

    endpoint = resolve(config.llm, keys)
    try:
        with running(endpoint, lambda: models.smollm2()) as ready:
            yield from asyncio.run(_ask(config, ready, clock))
    except ModelError as error:
        said, _, advice = str(error).partition("; ")
        yield Finding(Status.FAILED, said, advice or "name a provider with --llm", name="provider")


async def _ask(config: Config, endpoint: Endpoint, clock: Clock) -> list[Finding]:
    from livekit.agents import llm

    from ..llm.client import ChatLLM

    facts: Facts = {"provider": endpoint.provider.name, "kind": endpoint.kind, "simulated": endpoint.simulated}
    mind = ChatLLM.from_config(config.llm, endpoint, clock=clock)
    try:
        began = clock.now()
        try:
            choice = await mind.warm()
        except ProviderError as error:
            return [_refused(endpoint, error, facts)]
        connected_ms = (clock.now() - began) * 1000
        facts = {**facts, "model": choice.model}
        line = f"{endpoint.label}: reached in {connected_ms:.0f} ms, {choice.model} ({choice.reason})"
        out = [Finding(Status.OK, line, facts={**facts, "ms": round(connected_ms, 1)}, name="provider")]
        ctx = llm.ChatContext.empty()
        ctx.add_message(role="system", content=config.agent.prompt)
        ctx.add_message(role="user", content="Hello, can you hear me?")
        try:
            # The embedded model reads its instructions once before a conversation, so here too.
            first_s = [await _first_content(mind, ctx, clock) for _ in range(2 if endpoint.kind == "embedded" else 1)][
                -1
            ]
        except ProviderError as error:
            return [*out, _refused(endpoint, error, facts, name="first words")]
        label = {"embedded": " (embedded)", "sim": " (simulated)"}.get(endpoint.kind, "")
        if first_s is None:
            advice = "name another model with --model"
            return [
                *out,
                Finding(Status.FAILED, f"{choice.model}{label} answered nothing", advice, facts, "first words"),
            ]
        ms = first_s * 1000
        timed = _against(f"{ms:.0f} ms{label}, n=1", ms, config.budget.llm_ms, {**facts, "ms": round(ms, 1)})
        if timed.status is Status.WARNING:
            timed = Finding(timed.status, timed.text, "use a faster provider or model (docs/providers.md)", timed.facts)
        return [*out, Finding(timed.status, timed.text, timed.advice, timed.facts, name="first words")]
    finally:
        await mind.aclose()


def _refused(endpoint: Endpoint, error: ProviderError, facts: Facts, *, name: str = "provider") -> Finding:
    said, _, advice = str(error).partition("; ")
    return Finding(
        Status.FAILED, f"{endpoint.label}: {said}", advice, {**facts, "error": type(error).__name__}, name=name
    )


async def _first_content(mind: ChatLLM, ctx: ChatContext, clock: Clock) -> float | None:
    """Seconds until the first word; the rest is not waited for."""
    began = clock.now()
    async with mind.chat(chat_ctx=ctx) as stream:
        async for chunk in stream:
            if chunk.delta is not None and chunk.delta.content:
                return clock.now() - began
    return None
