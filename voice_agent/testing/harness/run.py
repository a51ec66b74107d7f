"""Run a scripted conversation: each item is one user turn, the next starts when the reply has been heard out.

:func:`run` gives one row an item, in the schema of docs/ledger.md, and never loses one: what was measured before an
interruption is returned and recorded. An item with ``after_s`` is spoken into the reply instead.

To direct a conversation yourself::

    async with stage(config, record=Path("out.wav"), echo=Echo(0.08, -6.0)) as s:
        start = s.mic.say(pcm)                     # as soon as may be; s.line.seconds(...) and start / USER_RATE agree
        since = await s.heard_for(1.2)             # 1.2 s into the reply (None: no reply came)
        s.mic.say(more, at_s=s.now_s())            # over whatever is spoken, by either side
        await s.quiet()                            # all said, all heard
        turns = s.turns()                          # rows closed since the last call
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import resource
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from livekit.local_inference import VAD

from ...audio.files import read_audio
from ...audio.resampling import resample
from ...audio.samples import Int16
from ...audio.speech_end import SpeechEnd
from ...audio.timeline import AUDIBLE, RECORD_RATE, USER_RATE, Timeline
from ...budget.export import JsonlWriter
from ...budget.ledger import Budget, Mark, Turn
from ...clock import SYSTEM, Clock
from ...config import Config
from ...errors import AudioError, UsageError
from ...pipeline.loaded_models import LoadedModels
from ...pipeline.session import PipelineSession, Progress, open_session
from .script_io import Echo, ScriptInput, ScriptOutput

WINDOW = 512
OVERLAP_SETTLED_S = 3.0  # so long after something was said into a reply, and all quiet: it was taken for no turn
MARGIN_S = 0.35  # how far the ears' end of speech may lie before the clip's own and still be its end


@dataclass(frozen=True, slots=True)
class Item:
    """One user turn: 16 kHz mono int16. ``end_s``: end of the last VAD window with speech. ``synthetic``: no person.

    ``after_s``: spoken so long into the audible reply to the item before it, over the agent's voice; it gives a row of
    its own if the agent takes it for a turn, and none if not (a cough, a "mhm").
    """

    name: str
    pcm: Int16
    end_s: float
    synthetic: bool = False
    after_s: float | None = None


def speech_end_s(pcm: Int16) -> float:
    """End of the last 32 ms window to which the VAD gives p > 0.5, in seconds; 0 if there is none. 16 kHz."""
    ends = [end for end, p in _probabilities(pcm) if p > 0.5]
    return min(ends[-1], len(pcm) / USER_RATE) if ends else 0.0


def speech_onset_s(pcm: Int16) -> float:
    """Where speech begins in 16 kHz ``pcm``: the first audible sample at most 64 ms before the first 32 ms window to
    which the VAD gives p > 0.5; that window's start if there is none, 0 without speech."""
    first = next((end for end, p in _probabilities(pcm) if p > 0.5), None)
    if first is None:
        return 0.0
    start = round(first * USER_RATE) - WINDOW
    before = max(0, start - 2 * WINDOW)
    loud = np.flatnonzero(np.abs(pcm[before : start + WINDOW].astype(np.int32)) > AUDIBLE)
    return (before + int(loud[0]) if len(loud) else start) / USER_RATE


def _probabilities(pcm: Int16) -> list[tuple[float, float]]:
    """(end in seconds, speech probability) of each 32 ms window, with a window of silence after the end."""
    vad = VAD()
    padded = np.concatenate([pcm, np.zeros(-len(pcm) % WINDOW + WINDOW, np.int16)])
    starts = range(0, len(padded) - WINDOW + 1, WINDOW)
    return [
        ((i + WINDOW) / USER_RATE, float(vad.predict(np.ascontiguousarray(padded[i : i + WINDOW])))) for i in starts
    ]


def load_item(spec: str, config: Config) -> Item:
    """An audio file's path, or ``text:...`` spoken by the configured Piper voice (synthetic).

    Raises AudioError for what cannot be heard as speech, UsageError for an empty text.
    """
    if spec.startswith("text:"):
        return _spoken(spec[5:].strip(), config)
    audio = read_audio(Path(spec))
    pcm = resample(audio.samples, audio.sample_rate, USER_RATE)
    end = speech_end_s(pcm)
    if end == 0:
        raise AudioError(f"{spec}: no speech in it; the recording of somebody who speaks is needed")
    return Item(Path(spec).name, pcm, end)


