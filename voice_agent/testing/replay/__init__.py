"""Recorded turns under another turn policy: delay, cut-offs and cost. Pure except for save and load.

``evidence`` (what the policy was given), ``core`` (replay it), ``sweep`` (a dial over many turns), ``chart`` (SVG).
Used by ``voice-agent replay``, ``voice-agent tune`` and the bench (scripts/bench_parts/turns.py).
"""

from .core import ReplayOutcome, mini, replay, silence
from .recorded import Evidence, Recorded, load, recorded, save

__all__ = ["Evidence", "Recorded", "ReplayOutcome", "load", "mini", "recorded", "replay", "save", "silence"]
