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

from livekit.agents import AgentSession, llm
from livekit.agents.voice.agent_session import SessionConnectOptions
from livekit.local_inference import EOT

from . import models
from .agent import VoiceAgent
from .budget.attach import SessionLedger, attach
from .budget.ledger import Mark, Turn
from .clock import SYSTEM, Clock
from .config import Config, provider_key
from .decisions import UserTurn
from .errors import ModelError
from .llm.client import ChatLLM
from .llm.embedded import EmbeddedModel
from .llm.providers import Endpoint, resolve
from .llm.start import running
from .stt import FastWhisperSTT
from .tts import PiperTTS
from .turn import Judge, ModelJudge, RuleJudge, TurnDetector

log = logging.getLogger("voice_agent")

EMBEDDED_MAX_TOKENS = 48

Progress = Callable[[str], None]


@dataclass(slots=True)
class Road:
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
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)  # asyncio keeps only weak references

    async def start(self, **kwargs: Any) -> None:
        """Start the session on the inputs and outputs that it has been given."""
        await self.session.start(self.agent, **kwargs)
        if self.config.agent.greeting:
            self.session.say(self.config.agent.greeting)

    def audible(self, at: float) -> None:
        """The output says: the first audible sample of the present speech left at ``at`` (monotonic)."""
        self.ledger.audible(at)
        for detector in self._detectors:
            detector.audible()


@contextlib.asynccontextmanager
async def road(
    config: Config,
    *,
    on_turn: Callable[[Turn], None],
    progress: Progress = lambda _: None,
    tools: Sequence[Any] = (),
    clock: Clock = SYSTEM,
) -> AsyncIterator[Road]:
    """Load, warm and wire everything ``config`` names; close it all at the end.

    Raises ModelError, ConfigError or ProviderError, each saying what to do, before anything is heard.
    """
    endpoint = resolve(config.llm, provider_key)
    notes: list[str] = []
    with contextlib.ExitStack() as stack:
        loop = asyncio.get_running_loop()
        progress(f"loading Whisper {config.stt.model}, voice {config.tts.voice}")
        judge = stack.enter_context(_judge(config, notes))
        endpoint = stack.enter_context(running(endpoint, models.smollm2))
        tts = PiperTTS(config.tts.voice, speaker=config.tts.speaker, length_scale=config.tts.length_scale, clock=clock)
        detectors: list[TurnDetector] = []
        acoustic = EOT() if config.turn.acoustic else None

        def taker() -> TurnDetector:
            detectors.append(TurnDetector(config.turn, judge, acoustic))
            return detectors[-1]

        stt = await loop.run_in_executor(
            None,
            lambda: FastWhisperSTT(
                config.stt.model,
                device=config.stt.device,
                compute_type=config.stt.compute_type,
                language=config.stt.language,
                hotwords=config.stt.hotwords,
                threads=config.stt.threads,
                taker=taker,
                clock=clock,
            ),
        )
        settings = config.llm
        if endpoint.kind == "embedded":  # it does not know when to stop, and nobody wants to hear it for a minute
            settings = dataclasses.replace(
                settings, max_completion_tokens=min(EMBEDDED_MAX_TOKENS, settings.max_completion_tokens)
            )
        mind = ChatLLM.from_config(settings, endpoint, clock=clock)
        warm_ears = loop.run_in_executor(stt.thread, stt.prewarm)
        await asyncio.gather(tts.load(), warm_ears)
        progress(f"connecting to {endpoint.label}")
        choice = await mind.warm()
        notes.append(f"model {choice.model} at {endpoint.label}: {choice.reason}")
        await loop.run_in_executor(None, judge.score, "hello there")
        if endpoint.kind == "embedded":
            await loop.run_in_executor(None, _prefill, config.agent.instructions)
        session: AgentSession[Any] = AgentSession(
            stt=stt,
            llm=mind,
            tts=tts,
            vad=None,  # the ears have their own, and the turn detector listens to it
            tts_text_transforms=None,
            aec_warmup_duration=None,  # it would forbid interruptions for the first 3 s
            turn_handling={
                "turn_detection": "stt",
                "endpointing": {"min_delay": 0.0, "max_delay": 0.0},
                "preemptive_generation": {
                    "enabled": True,
                    "preemptive_tts": True,
                    "max_retries": max(1, config.turn.max_asks),
                    "max_speech_duration": 600.0,
                },
            },
            # A broken provider does not end the call; each failed turn is spoken and recorded.
            conn_options=SessionConnectOptions(max_unrecoverable_errors=1_000_000),
        )
        road_: Road

        def closed(turn: Turn) -> None:
            on_turn(turn)
            if turn.error is not None and turn.marks[Mark.FIRST_AUDIBLE] is None:
                _apologise(road_, turn)

        ledger = attach(session, on_turn=closed, stt_model=config.stt.model, voice=config.tts.voice, clock=clock)

        def reply_ready(text: str) -> None:
            for detector in detectors:
                detector.reply_ready(text)

        agent = VoiceAgent(
            instructions=config.agent.instructions,
            tools=list(tools),
            ledger=lambda: ledger,
            on_reply_ready=reply_ready,
        )
        road_ = Road(config, session, agent, stt, mind, tts, ledger, endpoint, notes, detectors)

        def committed(turn: UserTurn) -> None:
            ledger.user_turn(turn)

        stt.on_turn = committed
        stt.on_reopen = lambda text: _reopen(road_, text)
        try:
            yield road_
        finally:
            ledger.close()
            await session.aclose()
            await mind.aclose()
            await tts.aclose()
            await stt.aclose()


@contextlib.contextmanager
def _judge(config: Config, notes: list[str]) -> Any:
    """The embedded model as judge of texts; rules where it is not there (said in the notes)."""
    if config.turn.judge == "rules":
        yield RuleJudge()
        return
    try:
        model = EmbeddedModel.shared(models.smollm2())
    except ModelError as e:
        notes.append(f"turns are judged by rules only: {e}")
        rules: Judge = RuleJudge()
        yield rules
        return
    with model:
        yield ModelJudge(lambda prompt, top: model.next_token_logprobs(prompt, top))


def _prefill(instructions: str) -> None:
    """Have the embedded model read the instructions before the first turn does: 7 ms a token."""
    with EmbeddedModel.shared(models.smollm2()) as model:
        model.prefill(instructions)


def _apologise(r: Road, turn: Turn) -> None:
    """A failed turn is spoken to the user; the call goes on."""
    log.warning("turn %s failed: %s", turn.id, turn.error)
    with contextlib.suppress(RuntimeError):  # the session is closing: nobody is there to hear it
        r.session.say(r.config.agent.apology, add_to_chat_ctx=False)


def _reopen(r: Road, text: str) -> None:
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


__all__ = ["Progress", "Road", "road"]
