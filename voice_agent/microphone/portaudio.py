"""The sound system through PortAudio (package ``sounddevice``); no other module imports that package."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import AudioError
from .sound_system import DEMO, Callback, Device, Kind, Stream


class PortAudio:
    """The sound system through PortAudio. Raises AudioError if PortAudio is not installed."""

    def __init__(self) -> None:
        try:
            import sounddevice
        except OSError as e:
            raise AudioError(
                f"PortAudio is not installed ({e}); on Debian and Ubuntu: sudo apt install libportaudio2. {DEMO}"
            ) from e
        self._sd = sounddevice
        _silence_alsa()

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
            with _stderr_discarded():
                check(device=device.index, channels=channels, dtype="int16", samplerate=rate)
        except (self._sd.PortAudioError, ValueError):
            return False
        return True

    def open(
        self, device: Device, kind: Kind, *, rate: int, channels: int, block: int, latency_s: float, callback: Callback
    ) -> Stream:
        make = self._sd.RawInputStream if kind == "input" else self._sd.RawOutputStream
        adapt = _input_adapter if kind == "input" else _output_adapter
        stream = _PortAudioStream()
        try:
            with _stderr_discarded():
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
            raise AudioError(_open_error(device, kind, str(e))) from e
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
            with _stderr_discarded():
                self.raw.close(ignore_errors=True)


def _input_adapter(callback: Callback, channels: int) -> Any:
    def take(data: Any, frames: int, times: Any, status: Any) -> None:
        pcm = np.frombuffer(data, np.int16)
        mono = pcm if channels == 1 else pcm[::channels]
        age_s = times.currentTime - times.inputBufferAdcTime if times.inputBufferAdcTime else 0.0
        callback(mono, age_s, bool(status.input_overflow))

    return take


def _output_adapter(callback: Callback, channels: int) -> Any:
    def give(data: Any, frames: int, times: Any, status: Any) -> None:
        pcm = np.frombuffer(data, np.int16)
        until_s = times.outputBufferDacTime - times.currentTime if times.outputBufferDacTime else 0.0
        mono = pcm[::channels]  # a view: writing to it writes to the buffer
        callback(mono, until_s, bool(status.output_underflow))
        for channel in range(1, channels):
            pcm[channel::channels] = mono

    return give


def _open_error(device: Device, kind: Kind, error: str) -> str:
    what = "microphone" if kind == "input" else "loudspeaker"
    other = f"another one can be named with --{kind} (voice-agent devices lists them)"
    if "unavailable" in error.lower() or "-9985" in error:
        return (
            f"{what} {device.name!r} cannot be opened: another program holds it, or it has just been unplugged. Close"
            f" calls, recorders and browser tabs that use it (on Linux, fuser -v /dev/snd/* names them), or: {other}"
        )
    return f"{what} {device.name!r} cannot be opened ({error}); {other}. {DEMO}"


def _silence_alsa() -> None:
    """Stop ALSA from printing every underrun on the terminal: PortAudio reports them as well, and we count them."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        # ALSA needs a C function as handler. This one does nothing, and is not Python: ALSA may call it at any time.
        nothing = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p)
        ctypes.CDLL("libasound.so.2").snd_lib_error_set_handler(nothing)


@contextlib.contextmanager
def _stderr_discarded() -> Iterator[None]:
    """Discard what ALSA and PortAudio write to standard error: our own errors say it. sounddevice does the same."""
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
