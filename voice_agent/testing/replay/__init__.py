"""Recorded turns under another policy: what would have been heard, how soon, at what cost. Pure but for save and load.

``evidence`` (what the policy was given), ``core`` (replay it), ``sweep`` (a dial over many turns), ``chart`` (SVG).
``voice-agent replay`` and ``voice-agent tune`` stand on it, and so does the bench (scripts/bench_parts/turns.py).
"""

from .core import ReplayOutcome, mini, replay, silence
from .recorded import Evidence, Recorded, load, recorded, save

__all__ = ["Evidence", "Recorded", "ReplayOutcome", "load", "mini", "recorded", "replay", "save", "silence"]
