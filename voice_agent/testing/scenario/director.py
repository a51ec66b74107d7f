"""Plays a script's turns on a stage, step by step, and says what came of each."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import statistics
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

import numpy as np
from livekit.agents import FunctionToolsExecutedEvent

from ...audio.samples import Int16
from ...audio.timeline import AUDIBLE, RECORD_RATE, USER_RATE
from ...budget.ledger import Mark, Turn
from ...budget.stats import percentile
from ...clock import Clock
from ...tts import AudioChunk, Delivery, Stop
from ...tts.stream import Speaker
from ..harness.run import MARGIN_S, OVERLAP_SETTLED_S, CallHarness, Item, row_of
from ..verdict.calibrate import Calibration
from ..verdict.processor import Read, Span, Watch, engine_usage, own_usage, told_by
from ..verdict.work import FIRST_SOUND_OWN_MS, OTHERS_MS, PASS_MS, PASS_OWN_MS
from . import schema
from .expect import Facts, Judgement, check_turn
from .load import Script
from .results import Result, Step
from .utterances import Utterance, UtteranceSource

BEFORE_S = 0.3  # heard so shortly before the user began, the agent was speaking
HUSH_S = 0.6  # longer than the pause between two sentences: the agent has stopped
P = ParamSpec("P")
T = TypeVar("T")
OnStep = Callable[[Step], None]
Judge = Callable[[str, str], Awaitable[Judgement]]


class TimedThread(Executor):
    """The ears' thread, and how long each pass held it.

    Until the future is done, not until the function returns: whatever else ``inner`` does before it lets go of the
    thread (the fault switch, for one) is time for which the text was waited.
    """

    def __init__(self, inner: Executor, clock: Clock, read: Read | None = None) -> None:
        self._inner, self._clock, self._read = inner, clock, read or told_by(clock, engine_usage)
        self.passes: list[Span] = []

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        watches: list[Watch] = []

        def timed() -> T:
            watches.append(Watch(self._clock, self._read))
            return fn(*args, **kwargs)

        def done(future: Future[T]) -> None:  # on the thread that did it
            if watches:  # else it was cancelled while it waited for the thread
                self.passes.append(watches[0].stop())

        future = self._inner.submit(timed)
        future.add_done_callback(done)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._inner.shutdown(wait, cancel_futures=cancel_futures)

    def between(self, begin: float, end: float | None) -> list[Span]:
        """The passes that ended between two times, in their order."""
        return [span for span in self.passes if span.end >= begin and (end is None or span.end <= end + 0.001)]


class TimedVoice:
    """The voice, and how long each text took until its first sound, on the voice's own thread."""

    def __init__(self, inner: Speaker, clock: Clock, read: Read | None = None) -> None:
        self._inner, self._clock, self._read = inner, clock, read or told_by(clock, own_usage)
        self.first_sounds: list[Span] = []

    def speak(
        self, text: str, delivery: Delivery | None = None, *, low_latency: bool = True, stop: Stop | None = None
    ) -> Iterator[AudioChunk]:
        watch: Watch | None = Watch(self._clock, self._read)
        for piece in self._inner.speak(text, delivery, low_latency=low_latency, stop=stop):
            if watch is not None:
                self.first_sounds.append(watch.stop())
                watch = None
            yield piece

    def between(self, begin: float, end: float) -> Span | None:
        """The first text whose speaking began between two times, or None."""
        return next((s for s in list(self.first_sounds) if begin - 0.001 <= s.begin <= end), None)


@dataclass(slots=True)
class _Spoken:
    """A turn of the script that has been spoken. Times are on the monotonic clock."""

    index: int
    turn: schema.Turn
    sound: Utterance
    began: float
    interrupts: bool = False
    backchannel_end: float | None = None

    @property
    def ends(self) -> float:
        return self.began + (self.sound.end_s if self.sound.end_s is not None else len(self.sound.pcm) / USER_RATE)

    @property
    def starts(self) -> float:
        return self.began + (self.sound.start_s or 0.0)


