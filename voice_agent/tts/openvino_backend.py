"""The heavy parts of a voice in bfloat16, on processors that multiply tiles of it (Intel AMX).

OpenVINO's kernels for these take a fifth of the time that onnxruntime takes in float32 (docs/voice.md). It makes
kernels for each width anew, at 0.2 to 0.8 s, so a part runs in a few widths, all of them made and run once at load.
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

from . import vits_split as graph

_SETTINGS = {
    "INFERENCE_PRECISION_HINT": "bf16",
    "INFERENCE_NUM_THREADS": 1,  # the caller's own: its priority counts
    "NUM_STREAMS": 1,
    "ENABLE_CPU_PINNING": False,
}
_CONVERTER = "openvino.tools.ovc"
T = TypeVar("T")


@functools.cache
def has_tiles() -> bool:
    """Whether this processor multiplies tiles of bfloat16, as far as Linux says."""
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False


@functools.cache
def openvino() -> ModuleType | None:
    """OpenVINO; None where it is not installed."""
    # Its converter of models, which nothing here needs, tells Google Analytics on import that it was imported.
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


def off_the_main_thread(call: Callable[[], T]) -> T:
    """``call()``, on a thread of its own if this is the main one.

    Once a thread has used tiles, each signal that it gets takes 8 KB more of its stack. The main thread gets the
    process's signals, and where faulthandler is on (pytest sees to that) on a stack of some 20 KB: two at once then end
    the process.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    with ThreadPoolExecutor(1, "tiles") as aside:
        return aside.submit(call).result()


class Tiles:
    """One part of a voice with one output. ``widths``: the columns that a run may have.

    ``example``: one run's inputs; those with the longest last axis have a column a frame (or a phoneme), and so has the
    output, or several. ``beyond``: what stands behind the last column where a run is wider than what there is. Several
    threads may use it, in turn. Raises RuntimeError (OpenVINO's) for a graph that it does not take.
    """

    def __init__(
        self,
        part: graph.Part,
        example: Mapping[str, NDArray[Any]],
        widths: Sequence[int],
        beyond: Literal["silence", "the last column"] = "silence",
    ) -> None:
        ov = openvino()
        if ov is None:
            raise RuntimeError("OpenVINO is not installed")
        self.part = graph.without_model(part)
        self.widths = tuple(sorted(widths))
        self._mode: Literal["constant", "edge"] = "constant" if beyond == "silence" else "edge"
        columns = max(example[name].shape[-1] for name in part.inputs)
        self._along = {name for name in part.inputs if example[name].shape[-1] == columns}
        self._lock = threading.Lock()
        self._requests: dict[int, Any] = {}
        off_the_main_thread(lambda: self._make(ov, part, example))

    def _make(self, ov: Any, part: graph.Part, example: Mapping[str, NDArray[Any]]) -> None:
        onnx, core = ov.frontend.FrontEndManager().load_by_framework("onnx"), ov.Core()
        for width in self.widths:  # one model a width: one for all takes 3 ms more a run, for shapes and memory
            model = onnx.load(io.BytesIO(part.model))
            for name in part.inputs:  # Piper's export leaves them without shapes
                shape = example[name].shape[:-1] + ((width,) if name in self._along else example[name].shape[-1:])
                model.set_partial_shape(model.get_place_by_tensor_name(name), ov.PartialShape(shape))
            self._requests[width] = core.compile_model(onnx.convert(model), "CPU", _SETTINGS).create_infer_request()
            self._run({name: array[..., :width] for name, array in example.items() if name in part.inputs})

    def run(self, feed: dict[str, NDArray[Any]], stop: object = None) -> list[NDArray[np.float32]]:
        """The output for ``feed``, of no more columns than the largest width.

        It cannot be stopped: the widest window of the decoder takes some 15 ms.
        """
        return [off_the_main_thread(lambda: self._run(feed))]

    def _run(self, feed: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        columns = max(feed[name].shape[-1] for name in self._along)
        width = next(w for w in self.widths if w >= columns)
        wide = {name: self._filled(a, width - columns) if name in self._along else a for name, a in feed.items()}
        with self._lock:
            request = self._requests[width]
            request.infer(wide)
            made: NDArray[np.float32] = request.get_output_tensor(0).data
            return made[..., : made.shape[-1] // width * columns].copy()

    def _filled(self, array: NDArray[Any], more: int) -> NDArray[Any]:
        return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, more)], self._mode)
