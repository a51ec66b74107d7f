"""PCM in, text out: Whisper with a window as short as the speech.

faster-whisper's ``transcribe`` pads every clip to 30 s. The encoder also works on fewer feature frames, in a sixth of
the time; but Whisper, trained on 30 s windows, then sometimes repeats the sentence instead of ending it. These measures
prevent or mend that, in the order of how often they help (development clips, docs/stt.md):

1. *Timestamps stay on.* With ``<|notimestamps|>`` a short window loops on 12 of 38 clips (base, greedy), with
   timestamps on none, because the model marks the end of the segment and stops.
2. *Text after an end-of-segment mark at the end of the audio is dropped* (:mod:`.generation`): no audio is left for it.
3. *A text that starts again* ("please hold. Please hold") is cut to its first round if there was no time for two
   (:mod:`.guards.repetition`).
4. *A wider window*, up to Whisper's own 30 s, when the text is still implausible (:mod:`.guards.plausibility`).
5. *No more tokens than the new audio can hold*, where an earlier pass decoded the rest: a loop ends at once.

Nothing here knows about turns, streams or asyncio. Every call blocks; run it on its own thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..clock import SYSTEM, Clock
from ..errors import ConfigError
from .backends.base import WhisperBackend
from .backends.load_backend import load_backend
from .confirmation import confirm, strip_slow_loop
from .encoded_audio import EncodedAudio
from .encoder_window import FULL_S, SHORT_S, EncoderWindow
from .generation import cut_at_end_mark, generate, prompt_of
from .guards.plausibility import is_plausible, remove_hallucination, without_markup
from .guards.repetition import strip_restart
from .hypothesis import Hypothesis, Word
from .pcm import SAMPLE_RATE, Float32

if TYPE_CHECKING:
    from faster_whisper.tokenizer import Tokenizer

MAX_AUDIO_S = 28.0
"""The longest audio of one pass: Whisper's window of 30 s less a margin."""
WIDE_MARGIN_S = 4.0
UNREAD_S = 1.0
"""More audio than this after the last segment is decoded as well."""


