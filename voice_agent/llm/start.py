"""Starts the server that an endpoint needs: none for a remote one, one on loopback for ``embedded`` and ``sim``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from .types import Endpoint


@contextlib.contextmanager
def running(endpoint: Endpoint, smollm2: Callable[[], Path]) -> Iterator[Endpoint]:
    """The endpoint with the address of its running server, which stops at the end of the block.

    ``smollm2`` returns the embedded model's file; it is called for the kind ``embedded`` only. Starting a server blocks
    for about half a second: call this before the event loop is busy. Raises ModelError.
    """
    if endpoint.kind == "sim":
        from .local.sim import SimServer

        assert endpoint.sim is not None
        with SimServer(endpoint.sim) as server:
            yield endpoint.at(server.base_url)
    elif endpoint.kind == "embedded":
        from .local.embedded import EmbeddedModel

        with EmbeddedModel.shared(smollm2()) as model:
            yield model.endpoint(endpoint)
    else:
        yield endpoint
