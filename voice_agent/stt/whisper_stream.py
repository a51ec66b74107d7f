"""One speaker's stream: frames in, LiveKit speech events out.

Frames arrive on the event loop, and the VAD (0.03 ms a window) runs there, so that nothing can delay it. Whisper runs
on its own thread (:mod:`.pass_scheduler`). The turn detector gets the windows and the texts and decides when a turn
starts and ends; this stream turns its decisions into LiveKit's events.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Never

import numpy as np
from livekit import rtc
from livekit.agents import stt
from livekit.agents.types import APIConnectOptions

from ..audio.samples import Int16
from ..audio.speech_end import SpeechEnd
from ..clock import Clock
from ..livekit_compat.streams import SttStream
from ..turn_events import (
    BaseTurnDetector,
    CancelPreflight,
    Discard,
    EndOfTurn,
    Preflight,
    Reopen,
    SpeechStarted,
    TurnEvent,
    UserTurn,
)
from .decoder import WhisperEngine
from .frame_windows import WINDOW, WINDOW_S, FrameWindows
from .incremental import IncrementalDecoder, PassResult
from .open_turn import PRE_ROLL_WINDOWS, OpenTurn
from .pass_scheduler import PassInput, PassScheduler
from .pcm import SAMPLE_RATE, mono

SETTLE_AFTER_S = 0.35
"""After a pause of this length inside a turn the text before it stands."""
TICK_S = 0.01
"""In a pause the turn detector is told the time this often: a wait may end between two frames."""

Vad = Callable[[Int16], float]
"""One window of 512 samples at 16 kHz to its speech probability. Keeps state: one for each stream."""


class WhisperSTTBase(stt.STT[Never]):
    """What a stream needs of the STT that made it. ``engine`` may be replaced at any time; the next turn uses it."""

    engine: WhisperEngine
    thread: Executor
    clock: Clock
    language: str

    def new_vad(self) -> Vad:
        raise NotImplementedError

    def turn_committed(self, turn: UserTurn) -> None:
        raise NotImplementedError

    def turn_reopened(self, text: str) -> None:
        raise NotImplementedError

    def speech_data(self, text: str, start_s: float = 0.0, end_s: float = 0.0) -> stt.SpeechData:
        """``text`` as LiveKit takes it; times are seconds of audio."""
        return stt.SpeechData(language=self.language, text=text, start_time=start_s, end_time=end_s)  # type: ignore[arg-type]


class WhisperStream(SttStream):
    """One speaker's stream. Positions are seconds of audio since it began (:class:`.frame_windows.FrameWindows`)."""

    def __init__(
        self, whisper: WhisperSTTBase, turn_detector: BaseTurnDetector, conn_options: APIConnectOptions
    ) -> None:
        self._whisper = whisper
        self._turn_detector = turn_detector
        self._clock = whisper.clock
        self._audio = FrameWindows(whisper.clock)
        self._passes = PassScheduler(whisper.thread, self._pass_done, whisper.clock)
        self._speech_end = SpeechEnd()
        self._pre_roll: deque[Int16] = deque(maxlen=PRE_ROLL_WINDOWS)
        self._turn: OpenTurn | None = None
        self._committed: OpenTurn | None = None
        self._timer: asyncio.TimerHandle | None = None
        turn_detector.bind(self._on_turn_event)
        super().__init__(stt=whisper, conn_options=conn_options, sample_rate=SAMPLE_RATE)

    @property
    def turn_detector(self) -> BaseTurnDetector:
        return self._turn_detector

    def push_frame(self, frame: rtc.AudioFrame) -> None:
        """Any rate and channel count, any frame size; the rate must stay the same."""
        if frame.num_channels > 1:
            pcm = mono(frame)
            frame = rtc.AudioFrame(pcm.tobytes(), frame.sample_rate, 1, len(pcm))
        super().push_frame(frame)

    # --- audio in -------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        vad = self._whisper.new_vad()
        try:
            async for item in self.received:
                if isinstance(item, rtc.AudioFrame):
                    self._take(item, vad)
            await self._finish()
        finally:
            if self._timer is not None:
                self._timer.cancel()
            await self._turn_detector.aclose()

    async def _finish(self) -> None:
        """After the end of the input: silence until the last turn has ended."""
        silent = np.zeros(WINDOW, np.int16)
        while self._turn is not None and self._turn_detector.in_speech:
            if self._passes.busy:
                await asyncio.sleep(0.005)
                continue
            self._audio.skip_window()
            self._turn_detector.window(self._audio.position_s, 0.0, silent)
            self._update_passes()

    def _take(self, frame: rtc.AudioFrame, vad: Vad) -> None:
        self._audio.add(frame)
        for window in self._audio.windows():
            end_s, probability = self._audio.position_s, vad(window)
            self._speech_end.window(end_s, probability)
            (self._pre_roll if self._turn is None else self._turn.windows).append(window)
            paused_at_s = self._turn_detector.speech_ended_s
            self._turn_detector.window(end_s, probability, window)
            self._settle_after_pause(paused_at_s)
            self._update_passes()
        self._turn_detector.advance(self._audio.received_s)
        if self._timer is None and self._paused:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    @property
    def _paused(self) -> bool:
        return self._turn_detector.in_speech and self._audio.position_s > self._turn_detector.speech_ended_s

    def _tick(self) -> None:
        """Tell the turn detector the time between two frames of a pause.

        Late audio is not silence, so the time goes at most one window beyond what has arrived.
        """
        self._timer = None
        if self._paused and not self.closed:
            self._turn_detector.advance(min(self._audio.now_s(), self._audio.received_s + WINDOW_S))
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _settle_after_pause(self, paused_at_s: float) -> None:
        """When the user goes on after a pause, the text before it stands, and the rest is decoded on its own.

        That is faster, and a long silence in the middle cannot make Whisper stop there.
        """
        turn, here_s = self._turn, self._audio.position_s
        resumed = self._turn_detector.in_speech and self._turn_detector.speech_ended_s == here_s
        if (
            resumed
            and turn is not None
            and not self._passes.busy
            and here_s - paused_at_s >= SETTLE_AFTER_S
            and turn.covers_s >= paused_at_s
        ):
            turn.settle()

    # --- Whisper passes -------------------------------------------------------------------------------------------

    def _update_passes(self) -> None:
        self._passes.update(self._pass_input(), self._turn.covers_s if self._turn is not None else -1.0)

    def _pass_input(self) -> PassInput | None:
        """The present turn's audio that is not frozen yet; None if nobody speaks."""
        turn, detector = self._turn, self._turn_detector
        if turn is None or not detector.in_speech or not turn.windows:
            return None
        return PassInput(
            turn.decoder,
            tuple(turn.windows),
            self._audio.position_s,
            detector.speech_ended_s,
            detector.loud_until_s,
            detector.wants_confirmation,
        )

    def _pass_done(self, used: PassInput | None, future: asyncio.Future[PassResult | None]) -> None:
        if self.closed:
            return
        turn = self._turn
        if used is None or turn is None or used.decoder is not turn.decoder or not self._turn_detector.in_speech:
            self._update_passes()  # the text of a turn that has ended is dropped
            return
        turn.passes += 1
        now_s = self._audio.now_s()
        if (error := future.exception()) is not None:
            # One failed pass must not end the call (in LiveKit's agent it does): report it, and hear the rest.
            self.report(error if isinstance(error, Exception) else RuntimeError(str(error)))
            turn.covers_s = used.here_s
            self._turn_detector.text("", used.here_s, now_s)
            return
        result = future.result()
        if result is None:
            return
        # A hasty pass may lack words, so it does not cover the end of the speech.
        covers_s = used.here_s - (WINDOW_S if result.hypothesis.guard == "hasty" else 0.0)
        changed = turn.update(result, covers_s, self._clock.now())
        if changed and not turn.preflight:  # an interim text would end the provisional reply
            self._send(stt.SpeechEventType.INTERIM_TRANSCRIPT, turn, turn.text)
        self._turn_detector.text(result.text, covers_s, now_s)
        self._update_passes()

    # --- turn events out ------------------------------------------------------------------------------------------

    def _on_turn_event(self, event: TurnEvent) -> None:
        if isinstance(event, SpeechStarted | Reopen):
            self._open(event)
            return
        turn = self._turn
        if turn is None:
            return
        if isinstance(event, CancelPreflight):
            turn.preflight = False
            if turn.text:
                self._send(stt.SpeechEventType.INTERIM_TRANSCRIPT, turn, turn.text)
        elif isinstance(event, Preflight):
            turn.preflight = True
            self._send(stt.SpeechEventType.PREFLIGHT_TRANSCRIPT, turn, event.text)
        elif isinstance(event, EndOfTurn):
            self._commit(turn, event)
        elif isinstance(event, Discard):
            self._close(turn)
            self.emit(stt.SpeechEvent(type=stt.SpeechEventType.END_OF_SPEECH))

    def _open(self, event: SpeechStarted | Reopen) -> None:
        windows, decoder = list(self._pre_roll), IncrementalDecoder(self._whisper.engine)
        self._pre_roll.clear()
        before = self._committed
        if isinstance(event, SpeechStarted):
            turn = OpenTurn(decoder, windows, event.at_s)
        else:
            assert before is not None, "only a committed turn is reopened"
            turn = OpenTurn(
                *(decoder, windows, before.started_s),
                prefix=event.text,
                text_since_at=before.text_since_at,
                reopened=True,
            )
        self._turn = turn
        wall = self._clock.wall() - (self._clock.now() - self._audio.at(turn.started_s))
        self.emit(stt.SpeechEvent(type=stt.SpeechEventType.START_OF_SPEECH, speech_start_time=wall))
        if isinstance(event, Reopen):
            self._whisper.turn_reopened(event.text)

    def _commit(self, turn: OpenTurn, end: EndOfTurn) -> None:
        now = self._clock.now()
        ended_at = self._audio.at(self._speech_end.refined(end.speech_ended_s))
        user_turn = UserTurn(
            text=end.text,
            speech_started_at=self._audio.at(turn.started_s),
            speech_ended_at=ended_at,
            transcript_ready_at=turn.text_since_at,
            committed_at=now,
            commit=end,
            reopened=turn.reopened,
            evidence={
                "completeness": end.score,
                "wanted_ms": round(end.wait_s * 1000, 1),
                "waited_ms": round(end.waited_s * 1000, 1),
                "reason": end.reason,
                "passes": turn.passes,
            },
        )
        audio_s = self._audio.position_s - turn.started_s
        self._close(turn)
        self._committed = turn
        self._whisper.turn_committed(user_turn)
        self._send(stt.SpeechEventType.FINAL_TRANSCRIPT, turn, end.text, end_s=end.speech_ended_s)
        wall = self._clock.wall() - (now - ended_at)
        self.emit(stt.SpeechEvent(type=stt.SpeechEventType.END_OF_SPEECH, speech_end_time=wall))
        usage = stt.RecognitionUsage(audio_duration=audio_s)
        self.emit(stt.SpeechEvent(type=stt.SpeechEventType.RECOGNITION_USAGE, recognition_usage=usage))

    def _close(self, turn: OpenTurn) -> None:
        self._pre_roll.extend(turn.windows[-PRE_ROLL_WINDOWS:])
        self._turn = None

    def _send(self, kind: stt.SpeechEventType, turn: OpenTurn, text: str, *, end_s: float = 0.0) -> None:
        data = self._whisper.speech_data(text, turn.started_s, end_s)
        self.emit(stt.SpeechEvent(type=kind, alternatives=[data]))
