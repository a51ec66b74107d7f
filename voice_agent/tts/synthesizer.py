"""The protocol between a TTS stream and a voice: text in, chunks of audio out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from ..audio.samples import Int16
from .word_timing import Group


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
    """Ends a synthesis from another thread, also in the middle of a run of the model.

    For a voice that many calls share it also says how urgent the synthesis is. ``due_at``: when the audio before it
    will have been played (monotonic seconds; None: nothing is played yet); ``provisional()``: whether the result may
    still be dropped.
    """

    __slots__ = ("_event", "_run_options", "due_at", "provisional")

    def __init__(self, due_at: float | None = None, provisional: Callable[[], bool] = lambda: False) -> None:
        self._event = threading.Event()
        self._run_options: Any = None
        self.due_at = due_at
        self.provisional = provisional

    def wait(self, timeout_s: float) -> bool:
        """Wait up to ``timeout_s`` seconds for the stop. Returns whether it is set."""
        return self._event.wait(timeout_s)

    def set(self) -> None:
        self._event.set()
        if self._run_options is not None:
            self._run_options.terminate = True

    @property
    def run_options(self) -> Any:
        """onnxruntime's ``RunOptions``, which end a run when the stop is set. Made when a model is first run."""
        if self._run_options is None:
            import onnxruntime as ort

            self._run_options = ort.RunOptions()
            if self._event.is_set():  # looked at after the assignment: set() sees the options, or this sees the event
                self._run_options.terminate = True
        return self._run_options

    @property
    def is_set(self) -> bool:
        return self._event.is_set()


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """Some samples of a text: mono, int16, shape (n,). ``last``: the text ends with them.

    The first chunk of each sentence has the times of its groups of phonemes (``groups``, in seconds from the chunk's
    first sample), how many phonemes each group of the whole text has (``phonemes``), and the index of the sentence's
    first group among them (``first_group``). All are empty where the voice has no durations.
    """

    samples: Int16
    last: bool
    groups: tuple[Group, ...] = ()
    phonemes: tuple[int, ...] = ()
    first_group: int = 0


class Synthesizer(Protocol):
    """What a :class:`~.piper_tts.PiperTTS` speaks with: a :class:`~.vits.Voice`, or one that many calls share."""

    def speak(
        self, text: str, delivery: Delivery | None = None, *, low_latency: bool = True, stop: Stop | None = None
    ) -> Iterator[AudioChunk]: ...
