"""A Piper voice that starts to sound before it has finished thinking.

Text -> phonemes (espeak-ng, through Piper's own classes) -> ``z_p`` for the whole chunk (the text half) -> ``z`` and
samples in pieces that overlap by what the convolutions reach (:mod:`.graph`). The pieces are cut so that the samples
equal those of the whole; the first is small so that it is heard soon, and they grow because overlap costs work.

Blocking; :mod:`.stream` runs it on a thread of its own. Several threads may use one voice: what belongs to a text is
not kept in it, onnxruntime's sessions allow it, and espeak has a lock. A :class:`Stop` set from another thread ends the
work within the model's current operator (a few milliseconds).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from piper import PiperVoice
from piper.config import PiperConfig

from ..errors import ModelError, SpeechError
from ..inference import open_session, session_options
from . import graph
from .words import Group

HURRIED_FRAMES = (14, 28, 96)
"""Frames (11.6 ms each) of the first pieces when sound is wanted at once, STEADY_FRAMES after them. 14 frames are
163 ms, of which ~45 are the silence that a voice starts with; the next piece takes ~50 ms to make, half of the rest."""
CROWDED_FRAMES = (28, 112)
"""The same where several calls share the cores: sound for three times as long, because the next piece may take 0.2 s,
and a piece less to make."""
STEADY_FRAMES = 192
"""Frames of a piece when there is sound enough: 2.2 s, of the decoder's work a tenth is overlap."""
_FLOW_AHEAD_FRAMES = 448
"""How far the flow, which reaches 32 frames to either side but costs a quarter of the decoder, then runs ahead: most
sentences in one go (4.1 s of sound take 3 % less than with 256, n = 15)."""
_FLOW_LEAST_FRAMES = 65
"""No window of the flow is narrower, unless the sentence is: up to 64 frames onnxruntime multiplies in another order on
processors with AVX-512, and where the flow is steep its rounding came to 1.6 steps of 16 bits."""
MAX_PHONEME_IDS = 2000
"""The text half is quadratic in these (~0.3 ms each at 400); a thousand characters are about 2,000."""
_PEAK = 0.65
_ESPEAK = threading.Lock()
"""espeak-ng is one for the whole process, and keeps the language it was given last."""
_WARM_UP = ("Yes.", "Well, the first few sentences only make the machine ready.")


@dataclass(frozen=True, slots=True)
class Delivery:
    """How to speak. None leaves a value to the voice's own configuration."""

    speaker: int | None = None
    length_scale: float | None = None
    """Slower above 1, faster below."""
    noise_scale: float | None = None
    """Variation of the sound; 0 with ``noise_w`` 0 makes the samples repeat exactly."""
    noise_w: float | None = None
    """Variation of the rhythm."""


class Stop:
    """Ends a synthesis from another thread, in the middle of the model's run if need be.

    It also says how far the synthesis matters, to a voice that many calls share: ``due_at``, when the sound before it
    will have been heard (monotonic seconds; None: none is heard yet), and ``provisional()``, whether it may still be
    thrown away.
    """

    __slots__ = ("_event", "due_at", "provisional", "run_options")

    def __init__(self, due_at: float | None = None, provisional: Callable[[], bool] = lambda: False) -> None:
        self._event = threading.Event()
        self.run_options = ort.RunOptions()
        self.due_at = due_at
        self.provisional = provisional

    def wait(self, timeout_s: float) -> bool:
        """Wait for it to be set, for so long at most; whether it is."""
        return self._event.wait(timeout_s)

    def set(self) -> None:
        self._event.set()
        self.run_options.terminate = True

    @property
    def is_set(self) -> bool:
        return self._event.is_set()


@dataclass(frozen=True, slots=True)
class Piece:
    """Some samples of a text: mono, int16. ``last``: the text ends with them.

    The first piece of each sentence says when its groups of phonemes are heard (``groups``, counted from that piece's
    first sample); ``phonemes``: how many each group of the whole text has, ``first_group``: where the sentence begins
    in them. All empty where the voice does not tell.
    """

    samples: NDArray[np.int16]
    last: bool
    groups: tuple[Group, ...] = ()
    phonemes: tuple[int, ...] = ()
    first_group: int = 0