def _spoken(text: str, config: Config) -> Item:
    if not text:
        raise UsageError("text: needs words to speak, such as 'text:What is the weather like?'")
    from ...config import models
    from ...tts import Delivery, Voice, speakable

    voice = Voice.load(*models.piper(config.tts.voice))
    pieces = [p.samples for p in voice.speak(speakable(text), Delivery())]
    pcm = resample(np.concatenate(pieces), voice.sample_rate, USER_RATE)
    return Item(f"text:{text}", pcm, speech_end_s(pcm), synthetic=True)


@dataclass(slots=True)
class Run:
    """What a run has given so far."""

    turns: list[Turn] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    worst_difference_ms: float | None = None
    compared: int = 0
    peak_rss_mb: float = 0.0
    not_turns: list[str] = field(default_factory=list)  # items spoken into a reply that the agent took for no turn
    listening_after_s: float = 0.0
    interrupted: bool = False

    @property
    def all_answered(self) -> bool:
        """Every item was answered audibly."""
        return not self.interrupted and all(t.marks[Mark.FIRST_AUDIBLE] is not None for t in self.turns)


@dataclass(slots=True)
class CallHarness:
    """A scripted conversation under way, on one line of time. Make one with :func:`call_harness`.

    ``mic`` speaks (``mic.say``), ``ear`` hears (``ear.playing``, ``ear.audible_since``, ``ear.pauses``), ``line`` holds
    both tracks, ``open_session`` the session. ``closed``: rows of the ledger as they are closed (see :meth:`turns`).
    """

    pipeline: PipelineSession
    line: Timeline
    mic: ScriptInput
    ear: ScriptOutput
    closed: asyncio.Queue[Turn]

    def now_s(self) -> float:
        """The present, in seconds on the line."""
        return self.line.seconds(self.line.clock.now())

    def turns(self) -> list[Turn]:
        """The rows closed since the last call, in order."""
        out: list[Turn] = []
        while not self.closed.empty():
            out.append(self.closed.get_nowait())
        return out

    @property
    def idle(self) -> bool:
        """Nobody speaks and nobody thinks."""
        listening = self.pipeline.session.agent_state in ("listening", "idle", "initializing")
        return not self.mic.speaking and not self.ear.playing and listening

    async def heard_for(self, seconds: float, *, patience_s: float = 15.0) -> float | None:
        """Wait until a reply has been audible for ``seconds``. Returns when it began (on the line); None if none did
        so within ``patience_s``, counted from when the user has said all. A reply that ends sooner is waited out."""
        clock = self.line.clock
        began_waiting = clock.now()
        while True:
            since, now = self.ear.audible_since, clock.now()
            if since is not None and not self.ear.paused and now >= since + seconds:
                return self.line.seconds(since)
            if self.mic.speaking:
                began_waiting = now
            if self.idle and now > max(began_waiting, self.ear.last_audible_end) + patience_s:
                return None
            await asyncio.sleep(0.005)

    async def quiet(self, *, for_s: float = 0.0) -> None:
        """Wait until nobody has spoken or thought for ``for_s`` seconds."""
        clock, since = self.line.clock, self.line.clock.now()
        while not self.idle or clock.now() < since + for_s:
            if not self.idle:
                since = clock.now()
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def call_harness(
    config: Config,
    *,
    record: Path | None = None,
    echo: Echo | None = None,
    on_note: Progress = lambda _: None,
    tools: Sequence[Any] = (),
    mcp: Sequence[Any] = (),
    shared: LoadedModels | None = None,
    clock: Clock = SYSTEM,
) -> AsyncIterator[CallHarness]:
    """Start the road on a scripted line; the recording is written as it goes, and whole at the end.

    ``echo``: the agent hears itself in the user's microphone. ``shared``: loaded parts, or doubles of them.
    Raises what :func:`~.session.open_session` raises.
    """
    closed: asyncio.Queue[Turn] = asyncio.Queue()
    with Timeline(record, clock) as line:
        async with open_session(
            config, on_turn=closed.put_nowait, progress=on_note, tools=tools, mcp=mcp, shared=shared, clock=clock
        ) as r:
            mic = ScriptInput(line, echo)
            ear = ScriptOutput(line, on_audible=r.audible, on_gaps=r.ledger.gaps)
            r.session.input.audio, r.session.output.audio = mic, ear
            r.on_note = on_note
            await r.start()
            line.start()
            tasks = [asyncio.create_task(mic.feed()), asyncio.create_task(_keep_writing(line))]
            try:
                yield CallHarness(r, line, mic, ear, closed)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


