"""A ring buffer between the sound system's thread and the event loop: no lock, no allocation, two copies at most."""

from __future__ import annotations

import numpy as np

from ..audio.samples import Int16


class Ring:
    """int16 samples; one thread writes, one thread reads. Positions count samples from 0 and never wrap.

    Each side moves only its own position, after its copy, so the other side never sees half a copy (CPython's attribute
    stores are atomic). ``keep``: the number of read samples that are not overwritten yet; :meth:`rewind` can return to
    them.
    """

    def __init__(self, capacity: int, *, keep: int = 0, start: int = 0) -> None:
        if not 0 <= keep < capacity:
            raise ValueError(f"a ring of {capacity} samples cannot keep {keep}")
        self._pcm: Int16 = np.zeros(capacity, np.int16)
        self._keep = keep
        self._start = start
        self.written = start
        self.read = start

    @property
    def capacity(self) -> int:
        """Samples that it can hold, kept samples included."""
        return len(self._pcm)

    @property
    def available(self) -> int:
        """Samples that can be read now."""
        return self.written - self.read

    @property
    def free(self) -> int:
        """Samples that can be written now."""
        return len(self._pcm) - self._keep - self.available

    def write(self, pcm: Int16) -> int:
        """Writer: append as much of ``pcm`` as fits; returns how many samples that was."""
        count = min(len(pcm), self.free)
        if count <= 0:
            return 0
        at = self.written % len(self._pcm)
        first = min(count, len(self._pcm) - at)
        self._pcm[at : at + first] = pcm[:first]
        self._pcm[: count - first] = pcm[first:count]
        self.written += count
        return count

    def read_into(self, out: Int16) -> int:
        """Reader: copy at most ``len(out)`` samples into ``out``; returns how many were there."""
        count = min(len(out), self.available)
        if count <= 0:
            return 0
        at = self.read % len(self._pcm)
        first = min(count, len(self._pcm) - at)
        out[:first] = self._pcm[at : at + first]
        out[first:count] = self._pcm[: count - first]
        self.read += count
        return count

    def take(self, count: int) -> Int16:
        """Reader: the next ``count`` samples, or all that are there."""
        out = np.empty(max(0, min(count, self.available)), np.int16)
        self.read_into(out)
        return out

    def skip_to(self, position: int) -> None:
        """Reader: drop everything before ``position``."""
        self.read = max(self.read, min(position, self.written))

    def rewind(self, position: int) -> int:
        """Reader: go back to ``position``, or to the oldest sample still there; returns the new position."""
        oldest = max(self._start, self.written - len(self._pcm), self.read - self._keep)
        self.read = max(oldest, min(position, self.read))
        return self.read