@dataclass(frozen=True, slots=True)
class Prior:
    """``z_p`` of one sentence and what else the later parts read, by tensor name (float32)."""

    tensors: dict[str, NDArray[np.float32]]
    frames: int


@dataclass(frozen=True, slots=True)
class _Model:
    """A part of the graph in its session."""

    session: Any
    part: graph.Part

    def run(self, feed: dict[str, NDArray[Any]], stop: Stop) -> list[NDArray[np.float32]]:
        outputs: list[NDArray[np.float32]] = self.session.run(list(self.part.outputs), feed, stop.run_options)
        return outputs


@dataclass(slots=True)
class _Latents:
    """``z`` so far: a piece is computed when the decoder first needs it, and what it no longer needs is dropped."""

    frames: int
    start: int = 0
    pieces: NDArray[np.float32] = field(default_factory=lambda: np.zeros((1, 0, 0), np.float32))
    runs: int = 0

    @property
    def end(self) -> int:
        return self.start + int(self.pieces.shape[-1])

    def append(self, more: NDArray[np.float32], keep_from: int) -> None:
        if not self.runs:
            self.pieces = more
        else:
            self.pieces = np.concatenate([self.pieces[..., keep_from - self.start :], more], axis=-1)
            self.start = keep_from
        self.runs += 1


