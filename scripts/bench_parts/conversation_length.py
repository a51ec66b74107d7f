"""Measures the time to the first content over a long conversation with the embedded model (7 ms a prompt token).

Each turn asks a short question. The next turn starts when the model has finished its prefill, as it would while TTS
speaks. For comparison, ``--sliding`` drops the oldest turn in every turn.

Two counts of the server explain the times: the prompt tokens that were not in its cache, and the time of one of them. A
lost cache shows in the first, a busy machine in the second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from livekit.agents import llm
from tables import markdown, percentile, write_lines

from voice_agent.clock import SYSTEM
from voice_agent.config import LlmConfig, models, provider_key
from voice_agent.llm.client import ChatLLM
from voice_agent.llm.endpoints import resolve
from voice_agent.llm.memory.window import ContextWindow, tokens_of
from voice_agent.llm.start import running
from voice_agent.llm.types import RequestDeadlines
from voice_agent.trace import GenerationTrace, generation

BUCKET = 20
REPLY_TOKENS = 12
QUESTIONS = (
    "What can I cook with two eggs and some rice?",
    "How far is it to the station on foot?",
    "What time does the market close today?",
    "Which of the two coats is the warmer one?",
    "Can you say that again in other words?",
)


class SlidingWindow(ContextWindow):
    """Drops as many of the oldest turns as needed in every turn."""

    def view(self, ctx: llm.ChatContext) -> llm.ChatContext:
        items, view = list(ctx.items), llm.ChatContext.empty()
        while len(items) > 2 and sum(map(tokens_of, items)) > self.limit:
            del items[1:3]
            self.drops += 1
        view.items = items
        return view

    def due(self, ctx: llm.ChatContext) -> list[llm.ChatItem]:
        return []


@dataclass(frozen=True, slots=True)
class TurnTiming:
    """One turn: ``prompt`` tokens were sent, ``read`` of them were not in the cache and took ``read_ms``."""

    turn: int
    first_ms: float
    prompt: int
    read: int
    read_ms: float


def add(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--turns", type=int, default=200, metavar="N", help="turns of the conversation (default 200)")
    verb.add_argument("--tokens", type=int, default=0, metavar="T", help="limit of the window (default: as in a call)")
    verb.add_argument("--sliding", action="store_true", help="drop the oldest turn each time instead, to compare")
    verb.add_argument("--out", type=Path, metavar="FILE", help="a JSON line a turn as well")
    verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    def keep(one: TurnTiming) -> None:  # at once, so that a stopped run keeps it
        if args.out is not None:
            write_lines(args.out, [asdict(one)])

    asked, drops = asyncio.run(converse(args.turns, args.tokens, args.sliding, keep))
    print(table(asked))
    how = "a turn dropped each time" if args.sliding else "half of the window dropped at once, and read ahead"
    print(f"\nembedded model, {how}: {drops} times in {len(asked)} turns")
    return 0


def table(asked: Sequence[TurnTiming]) -> str:
    rows = []
    for at in range(0, len(asked), BUCKET):
        some = asked[at : at + BUCKET]
        times, read = [one.first_ms for one in some], [float(one.read) for one in some]
        a_token = [one.read_ms / one.read for one in some if one.read]
        rows.append(
            [
                f"{some[0].turn}-{some[-1].turn}",
                len(some),
                *(f"{percentile(times, q):.0f}" for q in (50, 95)),
                max(one.prompt for one in some),
                *(f"{percentile(read, q):.0f}" for q in (50, 100)),
                f"{percentile(a_token, 50):.1f}" if a_token else None,
            ]
        )
    head = ["turns", "n", "first content P50 ms", "P95 ms", "longest prompt (tokens)"]
    return markdown([*head, "read anew P50", "most", "ms a token read"], rows)


async def converse(
    turns: int, tokens: int, sliding: bool, keep: Callable[[TurnTiming], None]
) -> tuple[list[TurnTiming], int]:
    """The timing of each turn, and how often turns were dropped."""
    patient = RequestDeadlines(first_content_s=120, stall_s=120, total_s=240)
    end = resolve(LlmConfig(spec="embedded"), provider_key)
    with contextlib.ExitStack() as stack:
        end = stack.enter_context(running(end, models.smollm2))
        model = ChatLLM(end, deadlines=patient, max_completion_tokens=REPLY_TOKENS, temperature=0.0)
        if sliding or tokens:
            model.memory.window = (SlidingWindow if sliding else ContextWindow)(tokens or model.memory.window.limit)
        try:
            await model.warm()
            ctx = llm.ChatContext.empty()
            ctx.add_message(role="system", content="You are a friendly voice assistant. Answer in one short sentence.")
            asked = []
            for turn in range(1, turns + 1):
                ctx.add_message(role="user", content=QUESTIONS[turn % len(QUESTIONS)])
                trace, began = GenerationTrace(str(turn)), SYSTEM.now()
                with generation(trace):
                    stream = model.chat(chat_ctx=ctx)
                answer = await stream.collect()
                prompt = int(trace.facts["prompt_tokens"])
                read = prompt - int(trace.facts.get("prompt_cached_tokens", 0))
                first_ms = (trace.marks["llm_first_content"] - began) * 1000
                asked.append(TurnTiming(turn, first_ms, prompt, read, float(trace.facts["prompt_ms"])))
                keep(asked[-1])
                ctx.add_message(role="assistant", content=answer.text or "Yes.")
                await model.memory.settled()
            return asked, model.memory.window.drops
        finally:
            await model.aclose()
