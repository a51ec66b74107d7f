"""Turns as a call gives them, and a child process on a terminal of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.terminal import OnTerminal
from voice_agent.budget.ledger import Mark, Models, Turn, TurnBuilder


def turn(number: int = 1, total_ms: float = 320.0, **changes: object) -> Turn:
    """A turn answered after ``total_ms``: text at 60 ms, model until 100 before the end, 40 ms of voice."""
    builder = TurnBuilder(number, user_text="What time is it?", agent_text="It is nine in the evening.")
    at = 100.0
    builder.models = Models("Simulated", "double-1", "tiny.en", "joe")
    for mark, ms in (
        (Mark.SPEECH_ENDED, 0.0),
        (Mark.TRANSCRIPT_READY, 60.0),
        (Mark.LLM_REQUESTED, 60.0),
        (Mark.LLM_FIRST_CONTENT, total_ms - 100),
        (Mark.CHUNK_READY, total_ms - 90),
        (Mark.TTS_FIRST_AUDIO, total_ms - 50),
        (Mark.TURN_COMMITTED, total_ms - 20),
        (Mark.FIRST_AUDIBLE, total_ms),
    ):
        builder.mark(mark, at + ms / 1000)
    for name, value in changes.items():
        setattr(builder, name, value)
    return builder.build()


def typed_turn(number: int = 1, after_ms: float | None = 250.0) -> Turn:
    """A turn that was typed, and answered ``after_ms`` after Enter (None: not answered)."""
    builder = TurnBuilder(number, user_text="hello by hand", agent_text="Hello.")
    builder.evidence["input"] = "typed"
    builder.mark(Mark.TRANSCRIPT_READY, 50.0)
    builder.mark(Mark.TURN_COMMITTED, 50.0)
    if after_ms is not None:
        builder.mark(Mark.FIRST_AUDIBLE, 50.0 + after_ms / 1000)
    return builder.build()


@pytest.fixture
def make_turn() -> Callable[..., Turn]:
    return turn


@pytest.fixture
def make_typed_turn() -> Callable[..., Turn]:
    return typed_turn


@pytest.fixture
def on_terminal() -> Iterator[Callable[..., OnTerminal]]:
    """Starts processes on terminals; ends them after the test."""
    started: list[OnTerminal] = []

    def start(argv: list[str]) -> OnTerminal:
        started.append(OnTerminal(argv))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def child(tmp_path: Path) -> Callable[[str], list[str]]:
    """Makes a program that shows a call without models; its body is the argument, ``ui`` is there to be used."""

    def program(body: str) -> list[str]:
        path = tmp_path / "child.py"
        path.write_text(
            "import asyncio, os, signal, sys\n"
            "from rich.console import Console\n"
            "from voice_agent.budget.turn_verdict import Budget\n"
            "from voice_agent.talk.events import *\n"
            "from voice_agent.talk.user_interface import run_call\n"
            "from voice_agent.talk.key_input import KeyCommand, TypedLine\n"
            "from voice_agent.talk.plain import JsonSink, PlainSink\n"
            "from voice_agent.talk.live_screen import ScreenSink\n"
            "async def body(ui):\n"
            "    ui.emit(Ready('double-1', 'Simulated', 'tiny.en', 'joe'))\n"
            + "".join(f"    {line}\n" for line in body.splitlines())
            + "sink = ScreenSink(Console(), Budget()) if sys.stdout.isatty() else PlainSink(sys.stdout, Budget())\n"
            "sys.exit(asyncio.run(run_call(body, sink, keys_fd=0)))\n"
        )
        return [sys.executable, str(path)]

    return program
