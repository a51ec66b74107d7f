"""A Piper voice: text -> chunks of audio, the first one before the rest is computed.

Text -> phonemes (:mod:`.phonemes`) -> ``z_p`` of a sentence (the text encoder) -> ``z`` and samples in overlapping
windows (:mod:`.vits_windows`), on the three parts of Piper's graph (:mod:`.vits_split`).

Every method blocks; :mod:`.piper_tts` calls them on a thread. Several threads may use one voice: it keeps nothing of a
text, onnxruntime's sessions allow it, and espeak has a lock. A :class:`~.synthesizer.Stop` that another thread sets
ends the work at the model's current operator (a few milliseconds), with OpenVINO at the end of a window (15 ms).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ConfigError, ModelError, SpeechError
from ..onnx_tools.onnx_session import onnx_session, session_options
from ..runtime.malloc import trim_heap
from . import openvino_backend as openvino
from . import vits_split
from .phonemes import Phonemizer, excerpt
from .synthesizer import AudioChunk, Delivery, Stop
from .vits_split import Part, Parts
from .vits_windows import LOW_LATENCY_FRAMES, Feed, Float32, PartRunner, Prior, WindowedDecoder
from .word_timing import Group

if TYPE_CHECKING:
    from piper.config import PiperConfig

_log = logging.getLogger(__name__)

BACKENDS = ("auto", "onnx", "openvino")
_PEAK = 0.65
_WARM_UP = ("Yes.", "Well, the first few sentences only make the machine ready.")
_NO_NOISE = Delivery(noise_scale=0.0, noise_w=0.0)


@dataclass(frozen=True, slots=True)
class OnnxPart:
    """A part of the graph in an onnxruntime session."""

    session: Any
    part: Part
    widths: tuple[int, ...] = ()

    def run(self, feed: Feed, stop: Stop) -> list[Float32]:
        outputs: list[Float32] = self.session.run(list(self.part.outputs), feed, stop.run_options)
        return outputs


class Voice:
    """A loaded Piper voice. Make one with :meth:`load`."""

    def __init__(self, config: PiperConfig, parts: Parts, *, threads: int = 1) -> None:
        self.config = config
        self.sample_rate = int(config.sample_rate)
        """Hertz."""
        self.gain = 1.0
        """What the model's samples are multiplied by; see :meth:`warm_up`."""
        self._durations_name = parts.durations
        self._text = _loaded(parts.text, threads, bounded=False)
        self._phoneme_encoder: PartRunner | None = None  # the first half of the text encoder, where OpenVINO runs it
        self._after_encoder = self._text
        self._phonemizer = Phonemizer(config, self._text.session)
        flow = _loaded(parts.flow, threads, bounded=True)
        decoder = _loaded(parts.decoder, threads, bounded=True, images=True)
        self.windows = WindowedDecoder(flow, decoder, parts.prior, parts.latent)

    @classmethod
    def load(
        cls, model_path: Path, config_path: Path | None = None, *, threads: int = 1, backend: str = "onnx"
    ) -> Voice:
        """Load and warm up a voice (1 to 4 s). ``config_path`` defaults to the model's path with ``.json`` appended.

        ``backend``: ``onnx`` gives the samples of Piper's own graph; ``openvino`` computes the expensive parts in
        bfloat16; ``auto`` is ``openvino`` where the processor has AMX, OpenVINO is installed and the voice sounds the
        same in it, else ``onnx``.
        Raises ModelError if a file is missing, broken or no Piper voice, or if ``openvino`` is not installed or does
        not run the voice; ConfigError for another backend.
        """
        check_backend(backend)
        if backend == "openvino":
            openvino.require()
        config = load_config(config_path or Path(f"{model_path}.json"))
        try:
            model = model_path.read_bytes()
        except OSError as e:
            raise ModelError(f"{model_path}: cannot read the voice ({e.strerror}): give a path to an .onnx") from e
        parts = vits_split.split(model)
        voice = cls(config, parts, threads=threads)
        del model
        if backend == "openvino" or (backend == "auto" and openvino.usable()):
            try:
                voice._use_bfloat16(parts, threads)
            except Exception as e:  # a voice of another make may fail in either runtime, whose errors share no base
                why = f"{model_path.name} does not run in bfloat16 ({e})"
                if backend == "openvino":
                    raise ModelError(f"{why}: use tts.backend=onnx") from e
                _log.warning("%s: it runs in float32, which takes more than twice as long", why)
        del parts
        voice.warm_up()
        trim_heap()  # the models' bytes
        return voice

    def _use_bfloat16(self, parts: Parts, threads: int) -> None:
        """Run the voice on OpenVINO from now on. Raises what the runtimes raise, or RuntimeError if it differs."""
        ids = self.phoneme_ids(_WARM_UP[-1])[-1]
        first, rest = vits_split.split_text_encoder(parts.text)
        reference = _loaded(first, threads, bounded=False)
        encoder = openvino.phoneme_encoder(first, reference, _text_feed(ids))
        windows = openvino.windows(parts, self.windows, self.prior(ids, _NO_NOISE))
        self._after_encoder = _loaded(rest, threads, bounded=False)
        self._phoneme_encoder, self.windows = encoder, windows

    @property
    def backend(self) -> str:
        """``onnx`` or ``openvino``."""
        return "onnx" if self._phoneme_encoder is None else "openvino"

    def warm_up(self) -> None:
        """Run a few lengths once, so that the first reply does not pay for it, and set the gain.

        Piper scales each sentence to full range, which needs the whole sentence and makes short words loud. Here one
        gain for each voice is measured instead, so that its peaks lie near 0.65 of full range (3.7 dB of headroom:
        peaks of single sentences were seen to vary by up to 3.3 dB).
        """
        peaks = [0.0]
        for text in _WARM_UP:
            for ids in self.phoneme_ids(text):
                for sizes in (LOW_LATENCY_FRAMES, ()):
                    peaks += (float(np.abs(x).max()) for x in self.windows.decode(self.prior(ids, _NO_NOISE), sizes))
        self.gain = min(max(_PEAK / max(peaks), 0.25), 4.0) if max(peaks) > 0 else 1.0

    def speak(
        self,
        text: str,
        delivery: Delivery | None = None,
        *,
        low_latency: bool = True,
        first: Sequence[int] = LOW_LATENCY_FRAMES,
        stop: Stop | None = None,
    ) -> Iterator[AudioChunk]:
        """``text`` as audio at :attr:`sample_rate`, in chunks; nothing for a text without sounds.

        ``low_latency`` makes the first chunks small (``first``, in frames); without it the total work is less. Ends
        early, with no error, once ``stop`` is set. Raises SpeechError for a text that cannot be spoken.
        """
        stop, sentences = stop or Stop(), self.phoneme_ids(text)
        split = [self._phonemizer.groups(ids) for ids in sentences]
        phonemes = tuple(len(group) for groups in split for group in groups)
        first_group = 0
        for number, ids in enumerate(sentences):
            sizes = first if low_latency and number == 0 else ()
            try:
                prior = self.prior(ids, delivery, stop=stop)
                left = prior.frames * self.windows.hop_samples
                timed = self._timed(prior, split[number])
                for samples in self.windows.decode(prior, sizes, stop=stop):
                    if stop.is_set:
                        return
                    left -= samples.size
                    scaled = np.clip(samples * (self.gain * 32767), -32767, 32767).astype(np.int16)
                    last = left == 0 and number == len(sentences) - 1
                    yield AudioChunk(scaled, last, timed, phonemes if timed else (), first_group)
                    timed = ()
                first_group += len(split[number])
            except SpeechError:
                raise
            except Exception as e:  # onnxruntime's exceptions share no base class but this
                if stop.is_set:
                    return
                raise SpeechError(f"the voice failed on {excerpt(text)}: {e}") from e

    def phoneme_ids(self, text: str) -> list[list[int]]:
        """The ids of each sentence's phonemes. Raises SpeechError for a text that espeak or the voice refuses."""
        return self._phonemizer.ids(text)

    def prior(self, ids: Sequence[int], delivery: Delivery | None = None, *, stop: Stop | None = None) -> Prior:
        """Run the text encoder on one sentence. Its noise is drawn here: the samples depend on the prior alone."""
        delivery, config = delivery or Delivery(), self.config
        scales = (
            _or(delivery.noise_scale, config.noise_scale),
            _or(delivery.length_scale, config.length_scale),
            _or(delivery.noise_w, config.noise_w_scale),
        )
        feed = _text_feed(ids) | {"scales": np.array(scales, np.float32)}
        if "sid" in self._text.part.inputs:
            feed["sid"] = np.array([speaker_id(config, delivery.speaker)], np.int64)
        stop, text, encoder = stop or Stop(), self._text, self._phoneme_encoder
        if encoder is not None and len(ids) <= encoder.widths[-1]:
            text = self._after_encoder
            feed[encoder.part.outputs[0]] = encoder.run({name: feed[name] for name in encoder.part.inputs}, stop)[0]
        outputs = text.run({name: feed[name] for name in text.part.inputs}, stop)
        tensors = dict(zip(text.part.outputs, outputs, strict=True))
        return Prior(tensors, tensors[self.windows.prior_name].shape[-1])

    def _timed(self, prior: Prior, groups: Sequence[Sequence[int]]) -> tuple[Group, ...]:
        if self._durations_name is None:
            return ()
        frames = prior.tensors[self._durations_name].reshape(-1)
        ends = np.cumsum(frames) * self.windows.hop_samples / self.sample_rate
        # An id's padding follows it, and belongs to it; a group starts where the id before it ends.
        return tuple(
            Group(len(g), float(ends[g[0] - 1]) if g[0] else 0.0, float(ends[min(g[-1] + 1, len(ends) - 1)]))
            for g in groups
        )


