"""Tools from a Python file: its functions, with docstrings and type hints, as LiveKit function tools.

A plain function is a tool if it is defined in the file and its name does not begin with ``_``. A function decorated
with LiveKit's ``function_tool`` is used as it is. Functions that are not ``async`` run on a thread, so that a slow one
does not delay the audio. If a plain function raises, the model gets the error as the result, and the call goes on.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from livekit.agents import llm
from livekit.agents.llm.utils import build_legacy_openai_schema

from ..errors import ConfigError


def load_tools(paths: Sequence[Path]) -> tuple[llm.Tool | llm.Toolset, ...]:
    """The tools of all files, in the order they stand there. Raises ConfigError: file, line, reason, what to do."""
    found: dict[str, tuple[Path, llm.Tool | llm.Toolset]] = {}
    for path in paths:
        for tool in _tools_of(_module(path), path):
            if tool.id in found and found[tool.id][1] is not tool:
                raise ConfigError(
                    f"{path}: a tool named {tool.id!r} is in {found[tool.id][0]} already; rename one of them"
                )
            found[tool.id] = (path, tool)
    return tuple(tool for _, tool in found.values())


def _module(path: Path) -> ModuleType:
    """Run the file as a module of its own."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; --tools takes a Python file with functions (docs/agent.md)")
    name = f"_voice_agent_tools_{path.stem}_{abs(hash(path.resolve())):x}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path}: is no Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # type hints are looked up there
    folder = str(path.resolve().parent)
    if folder not in sys.path:  # last: the file may import its neighbours, but none of them hides a library
        sys.path.append(folder)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ConfigError(f"{error.filename or path}:{error.lineno}: {error.msg}") from None
    except (Exception, SystemExit) as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        at = f"{path}:{lines[-1]}" if lines else str(path)
        hint = "; install it into this environment" if isinstance(error, ModuleNotFoundError) else ""
        raise ConfigError(f"{at}: {type(error).__name__}: {error}{hint}") from None
    return module


def _tools_of(module: ModuleType, path: Path) -> list[llm.Tool | llm.Toolset]:
    found: list[llm.Tool | llm.Toolset] = []
    for name, value in vars(module).items():
        if isinstance(value, llm.FunctionTool | llm.RawFunctionTool):
            found.append(_off_the_loop(value))
        elif isinstance(value, llm.Toolset):
            found.append(value)
        elif inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_"):
            found.append(_plain(value, path))
    if not found:
        raise ConfigError(f"{path}: holds no tool; write a function with type hints and a docstring (docs/agent.md)")
    return found


def _plain(function: Callable[..., Any], path: Path) -> llm.FunctionTool[..., Any]:
    at = f"{path}:{function.__code__.co_firstlineno}: {function.__name__}()"
    if not (function.__doc__ or "").strip():
        raise ConfigError(
            f"{at} has no docstring, from which the model learns when to call it; write one, or begin its name with _"
        )
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise ConfigError(f"{at}: {parameter} cannot be filled in by a model; use plain named parameters")
        if parameter.annotation is parameter.empty:
            raise ConfigError(f"{at}: {parameter.name} has no type hint; write for example {parameter.name}: str")
    tool = llm.function_tool(_with_tool_errors(function))
    try:
        build_legacy_openai_schema(tool)
    except Exception as error:  # of many types: pydantic has no schema for a hint, or a name does not exist
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{at}: its type hints cannot be described to a model ({reason})") from None
    return tool


def _with_tool_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as a coroutine whose exceptions become ToolErrors: LiveKit hides all others from the model."""

    @functools.wraps(function)
    async def tool(*args: Any, **kwargs: Any) -> Any:
        try:
            if inspect.iscoroutinefunction(function):
                return await function(*args, **kwargs)
            return await asyncio.to_thread(function, *args, **kwargs)
        except (llm.ToolError, llm.StopResponse):
            raise
        except Exception as error:
            raise llm.ToolError(f"{function.__name__} failed: {type(error).__name__}: {error}") from error

    return tool


def _off_the_loop(tool: Any) -> Any:
    """A decorated tool as it is; one that is not ``async`` is moved to a thread."""
    function = inspect.unwrap(tool)
    if inspect.iscoroutinefunction(function):
        return tool

    @functools.wraps(function)
    async def threaded(*args: Any, **kwargs: Any) -> Any:
        result = await asyncio.to_thread(function, *args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    return type(tool)(threaded, tool.info)
