"""The scenarios of ``scripts/bench degradation``: which LLM answers, and which degradation steps are switched on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from voice_agent.config import FlagValue

OFF: Mapping[str, FlagValue] = {
    "degradation.hedge": False, "degradation.small_first": False, "degradation.acknowledge": False,
    "degradation.degrade": False,
    "degradation.breaker": False,
}  # fmt: skip
TAIL = "sim:ttft=lognormal(170ms,0.4),stall=5%x3s,tps=2314"
SLOW = "sim:ttft=lognormal(420ms,0.2),tps=59"
OUT = "sim:ttft=170ms,error=503"
GOOD = "sim:ttft=lognormal(170ms,0.4),tps=2314"
ALL = "all (default)"
CALL_TURNS = 100
"""Turns of one call; each call has its own draws and history."""
QUESTIONS = (
    "What is the weather like today?", "Please book a table for two.", "How far is it to the station?",
    "I would like to change my order.", "Where can I buy a ticket?", "Tell me about the old bridge.",
)  # fmt: skip


LONG_STARTS = (
    "The old bridge over the wide river was built by the people of this town about a hundred years ago.",
    "You can take the number five bus from the corner of the main street to the station every ten minutes.",
)
"""Replies of the slow model. The canned replies begin with a short clause, which no step can shorten."""


@dataclass(frozen=True, slots=True)
class Case:
    """One row: the scenario's LLM, and the degradation steps that are switched on."""

    name: str
    llm: str
    on: Mapping[str, FlagValue] = field(default_factory=dict)
    share: int = 1
    """The row gets 1/``share`` of the requested turns."""

    @property
    def short(self) -> str:
        """The name without its number and its brackets: ``all`` of ``all (default)``."""
        return re.sub(r"^\d+ | \(.*\)$", "", self.name)


def _on(*names: str, **more: FlagValue) -> dict[str, FlagValue]:
    only = {f"degradation.{name}": True for name in names}
    return {**OFF, **only, **{k.replace("__", "."): v for k, v in more.items()}}


SCENARIOS: Mapping[str, tuple[str, tuple[Case, ...]]] = {
    "tail": (
        "5 % of the requests stall for 3 s; time to first token log-normal around 170 ms (sigma 0.4); 2,314 tok/s",
        (
            Case("nothing", TAIL, _on()),
            Case("1 hedge", TAIL, _on("hedge")),
            Case("2 smaller first chunk", TAIL, _on("small_first")),
            Case("3 acknowledge", TAIL, _on("acknowledge")),
            Case("4 degrade", TAIL, _on("degrade")),
            Case("5 give up after 2 s", TAIL, _on("breaker", degradation__give_up_ms=2000)),
            Case(ALL, TAIL, {}),
        ),
    ),
    "slow": (
        "a slow model: log-normal around 420 ms (sigma 0.2), 59 tok/s; second provider: 170 ms, 2,314 tok/s",
        (
            Case("nothing", SLOW, _on(), 10),
            Case("2 smaller first chunk", SLOW, _on("small_first"), 10),
            Case("4 degrade to the second provider", SLOW, _on("degrade", llm__hedge=GOOD), 10),
            Case(ALL, SLOW, {"llm.hedge": GOOD}, 10),
        ),
    ),
    "outage": (
        "the first provider answers 503 after 170 ms; second provider: log-normal around 170 ms, 2,314 tok/s",
        (
            Case("nothing", OUT, _on(), 10),
            Case("5 breaker", OUT, _on("breaker"), 10),
            Case("second provider, no breaker", OUT, _on("hedge", llm__hedge=GOOD), 10),
            Case(ALL, OUT, {"llm.hedge": GOOD}, 10),
        ),
    ),
}
