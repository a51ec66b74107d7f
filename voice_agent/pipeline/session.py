"""The one place where the road is wired: Config -> AgentSession.

async with road(config, on_turn=print) as r:
    r.session.input.audio, r.session.output.audio = microphone, speaker
    await r.start()
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from livekit.agents import AgentSession, llm, utils
from livekit.agents.voice.agent_session import SessionConnectOptions
from livekit.local_inference import EOT

from ..agent_setup import mcp_servers
from ..budget.attach import SessionLedger, attach
from ..budget.ledger import Mark, Turn
from ..clock import SYSTEM, Clock
from ..config import Config, TurnConfig
from ..livekit_compat.startup import check as check_dependencies
from ..llm.client import ChatLLM
from ..llm.hedging.hedge import HedgedLLM
from ..llm.types import Endpoint
from ..stt import FastWhisperSTT
from ..testing.harness.faults import Faults
from ..tts import PiperTTS
from ..turn import BargeInPolicy, TurnDetector
from ..turn.turn_policy import TurnState
from ..turn_events import BaseTurnDetector, UserTurn
from .agent import VoiceAgent
from .degradation import SMALLEST_WHISPER, Degradation, room_for_whisper, swaps_of
from .fillers import cache_fillers
from .interruptions import BargeIn
from .loaded_models import LoadedModels, Progress, loaded
from .stt_failures import SttFailures

log = logging.getLogger("voice_agent")

EMBEDDED_MAX_TOKENS = 48


@dataclass(slots=True)
class PipelineSession:
    """A wired session, not started yet. ``notes``: lines for the user, on the model, what is simulated or missing."""

    config: Config
    session: AgentSession[Any]
    agent: VoiceAgent
    stt: FastWhisperSTT
    llm: ChatLLM
    tts: PiperTTS
    ledger: SessionLedger
    endpoint: Endpoint
    notes: list[str] = field(default_factory=list)
    _detectors: list[TurnDetector] = field(default_factory=list)
    faults: Faults | None = None
    barge_in: BargeIn | None = None
    mind: HedgedLLM | None = None
    degradation: Degradation | None = None
    on_note: Callable[[str], None] = log.info  # told in the call: what it goes on with from now on
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)  # asyncio keeps only weak references

    async def start(self, **kwargs: Any) -> None:
        """Start the session on the inputs and outputs that it has been given."""
        if self.faults is not None and self.session.output.audio is not None:
            self.session.output.audio = self.faults.output(self.session.output.audio)
        await self.session.start(self.agent, **kwargs)
        if self.barge_in is not None:
            self.barge_in.attach()
        if self.config.agent.greeting:
            self.session.say(self.config.agent.greeting)
        if self.degradation is not None and self.config.degradation.acknowledge:
            task = asyncio.create_task(self._cache_fillers(self.degradation), name="road.acknowledgements")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _cache_fillers(self, degradation: Degradation) -> None:
        """The short words, while nobody speaks; a voice that cannot say them says the answers as ever."""
        wanted = (*degradation.acknowledger.question, *degradation.acknowledger.other)

        def idle() -> bool:
            return self.session.agent_state == "listening" and self.session.user_state != "speaking"

        try:
            await cache_fillers(self.tts, wanted, degradation.sounds, idle=idle)
        except Exception as error:
            log.warning("no short words before late answers: %s", error)

    def audible(self, at: float) -> None:
        """The output says: the first audible sample of the present speech left at ``at`` (monotonic)."""
        self.ledger.audible(at)
        for detector in self._detectors:
            detector.audible()


@contextlib.asynccontextmanager
async def open_session(
    config: Config,
    *,
    on_turn: Callable[[Turn], None],
    progress: Progress = lambda _: None,
    tools: Sequence[Any] = (),
    mcp: Sequence[Any] = (),
    shared: LoadedModels | None = None,
    clock: Clock = SYSTEM,
) -> AsyncIterator[PipelineSession]:
    """Load, warm and wire everything ``config`` names; close it all at the end.

    ``tools`` as LiveKit's Agent takes them; ``mcp``: LiveKit's MCP servers, connected here. ``shared``: what has been
    loaded already (:func:`voice_agent.pipeline.loaded_models.loaded`), for the second and further calls of a machine.
    Raises DependencyError, ModelError, ConfigError, ToolServerError or ProviderError, each saying what to do, before
    anything is heard.
    """
    check_dependencies()
    notes: list[str] = []
    async with contextlib.AsyncExitStack() as stack:
        loop = asyncio.get_running_loop()
        toolsets = await stack.enter_async_context(mcp_servers.connected(mcp, notes))
        connected = shared is not None and shared.endpoint.model is not None  # then a call need not wait for it
        alone = shared is None
        if shared is None:
            shared = await stack.enter_async_context(loaded(config, progress=progress, clock=clock))
        parts = shared
        notes += parts.notes
        end_of_turn_model = parts.end_of_turn_model()
        engine = await loop.run_in_executor(None, parts.engine, config.stt.language)
        voice = await loop.run_in_executor(None, parts.voice, config.tts.voice)
        faults = Faults(config.debug)
        tts = parts.mouth(
            config.tts.voice,
            speaker=config.tts.speaker,
            length_scale=config.tts.length_scale,
            loaded=faults.voice(voice),
            clock=clock,
        )
        detectors: list[TurnDetector] = []
        acoustic = EOT() if config.turn.acoustic else None

        turn_config = config.turn
        few = min(config.room.many_calls_early_preflights, turn_config.max_early_preflights)
        frugal = dataclasses.replace(turn_config, max_early_preflights=few)

        def present() -> TurnConfig:
            return frugal if parts.crowded() else turn_config

        def turn_detector() -> BaseTurnDetector:
            detectors.append(
                TurnDetector(
                    present(),
                    end_of_turn_model,
                    acoustic,
                    barge_in=BargeInPolicy(config.interruption),
                    on_barge_in=lambda decision: barge_in.decide(decision),
                    agent=lambda: barge_in.sound(),
                )
            )
            return faults.turn_detector(detectors[-1])

        stt = parts.ears(
            config.stt.model,
            language=config.stt.language,
            turn_detector=turn_detector,
            engine=engine,
            thread=faults.thread(parts.lane(urgent=lambda: any(d.policy.state is TurnState.PAUSED for d in detectors))),
            clock=clock,
        )
        endpoint = parts.endpoint
        settings = config.llm
        if endpoint.kind == "embedded":  # it does not know when to stop, and nobody wants to hear it for a minute
            settings = dataclasses.replace(
                settings, max_completion_tokens=min(EMBEDDED_MAX_TOKENS, settings.max_completion_tokens)
            )
        mind = parts.mind(settings, endpoint, clock=clock)
        second = parts.mind(settings, parts.hedge, clock=clock) if parts.hedge is not None else None
        hedged = HedgedLLM(mind, second, config=config.degradation, clock=clock)
        warming: asyncio.Future[Any] | None = None
        if connected:
            warming = asyncio.ensure_future(hedged.warm())
            warming.add_done_callback(_connecting_failed)
        else:
            progress(f"connecting to {endpoint.label}")
            choice = await hedged.warm()
            notes.append(f"model {choice.model} at {endpoint.label}: {choice.reason}")
            if second is not None and second.choice is not None and parts.hedge is not None:
                notes.append(f"when it is late: model {second.choice.model} at {parts.hedge.label}")
        if endpoint.kind == "embedded" and (tools or toolsets):
            notes.append("the embedded model calls no tools; name a provider with --llm")
        session: AgentSession[Any] = AgentSession(
            stt=stt,
            llm=hedged,
            tts=tts,
            vad=None,  # the ears have their own, and the turn detector listens to it
            tts_text_transforms=None,
            aec_warmup_duration=None,  # it would forbid interruptions for the first 3 s
            use_tts_aligned_transcript=True,  # what is remembered of a reply ends with the last word heard
            turn_handling={
                "turn_detection": "stt",
                "endpointing": {"min_delay": 0.0, "max_delay": 0.0},
                # Who keeps the floor is decided by turn/interruption.py; LiveKit pauses too when it sees a text, and
                # resumes when the utterance ends without a turn: at once, since our detector has waited already.
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
        barge_in = BargeIn(session, detectors, clock)
        opened: PipelineSession

        def closed(turn: Turn) -> None:
            on_turn(turn)
            degradation.closed(turn)
            if turn.error is not None and turn.marks[Mark.FIRST_AUDIBLE] is None:
                _apologise(opened, turn)

        ledger = attach(session, on_turn=closed, stt_model=config.stt.model, voice=config.tts.voice, clock=clock)

        def reply_ready(text: str) -> None:
            for detector in detectors:
                detector.reply_ready(text)

        barge_in.on_finished = ledger.playback_finished

        smallest: Any = None

        async def smaller_whisper() -> Any:
            nonlocal smallest
            smallest = await loop.run_in_executor(None, parts.engine, config.stt.language, SMALLEST_WHISPER)
            return smallest

        def room_for_another() -> str:
            return room_for_whisper(config.degradation) if alone and smallest is None else ""

        degradation = Degradation(
            config,
            swaps=swaps_of(hedged, config, stt, smaller_whisper, room_for_another),
            on_note=lambda text: opened.on_note(text),
            clock=clock,
        )
        degradation.ledger = lambda: ledger
        degradation.user_speaks = lambda: session.user_state == "speaking"
        degradation.sounds = parts.cached_fillers(config.tts.voice, config.tts.speaker, config.tts.length_scale)

        def pace(soonest_s: float) -> None:
            for detector in detectors:
                detector.policy.reply_takes_s = soonest_s

        agent = VoiceAgent(
            instructions=config.agent.prompt,
            tools=[*tools, *toolsets],
            ledger=lambda: ledger,
            on_reply_ready=reply_ready,
            on_sound=barge_in.speaks,
            faults=faults,
            degradation=degradation,
            on_pace=pace,
        )
        opened = PipelineSession(
            config, session, agent, stt, mind, tts, ledger, endpoint, notes, detectors, faults, barge_in
        )
        opened.mind, opened.degradation = hedged, degradation

        def committed(turn: UserTurn) -> None:
            for detector in detectors:  # from the next turn on
                detector.policy.config = present()
            if detectors and (recorder := detectors[-1].recorder) is not None:
                turn.evidence["recorded"] = recorder.record
            ledger.user_turn(turn)

        SttFailures(session, lambda: _say_sorry(opened))
        stt.on_turn = committed
        stt.on_reopen = lambda text: _reopen(opened, text)
        try:
            yield opened
        finally:
            ledger.close()
            if warming is not None:
                warming.cancel()
            await session.aclose()
            await utils.aio.cancel_and_wait(*opened._tasks)
            await degradation.aclose()
            await hedged.aclose()
            await tts.aclose()
            await stt.aclose()


def _connecting_failed(warming: asyncio.Future[Any]) -> None:
    if not warming.cancelled() and (error := warming.exception()) is not None:
        log.warning("no connection to the language model yet: %s", error)  # the turn that needs it will say so too


def _apologise(r: PipelineSession, turn: Turn) -> None:
    """A failed turn is spoken to the user; the call goes on."""
    log.warning("turn %s failed: %s", turn.id, turn.error)
    _say_sorry(r)


def _say_sorry(r: PipelineSession) -> None:
    with contextlib.suppress(RuntimeError):  # the session is closing: nobody is there to hear it
        r.session.say(r.config.agent.apology, add_to_chat_ctx=False)


def _reopen(r: PipelineSession, text: str) -> None:
    """The user went on: stop the reply nobody has heard, and take its question back out of the history."""
    speech = r.session.current_speech
    r.ledger.reopened()

    async def undo() -> None:
        if speech is not None:
            with contextlib.suppress(RuntimeError):
                await speech.interrupt(force=True)
        history = r.agent.chat_ctx.copy()
        last = history.items[-1] if history.items else None
        if isinstance(last, llm.ChatMessage) and last.role == "user" and (last.text_content or "") == text:
            history.items.pop()
            await r.agent.update_chat_ctx(history)

    task = asyncio.create_task(undo())
    r._tasks.add(task)
    task.add_done_callback(r._tasks.discard)


__all__ = ["PipelineSession", "Progress", "open_session"]
