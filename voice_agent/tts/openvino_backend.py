"""OpenVINO backend: the expensive parts of a voice in bfloat16, for processors with AMX.

OpenVINO's kernels take a fifth of the time of onnxruntime's in float32 there (docs/tts.md). It compiles kernels for
each width, which takes 0.2 to 0.8 s, so a part runs in a few widths, all of them compiled and run once at load.
OpenVINO is an extra of this package and is imported by the first function that needs it.
"""

from __future__ import annotations

import functools
import importlib
import io
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from .synthesizer import Stop
from .vits_split import Part, Parts, without_model
from .vits_windows import LOW_LATENCY_FRAMES, Feed, Float32, PartRunner, Prior, WindowedDecoder

_SETTINGS = {
    "INFERENCE_PRECISION_HINT": "bf16",
    "INFERENCE_NUM_THREADS": 1,  # the calling thread, whose priority counts
    "NUM_STREAMS": 1,
    "ENABLE_CPU_PINNING": False,
}
_CONVERTER = "openvino.tools.ovc"
FLOW_FRAMES = 96
"""What a run of the flow gives in mid-sentence: a longer run is hardly cheaper a frame."""
ENCODER_PHONEMES = (128, 256, 480)
"""Widths of the phoneme encoder, in phoneme ids: 480 for the longest chunk (``ChunkLimits.max_chars``). A longer
sentence runs on onnxruntime."""
LATENTS_AGREE_DB, SAMPLES_AGREE_DB = 30.0, 25.0
"""A voice stays in float32 if bfloat16 differs by more than this: the latents differ by 42 to 46 dB and the decoder's
samples by 40 dB with the embedded voice."""
T = TypeVar("T")


@functools.cache
def has_amx() -> bool:
    """Whether this processor multiplies matrices of bfloat16 (Intel AMX), as far as Linux says."""
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False


@functools.cache
def openvino() -> ModuleType | None:
    """OpenVINO; None where it is not installed."""
    # Importing its model converter, which is not used here, sends an event to Google Analytics.
    absent = _CONVERTER not in sys.modules
    if absent:
        sys.modules[_CONVERTER] = None  # type: ignore[assignment]  # "import" then raises, and OpenVINO goes on without
    try:
        importlib.import_module("openvino.frontend")
        return importlib.import_module("openvino")
    except ImportError:
        return None
    finally:
        if absent:
            del sys.modules[_CONVERTER]


def usable() -> bool:
    """Whether ``tts.backend=auto`` takes it: AMX is there, and OpenVINO is installed."""
    return has_amx() and openvino() is not None


def require() -> ModuleType:
    """OpenVINO. Raises ModelError where it is not installed."""
    module = openvino()
    if module is None:
        raise ModelError(
            "tts.backend=openvino: OpenVINO is not installed: pip install 'voice-agent[openvino]', or use"
            " tts.backend=onnx"
        )
    return module


