"""A LiveKit ``stt.STT`` that hears while the user speaks.

Alone, in anybody's agent, ``AgentSession(stt=FastWhisperSTT("base"), vad=..., ...)`` gives interim transcripts and,
after a short silence, the final one. With a turn taker (see :mod:`voice_agent.turn`) it also says when the turn ends:
``AgentSession(stt=FastWhisperSTT("base", taker=...), turn_handling={"turn_detection": "stt", ...})``.

Frames arrive on the event loop; the VAD (0.03 ms a window) runs there, so nothing can starve it; Whisper has a thread
of its own. Where a pass is slow, those in mid-speech leave it free for the one that is wanted when the voice fades.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Never

import numpy as np
from livekit import rtc
from livekit.agents import stt
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, APIConnectOptions, NotGivenOr
from livekit.agents.utils import AudioBuffer, is_given
from livekit.local_inference import VAD

from ..audio.samples import CAPTURED_AT, Int16
from ..clock import SYSTEM, Clock
from ..config import models
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
from .decoder import SAMPLE_RATE, Float32, WhisperEngine, words_key
from .incremental import Heard, Utterance, join, quietest
from .silence_endpointing import SilenceEndpointing
from .speech_end import SpeechEnd

WINDOW = 512  # samples the VAD looks at: 32 ms
PRE_ROLL_WINDOWS = 10  # heard before the VAD is sure: the soft start of a word
PASS_EVERY_S = 0.1  # no new pass for less new speech than this
SLOW_PASS_S = 0.12  # where a pass takes longer, passes in mid-speech must leave the ears free for the one at the end:
PASS_SHARE = 0.5  # they take at most this share of the time, and one begins when the voice fades
SETTLE_AFTER_S = 0.35  # a pause inside a turn from which on the text before it stands
TICK_S = 0.01  # a wait may end between two frames: in a pause it is looked at this often
ANCHOR_FRAMES = 200  # frames over which the earliest arrival places the audio on the clock


class FastWhisperSTT(stt.STT[Never]):  # Never: no events beyond LiveKit's own
    """Whisper as a streaming STT.

    ``model``: an embedded name (``tiny.en``, ``base``), a CTranslate2 directory or a hub id. ``turn_detector``:
    makes a turn
    taker for each stream; None gives plain silence of ``final_silence_s``. ``on_turn`` is told of every committed turn,
    ``on_reopen`` when a committed turn goes on. An ``engine`` that is already loaded may be shared by many STTs;
    then ``thread`` (ours to shut down) says who is heard first (:mod:`voice_agent.runtime.scheduling`).
    Raises ModelError (no such model) and ConfigError (language the model lacks).
    """

    def __init__(
        self,
        model: str = "tiny.en",
        *,
        device: str = "cpu",
        compute_type: str = "int8",
        language: str = "en",
        hotwords: str = "",
        threads: int = 1,
        turn_detector: Callable[[], BaseTurnDetector] | None = None,
        final_silence_s: float = 0.25,
        on_turn: Callable[[UserTurn], None] | None = None,
        on_reopen: Callable[[str], None] | None = None,
        engine: WhisperEngine | None = None,
        thread: Executor | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=True))
        self._name = model
        self.language = language
        self._handed_in = engine is not None
        self.engine = engine or WhisperEngine(
            models.whisper(model),
            device=device,
            compute_type=compute_type,
            language=language,
            hotwords=hotwords,
            threads=threads,
            clock=clock,
        )
        self.thread: Executor = thread or ThreadPoolExecutor(1, thread_name_prefix="whisper")
        self._turn_detector = turn_detector or (lambda: SilenceEndpointing(final_silence_s))
        self.on_turn = on_turn
        self.on_reopen = on_reopen
        self.clock = clock

    @property
    def model(self) -> str:
        return self._name

    @property
    def provider(self) -> str:
        return "faster-whisper"

    def prewarm(self) -> None:
        """Run one pass over silence, so that the first real one is not the slow one. Blocks.

        A session calls this on its event loop as it starts. An engine that was handed in is warm, and others use it.
        """
        if self._handed_in:
            return
        self.engine.decode(np.zeros(SAMPLE_RATE, np.float32))

    def stream(
        self,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> WhisperStream:
        if is_given(language) and language and language != self.language and self.language != "auto":
            raise ValueError(f"this Whisper was loaded for language={self.language!r}; make one for {language!r}")
        return WhisperStream(self, self._turn_detector(), conn_options)

    async def _recognize_impl(
        self,
        buffer: AudioBuffer,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions,
    ) -> stt.SpeechEvent:
        frame = rtc.combine_audio_frames(buffer)
        pcm = mono(frame)
        if frame.sample_rate != SAMPLE_RATE:
            from ..audio.resampling import resample

            pcm = resample(pcm, frame.sample_rate, SAMPLE_RATE)
        text = await asyncio.get_running_loop().run_in_executor(self.thread, transcribe, self.engine, to_float(pcm))
        return stt.SpeechEvent(type=stt.SpeechEventType.FINAL_TRANSCRIPT, alternatives=[self._data(text)])

    def _data(self, text: str, start_s: float = 0.0, end_s: float = 0.0) -> stt.SpeechData:
        return stt.SpeechData(language=self.language, text=text, start_time=start_s, end_time=end_s)  # type: ignore[arg-type]

    async def aclose(self) -> None:
        self.thread.shutdown(wait=False, cancel_futures=True)


def mono(frame: rtc.AudioFrame) -> Int16:
    """The frame's samples, channels averaged."""
    pcm = np.frombuffer(frame.data, np.int16)
    if frame.num_channels > 1:
        pcm = pcm.reshape(-1, frame.num_channels).astype(np.int32).mean(axis=1).astype(np.int16)
    return pcm


