"""The flow and the decoder of a VITS voice in overlapping windows: the prior ``z_p`` -> samples, chunk by chunk.

Windows overlap by what the convolutions reach (:mod:`.vits_split`), so the chunks put together equal the output of the
whole graph. The first chunk is small, for a low latency; later ones grow, because overlap is computed twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .synthesizer import Stop
from .vits_split import Part

Float32 = NDArray[np.float32]
Feed = dict[str, NDArray[Any]]

LOW_LATENCY_FRAMES = (14, 28, 96)
"""Frames (11.6 ms each) of the first chunks for a low latency, STEADY_FRAMES after them. 14 frames are 163 ms, of which
~45 are the silence that a voice starts with; the next chunk takes ~50 ms to compute, half of the rest."""
UNDER_LOAD_FRAMES = (28, 112)
"""The same where several calls share the cores: audio for three times as long, because the next chunk may take 0.2 s,
and one chunk less to compute."""
STEADY_FRAMES = 192
"""Frames of a chunk when enough audio is ahead: 2.2 s; a tenth of the decoder's work is overlap."""
_FLOW_AHEAD_FRAMES = 448
"""How far the flow, which reaches 32 frames to either side but costs a quarter of the decoder, then runs ahead: most
sentences in one run (4.1 s of audio take 3 % less than with 256, n = 15)."""
_FLOW_LEAST_FRAMES = 65
"""No window of the flow is narrower, unless the sentence is: up to 64 frames onnxruntime multiplies in another order on
processors with AVX-512, and where the flow is steep its rounding came to 1.6 steps of 16 bits."""


@dataclass(frozen=True, slots=True)
class Prior:
    """``z_p`` of one sentence and the other inputs of the flow and the decoder, by tensor name (float32)."""

    tensors: dict[str, Float32]
    frames: int


class PartRunner(Protocol):
    """Runs one part of the graph. ``widths``: the numbers of frames that a run may have; empty: any number."""

    @property
    def part(self) -> Part: ...

    @property
    def widths(self) -> tuple[int, ...]: ...

    def run(self, feed: Feed, stop: Stop) -> list[Float32]:
        """The part's outputs for its inputs by name."""
        ...


@dataclass(slots=True)
class _Latents:
    """``z`` up to frame ``end``; a window of it is computed when the decoder first needs it."""

    all: Float32
    end: int = 0
    runs: int = 0


class WindowedDecoder:
    """``flow`` and ``decoder`` one after the other. ``prior_name`` and ``latent_name``: their tensors z_p and z."""

    def __init__(self, flow: PartRunner, decoder: PartRunner, prior_name: str, latent_name: str) -> None:
        self.flow = flow
        self.decoder = decoder
        self.prior_name = prior_name
        self.latent_name = latent_name

    @property
    def hop_samples(self) -> int:
        """Samples a frame."""
        return self.decoder.part.upsampling

    def decode(
        self, prior: Prior, sizes: Sequence[int] = LOW_LATENCY_FRAMES, *, stop: Stop | None = None
    ) -> Iterator[Float32]:
        """Samples (float32, unscaled) of ``prior`` in chunks of ``sizes`` frames, then of STEADY_FRAMES.

        The chunks put together are what the whole graph gives for that prior, whatever ``sizes``. A runner with widths
        fills each window, so there a chunk may be longer or shorter than asked.
        """
        stop, reach, total = stop or Stop(), self.decoder.part.reach_frames, prior.frames
        latents, start, step = _Latents(np.zeros_like(prior.tensors[self.prior_name])), 0, 0
        while start < total and not stop.is_set:
            size = sizes[step] if step < len(sizes) else STEADY_FRAMES
            # A last chunk shorter than the overlap would cost more than it gives.
            end = total if total - start - size <= reach else start + size
            first, last, end = window(self.decoder, start, end, total)
            self._extend(latents, prior, last, stop, low_latency=bool(sizes))
            feed = self.feed(self.decoder, prior, first, last) | {self.latent_name: latents.all[..., first:last]}
            samples = self.decoder.run(feed, stop)[0].reshape(-1)
            hop = self.hop_samples
            yield samples[(start - first) * hop : (end - first) * hop]
            start, step = end, step + 1

    def feed(self, runner: PartRunner, prior: Prior, first: int, last: int) -> Feed:
        """The inputs of ``runner`` for frames [first, last). Only tensors with a column a frame are cut."""
        return {
            name: tensor[..., first:last] if tensor.shape[-1] == prior.frames else tensor
            for name in runner.part.inputs
            if (tensor := prior.tensors.get(name)) is not None
        }

    def _extend(self, latents: _Latents, prior: Prior, until: int, stop: Stop, *, low_latency: bool) -> None:
        """Compute ``z`` up to frame ``until``."""
        reach, total = self.flow.part.reach_frames, prior.frames
        while latents.end < until and not stop.is_set:
            # Two runs give exactly what is needed, for latency; later ones run ahead, because the overlap is long.
            end = until if low_latency and latents.runs < 2 else max(until, latents.end + _FLOW_AHEAD_FRAMES)
            end = total if total - end <= reach else end
            first, last, end = window(self.flow, latents.end, end, total)
            last = min(max(last, first + _FLOW_LEAST_FRAMES), total)
            latent = self.flow.run(self.feed(self.flow, prior, first, last), stop)[0]
            latents.all[..., latents.end : end] = latent[..., latents.end - first : end - first]
            latents.end, latents.runs = end, latents.runs + 1


def window(runner: PartRunner, start: int, end: int, total: int) -> tuple[int, int, int]:
    """(first, last, end): ``runner`` must read frames [first, last) to give the frames [start, end).

    With widths, ``end`` is less than asked where no width is large enough, and more where a width has room.
    """
    reach = runner.part.reach_frames
    first, last = max(start - reach, 0), min(end + reach, total)
    if runner.widths:
        width = next((w for w in runner.widths if w >= last - first), runner.widths[-1])
        last = min(first + width, total)
        end = total if last == total else last - reach
    return first, last, end
