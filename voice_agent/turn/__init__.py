"""The turn: ``policy`` (pure), ``completeness`` (is the text whole?), ``detector`` (both, with their threads).

``interruption`` (pure): who keeps the floor when both speak.
"""

from .barge_in_policy import InterruptionPolicy
from .detector import AgentSound, TurnDetector
from .eou.completeness import EndOfTurnModel, RuleEndOfTurnModel, TextEndOfTurnModel
from .policy import TurnPolicy

__all__ = [
    "AgentSound",
    "EndOfTurnModel",
    "InterruptionPolicy",
    "RuleEndOfTurnModel",
    "TextEndOfTurnModel",
    "TurnDetector",
    "TurnPolicy",
]
