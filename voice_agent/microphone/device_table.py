"""What ``voice-agent devices`` shows: every device and the sample rates that work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from ..errors import AudioError
from .sound_system import DEMO, Device, Kind, SoundSystem

RATES = (16_000, 24_000, 44_100, 48_000)


@dataclass(frozen=True, slots=True)
class DeviceRates:
    """A device, and for each of its directions the rates of ``RATES`` that work (Hz)."""

    device: Device
    rates_hz: dict[Kind, list[int]]


def listing(sound: SoundSystem) -> list[DeviceRates]:
    """Every device with the rates that work. Raises AudioError if there is no device."""
    devices = sound.devices()
    if not devices:
        raise AudioError(f"no sound device was found; plug one in, or start the sound server. {DEMO}")
    kinds: tuple[Kind, Kind] = ("input", "output")
    return [
        DeviceRates(d, {k: [r for r in RATES if sound.supports(d, k, r, 1)] for k in kinds if d.channels(k)})
        for d in devices
    ]


def table(rows: Sequence[DeviceRates]) -> Table:
    """The listing as a table of 80 columns, one row for each device and direction."""
    shown = Table(box=None, pad_edge=False)
    for name in ("", "name", "host api", "direction", "ch", "kHz that work", "latency", ""):
        shown.add_column(name, no_wrap=name != "name", overflow="fold")
    for row in rows:
        for kind, rates in row.rates_hz.items():
            device = row.device
            latency_s = device.input_latency_s if kind == "input" else device.output_latency_s
            shown.add_row(
                str(device.index),
                Text(device.name),
                Text(device.host_api),
                kind,
                str(device.channels(kind)),
                " ".join(f"{rate / 1000:g}" for rate in rates) or "none",
                f"{latency_s * 1000:.0f} ms",
                "default" if device.is_default(kind) else "",
            )
    return shown
