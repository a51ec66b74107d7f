"""The connection pool under an httpx2 client, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import httpcore2
import httpx2
import pytest

from voice_agent.livekit_compat import httpx_pool
from voice_agent.livekit_compat.httpx_pool import WrappingTransport, add, pool_of
from voice_agent.livekit_compat.symbols import Symbol


class Through(WrappingTransport):
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await self.inner.handle_async_request(request)


@pytest.fixture
async def server() -> AsyncIterator[tuple[httpx2.URL, set[int]]]:
    """Keeps its connections open: its address, and the ports that have asked it for something."""
    ports: set[int] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            ports.add(writer.get_extra_info("peername")[1])
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        yield httpx2.URL(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"), ports


async def opened(pool: httpcore2.AsyncConnectionPool, url: httpx2.URL) -> httpcore2.AsyncConnectionInterface:
    request = httpcore2.Request("GET", httpcore2.URL(str(url)), headers=[(b"Host", b"test")])
    connection = pool.create_connection(request.url.origin)
    response = await connection.handle_async_request(request)
    await response.aread()
    await response.aclose()
    return connection


@pytest.mark.parametrize("wrapped", [False, True])
async def test_a_request_goes_over_the_connection_that_was_added(
    server: tuple[httpx2.URL, set[int]], wrapped: bool
) -> None:
    url, ports = server
    transport: httpx2.AsyncBaseTransport = httpx2.AsyncHTTPTransport()
    async with httpx2.AsyncClient(transport=Through(transport) if wrapped else transport) as client:
        pool = pool_of(client, url)
        assert pool is not None
        connection = await opened(pool, url)
        assert add(pool, connection)
        assert pool.connections == [connection]
        known = set(ports)
        assert len(known) == 1
        assert (await client.get(url)).text == "ok"
        assert ports == known
        if wrapped:
            await transport.aclose()


async def test_a_transport_of_ones_own_has_no_pool(warnings: Callable[[], list[str]]) -> None:
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(lambda _: httpx2.Response(200))) as client:
        assert pool_of(client, httpx2.URL("http://test/")) is None
    assert warnings() == []


async def test_without_the_way_to_the_pool_nothing_is_kept_warm_and_requests_are_answered(
    server: tuple[httpx2.URL, set[int]],
    monkeypatch: pytest.MonkeyPatch,
    warnings: Callable[[], list[str]],
) -> None:
    url, _ = server
    async with httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport()) as client:
        pool = pool_of(client, url)
        assert pool is not None
        connection = await opened(pool, url)
        connections, pool._connections = pool._connections, ()  # type: ignore[assignment]
        assert not add(pool, connection)
        pool._connections = connections
        await connection.aclose()
        assert [httpx_pool.CONNECTIONS.name in message for message in warnings()] == [True]
        with monkeypatch.context() as patched:
            patched.setattr(client._transport_for_url(url), "_pool", object())
            assert pool_of(client, url) is None
        assert [httpx_pool.POOL.name in message for message in warnings()] == [False, True]
        assert (await client.get(url)).text == "ok"


async def test_without_the_choice_of_transports_there_is_no_pool(
    without: Callable[[Symbol], None], warnings: Callable[[], list[str]]
) -> None:
    async with httpx2.AsyncClient() as client:
        without(httpx_pool.TRANSPORT_FOR_URL)
        assert pool_of(client, httpx2.URL("http://test/")) is None
        assert pool_of(client, httpx2.URL("http://test/")) is None
        assert len(warnings()) == 1