@dataclass(slots=True)
class Director:
    """Plays a script's turns on a stage, step by step."""

    script: Script
    s: CallHarness
    utterance_source: UtteranceSource
    seed: int
    result: Result
    judge: Judge | None
    calibration: Calibration
    on_step: OnStep
    outlets: tuple[Callable[[Turn], None], Callable[[Step], None]] = (lambda turn: None, lambda step: None)
    _ears: TimedThread = field(init=False)
    _voice: TimedVoice = field(init=False)
    _calls: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)
    _number: int = 0

    def __post_init__(self) -> None:
        stt = self.s.pipeline.stt
        self._ears = TimedThread(stt.thread, self.s.line.clock)
        stt.thread = self._ears
        tts = self.s.pipeline.tts
        self._voice = tts.voice = TimedVoice(tts.voice, self.s.line.clock)
        self.s.pipeline.session.on("function_tools_executed", self._executed)

    async def play(self, repeat: int, warmup: int) -> None:
        """Greeting first, then the warm-up, then all turns, ``repeat`` times from an empty history."""
        scenario = self.script.scenario
        turns = list(enumerate(scenario.turns))
        lead = next((i for i, turn in turns if turn.listen is None), len(turns))
        for index, turn in turns[:lead]:
            await self._listen(index, turn, 0)
        empty = self.s.pipeline.agent.chat_ctx.copy()
        rest = turns[lead:]
        spoken = [entry for entry in rest if entry[1].spoken and entry[1].interrupt is None]
        for number in range(warmup if spoken else 0):
            await self._scene([spoken[number % len(spoken)]], -1, (number,))
        for number in range(repeat):
            await self.s.pipeline.agent.update_chat_ctx(empty.copy())
            for again in range(scenario.times):
                for scene in scenes(rest):
                    await self._scene(scene, number, (number, again))

    # --- steps -------------------------------------------------------------------------------------------------------

    async def _listen(self, index: int, turn: schema.Turn, number: int) -> None:
        """The agent speaks first."""
        assert turn.listen is not None
        began, clock = self.s.line.started_at, self.s.line.clock
        heard = None
        while heard is None and clock.now() < began + turn.listen:
            await asyncio.sleep(0.005)
            heard = self.s.ear.audible_since
        await self.s.quiet(for_s=0.3)
        facts = Facts(None, answered=heard is not None, answer_ms=None if heard is None else (heard - began) * 1000)
        await self._close(index, turn, number, "listen", None, facts, None)

    async def _scene(self, scene: list[tuple[int, schema.Turn]], number: int, places: Iterable[int]) -> None:
        index, turn = scene[0]
        if turn.silence is not None:
            await self._silence(index, turn, number)
        elif turn.listen is None:
            await self._speak(scene, number, tuple(places))
        gap = self.script.scenario.gap
        await asyncio.sleep(gap / 2)
        await asyncio.get_running_loop().run_in_executor(None, self.calibration.measure)
        await asyncio.sleep(gap / 2)

    async def _silence(self, index: int, turn: schema.Turn, number: int) -> None:
        assert turn.silence is not None
        began, ear = self.s.line.clock.now(), self.s.ear
        await asyncio.sleep(turn.silence)
        spoke = ear.playing or ear.last_audible_end > began
        await self.s.quiet()
        start = self.s.line.seconds(began)
        facts = Facts(None, answered=spoke)
        await self._close(index, turn, number, "silence", (start, start + turn.silence), facts, None)

    async def _speak(self, scene: list[tuple[int, schema.Turn]], number: int, places: tuple[int, ...]) -> None:
        """A turn, and those that interrupt the replies; waits until all is said and heard."""
        s, patience = self.s, self.script.scenario.patience
        # All of it first: making speech takes the processor, and time that the reply would not wait for.
        sounds = [await self._sounds(index, turn, places) for index, turn in scene]
        s.turns()
        turns: list[Turn] = []
        spoken: list[_Spoken] = []
        for place, (index, turn) in enumerate(scene):
            sound, back = sounds[place]
            if place == 0:
                start = s.mic.say(sound.pcm)
            else:
                assert turn.interrupt is not None
                if await s.heard_for(turn.interrupt.after, patience_s=patience) is None:
                    break  # nothing to speak into: said below
                start = s.mic.say(sound.pcm, at_s=s.now_s())
            one = _Spoken(index, turn, sound, s.line.started_at + start / USER_RATE, place > 0)
            spoken.append(one)
            while s.mic.speaking:
                turns += s.turns()
                await asyncio.sleep(0.01)
            if turn.backchannel is not None and back is not None:
                await self._backchannel(one, turn.backchannel, back)
        turns += await self._settle(spoken, patience)
        for place, one in enumerate(spoken):
            until = spoken[place + 1].began if place + 1 < len(spoken) else float("inf")
            begin = one.began if place else 0.0
            own = [t for t in turns if begin <= (t.marks[Mark.SPEECH_ENDED] or 0.0) < until]
            await self._judge(one, own, until, number)
        for index, turn in scene[len(spoken) :]:
            await self._close(index, turn, number, "speech", None, Facts(None), None)

    async def _sounds(
        self, index: int, turn: schema.Turn, places: tuple[int, ...]
    ) -> tuple[Utterance, Utterance | None]:
        """What a turn says, and its back-channel."""
        how = turn.perturb or self.script.scenario.perturb
        seed = (self.seed, index, *(place % (1 << 32) for place in places))

        def make() -> tuple[Utterance, Utterance | None]:
            said = self.utterance_source.utterance(self.script, turn, how, seed)
            if turn.backchannel is None:
                return said, None
            return said, self.utterance_source.utterance(self.script, turn.backchannel, how, (*seed, 1))

        return await asyncio.get_running_loop().run_in_executor(None, make)

    async def _backchannel(self, one: _Spoken, words: schema.Backchannel, sound: Utterance) -> None:
        if await self.s.heard_for(words.after, patience_s=self.script.scenario.patience) is None:
            return
        start = self.s.mic.say(sound.pcm, at_s=self.s.now_s())
        one.backchannel_end = self.s.line.started_at + start / USER_RATE + len(sound.pcm) / USER_RATE

    async def _settle(self, spoken: list[_Spoken], patience: float) -> list[Turn]:
        """Wait until the last has been answered and heard out, or nothing comes any more."""
        s, turns = self.s, list[Turn]()
        end, wants = spoken[-1].ends, spoken[-1].turn.wants_answer
        while True:
            turns += s.turns()
            now = s.line.clock.now()
            final = any((t.marks[Mark.SPEECH_ENDED] or 0.0) >= end - MARGIN_S for t in turns)
            overlapped = len(spoken) > 1 and now > end + OVERLAP_SETTLED_S and not wants
            if s.idle and (final or overlapped):
                break
            if s.idle and now > max(end, s.ear.last_audible_end) + patience:
                break
            await asyncio.sleep(0.02)
        await s.quiet(for_s=0.1)  # an apology, or a second segment, is heard out too
        return turns + s.turns()

    # --- what came of it ---------------------------------------------------------------------------------------------

    async def _judge(self, one: _Spoken, own: list[Turn], until: float, number: int) -> None:
        line, turn = self.s.line, one.turn
        row: Turn | None = None
        if own or turn.wants_answer:
            self._number += 1
            item = Item(f"{one.index + 1} {turn.label}"[:80], one.sound.pcm, one.ends - one.began, one.sound.synthetic)
            row = row_of(self._number, item, one.ends, own, line)
            evidence = dict(row.evidence)
            evidence |= self._own_times(one.began, row)
            changed = ("user sound",) if (turn.perturb or self.script.scenario.perturb) != schema.Perturb() else ()
            row = dataclasses.replace(row, evidence=evidence, simulated=(*row.simulated, *changed))
        answered = row is not None and row.answered
        facts = Facts(
            row,
            said=turn.words,
            answered=answered,
            answer_ms=None if row is None else row.voice_to_voice_ms,
            cut_off=row is not None and row.cut_off,
            stopped_ms=self._stopped_ms(one, row) if one.interrupts else None,
            resumed=None if one.backchannel_end is None or row is None else answered and not row.interrupted,
            calls=tuple((n, a) for at, n, a in self._calls if one.began <= at < until),
        )
        said = (line.seconds(one.began), line.seconds(one.began) + len(one.sound.pcm) / USER_RATE)
        await self._close(one.index, turn, number, "dtmf" if turn.dtmf else "speech", said, facts, row)

    def _own_times(self, began: float, row: Turn) -> dict[str, float]:
        """What the stages that compute took for themselves in this turn, and what other programs took from them."""
        found: dict[str, float] = {}
        if passes := self._ears.between(began, row.marks[Mark.TURN_COMMITTED]):
            found[PASS_MS] = statistics.median(span.taken_ms for span in passes)
            # The lower quartile: later passes hear more, and what cannot be taken off makes longer, never shorter.
            found[PASS_OWN_MS] = percentile((span.own_ms for span in passes), 25)
            found[OTHERS_MS] = statistics.median(span.taken_ms - span.own_ms for span in passes)
        chunk, sound = row.marks[Mark.CHUNK_READY], row.marks[Mark.TTS_FIRST_AUDIO]
        if chunk is not None and sound is not None and (first := self._voice.between(chunk, sound)) is not None:
            found[FIRST_SOUND_OWN_MS] = first.own_ms
            found[OTHERS_MS] = found.get(OTHERS_MS, 0.0) + first.taken_ms - first.own_ms
        return {name: round(ms, 2) for name, ms in found.items()}

    def _stopped_ms(self, one: _Spoken, row: Turn | None) -> float | None:
        """From the user's first sound until the agent falls silent, read off the recording's samples.

        None if the agent was silent already.
        """
        line = self.s.line
        onset = line.seconds(one.starts)
        reply = None if row is None else row.first_audible_s
        until = reply if reply is not None and reply > onset + 0.05 else onset + 6.0
        first = max(0, round((onset - BEFORE_S) * RECORD_RATE))
        return fell_silent_ms(line.agent.read(first, round(until * RECORD_RATE)), onset - first / RECORD_RATE)

    async def _close(
        self,
        index: int,
        turn: schema.Turn,
        number: int,
        kind: str,
        said_s: tuple[float, float] | None,
        facts: Facts,
        row: Turn | None,
    ) -> None:
        facts = dataclasses.replace(facts, judged=await self._ask(turn.expect, row))
        checks = check_turn(turn.expect, facts, wants_answer=turn.wants_answer)
        step = Step(
            index=index,
            round=number,
            kind=kind,
            name=turn.label,
            line=self.script.lines[index],
            said=turn.words,
            said_s=said_s,
            checks=tuple(checks),
            row=row,
            answered=facts.answered,
            wants_answer=turn.wants_answer and turn.expect.error is None,
            stopped_ms=facts.stopped_ms,
            resumed=facts.resumed,
            calls=tuple((name, dict(args)) for name, args in facts.calls),
        )
        self.result.steps.append(step)
        if row is not None:
            self.outlets[0](row)
        self.outlets[1](step)
        self.on_step(step)

    async def _ask(self, expect: schema.TurnExpect, row: Turn | None) -> Mapping[str, Judgement]:
        found: dict[str, Judgement] = {}
        if self.judge is None or row is None:
            return found
        for words, text in ((expect.heard, row.user_text), (expect.says, row.agent_text)):
            if words is not None and words.judge is not None:
                found[words.judge] = await self.judge(words.judge, text)
        return found

    def _executed(self, event: FunctionToolsExecutedEvent) -> None:
        now = self.s.line.clock.now()
        for call in event.function_calls:
            args = json.loads(call.arguments or "{}")
            self._calls.append((now, call.name, args if isinstance(args, dict) else {}))


def scenes(turns: Iterable[tuple[int, schema.Turn]]) -> list[list[tuple[int, schema.Turn]]]:
    """Each turn with those that are spoken into its reply."""
    found: list[list[tuple[int, schema.Turn]]] = []
    for index, turn in turns:
        if turn.interrupt is not None and found:
            found[-1].append((index, turn))
        else:
            found.append([(index, turn)])
    return found


def fell_silent_ms(agent: Int16, onset_s: float) -> float | None:
    """Milliseconds from ``onset_s`` to the agent's last audible sample before ``HUSH_S`` of silence (24 kHz).

    None if nothing audible lies before the first such silence.
    """
    loud = np.flatnonzero(np.abs(agent.astype(np.int32)) > AUDIBLE)
    if not len(loud) or loud[0] > (onset_s + HUSH_S) * RECORD_RATE:
        return None
    breaks = np.flatnonzero(np.diff(loud) > HUSH_S * RECORD_RATE)
    last = int(loud[breaks[0]] if len(breaks) else loud[-1])
    return max(0.0, (last + 1) / RECORD_RATE - onset_s) * 1000
