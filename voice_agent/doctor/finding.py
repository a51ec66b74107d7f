"""What a check finds, and how checks run: one after the other, each with a deadline; a failed one ends no other."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..clock import SYSTEM, Clock
from ..config import Secret
from ..config.redaction import redact_message
from ..errors import VoiceAgentError

Fact = str | float | int | bool | None
Facts = dict[str, Fact]
KeyLookup = Callable[[str], Secret | None]  # an environment variable's name -> its secret

SLOW = "use a smaller model, end what else runs on this machine, or raise the budget in [budget]"


class Status(enum.Enum):
    """``WARNING``: works, but slowly or in part. ``SKIPPED``: not requested."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of output. ``advice``: what to do next. ``facts``: figures for programs, the unit in the name."""

    status: Status
    text: str
    advice: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)
    name: str = ""
    group: str = ""
    took_s: float = 0.0


@dataclass(frozen=True, slots=True)
class DoctorCheck:
    """``run`` blocks and returns its findings; a finding without a name gets the check's.

    ``late``: the advice if it exceeds ``deadline_s``. ``optional``: a failure is only a warning, because a call works
    without it.
    """

    group: str
    name: str
    run: Callable[[], Iterable[Finding]]
    deadline_s: float = 20.0
    late: str = "end what else runs on this machine, and try again"
    optional: bool = False


def examine(
    checks: Sequence[DoctorCheck],
    *,
    secrets: Sequence[Secret] = (),
    on_check: Callable[[DoctorCheck], None] = lambda _: None,
    on_finding: Callable[[Finding], None] = lambda _: None,
    clock: Clock = SYSTEM,
) -> list[Finding]:
    """Run the checks in order. ``secrets`` are removed from what they find. A check that is late is abandoned."""
    found: list[Finding] = []
    for check in checks:
        on_check(check)
        began = clock.now()
        for finding in _run(check):
            whole = replace(
                finding,
                text=_without(finding.text, secrets),
                advice=_without(finding.advice, secrets),
                facts={k: _without(v, secrets) if isinstance(v, str) else v for k, v in finding.facts.items()},
                name=finding.name or check.name,
                group=check.group,
                took_s=round(clock.now() - began, 3),
            )
            found.append(whole)
            on_finding(whole)
    return found


def _run(check: DoctorCheck) -> list[Finding]:
    """Run on a separate thread: a driver that hangs must not stop the doctor."""
    box: list[list[Finding]] = []
    bad = Status.WARNING if check.optional else Status.FAILED

    def work() -> None:
        try:
            box.append(list(check.run()))
        except VoiceAgentError as error:  # its message says what to do
            said, _, advice = str(error).partition("; ")
            box.append([Finding(bad, said, advice)])
        except Exception as error:  # any failure is this check's own finding
            words = redact_message(f"{type(error).__name__}: {error}", None)
            box.append([Finding(bad, f"the check broke ({words})", "run it again with -v, and report it if it stays")])

    thread = threading.Thread(target=work, name=f"check {check.name}", daemon=True)
    thread.start()
    thread.join(check.deadline_s)
    if not box:
        return [Finding(bad, f"gave no result within {check.deadline_s:g} s", check.late)]
    return box[0]


def _without(text: str, secrets: Sequence[Secret]) -> str:
    for secret in secrets:
        if secret:
            text = text.replace(secret.reveal(), "***")
    return text


def against_budget(text: str, took_ms: float, budget_ms: float, facts: Facts) -> Finding:
    """A measured time as a finding: a warning if it is over its budget."""
    facts = {**facts, "budget_ms": budget_ms}
    if took_ms > budget_ms:
        return Finding(Status.WARNING, f"{text}; over its budget of {budget_ms:.0f} ms", SLOW, facts)
    return Finding(Status.OK, f"{text} (budget {budget_ms:.0f} ms)", facts=facts)
