from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from voice_agent.web.children import Child, ChildError


async def python(code: str, *, ready: str | None = None, lines: list[str] | None = None) -> Child:
    kept = [] if lines is None else lines
    pattern = None if ready is None else re.compile(ready)
    return await Child.start("helper", [sys.executable, "-u", "-c", code], on_line=kept.append, ready=pattern)


def alive(pid: int) -> bool:
    """Whether a process runs. One that has ended but was not waited for counts as ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return not Path("/proc").is_dir()


async def until_gone(pid: int) -> None:
    async with asyncio.timeout(20):
        while alive(pid):  # noqa: ASYNC110 - a process that is not our child reports to nobody
            await asyncio.sleep(0.02)


async def test_its_lines_are_read_and_one_of_them_says_ready() -> None:
    lines: list[str] = []
    child = await python(
        "print('loading'); print('registered as X'); import time; time.sleep(60)", ready="^registered", lines=lines
    )
    async with asyncio.timeout(20):
        await child.ready.wait()
    assert lines == ["loading", "registered as X"]
    await child.stop(5.0)
    assert not child.running


async def test_one_that_ends_says_why() -> None:
    child = await python("import sys; print('the model is missing'); sys.exit(3)")
    assert await child.ended() == 3
    await child.stop(1.0)
    failure = str(child.failure())
    assert "helper ended with code 3" in failure
    assert "the model is missing" in failure


async def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(ChildError, match="no-such-program"):
        await Child.start("helper", ["/nowhere/no-such-program"])


async def test_one_that_does_not_listen_is_ended_with_all_that_it_started() -> None:
    lines: list[str] = []
    deaf = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); print(p.pid); time.sleep(600)"
    )
    child = await python(deaf, ready=r"^\d+$", lines=lines)
    async with asyncio.timeout(20):
        await child.ready.wait()
    grandchild = int(lines[0])
    assert alive(grandchild)
    await child.stop(0.2)
    assert not child.running
    await until_gone(grandchild)


async def test_a_line_without_end_does_no_harm() -> None:
    lines: list[str] = []
    child = await python("print('x' * 3_000_000); print('after')", lines=lines)
    await child.ended()
    await child.stop(1.0)
    assert lines[-1] == "after"
