"""Sound devices: what the sound system offers, and which device a setting selects.

:class:`SoundSystem` is the interface; :class:`~.portaudio.PortAudio` implements it, tests use a double.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ..audio.samples import Int16
from ..errors import AudioError, UsageError

Kind = Literal["input", "output"]
# Called on the sound system's thread for each block: int16 mono samples (input: to read; output: to fill), the age of
# the first sample or the time until it is heard (seconds), and whether samples were lost before this block.
Callback = Callable[[Int16, float, bool], None]

DEMO = "Without sound, hear the recorded demo: voice-agent talk --demo"


@dataclass(frozen=True, slots=True)
class Device:
    """One device of the sound system. ``inputs`` and ``outputs`` count channels; latencies are in seconds."""

    index: int
    name: str
    host_api: str
    inputs: int
    outputs: int
    default_rate_hz: int
    input_latency_s: float = 0.0
    output_latency_s: float = 0.0
    default_input: bool = False
    default_output: bool = False

    def channels(self, kind: Kind) -> int:
        """The number of channels in that direction."""
        return self.inputs if kind == "input" else self.outputs

    def is_default(self, kind: Kind) -> bool:
        """Whether the system uses it when no device is named."""
        return self.default_input if kind == "input" else self.default_output


class Stream(Protocol):
    """A running stream. ``latency_s``: as the sound system reports it."""

    latency_s: float

    @property
    def alive(self) -> bool:
        """False once the device has ended the stream."""

    def close(self) -> None:
        """Stop at once and release the device. May block."""


class SoundSystem(Protocol):
    """The sound system. Every method may block, and raises AudioError if it fails."""

    def devices(self) -> list[Device]: ...

    def supports(self, device: Device, kind: Kind, rate: int, channels: int) -> bool: ...

    def open(
        self, device: Device, kind: Kind, *, rate: int, channels: int, block: int, latency_s: float, callback: Callback
    ) -> Stream: ...

    def refresh(self) -> None:
        """List the devices anew. All streams must be closed."""


def choose(devices: Sequence[Device], kind: Kind, name: str) -> Device:
    """The device that ``name`` selects: an index, a name, a part of a name, or (empty) the default device.

    Raises AudioError if there is no device of that kind, UsageError (with the list) if the name fits none or several.
    """
    fit = [d for d in devices if d.channels(kind)]
    what = "microphone" if kind == "input" else "loudspeaker"
    if not fit:
        raise AudioError(f"no {what} was found; plug one in, or start the sound server. {DEMO}")
    name = name.strip()
    if not name:
        return next((d for d in fit if d.is_default(kind)), fit[0])
    listed = "; ".join(f"{d.index} {d.name}" for d in fit)
    if name.isdecimal():
        found = [d for d in fit if d.index == int(name)]
    else:
        folded = name.casefold()
        found = [d for d in fit if d.name.casefold() == folded] or [d for d in fit if folded in d.name.casefold()]
        if len(found) > 1 and len({d.name for d in found}) == 1:
            # Windows lists a device once for each host API: take the API of the default device.
            main = {d.host_api for d in devices if d.is_default(kind)}
            found = [d for d in found if d.host_api in main] or found[:1]
    if not found:
        raise UsageError(f"no {what} is called {name!r}; there are: {listed}")
    if len(found) > 1:
        several = "; ".join(f"{d.index} {d.name}" for d in found)
        raise UsageError(f"{name!r} fits several {what}s: {several}. Give the index or more of the name")
    return found[0]


def format_for(sound: SoundSystem, device: Device, kind: Kind) -> tuple[int, int]:
    """The (rate in Hz, channels) to open ``device`` with. A microphone: 16 kHz, the rate of the STT, if it can."""
    rates = [16_000, 48_000] if kind == "input" else [48_000, 24_000]
    rates += [r for r in (device.default_rate_hz, 44_100, 32_000) if r not in rates and r % 100 == 0]
    for channels in (1, 2):
        if channels > device.channels(kind):
            break
        for rate in rates:
            if sound.supports(device, kind, rate, channels):
                return rate, channels
    return device.default_rate_hz, 1  # opening it raises the error
