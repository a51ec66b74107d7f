"""How long the stages of one turn took, from its marks: for replaying a turn with another policy or another model.
Pure."""

from __future__ import annotations

from dataclasses import dataclass

from .ledger import Turn
from .path import Mark


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Times of one turn in seconds. The defaults stand for what the marks do not tell.

    ``output_s`` (end of turn or first audio, whichever is later, to audible): 12 ms, measured on AgentSession with a
    reply that was ready. ``requested_s`` and ``committed_s`` count from the end of the user's speech.
    """

    llm_s: float = 0.170
    """From the request to the first content."""
    voice_s: float = 0.040
    """From the first content to the first audio: chunking and TTS."""
    output_s: float = 0.012
    tokens: int = 0
    """Completion tokens of the reply; 0 if unknown."""
    tts_s: float = 0.040
    """From the first chunk to the first audio."""
    requested_s: float = 0.0
    committed_s: float = 0.0


def stage_times(turn: Turn) -> StageTimes:
    """The times of ``turn``; a default for each one that its marks do not tell."""
    default, ended = StageTimes(), turn.marks[Mark.SPEECH_ENDED]

    def after_speech(mark: Mark) -> float:
        at = turn.marks[mark]
        return 0.0 if at is None or ended is None else at - ended

    return StageTimes(
        llm_s=_between(turn, Mark.LLM_REQUESTED, Mark.LLM_FIRST_CONTENT, default.llm_s),
        voice_s=_between(turn, Mark.LLM_FIRST_CONTENT, Mark.TTS_FIRST_AUDIO, default.voice_s),
        output_s=_output_s(turn, default.output_s),
        tokens=turn.usage.completion_tokens or 0,
        tts_s=_between(turn, Mark.CHUNK_READY, Mark.TTS_FIRST_AUDIO, default.tts_s),
        requested_s=after_speech(Mark.LLM_REQUESTED),
        committed_s=after_speech(Mark.TURN_COMMITTED),
    )


def _between(turn: Turn, first: Mark, last: Mark, default: float) -> float:
    begin, end = turn.marks[first], turn.marks[last]
    return default if begin is None or end is None or end < begin else end - begin


def _output_s(turn: Turn, default: float) -> float:
    audible = turn.marks[Mark.FIRST_AUDIBLE]
    ready = [at for at in (turn.marks[Mark.TURN_COMMITTED], turn.marks[Mark.TTS_FIRST_AUDIO]) if at is not None]
    return default if audible is None or not ready else max(0.0, audible - max(ready))
