"""A doubled STT: the real stream, buffers and turn code of :class:`FastWhisperSTT`, without Whisper and the VAD."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np
from livekit import rtc
from livekit.agents import vad

from ...audio.samples import Int16
from ...clock import SYSTEM, Clock
from ...livekit_compat.streams import VadStream
from ...stt import FastWhisperSTT, Hypothesis, WhisperEngine
from ...stt.frame_windows import WINDOW
from ...stt.hypothesis import Word
from ...stt.pcm import Float32
from ...stt.whisper_stream import Vad
from ...turn_events import BaseTurnDetector, UserTurn
from .deviations import Deviations
from .loop import spend
from .synthetic_speech import RATE, voiced_share, words_in

PASS_S, CONFIRM_S = 0.06, 0.03  # a pass of tiny.en, and the confirmation of a known text (docs/stt.md)


class ScriptedVAD(vad.VAD):
    """The share of synthetic speech in each 32 ms window.

    For :class:`ScriptedSTT` (:meth:`predict`), and as ``AgentSession(vad=ScriptedVAD())``. ``min_silence_s``: silence
    after which it reports the end of speech to LiveKit.
    """

    def __init__(self, *, min_silence_s: float = 0.3) -> None:
        super().__init__(capabilities=vad.VADCapabilities(update_interval=WINDOW / RATE))
        self.min_silence_s = min_silence_s

    def predict(self, pcm: Int16) -> float:
        """0.02 for silence to 0.98 for speech."""
        return 0.02 + 0.96 * voiced_share(pcm)

    def stream(self) -> vad.VADStream:
        return _VADStream(self)


class _VADStream(VadStream):
    async def _main_task(self) -> None:
        owner = cast(ScriptedVAD, self.owner)
        rest, position = np.zeros(0, np.int16), 0
        speaking, speech_s, silence_s = False, 0.0, 0.0
        async for item in self.received:
            if not isinstance(item, rtc.AudioFrame):
                speaking, speech_s, silence_s = False, 0.0, 0.0
                continue
            rest = np.concatenate([rest, np.frombuffer(item.data, np.int16)])
            while len(rest) >= WINDOW:
                window, rest = rest[:WINDOW], rest[WINDOW:]
                position += WINDOW
                p = owner.predict(window)
                speech_s, silence_s = (
                    (speech_s + WINDOW / RATE, 0.0) if p > 0.5 else (speech_s, silence_s + WINDOW / RATE)
                )
                kinds = [vad.VADEventType.INFERENCE_DONE]
                if p > 0.5 and not speaking:
                    speaking = True
                    kinds.insert(0, vad.VADEventType.START_OF_SPEECH)
                elif speaking and silence_s >= owner.min_silence_s:
                    speaking = False
                    kinds.insert(0, vad.VADEventType.END_OF_SPEECH)
                frame = rtc.AudioFrame(window.tobytes(), RATE, 1, WINDOW)
                for kind in kinds:
                    self.emit(
                        vad.VADEvent(
                            type=kind,
                            samples_index=position,
                            timestamp=position / RATE,
                            speech_duration=speech_s,
                            silence_duration=silence_s,
                            frames=[frame],
                            probability=p,
                            speaking=speaking,
                            raw_accumulated_silence=silence_s,
                            raw_accumulated_speech=speech_s if p > 0.5 else 0.0,
                        )
                    )
                if kinds[0] is vad.VADEventType.END_OF_SPEECH:
                    speech_s = 0.0


class ScriptedEngine:
    """In place of a :class:`WhisperEngine`: reads the words out of the sound. Passes take virtual time.

    ``mishears``: words that come out otherwise, as ``{"weather": "whether"}``.
    """

    multilingual = False

    def __init__(
        self, *, pass_s: float = PASS_S, confirm_s: float = CONFIRM_S, mishears: dict[str, str] | None = None
    ) -> None:
        self.pass_s, self.confirm_s = pass_s, confirm_s
        self._mishears = mishears or {}
        self.passes = 0

    def decode(self, pcm: Float32, **context: str) -> Hypothesis:
        spend(self.pass_s)
        return self._hear(pcm)

    def confirm(self, pcm: Float32, h: Hypothesis) -> Hypothesis | None:
        spend(self.confirm_s)
        heard = self._hear(pcm)
        return heard if heard.key == h.key else None

    def words(self, h: Hypothesis) -> Sequence[Word]:
        return cast(Sequence[Word], h.encoded)

    def _hear(self, pcm: Float32) -> Hypothesis:
        self.passes += 1
        found = words_in(np.round(pcm * 32768.0).astype(np.int16))
        words = tuple(Word(" " + self._mishears.get(w.text, w.text), w.start / RATE, w.stop / RATE, 1.0) for w in found)
        text = "".join(w.text for w in words).strip()
        audio_s = len(pcm) / RATE
        return Hypothesis(text, tuple(range(len(words))), audio_s, audio_s, -0.1, 0.0, encoded=words)


class ScriptedSTT(FastWhisperSTT):
    """Hears what ``synthetic_speech.spoken`` said. Everything but the two models is the real code.

    Use it in any ``AgentSession(stt=ScriptedSTT(), vad=ScriptedVAD(), ...)``, or let the pipeline give it a
    ``turn_detector``. ``expected``: the texts of the turns, in order; :meth:`verify` then raises ScriptError for others
    and for missing ones. ``clock`` must be that of the run.
    """

    def __init__(
        self,
        expected: Sequence[str] | None = None,
        *,
        engine: ScriptedEngine | None = None,
        turn_detector: Callable[[], BaseTurnDetector] | None = None,
        final_silence_s: float = 0.25,
        on_turn: Callable[[UserTurn], None] | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self.script = engine or ScriptedEngine()
        super().__init__(
            "scripted",
            turn_detector=turn_detector,
            final_silence_s=final_silence_s,
            on_turn=on_turn,
            engine=cast(WhisperEngine, self.script),
            clock=clock,
        )
        self.thread.shutdown()
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="scripted-whisper")
        self.detector = ScriptedVAD()
        self.committed: list[str] = []
        self._expected = None if expected is None else list(expected)

    @property
    def provider(self) -> str:
        return "voice_agent.testing.doubles"

    def new_vad(self) -> Vad:
        return self.detector.predict

    def turn_committed(self, turn: UserTurn) -> None:
        super().turn_committed(turn)
        self.committed.append(turn.text)

    def verify(self) -> None:
        """Raise ScriptError if the committed turns are not the expected ones (without ``expected``: never)."""
        if self._expected is None:
            return
        notes = Deviations("the STT")
        for i, text in enumerate(self.committed):
            want = self._expected[i] if i < len(self._expected) else None
            if want is None or want.split() != text.split():
                notes.unexpected(f"{text!r}", f"turn {i + 1} to be {want!r}" if want else "no further turn")
        notes.left_over([f"turn {i + 1} {t!r}" for i, t in enumerate(self._expected) if i >= len(self.committed)])
        notes.check()
