"""What the microphone's half makes of several calls of the device at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from livekit import rtc

from voice_agent.audio.samples import CAPTURED_AT
from voice_agent.clock import ManualClock
from voice_agent.config import AudioConfig
from voice_agent.microphone.audio_processing import FRAME, RATE, AudioProcessing
from voice_agent.microphone.capture import AudioFrontEnd, Capture, MicrophoneInput
from voice_agent.microphone.player import Player
from voice_agent.microphone.speaker import SpeakerOutput

Int16 = npt.NDArray[np.int16]


class Noted(AudioProcessing):
    """Notes in which order both sides come: ("far", first, last) or ("near", first, last), by the samples' values."""

    def __init__(self) -> None:
        super().__init__(AudioConfig(aec=False, noise_suppression=False, gain_control=False), RATE)
        self.aec = True
        self.came: list[tuple[str, int, int]] = []

    def far(self, pcm: Int16) -> None:
        self.came.append(("far", int(pcm[0]), int(pcm[-1])))

    def near(self, pcm: Int16, delay_s: float) -> Int16:
        self.came.append(("near", int(pcm[0]), int(pcm[-1])))
        return pcm


class Collected(MicrophoneInput):
    """Keeps the frames that are handed out."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[rtc.AudioFrame] = []

    def push(self, frame: rtc.AudioFrame) -> None:
        self.frames.append(frame)


class Desk:
    """A microphone whose samples are numbered from 0, and how much was played whenever it was called."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.far_end = 0
        self.input = Collected()
        self.noted = Noted()
        self.capture = Capture(RATE, self.clock, played=lambda: self.far_end, wake=lambda: None)
        self.front = AudioFrontEnd(self.capture, self.noted, self.input)

    def call(self, count: int = FRAME) -> None:
        begin = self.capture.ring.written
        self.clock.advance(count / RATE)
        self.capture.take(np.arange(begin, begin + count).astype(np.int16), 0.01, False)

    def play(self, pcm: Int16) -> None:
        self.far_end += len(pcm)
        self.front.played(pcm)


async def test_while_nothing_is_played_all_is_processed_in_one_go() -> None:
    desk = Desk()
    for _ in range(3):
        desk.play(np.zeros(FRAME, np.int16))
        desk.call()
    desk.front.pump(0.0)
    assert desk.noted.came == [("far", 0, 0), ("near", 0, 3 * FRAME - 1)]
    (frame,) = desk.input.frames
    assert frame.samples_per_channel == 3 * FRAME
    assert abs(frame.userdata[CAPTURED_AT] - (desk.clock.now() - 0.0)) < 1e-9


async def test_what_sounds_is_fed_before_what_was_captured_after_it_and_no_sooner() -> None:
    desk = Desk()
    for number in range(3):
        desk.play(np.full(FRAME, 1 + number, np.int16))
        desk.call()
    desk.front.pump(0.0)
    assert desk.noted.came == [
        ("far", 1, 1),
        ("near", 0, FRAME - 1),
        ("far", 2, 2),
        ("near", FRAME, 2 * FRAME - 1),
        ("far", 3, 3),
        ("near", 2 * FRAME, 3 * FRAME - 1),
    ]


async def test_a_piece_of_what_was_played_is_cut_where_the_microphone_was_called() -> None:
    """The loudspeaker's silence is handed on as one piece; the microphone was called in the middle of it."""
    desk = Desk()
    desk.play(np.arange(1, 3 * FRAME + 1).astype(np.int16))
    desk.far_end = FRAME + 7
    desk.call()
    desk.front.pump(0.0)
    desk.far_end = 3 * FRAME
    desk.call()
    desk.front.pump(0.0)
    assert desk.noted.came == [
        ("far", 1, FRAME + 7),
        ("near", 0, FRAME - 1),
        ("far", FRAME + 8, 3 * FRAME),
        ("near", FRAME, 2 * FRAME - 1),
    ]


async def test_after_a_stall_frames_are_as_long_as_ever() -> None:
    desk = Desk()
    for _ in range(9):
        desk.call()
    desk.front.pump(0.0)
    frames = desk.input.frames
    assert [frame.samples_per_channel // FRAME for frame in frames] == [4, 4, 1]
    heard = np.concatenate([np.frombuffer(frame.data, np.int16) for frame in frames])
    assert np.array_equal(heard, np.arange(9 * FRAME))


async def test_the_silence_of_several_calls_is_handed_on_as_one() -> None:
    clock = ManualClock()
    player = Player(RATE, clock)
    played: list[tuple[int, float]] = []
    output = SpeakerOutput(
        player,
        clock,
        on_audible=lambda at: None,
        on_gaps=lambda count, ms: None,
        on_played=lambda pcm, at: played.append((len(pcm), at)),
    )
    for _ in range(3):
        player.fill(np.zeros(FRAME, np.int16), 0.02, False)
        clock.advance(0.01)
    output.pump()
    assert played == [(3 * FRAME, clock.now() - 0.03 + 0.02)]
    for _ in range(2):
        player.fill(np.zeros(FRAME, np.int16), 0.02, False)
    player.ring.write(np.ones(FRAME, np.int16))
    player.fill(np.zeros(FRAME, np.int16), 0.02, False)
    output.pump()
    assert [count for count, _ in played[1:]] == [2 * FRAME, FRAME], "sound has a time of its own"
