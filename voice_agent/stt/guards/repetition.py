"""Whisper's loops in text: repetitions that nobody said."""

from __future__ import annotations

import re
from collections.abc import Sequence


def strip_restart(text: str, audio_s: float, *, max_words_per_s: float = 3.6) -> tuple[str, bool]:
    """Cut a text that begins again from its start, if the speech was too short to have been said twice.

    A loop on a short window repeats the utterance, whole or in part: ``A A``, ``A A A'``. People repeat themselves
    too ("no no", "bye bye"), so a repetition is cut only when at least two words repeat, the first round
    carries at least half of what is possible in ``audio_s``, and the whole would need more than ``max_words_per_s``.
    Returns (text, was cut).
    """
    written = text.split()
    words = [re.sub(r"[^\w']", "", w.casefold()) for w in written]
    n = len(words)
    if n < 4 or n / max(audio_s, 0.1) <= max_words_per_s:
        looped_tail = _tail_round(words, written)
        if looped_tail is None:
            return text, False
    for round_ in range(2, n - 1):
        rest = words[round_:]
        if len(rest) < 2:
            break
        if len(set(words[:round_])) == 1:  # "no no no no" is said by people
            continue
        differ = sum(rest[i] != words[i % round_] for i in range(len(rest)))
        if differ <= (len(rest) >= 4):  # one word may come out otherwise the second time ("monkey", "monkeys")
            again = differ and len(rest) == round_  # then the second round is the better one
            kept = written[round_:] if again else written[:round_]
            stops = [i for i, w in enumerate(kept) if w[-1] in ".?!"]
            if stops and stops[-1] >= 2:  # the loop began in mid-sentence ("... found. There are no matches found")
                kept = kept[: stops[-1] + 1]
            return " ".join(kept), True
    if (tail := _tail_round(words, written)) is not None:
        return " ".join(written[:tail]), True
    return text, False


def _tail_round(words: Sequence[str], written: Sequence[str]) -> int | None:
    """Where the second round begins of a phrase of >= 3 words said three times over at the end (None: there is none).

    The last round may be cut short ("Press 0 for options. Press 0 for options. Press 0 for options. Press 0"), and the
    word before the first may look like the last of a round: the cut is made after a full stop, if there is one.
    """
    n = len(words)
    for size in range(3, n // 3 + 1):
        if words[n - size :] == words[n - 2 * size : n - size] == words[n - 3 * size : n - 2 * size]:
            start = n - 3 * size
            while start and words[start - 1] == words[start - 1 + size]:
                start -= 1
            second = start + size
            return next((at for at in range(second, second + size) if written[at - 1][-1] in ".?!"), second)
    return None


def repetitions_removed(text: str) -> list[str]:
    """``text`` without a phrase of >= 3 words that it says twice: at once ("cannot reply to this message. Reply to this
    message because"), or at the end of two sentences ("... away by monkeys. I am carried away by monkeys"). It may have
    been said twice, so the caller must compare with the audio."""
    written = text.split()
    words = [re.sub(r"[^\w']", "", w.casefold()) for w in written]
    n, found = len(words), []
    for size in range(3, n // 2 + 1):
        for i in range(n - 2 * size + 1):
            if words[i : i + size] == words[i + size : i + 2 * size]:
                found.append(" ".join(written[:i] + written[i + size :]))
        for end in range(size, n - size):  # the same words before an earlier full stop
            if written[end - 1][-1] in ".?!" and words[end - size : end] == words[n - size :]:
                found.append(" ".join(written[:end]))
    return sorted(set(found), key=len)
