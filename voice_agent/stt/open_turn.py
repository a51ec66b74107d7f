"""The turn that is being heard: its audio, its text so far, and what was sent about it."""

from __future__ import annotations

from ..audio.samples import Int16
from .hypothesis import words_key
from .incremental import IncrementalDecoder, PassResult, join

PRE_ROLL_WINDOWS = 10
"""Windows before the VAD is sure: the soft start of a word."""


class OpenTurn:
    """One turn from its start to its end. ``windows`` holds the audio that the next pass decodes.

    ``started_s``: start of the speech; ``prefix``: text of the turn before it was reopened; ``text_since_at``: when its
    words last changed, on the monotonic clock.
    """

    def __init__(
        self,
        decoder: IncrementalDecoder,
        windows: list[Int16],
        started_s: float,
        *,
        prefix: str = "",
        text_since_at: float = 0.0,
        reopened: bool = False,
    ) -> None:
        self.decoder = decoder
        self.windows = windows
        self.started_s = started_s
        self.text = self._prefix = prefix
        self.text_since_at = text_since_at
        self.reopened = reopened
        self.covers_s = -1.0  # end of the audio that the last pass read
        self.passes = 0
        self.preflight = False  # a provisional request is out
        self._decoded = ""  # the text without the prefix

    def settle(self) -> None:
        """Keep the text before a pause as it is: what follows is decoded on its own."""
        if self._decoded:
            self.decoder.settle(self._decoded)
            self.windows = self.windows[-PRE_ROLL_WINDOWS // 2 :]

    def update(self, result: PassResult, covers_s: float, now: float) -> bool:
        """Take the result of a pass; whether there is text and it has changed."""
        self._drop(result.drop_samples)
        self.covers_s = covers_s
        self._decoded = result.text
        whole = join(self._prefix, result.text)
        if words_key(whole) != words_key(self.text):
            self.text_since_at = now
        changed = bool(whole) and whole != self.text
        self.text = whole
        return changed

    def _drop(self, samples: int) -> None:
        while samples > 0 and self.windows:
            head = self.windows[0]
            if len(head) > samples:
                self.windows[0] = head[samples:]
                return
            samples -= len(head)
            del self.windows[0]
