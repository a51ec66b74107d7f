"""A Piper voice that starts to sound before it has finished thinking.

Text -> phonemes (espeak-ng, through Piper's own classes) -> ``z_p`` for the whole chunk (the text half) -> ``z`` and
samples in pieces that overlap by what the convolutions reach (:mod:`.graph`). The pieces are cut so that the samples
equal those of the whole; the first is small so that it is heard soon, and they grow because overlap costs work.

Blocking; :mod:`.stream` runs it on a thread of its own. Several threads may use one voice: what belongs to a text is
not kept in it, onnxruntime's sessions allow it, and espeak has a lock. A :class:`Stop` set from another thread ends the
work within the model's current operator (a few milliseconds), or within a window on tiles (:mod:`.tiles`, 15 ms).
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from piper import PiperVoice
from piper.config import PiperConfig

from ..errors import ConfigError, ModelError, SpeechError
from ..onnx_tools.session import open_session, session_options
from ..runtime.malloc import trim_heap
from . import vits_split as graph
from .openvino_backend import Tiles, has_tiles, openvino
from .word_timing import Group

_log = logging.getLogger(__name__)

RUNTIMES = ("auto", "onnx", "openvino")
LOW_LATENCY_FRAMES = (14, 28, 96)
"""Frames (11.6 ms each) of the first pieces when sound is wanted at once, STEADY_FRAMES after them. 14 frames are
163 ms, of which ~45 are the silence that a voice starts with; the next piece takes ~50 ms to make, half of the rest."""
UNDER_LOAD_FRAMES = (28, 112)
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
_TILED_FRAMES = 96
"""What a run of the flow gives on tiles (:mod:`.tiles`) in mid-sentence: a longer one is hardly cheaper a frame."""
_TILED_PHONEMES = (128, 256, 480)
"""Widths of the text half on tiles, in phoneme ids: 480 for the longest chunk (``Limits.max_chars``). What is longer
runs as it does without tiles."""
_LATENT_AGREES_DB, _SOUND_AGREES_DB = 30.0, 25.0
"""A voice is not run in bfloat16 if that differs by more than this from float32: the latents by 42 to 46 dB and the
decoder's samples by 40 dB with the embedded voice."""
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


_STILL = Delivery(noise_scale=0.0, noise_w=0.0)


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
class AudioChunk:
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


class _Runs(Protocol):
    """What runs a part of the graph. ``widths``: the frames that a run may have; empty: any number."""

    @property
    def part(self) -> graph.Part: ...

    @property
    def widths(self) -> tuple[int, ...]: ...

    def run(self, feed: dict[str, NDArray[Any]], stop: Stop) -> list[NDArray[np.float32]]: ...


@dataclass(frozen=True, slots=True)
class _Model:
    """A part of the graph in its session."""

    session: Any
    part: graph.Part
    widths: tuple[int, ...] = ()

    def run(self, feed: dict[str, NDArray[Any]], stop: Stop) -> list[NDArray[np.float32]]:
        outputs: list[NDArray[np.float32]] = self.session.run(list(self.part.outputs), feed, stop.run_options)
        return outputs


@dataclass(slots=True)
class _Latents:
    """``z`` so far: a piece is computed when the decoder first needs it."""

    all: NDArray[np.float32]
    end: int = 0
    runs: int = 0


