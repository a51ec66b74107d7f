"""The one place where a session is wired: configuration in, a LiveKit AgentSession with its ledger out.

async with open_session(config, on_turn=print) as opened:
    opened.session.input.audio, opened.session.output.audio = microphone, speaker
    await opened.start()
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

from livekit.agents import utils

from ..agent_setup import mcp_servers
from ..budget.attach import attach
from ..budget.ledger import Turn
from ..clock import SYSTEM, Clock
from ..config import Config
from ..livekit_compat.startup import check as check_dependencies
from ..turn_events import UserTurn
from . import builders
from .acknowledgements import Acknowledgements
from .agent import VoiceAgent
from .apologies import Apologies
from .builders import SessionStages
from .degradation import Degradation
from .hooks import PipelineHooks
from .interruptions import BargeIn
from .model_loader import Progress, load_models
from .model_pool import ModelPool
from .swaps import swaps_of
from .undo_reply import undo_reply

log = logging.getLogger("voice_agent")


class PipelineSession:
    """A wired session. ``session`` is LiveKit's; give it inputs and outputs, then call :meth:`start`.

    ``notes``: lines for the user about the model, what is simulated and what is missing. ``on_note``: called in the
    call with what it goes on with from now on. ``alone``: the models in ``pool`` belong to this session.
    """

    def __init__(
        self,
        config: Config,
        stages: SessionStages,
        pool: ModelPool,
        *,
        on_turn: Callable[[Turn], None],
        tools: Sequence[Any],
        hooks: PipelineHooks,
        notes: list[str],
        clock: Clock,
        alone: bool,
    ) -> None:
        self.config = config
        self.stt, self.llm, self.tts = stages.stt, stages.llm, stages.tts
        self.endpoint = pool.endpoint
        self.notes = notes
        self.on_note: Callable[[str], None] = log.info
        self._on_turn = on_turn
        self._hooks = hooks
        self._detectors = stages.detectors
        self._tasks: set[asyncio.Task[None]] = set()  # asyncio keeps only weak references
        self.session = builders.agent_session(config, stages)
        self.barge_in = BargeIn(self.session, stages.speech, stages.detectors)
        self.ledger = attach(
            self.session, on_turn=self._turn_closed, stt_model=config.stt.model, voice=config.tts.voice, clock=clock
        )
        self.barge_in.on_finished = self.ledger.playback_finished
        self.degradation = Degradation(
            config,
            self.ledger,
            swaps=swaps_of(config, self.llm, self.stt, pool, alone=alone),
            on_note=self._note,
            clock=clock,
        )
        self._acknowledgements = Acknowledgements(
            config.degradation,
            self.ledger,
            voice_s=self.degradation.deadlines.voice_s,
            user_speaks=self._user_speaks,
            fillers=pool.cached_fillers(config.tts.voice, config.tts.speaker, config.tts.length_scale),
        )
        self.agent = VoiceAgent(
            instructions=config.agent.prompt,
            tools=list(tools),
            ledger=self.ledger,
            detectors=stages.detectors,
            speech=stages.speech,
            degradation=self.degradation,
            acknowledgements=self._acknowledgements,
            hooks=hooks,
        )
        self._apologies = Apologies(self.session, config.agent.apology)
        self.stt.on_turn = self._turn_committed
        self.stt.on_reopen = self._turn_reopened

    async def start(self, **kwargs: Any) -> None:
        """Start the session on the inputs and outputs that it has been given; ``kwargs`` are for LiveKit's start."""
        if self.session.output.audio is not None:
            self.session.output.audio = self._hooks.output(self.session.output.audio)
        await self.session.start(self.agent, **kwargs)
        self.barge_in.attach()
        if self.config.agent.greeting:
            self.session.say(self.config.agent.greeting)
        if self._acknowledgements.enabled:
            self._run(self._acknowledgements.cache(self.tts, idle=self._idle), "session.cache_fillers")

    def audible(self, at: float) -> None:
        """The output calls this: the first audible sample of the present speech left at ``at`` (monotonic)."""
        self.ledger.audible(at)
        self._detectors.audible()

    async def aclose(self) -> None:
        """Close the session and its stages, the ledger first: it writes the last row."""
        self.ledger.close()
        await self.session.aclose()
        await utils.aio.cancel_and_wait(*self._tasks)
        await self.degradation.aclose()
        await self.llm.aclose()
        await self.tts.aclose()
        await self.stt.aclose()

    def _run(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _user_speaks(self) -> bool:
        return self.session.user_state == "speaking"

    def _idle(self) -> bool:
        return self.session.agent_state == "listening" and not self._user_speaks()

    def _note(self, text: str) -> None:
        self.on_note(text)

    def _turn_closed(self, turn: Turn) -> None:
        """The ledger has closed a row."""
        self._on_turn(turn)
        self.degradation.turn_closed(turn)
        self._apologies.turn_closed(turn)

    def _turn_committed(self, turn: UserTurn) -> None:
        """The turn detector has decided that the user has finished."""
        if (recorded := self._detectors.turn_committed()) is not None:
            turn.evidence["recorded"] = recorded
        self.ledger.user_turn(turn)

    def _turn_reopened(self, text: str) -> None:
        """The user went on before anything of the reply to ``text`` could be heard."""
        speech = self.session.current_speech
        self.ledger.reopened()
        self._run(undo_reply(self.agent, speech, text), "session.undo_reply")


@contextlib.asynccontextmanager
async def open_session(
    config: Config,
    *,
    on_turn: Callable[[Turn], None],
    progress: Progress = lambda _: None,
    tools: Sequence[Any] = (),
    mcp: Sequence[Any] = (),
    shared: ModelPool | None = None,
    hooks: PipelineHooks | None = None,
    clock: Clock = SYSTEM,
) -> AsyncIterator[PipelineSession]:
    """Load, warm and wire everything that ``config`` names; close it all at the end.

    ``tools`` as LiveKit's Agent takes them; ``mcp``: LiveKit's MCP servers, connected here. ``shared``: the models that
    several calls share (:func:`~.model_loader.load_models`). ``hooks``: what is put between the stages.
    Raises DependencyError, ModelError, ConfigError, ToolServerError or ProviderError, each saying what to do, before
    anything is heard.
    """
    check_dependencies()
    notes: list[str] = []
    hooks = hooks or PipelineHooks()
    async with contextlib.AsyncExitStack() as stack:
        toolsets = await stack.enter_async_context(mcp_servers.connected(mcp, notes))
        all_tools = [*tools, *toolsets]
        alone = shared is None
        pool = shared
        if pool is None:
            pool = await stack.enter_async_context(load_models(config, progress=progress, clock=clock))
        notes += pool.notes
        stages = await builders.build_stages(config, pool, hooks, clock)
        connecting: asyncio.Future[Any] | None = None
        if not alone and pool.endpoint.model is not None:
            connecting = builders.connect_meanwhile(stages.llm)
        else:
            notes += await builders.connect(stages.llm, pool, progress)
        notes += builders.tool_notes(pool.endpoint, all_tools)
        opened = PipelineSession(
            config, stages, pool, on_turn=on_turn, tools=all_tools, hooks=hooks, notes=notes, clock=clock, alone=alone
        )
        try:
            yield opened
        finally:
            if connecting is not None:
                connecting.cancel()
            await opened.aclose()


__all__ = ["PipelineSession", "Progress", "open_session"]
