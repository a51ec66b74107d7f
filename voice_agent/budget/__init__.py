"""The ledger: for each turn, which stage took how many milliseconds, and whether the budget allowed it.

Read in this order: ``path.py`` (marks and the critical path), ``ledger.py`` (a turn), ``turn_verdict.py`` (the budget
and its verdict), ``stats.py`` (figures of a session), ``export.py`` (JSON lines), ``console_report.py`` (terminal
output; needs rich, so it is not imported here), ``attach.py`` (the observer of an ``AgentSession``). The stages write
marks through :mod:`voice_agent.trace`.
"""

from __future__ import annotations

from .ledger import Failure, Mark, Models, Speculation, Stage, Turn, TurnBuilder, Usage
from .path import PathStep
from .stats import SessionStats, Spread, Summary
from .turn_verdict import Budget, Verdict, verdict

__all__ = [
    "Budget",
    "Failure",
    "Mark",
    "Models",
    "PathStep",
    "SessionStats",
    "Speculation",
    "Spread",
    "Stage",
    "Summary",
    "Turn",
    "TurnBuilder",
    "Usage",
    "Verdict",
    "verdict",
]
