"""The models: which are installed and where, and one timed run of each stage, compared with its budget."""

from __future__ import annotations

import contextlib
import json
import re
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ..audio.files import read_audio
from ..audio.resampling import resample
from ..clock import SYSTEM, Clock
from ..config import Config, models
from ..errors import ConfigError, ProviderError
from ..llm.endpoints import resolve
from .finding import Facts, Finding, KeyLookup, Status, against_budget

CLIP = "sense05"  # a person reading, 2.9 s; assets/speech/README.md says who
RUNS = 3
MIN_WORDS_SHARE = 0.6
SENTENCE = "Yes, of course, I can tell you more about that."
WHOLE, BROKEN = "What time does the library open tomorrow", "I would like to know whether the"


def found(config: Config) -> Iterator[Finding]:
    """The models that were installed as packages or downloaded, and where they are."""
    for one in models.installed():
        name = f"{one.kind} {one.name}"
        if one.path is not None:
            facts: Facts = {"path": str(one.path), "bytes": one.size_bytes}
            yield Finding(Status.OK, f"{one.size_bytes / 1e6:.0f} MB, {_short(one.path)}", facts=facts, name=name)
        elif one.kind == "llm":
            yield Finding(
                Status.WARNING,
                "not here: without it rules decide the end of turn, and there is no embedded model",
                f"install it with: {one.install}",
                name=name,
            )
        elif one.name in (config.stt.model, config.tts.voice):
            yield Finding(Status.FAILED, "not here", f"install it with: {one.install}", name=name)
        else:
            yield Finding(Status.SKIPPED, "not here, and not asked for", name=name)


def _short(path: Path) -> str:
    """The path without its beginning (site-packages or the user's home), which is the same for all."""
    text = str(path)
    if "site-packages" in text:
        return "site-packages" + text.partition("site-packages")[2]
    return text.replace(str(Path.home()), "~", 1)


def stt(config: Config, clock: Clock = SYSTEM) -> Iterator[Finding]:
    """Load Whisper and transcribe a recorded sentence."""
    from ..stt.decoder import WhisperEngine
    from ..stt.pcm import SAMPLE_RATE

    settings = config.stt
    path = models.whisper(settings.model)
    began = clock.now()
    engine = WhisperEngine(
        path, device=settings.device, compute_type=settings.compute_type, backend=settings.backend,
        language=settings.language, hotwords=settings.hotwords, threads=settings.threads, clock=clock,
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
    length_s = len(pcm) / SAMPLE_RATE
    text = f"{settings.model}: {took_ms:.0f} ms for a sentence of {length_s:.1f} s, loaded in {loaded_s:.1f} s"
    if share < MIN_WORDS_SHARE and settings.language in ("en", "auto"):
        yield Finding(
            Status.FAILED,
            f'{text}; but it heard "{heard.text[:60]}"',
            "use another model: --whisper base",
            facts,
        )
    else:
        yield against_budget(text, took_ms, config.budget.stt_ms, facts)


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z']+", text.casefold()))


def _timed(work: Callable[[], object], clock: Clock) -> float:
    began = clock.now()
    work()
    return clock.now() - began


def end_of_turn_model(config: Config, keys: KeyLookup, clock: Clock = SYSTEM) -> Iterator[Finding]:
    """Whether the end-of-turn model tells a whole sentence from a broken one, and how fast."""
    from ..pipeline.model_loader import next_token_reader
    from ..turn import EndOfTurnModel, RuleEndOfTurnModel, TextEndOfTurnModel

    with contextlib.ExitStack() as stack:
        model: EndOfTurnModel = RuleEndOfTurnModel()
        if config.turn.end_of_turn_model == "embedded":
            from ..llm.local.embedded import EmbeddedModel

            path, chatting = models.smollm2(), None
            if _chats_with_it(config, keys):
                chatting = stack.enter_context(EmbeddedModel.shared(path))
            model = TextEndOfTurnModel(next_token_reader(path, chatting)())
        model.score("hello there")
        took_ms = statistics.median(_timed(partial(model.score, text), clock) for text in (WHOLE, BROKEN, WHOLE)) * 1000
        whole, broken = model.score(WHOLE), model.score(BROKEN)
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
    except (ConfigError, ProviderError):  # the provider check reports it
        return False


def tts(config: Config, clock: Clock = SYSTEM) -> Iterator[Finding]:
    """Load the voice and synthesize a sentence."""
    from ..tts import Delivery, Voice

    settings = config.tts
    began = clock.now()
    voice = Voice.load(*models.piper(settings.voice), backend=settings.backend_for(several=False))
    loaded_s = clock.now() - began
    delivery = Delivery(speaker=settings.speaker, length_scale=settings.length_scale)
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
    text = (
        f"{settings.voice}: first sound after {first_ms:.0f} ms, {speed:.1f} times real time,"
        f" loaded in {loaded_s:.1f} s"
    )
    if speed < 1.2:
        yield Finding(
            Status.FAILED,
            f"{text}: speech would break off",
            "use a smaller voice (-low), a faster machine",
            facts,
        )
    else:
        yield against_budget(text, first_ms, config.budget.tts_ms, facts)