def check_backend(name: str) -> None:
    """Raises ConfigError unless ``name`` is one of BACKENDS."""
    if name not in BACKENDS:
        raise ConfigError(f"tts.backend={name!r}: one of {', '.join(BACKENDS)}")


def load_config(path: Path) -> PiperConfig:
    """Read a voice's ``.onnx.json``. Raises ModelError."""
    from piper.config import PiperConfig

    try:
        return PiperConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as e:
        raise ModelError(f"{path}: cannot read it ({e.strerror}): a voice's configuration lies beside its .onnx") from e
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ModelError(f"{path}: not the configuration of a Piper voice ({e!r}): download it again") from e


def speaker_id(config: PiperConfig, number: int | None) -> int:
    """The speaker ``number``, or the voice's default for None. Raises SpeechError for one that the voice lacks."""
    if number is None:
        return int(config.default_speaker_id)
    if not 0 <= number < max(config.num_speakers, 1):
        raise SpeechError(f"speaker {number}: this voice has {config.num_speakers}; count from 0")
    return number


def _loaded(part: Part, threads: int, *, bounded: bool, images: bool = False) -> OnnxPart:
    """``bounded``: the tensors have a largest size, so that keeping their memory for the next run costs little."""
    options = session_options(threads)
    # The arena keeps the memory of the largest run for ever. That is 330 MB after one undivided run on 190 characters,
    # but it spares the decoder 12 % of its time (a chunk of 192 frames has 6,000 page faults without it).
    options.enable_cpu_mem_arena = bounded
    if images:  # enables the layout that conv_layout.py prepares; the basic optimizations are as fast for the rest
        import onnxruntime as ort

        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    try:
        return OnnxPart(onnx_session(part.model, options), vits_split.without_model(part))
    except Exception as e:  # onnxruntime's exceptions share no base class but this
        raise ModelError(f"onnxruntime refuses the voice ({e}): download it again, or use one made by Piper") from e


def _text_feed(ids: Sequence[int]) -> Feed:
    return {"input": np.array([ids], np.int64), "input_lengths": np.array([len(ids)], np.int64)}


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
