"""Both audio devices of a call, open: the microphone as LiveKit's AudioInput, the loudspeaker as its AudioOutput.

PortAudio's callbacks only copy samples between a device and a ring. Each callback of the microphone wakes the event
loop, where :meth:`Microphone._pump` does the rest: 100 times a second, 31 times while nobody speaks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from ..audio.samples import Int16
from ..audio.timeline import Timeline
from ..clock import Clock
from ..config import AudioConfig
from .audio_processing import AudioProcessing
from .call_recording import CallRecording
from .capture import SILENT_DBFS, AudioFrontEnd, Capture, MicrophoneInput
from .device_pair import DevicePair
from .player import Player
from .sound_system import Kind, SoundSystem
from .speaker import SpeakerOutput


class Microphone:
    """Made by :func:`~.open_microphone.open_microphone`. ``input`` and ``output`` go into the session."""

    def __init__(
        self,
        settings: AudioConfig,
        sound_system: SoundSystem,
        *,
        on_audible: Callable[[float], None],
        on_gaps: Callable[[int, float], None],
        record: Path | None,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._wake_pending = False
        self._earlier_xruns = [0, 0]
        self._front_end: AudioFrontEnd | None = None
        self._player = Player(48_000, clock)
        self._muted = False
        self._resting = False
        self.devices = DevicePair(settings, sound_system)
        self.recording = CallRecording(record, clock)
        self.input = MicrophoneInput()
        self.output = SpeakerOutput(self._player, clock, on_audible=on_audible, on_gaps=on_gaps, on_played=self._played)

    # --- state --------------------------------------------------------------------------------------------------------

    @property
    def muted(self) -> bool:
        """Muted: the input's frames are silence; their times go on."""
        return self._muted

    @muted.setter
    def muted(self, value: bool) -> None:
        self._muted = value
        if self._front_end is not None:
            self._front_end.muted = value

    @property
    def resting(self) -> bool:
        """Resting: nobody speaks or thinks. The input's frames are then whole windows of the VAD, a third as many.

        The VAD detects speech no later for it: it works on whole windows anyway.
        """
        return self._resting

    @resting.setter
    def resting(self, value: bool) -> None:
        self._resting = value
        if self._front_end is not None:
            self._front_end.capture.resting = value

    @property
    def level_dbfs(self) -> float:
        """The microphone's level over the last 50 ms, after processing (also while muted)."""
        return self._front_end.level_dbfs if self._front_end is not None else SILENT_DBFS

    @property
    def input_xruns(self) -> int:
        """How often the microphone lost samples."""
        return self._earlier_xruns[0] + (self._front_end.capture.xruns if self._front_end is not None else 0)

    @property
    def output_xruns(self) -> int:
        """How often the loudspeaker's device ran dry. (A reply that ran dry is reported to ``on_gaps``.)"""
        return self._earlier_xruns[1] + self._player.xruns

    @property
    def latency_ms(self) -> tuple[float, float]:
        """Reported latency of the input (processing included) and of the output."""
        front_end, stream = self._front_end, self.devices.streams.get("input")
        if front_end is None or stream is None:
            return 0.0, 0.0
        input_s = max(front_end.clock.latency_s, stream.latency_s) + front_end.processing.delay_s
        return input_s * 1000, self._player.latency_s * 1000

    @property
    def timeline(self) -> Timeline:
        """Both sides of the call on one time axis; empty unless the call is recorded."""
        return self.recording.timeline

    @property
    def description(self) -> str:
        """Both devices in one line."""
        front_end = self._front_end
        if front_end is None:
            return "no sound device"
        chosen = self.devices.chosen
        return (
            f"input: {chosen['input'].device.name} {front_end.capture.rate / 1000:g} kHz,"
            f" output: {chosen['output'].device.name} {self._player.rate / 1000:g} kHz,"
            f" echo cancellation {'on' if front_end.processing.aec else 'off'}"
        )

    def lost_devices(self, stall_s: float) -> list[Kind]:
        """The devices whose stream has ended, or whose callback has not run for ``stall_s``."""
        called_at: dict[Kind, float] = {"output": self._player.called_at}
        if self._front_end is not None:
            called_at["input"] = self._front_end.capture.called_at
        now = self._clock.now()
        return [k for k, s in self.devices.streams.items() if not s.alive or now - called_at[k] > stall_s]

    # --- opening and closing ------------------------------------------------------------------------------------------

    async def open(self, *, reopening: bool = False, refresh: bool = False) -> None:
        """Open both devices; a reply that waits goes on. Raises AudioError or UsageError, with nothing left open."""
        player, front_end = await self._loop.run_in_executor(None, self._open_devices, reopening, refresh)
        if self._front_end is not None:
            self._earlier_xruns[0] += self._front_end.capture.xruns
            self._earlier_xruns[1] += self._player.xruns
        self.output.continue_on(player)
        self._player, self._front_end = player, front_end
        self.recording.devices_opened(player.rate)

    def _open_devices(self, reopening: bool, refresh: bool) -> tuple[Player, AudioFrontEnd]:
        """On a thread of the executor: opening blocks."""
        chosen = self.devices.choose(reopening=reopening, refresh=refresh)
        player = Player(chosen["output"].rate_hz, self._clock)
        capture = Capture(chosen["input"].rate_hz, self._clock, played=lambda: player.played.written, wake=self._wake)
        processing = AudioProcessing(self._settings, player.rate)
        front_end = AudioFrontEnd(capture, processing, self.input, self.recording.add_user)
        front_end.muted, capture.resting = self._muted, self._resting
        self.devices.open(chosen, {"input": capture.take, "output": player.fill})
        if player.latency_s == 0.0:
            player.latency_s = self.devices.streams["output"].latency_s
        return player, front_end

    async def close_devices(self) -> None:
        """Close both streams, off the event loop."""
        await self._loop.run_in_executor(None, self.devices.close)

    async def aclose(self) -> None:
        """Close the devices and write the rest of the recording."""
        await self.close_devices()
        self.recording.close()

    # --- running ------------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        """On the sound system's thread: have :meth:`_pump` called on the event loop, once."""
        if not self._wake_pending:
            self._wake_pending = True
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                self._loop.call_soon_threadsafe(self._pump)

    def _pump(self) -> None:
        self._wake_pending = False
        if self._front_end is None:
            return
        self.output.pump()
        self._front_end.pump(self._player.latency_s)
        self.recording.write_due()

    def _played(self, pcm: Int16, at: float) -> None:
        if self._front_end is not None:
            self._front_end.played(pcm)
        self.recording.add_agent(pcm, at)
