"""The policy with its witnesses: a judge of texts and an acoustic model, each on a thread of its own.

The event loop feeds windows and texts; opinions come back later and are handed to the policy with the time at which
they came. A late opinion about a text that is no longer the present one is kept (it may come back) and does no harm.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..audio.samples import Int16
from ..config import TurnConfig
from ..turn_events import Reopen, SpeechStarted, TurnEvent
from .barge_in_policy import BargeInDecision, Drop, InterruptionPolicy, Yield
from .energy import EnergyDrop
from .eou.completeness import EndOfTurnModel, RuleEndOfTurnModel, grammar_penalty
from .policy import State, TurnPolicy, words_of
from .recorder import Recorder

ACOUSTIC_SAMPLES = 19_200  # what v1-mini looks at: 1.2 s of 16 kHz
ACOUSTIC_AT_S = 0.2  # it needs this much of the pause to see one


def ends_with_stop(text: str) -> bool:
    """Whisper has put one sentence mark at the end: not "...", with which it leaves a sentence open."""
    return text.rstrip().endswith((".", "?", "!")) and not text.rstrip().endswith("..")


class AcousticModel(Protocol):
    """``predict(int16[<=19200]) -> probability`` that the turn is over (``livekit.local_inference.EOT``)."""

    def predict(self, pcm: Int16) -> float: ...


@dataclass(frozen=True, slots=True)
class AgentSound:
    """What the agent is heard to say: its words until now, and how much of the reply is left (None: not known)."""

    text: str = ""
    left_s: float | None = None


class TurnDetector:
    """A :class:`~voice_agent.turn_events.BaseTurnDetector` for one call. ``now_s`` gives the present on the
    audio's line.

    With ``barge_in`` (and :meth:`agent_began`, :meth:`agent_ended`) it also tells interruptions from noises:
    ``on_barge_in`` is given what is to be done with the agent's sound, ``agent`` says what that is.
    """

    def __init__(
        self,
        config: TurnConfig,
        end_of_turn_model: EndOfTurnModel,
        acoustic: AcousticModel | None = None,
        *,
        barge_in: InterruptionPolicy | None = None,
        on_barge_in: Callable[[BargeInDecision], None] = lambda _: None,
        agent: Callable[[], AgentSound] = AgentSound,
    ) -> None:
        self._policy = TurnPolicy(config)
        self.recorder = Recorder(config) if config.record_evidence else None
        self._barge_in = barge_in
        self._on_barge_in = on_barge_in
        self._agent = agent
        self._end_of_turn_model = end_of_turn_model
        self._acoustic = acoustic
        self._end_of_turn_thread = ThreadPoolExecutor(1, thread_name_prefix="turn-judge")
        self._acoustic_thread = ThreadPoolExecutor(1, thread_name_prefix="turn-acoustic")
        self._emit: Callable[[TurnEvent], None] = lambda _: None
        self._energy_drop = EnergyDrop(config.energy_drop_db)
        self._recent: deque[Int16] = deque(maxlen=ACOUSTIC_SAMPLES // 512 + 1)
        self._now_s = 0.0
        self._judging = False
        self._wanted: str | None = None
        self._judged: dict[str, float] = {}
        self._acoustic_for = -1.0
        self._judge_failed = False
        self._rules = RuleEndOfTurnModel()
        self._closed = False

    def bind(self, emit: Callable[[TurnEvent], None]) -> None:
        self._emit = emit

    @property
    def policy(self) -> TurnPolicy:
        """The pure policy (to look at, or to replay)."""
        return self._policy

    @property
    def in_speech(self) -> bool:
        return self._policy.in_speech

    @property
    def speech_ended_s(self) -> float:
        return self._policy.speech_ended_s

    @property
    def loud_until_s(self) -> float:
        return self._policy.loud_until_s

    @property
    def wants_confirmation(self) -> bool:
        return self._policy.wants_confirmation

    def window(self, end_s: float, probability: float, pcm: Int16) -> None:
        self._now_s = max(self._now_s, end_s)
        self._recent.append(pcm)
        energy_drop = self._energy_drop.window(pcm, probability > self._policy.config.speech_threshold)
        if self.recorder is not None:
            self.recorder.window(end_s, probability, energy_drop)
        self._out(self._policy.window(end_s, probability, len(pcm) / 16_000, energy_drop))
        if self._barge_in is not None and self._barge_in.holding:
            said = self._agent()
            self._barge_in_out(
                self._barge_in.window(
                    end_s, probability, hearing=self.in_speech, agent_text=said.text, reply_left_s=said.left_s
                )
            )
        self._maybe_acoustic(end_s)
        text, paused = self._policy.present_text, self._policy.state is State.PAUSED
        if text and paused and self._judges_late and not self._judging and words_of(text) not in self._judged:
            self._want_score(text)  # no further text may come

    def text(self, text: str, covers_s: float, now_s: float) -> None:
        self._now_s = max(self._now_s, now_s)
        self._out(self._policy.text(text, covers_s, now_s))
        self._out(self._first_guess(now_s))
        if self.recorder is not None and text:
            self.recorder.text(self._policy.present_text, covers_s, now_s)
        if self._barge_in is not None and self._barge_in.holding:
            self._barge_in_out(self._barge_in.text(text, covers_s, now_s, agent_text=self._agent().text))
        if self._policy.in_speech and text and (not self._judges_late or self._policy.state is State.PAUSED):
            self._want_score(self._policy.present_text)

    @property
    def _judges_late(self) -> bool:
        """Where nothing is asked in mid-speech, as with many calls, a score of what is said then is for nothing."""
        return self._policy.config.max_early_preflights == 0

    def advance(self, now_s: float) -> None:
        self._now_s = max(self._now_s, now_s)
        self._out(self._policy.advance(now_s))
        if self._barge_in is not None and self._barge_in.holding:
            self._barge_in_out(self._barge_in.advance(now_s, hearing=self.in_speech, agent_text=self._agent().text))

    def reply_ready(self, text: str) -> None:
        """The provisional reply to ``text`` has its first audio."""
        self._out(self._policy.reply_ready(text, self._now_s))

    def audible(self) -> None:
        """The reply can be heard."""
        self._out(self._policy.audible(self._now_s))

    def agent_began(self) -> None:
        """The agent's sound starts."""
        if self._barge_in is not None:
            self._barge_in.agent_began(self._now_s)
            self._policy.held = self._barge_in.holding

    def agent_ended(self) -> None:
        """The agent's sound is over, or was taken back."""
        if self._barge_in is not None:
            self._barge_in.agent_ended(self._now_s)
            self._policy.held = False

    def _barge_in_out(self, decisions: tuple[BargeInDecision, ...]) -> None:
        assert self._barge_in is not None
        self._policy.held = self._barge_in.holding
        for d in decisions:
            self._on_barge_in(d)
            if isinstance(d, Drop):
                self._out(self._policy.discard(d.reason))
            elif isinstance(d, Yield):
                self._out(self._policy.advance(self._now_s))

    def _out(self, decisions: tuple[TurnEvent, ...]) -> None:
        for d in decisions:
            if isinstance(d, SpeechStarted | Reopen):
                self._acoustic_for = -1.0
                self._judged.clear()
            if self.recorder is not None:
                self.recorder.decided(d)
            self._emit(d)

    def _first_guess(self, now_s: float) -> tuple[TurnEvent, ...]:
        """In a pause the request goes out on what the rules say; the judge, some 30 ms later, says how long to wait
        (until then: not sure). While the voice fades there is time to ask the judge, and fewer requests are in vain.
        """
        policy = self._policy
        text = policy.present_text
        if policy.state is not State.PAUSED or words_of(text) in self._judged:
            return ()
        guess = policy.config.score_unsure  # enough to ask on, not to be sure
        if not ends_with_stop(text) or self._rules.score(text) - grammar_penalty(text) < guess:
            return ()
        return policy.completeness(text, guess, now_s)

    # --- the judge of texts: the latest text first, never two at a time ---------------------------------------------

    def _want_score(self, text: str) -> None:
        key = words_of(text)
        if key in self._judged:
            self._out(self._policy.completeness(text, self._judged[key], self._now_s))
        elif self._judging:
            self._wanted = text
        else:
            self._judging = True
            loop = asyncio.get_running_loop()
            future = loop.run_in_executor(self._end_of_turn_thread, self._end_of_turn_model.score, text)
            asked_s = loop.time()
            future.add_done_callback(lambda f: self._scored(text, f, loop.time() - asked_s))

    def _scored(self, text: str, future: asyncio.Future[float], took_s: float) -> None:
        self._judging = False
        if self._closed or future.cancelled():
            return
        if (error := future.exception()) is not None:
            if self._judge_failed:
                raise error  # the rules failed as well: ours to fix, and the loop's handler shows it
            self._judge_failed = True
            self._end_of_turn_model = self._rules  # a turn without evidence is worse than one with less
            self._want_score(text)
            return
        score = future.result()
        self._judged[words_of(text)] = score
        if self.recorder is not None:
            self.recorder.score(words_of(text), score, took_s)
        self._out(self._policy.completeness(text, score, self._now_s))
        if (wanted := self._wanted) is not None:
            self._wanted = None
            self._want_score(wanted)

    # --- the acoustic witness: once a pause, and only if the text leaves doubt --------------------------------------

    def _maybe_acoustic(self, end_s: float) -> None:
        policy = self._policy
        if self._acoustic is None or policy.state is not State.PAUSED or self._acoustic_for == policy.speech_ended_s:
            return
        if end_s - policy.speech_ended_s < ACOUSTIC_AT_S or policy.wait_s() <= ACOUSTIC_AT_S:
            return
        self._acoustic_for = pause = policy.speech_ended_s
        pcm = np.concatenate(list(self._recent))[-ACOUSTIC_SAMPLES:]
        future = asyncio.get_running_loop().run_in_executor(self._acoustic_thread, self._acoustic.predict, pcm)

        def done(f: asyncio.Future[float]) -> None:
            if not self._closed and not f.cancelled() and f.exception() is None and policy.speech_ended_s == pause:
                if self.recorder is not None:
                    self.recorder.acoustic(pause, float(f.result()))
                self._out(policy.acoustic(float(f.result()), self._now_s))

        future.add_done_callback(done)

    async def aclose(self) -> None:
        self._closed = True
        self._end_of_turn_thread.shutdown(wait=False, cancel_futures=True)
        self._acoustic_thread.shutdown(wait=False, cancel_futures=True)
