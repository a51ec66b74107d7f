"""Is the first content as soon in turn 200 as in turn 2? With the embedded model, whose prompt costs 7 ms a token.

Each turn asks a short question; the answer counts as spoken for as long as the model needs to read ahead, as it would
while the voice speaks. "sliding" is the common way, for comparison: the oldest turn is dropped in every turn.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib

from livekit.agents import llm
from tables import markdown, percentile

from voice_agent import models
from voice_agent.budget.probe import GenerationTrace, generation
from voice_agent.clock import SYSTEM
from voice_agent.config import LlmConfig, provider_key
from voice_agent.llm.client import ChatLLM
from voice_agent.llm.providers import resolve
from voice_agent.llm.start import running
from voice_agent.llm.stream import Deadlines
from voice_agent.llm.window import Window, tokens_of

BUCKET = 20
REPLY_TOKENS = 12
QUESTIONS = (
    "What can I cook with two eggs and some rice?",
    "How far is it to the station on foot?",
    "What time does the market close today?",
    "Which of the two coats is the warmer one?",
    "Can you say that again in other words?",
)


class Sliding(Window):
    """The oldest turn goes in every turn, as much as it takes."""

    def view(self, ctx: llm.ChatContext) -> llm.ChatContext:
        items, view = list(ctx.items), llm.ChatContext.empty()
        while len(items) > 2 and sum(map(tokens_of, items)) > self.limit:
            del items[1:3]
            self.drops += 1
        view.items = items
        return view

    def due(self, ctx: llm.ChatContext) -> list[llm.ChatItem]:
        return []


def add(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--turns", type=int, default=200, metavar="N", help="turns of the conversation (default 200)")
    verb.add_argument("--tokens", type=int, default=0, metavar="T", help="limit of the window (default: as in a call)")
    verb.add_argument("--sliding", action="store_true", help="drop the oldest turn each time instead, to compare")
    verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    times, sent, drops = asyncio.run(converse(args.turns, args.tokens, args.sliding))
    rows = []
    for at in range(0, len(times), BUCKET):
        some, prompts = times[at : at + BUCKET], sent[at : at + BUCKET]
        figures = [f"{percentile(some, q):.0f}" for q in (50, 95)]
        rows.append([f"{at + 1}-{at + len(some)}", len(some), *figures, f"{max(prompts)}"])
    print(markdown(["turns", "n", "first content P50 ms", "P95 ms", "longest prompt (tokens)"], rows))
    how = "a turn dropped each time" if args.sliding else "half of the window dropped at once, and read ahead"
    print(f"\nembedded model, {how}: {drops} times in {len(times)} turns")
    return 0


async def converse(turns: int, tokens: int, sliding: bool) -> tuple[list[float], list[int], int]:
    """(ms to the first content of each turn, prompt tokens of each by the server's count, how often was dropped)."""
    patient = Deadlines(first_content_s=120, stall_s=120, total_s=240)
    end = resolve(LlmConfig(spec="embedded"), provider_key)
    with contextlib.ExitStack() as stack:
        end = stack.enter_context(running(end, models.smollm2))
        mind = ChatLLM(end, deadlines=patient, max_completion_tokens=REPLY_TOKENS, temperature=0.0)
        if sliding or tokens:
            mind.window = (Sliding if sliding else Window)(tokens or mind.window.limit)
        try:
            await mind.warm()
            ctx = llm.ChatContext.empty()
            ctx.add_message(role="system", content="You are a friendly voice assistant. Answer in one short sentence.")
            times, sent = [], []
            for turn in range(turns):
                ctx.add_message(role="user", content=QUESTIONS[turn % len(QUESTIONS)])
                trace, began = GenerationTrace(str(turn)), SYSTEM.now()
                with generation(trace):
                    stream = mind.chat(chat_ctx=ctx)
                answer = await stream.collect()
                times.append((trace.marks["llm_first_content"] - began) * 1000)
                sent.append(int(trace.facts["prompt_tokens"]))
                ctx.add_message(role="assistant", content=answer.text or "Yes.")
                await mind.tidied()
            return times, sent, mind.window.drops
        finally:
            await mind.aclose()