def to_float(pcm: Int16) -> Float32:
    """int16 to float32 in [-1, 1)."""
    return pcm.astype(np.float32) / 32768.0


def transcribe(engine: WhisperEngine, pcm: Float32, *, piece_s: float = 24.0) -> str:
    """A whole recording of any length (mono, 16 kHz): pieces of at most 24 s, cut at quiet places. Blocks."""
    text = ""
    while len(pcm) > piece_s * SAMPLE_RATE:
        cut = quietest(pcm, int(piece_s * SAMPLE_RATE * 0.6), int(piece_s * SAMPLE_RATE))
        text, pcm = join(text, engine.decode(pcm[:cut]).text), pcm[cut:]
    return join(text, engine.decode(pcm).text)


def wants_pass(
    here_s: float, ended_s: float, loud_s: float, covers_s: float, last_took_s: float, to_be_sure: bool = False
) -> bool:
    """Whether to hear again at ``here_s``, where speech ended at ``ended_s`` and was loud until ``loud_s``.

    ``covers_s``: up to where the last pass heard. In a pause: if it has not heard all of the speech. While somebody
    speaks: one pass after the other if they are quick, or if the text looks whole (``to_be_sure``: such a pass need not
    decode); else when the voice fades, and rarely.
    """
    if here_s > ended_s:
        return covers_s < ended_s
    if last_took_s < SLOW_PASS_S or to_be_sure:
        return here_s - covers_s >= PASS_EVERY_S
    return ended_s > loud_s > covers_s or here_s - covers_s >= last_took_s / PASS_SHARE


@dataclass(frozen=True, slots=True)
class _Sound:
    """What a pass may hear: an utterance so far, as windows, up to ``here_s``; its speech has ended at ``ended_s``."""

    utterance: Utterance
    tail: tuple[Int16, ...]
    here_s: float
    ended_s: float
    may_have_finished: bool

    def hear(self) -> Heard:
        pcm = to_float(np.concatenate(self.tail))
        paused = self.here_s > self.ended_s
        silence_s = self.here_s - self.ended_s
        speech_s = len(pcm) / SAMPLE_RATE - silence_s if self.may_have_finished or paused else None
        return self.utterance.hear(pcm, final=paused, speech_s=speech_s)


