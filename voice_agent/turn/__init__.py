"""The turn: ``policy`` (pure), ``completeness`` (is the text whole?), ``detector`` (both, with their threads)."""

from .completeness import Judge, ModelJudge, RuleJudge
from .detector import TurnDetector
from .policy import TurnPolicy

__all__ = ["Judge", "ModelJudge", "RuleJudge", "TurnDetector", "TurnPolicy"]
