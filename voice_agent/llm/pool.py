"""Warm connections: no turn waits for a TCP or TLS handshake.

An HTTP/1.1 connection carries one request at a time, and a cancelled stream closes its connection. So a few idle
connections are kept open, and each one that is closed (by a cancelled request or by the server) is replaced in the
background by one cheap request.
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
    """Keeps ``target`` connections to one origin open in ``client``, which sends the requests.

    ``probe_url`` is fetched once for each new connection (the list of models: it costs no tokens).
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
        """Open the missing connections and keep them open. Failures are only logged: the next request reports them."""
        await self.top_up()
        if self._keeper is None and self._target > 0:
            self._keeper = asyncio.create_task(self._keep(), name="llm.pool.keep")

    def replace_soon(self) -> None:
        """A connection was closed: open another one in the background."""
        if self._keeper is None:
            return  # never warmed, or closed
        task = asyncio.create_task(self.top_up(), name="llm.pool.replace")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def replaced(self) -> None:
        """Return when the replacements that are under way have ended."""
        await asyncio.gather(*self._tasks)

    async def aclose(self) -> None:
        """Stop keeping connections; the client closes them."""
        tasks = [*self._tasks, *([self._keeper] if self._keeper is not None else [])]
        self._keeper = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def idle(self) -> int:
        """The number of connections that could take a request now."""
        pool = pool_of(self._client, self._url)
        return sum(c.is_idle() and not c.has_expired() for c in pool.connections) if pool is not None else 0

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            await self.top_up()

    async def top_up(self) -> None:
        """Open the missing connections."""
        async with self._lock:
            missing = self._target - self.idle
            if missing > 0:
                await asyncio.gather(*(self._open_one() for _ in range(missing)))

    async def _open_one(self) -> None:
        pool = pool_of(self._client, self._url)
        if pool is None:
            return
        # The pool would send the probe over an open connection; so it is sent over a new one, which then joins the
        # pool.
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
                self._target = 0  # this server closes each connection after its answer: none can be kept
                await connection.aclose()
