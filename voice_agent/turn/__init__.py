"""Turn detection: when has the user finished, and is speech over the agent an interruption?

Read in this order: ``turn_policy`` (pure: evidence in, decisions out), ``wait_rule`` and ``preflights`` (its parts),
``eou`` (end-of-turn models), ``barge_in_policy`` (pure), ``detector`` (both policies with their models' threads).
"""

from .barge_in_policy import BargeInPolicy
from .detector import AgentSound, TurnDetector
from .eou.end_of_turn_models import EndOfTurnModel, RuleEndOfTurnModel, TextEndOfTurnModel
from .turn_policy import TurnPolicy

__all__ = [
    "AgentSound",
    "BargeInPolicy",
    "EndOfTurnModel",
    "RuleEndOfTurnModel",
    "TextEndOfTurnModel",
    "TurnDetector",
    "TurnPolicy",
]