async def run(
    config: Config,
    items: Sequence[Item],
    *,
    record: Path | None = None,
    jsonl: Path | None = None,
    repeat: int = 1,
    gap_s: float = 0.7,
    patience_s: float = 15.0,
    echo: Echo | None = None,
    on_turn: Callable[[Turn, str], None] = lambda turn, item: None,
    on_note: Progress = lambda _: None,
    tools: Sequence[Any] = (),
    mcp: Sequence[Any] = (),
    clock: Clock = SYSTEM,
) -> Run:
    """Speak ``items``, ``repeat`` times over, into one session. ``patience_s``: how long a reply is waited for.

    Raises UsageError if the first item has ``after_s``: there is nothing to speak into.
    """
    if items and items[0].after_s is not None:
        raise UsageError(f"{items[0].name}: the first item cannot be spoken into a reply; put a question before it")
    result = Run()
    began = clock.now()
    budget = Budget.from_config(config.budget)
    if jsonl is not None:  # rows that can be replayed under another policy
        config = dataclasses.replace(config, turn=dataclasses.replace(config.turn, record_evidence=True))
    async with call_harness(config, record=record, echo=echo, on_note=on_note, tools=tools, mcp=mcp, clock=clock) as s:
        result.notes = s.pipeline.notes
        result.listening_after_s = clock.now() - began
        for note in s.pipeline.notes:
            on_note(note)
        with contextlib.ExitStack() as stack:
            writer = stack.enter_context(JsonlWriter(jsonl, budget)) if jsonl is not None else None
            try:
                for _ in range(repeat):
                    for scene in _scenes(items):
                        for item, turn in await _play(len(result.turns) + 1, scene, s, patience_s):
                            if turn is None:
                                result.not_turns.append(item.name)
                                continue
                            result.turns.append(turn)
                            result.items.append(item.name)
                            if writer is not None:
                                writer.write(turn)
                            on_turn(turn, item.name)
                        await asyncio.sleep(gap_s)
            except asyncio.CancelledError:
                result.interrupted = True  # Ctrl-C: what was measured stays
            finally:
                _self_check(result, s.line)
                result.peak_rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result


