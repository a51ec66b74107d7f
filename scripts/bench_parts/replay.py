"""Replay recorded evidence through the turn policy on its own time line: delays, cut-offs, requests."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from evidence import Evidence
from voice_agent.config import TurnConfig
from voice_agent.turn.policy import Ask, Commit, Reopen, TurnPolicy, words_of

OUTPUT_S = 0.012  # commit to audible when the reply is ready (measured on AgentSession)


@dataclass(frozen=True)
class Outcome:
    """What would have been heard. ``delay_s``: end of speech to first audible; ``cut``: audible before the end."""

    name: str
    kind: str
    delay_s: float | None
    cut: bool
    asks: int
    commits: int
    commit_wait_s: float | None
    text: str
    score: float | None


def replay(ev: Evidence, config: TurnConfig, *, llm_s: float = 0.170, voice_s: float = 0.040) -> Outcome:
    """``llm_s``: request to first content; ``voice_s``: first clause to first audio."""
    queue: list[tuple[float, int, str, tuple]] = []
    n = 0

    def push(at: float, what: str, *args: object) -> None:
        nonlocal n
        n += 1
        heapq.heappush(queue, (at, n, what, args))

    for end, p in ev.windows:
        push(end, "window", end, p)
    t = ev.windows[0][0]
    while t < ev.windows[-1][0]:
        push(t, "tick")
        t += 0.01
    for covers, ready, text in ev.passes:
        push(ready, "text", text, covers)
    for end, p in ev.acoustic.items():
        push(float(end) + 0.2 + 0.045, "acoustic", p)
    policy = TurnPolicy(config)
    asks, audible_at, cut, delay, commits, wait = 0, None, False, None, 0, None
    ready_at: dict[str, float] = {}
    started_base = ""
    last_commit = None
    while queue:
        now, _, what, args = heapq.heappop(queue)
        if what == "window":
            out = policy.window(*args)
        elif what == "tick":
            out = policy.advance(now)
        elif what == "text":
            out = policy.text(args[0], args[1], now)
            if args[0] in ev.scores:
                push(now + ev.scores[args[0]][1], "score", args[0])
        elif what == "score":
            whole = f"{policy._prefix} {args[0]}".strip()
            out = policy.completeness(whole, ev.scores[args[0]][0], now)
        elif what == "acoustic":
            out = policy.acoustic(args[0], now)
        elif what == "ready":
            out = policy.reply_ready(args[0], now)
        else:  # audible
            if args[0] is last_commit and policy.state.value == "committed":
                policy.audible(now)
                if now < ev.speech_end_s - 0.001:
                    cut = True
                elif delay is None:
                    delay = now - ev.speech_end_s
            out = ()
        for d in out:
            if isinstance(d, Ask):
                asks += 1
                key = words_of(d.text)
                ready_at[key] = now + llm_s + voice_s
                push(ready_at[key], "ready", d.text)
            elif isinstance(d, Commit):
                last_commit, commits, wait = d, commits + 1, d.waited_s
                at = ready_at.get(words_of(d.text))
                if at is None:
                    asks += 1
                    at = now + llm_s + voice_s
                push(max(now, at) + OUTPUT_S, "audible", d)
            elif isinstance(d, Reopen):
                last_commit = None
    score = last_commit.score if last_commit else None
    return Outcome(ev.name, ev.kind, delay, cut, asks, commits, wait, last_commit.text if last_commit else "", score)
