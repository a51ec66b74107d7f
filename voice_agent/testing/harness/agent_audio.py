"""What a caller hears of the agent: when it was audible, and where its sound broke off. Pure: frames in, times out.

All times are seconds on the caller's timeline. Frames are 16 kHz mono int16; audibility is known to 10 ms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...audio.samples import Int16

RATE = 16_000
FRAME = 160  # samples: 10 ms
LOUD = 300  # a sample above this is heard; Opus leaves a noise of a few units in silence
DEAD = 4  # no sample of a run above this: nothing was sent; a voice that pauses is not so quiet
SAME_REPLY_S = 2.0  # sound that comes back within this is the same reply's
CAUGHT_UP_S = 0.5  # what arrives late and is made up for within this was late in this process, not on its way


@dataclass(frozen=True, slots=True)
class Gap:
    """A break of ``length_s`` in the agent's sound, in the middle of a reply, at ``at_s``."""

    at_s: float
    length_s: float


class AgentAudio:
    """The agent's sound as it arrived."""

    def __init__(self) -> None:
        self._frames: list[tuple[float, Int16]] = []  # when its last sample arrived, samples
        self._loud: list[float] = []  # ends of the 10 ms steps that can be heard
        self._since = 0.0
        self.first_heard_s: float | None = None
        """When the agent was first heard since :meth:`listen_from`."""

    def add(self, end_s: float, pcm: Int16) -> None:
        """A frame whose last sample arrived at ``end_s``."""
        self._frames.append((end_s, pcm))
        if pcm.max(initial=0) <= LOUD and pcm.min(initial=0) >= -LOUD:
            return
        for at in loud_ends(pcm, end_s):
            self._loud.append(at)
            if self.first_heard_s is None and at > self._since:
                self.first_heard_s = at

    def listen_from(self, since_s: float) -> None:
        """:attr:`first_heard_s` counts from here on."""
        self._since, self.first_heard_s = since_s, None

    @property
    def last_heard_s(self) -> float:
        """When the agent was last heard; 0 if it never was."""
        return self._loud[-1] if self._loud else 0.0

    def heard_between(self, begin_s: float, end_s: float) -> bool:
        """Whether the agent was heard after ``begin_s`` and not after ``end_s``."""
        return any(begin_s < at <= end_s for at in reversed(self._loud))

    def track(self, samples: int) -> Int16:
        """The first ``samples`` samples of the agent's side, each frame where it arrived."""
        out = np.zeros(samples, np.int16)
        at = 0
        for end_s, pcm in self._frames:
            start = max(at, round(end_s * RATE) - len(pcm))
            pcm = pcm[: max(0, len(out) - start)]
            out[start : start + len(pcm)] = pcm
            at = start + len(pcm)
        return out

    def gaps(self, longest_s: float = 0.06) -> list[Gap]:
        """Breaks longer than ``longest_s`` while the agent spoke: silence that begins within 30 ms of sound, and frames
        that came late without the next ones making up for it (those were late in this process)."""
        return sorted([*self._silences(longest_s), *self._missing(longest_s)], key=lambda gap: gap.at_s)

    def _silences(self, longest_s: float) -> list[Gap]:
        found: list[Gap] = []
        if not self._frames:
            return found
        pcm = np.concatenate([pcm for _, pcm in self._frames])
        ends_at = np.cumsum([len(pcm) for _, pcm in self._frames])
        level = np.abs(pcm.astype(np.int32))
        edges = np.diff(np.concatenate([[0], (level <= DEAD).astype(np.int8), [0]]))
        for start, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
            before, after = level[max(0, start - 3 * FRAME) : start], level[end : end + int(SAME_REPLY_S * RATE)]
            if end - start > longest_s * RATE and before.max(initial=0) > LOUD and after.max(initial=0) > LOUD:
                piece = int(np.searchsorted(ends_at, start, side="right"))
                at_s = self._frames[piece][0] - float(ends_at[piece] - start) / RATE
                found.append(Gap(at_s, float(end - start) / RATE))
        return found

    def _missing(self, longest_s: float) -> list[Gap]:
        found: list[Gap] = []
        loud = np.asarray(self._loud)
        ends = np.array([end for end, _ in self._frames])
        late = ends - np.cumsum([len(pcm) for _, pcm in self._frames]) / RATE
        for i in range(1, len(ends)):
            soon = late[i : int(np.searchsorted(ends, ends[i] + CAUGHT_UP_S, side="right"))]
            length_s = float(soon.min() - late[i - 1])
            if length_s <= longest_s or not len(loud):
                continue
            before = float(ends[i - 1])
            if float(np.abs(loud - before).min()) < 0.03 and bool((loud > before + length_s).any()):
                found.append(Gap(before, length_s))
        return found


def loud_ends(pcm: Int16, end_s: float) -> list[float]:
    """Where the 10 ms steps of ``pcm`` (which ends at ``end_s``) end that can be heard."""
    ends = []
    for start in range(0, len(pcm), FRAME):
        step = pcm[start : start + FRAME]
        if step.max(initial=0) > LOUD or step.min(initial=0) < -LOUD:
            ends.append(end_s - (len(pcm) - start - len(step)) / RATE)
    return ends
