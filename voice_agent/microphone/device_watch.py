"""Watches the devices of a call: more latency for a device with too many xruns, and reopening of a lost device."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from ..clock import Clock
from ..errors import AudioError, UsageError
from .device_pair import KINDS
from .microphone import Microphone
from .sound_system import Kind
from .xruns import XrunMonitor

WATCH_S = 0.25
STALL_S = 3.0  # no callback for this long: the device is lost, though the sound system does not report it
REPORT_EVERY_S = 10.0  # xruns are reported at most this often
MAX_LATENCY_S = 0.08  # more would be heard in every reply, long after the machine was busy
QUIET_DBFS, QUIET_WAIT_S = -45.0, 5.0  # reopen the devices while nobody speaks, or after this wait at the latest
_NAMES: dict[Kind, str] = {"input": "the microphone", "output": "the loudspeaker"}


class DeviceWatch:
    """``on_event(text)`` gets one line for each event; ``retry_s``: how often a lost device is looked for."""

    def __init__(self, mic: Microphone, on_event: Callable[[str], None], clock: Clock, retry_s: float) -> None:
        self._mic = mic
        self._on_event = on_event
        self._clock = clock
        self._retry_s = retry_s
        self._monitors: dict[Kind, XrunMonitor] = {kind: XrunMonitor() for kind in KINDS}
        self._reported = (0, 0)
        self._reported_at = clock.now() - REPORT_EVERY_S
        self._reset_monitors()

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await asyncio.sleep(WATCH_S)
            xruns, now = self._xruns(), self._clock.now()
            for kind, count in zip(KINDS, xruns, strict=True):
                self._monitors[kind].update(now, count)
            if overloaded := self._overloaded(now):
                await self._raise_latency(overloaded)
            elif xruns != self._reported and now - self._reported_at >= REPORT_EVERY_S:
                self._reported, self._reported_at = xruns, now
                at_most = max(self._mic.devices.latency_s.values()) >= MAX_LATENCY_S
                self._on_event(
                    f"sound was lost: {xruns[0]} times at the microphone, {xruns[1]} times at the loudspeaker"
                    + ("; if it goes on, close other programs or raise audio.latency_ms" if at_most else "")
                )
            if lost := self._mic.lost_devices(STALL_S):
                await self._recover(lost)

    def _xruns(self) -> tuple[int, int]:
        return self._mic.input_xruns, self._mic.output_xruns

    def _reset_monitors(self) -> None:
        for kind, count in zip(KINDS, self._xruns(), strict=True):
            self._monitors[kind].reset(self._clock.now(), count)

    def _overloaded(self, now: float) -> list[Kind]:
        """The devices that need more latency, as soon as reopening them disturbs nobody."""
        latency_s = self._mic.devices.latency_s
        found = {k: m.too_many_since for k, m in self._monitors.items() if latency_s[k] < MAX_LATENCY_S}
        since = {k: at for k, at in found.items() if at is not None}
        quiet = not self._mic.output.playing and self._mic.level_dbfs < QUIET_DBFS
        return list(since) if quiet or any(now - at > QUIET_WAIT_S for at in since.values()) else []

    async def _raise_latency(self, overloaded: list[Kind]) -> None:
        latency_s = self._mic.devices.latency_s
        for kind in overloaded:
            latency_s[kind] = min(MAX_LATENCY_S, 2 * latency_s[kind])
        xruns = self._reported = self._xruns()
        self._reported_at = self._clock.now()
        await self._reopen(refresh=False)
        self._on_event(
            f"sound was lost {xruns[0]} times at the microphone, {xruns[1]} times at the loudspeaker; latency raised: "
            + ", ".join(f"{_NAMES[kind]} is asked for {latency_s[kind] * 1000:.0f} ms" for kind in overloaded)
        )

    async def _recover(self, lost: list[Kind]) -> None:
        chosen = self._mic.devices.chosen
        names = " and ".join(f"{_NAMES[kind]} {chosen[kind].device.name!r}" for kind in sorted(lost))
        self._on_event(f"{names} is gone; the call is paused until it is back or another one is there")
        await self._reopen(refresh=True)
        self._on_event(f"sound is back, the call goes on: {self._mic.description}")

    async def _reopen(self, *, refresh: bool) -> None:
        await self._mic.close_devices()
        self._mic.output.halt()
        while True:
            with contextlib.suppress(AudioError, UsageError):  # not back yet: the user was told, and we try again
                await self._mic.open(reopening=True, refresh=refresh)
                break
            refresh = True
            await asyncio.sleep(self._retry_s)
        self._reset_monitors()
