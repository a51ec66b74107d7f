"""Text -> phoneme ids of a Piper voice (espeak-ng, through Piper's classes), and which ids form a spoken word."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import SpeechError

if TYPE_CHECKING:
    from piper.config import PiperConfig

MAX_PHONEME_IDS = 2000
"""The text encoder's work is quadratic in these (~0.3 ms each at 400); a thousand characters are about 2,000."""
_ESPEAK = threading.Lock()
"""espeak-ng has one state for the whole process, and keeps the language of the last call."""


class Phonemizer:
    """``session``: the text encoder's; Piper's class asks for one, and does not run it here."""

    def __init__(self, config: PiperConfig, session: Any) -> None:
        from piper import PiperVoice

        self._piper = PiperVoice(session=session, config=config)
        known = config.phoneme_id_map
        self._space = set(known.get(" ", ()))
        self._silent = {i for mark in ("_", "^", "$", *",.:;!?ˈˌː") for i in known.get(mark, ())}

    def ids(self, text: str) -> list[list[int]]:
        """The phoneme ids of each sentence. Raises SpeechError for a text that espeak or the voice refuses."""
        try:
            with _ESPEAK:
                sentences = [self._piper.phonemes_to_ids(p) for p in self._piper.phonemize(text) if p]
        except Exception as e:  # ValueError, UnicodeEncodeError, RuntimeError: whatever the phonemizer's bridge raises
            raise SpeechError(f"cannot turn {excerpt(text)} into sounds ({e}): clean it with tts.speakable") from e
        if max(map(len, sentences), default=0) > MAX_PHONEME_IDS:
            raise SpeechError(f"{excerpt(text)} is too long to be said in one go: give it in sentences (tts.Chunker)")
        return sentences

    def groups(self, ids: Sequence[int]) -> list[list[int]]:
        """The places in ``ids`` of each group's phonemes: a group stands between two spaces; marks are left out."""
        groups: list[list[int]] = [[]]
        for place, phoneme in enumerate(ids):
            if phoneme in self._space:
                groups.append([])
            elif phoneme not in self._silent:
                groups[-1].append(place)
        return [g for g in groups if g]


def excerpt(text: str) -> str:
    """``text`` for an error message: quoted, 60 characters at most."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
