"""Builders of a session's parts: each takes what it needs, and returns one part."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from livekit.agents import AgentSession
from livekit.agents.voice.agent_session import SessionConnectOptions

from ..clock import Clock
from ..config import Config, LlmConfig
from ..llm.hedging.hedge import HedgedLLM
from ..llm.types import Endpoint
from ..stt import FastWhisperSTT
from ..tts import PiperTTS
from .agent_speech import AgentSpeech
from .hooks import PipelineHooks
from .model_loader import Progress
from .model_pool import ModelPool
from .turn_detectors import TurnDetectors

log = logging.getLogger("voice_agent")

EMBEDDED_MAX_TOKENS = 48


@dataclass(frozen=True, slots=True)
class SessionStages:
    """The stages of one session. ``speech``: what the agent says, which the turn detectors compare with what they
    hear."""

    stt: FastWhisperSTT
    llm: HedgedLLM
    tts: PiperTTS
    detectors: TurnDetectors
    speech: AgentSpeech


async def build_stages(config: Config, pool: ModelPool, hooks: PipelineHooks, clock: Clock) -> SessionStages:
    """All stages of a session. Raises ModelError, ConfigError, ProviderError."""
    loop = asyncio.get_running_loop()
    end_of_turn_model = pool.end_of_turn_model()
    engine = await loop.run_in_executor(None, pool.engine, config.stt.language)
    voice = await loop.run_in_executor(None, pool.voice, config.tts.voice)
    tts = pool.factories.tts(
        config.tts.voice,
        speaker=config.tts.speaker,
        length_scale=config.tts.length_scale,
        loaded=hooks.voice(voice),
        clock=clock,
    )
    speech = AgentSpeech(clock)
    detectors = TurnDetectors(
        config,
        end_of_turn_model,
        under_load=pool.under_load,
        agent=speech.now_playing,
    )
    stt = pool.factories.stt(
        config.stt.model,
        language=config.stt.language,
        turn_detector=lambda: hooks.turn_detector(detectors.make()),
        engine=engine,
        thread=hooks.stt_executor(pool.stt_executor(detectors.user_paused)),
        clock=clock,
    )
    return SessionStages(stt, hedged_llm(config, pool, clock), tts, detectors, speech)


def hedged_llm(config: Config, pool: ModelPool, clock: Clock) -> HedgedLLM:
    """The LLM of a call: the pool's endpoint, and the hedge's if there is one."""
    settings = llm_settings(config.llm, pool.endpoint)
    primary = pool.factories.llm(settings, pool.endpoint, clock=clock)
    second = pool.factories.llm(settings, pool.hedge, clock=clock) if pool.hedge is not None else None
    return HedgedLLM(primary, second, config=config.degradation, clock=clock)


def llm_settings(settings: LlmConfig, endpoint: Endpoint) -> LlmConfig:
    """The embedded model does not know when to stop: its replies are short."""
    if endpoint.kind != "embedded":
        return settings
    return dataclasses.replace(settings, max_completion_tokens=min(EMBEDDED_MAX_TOKENS, settings.max_completion_tokens))


async def connect(llm: HedgedLLM, pool: ModelPool, progress: Progress) -> list[str]:
    """Connect to the provider and choose its model. Returns notes for the user. Raises ProviderError."""
    progress(f"connecting to {pool.endpoint.label}")
    choice = await llm.warm()
    notes = [f"model {choice.model} at {pool.endpoint.label}: {choice.reason}"]
    second = llm.models.second
    if second is not None and second.choice is not None and pool.hedge is not None:
        notes.append(f"when it is late: model {second.choice.model} at {pool.hedge.label}")
    return notes


def connect_meanwhile(llm: HedgedLLM) -> asyncio.Future[Any]:
    """Connect without anybody waiting for it: the model has been chosen. A failure is logged."""
    connecting = asyncio.ensure_future(llm.warm())
    connecting.add_done_callback(_connecting_failed)
    return connecting


def _connecting_failed(connecting: asyncio.Future[Any]) -> None:
    if not connecting.cancelled() and (error := connecting.exception()) is not None:
        log.warning("no connection to the language model yet: %s", error)  # the turn that needs it will say so too


def tool_notes(endpoint: Endpoint, tools: Sequence[Any]) -> list[str]:
    """What the user should know about tools."""
    if endpoint.kind == "embedded" and tools:
        return ["the embedded model calls no tools; name a provider with --llm"]
    return []


def agent_session(config: Config, stages: SessionStages) -> AgentSession[Any]:
    """LiveKit's session on our stages, with its own end of turn switched off."""
    return AgentSession(
        stt=stages.stt,
        llm=stages.llm,
        tts=stages.tts,
        vad=None,  # each STT stream has one, and the turn detector gets its windows
        tts_text_transforms=None,
        aec_warmup_duration=None,  # it would forbid interruptions for the first 3 s
        use_tts_aligned_transcript=True,  # the history of a reply ends with the last word heard
        turn_handling={
            "turn_detection": "stt",
            "endpointing": {"min_delay": 0.0, "max_delay": 0.0},
            # turn/barge_in_policy.py decides about interruptions; LiveKit pauses too when it sees a text, and resumes
            # when the utterance ends without a turn: at once, since our detector has waited already.
            "interruption": {"resume_false_interruption": True, "false_interruption_timeout": 0.0},
            "preemptive_generation": {
                "enabled": True,
                "preemptive_tts": True,
                "max_retries": max(1, config.turn.max_preflights),
                "max_speech_duration": 600.0,
            },
        },
        # A broken provider does not end the call; each failed turn is spoken and recorded.
        conn_options=SessionConnectOptions(max_unrecoverable_errors=1_000_000),
    )


__all__ = ["SessionStages", "agent_session", "build_stages", "connect", "connect_meanwhile", "tool_notes"]
