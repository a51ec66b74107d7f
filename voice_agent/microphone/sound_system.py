"""Sound devices: which there are, which one is meant, and the streams on them.

:class:`SoundSystem` is the seam to the sound system; :class:`PortAudio` is the real one (``sounddevice``), and the only
place that knows it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from rich.table import Table
from rich.text import Text

from ..audio.samples import Int16
from ..errors import AudioError, UsageError

Kind = Literal["input", "output"]
# One block of mono samples (to be read, or to be filled); the age of its first sample, or how long until it is heard,
# in seconds; whether sound was lost before it. Runs on the sound system's thread.
Callback = Callable[[Int16, float, bool], None]

RATES = (16_000, 24_000, 44_100, 48_000)
DEMO = "Without sound, hear the recorded demo: voice-agent talk --demo"


@dataclass(frozen=True, slots=True)
class Device:
    """One device as the sound system lists it. ``inputs``, ``outputs``: channels; latencies in seconds."""

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
        """How many channels it has in that direction."""
        return self.inputs if kind == "input" else self.outputs

    def is_default(self, kind: Kind) -> bool:
        """Whether the system takes it when none is named."""
        return self.default_input if kind == "input" else self.default_output


class Stream(Protocol):
    """A running stream. ``latency_s`` as the sound system reports it."""

    latency_s: float

    @property
    def alive(self) -> bool:
        """False once the device has ended it."""

    def close(self) -> None:
        """Stop at once and let go of the device. May block."""


class SoundSystem(Protocol):
    """The sound system. Everything here may block; AudioError where it cannot be done."""

    def devices(self) -> list[Device]: ...

    def supports(self, device: Device, kind: Kind, rate: int, channels: int) -> bool: ...

    def open(
        self, device: Device, kind: Kind, *, rate: int, channels: int, block: int, latency_s: float, callback: Callback
    ) -> Stream: ...

    def refresh(self) -> None:
        """Look anew at what is plugged in. All streams must be closed."""


def choose(devices: Sequence[Device], kind: Kind, wanted: str) -> Device:
    """The device that ``wanted`` means: an index, a name or a part of one, or (empty) the default.

    Raises AudioError where there is no such device at all, UsageError (with the list) for a name that fits none or
    several.
    """
    fit = [d for d in devices if d.channels(kind)]
    what = "microphone" if kind == "input" else "loudspeaker"
    if not fit:
        raise AudioError(f"no {what} was found; plug one in, or start the sound server. {DEMO}")
    wanted = wanted.strip()
    if not wanted:
        return next((d for d in fit if d.is_default(kind)), fit[0])
    listed = "; ".join(f"{d.index} {d.name}" for d in fit)
    if wanted.isdecimal():
        found = [d for d in fit if d.index == int(wanted)]
    else:
        name = wanted.casefold()
        found = [d for d in fit if d.name.casefold() == name] or [d for d in fit if name in d.name.casefold()]
        if len(found) > 1 and len({d.name for d in found}) == 1:
            # The same device under several host APIs (Windows): the one whose API holds the default.
            main = {d.host_api for d in devices if d.is_default(kind)}
            found = [d for d in found if d.host_api in main] or found[:1]
    if not found:
        raise UsageError(f"no {what} is called {wanted!r}; there are: {listed}")
    if len(found) > 1:
        several = "; ".join(f"{d.index} {d.name}" for d in found)
        raise UsageError(f"{wanted!r} fits several {what}s: {several}. Give the index or more of the name")
    return found[0]


def format_for(sound: SoundSystem, device: Device, kind: Kind) -> tuple[int, int]:
    """The (rate, channels) to open ``device`` with. A microphone at the ears' 16 kHz where the system can do it."""
    rates = [16_000, 48_000] if kind == "input" else [48_000, 24_000]
    rates += [r for r in (device.default_rate_hz, 44_100, 32_000) if r not in rates and r % 100 == 0]
    for channels in (1, 2):
        if channels > device.channels(kind):
            break
        for rate in rates:
            if sound.supports(device, kind, rate, channels):
                return rate, channels
    return device.default_rate_hz, 1  # opening it will say what is wrong


@dataclass(frozen=True, slots=True)
class DeviceRates:
    """One line of :func:`listing`: a device, and which of ``RATES`` it takes, by direction."""

    device: Device
    rates_hz: dict[Kind, list[int]]


def listing(sound: SoundSystem) -> list[DeviceRates]:
    """Every device and the rates that work. Raises AudioError if there is none."""
    devices = sound.devices()
    if not devices:
        raise AudioError(f"no sound device was found; plug one in, or start the sound server. {DEMO}")
    kinds: tuple[Kind, Kind] = ("input", "output")
    return [
        DeviceRates(d, {k: [r for r in RATES if sound.supports(d, k, r, 1)] for k in kinds if d.channels(k)})
        for d in devices
    ]


def table(rows: Sequence[DeviceRates]) -> Table:
    """The listing for people. One line a device and direction, so that it fits 80 columns."""
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