class WhisperEngine:
    """One Whisper model. Passes of different calls may run on several threads at once.

    ``path``: a CTranslate2 model folder. ``device``, ``compute_type``: as in CTranslate2; only ``cpu`` with ``int8`` is
    tested here. ``backend`` (:mod:`.backends.load_backend`; ``load`` makes it). ``language``: an ISO code,
    or "auto" (detected in each pass, multilingual models only). ``hotwords``: words to favour, given to the model as
    preceding text. ``margin_s``, ``min_window_s``: the window (:class:`.encoder_window.EncoderWindow`); None: what
    suits the model. Raises ModelError when the model does not load.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        device: str = "cpu",
        compute_type: str = "int8",
        backend: str = "auto",
        language: str = "en",
        hotwords: str = "",
        threads: int = 1,
        margin_s: float | None = None,
        min_window_s: float | None = None,
        clock: Clock = SYSTEM,
        load: Callable[..., WhisperBackend] = load_backend,
    ) -> None:
        self._backend = load(Path(path), backend=backend, device=device, compute_type=compute_type, threads=threads)
        self.multilingual = self._backend.is_multilingual
        if not self.multilingual and language not in ("en", "auto"):
            raise ConfigError(
                f"stt.language={language!r}: this Whisper model knows English only; choose a multilingual one (base)."
            )
        self._language = language
        self._hotwords = hotwords.strip() or None
        self._window = EncoderWindow.of(self.multilingual, margin_s, min_window_s)
        self._clock = clock
        self._tokenizers: dict[str, Tokenizer] = {}
        if language != "auto":
            self.tokenizer(language)

    def tokenizer(self, language: str) -> Tokenizer:
        """The tokenizer for ``language``. Raises ConfigError if the model does not know it."""
        if language not in self._tokenizers:
            from faster_whisper.tokenizer import Tokenizer

            try:
                self._tokenizers[language] = Tokenizer(
                    self._backend.hf_tokenizer,
                    self.multilingual,
                    task="transcribe",
                    language=language if self.multilingual else "en",
                )
            except ValueError as e:
                raise ConfigError(f"stt.language={language!r}: {e}") from e
        return self._tokenizers[language]

    def decode(
        self,
        pcm: Float32,
        *,
        previous: str = "",
        before: Hypothesis | None = None,
        speech_s: float | None = None,
        thorough: bool = True,
    ) -> Hypothesis:
        """Decode ``pcm`` (mono, 16 kHz, float32 in [-1, 1], at most 28 s). ``previous``: the text just before it.

        ``before``: the hypothesis of an earlier pass over the beginning of ``pcm``. ``speech_s``: the speech may have
        ended there; then ``before`` is confirmed where possible, without decoding (guard "confirmed"). Not
        ``thorough``: another pass will follow, so nothing is decoded twice, and an implausible text becomes no text
        (guard "hasty"). Raises ValueError for longer audio.
        """
        if len(pcm) > MAX_AUDIO_S * SAMPLE_RATE:
            raise ValueError(f"{len(pcm) / SAMPLE_RATE:.1f} s of audio in one pass; at most {MAX_AUDIO_S} s")
        h = self._pass(pcm, previous, None, before, speech_s, thorough)
        if h.guard == "confirmed":
            return h
        if not is_plausible(h):
            if not thorough:
                return replace(h, text="", tokens=(), guard="hasty")
            h = self._wider_pass(pcm, previous, h)
        h = remove_hallucination(h, pcm)
        if h.text and h.end_s is not None and h.audio_s - h.end_s > UNREAD_S:
            return self._go_on(h, pcm, int(h.end_s * SAMPLE_RATE))
        return h

    def words(self, h: Hypothesis) -> list[Word]:
        """Where each word of ``h`` lies in its audio, by cross-attention (faster-whisper's method).

        One decoder step over the known text, on the encoder's output that ``h`` carries: a fraction of a pass.
        """
        if not h.tokens or h.encoded is None:
            return []
        audio = EncodedAudio(self._backend, h.encoded, self.tokenizer(h.language), h.audio_s)
        return [
            Word(str(w["word"]), float(w["start"]), float(w["end"]), float(w["probability"]))
            for w in audio.word_times(h.tokens)
            if w["word"].strip()
        ]

    def _wider_pass(self, pcm: Float32, previous: str, h: Hypothesis) -> Hypothesis:
        """Decode again with a wider window, then with Whisper's own, in place of the implausible ``h``."""
        wider = self._pass(pcm, previous, WIDE_MARGIN_S)
        if not is_plausible(wider):
            wider = self._pass(pcm, previous, FULL_S)
        return replace(
            wider,
            guard=wider.guard or "wide",
            encode_s=h.encode_s + wider.encode_s,
            decode_s=h.decode_s + wider.decode_s,
        )

    def _go_on(self, h: Hypothesis, pcm: Float32, start: int) -> Hypothesis:
        """Decode from the end of the last segment: Whisper may stop there, as ``transcribe`` expects it to."""
        rest = self.decode(pcm[start:], previous=h.text) if start > 0 else h
        if not rest.text or rest is h or rest.key[-3:] == h.key[-3:]:  # the same end again: its mark came too early
            return replace(h, end_s=None)
        return replace(
            h,
            text=f"{h.text} {rest.text}",
            tokens=h.tokens + rest.tokens,
            ids=h.ids + rest.ids,
            avg_logprob=min(h.avg_logprob, rest.avg_logprob),
            end_s=None,
            decode_s=h.decode_s + rest.encode_s + rest.decode_s,
        )

    def _pass(
        self,
        pcm: Float32,
        previous: str,
        margin_s: float | None,
        before: Hypothesis | None = None,
        speech_s: float | None = None,
        thorough: bool = True,
    ) -> Hypothesis:
        """Encode once, then confirm ``before`` or decode. ``margin_s``: None for the usual one."""
        audio_s = len(pcm) / SAMPLE_RATE
        window_s = self._window.length_s(audio_s, last=thorough or speech_s is not None, margin_s=margin_s)
        started = self._clock.now()
        encoded = self._backend.encode(pcm, round(window_s * SAMPLE_RATE))
        encode_s = self._clock.now() - started
        audio = EncodedAudio(self._backend, encoded, self.tokenizer(self._language_of(encoded)), audio_s)
        h = None
        if before is not None and speech_s is not None:
            h = confirm(before, audio, speech_s, short=self.multilingual and audio_s <= SHORT_S)
        if h is None:
            h = self._decode(audio, previous, before, thorough)
        took_s = self._clock.now() - started
        return replace(h, window_s=window_s, encode_s=encode_s, decode_s=took_s - encode_s)

    def _decode(self, audio: EncodedAudio, previous: str, before: Hypothesis | None, thorough: bool) -> Hypothesis:
        tokenizer = audio.tokenizer
        result, stopped = generate(audio, prompt_of(tokenizer, previous, self._hotwords), before, thorough)
        ids = result.ids
        tokens, dropped_tail = cut_at_end_mark(ids, audio)
        closed = bool(ids) and ids[-1] >= tokenizer.timestamp_begin
        text, stuttered = without_markup(tokenizer.decode(tokens))
        text, looped = strip_restart(text, audio.audio_s)
        looped = looped or stuttered
        if not looped:
            text, looped = strip_slow_loop(text, audio)
        kept = tuple(tokenizer.encode(" " + text)) if looped else tuple(tokens)
        return Hypothesis(
            text=text,
            tokens=kept,
            ids=(*ids[:1], *kept) if looped else tuple(ids),
            audio_s=audio.audio_s,
            window_s=0.0,
            avg_logprob=result.score,
            no_speech_prob=result.no_speech_prob,
            guard="loop" if looped else "tail" if dropped_tail else "hasty" if stopped and not thorough else "",
            end_s=(ids[-1] - tokenizer.timestamp_begin) * 0.02 if closed and not looped and not dropped_tail else None,
            encoded=audio.encoded,
            language=tokenizer.language_code,
        )

    def _language_of(self, encoded: object) -> str:
        if self._language != "auto":
            return self._language
        return self._backend.detect_language(encoded) if self.multilingual else "en"
