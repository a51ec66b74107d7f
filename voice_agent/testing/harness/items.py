"""Speak items (recordings, synthetic texts) to the agent, one user turn each, and measure every turn.

:func:`speak_items` gives one row an item, in the schema of docs/ledger.md. The next item starts when the reply has been
played to its end. An interrupted run returns and records what was measured before. An item with ``after_s`` is spoken
into the reply instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...audio.files import read_audio
from ...audio.resampling import resample
from ...audio.samples import Int16
from ...audio.timeline import USER_RATE
from ...budget.export import JsonlWriter
from ...budget.ledger import Mark, Turn
from ...budget.turn_verdict import Budget
from ...clock import SYSTEM, Clock
from ...config import Config
from ...errors import AudioError, UsageError
from ...pipeline.session import Progress
from .call_harness import CallHarness, call_harness
from .rows import row_of, scenes, turns_of_each
from .script_input import SimulatedEcho
from .self_check import difference_ms
from .speech_bounds import speech_end_s


@dataclass(frozen=True, slots=True)
class Item:
    """One user turn: 16 kHz mono int16. ``end_s``: end of the last VAD window with speech. ``synthetic``: made by TTS.

    ``after_s``: spoken into the reply to the item before it, this many seconds after the reply became audible. Such an
    item has a row of its own if the agent takes it for a turn, and none if not (a cough, a "mhm").
    """

    name: str
    pcm: Int16
    end_s: float
    synthetic: bool = False
    after_s: float | None = None


def load_item(spec: str, config: Config) -> Item:
    """An audio file's path, or ``text:...`` spoken by the configured Piper voice (synthetic).

    Raises AudioError for a recording without speech, UsageError for an empty text.
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
class ItemsRun:
    """The result of a run so far."""

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


async def speak_items(
    config: Config,
    items: Sequence[Item],
    *,
    record: Path | None = None,
    jsonl: Path | None = None,
    repeat: int = 1,
    gap_s: float = 0.7,
    patience_s: float = 15.0,
    echo: SimulatedEcho | None = None,
    on_turn: Callable[[Turn, str], None] = lambda turn, item: None,
    on_note: Progress = lambda _: None,
    tools: Sequence[Any] = (),
    mcp: Sequence[Any] = (),
    clock: Clock = SYSTEM,
) -> ItemsRun:
    """Speak ``items``, ``repeat`` times over, into one session. ``patience_s``: how long to wait for a reply.

    Raises UsageError if the first item has ``after_s``: there is no reply to speak into.
    """
    if items and items[0].after_s is not None:
        raise UsageError(f"{items[0].name}: the first item cannot be spoken into a reply; put a question before it")
    result = ItemsRun()
    began = clock.now()
    if jsonl is not None:  # rows that can be replayed under another policy
        config = dataclasses.replace(config, turn=dataclasses.replace(config.turn, record_evidence=True))
    async with call_harness(
        config, record=record, echo=echo, on_note=on_note, tools=tools, mcp=mcp, clock=clock
    ) as call:
        result.notes = call.pipeline.notes
        result.listening_after_s = clock.now() - began
        for note in call.pipeline.notes:
            on_note(note)
        with contextlib.ExitStack() as stack:
            writer: JsonlWriter | None = None
            if jsonl is not None:
                writer = stack.enter_context(JsonlWriter(jsonl, Budget.from_config(config.budget)))
            try:
                for scene in scenes(items, lambda item: item.after_s is not None) * repeat:
                    for item, turn in await _play(len(result.turns) + 1, scene, call, patience_s):
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
                _self_check(result, call)
                result.peak_rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result


async def _play(
    number: int, scene: Sequence[Item], call: CallHarness, patience_s: float
) -> list[tuple[Item, Turn | None]]:
    """Speak a scene; return when the answer has been played, or ``patience_s`` are over.

    Rows are numbered from ``number`` on. None for an item spoken into a reply that the agent took for no turn.
    """
    call.turns()
    spoken: list[tuple[Item, float, float]] = []  # item, when it began and when its speech ends, monotonic
    for item in scene:
        if item.after_s is None:
            start = call.input.say(item.pcm)
        else:
            if await call.heard_for(item.after_s, patience_s=patience_s) is None:
                break  # no reply to speak into: the rest of the scene cannot be played, and has no rows
            start = call.input.say(item.pcm, at_s=call.now_s())
        began = call.timeline.started_at + start / USER_RATE
        spoken.append((item, began, began + item.end_s))
    turns = await call.settle(spoken[-1][2], patience_s, may_be_no_turn=lambda turns: len(spoken) > 1 and bool(turns))
    out: list[tuple[Item, Turn | None]] = []
    rows = 0
    for (item, _, end_at), own in zip(spoken, turns_of_each(turns, [began for _, began, _ in spoken]), strict=True):
        if item.after_s is not None and not own:
            out.append((item, None))
            continue
        out.append((item, row_of(number + rows, item.name, end_at, own, call.timeline, synthetic=item.synthetic)))
        rows += 1
    return out


def _self_check(result: ItemsRun, call: CallHarness) -> None:
    """Compare the ledger with the samples of the recording: the worst difference over all turns, in milliseconds."""
    compared = (difference_ms(call.timeline, turn) for turn in result.turns if not turn.cut_off)
    found = [ms for ms in compared if ms is not None]
    result.worst_difference_ms, result.compared = max(found, default=None), len(found)
