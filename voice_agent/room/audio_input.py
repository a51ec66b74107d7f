"""How a participant's track is read for the STT: 16 kHz, a frame as long as the VAD's window, less noise if set."""

from __future__ import annotations

from livekit import rtc
from livekit.agents.voice import room_io

from ..config import RoomConfig

SAMPLE_RATE = 16_000
FRAME_MS = 32
MANY_CALLS_FRAME_MS = 64
"""Two windows a frame for a call that begins while many run: audio arrives 16 ms later on average, and the cost of a
frame (native library, event loop, tasks) arises half as often."""


class NoiseSuppression(rtc.FrameProcessor[rtc.AudioFrame]):
    """WebRTC's noise suppression and high-pass filter, on this machine."""

    def __init__(self) -> None:
        self._apm = rtc.AudioProcessingModule(noise_suppression=True, high_pass_filter=True)
        self._enabled = True

    @property
    def enabled(self) -> bool:
        return self._enabled

    @enabled.setter
    def enabled(self, value: bool) -> None:
        self._enabled = value

    def _process(self, frame: rtc.AudioFrame) -> rtc.AudioFrame:
        step = frame.sample_rate // 100  # the module takes 10 ms at a time, no more, no less
        if self._enabled and frame.samples_per_channel == step:
            self._apm.process_stream(frame)
        return frame

    def _close(self) -> None:
        self._enabled = False


def options(config: RoomConfig, *, many_calls: bool = False) -> room_io.AudioInputOptions:
    """The options of LiveKit's room input. Its defaults are 24 kHz, 50 ms and automatic gain: 25 ms later on average,
    and resampled twice."""
    frame_ms = MANY_CALLS_FRAME_MS if many_calls else FRAME_MS
    return room_io.AudioInputOptions(
        sample_rate=SAMPLE_RATE,
        num_channels=1,
        frame_size_ms=10 if config.noise_suppression else frame_ms,  # the module takes no other
        noise_cancellation=NoiseSuppression() if config.noise_suppression else None,
        auto_gain_control=False,
    )