class Voice:
    """A loaded Piper voice. Make one with :meth:`load`."""

    def __init__(self, config: PiperConfig, parts: graph.Parts, *, threads: int = 1) -> None:
        self.config = config
        self.sample_rate = int(config.sample_rate)
        """Hertz."""
        self._prior_name, self._latent_name = parts.prior, parts.latent
        self._durations_name = parts.durations
        self._text = _Model(_session(parts.text.model, threads, bounded=False), graph.without_model(parts.text))
        flow, decoder = parts.flow, parts.decoder
        self._flow: _Runs = _Model(_session(flow.model, threads, bounded=True), graph.without_model(flow))
        self._decoder: _Runs = _Model(
            _session(decoder.model, threads, bounded=True, images=True), graph.without_model(decoder)
        )
        # Piper's class is used for what it does best, text to phoneme ids in all of its languages.
        self._piper = PiperVoice(session=self._text.session, config=config)
        self._halves: tuple[Tiles, _Model] | None = None
        """The text half in two, where the encoder of phonemes runs on tiles."""
        self._gain = 1.0

    @classmethod
    def load(
        cls, model_path: Path, config_path: Path | None = None, *, threads: int = 1, runtime: str = "onnx"
    ) -> Voice:
        """Load and warm up a voice (1 to 4 s). ``config_path`` defaults to the model's path with ``.json`` appended.

        ``runtime``: ``onnx`` gives the samples that Piper's own graph gives; ``openvino`` computes in bfloat16 what
        takes most of the time; ``auto`` does that where the processor has tiles for it, OpenVINO is there, and the
        sound agrees.
        Raises ModelError if a file is missing, broken, or no Piper voice, or one that ``openvino`` was asked for and
        cannot be done with; ConfigError for another runtime.
        """
        check_runtime(runtime)
        config = load_config(config_path or Path(f"{model_path}.json"))
        try:
            model = model_path.read_bytes()
        except OSError as e:
            raise ModelError(f"{model_path}: cannot read the voice ({e.strerror}): give a path to an .onnx") from e
        parts = graph.split(model)
        voice = cls(config, parts, threads=threads)
        del model
        if runtime == "openvino" or (runtime == "auto" and has_tiles() and openvino() is not None):
            try:
                voice._lay_tiles(parts, threads)
            except Exception as e:  # a voice of another make may fail in either runtime, whose errors share no base
                why = f"{model_path.name} does not run in bfloat16 ({e})"
                if runtime == "openvino":
                    raise ModelError(f"{why}: use tts.backend=onnx") from e
                _log.warning("%s: it runs in float32, which takes more than twice as long", why)
        del parts
        voice.warm_up()
        trim_heap()  # what the models were written down in
        return voice

    def _lay_tiles(self, parts: graph.Parts, threads: int) -> None:
        """Compute in bfloat16 from now on. Raises what the runtimes raise, or a RuntimeError if it sounds otherwise."""
        ids = self.phoneme_ids(_WARM_UP[-1])[-1]
        feed: dict[str, NDArray[Any]] = {"input": np.array([ids], np.int64), "input_lengths": np.array([len(ids)])}
        prior = self.prior(ids, _STILL)
        first, rest = graph.halves(parts.text)
        encoder = Tiles(first, feed, _TILED_PHONEMES)
        exact = _Model(_session(first.model, threads, bounded=False), first)
        _agree("phonemes", exact.run(feed, Stop())[0], encoder.run(feed)[0], _LATENT_AGREES_DB)

        reach = self._flow.part.reach_frames
        # Behind the end there is silence in the mask too, by which the flow multiplies.
        flow = Tiles(parts.flow, prior.tensors, (2 * reach + _TILED_FRAMES,))
        feed = self._feed(self._flow, prior, 0, min(prior.frames, flow.widths[-1]))
        latent = self._flow.run(feed, Stop())[0]
        _agree("latents", latent, flow.run(feed)[0], _LATENT_AGREES_DB)

        reach = self._decoder.part.reach_frames
        before, *later = LOW_LATENCY_FRAMES
        widths = (before + reach, *(size + 2 * reach for size in later))
        feed = self._feed(self._decoder, prior, 0, widths[1]) | {self._latent_name: latent[..., : widths[1]]}
        decoder = Tiles(parts.decoder, feed, widths, "the last column")
        _agree("samples", self._decoder.run(feed, Stop())[0], decoder.run(feed)[0], _SOUND_AGREES_DB)
        self._halves = encoder, _Model(_session(rest.model, threads, bounded=False), graph.without_model(rest))
        self._flow, self._decoder = flow, decoder

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
        peaks = [0.0]
        for text in _WARM_UP:
            for ids in self.phoneme_ids(text):
                for sizes in (LOW_LATENCY_FRAMES, ()):
                    peaks += (float(np.abs(x).max()) for x in self.decode(self.prior(ids, _STILL), sizes))
        self._gain = min(max(_PEAK / max(peaks), 0.25), 4.0) if max(peaks) > 0 else 1.0

    def speak(
        self,
        text: str,
        delivery: Delivery | None = None,
        *,
        low_latency: bool = True,
        first: Sequence[int] = LOW_LATENCY_FRAMES,
        stop: Stop | None = None,
    ) -> Iterator[AudioChunk]:
        """``text`` as sound at :attr:`sample_rate`, in pieces; nothing for a text without sounds.

        ``low_latency`` makes the first pieces small (``first``, in frames); without it less work is done in all. Ends
        early, with no error, once ``stop`` is set. Raises SpeechError for a text that cannot be spoken.
        """
        stop, sentences = stop or Stop(), self.phoneme_ids(text)
        split = [self._groups(ids) for ids in sentences]
        phonemes = tuple(len(group) for groups in split for group in groups)
        first_group = 0
        for number, ids in enumerate(sentences):
            sizes = first if low_latency and number == 0 else ()
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
                    yield AudioChunk(scaled, last, timed, phonemes if timed else (), first_group)
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
        stop, text = stop or Stop(), self._text
        if self._halves is not None and len(ids) <= self._halves[0].widths[-1]:
            encoder, text = self._halves
            feed[encoder.part.outputs[0]] = encoder.run({name: feed[name] for name in encoder.part.inputs})[0]
        outputs = text.run({name: feed[name] for name in text.part.inputs}, stop)
        tensors = dict(zip(text.part.outputs, outputs, strict=True))
        return Prior(tensors, tensors[self._prior_name].shape[-1])

    def decode(
        self, prior: Prior, sizes: Sequence[int] = LOW_LATENCY_FRAMES, *, stop: Stop | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """Samples (float32, unscaled) of ``prior`` in pieces of ``sizes`` frames, then of STEADY_FRAMES.

        However it is cut, the pieces put together are what the whole graph gives for that prior. On tiles a piece has
        as many frames as one run can give.
        """
        stop, reach, total = stop or Stop(), self._decoder.part.reach_frames, prior.frames
        latents, start, step = _Latents(np.zeros_like(prior.tensors[self._prior_name])), 0, 0
        while start < total and not stop.is_set:
            size = sizes[step] if step < len(sizes) else STEADY_FRAMES
            # A last piece shorter than the overlap would cost more than it gives.
            end = total if total - start - size <= reach else start + size
            first, last, end = _window(self._decoder, start, end, total)
            self._extend(latents, prior, last, stop, low_latency=bool(sizes))
            feed = self._feed(self._decoder, prior, first, last) | {self._latent_name: latents.all[..., first:last]}
            samples = self._decoder.run(feed, stop)[0].reshape(-1)
            hop = self.hop_samples
            yield samples[(start - first) * hop : (end - first) * hop]
            start, step = end, step + 1

    def _extend(self, latents: _Latents, prior: Prior, until: int, stop: Stop, *, low_latency: bool) -> None:
        """Make ``z`` known up to frame ``until``."""
        reach, total = self._flow.part.reach_frames, prior.frames
        while latents.end < until and not stop.is_set:
            # Twice exactly what is needed, for speed; then ahead, because the flow reaches far and overlap costs.
            end = until if low_latency and latents.runs < 2 else max(until, latents.end + _FLOW_AHEAD_FRAMES)
            end = total if total - end <= reach else end
            first, last, end = _window(self._flow, latents.end, end, total)
            last = min(max(last, first + _FLOW_LEAST_FRAMES), total)
            latent = self._flow.run(self._feed(self._flow, prior, first, last), stop)[0]
            latents.all[..., latents.end : end] = latent[..., latents.end - first : end - first]
            latents.end, latents.runs = end, latents.runs + 1

    def _feed(self, model: _Runs, prior: Prior, first: int, last: int) -> dict[str, NDArray[Any]]:
        """The inputs of ``model`` for frames [first, last): what has a column a frame is cut, the speaker is not."""
        return {
            name: tensor[..., first:last] if tensor.shape[-1] == prior.frames else tensor
            for name in model.part.inputs
            if (tensor := prior.tensors.get(name)) is not None
        }


def check_runtime(name: str) -> None:
    """Raises ConfigError unless ``name`` is one of RUNTIMES."""
    if name not in RUNTIMES:
        raise ConfigError(f"tts.backend={name!r}: one of {', '.join(RUNTIMES)}")


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


def _window(model: _Runs, start: int, end: int, total: int) -> tuple[int, int, int]:
    """(first, last, end): the frames [first, last) that ``model`` must see for its output of [start, end), of which it
    gives less where its widths end, and more where there is room in one."""
    reach = model.part.reach_frames
    first, last = max(start - reach, 0), min(end + reach, total)
    if model.widths:
        width = next((w for w in model.widths if w >= last - first), model.widths[-1])
        last = min(first + width, total)
        end = total if last == total else last - reach
    return first, last, end


def _agree(what: str, exact: NDArray[np.float32], got: NDArray[np.float32], least_db: float) -> None:
    """Raises RuntimeError unless ``got`` differs from ``exact`` by ``least_db`` at least (power, dB)."""
    exact, got = exact.reshape(-1), got.reshape(-1)
    if exact.shape != got.shape:
        raise RuntimeError(f"{got.size} {what} for {exact.size}")
    power, error = float(np.square(exact).sum()), float(np.square(exact - got).sum())
    if not error <= power / 10 ** (least_db / 10):
        raise RuntimeError(f"its {what} come out as others, {10 * np.log10(power / error):.0f} dB from the right ones")


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
