"""The connection pool under an ``httpx2.AsyncClient``, and a connection added to it.

httpx2 (2.16) has no public way to its pool, and httpcore2 none to add a connection to one. Without either, requests are
answered all the same; each may wait for a TCP and TLS handshake.
"""

from __future__ import annotations

import httpcore2
import httpx2

from .symbols import Symbol

_COLD = "connections to the model are not kept warm"
TRANSPORT_FOR_URL = Symbol("httpx2", "httpx2", "AsyncClient._transport_for_url", _COLD)
POOL = Symbol("httpx2", "httpx2", "AsyncHTTPTransport._pool", _COLD, set_in="__init__")
CONNECTIONS = Symbol("httpcore2", "httpcore2", "AsyncConnectionPool._connections", _COLD, set_in="__init__")


class WrappingTransport(httpx2.AsyncBaseTransport):
    """A transport that sends its requests through another one, :attr:`inner`."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self.inner = inner


def pool_of(client: httpx2.AsyncClient, url: httpx2.URL) -> httpcore2.AsyncConnectionPool | None:
    """The pool that serves ``url``; None for a transport without one, such as a test's."""
    if TRANSPORT_FOR_URL.find() is None:
        return None
    transport = client._transport_for_url(url)
    while isinstance(transport, WrappingTransport):
        transport = transport.inner
    if not isinstance(transport, httpx2.AsyncHTTPTransport):
        return None
    pool = getattr(transport, "_pool", None)
    if not isinstance(pool, httpcore2.AsyncConnectionPool):
        POOL.missing()
        return None
    return pool


def add(pool: httpcore2.AsyncConnectionPool, connection: httpcore2.AsyncConnectionInterface) -> bool:
    """Give ``pool`` an open connection. False if it takes none; then the connection is the caller's to close."""
    connections = getattr(pool, "_connections", None)
    if not isinstance(connections, list):
        CONNECTIONS.missing()
        return False
    connections.append(connection)
    return True
