"""The two devices of a call: which ones are chosen, with which latency they are opened, and their streams."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

from ..config import AudioConfig
from ..errors import AudioError, UsageError
from .sound_system import Callback, Device, Kind, SoundSystem, Stream, choose, format_for

KINDS: tuple[Kind, Kind] = ("input", "output")
BLOCKS_PER_S = 100


@dataclass(frozen=True, slots=True)
class ChosenDevice:
    """A device and the format to open it with."""

    device: Device
    rate_hz: int
    channels: int


class DevicePair:
    """Chooses, opens and closes the devices. Its methods block; only one thread may be in them at a time."""

    def __init__(self, settings: AudioConfig, sound_system: SoundSystem) -> None:
        self._settings = settings
        self._sound_system = sound_system
        self._first_defaults: dict[Kind, str] = {}
        self.latency_s: dict[Kind, float] = dict.fromkeys(KINDS, settings.latency_ms / 1000)
        self.chosen: dict[Kind, ChosenDevice] = {}
        self.streams: dict[Kind, Stream] = {}

    def choose(self, *, reopening: bool, refresh: bool) -> dict[Kind, ChosenDevice]:
        """The devices that the settings select. ``refresh``: list the devices anew first.

        ``reopening``: a device was lost. If it is not there, another default than the first one may replace it.
        Raises AudioError or UsageError if there is no such device.
        """
        if refresh:
            self._sound_system.refresh()
        devices = self._sound_system.devices()
        found = {kind: self._choose(devices, kind, reopening) for kind in KINDS}
        if not reopening:
            self._first_defaults = {kind: choose(devices, kind, "").name for kind in KINDS}
        return {k: ChosenDevice(d, *format_for(self._sound_system, d, k)) for k, d in found.items()}

    def _choose(self, devices: list[Device], kind: Kind, reopening: bool) -> Device:
        try:
            return choose(devices, kind, self._settings.input if kind == "input" else self._settings.output)
        except (AudioError, UsageError):
            default = choose(devices, kind, "")
            if reopening and default.name != self._first_defaults.get(kind):
                return default
            raise

    def open(self, chosen: dict[Kind, ChosenDevice], callbacks: Mapping[Kind, Callback]) -> None:
        """Open both streams, in blocks of 10 ms. Raises AudioError, with no stream left open."""
        streams: dict[Kind, Stream] = {}
        try:
            for kind in ("output", "input"):
                one = chosen[kind]
                streams[kind] = self._sound_system.open(
                    one.device,
                    kind,
                    rate=one.rate_hz,
                    channels=one.channels,
                    block=one.rate_hz // BLOCKS_PER_S,
                    latency_s=self.latency_s[kind],
                    callback=callbacks[kind],
                )
        except BaseException:
            _close(streams)
            raise
        self.streams, self.chosen = streams, chosen

    def close(self) -> None:
        """Close both streams; more than once does nothing."""
        streams, self.streams = self.streams, {}
        _close(streams)


def _close(streams: Mapping[Kind, Stream]) -> None:
    for stream in streams.values():
        with contextlib.suppress(Exception):  # a device that was unplugged cannot be closed properly
            stream.close()
