"""The turn: ``policy`` (pure), ``completeness`` (is the text whole?), ``detector`` (both, with their threads).

``interruption`` (pure): who keeps the floor when both speak.
"""

from .completeness import Judge, ModelJudge, RuleJudge
from .detector import AgentSound, TurnDetector
from .interruption import InterruptionPolicy
from .policy import TurnPolicy

__all__ = ["AgentSound", "InterruptionPolicy", "Judge", "ModelJudge", "RuleJudge", "TurnDetector", "TurnPolicy"]
