"""Tools from Python files: schemas, threads, errors, and what is refused in which words."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import llm

from voice_agent.agent_setup.tool_files import load_tools
from voice_agent.errors import ConfigError

from .agent_flags import called


def test_the_schema_that_the_model_gets(desk: Path) -> None:
    schema = {f["function"]["name"]: f["function"] for f in _schemas(desk)}
    assert schema["fine_for"]["description"].strip() == "The fine for a book that is late."
    fine = schema["fine_for"]["parameters"]
    assert fine["properties"]["days"]["type"] == "integer"
    assert fine["properties"]["days"]["description"] == "how many days late the book is"
    assert fine["required"] == ["days"]
    assert set(schema["renew"]["parameters"]["properties"]) == {"title"}


async def test_functions_that_are_not_async_run_on_a_thread(desk: Path) -> None:
    tools = load_tools([desk])
    for name, arguments in (("fine_for", '{"days": 3}'), ("shelf", '{"title": "Emma"}')):
        out = await called(tools, name, arguments)
        assert not out.is_error
        assert threading.main_thread().name not in out.output
    assert "anybody pays 30 pence" in (await called(tools, "fine_for", '{"days": 3}')).output


async def test_the_model_gets_what_a_tool_raises(desk: Path) -> None:
    out = await called(load_tools([desk]), "burn", '{"title": "Emma"}')
    assert out.is_error
    assert out.output == "burn failed: LookupError: no book called Emma"


async def test_a_slow_function_does_not_block_the_loop(tmp_path: Path) -> None:
    path = tmp_path / "slow.py"
    path.write_text(
        "import threading\ngo = threading.Event()\n"
        'def wait() -> str:\n    """Waits."""\n    assert go.wait(20)\n    return "done"\n'
    )
    (tool,) = load_tools([path])
    call = asyncio.ensure_future(called([tool], "wait", "{}"))
    await asyncio.sleep(0.05)  # the loop runs meanwhile, else this would never end
    assert not call.done()
    sys.modules[tool.__module__].go.set()
    assert (await call).output == "done"


@pytest.mark.parametrize(
    ("source", "line", "said"),
    [
        ("x = 1\ndef f(:\n", 2, "invalid syntax"),
        ("import nothing_of_this_name\n", 1, "ModuleNotFoundError"),
        ("\n\n1 / 0\n", 3, "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)\n", 1, "SystemExit: 3"),
        ("def f(a: int) -> int:\n    return a\n", 1, "f() has no docstring"),
        ('\ndef f(a) -> int:\n    """F."""\n    return a\n', 2, "a has no type hint"),
        ('def f(*a: int) -> int:\n    """F."""\n    return 1\n', 1, "*a: int cannot be filled in"),
        ('def f(a: "Nowhere") -> int:\n    """F."""\n    return 1\n', 1, "cannot be described to a model"),
    ],
)
def test_a_broken_file(tmp_path: Path, source: str, line: int, said: str) -> None:
    path = tmp_path / "tools.py"
    path.write_text(source)
    with pytest.raises(ConfigError) as refused:
        load_tools([path])
    assert str(refused.value).startswith(f"{path}:{line}: ")
    assert said in str(refused.value)


def test_no_tool_in_it_and_the_same_name_twice(tmp_path: Path, desk: Path) -> None:
    empty, again = tmp_path / "empty.py", tmp_path / "again.py"
    empty.write_text("import json\n_x = 1\n")
    again.write_text('def renew(a: str) -> str:\n    """R."""\n    return a\n')
    with pytest.raises(ConfigError, match="holds no tool"):
        load_tools([empty])
    with pytest.raises(ConfigError, match=r"again\.py: a tool named 'renew' is in .*desk\.py already"):
        load_tools([desk, again])
    with pytest.raises(ConfigError, match="no such file"):
        load_tools([tmp_path / "nowhere.py"])


def _schemas(path: Path) -> list[dict[str, Any]]:
    return llm.ToolContext(load_tools([path])).parse_function_tools("openai", strict=False)
