"""PCM in, text out: Whisper with a window as short as the speech.

faster-whisper's ``transcribe`` pads every clip to 30 s. The encoder takes fewer feature frames just as well, at a sixth
of the time; the price is that Whisper, trained on 30 s windows, sometimes repeats the sentence instead of ending it.
What keeps it honest here, in the order of how often it helps (measured on the development clips, docs/hearing.md):

1. *Timestamps stay on.* With ``<|notimestamps|>`` a short window loops on 12 of 38 clips (base, greedy), with
   timestamps on none, because the model says where the segment ends and stops.
2. *Text after an end-of-segment mark at the end of the audio is dropped*: there was no sound to make it from.
3. *A text that starts again* ("please hold. Please hold") is cut to its first round if there was no time for two.
4. *A wider window*, up to Whisper's own 30 s, when the text is still implausible.
5. *No more tokens than the new sound can hold*, where an earlier pass has heard the rest: a loop ends at once.

Nothing here knows about turns, streams or asyncio. Every call blocks; run it on a thread of its own.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from faster_whisper.tokenizer import Tokenizer

from ..clock import SYSTEM, Clock
from ..errors import ConfigError
from .backends.ctranslate2 import Generated, load, prompt_of
from .guards.inflection import inflections, stop_of, without_stop
from .guards.repetition import repetitions_removed, strip_restart

SAMPLE_RATE = 16_000
FRAMES_PER_S = 100  # Whisper's mel frames
TIMES_PER_S = 50  # its timestamps
MAX_AUDIO_S = 28.0  # Whisper's window is 30 s; the rest is margin
WIDE_MARGIN_S = 4.0
MULTILINGUAL_WINDOW, ENGLISH_WINDOW = (0.6, 3.0), (1.5, 4.0)
"""(silence after the speech, least window) in s. On 38 clips base makes the same 11 errors with 0.4 to 1.5 s after the
speech, and never loops; tiny.en loops on 5 of 114 passes with 1.5 s, on 11 to 21 with less (docs/hearing.md)."""
SHORT_S, SHORT_WINDOW_S = 2.0, 5.0
"""A multilingual model's least window where at most so much sound (s) may be all that was said. With 3 s base hears
"Good bye" for "Goodbye", or not, by the 20 ms at which the sound begins (docs/hearing.md)."""
UNHEARD_S = 1.0  # more sound than this after the last segment is decoded as well
CONFIRM_MORE_S = 0.4  # at most this much new speech
CONFIRM_STOP = 0.2
CONFIRM_WORDS = 0.4
CONFIRM_FEW_WORDS = 0.5  # less, and decoding might choose another token; over a word or two it costs as little
LOOP_WORDS = 0.15
TOKENS, TOKENS_PER_S = 5, 6  # more than anybody says
LOOP_GAP_S = 0.5

Float32 = npt.NDArray[np.float32]

# What Whisper says to silence, breath and noise (its training data were subtitles). Only believed with a high score.
_HALLUCINATIONS = frozenset(
    {
        "you", "thank you", "thanks for watching", "thank you for watching", "thanks", "bye", "the", "oh", "uh", "so",
        "subtitles by the amara org community", "please subscribe", "okay", "hmm", "mm", "i", "a", "you you", "and",
        "music",
    }
)  # fmt: skip
_NOISE_MARKUP = re.compile(r"[\[(*♪][^\])*♪]*[\])*♪]?")  # "[Music]", "(wind blowing)", "♪"
_STUTTER = re.compile(r"([^\w\s])(?:\s*\1){3,}")  # "1,4,,,,,,,": a loop over punctuation; "..." is none


@dataclass(frozen=True, slots=True)
class Word:
    """One word with its place in the decoded audio, seconds from the start of the pcm handed in."""

    text: str
    start_s: float
    end_s: float
    probability: float


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What one pass heard.

    ``avg_logprob`` is the mean log-probability a token, ``no_speech_prob`` Whisper's own doubt that anybody spoke.
    ``guard`` names what a guard did to the text ("loop", "tail", "silence", "wide"), empty when nothing; "confirmed":
    nothing was decoded; "hasty": a quick pass that may lack words.
    """

    text: str
    tokens: tuple[int, ...]
    audio_s: float
    window_s: float
    avg_logprob: float
    no_speech_prob: float
    guard: str = ""
    language: str = "en"  # detected or set
    ids: tuple[int, ...] = ()  # all that was decoded, timestamps too: the next pass's draft
    end_s: float | None = None  # where Whisper says that the last segment ends
    encode_s: float = 0.0
    decode_s: float = 0.0
    encoded: Any = field(default=None, repr=False, compare=False)  # the encoder's output, for words() on the same audio

    @property
    def key(self) -> tuple[str, ...]:
        """The words alone: what two hypotheses are compared by."""
        return words_key(self.text)


