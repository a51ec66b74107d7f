"""Speeds that others published, for the simulation, each with its date and source.

Where no time to the first token was published, 170 ms is assumed for all, so the rows differ only by what was
published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..provider_table import Fact

ASSUMED_TTFT_MS = 170.0


@dataclass(frozen=True, slots=True)
class PublishedSpeed:
    """Tokens a second, and the time to the first token in ms (None: not published, 170 is assumed)."""

    tokens_per_s: float
    ttft_ms: float | None
    fact: Fact

    @property
    def spec(self) -> str:
        """The simulation's spec string."""
        return f"sim:ttft={self.ttft_ms or ASSUMED_TTFT_MS:g}ms,tps={self.tokens_per_s:g}"


PUBLISHED: Mapping[str, PublishedSpeed] = {
    "sim-cerebras-8b": PublishedSpeed(
        1800, None, Fact("Llama 3.1 8B on Cerebras", "2024-08-27", "cerebras.ai/blog/introducing-cerebras-inference")
    ),
    "sim-cerebras-70b": PublishedSpeed(
        2314,
        170,
        Fact(
            "Llama 3.3 70B on Cerebras, measured by Artificial Analysis",
            "read 2026-11",
            "anintent.com/blog/cerebras-cs-3-low-latency-inference-api",
        ),
    ),
    "sim-cerebras-405b": PublishedSpeed(
        969, 240, Fact("Llama 3.1 405B on Cerebras", "2024-11-20", "tomshardware.com, on Cerebras' own statement")
    ),
    "sim-gpu-70b": PublishedSpeed(
        59,
        None,
        Fact("Llama 70B on a GPU cluster, 59 tokens a second", "unknown", "the comparison this project began with"),
    ),
    "sim-bedrock-70b": PublishedSpeed(
        32,
        None,
        Fact(
            "Llama 3.3 70B on Amazon Bedrock, measured by Artificial Analysis",
            "read 2026-11",
            "anintent.com/blog/cerebras-cs-3-low-latency-inference-api",
        ),
    ),
}
