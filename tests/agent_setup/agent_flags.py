"""What the tests of this folder share: flags to an agent, and a tool called as LiveKit calls it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from livekit.agents import llm
from livekit.agents.llm.utils import execute_function_call

from voice_agent.agent_setup.options import AgentOptions, add_agent_flags, load
from voice_agent.commands.common import add_settings, read_config


def options(argv: Sequence[str]) -> AgentOptions:
    parser = argparse.ArgumentParser()
    add_settings(parser)
    add_agent_flags(parser)
    args = parser.parse_args(argv)
    return load(args, read_config(args))


async def called(tools: Sequence[Any], name: str, arguments: str) -> llm.FunctionCallOutput:
    call = llm.FunctionToolCall(name=name, arguments=arguments, call_id="c1")
    result = await execute_function_call(call, llm.ToolContext(tools), call_ctx=None)
    assert result.fnc_call_out is not None
    return result.fnc_call_out
