"""MCP servers by address or command, connected before the conversation starts.

The client is LiveKit's (``livekit.agents.llm.mcp``), which needs the optional package ``mcp``.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO, cast
from urllib.parse import urlsplit

from ..errors import ConfigError, ToolServerError

if TYPE_CHECKING:
    from livekit.agents.llm.mcp import MCPServer, MCPToolset

CONNECT_TIMEOUT_S = 20.0
CALL_TIMEOUT_S = 30.0
MISSING = "MCP servers need the package mcp; install it with: pip install 'voice-agent[mcp]'"


def server(spec: str) -> MCPServer:
    """``http(s)://...`` (streamable HTTP; SSE if the path ends with ``/sse``), or a command line that speaks on stdio.

    Nothing is started yet. Raises ConfigError: no such command, no such address, package ``mcp`` missing.
    """
    try:
        from livekit.agents.llm import mcp
    except ImportError:
        raise ConfigError(MISSING) from None
    if "://" in spec:
        parts = urlsplit(spec)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"--mcp: {_public(spec)} is no address of an MCP server; http:// or https:// is")
        sse = parts.path.rstrip("/").endswith("/sse")
        return mcp.MCPServerHTTP(
            spec,
            transport_type="sse" if sse else "streamable_http",
            client_session_timeout_seconds=CALL_TIMEOUT_S,
        )
    try:
        words = shlex.split(spec)
    except ValueError as error:
        raise ConfigError(f"--mcp {spec}: {error}; quote the command as for a shell") from None
    if not words:
        raise ConfigError("--mcp wants an address (https://...) or a command line, such as 'uvx mcp-server-time'")
    if shutil.which(words[0]) is None:
        raise ConfigError(f"--mcp: the command {words[0]} is not found; install it, or give its full path")
    return _stdio(words)


def _stdio(words: list[str]) -> MCPServer:
    from livekit.agents.llm import mcp
    from mcp.client.stdio import StdioServerParameters, stdio_client

    class Stdio(mcp.MCPServerStdio):
        """Keeps the server's standard error off the screen, for the error message if it does not start."""

        def __init__(self) -> None:
            super().__init__(words[0], words[1:], client_session_timeout_seconds=CALL_TIMEOUT_S)
            self.said = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  # lives as long as the server

        def client_streams(self) -> Any:
            parameters = StdioServerParameters(command=self.command, args=self.args, env=self.env, cwd=self.cwd)
            return stdio_client(parameters, errlog=cast(TextIO, self.said))

    return Stdio()


def describe(one: MCPServer) -> str:
    """The server's address or command, without the parts of an address that may hold a secret."""
    if (url := getattr(one, "url", None)) is not None:
        return _public(url)
    return str(getattr(one, "command", type(one).__name__))


def _public(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"


@contextlib.asynccontextmanager
async def connected(servers: Sequence[MCPServer], notes: list[str]) -> AsyncIterator[list[MCPToolset]]:
    """The servers' tools as LiveKit toolsets; one line a server is added to ``notes``. All are closed with the block.

    Raises ToolServerError if one does not answer.
    """
    if not servers:
        yield []
        return
    from livekit.agents.llm.mcp import MCPToolset

    toolsets: list[MCPToolset] = []
    try:
        for number, one in enumerate(servers, 1):
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    toolset = await MCPToolset(id=f"mcp_{number}", mcp_server=one).setup()
            except (Exception, asyncio.CancelledError) as error:
                task = asyncio.current_task()
                if isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling()):
                    raise
                raise ToolServerError(_why(one, error)) from None
            toolsets.append(toolset)
            names = ", ".join(tool.id for tool in toolset.tools if hasattr(tool, "info"))
            notes.append(f"MCP server {describe(one)}: {names or 'no tools'}")
        yield toolsets
    finally:
        for one in servers:
            with contextlib.suppress(Exception):  # the call is over, and the server may be gone already
                await one.aclose()
            if (said := getattr(one, "said", None)) is not None:
                said.close()


def _why(one: MCPServer, error: BaseException) -> str:
    where = describe(one)
    said = getattr(one, "said", None)
    if isinstance(error, TimeoutError):
        return f"MCP server {where} did not answer within {CONNECT_TIMEOUT_S:g} s; check that it is one, and runs"
    reason = _innermost(error)
    if said is not None:
        said.seek(0)
        lines = [line.strip() for line in said.read().splitlines() if line.strip()]
        last = f' (it said: "{lines[-1][:200]}")' if lines else ""
        return f"MCP server {where} did not start: {reason}{last}; run the command by itself to see why"
    return f"MCP server {where} could not be reached: {reason}; check the address, and that the server runs"


def _innermost(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    words = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
