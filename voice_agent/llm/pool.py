"""Warm connections: a turn never waits for a TCP or TLS handshake.

HTTP/1.1 carries one request a connection, and a cancelled stream closes its own. So a few idle connections are kept
ready, and each that goes (cancelled, or closed by the server) is replaced in the background by one cheap request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

import httpcore2
import httpx2

from ..livekit_compat.httpx_pool import add, pool_of

logger = logging.getLogger(__name__)

CHECK_EVERY_S = 10.0
_PROBE_TIMEOUT_S = 10.0


class WarmPool:
    """Keeps ``target`` connections to one origin open in ``client``, which serves the requests.

    ``probe_url`` is fetched once for each connection that is opened (a list of models: it costs no tokens).
    """

    def __init__(self, client: httpx2.AsyncClient, probe_url: str, headers: dict[str, str], target: int) -> None:
        self._client = client
        self._url = httpx2.URL(probe_url)
        self._headers = headers
        self._target = target
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    async def warm(self) -> None:
        """Open what is missing, and from now on keep it so. Failures are logged: the real request will tell."""
        await self._top_up()
        if self._keeper is None and self._target > 0:
            self._keeper = asyncio.create_task(self._keep(), name="llm.pool.keep")

    def replace_soon(self) -> None:
        """A connection has gone: open another one in the background."""
        if self._keeper is None:
            return  # never warmed, or closed
        task = asyncio.create_task(self._top_up(), name="llm.pool.replace")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        tasks = [*self._tasks, *([self._keeper] if self._keeper is not None else [])]
        self._keeper = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def idle(self) -> int:
        """Connections that could take a request now."""
        pool = pool_of(self._client, self._url)
        return sum(c.is_idle() and not c.has_expired() for c in pool.connections) if pool is not None else 0

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            await self._top_up()

    async def _top_up(self) -> None:
        async with self._lock:
            missing = self._target - self.idle
            if missing > 0:
                await asyncio.gather(*(self._open_one() for _ in range(missing)))

    async def _open_one(self) -> None:
        pool = pool_of(self._client, self._url)
        if pool is None:
            return
        # Asked of the pool, the probe would be sent over a connection that is open already; so it is sent over a
        # new one, which then joins the pool.
        request = self._client.build_request("GET", self._url, headers=self._headers)
        probe = httpcore2.Request(
            request.method,
            httpcore2.URL(str(self._url)),
            headers=request.headers.raw,
            extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), _PROBE_TIMEOUT_S)},
        )
        connection = pool.create_connection(probe.url.origin)
        try:
            response = await connection.handle_async_request(probe)
            await response.aread()
            await response.aclose()
        except (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError) as error:
            logger.debug("no warm connection to %s: %s", self._url.host, type(error).__name__)
            await connection.aclose()
        except BaseException:
            with contextlib.suppress(httpcore2.NetworkError):
                await connection.aclose()
            raise
        else:
            if not connection.is_idle() or not add(pool, connection):
                self._target = 0  # this server ends each connection after its answer: nothing can be kept
                await connection.aclose()
