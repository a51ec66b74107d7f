"""WebRTC's audio processing of the microphone's signal: echo cancellation, noise suppression, gain control, high pass.

The module is the one in LiveKit's package. Its echo canceller (AEC3) must get the far-end signal (what was played)
before the near-end signal (what was captured) that holds its echo. :meth:`AudioProcessing.far` takes what the
loudspeaker's callback played, :meth:`AudioProcessing.near` what the microphone's callback captured, in the order in
which the two callbacks ran. The delay between them is the latency of both devices and of the room.
"""

from __future__ import annotations

import contextlib

import numpy as np
from livekit import rtc

from ..audio.samples import Int16
from ..config import AudioConfig

RATE = 16_000
FRAME = 160  # samples of the microphone: 10 ms, the frame of WebRTC
HINT_EVERY = 50  # frames between two delay hints

# The delay of the processing in samples at 16 kHz, framing included: the peak of the cross-correlation of output and
# input for sense01.wav (livekit 1.1.21). AEC 164, noise suppression 128, high pass 36, all of them 256.
_DELAYS = {(False, False): 36, (False, True): 128, (True, False): 164, (True, True): 256}


class AudioProcessing:
    """Echo cancellation, noise suppression, gain control and a high pass, in frames of 10 ms at 16 kHz.

    ``far_rate``: sample rate of what is played. Without a multiple of 100 Hz there is no echo cancellation.
    """

    def __init__(self, settings: AudioConfig, far_rate: int) -> None:
        self.aec = settings.aec and far_rate % 100 == 0
        self.active = settings.aec or settings.noise_suppression or settings.gain_control
        self.delay_s = _DELAYS[self.aec, settings.noise_suppression] / RATE if self.active else 0.0
        self._far_rate = far_rate
        self._far_rest: Int16 = np.zeros(0, np.int16)
        self._until_hint = 0  # frames
        self._apm: rtc.AudioProcessingModule | None = None
        if self.active:
            self._apm = rtc.AudioProcessingModule(
                echo_cancellation=self.aec,
                noise_suppression=settings.noise_suppression,
                high_pass_filter=True,
                auto_gain_control=settings.gain_control,
            )

    def far(self, pcm: Int16) -> None:
        """Far end: ``pcm`` (int16, any length) was played."""
        if self._apm is None or not self.aec:
            return
        size = self._far_rate // 100
        if len(self._far_rest):
            pcm = np.concatenate([self._far_rest, pcm])
        whole = len(pcm) // size * size
        if whole:  # one call for all frames (the module splits them): a call costs as much as the echo of 10 ms
            self._apm.process_reverse_stream(rtc.AudioFrame(pcm[:whole].tobytes(), self._far_rate, 1, whole))
        self._far_rest = pcm[whole:]

    def near(self, pcm: Int16, delay_s: float) -> Int16:
        """Near end: process whole frames (160 samples each) of the microphone. ``delay_s``: latency of both devices."""
        if self._apm is None or not len(pcm):
            return pcm
        if self.aec and self._until_hint <= 0:
            self._until_hint = HINT_EVERY
            with contextlib.suppress(RuntimeError):  # only a hint: AEC3 finds the delay itself
                self._apm.set_stream_delay_ms(max(0, min(500, round(delay_s * 1000))))
        self._until_hint -= len(pcm) // FRAME
        frame = rtc.AudioFrame(pcm.tobytes(), RATE, 1, len(pcm))
        self._apm.process_stream(frame)
        return np.frombuffer(frame.data, np.int16)