def off_the_main_thread(call: Callable[[], T]) -> T:
    """``call()``, on a thread of its own if this is the main thread.

    Once a thread has used AMX, each signal that it handles takes 8 KB more of its stack. The main thread gets the
    process's signals, and where faulthandler is on (pytest enables it) on a stack of some 20 KB: two signals at once
    then end the process.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    with ThreadPoolExecutor(1, "openvino") as executor:
        return executor.submit(call).result()


class OpenVinoPart:
    """One part of a voice with one output, compiled for each of ``widths`` (columns of a run).

    ``example``: one run's inputs. Those with the longest last axis have a column a frame (or a phoneme); the output has
    as many columns, or a multiple. ``padding`` fills a run that is wider than its input. Threads take turns.
    Raises ModelError where OpenVINO is not installed, RuntimeError (OpenVINO's) for a graph that it refuses.
    """

    def __init__(
        self,
        part: Part,
        example: Mapping[str, NDArray[Any]],
        widths: Sequence[int],
        padding: Literal["silence", "the last column"] = "silence",
    ) -> None:
        ov = require()
        self.part = without_model(part)
        self.widths = tuple(sorted(widths))
        self._mode: Literal["constant", "edge"] = "constant" if padding == "silence" else "edge"
        columns = max(example[name].shape[-1] for name in part.inputs)
        self._along = {name for name in part.inputs if example[name].shape[-1] == columns}
        self._lock = threading.Lock()
        self._requests: dict[int, Any] = {}
        off_the_main_thread(lambda: self._compile(ov, part, example))

    def _compile(self, ov: Any, part: Part, example: Mapping[str, NDArray[Any]]) -> None:
        onnx, core = ov.frontend.FrontEndManager().load_by_framework("onnx"), ov.Core()
        for width in self.widths:  # one model a width: one for all takes 3 ms more a run, for shapes and memory
            model = onnx.load(io.BytesIO(part.model))
            for name in part.inputs:  # Piper's export leaves them without shapes
                shape = example[name].shape[:-1] + ((width,) if name in self._along else example[name].shape[-1:])
                model.set_partial_shape(model.get_place_by_tensor_name(name), ov.PartialShape(shape))
            self._requests[width] = core.compile_model(onnx.convert(model), "CPU", _SETTINGS).create_infer_request()
            self._run({name: array[..., :width] for name, array in example.items() if name in part.inputs})

    def run(self, feed: Feed, stop: Stop | None = None) -> list[Float32]:
        """The output for ``feed``, which has no more columns than the largest width.

        A run cannot be stopped: the widest window of the decoder takes some 15 ms.
        """
        return [off_the_main_thread(lambda: self._run(feed))]

    def _run(self, feed: Feed) -> Float32:
        columns = max(feed[name].shape[-1] for name in self._along)
        width = next(w for w in self.widths if w >= columns)
        wide = {name: self._padded(a, width - columns) if name in self._along else a for name, a in feed.items()}
        with self._lock:
            request = self._requests[width]
            request.infer(wide)
            output: Float32 = request.get_output_tensor(0).data
            return output[..., : output.shape[-1] // width * columns].copy()

    def _padded(self, array: NDArray[Any], more: int) -> NDArray[Any]:
        return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, more)], self._mode)


def phoneme_encoder(part: Part, reference: PartRunner, feed: Feed) -> OpenVinoPart:
    """The first half of the text encoder. Raises RuntimeError unless it agrees with ``reference`` on ``feed``."""
    encoder = OpenVinoPart(part, feed, ENCODER_PHONEMES)
    _check_agreement("phonemes", reference.run(feed, Stop())[0], encoder.run(feed)[0], LATENTS_AGREE_DB)
    return encoder


def windows(parts: Parts, reference: WindowedDecoder, prior: Prior) -> WindowedDecoder:
    """Flow and decoder. Raises RuntimeError unless they agree with ``reference`` on the start of ``prior``."""
    exact, reach = reference.flow, reference.flow.part.reach_frames
    # Behind the end there is silence in the mask too, by which the flow multiplies.
    flow = OpenVinoPart(parts.flow, prior.tensors, (2 * reach + FLOW_FRAMES,))
    feed = reference.feed(exact, prior, 0, min(prior.frames, flow.widths[-1]))
    latent = exact.run(feed, Stop())[0]
    _check_agreement("latents", latent, flow.run(feed)[0], LATENTS_AGREE_DB)

    exact, reach = reference.decoder, reference.decoder.part.reach_frames
    first, *later = LOW_LATENCY_FRAMES
    widths = (first + reach, *(size + 2 * reach for size in later))
    feed = reference.feed(exact, prior, 0, widths[1]) | {reference.latent_name: latent[..., : widths[1]]}
    decoder = OpenVinoPart(parts.decoder, feed, widths, "the last column")
    _check_agreement("samples", exact.run(feed, Stop())[0], decoder.run(feed)[0], SAMPLES_AGREE_DB)
    return WindowedDecoder(flow, decoder, reference.prior_name, reference.latent_name)


def _check_agreement(what: str, exact: Float32, got: Float32, least_db: float) -> None:
    """Raises RuntimeError unless ``exact`` is ``least_db`` (power, dB) above the difference of the two."""
    exact, got = exact.reshape(-1), got.reshape(-1)
    if exact.shape != got.shape:
        raise RuntimeError(f"{got.size} {what} for {exact.size}")
    power, error = float(np.square(exact).sum()), float(np.square(exact - got).sum())
    if not error <= power / 10 ** (least_db / 10):
        raise RuntimeError(f"its {what} differ from float32's by {10 * np.log10(power / error):.0f} dB only")