class _Pass:
    """A pass that is wanted: it may wait for others, and hears what there is when it begins."""

    def __init__(self, sound: _Sound | None, clock: Clock) -> None:
        self._clock = clock
        self.sound = sound  # set anew as long as the pass has not begun
        self.heard: _Sound | None = None
        self.begun_at: float | None = None

    def run(self) -> Heard | None:
        """On the ears' thread."""
        self.begun_at = self._clock.now()
        sound = self.heard = self.sound
        return sound.hear() if sound is not None else None


class WhisperStream(SttStream):
    """One speaker's stream. Positions are seconds of audio since it began; ``_at`` places them on the clock."""

    def __init__(self, ears: FastWhisperSTT, turn_detector: BaseTurnDetector, conn_options: APIConnectOptions) -> None:
        self._ears = ears
        self._turn_detector = turn_detector
        self._clock = ears.clock
        self._rest: Int16 = np.zeros(0, np.int16)
        self._samples = 0  # in whole windows so far
        self._arrivals: deque[float] = deque(maxlen=ANCHOR_FRAMES)
        self._pre_roll: deque[Int16] = deque(maxlen=PRE_ROLL_WINDOWS)
        self._tail: list[Int16] = []
        self._utterance: Utterance | None = None
        self._pass: _Pass | None = None
        self._covers_s = -1.0
        self._text = ""
        self._text_since = 0.0
        self._prefix = ""
        self._started_s = 0.0
        self._passes = 0
        self._pass_s = 0.0  # what the last one took
        self._reopened = False
        self._committed_speech_started_s = 0.0
        self._edge = SpeechEnd()
        self._asking = False
        self._heard_text = ""
        self._timer: asyncio.TimerHandle | None = None
        turn_detector.bind(self._on_decision)
        super().__init__(stt=ears, conn_options=conn_options, sample_rate=SAMPLE_RATE)

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
        vad = VAD()
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
        """The input has ended: what was said is still heard to its end, and committed."""
        silent = np.zeros(WINDOW, np.int16)
        while self._utterance is not None and self._turn_detector.in_speech:
            if self._pass is not None:
                await asyncio.sleep(0.005)
                continue
            self._samples += WINDOW
            self._turn_detector.window(self._samples / SAMPLE_RATE, 0.0, silent)
            self._maybe_pass()

    def _take(self, frame: rtc.AudioFrame, vad: Any) -> None:
        self._rest = np.concatenate([self._rest, np.frombuffer(frame.data, np.int16)])
        captured_at = frame.userdata.get(CAPTURED_AT)
        if captured_at is not None:  # the end knows; what was noted before may be from another device
            self._arrivals.clear()
        at = self._clock.now() if captured_at is None else float(captured_at)
        self._arrivals.append(at - (self._samples + len(self._rest)) / SAMPLE_RATE)
        while len(self._rest) >= WINDOW:
            window, self._rest = np.ascontiguousarray(self._rest[:WINDOW]), self._rest[WINDOW:]
            probability = float(vad.predict(window))
            self._samples += WINDOW
            self._edge.window(self._samples / SAMPLE_RATE, probability)
            (self._tail if self._utterance is not None else self._pre_roll).append(window)
            paused_at = self._turn_detector.speech_ended_s
            self._turn_detector.window(self._samples / SAMPLE_RATE, probability, window)
            self._maybe_settle(paused_at)
            self._maybe_pass()
        self._turn_detector.advance((self._samples + len(self._rest)) / SAMPLE_RATE)
        if self._timer is None and self._paused:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    @property
    def _paused(self) -> bool:
        return self._turn_detector.in_speech and self._samples / SAMPLE_RATE > self._turn_detector.speech_ended_s

    def _tick(self) -> None:
        """Between two frames of a pause; sound that is late is not silence, so no further than a window ahead."""
        self._timer = None
        if self._paused and not self.closed:
            heard_s = (self._samples + len(self._rest)) / SAMPLE_RATE
            self._turn_detector.advance(min(self._now_s(), heard_s + WINDOW / SAMPLE_RATE))
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _at(self, position_s: float) -> float:
        """When the sample at ``position_s`` was captured, on the monotonic clock: the earliest arrival tells."""
        return min(self._arrivals) + position_s

    def _now_s(self) -> float:
        return max(self._samples / SAMPLE_RATE, self._clock.now() - min(self._arrivals))

    # --- Whisper passes -------------------------------------------------------------------------------------------

    def _maybe_settle(self, paused_at: float) -> None:
        """After a pause the text before it stands: what follows is heard on its own, faster, and a long silence in the
        middle cannot make Whisper stop there."""
        here = self._samples / SAMPLE_RATE
        resumed = self._turn_detector.in_speech and self._turn_detector.speech_ended_s == here
        if (
            resumed
            and self._utterance is not None
            and self._pass is None
            and here - paused_at >= SETTLE_AFTER_S
            and self._covers_s >= paused_at
            and self._heard_text
        ):
            self._utterance.settle(self._heard_text)
            self._tail = self._tail[-PRE_ROLL_WINDOWS // 2 :]

    def _maybe_pass(self) -> None:
        if self._pass is not None:
            if self._pass.begun_at is None:  # others are heard first; it will hear what has come until its turn
                self._pass.sound = self._sound()
            return
        sound = self._sound()
        if sound is None:
            return
        loud, sure = self._turn_detector.loud_until_s, self._turn_detector.wants_to_be_sure
        if not wants_pass(sound.here_s, sound.ended_s, loud, self._covers_s, self._pass_s, sure):
            return
        self._pass = wanted = _Pass(sound, self._clock)
        future = asyncio.get_running_loop().run_in_executor(self._ears.thread, wanted.run)
        future.add_done_callback(lambda f: self._heard(wanted, f))

    def _sound(self) -> _Sound | None:
        """All that has been said and not been dropped yet, if somebody is speaking or has just stopped."""
        if self._utterance is None or not self._turn_detector.in_speech or not self._tail:
            return None
        ended = self._turn_detector.speech_ended_s
        may_have_finished = ended > self._turn_detector.loud_until_s or self._turn_detector.wants_to_be_sure
        return _Sound(self._utterance, tuple(self._tail), self._samples / SAMPLE_RATE, ended, may_have_finished)

    def _heard(self, done: _Pass, future: asyncio.Future[Heard | None]) -> None:
        self._pass = None
        if self.closed or future.cancelled():
            return
        sound = done.heard
        if sound is None or done.begun_at is None:  # nobody spoke any more when its turn came
            self._maybe_pass()
            return
        self._pass_s = self._clock.now() - done.begun_at
        if sound.utterance is not self._utterance or not self._turn_detector.in_speech:
            self._maybe_pass()  # a dead turn's text is dropped; the present one may be waiting
            return
        self._passes += 1
        covers_s = sound.here_s
        if (error := future.exception()) is not None:
            # One bad pass must not end the call (in the stock agent it does): report, forget the utterance, go on.
            self.report(error if isinstance(error, Exception) else RuntimeError(str(error)))
            self._covers_s = covers_s
            self._turn_detector.text("", covers_s, self._now_s())
            return
        heard = future.result()
        if heard is None:
            return
        self._drop(heard.drop_samples)
        if heard.hypothesis.guard == "hasty":  # not to be taken for all that was said, if the speech ends here
            covers_s -= WINDOW / SAMPLE_RATE
        self._covers_s = covers_s
        self._heard_text = heard.text
        whole = join(self._prefix, heard.text)
        if words_key(whole) != words_key(self._text):
            self._text_since = self._clock.now()
        if whole and whole != self._text and not self._asking:  # an interim text would end the provisional reply
            self._send(stt.SpeechEventType.INTERIM_TRANSCRIPT, whole)
        self._text = whole
        self._turn_detector.text(heard.text, covers_s, self._now_s())
        self._maybe_pass()

    def _drop(self, samples: int) -> None:
        while samples > 0 and self._tail:
            head = self._tail[0]
            if len(head) > samples:
                self._tail[0] = head[samples:]
                return
            samples -= len(head)
            del self._tail[0]

    # --- decisions out --------------------------------------------------------------------------------------------

    def _on_decision(self, d: TurnEvent) -> None:
        if isinstance(d, SpeechStarted | Reopen):
            self._open(d)
        elif isinstance(d, CancelPreflight):
            self._asking = False
            if self._text:
                self._send(stt.SpeechEventType.INTERIM_TRANSCRIPT, self._text)
        elif isinstance(d, Preflight):
            self._asking = True
            self._send(stt.SpeechEventType.PREFLIGHT_TRANSCRIPT, d.text)
        elif isinstance(d, EndOfTurn):
            self._commit(d)
        elif isinstance(d, Discard):
            self._close_utterance()
            self.emit(stt.SpeechEvent(type=stt.SpeechEventType.END_OF_SPEECH))

    def _open(self, d: SpeechStarted | Reopen) -> None:
        self._tail = list(self._pre_roll)
        self._pre_roll.clear()
        self._utterance = Utterance(self._ears.engine)
        self._covers_s, self._passes, self._asking, self._heard_text = -1.0, 0, False, ""
        self._reopened = isinstance(d, Reopen)
        if isinstance(d, Reopen):
            self._prefix = self._text = d.text
            self._started_s = self._committed_speech_started_s
        else:
            self._prefix = self._text = ""
            self._started_s = d.at_s
        wall = self._clock.wall() - (self._clock.now() - self._at(self._started_s))
        self.emit(stt.SpeechEvent(type=stt.SpeechEventType.START_OF_SPEECH, speech_start_time=wall))
        if isinstance(d, Reopen) and self._ears.on_reopen is not None:
            self._ears.on_reopen(d.text)

    def _commit(self, d: EndOfTurn) -> None:
        now = self._clock.now()
        ended_at = self._at(self._edge.refined(d.speech_ended_s))
        turn = UserTurn(
            text=d.text,
            speech_started_at=self._at(self._started_s),
            speech_ended_at=ended_at,
            transcript_ready_at=self._text_since,
            committed_at=now,
            commit=d,
            reopened=self._reopened,
            evidence={
                "completeness": d.score,
                "acoustic": d.acoustic,
                "wanted_ms": round(d.wanted_s * 1000, 1),
                "waited_ms": round(d.waited_s * 1000, 1),
                "reason": d.reason,
                "passes": self._passes,
            }
            | ({"kept_reply_to": d.kept_for} if d.kept_for is not None else {}),
        )
        self._committed_speech_started_s = self._started_s
        audio_s = self._samples / SAMPLE_RATE - self._started_s
        self._close_utterance()
        if self._ears.on_turn is not None:
            self._ears.on_turn(turn)
        self._send(stt.SpeechEventType.FINAL_TRANSCRIPT, d.text, end_s=d.speech_ended_s)
        wall = self._clock.wall() - (now - ended_at)
        self.emit(stt.SpeechEvent(type=stt.SpeechEventType.END_OF_SPEECH, speech_end_time=wall))
        usage = stt.RecognitionUsage(audio_duration=audio_s)
        self.emit(stt.SpeechEvent(type=stt.SpeechEventType.RECOGNITION_USAGE, recognition_usage=usage))

    def _close_utterance(self) -> None:
        self._pre_roll.extend(self._tail[-PRE_ROLL_WINDOWS:])
        self._utterance, self._tail = None, []

    def _send(self, kind: stt.SpeechEventType, text: str, *, end_s: float = 0.0) -> None:
        data = self._ears._data(text, self._started_s, end_s)
        self.emit(stt.SpeechEvent(type=kind, alternatives=[data]))