class Voice:
    """A loaded Piper voice. Make one with :meth:`load`."""

    def __init__(self, config: PiperConfig, parts: graph.Parts, *, threads: int = 1) -> None:
        self.config = config
        self.sample_rate = int(config.sample_rate)
        """Hertz."""
        self._prior_name, self._latent_name = parts.prior, parts.latent
        self._durations_name = parts.durations
        self._text = _Model(_session(parts.text.model, threads, bounded=False), _without_model(parts.text))
        self._flow = _Model(_session(parts.flow.model, threads, bounded=True), _without_model(parts.flow))
        self._decoder = _Model(
            _session(parts.decoder.model, threads, bounded=True, images=True), _without_model(parts.decoder)
        )
        # Piper's class is used for what it does best, text to phoneme ids in all of its languages.
        self._piper = PiperVoice(session=self._text.session, config=config)
        self._gain = 1.0

    @classmethod
    def load(cls, model_path: Path, config_path: Path | None = None, *, threads: int = 1) -> Voice:
        """Load and warm up a voice (~1 s). ``config_path`` defaults to the model's path with ``.json`` appended.

        Raises ModelError if a file is missing, broken, or no Piper voice.
        """
        config = load_config(config_path or Path(f"{model_path}.json"))
        try:
            model = model_path.read_bytes()
        except OSError as e:
            raise ModelError(f"{model_path}: cannot read the voice ({e.strerror}): give a path to an .onnx") from e
        voice = cls(config, graph.split(model), threads=threads)
        del model
        voice.warm_up()
        return voice

    @property
    def hop_samples(self) -> int:
        """Samples a frame."""
        return self._decoder.part.upsampling

    def warm_up(self) -> None:
        """Run a few lengths once, so that the first reply does not pay for it, and set the gain.

        Piper scales each sentence to full range, which needs the whole sentence and makes short words shout. Here one
        gain a voice is measured instead, so that its peaks lie near 0.65 of full range (3.7 dB of headroom: peaks of
        single sentences were seen to vary by up to 3.3 dB).
        """
        still = Delivery(noise_scale=0.0, noise_w=0.0)
        peaks = [0.0]
        for text in _WARM_UP:
            for ids in self.phoneme_ids(text):
                for sizes in (HURRIED_FRAMES, ()):
                    peaks += (float(np.abs(x).max()) for x in self.decode(self.prior(ids, still), sizes))
        self._gain = min(max(_PEAK / max(peaks), 0.25), 4.0) if max(peaks) > 0 else 1.0

    def speak(
        self,
        text: str,
        delivery: Delivery | None = None,
        *,
        hurry: bool = True,
        first: Sequence[int] = HURRIED_FRAMES,
        stop: Stop | None = None,
    ) -> Iterator[Piece]:
        """``text`` as sound at :attr:`sample_rate`, in pieces; nothing for a text without sounds.

        ``hurry`` makes the first pieces small (``first``, in frames); without it less work is done in all. Ends early,
        with no error, once ``stop`` is set. Raises SpeechError for a text that cannot be spoken.
        """
        stop, sentences = stop or Stop(), self.phoneme_ids(text)
        split = [self._groups(ids) for ids in sentences]
        phonemes = tuple(len(group) for groups in split for group in groups)
        first_group = 0
        for number, ids in enumerate(sentences):
            sizes = first if hurry and number == 0 else ()
            try:
                prior = self.prior(ids, delivery, stop=stop)
                left = prior.frames * self.hop_samples
                timed = self._timed(prior, split[number])
                for samples in self.decode(prior, sizes, stop=stop):
                    if stop.is_set:
                        return
                    left -= samples.size
                    scaled = np.clip(samples * (self._gain * 32767), -32767, 32767).astype(np.int16)
                    last = left == 0 and number == len(sentences) - 1
                    yield Piece(scaled, last, timed, phonemes if timed else (), first_group)
                    timed = ()
                first_group += len(split[number])
            except SpeechError:
                raise
            except Exception as e:  # onnxruntime's exceptions share no base class but this
                if stop.is_set:
                    return
                raise SpeechError(f"the voice failed on {_excerpt(text)}: {e}") from e

    def _groups(self, ids: Sequence[int]) -> list[list[int]]:
        """The places in ``ids`` of each group's phonemes: what stands between two spaces, without the marks."""
        known = self.config.phoneme_id_map
        space = set(known.get(" ", ()))
        silent = {i for mark in ("_", "^", "$", *",.:;!?ˈˌː") for i in known.get(mark, ())}
        groups: list[list[int]] = [[]]
        for place, phoneme in enumerate(ids):
            if phoneme in space:
                groups.append([])
            elif phoneme not in silent:
                groups[-1].append(place)
        return [g for g in groups if g]

    def _timed(self, prior: Prior, groups: Sequence[Sequence[int]]) -> tuple[Group, ...]:
        if self._durations_name is None:
            return ()
        ends = np.cumsum(prior.tensors[self._durations_name].reshape(-1)) * self.hop_samples / self.sample_rate
        # An id's padding follows it, and belongs to it; a group starts where the id before it ends.
        return tuple(
            Group(len(g), float(ends[g[0] - 1]) if g[0] else 0.0, float(ends[min(g[-1] + 1, len(ends) - 1)]))
            for g in groups
        )

    def phoneme_ids(self, text: str) -> list[list[int]]:
        """The ids of each sentence's phonemes. Raises SpeechError for a text that espeak or the voice refuses."""
        try:
            with _ESPEAK:
                sentences = [self._piper.phonemes_to_ids(p) for p in self._piper.phonemize(text) if p]
        except Exception as e:  # ValueError, UnicodeEncodeError, RuntimeError: whatever the phonemizer's bridge raises
            raise SpeechError(f"cannot turn {_excerpt(text)} into sounds ({e}): clean it with spoken.speakable") from e
        longest = max(map(len, sentences), default=0)
        if longest > MAX_PHONEME_IDS:
            raise SpeechError(f"{_excerpt(text)} is too long to be said in one go: give it in sentences (text.Chunker)")
        return sentences

    def prior(self, ids: Sequence[int], delivery: Delivery | None = None, *, stop: Stop | None = None) -> Prior:
        """Run the text half on one sentence. Its noise is drawn here: what follows depends on the prior alone."""
        delivery, config = delivery or Delivery(), self.config
        scales = (
            _or(delivery.noise_scale, config.noise_scale),
            _or(delivery.length_scale, config.length_scale),
            _or(delivery.noise_w, config.noise_w_scale),
        )
        feed: dict[str, NDArray[Any]] = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array(scales, np.float32),
        }
        if "sid" in self._text.part.inputs:
            feed["sid"] = np.array([speaker_id(config, delivery.speaker)], np.int64)
        outputs = self._text.run({name: feed[name] for name in self._text.part.inputs}, stop or Stop())
        tensors = dict(zip(self._text.part.outputs, outputs, strict=True))
        return Prior(tensors, tensors[self._prior_name].shape[-1])

    def decode(
        self, prior: Prior, sizes: Sequence[int] = HURRIED_FRAMES, *, stop: Stop | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """Samples (float32, unscaled) of ``prior`` in pieces of ``sizes`` frames, then of STEADY_FRAMES.

        However it is cut, the pieces put together are what the whole graph gives for that prior.
        """
        stop, reach, total = stop or Stop(), self._decoder.part.reach_frames, prior.frames
        latents, start, step = _Latents(total), 0, 0
        while start < total:
            size = sizes[step] if step < len(sizes) else STEADY_FRAMES
            # A last piece shorter than the overlap would cost more than it gives.
            end = total if total - start - size <= reach else start + size
            first, last = max(start - reach, 0), min(end + reach, total)
            self._extend(latents, prior, last, first, stop, hurry=bool(sizes))
            window = latents.pieces[..., first - latents.start : last - latents.start]
            feed = self._feed(self._decoder, prior, first, last) | {self._latent_name: window}
            samples = self._decoder.run(feed, stop)[0].reshape(-1)
            hop = self.hop_samples
            yield samples[(start - first) * hop : (end - first) * hop]
            start, step = end, step + 1

    def _extend(self, latents: _Latents, prior: Prior, until: int, keep_from: int, stop: Stop, *, hurry: bool) -> None:
        """Make ``z`` known up to frame ``until``."""
        reach = self._flow.part.reach_frames
        while latents.end < until:
            # Twice exactly what is needed, for speed; then ahead, because the flow reaches far and overlap costs.
            end = until if hurry and latents.runs < 2 else max(until, latents.end + _FLOW_AHEAD_FRAMES)
            end = latents.frames if latents.frames - end <= reach else end
            start = latents.end
            first = max(start - reach, 0)
            last = min(max(end + reach, first + _FLOW_LEAST_FRAMES), latents.frames)
            latent = self._flow.run(self._feed(self._flow, prior, first, last), stop)[0]
            latents.append(latent[..., start - first : end - first], keep_from)

    def _feed(self, model: _Model, prior: Prior, first: int, last: int) -> dict[str, NDArray[Any]]:
        """The inputs of ``model`` for frames [first, last): what has a column a frame is cut, the speaker is not."""
        return {
            name: tensor[..., first:last] if tensor.shape[-1] == prior.frames else tensor
            for name in model.part.inputs
            if (tensor := prior.tensors.get(name)) is not None
        }


def load_config(path: Path) -> PiperConfig:
    """Read a voice's ``.onnx.json``. Raises ModelError."""
    try:
        return PiperConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as e:
        raise ModelError(f"{path}: cannot read it ({e.strerror}): a voice's configuration lies beside its .onnx") from e
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ModelError(f"{path}: not the configuration of a Piper voice ({e!r}): download it again") from e


def speaker_id(config: PiperConfig, number: int | None) -> int:
    """The speaker that is meant by ``number`` (None: the voice's default). Raises SpeechError for one it has not."""
    if number is None:
        return int(config.default_speaker_id)
    if not 0 <= number < max(config.num_speakers, 1):
        raise SpeechError(f"speaker {number}: this voice has {config.num_speakers}; count from 0")
    return number


def _session(model: bytes, threads: int, *, bounded: bool, images: bool = False) -> Any:
    """``bounded``: the tensors have a largest size, so that keeping their memory for the next run costs little."""
    options = session_options(threads)
    # The arena keeps the memory of the largest run for ever. That is 330 MB after one undivided run on 190 characters,
    # but it spares the decoder 12 % of its time (a piece of 192 frames has 6,000 page faults without it).
    options.enable_cpu_mem_arena = bounded
    if images:  # this brings the layout that graph.py wants; the basic ones are as fast for the rest
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    try:
        return open_session(model, options)
    except Exception as e:  # onnxruntime's exceptions share no base class but this
        raise ModelError(f"onnxruntime refuses the voice ({e}): download it again, or use one made by Piper") from e


def _without_model(part: graph.Part) -> graph.Part:
    return graph.Part(b"", part.inputs, part.outputs, part.reach_frames, part.upsampling)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
