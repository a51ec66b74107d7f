"""One job of a LiveKit worker: its call is opened, held until LiveKit ends the job, and closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from livekit.agents import JobContext
from livekit.agents.telemetry.metrics import job_ended, job_started

from ..errors import ConfigError
from .call import RoomCall
from .metrics import count_call

log = logging.getLogger("voice_agent.room")


class Job:
    """``open_call()`` opens the call of ``ctx``. ``calls``: where the call is kept while it is held.

    ``ending()``: whether the worker takes no more calls; then an empty room is not waited in.
    """

    def __init__(
        self,
        ctx: JobContext,
        open_call: Callable[[], AbstractAsyncContextManager[RoomCall]],
        calls: set[RoomCall],
        ending: Callable[[], bool],
    ) -> None:
        self._ctx = ctx
        self._open_call = open_call
        self._calls = calls
        self._ending = ending
        self._ended = asyncio.Event()
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Return once the call is under way; it is held until LiveKit ends the job. Raises ConfigError.

        Any other error ends the job, with a line in the log.
        """
        holding = asyncio.create_task(self._hold(), name="call")

        async def end() -> None:
            self._ended.set()
            await holding

        self._ctx.add_shutdown_callback(end)
        try:
            await self._opened
        except ConfigError:
            raise
        except Exception as e:
            log.error("room %s: the call could not begin: %s", self._ctx.job.room.name, e)
            self._ctx.shutdown(reason="the call could not begin")

    async def _hold(self) -> None:
        """One task enters and leaves everything: MCP clients insist on that."""
        job_started()  # LiveKit counts processes, not threads (1.8.9)
        try:
            async with self._open_call() as call:
                self._opened.set_result(None)
                self._calls.add(call)
                if self._ending():
                    call.worker_ends()
                try:
                    await self._ended.wait()
                finally:
                    self._calls.discard(call)
        except Exception as e:
            count_call("failed")
            if self._opened.done():
                log.exception("room %s: the call did not end well", self._ctx.room.name)
            else:
                self._opened.set_exception(e)
        else:
            count_call("ended")
        finally:
            job_ended()
