"""Start what an endpoint needs: nothing for a remote one, a server on loopback for ``embedded`` and ``sim``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from .endpoints import Endpoint


@contextlib.contextmanager
def running(endpoint: Endpoint, smollm2: Callable[[], Path]) -> Iterator[Endpoint]:
    """The endpoint with an address that answers; what was started for it ends with the block.

    ``smollm2`` gives the embedded model's file and is called for the kind ``embedded`` only. Blocks for about half a
    second where something has to start: call it before the event loop is busy. Raises ModelError.
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
