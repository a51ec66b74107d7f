"""End-of-turn models over text: may the sentence end here? They need no pause.

A score is a natural log-probability: how likely a language model finds it that the next token ends the sentence.
Whisper's own full stop says nothing (it puts one after any fragment). The score separates finished from unfinished
texts without overlap when the words are right; it cannot tell the end of a list of sentences (docs/turns.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

from .english_rules import LEAST_SCORE, adjusted, rule_score, without_last_stop

NextTokens = Callable[[str, int], Sequence[tuple[str, float]]]
"""(prompt, how many) -> the likeliest next tokens with their log-probabilities."""

PROMPT_HEAD = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
"""SmolLM2's chat template up to the user's words, which are left open."""
_ENDS = frozenset({".", "?", "!", '."', '?"', '!"', "...", "…", "<|im_end|>"})


class EndOfTurnModel(Protocol):
    """Scores a text; blocks; may be called from one thread at a time."""

    def score(self, text: str) -> float: ...


class TextEndOfTurnModel:
    """Reads the probability of sentence-ending tokens after ``text`` from a small language model.

    ``next_tokens``: a completion over raw text (:mod:`.language_model`, or the embedded SmolLM2 on its own slot). The
    prompt is PROMPT_HEAD and the text, so that a growing text costs only its new tokens (docs/turns.md).
    """

    def __init__(self, next_tokens: NextTokens, *, top: int = 100) -> None:
        self.next_tokens = next_tokens
        self._top = top

    def score(self, text: str) -> float:
        """Natural log of the summed probability of ``.``, ``?``, ``!`` and the end of the message, at least -13.8."""
        bare = without_last_stop(text)
        if not bare:
            return LEAST_SCORE
        found = self.next_tokens(PROMPT_HEAD + bare, self._top)
        score = math.log(sum(math.exp(p) for token, p in found if token.strip() in _ENDS) + 1e-6)
        return adjusted(score, text)


class RuleEndOfTurnModel:
    """No language model: last word, first word, length. Coarse, but better than silence alone."""

    def score(self, text: str) -> float:
        """-0.5 (whole) to -6 (ends on a function word), on the scale of :class:`TextEndOfTurnModel`."""
        return rule_score(text)
