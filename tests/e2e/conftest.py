"""What end-to-end tests share: the provider that asks for tools."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from .tool_provider import TOOLS, Provider


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    double = Provider()
    app = web.Application()
    app.router.add_get("/v1/models", double.models)
    app.router.add_post("/v1/chat/completions", double.chat)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    double.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield double
    await runner.cleanup()


@pytest.fixture
def tools_file(tmp_path: Path) -> Path:
    path = tmp_path / "office.py"
    path.write_text(TOOLS)
    return path
