"""What a check finds, and how checks are run: one by one, each under its deadline, none able to end the rest."""

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


class Status(enum.Enum):
    """``WARNING``: works, but not as well as it could, or not all of it. ``SKIPPED``: not asked for."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. ``advice``: what to do about it. ``facts``: figures for programs, the unit in the name."""

    status: Status
    text: str
    advice: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)
    name: str = ""
    group: str = ""
    took_s: float = 0.0


@dataclass(frozen=True, slots=True)
class DoctorCheck:
    """``run`` blocks and gives its findings; one without a name gets the check's. ``late``: advice if it takes longer.

    ``optional``: not to be had, it is a warning, because the road does without.
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
    """Run the checks in order. None of ``secrets`` is in what they give. A check that is late is left behind."""
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
    """On a thread of its own: a driver that hangs must not take the doctor with it."""
    box: list[list[Finding]] = []
    bad = Status.WARNING if check.optional else Status.FAILED

    def work() -> None:
        try:
            box.append(list(check.run()))
        except VoiceAgentError as error:  # its message says what to do
            said, _, advice = str(error).partition("; ")
            box.append([Finding(bad, said, advice)])
        except Exception as error:  # whatever a check meets is its own line
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
