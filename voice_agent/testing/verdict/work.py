"""The work of each stage in a turn, on the critical path or not. Pure: a turn in, milliseconds out.

The ledger's critical path says what the user waited for. A slower stage may hide behind the wait for the end of the
turn: the user hears nothing of it now, and all of it after the next change. So the verdict compares both: the
voice-to-voice time, and each stage's own work without what other programs took from it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...budget.ledger import Mark, Stage, Turn

TOTAL = "voice to voice"
STAGES = (Stage.STT, Stage.DISPATCH, Stage.LLM, Stage.CHUNK, Stage.TTS, Stage.ENDPOINTING, Stage.OUTPUT)
OF_THE_MACHINE = (Stage.STT, Stage.DISPATCH, Stage.CHUNK, Stage.TTS)
"""Stages whose time is computing on this machine, so that a slower machine makes them slower in proportion."""

PASS_MS, PASS_OWN_MS, FIRST_SOUND_OWN_MS = "stt_pass_ms", "stt_pass_own_ms", "tts_first_sound_own_ms"
OTHERS_MS = "other_programs_ms"
"""In a turn's evidence. "Own": less what its threads waited for a processor (processor.py)."""
OTHERS = "other programs"
"""The measure: how long other programs had the processor during a pass and the first audio."""


def work_ms(turn: Turn) -> dict[str, float]:
    """Milliseconds of work by stage, and :data:`TOTAL`. Unknown stages are left out; empty for a turn that says
    nothing about speed (cut off, failed, unanswered).

    - stt: an STT pass (in the evidence: :data:`PASS_OWN_MS`, lower quartile of the turn, else :data:`PASS_MS`,
      median); without it, end of speech to text.
    - dispatch: text to request, where the request waited for the text. llm, chunk: between their own two marks.
    - tts: the first audio on the TTS thread (:data:`FIRST_SOUND_OWN_MS`); without it, between its two marks.
    - endpointing: end of speech to end of turn, without the wait for a reply or a text that was not ready.
    - output: from the later of end of turn and first audio to the first audible sample.
    """
    if not turn.counts_for_latency:
        return {}
    total = turn.voice_to_voice_ms
    assert total is not None
    found: dict[str, float] = {TOTAL: total}

    def between(first: Mark, last: Mark) -> float | None:
        begin, end = turn.marks[first], turn.marks[last]
        return None if begin is None or end is None else (end - begin) * 1000

    def noted(name: str) -> float | None:
        value = turn.evidence.get(name)
        return float(value) if isinstance(value, int | float) else None

    if (passes := noted(PASS_OWN_MS if PASS_OWN_MS in turn.evidence else PASS_MS)) is not None:
        found[Stage.STT] = passes
    elif (ms := between(Mark.SPEECH_ENDED, Mark.TRANSCRIPT_READY)) is not None:
        found[Stage.STT] = ms
    if (ms := between(Mark.TRANSCRIPT_READY, Mark.LLM_REQUESTED)) is not None and ms >= 0:
        found[Stage.DISPATCH] = ms
    for stage, first, last in (
        (Stage.LLM, Mark.LLM_REQUESTED, Mark.LLM_FIRST_CONTENT),
        (Stage.CHUNK, Mark.LLM_FIRST_CONTENT, Mark.CHUNK_READY),
        (Stage.TTS, Mark.CHUNK_READY, Mark.TTS_FIRST_AUDIO),
    ):
        if (ms := between(first, last)) is not None and ms >= 0:
            found[stage] = ms
    if (ms := noted(FIRST_SOUND_OWN_MS)) is not None:
        found[Stage.TTS] = ms
    if (ms := noted(OTHERS_MS)) is not None:
        found[OTHERS] = ms
    if (ms := between(Mark.SPEECH_ENDED, Mark.TURN_COMMITTED)) is not None:
        waited, wanted = turn.evidence.get("waited_ms"), turn.evidence.get("wanted_ms")
        if isinstance(waited, int | float) and isinstance(wanted, int | float):
            ms -= max(0.0, waited - wanted)
        found[Stage.ENDPOINTING] = ms
    ready = [turn.marks[m] for m in (Mark.TURN_COMMITTED, Mark.TTS_FIRST_AUDIO)]
    audible = turn.marks[Mark.FIRST_AUDIBLE]
    times = [at for at in ready if at is not None]
    if len(times) == 2 and audible is not None and audible >= max(times):
        found[Stage.OUTPUT] = (audible - max(times)) * 1000
    return {str(name): ms for name, ms in found.items()}


def by_item(turns: Sequence[Turn]) -> dict[str, dict[str, list[float]]]:
    """Measure -> item -> its values, in the order of the turns."""
    found: dict[str, dict[str, list[float]]] = {}
    for turn in turns:
        for measure, ms in work_ms(turn).items():
            found.setdefault(measure, {}).setdefault(str(turn.item), []).append(ms)
    return found
