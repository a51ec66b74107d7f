"""Run a scripted conversation: each item is one user turn, the next starts when the reply has been heard out.

:func:`run` gives one row an item, in the schema of docs/ledger.md, and never loses one: what was measured before an
interruption is returned and recorded.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import resource
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from livekit.local_inference import VAD

from .audio import read_wav, resample
from .budget.export import JsonlWriter
from .budget.ledger import Budget, Mark, Turn
from .clock import SYSTEM, Clock
from .config import Config
from .decisions import Int16
from .errors import AudioError, UsageError
from .io.line import AUDIBLE, RECORD_RATE, USER_RATE, Line
from .io.script import ScriptInput, ScriptOutput
from .session import Progress, Road, road
from .stt.edge import SpeechEdge

WINDOW = 512
MARGIN_S = 0.35  # how far the ears' end of speech may lie before the clip's own and still be its end


@dataclass(frozen=True, slots=True)
class Item:
    """One user turn: 16 kHz mono int16. ``end_s``: end of the last VAD window with speech. ``synthetic``: no person."""

    name: str
    pcm: Int16
    end_s: float
    synthetic: bool = False


def speech_end_s(pcm: Int16) -> float:
    """End of the last 32 ms window to which the VAD gives p > 0.5, in seconds; 0 if there is none. 16 kHz."""
    ends = [end for end, p in _probabilities(pcm) if p > 0.5]
    return min(ends[-1], len(pcm) / USER_RATE) if ends else 0.0


def _probabilities(pcm: Int16) -> list[tuple[float, float]]:
    """(end in seconds, speech probability) of each 32 ms window, with a window of silence after the end."""
    vad = VAD()
    padded = np.concatenate([pcm, np.zeros(-len(pcm) % WINDOW + WINDOW, np.int16)])
    starts = range(0, len(padded) - WINDOW + 1, WINDOW)
    return [
        ((i + WINDOW) / USER_RATE, float(vad.predict(np.ascontiguousarray(padded[i : i + WINDOW])))) for i in starts
    ]


def load_item(spec: str, config: Config) -> Item:
    """A WAV's path, or ``text:...`` spoken by the configured Piper voice (synthetic).

    Raises AudioError for what cannot be heard as speech, UsageError for an empty text.
    """
    if spec.startswith("text:"):
        return _spoken(spec[5:].strip(), config)
    audio = read_wav(Path(spec))
    pcm = resample(audio.samples, audio.sample_rate, USER_RATE)
    end = speech_end_s(pcm)
    if end == 0:
        raise AudioError(f"{spec}: no speech in it; the recording of somebody who speaks is needed")
    return Item(Path(spec).name, pcm, end)


def _spoken(text: str, config: Config) -> Item:
    if not text:
        raise UsageError("text: needs words to speak, such as 'text:What is the weather like?'")
    from . import models
    from .tts import Delivery, Voice, speakable

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
    listening_after_s: float = 0.0
    interrupted: bool = False

    @property
    def all_answered(self) -> bool:
        """Every item was answered audibly."""
        return not self.interrupted and all(t.marks[Mark.FIRST_AUDIBLE] is not None for t in self.turns)


async def run(
    config: Config,
    items: Sequence[Item],
    *,
    record: Path | None = None,
    jsonl: Path | None = None,
    repeat: int = 1,
    gap_s: float = 0.7,
    patience_s: float = 15.0,
    on_turn: Callable[[Turn, str], None] = lambda turn, item: None,
    on_note: Progress = lambda _: None,
    clock: Clock = SYSTEM,
) -> Run:
    """Speak ``items``, ``repeat`` times over, into one session. ``patience_s``: how long a reply is waited for."""
    result = Run()
    began = clock.now()
    budget = Budget.from_config(config.budget)
    closed: asyncio.Queue[Turn] = asyncio.Queue()
    async with _listening(config, record, closed, on_note, clock) as (r, line, mic, ear):
        result.notes = r.notes
        result.listening_after_s = clock.now() - began
        for note in r.notes:
            on_note(note)
        with contextlib.ExitStack() as stack:
            writer = stack.enter_context(JsonlWriter(jsonl, budget)) if jsonl is not None else None
            try:
                for _ in range(repeat):
                    for item in items:
                        turn = await _one(len(result.turns) + 1, item, line, mic, ear, r, closed, patience_s)
                        result.turns.append(turn)
                        result.items.append(item.name)
                        if writer is not None:
                            writer.write(turn)
                        on_turn(turn, item.name)
                        await asyncio.sleep(gap_s)
            except asyncio.CancelledError:
                result.interrupted = True  # Ctrl-C: what was measured stays
            finally:
                _self_check(result, line)
                result.peak_rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result


@contextlib.asynccontextmanager
async def _listening(
    config: Config, record: Path | None, closed: asyncio.Queue[Turn], on_note: Progress, clock: Clock
) -> AsyncIterator[tuple[Road, Line, ScriptInput, ScriptOutput]]:
    with Line(record, clock) as line:
        async with road(config, on_turn=closed.put_nowait, progress=on_note, clock=clock) as r:
            mic = ScriptInput(line)
            ear = ScriptOutput(line, on_audible=r.audible, on_gaps=r.ledger.gaps)
            r.session.input.audio, r.session.output.audio = mic, ear
            await r.start()
            line.start()
            tasks = [asyncio.create_task(mic.feed()), asyncio.create_task(_keep_writing(line))]
            try:
                yield r, line, mic, ear
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


async def _keep_writing(line: Line) -> None:
    while True:
        await asyncio.sleep(1.0)
        line.write(line.seconds(line.clock.now()) - 0.5)


async def _one(
    number: int,
    item: Item,
    line: Line,
    mic: ScriptInput,
    ear: ScriptOutput,
    r: Road,
    closed: asyncio.Queue[Turn],
    patience_s: float,
) -> Turn:
    """Speak one item and wait until it has been answered and the answer heard, or ``patience_s`` are over."""
    while not closed.empty():
        closed.get_nowait()
    start = mic.say(item.pcm)
    end_at = line.started_at + start / USER_RATE + item.end_s
    turns: list[Turn] = []
    while True:
        while not closed.empty():
            turns.append(closed.get_nowait())
        now = line.clock.now()
        final = [t for t in turns if (t.marks[Mark.SPEECH_ENDED] or 0.0) >= end_at - MARGIN_S]
        idle = not mic.speaking and not ear.playing and r.session.agent_state in ("listening", "idle", "initializing")
        if final and idle:
            break
        if idle and now > max(end_at, ear.last_audible_end) + patience_s:
            break
        await asyncio.sleep(0.02)
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
    from .budget.ledger import TurnBuilder

    if turns:
        return turns[-1]
    builder = TurnBuilder(number)
    builder.mark(Mark.SPEECH_ENDED, end_at)
    builder.fail(TimeoutError("no reply: nothing was recognised as speech, or no turn was committed"))
    return builder.build()


def _self_check(result: Run, line: Line) -> None:
    """Compare the ledger with the samples of the recording: the worst difference over all turns, in milliseconds."""
    worst: float | None = None
    for turn in result.turns:
        if turn.speech_ended_s is None or turn.first_audible_s is None or turn.cut_off:
            continue
        measured = measure(line, turn.speech_ended_s, turn.first_audible_s)
        if measured is None:
            continue
        difference = abs(measured - (turn.first_audible_s - turn.speech_ended_s)) * 1000
        worst = difference if worst is None else max(worst, difference)
        result.compared += 1
    result.worst_difference_ms = worst


def measure(line: Line, near_end_s: float, near_audible_s: float) -> float | None:
    """Voice to voice in seconds, read off the two tracks alone, for the turn near the given places."""
    lo = max(0.0, near_end_s - 3.0)
    lo -= lo % (WINDOW / USER_RATE)
    user = resample(
        line.user.read(round(lo * RECORD_RATE), round((near_audible_s + 0.5) * RECORD_RATE)), RECORD_RATE, USER_RATE
    )
    edge = SpeechEdge()
    for at, probability in _probabilities(user):
        edge.window(at, probability)
    end = lo + edge.refined()
    start = max(0, round((near_end_s - 0.2) * RECORD_RATE))
    agent = line.agent.read(start, round((near_audible_s + 1.0) * RECORD_RATE))
    loud = np.flatnonzero(np.abs(agent.astype(np.int32)) > AUDIBLE)
    if not len(loud):
        return None
    return (start + int(loud[0])) / RECORD_RATE - end
