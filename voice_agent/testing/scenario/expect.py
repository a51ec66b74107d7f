"""Is it as expected? Facts of a turn, or of a whole run, in; one :class:`Check` an expectation out. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...budget.ledger import Failure, Turn
from ...budget.stats import percentile
from .expect_schema import ExpectedCall, TextExpect, TurnExpect, WholeExpect

Judgement = tuple[bool, str]
"""What the LLM judge said of a text: whether the criterion holds, and why."""


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation. ``ok`` is None where it could not be checked (``said`` tells why): it counts as neither."""

    what: str
    ok: bool | None
    said: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one step. ``answer_ms``: from the end of the user's speech (greeting: from the beginning).

    ``judged``: what the LLM judge said, by criterion; empty without one. ``by_sound``: only the sound is known.
    """

    turn: Turn | None
    said: str = ""
    answered: bool = False
    answer_ms: float | None = None
    cut_off: bool = False
    stopped_ms: float | None = None
    resumed: bool | None = None
    calls: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    judged: Mapping[str, Judgement] = field(default_factory=dict)
    by_sound: bool = False

    @property
    def error(self) -> Failure | None:
        return None if self.turn is None else self.turn.error


def check_turn(expect: TurnExpect, facts: Facts, *, wants_answer: bool) -> list[Check]:
    """Every expectation of one turn, the implied ones included: it is answered, and it does not fail."""
    checks = []
    if expect.error is not None:
        text = "no error" if facts.error is None else str(facts.error)
        checks.append(Check(f"error: {expect.error}", _found(expect.error, text), text))
    elif wants_answer:
        why = "silence" if facts.error is None else str(facts.error)
        checks.append(Check("answered", facts.answered and facts.error is None, "yes" if facts.answered else why))
    elif expect.answered is False:
        checks.append(Check("not answered", not facts.answered, "spoke" if facts.answered else "silent"))
    if expect.within is not None:
        checks.append(_at_most("within", facts.answer_ms, expect.within * 1000, absent=False))
    if expect.stages:
        checks += _stages(expect.stages, facts)
    if expect.must_not_cut_off:
        checks.append(Check("must_not_cut_off", not facts.cut_off, "cut off" if facts.cut_off else "waited"))
    if expect.stops_within is not None:
        if facts.stopped_ms is None and facts.answered:
            checks.append(Check("stops_within", None, "the agent was silent already when the user began"))
        else:
            checks.append(_at_most("stops_within", facts.stopped_ms, expect.stops_within * 1000, absent=False))
    if expect.resumes is not None:
        said = "not known" if facts.resumed is None else "went on" if facts.resumed else "stayed silent"
        checks.append(Check("resumes" if expect.resumes else "does not resume", facts.resumed is expect.resumes, said))
    if expect.heard is not None:
        heard = None if facts.turn is None or facts.by_sound else facts.turn.user_text
        checks += check_words("heard", expect.heard, heard, facts.said, facts.judged)
    if expect.says is not None:
        says = None if facts.turn is None or (facts.by_sound and not facts.turn.agent_text) else facts.turn.agent_text
        checks += check_words("says", expect.says, says, "", facts.judged)
    if expect.tool_called is not None:
        checks += [_called(call, facts) for call in expect.tool_called]
    return checks


def check_words(
    what: str, words: TextExpect, text: str | None, said: str, judged: Mapping[str, Judgement]
) -> list[Check]:
    """``text`` held to ``words``; None: it is not known (measured by sound alone)."""
    if text is None:
        return [Check(what, None, "not known: measured by sound alone")]
    checks = []
    if words.regex is not None:
        checks.append(Check(f"{what}: {words.regex}", _found(words.regex, text), text))
    if words.wer is not None:
        wanted = words.text or said
        if not wanted:
            checks.append(Check(f"{what}: wer", None, "the script does not say which words; give text:"))
        else:
            rate = word_error_rate(wanted, text)
            checks.append(Check(f"{what}: wer at most {words.wer:.0%}", rate <= words.wer, f"{rate:.0%}: {text}"))
    if words.judge is not None:
        verdict = judged.get(words.judge)
        if verdict is None:
            checks.append(Check(f"{what}: {words.judge}", None, "not judged: give --judge"))
        else:
            checks.append(Check(f"{what}: {words.judge}", verdict[0], verdict[1]))
    return checks


def check_whole(expect: WholeExpect, turns: Sequence[Turn], unanswered: int) -> list[Check]:
    """Every expectation of the whole run; ``turns``: those that count, ``unanswered``: those left without an answer."""
    latencies = sorted(t.voice_to_voice_ms for t in turns if t.counts_for_latency and t.voice_to_voice_ms is not None)
    checks = []
    for name, q, limit in (("p50", 50, expect.p50), ("p95", 95, expect.p95)):
        if limit is not None:
            value = percentile(latencies, q) if latencies else None
            checks.append(_at_most(name, value, limit * 1000, absent=False))
    for name, count, allowed in (
        ("cut_offs", sum(t.cut_off for t in turns), expect.cut_offs),
        ("unanswered", unanswered, expect.unanswered),
        ("failed", sum(t.error is not None for t in turns), expect.failed),
        ("gaps", sum(t.audio_gaps for t in turns), expect.gaps),
    ):
        if allowed is not None:
            checks.append(Check(f"{name} at most {allowed}", count <= allowed, str(count)))
    if expect.wasted_tokens is not None:
        wasted = sum(t.speculation.tokens_wasted for t in turns) / len(turns) if turns else 0.0
        what = f"wasted_tokens at most {expect.wasted_tokens} a turn"
        checks.append(Check(what, wasted <= expect.wasted_tokens, f"{wasted:.0f} a turn"))
    return checks


def word_error_rate(wanted: str, heard: str) -> float:
    """Substitutions, deletions and insertions over the wanted words (Levenshtein), without case and punctuation."""
    left, right = _plain(wanted), _plain(heard)
    row = list(range(len(right) + 1))
    for i, word in enumerate(left, 1):
        above, row[0] = row[0], i
        for j, other in enumerate(right, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (word != other))
    return row[-1] / len(left) if left else float(bool(right))


def _plain(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower().replace("\u2019", "'"))


def _found(pattern: str, text: str) -> bool:
    return re.search(pattern, text, re.IGNORECASE) is not None


def _at_most(what: str, value_ms: float | None, limit_ms: float, *, absent: bool) -> Check:
    if value_ms is None:
        return Check(f"{what} {limit_ms:.0f} ms", absent, "there was none")
    return Check(f"{what} {limit_ms:.0f} ms", value_ms <= limit_ms, f"{value_ms:.0f} ms")


def _stages(limits: Mapping[str, float], facts: Facts) -> list[Check]:
    if facts.turn is None or facts.by_sound:
        return [Check(f"stage {name}", None, "not known: measured by sound alone") for name in limits]
    spans = {str(stage): ms for stage, ms in facts.turn.spans_ms.items()}
    if not spans:
        return [Check(f"stage {name}", None, "the turn has no voice-to-voice time") for name in limits]
    return [
        _at_most(f"stage {name}", spans.get(name, 0.0), limit * 1000, absent=True) for name, limit in limits.items()
    ]


def _called(call: ExpectedCall, facts: Facts) -> Check:
    if facts.by_sound:
        return Check(f"tool_called {call.name}", None, "not known: measured by sound alone")
    made = [args for name, args in facts.calls if name == call.name]
    fits = [args for args in made if call.args is None or all(args.get(k) == v for k, v in call.args.items())]
    what = f"tool_called {call.name}" + ("" if call.args is None else f" {json.dumps(dict(call.args))}")
    all_made = ", ".join(f"{name}({json.dumps(dict(args))})" for name, args in facts.calls) or "none called"
    return Check(what, bool(fits), all_made)