class PortAudio:
    """The real sound system. Raises AudioError if PortAudio is not installed."""

    def __init__(self) -> None:
        try:
            import sounddevice
        except OSError as e:
            raise AudioError(
                f"PortAudio is not installed ({e}); on Debian and Ubuntu: sudo apt install libportaudio2. {DEMO}"
            ) from e
        self._sd = sounddevice
        _hush_alsa()

    def devices(self) -> list[Device]:
        apis = self._sd.query_hostapis()
        default_in, default_out = self._sd.default.device
        return [
            Device(
                index=d["index"],
                name=d["name"],
                host_api=apis[d["hostapi"]]["name"],
                inputs=d["max_input_channels"],
                outputs=d["max_output_channels"],
                default_rate_hz=round(d["default_samplerate"]),
                input_latency_s=d["default_low_input_latency"],
                output_latency_s=d["default_low_output_latency"],
                default_input=d["index"] == default_in,
                default_output=d["index"] == default_out,
            )
            for d in self._sd.query_devices()
        ]

    def supports(self, device: Device, kind: Kind, rate: int, channels: int) -> bool:
        check = self._sd.check_input_settings if kind == "input" else self._sd.check_output_settings
        try:
            with _quiet():
                check(device=device.index, channels=channels, dtype="int16", samplerate=rate)
        except (self._sd.PortAudioError, ValueError):
            return False
        return True

    def open(
        self, device: Device, kind: Kind, *, rate: int, channels: int, block: int, latency_s: float, callback: Callback
    ) -> Stream:
        make = self._sd.RawInputStream if kind == "input" else self._sd.RawOutputStream
        adapt = _taking if kind == "input" else _giving
        stream = _PortAudioStream()
        try:
            with _quiet():
                raw = make(
                    device=device.index,
                    samplerate=rate,
                    channels=channels,
                    dtype="int16",
                    blocksize=block,
                    latency=latency_s,
                    callback=adapt(callback, channels),
                    finished_callback=stream.finished,
                )
                stream.raw = raw
                stream.latency_s = float(raw.latency)
                raw.start()
        except (self._sd.PortAudioError, ValueError) as e:
            stream.close()
            raise AudioError(_why(device, kind, str(e))) from e
        return stream

    def refresh(self) -> None:
        # PortAudio lists the devices once, when it is initialised; sounddevice has no public name for doing it again.
        with contextlib.suppress(self._sd.PortAudioError):
            self._sd._terminate()
        try:
            self._sd._initialize()
        except self._sd.PortAudioError as e:
            raise AudioError(f"the sound system does not start: {e}") from e


class _PortAudioStream:
    def __init__(self) -> None:
        self.raw: Any = None
        self.latency_s = 0.0
        self._ended = False

    def finished(self) -> None:
        self._ended = True

    @property
    def alive(self) -> bool:
        return not self._ended

    def close(self) -> None:
        if self.raw is not None:
            with _quiet():
                self.raw.close(ignore_errors=True)


def _taking(callback: Callback, channels: int) -> Any:
    def take(data: Any, frames: int, times: Any, status: Any) -> None:
        pcm = np.frombuffer(data, np.int16)
        mono = pcm if channels == 1 else pcm[::channels]
        age_s = times.currentTime - times.inputBufferAdcTime if times.inputBufferAdcTime else 0.0
        callback(mono, age_s, bool(status.input_overflow))

    return take


def _giving(callback: Callback, channels: int) -> Any:
    def give(data: Any, frames: int, times: Any, status: Any) -> None:
        pcm = np.frombuffer(data, np.int16)
        until_s = times.outputBufferDacTime - times.currentTime if times.outputBufferDacTime else 0.0
        mono = pcm[::channels]  # a view: what is written to it is in the buffer
        callback(mono, until_s, bool(status.output_underflow))
        for channel in range(1, channels):
            pcm[channel::channels] = mono

    return give


def _why(device: Device, kind: Kind, error: str) -> str:
    what = "microphone" if kind == "input" else "loudspeaker"
    other = f"another one can be named with --{kind} (voice-agent devices lists them)"
    if "unavailable" in error.lower() or "-9985" in error:
        return (
            f"{what} {device.name!r} cannot be opened: another program holds it, or it has just been unplugged. Close"
            f" calls, recorders and browser tabs that use it (on Linux, fuser -v /dev/snd/* names them), or: {other}"
        )
    return f"{what} {device.name!r} cannot be opened ({error}); {other}. {DEMO}"


def _hush_alsa() -> None:
    """ALSA prints every underrun on the terminal. PortAudio reports them too, and we count them: that is enough."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        # It wants a C function to call; one that does nothing, and is no Python (it may be called at any time).
        nothing = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p)
        ctypes.CDLL("libasound.so.2").snd_lib_error_set_handler(nothing)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """ALSA and PortAudio write what they meet to the terminal; our errors say it. As sounddevice does it itself."""
    try:
        saved = os.dup(2)
    except OSError:
        yield
        return
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