def _scenes(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Each item with those that are spoken into its reply."""
    scene: list[Item] = []
    for item in items:
        if item.after_s is None and scene:
            yield scene
            scene = []
        scene.append(item)
    if scene:
        yield scene


async def _keep_writing(line: Timeline) -> None:
    while True:
        await asyncio.sleep(1.0)
        line.write(line.seconds(line.clock.now()) - 0.5)


async def _play(
    number: int, scene: Sequence[Item], s: CallHarness, patience_s: float
) -> list[tuple[Item, Turn | None]]:
    """Speak a scene and wait until it has been answered and the answer heard, or ``patience_s`` are over.

    Rows are numbered from ``number`` on. None for an item spoken into a reply that was taken for no turn.
    """
    s.turns()
    line, turns = s.line, list[Turn]()
    spoken: list[tuple[Item, float, float]] = []  # item, when it began and when its speech ends, monotonic
    for item in scene:
        if item.after_s is None:
            start = s.mic.say(item.pcm)
        else:
            if await s.heard_for(item.after_s, patience_s=patience_s) is None:
                break  # no reply to speak into: the rest of the scene cannot be played, and has no rows
            start = s.mic.say(item.pcm, at_s=s.now_s())
        began = line.started_at + start / USER_RATE
        spoken.append((item, began, began + item.end_s))
    last_end = spoken[-1][2]
    while True:
        turns += s.turns()
        now = line.clock.now()
        final = any((t.marks[Mark.SPEECH_ENDED] or 0.0) >= last_end - MARGIN_S for t in turns)
        if s.idle and (final or (len(spoken) > 1 and now > last_end + OVERLAP_SETTLED_S and turns)):
            break
        if s.idle and now > max(last_end, s.ear.last_audible_end) + patience_s:
            break
        await asyncio.sleep(0.02)
    out: list[tuple[Item, Turn | None]] = []
    rows = 0
    for place, (item, began, end_at) in enumerate(spoken):
        until = spoken[place + 1][1] if place + 1 < len(spoken) else float("inf")
        own = [t for t in turns if (began if place else 0.0) <= (t.marks[Mark.SPEECH_ENDED] or 0.0) < until]
        if item.after_s is not None and not own:
            out.append((item, None))
            continue
        out.append((item, row_of(number + rows, item, end_at, own, line)))
        rows += 1
    return out


def row_of(number: int, item: Item, end_at: float, turns: Sequence[Turn], line: Timeline) -> Turn:
    """The turns that an item gave, as one row."""
    final = [t for t in turns if (t.marks[Mark.SPEECH_ENDED] or 0.0) >= end_at - MARGIN_S]
    answer = final[-1] if final else _unanswered(number, end_at, turns)
    audible = [t.marks[Mark.FIRST_AUDIBLE] for t in turns]
    early = [at for at in audible if at is not None and at < end_at - 0.001]
    marks = answer.marks
    ended, heard = marks[Mark.SPEECH_ENDED], marks[Mark.FIRST_AUDIBLE]
    evidence = dict(answer.evidence)
    if len(turns) > 1 or (turns and not final):
        evidence["fragments"] = [
            {"user_text": t.user_text, "agent_text": t.agent_text, "cut_off": bool(t in turns[:-1])} for t in turns
        ]
    return dataclasses.replace(
        answer,
        id=number,
        item=item.name,
        user_text=" ".join(t.user_text for t in turns if t.user_text) or answer.user_text,
        cut_off=bool(early),
        interrupted=answer.interrupted,
        simulated=(*answer.simulated, *(("user speech",) if item.synthetic else ())),
        evidence=evidence,
        speech_ended_s=None if ended is None else line.seconds(ended),
        first_audible_s=None if heard is None else line.seconds(heard),
    )


def _unanswered(number: int, end_at: float, turns: Sequence[Turn]) -> Turn:
    from ...budget.ledger import TurnBuilder

    if turns:
        return turns[-1]
    builder = TurnBuilder(number)
    builder.mark(Mark.SPEECH_ENDED, end_at)
    builder.fail(TimeoutError("no reply: nothing was recognised as speech, or no turn was committed"))
    return builder.build()


def _self_check(result: Run, line: Timeline) -> None:
    """Compare the ledger with the samples of the recording: the worst difference over all turns, in milliseconds."""
    found = [d for d in (difference_ms(line, turn) for turn in result.turns if not turn.cut_off) if d is not None]
    result.worst_difference_ms, result.compared = max(found, default=None), len(found)


def difference_ms(line: Timeline, turn: Turn) -> float | None:
    """How far the ledger's voice to voice is from the recording's samples; None if there is nothing to compare."""
    if turn.speech_ended_s is None or turn.first_audible_s is None:
        return None
    heard = turn.first_audible_s
    if turn.acknowledged_ms is not None:  # "Let me see.": the samples show that first
        heard = min(heard, turn.speech_ended_s + turn.acknowledged_ms / 1000)
    seen = measure(line, turn.speech_ended_s, heard)
    return None if seen is None else abs(seen - (heard - turn.speech_ended_s)) * 1000


def measure(line: Timeline, near_end_s: float, near_audible_s: float) -> float | None:
    """Voice to voice in seconds, read off the two tracks alone, for the turn near the given places."""
    lo = max(0.0, near_end_s - 3.0)
    lo -= lo % (WINDOW / USER_RATE)
    user = resample(
        line.user.read(round(lo * RECORD_RATE), round((near_audible_s + 0.5) * RECORD_RATE)), RECORD_RATE, USER_RATE
    )
    edge = SpeechEnd()
    for at, probability in _probabilities(user):
        edge.window(at, probability)
    end = lo + edge.refined()
    start = max(0, round((near_end_s - 0.2) * RECORD_RATE))
    agent = line.agent.read(start, round((near_audible_s + 1.0) * RECORD_RATE))
    loud = np.flatnonzero(np.abs(agent.astype(np.int32)) > AUDIBLE)
    if not len(loud):
        return None
    return (start + int(loud[0])) / RECORD_RATE - end