def words_key(text: str) -> tuple[str, ...]:
    """Lower-case words without punctuation; two texts with equal keys say the same."""
    return tuple(w for w in (re.sub(r"[^\w']", "", x) for x in re.split(r"[\s\-]+", text.casefold())) if w)


def _likely(probabilities: Sequence[float], words: float = CONFIRM_WORDS) -> bool:
    """Of a text's tokens and the full stop after it: the stop, and the last ones before it, are likely enough."""
    return probabilities[-1] >= CONFIRM_STOP and min(probabilities[-4:-1], default=1.0) >= words


class WhisperEngine:
    """One Whisper model. Passes of different calls may run on several threads at once.

    ``path``: a CTranslate2 model directory. ``device``/``compute_type``: as CTranslate2 takes them; only ``cpu`` with
    ``int8`` is tested here. ``runtime``: what runs it (:mod:`.runtime`). ``language``: an ISO code, or "auto" (detected
    each pass, multilingual models only).
    ``hotwords``: words to favour, given to the model as preceding text. The window is ``margin_s`` longer than the
    speech and at least ``min_window_s``; None: what suits the model, and more for the last pass over a word or two.
    Raises ModelError when the model does not load.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        device: str = "cpu",
        compute_type: str = "int8",
        runtime: str = "auto",
        language: str = "en",
        hotwords: str = "",
        threads: int = 1,
        margin_s: float | None = None,
        min_window_s: float | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self._model = load(Path(path), runtime=runtime, device=device, compute_type=compute_type, threads=threads)
        self.multilingual = self._model.is_multilingual
        if not self.multilingual and language not in ("en", "auto"):
            raise ConfigError(
                f"stt.language={language!r}: this Whisper model knows English only; choose a multilingual one (base)."
            )
        self._language = language
        self._hotwords = hotwords.strip() or None
        default_margin_s, default_window_s = MULTILINGUAL_WINDOW if self.multilingual else ENGLISH_WINDOW
        self._margin_s = default_margin_s if margin_s is None else margin_s
        self._min_window_s = default_window_s if min_window_s is None else min_window_s
        self._short_window_s = SHORT_WINDOW_S if self.multilingual and min_window_s is None else self._min_window_s
        self._clock = clock
        self._tokenizers: dict[str, Tokenizer] = {}
        if language != "auto":
            self._tokenizer(language)

    def _tokenizer(self, language: str) -> Tokenizer:
        if language not in self._tokenizers:
            try:
                self._tokenizers[language] = Tokenizer(
                    self._model.hf_tokenizer,
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
        """Hear ``pcm`` (mono, 16 kHz, float32 in [-1, 1], at most 28 s). ``previous``: text said just before it.

        ``before``: what an earlier pass made of the beginning of ``pcm``. ``speech_s``: the user may have finished, and
        spoke until there; then ``before`` is asked first whether it holds for all of the sound (see :meth:`_confirm`;
        the result has ``guard="confirmed"``), which spares the decoding. Not ``thorough``: another pass will follow, so
        nothing is decoded twice, and a text that nobody can have said is none (``guard="hasty"``: it must follow).
        """
        if len(pcm) > MAX_AUDIO_S * SAMPLE_RATE:
            raise ValueError(f"{len(pcm) / SAMPLE_RATE:.1f} s of audio in one pass; at most {MAX_AUDIO_S} s")
        heard = self._pass(pcm, previous, self._margin_s, before, speech_s, thorough)
        if heard.guard == "confirmed":
            return heard
        if not thorough and not self._plausible(heard):
            return replace(heard, text="", tokens=(), guard="hasty")
        if not self._plausible(heard):
            wider = self._pass(pcm, previous, WIDE_MARGIN_S)
            if not self._plausible(wider):
                wider = self._pass(pcm, previous, 30.0)
            total = heard.decode_s + wider.decode_s
            heard = replace(
                wider, guard=wider.guard or "wide", encode_s=heard.encode_s + wider.encode_s, decode_s=total
            )
        heard = self._silence_guard(heard, pcm)
        if heard.text and heard.end_s is not None and heard.audio_s - heard.end_s > UNHEARD_S:
            return self._go_on(heard, pcm, int(heard.end_s * SAMPLE_RATE))
        return heard

    def _go_on(self, h: Hypothesis, pcm: Float32, start: int) -> Hypothesis:
        """Whisper may stop after a segment and expect to be called again from there, as ``transcribe`` does."""
        rest = self.decode(pcm[start:], previous=h.text) if start > 0 else h
        if not rest.text or rest is h or rest.key[-3:] == h.key[-3:]:  # the same end once more: its mark came too early
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
        margin_s: float,
        before: Hypothesis | None = None,
        speech_s: float | None = None,
        thorough: bool = True,
    ) -> Hypothesis:
        audio_s = len(pcm) / SAMPLE_RATE
        window_s = self._window_s(audio_s, margin_s, last=thorough or speech_s is not None)
        started = self._clock.now()
        encoded = self._model.encode(pcm, round(window_s * SAMPLE_RATE))
        encoded_at = self._clock.now()
        tokenizer = self._tokenizer(self._language if self._language != "auto" else self._detect(encoded))
        if before is not None and speech_s is not None:
            confirmed = self._confirm(before, audio_s, speech_s, encoded, tokenizer, thorough)
            if confirmed is not None:
                took_s = self._clock.now() - encoded_at
                return replace(confirmed, window_s=window_s, encode_s=encoded_at - started, decode_s=took_s)
        result, stopped = self._generate(encoded, tokenizer, previous, audio_s, before, thorough)
        ids = result.ids
        tokens, dropped_tail = self._cut_at_end_mark(ids, tokenizer, audio_s)
        closed = bool(ids) and ids[-1] >= tokenizer.timestamp_begin
        text = _NOISE_MARKUP.sub("", tokenizer.decode(tokens)).strip()
        text, stuttered = _STUTTER.subn(r"\1", text)
        text, looped = strip_restart(text, audio_s)
        looped = looped or stuttered > 0
        if not looped:
            text, looped = self._strip_slow_loop(text, audio_s, encoded, tokenizer)
        said = tuple(tokenizer.encode(" " + text)) if looped else tuple(tokens)
        return Hypothesis(
            text=text,
            tokens=said,
            ids=(*ids[:1], *said) if looped else tuple(ids),
            audio_s=audio_s,
            window_s=window_s,
            avg_logprob=result.score,
            no_speech_prob=result.no_speech_prob,
            guard="loop" if looped else "tail" if dropped_tail else "hasty" if stopped and not thorough else "",
            end_s=(ids[-1] - tokenizer.timestamp_begin) * 0.02 if closed and not looped and not dropped_tail else None,
            encode_s=encoded_at - started,
            decode_s=self._clock.now() - encoded_at,
            encoded=encoded,
            language=tokenizer.language_code,
        )

    def _generate(
        self,
        encoded: Any,
        tokenizer: Tokenizer,
        previous: str,
        audio_s: float,
        before: Hypothesis | None,
        thorough: bool,
    ) -> tuple[Generated, bool]:
        """Greedy decoding; stopped (the second value) where the sound cannot hold more, for a loop does not stop."""
        prompt = prompt_of(tokenizer, previous, self._hotwords)
        bounds = [int(TOKENS + audio_s * TOKENS_PER_S)]
        if before is not None and before.tokens:
            more = int(TOKENS + (audio_s - before.audio_s) * TOKENS_PER_S)
            bounds.insert(0, min(bounds[0], len(before.tokens) + more))
        draft = before.ids if before is not None else ()
        end = self._end(tokenizer, audio_s)
        for bound in bounds:
            result = self._model.generate(encoded, prompt, bound, draft, end)
            ids = result.ids
            at_end = len(ids) > 1 and ids[-1] >= end and ids[-2] < tokenizer.timestamp_begin
            stopped = len(ids) >= bound and not at_end
            if not thorough or not stopped or self._ends(ids, tokenizer, audio_s):
                break
        return result, stopped

    def _ends(self, ids: Sequence[int], tokenizer: Tokenizer, audio_s: float) -> bool:
        """Whether a text that was stopped had already come to its end: at an end mark, or in its second round."""
        tokens, dropped_tail = self._cut_at_end_mark(ids, tokenizer, audio_s)
        return dropped_tail or strip_restart(tokenizer.decode(tokens).strip(), audio_s)[1]

    def _strip_slow_loop(self, text: str, audio_s: float, encoded: Any, tokenizer: Tokenizer) -> tuple[str, bool]:
        """A repetition that there was time for: a loop if the text without it accounts for all of the sound."""
        if len(text.split()) < 6:
            return text, False
        once, repeats = strip_restart(text, audio_s, max_words_per_s=1.0)
        if repeats:
            tokens = tokenizer.encode(" " + without_stop(once))
            found = self._model.alignment(encoded, tokenizer, tokens, int(audio_s * FRAMES_PER_S))
            return (once, True) if found and audio_s - found[-1]["end"] <= LOOP_GAP_S else (text, False)
        for once in repetitions_removed(text):
            if self._accounts_for(once, audio_s, encoded, tokenizer):
                return once, True
        return text, False

    def _accounts_for(self, text: str, audio_s: float, encoded: Any, tokenizer: Tokenizer) -> bool:
        """Whether ``text`` and then a full stop is likely for the whole audio (see :meth:`_confirm`)."""
        probabilities, _ = self._likelihood(text, audio_s, encoded, tokenizer)
        return _likely(probabilities, LOOP_WORDS)

    def _likelihood(self, text: str, audio_s: float, encoded: Any, tokenizer: Tokenizer) -> tuple[list[float], int]:
        """The decoder's probability of each token of ``text`` and its full stop; how many tokens the last word has."""
        bare = without_stop(text)
        tokens = tokenizer.encode(f" {bare}{stop_of(text)}")
        before_last = bare.rsplit(None, 1)[0] if " " in bare else ""
        last = len(tokens) - 1 - (len(tokenizer.encode(f" {before_last}")) if before_last else 0)
        frames = int(audio_s * FRAMES_PER_S)
        return self._model.likelihood(encoded, tokenizer, tokens, frames), last

    @staticmethod
    def _end(tokenizer: Tokenizer, audio_s: float) -> int:
        """The first timestamp that lies at the end of the audio."""
        return int(tokenizer.timestamp_begin) + max(0, math.ceil((audio_s - 0.35) * TIMES_PER_S))

    @staticmethod
    def _cut_at_end_mark(ids: Sequence[int], tokenizer: Tokenizer, audio_s: float) -> tuple[list[int], bool]:
        """Keep the text up to the first end-of-segment timestamp that lies at the end of the audio."""
        kept: list[int] = []
        for i in ids:
            if i >= tokenizer.timestamp_begin:
                if kept and i >= WhisperEngine._end(tokenizer, audio_s):
                    rest = [j for j in ids[len(kept) :] if j < tokenizer.eot]
                    return kept, len(rest) > 0 and any(j < tokenizer.eot for j in ids[ids.index(i) :])
            elif i < tokenizer.eot:
                kept.append(i)
        return kept, False

    def _detect(self, encoded: Any) -> str:
        if not self.multilingual:
            return "en"
        return self._model.detect_language(encoded)

    @staticmethod
    def _plausible(h: Hypothesis) -> bool:
        """Speech is at most ~6 words/s; text that compresses well is a loop (faster-whisper's ratio is 2.4)."""
        if not h.text:
            return True
        words = len(h.text.split())
        raw = h.text.encode()
        repetitive = len(raw) > 40 and len(raw) / len(zlib.compress(raw)) > 2.2
        return words <= 4 + 6 * h.audio_s and not repetitive

    @staticmethod
    def _silence_guard(h: Hypothesis, pcm: Float32) -> Hypothesis:
        """Silence, hum, breath and music make Whisper say something; nothing is better than "you"."""
        key = " ".join(words_key(h.text))
        doubtful = h.no_speech_prob > 0.6 and h.avg_logprob < -0.6
        hopeless = h.avg_logprob < -1.3 or h.no_speech_prob > 0.9
        stock = key in _HALLUCINATIONS and (h.no_speech_prob > 0.3 or h.avg_logprob < -0.75)
        quiet = len(pcm) == 0 or float(np.sqrt(np.mean(np.square(pcm)))) < 1e-4  # -80 dBFS: a closed microphone
        if h.text and (not key or doubtful or hopeless or stock or quiet):
            return replace(h, text="", tokens=(), guard="silence")
        return h

    def words(self, h: Hypothesis) -> list[Word]:
        """Where each word of ``h`` lies in the audio it was decoded from, by cross-attention (faster-whisper's).

        One decoder pass over the known text, on the encoder's output that ``h`` carries: a fraction of a decode.
        """
        if not h.tokens or h.encoded is None:
            return []
        tokenizer = self._tokenizer(h.language)
        found = self._model.alignment(h.encoded, tokenizer, h.tokens, int(h.audio_s * FRAMES_PER_S))
        return [
            Word(str(w["word"]), float(w["start"]), float(w["end"]), float(w["probability"]))
            for w in found
            if w["word"].strip()
        ]

    def _confirm(
        self, h: Hypothesis, audio_s: float, speech_s: float, encoded: Any, tokenizer: Tokenizer, thorough: bool
    ) -> Hypothesis | None:
        """Does ``h``, decoded from the beginning of the audio, hold for all of it? Then it is returned, else None.

        When the user pauses, the text is usually known already: the last pass heard all but the fading end. Asking the
        decoder how likely that text and the full stop after it are on the whole audio takes one step over all tokens
        instead of one a token, and nothing can loop.
        If another word, or another ending, was spoken, the full stop is unlikely there: with the last word taken away
        its probability was at most 0.002, with the whole text at least 0.198 (37 clips, tiny.en and base).
        Where nothing but the last word is unlikely, a thorough pass asks its inflections as well: of 132 texts that
        were wrong (38 clips, 0.06-0.7 s before their end, both models) all 11 that lacked just that were mended, none
        other taken.
        """
        if not h.tokens or h.guard in ("wide", "silence") or speech_s - h.audio_s > CONFIRM_MORE_S:
            return None
        probabilities, last = self._likelihood(h.text, audio_s, encoded, tokenizer)
        text = h.text
        words = CONFIRM_FEW_WORDS if self.multilingual and audio_s <= SHORT_S else CONFIRM_WORDS
        if not _likely(probabilities, words):
            if (
                not thorough
                or tokenizer.language_code != "en"
                or min(probabilities[-1 - last - 3 : -1 - last], default=1.0) < words
            ):
                return None
            spoken_out = (other + stop_of(h.text) for other in inflections(h.text))
            asked = ((t, self._likelihood(t, audio_s, encoded, tokenizer)[0]) for t in spoken_out)
            found = next((t for t, likelihood in asked if _likely(likelihood, words)), None)
            if found is None:
                return None
            text = found
        tokens = h.tokens if text == h.text else tuple(tokenizer.encode(f" {text}"))
        return replace(
            h,
            text=text,
            tokens=tokens,
            ids=h.ids if text == h.text else (*h.ids[:1], *tokens),
            audio_s=audio_s,
            guard="confirmed",
            end_s=None,
            encoded=encoded,
        )

    def _window_s(self, audio_s: float, margin_s: float, last: bool) -> float:
        """``last``: this text may be the one that counts; those before it may be had for less."""
        least_s = self._short_window_s if last and audio_s <= SHORT_S else self._min_window_s
        return round(min(30.0, max(least_s, audio_s + margin_s)), 2)
