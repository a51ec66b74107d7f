"""The call of ``voice-agent talk``: connects pipeline and microphone, emits events, and handles keys."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from livekit.agents import AgentSession
from livekit.agents.voice import (
    AgentStateChangedEvent,
    CloseEvent,
    UserInputTranscribedEvent,
    UserStateChangedEvent,
    io,
)

from ..audio.timeline import Timeline
from ..budget.ledger import Mark, Turn
from ..clock import SYSTEM, Clock
from ..config import Config
from ..errors import VoiceAgentError
from ..pipeline.session import PipelineSession, open_session
from ..runtime.gc import startup_objects_frozen
from .events import (
    CallStatus,
    Ended,
    Event,
    Muted,
    Note,
    Progress,
    Ready,
    ShowLedger,
    SoundLevel,
    StateName,
    TurnDone,
    UserWords,
)
from .key_input import KeyCommand, TypedLine
from .save import Saved
from .spoken_words import SpokenWords
from .usage import UsageWatch
from .user_interface import UserInterface

WATCH_S = 0.5  # how often xruns and provider usage are checked


class CallDevices(Protocol):
    """What the call needs of :func:`voice_agent.microphone.open_microphone.open_microphone`."""

    muted: bool
    resting: bool

    @property
    def input(self) -> io.AudioInput: ...
    @property
    def output(self) -> io.AudioOutput: ...
    @property
    def level_dbfs(self) -> float: ...
    @property
    def input_xruns(self) -> int: ...
    @property
    def output_xruns(self) -> int: ...
    @property
    def timeline(self) -> Timeline: ...
    @property
    def latency_ms(self) -> tuple[float, float]: ...
    @property
    def description(self) -> str: ...


OpenDevices = Callable[..., contextlib.AbstractAsyncContextManager[CallDevices]]


@dataclass(slots=True)
class Talk:
    """One call; run it with :func:`~.user_interface.run_call`. :meth:`sound` may be called on any thread."""

    config: Config
    open_microphone: OpenDevices
    save: Saved | None = None
    muted: bool = False
    tools: Sequence[Any] = ()
    mcp: Sequence[Any] = ()
    notes: Sequence[str] = ()
    clock: Clock = SYSTEM
    on_quit: Callable[[], None] = lambda: None
    open_agent_session: Callable[..., contextlib.AbstractAsyncContextManager[PipelineSession]] = open_session
    _ui: UserInterface | None = None
    _mic: CallDevices | None = None
    _words: SpokenWords | None = None
    _usage: UsageWatch = field(default_factory=UsageWatch)

    def sound(self) -> SoundLevel | None:
        """The current level and xruns; None while the microphone is not open."""
        mic = self._mic
        return None if mic is None else SoundLevel(mic.level_dbfs, mic.input_xruns, mic.output_xruns)

    async def __call__(self, ui: UserInterface) -> None:
        """Run the call until the user quits. Raises what the pipeline and the microphone raise."""
        self._ui = ui
        options = {"mcp": self.mcp} if self.mcp else {}
        async with self.open_agent_session(
            self.config,
            on_turn=self._turn,
            progress=lambda text: self._emit(Progress(text)),
            tools=self.tools,
            clock=self.clock,
            **options,
        ) as pipeline:
            with startup_objects_frozen():
                async with self._microphone(pipeline) as mic:
                    await self._converse(pipeline, mic, ui)

    def _microphone(self, pipeline: PipelineSession) -> contextlib.AbstractAsyncContextManager[CallDevices]:
        return self.open_microphone(
            self.config.audio,
            on_audible=pipeline.audible,
            on_gaps=pipeline.ledger.gaps,
            on_event=lambda text: self._emit(Note(text)),
            record=self.save.recording if self.save is not None else None,
            clock=self.clock,
        )

    async def _converse(self, pipeline: PipelineSession, mic: CallDevices, ui: UserInterface) -> None:
        ended = asyncio.Event()
        self._follow(pipeline.session, mic, ended)
        pipeline.session.input.audio = mic.input
        pipeline.session.output.audio = self._words = SpokenWords(mic.output, self._emit, self.clock)
        self._mute(mic, self.muted)
        self._mic = mic
        watching = asyncio.create_task(self._watch())
        ending = asyncio.create_task(ended.wait())
        reason = "stopped"
        try:
            pipeline.on_note = lambda text: self._emit(Note(text))
            await pipeline.start()
            self._emit(self._ready(pipeline, mic))
            for note in (*self.notes, *pipeline.notes):
                self._emit(Note(note))
            while not ended.is_set():
                press = asyncio.ensure_future(ui.pressed.get())
                await asyncio.wait({press, ending}, return_when=asyncio.FIRST_COMPLETED)
                if not press.done():
                    press.cancel()
                elif not await self._press(press.result(), pipeline, mic):
                    reason = "quit"
                    break
            else:
                reason = "session closed"
        finally:
            watching.cancel()
            ending.cancel()
            # Before the devices close: a reply that is playing ends as interrupted, and its turn is recorded.
            await pipeline.session.aclose()
            pipeline.ledger.close()
            self._emit_usage()
            self._emit(Ended(reason))
            self._mic = None

    async def _press(self, press: KeyCommand | TypedLine, pipeline: PipelineSession, mic: CallDevices) -> bool:
        """Handle one key or typed line; False: the user quits."""
        match press:
            case TypedLine(text):
                await self._send(text, pipeline)
            case KeyCommand("mute"):
                self._mute(mic, not mic.muted)
            case KeyCommand("interrupt"):
                await self._stop_agent(pipeline)
            case KeyCommand("repeat"):
                await self._stop_agent(pipeline)
                if self._words is not None and self._words.last:
                    pipeline.session.say(self._words.last, add_to_chat_ctx=False)
                else:
                    self._emit(Note("nothing to repeat yet"))
            case KeyCommand("ledger"):
                self._emit(ShowLedger())
            case KeyCommand("quit"):
                self.on_quit()
                return False
        return True

    async def _send(self, text: str, pipeline: PipelineSession) -> None:
        at = self.clock.now()
        await self._stop_agent(pipeline)
        self._emit(UserWords(text, final=True, typed=True))
        handle = pipeline.session.generate_reply(user_input=text)
        pipeline.ledger.typed(text, at, handle.id)

    async def _stop_agent(self, pipeline: PipelineSession) -> None:
        """Interrupt the agent's reply, whether it is playing or still being generated."""
        with contextlib.suppress(asyncio.TimeoutError, RuntimeError):
            await asyncio.wait_for(pipeline.session.interrupt(force=True), timeout=2.0)

    def _mute(self, mic: CallDevices, on: bool) -> None:
        if mic.muted != on:
            mic.muted = on
            self._emit(Muted(on))

    def _ready(self, pipeline: PipelineSession, mic: CallDevices) -> Ready:
        latency_in, latency_out = mic.latency_ms
        return Ready(
            model=pipeline.llm.model,
            provider=pipeline.endpoint.label,
            stt_model=self.config.stt.model,
            voice=self.config.tts.voice,
            simulated=("language model",) if pipeline.endpoint.simulated else (),
            device=mic.description,
            input_latency_ms=round(latency_in, 1),
            output_latency_ms=round(latency_out, 1),
        )

    def _follow(self, session: AgentSession[Any], mic: CallDevices, ended: asyncio.Event) -> None:
        """Turn the session's events into ours."""
        final = True

        def heard(ev: UserInputTranscribedEvent) -> None:
            nonlocal final
            if ev.transcript.strip():
                final = ev.is_final
                self._emit(UserWords(ev.transcript, ev.is_final))

        def state(_: AgentStateChangedEvent | UserStateChangedEvent) -> None:
            nonlocal final
            if session.user_state != "speaking" and not final:  # there was sound, but no words
                final = True
                self._emit(UserWords("", False))
            name = status(session.user_state, session.agent_state)
            mic.resting = name == "listening"
            self._emit(CallStatus(name))

        def closed(ev: CloseEvent) -> None:
            if ev.error is not None:
                self._emit(Note(f"the call has ended: {ev.error}"))
            ended.set()

        session.on("user_input_transcribed", heard)
        session.on("agent_state_changed", state)
        session.on("user_state_changed", state)
        session.on("close", closed)

    def _turn(self, turn: Turn) -> None:
        if (mic := self._mic) is not None:
            turn = on_recording(turn, mic.timeline)
        self._emit(TurnDone(turn))

    async def _watch(self) -> None:
        """Emit xruns and usage when they change. The level is not emitted: a live screen reads it at each tick."""
        lost = (0, 0)
        while True:
            if (sound := self.sound()) is not None and lost != (sound.input_xruns, sound.output_xruns):
                lost = sound.input_xruns, sound.output_xruns
                self._emit(sound)
            self._emit_usage()
            await asyncio.sleep(WATCH_S)

    def _emit_usage(self) -> None:
        for event in self._usage.events():
            self._emit(event)

    def _emit(self, event: Event) -> None:
        if self._ui is not None:
            self._ui.emit(event)
        if self.save is not None:
            try:
                self.save.take(event)
            except (VoiceAgentError, OSError) as e:  # a full disk does not end the call
                save, self.save = self.save, None
                with contextlib.suppress(VoiceAgentError, OSError):
                    save.close()
                self._emit(Note(f"the conversation is not saved any more: {e}"))


def status(user: str, agent: str) -> StateName:
    """LiveKit's two states as one: a user who speaks comes before everything the agent does."""
    if user == "speaking":
        return "hearing"
    return "speaking" if agent == "speaking" else "thinking" if agent == "thinking" else "listening"


def on_recording(turn: Turn, timeline: Timeline) -> Turn:
    """The turn with its positions on the recording's timeline."""
    ended, heard = turn.marks[Mark.SPEECH_ENDED], turn.marks[Mark.FIRST_AUDIBLE]
    return replace(
        turn,
        speech_ended_s=None if ended is None else timeline.seconds(ended),
        first_audible_s=None if heard is None else timeline.seconds(heard),
    )
