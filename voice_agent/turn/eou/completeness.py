"""May the sentence end here? A score for a text, before any pause.

The score is a natural log-probability: how likely a language model finds it that the next token ends the sentence.
Whisper's own full stop says nothing (it puts one after any fragment); this tells finished from unfinished texts without
overlap when the words are right, and cannot tell a list of whole sentences (docs/turns.md has our figures).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Protocol

NextTokens = Callable[[str, int], Sequence[tuple[str, float]]]
"""(prompt, how many) -> the likeliest next tokens with their log-probabilities."""

PROMPT_HEAD = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
"""SmolLM2's chat template up to the user's words, which are left open."""
_ENDS = frozenset({".", "?", "!", '."', '?"', '!"', "...", "…", "<|im_end|>"})
FLOOR = math.log(1e-6)


class EndOfTurnModel(Protocol):
    """Scores a text; blocks; may be called from one thread at a time."""

    def score(self, text: str) -> float: ...


def without_last_stop(text: str) -> str:
    """The text as a judge wants it: no final punctuation, a capital at the start (Whisper may drop either)."""
    bare = re.sub(r"[\s.?!,;:…\-\u2013\u2014\"']+$", "", text.strip())
    return bare[:1].upper() + bare[1:]


_OPENERS = frozenset("to if when while although because since unless after before once until whenever as".split())
_SUBJECTS = frozenset("i you we they he she it".split())
_LABELS = frozenset("number extension code room flight page chapter version gate channel option line".split())
_DETERMINERS = frozenset(
    "a an the this that these those my your his her its our their what which whose any no some each every".split()
)
_MAIN_CLAUSE = re.compile(
    r"\b(i|you|we|they|he|she|it|there|that|this|please|press|dial|call|say|tell|let|go|come|enter|stay|wait|try|"
    r"is|are|was|were|will|would|can|could|should|must|has|have|had|don't|do)\b"
)


def last_sentence(text: str) -> list[str]:
    """The words of the last sentence, lower case, without punctuation."""
    sentence = re.split(r"[.?!]\s+", without_last_stop(text))[-1]
    return re.sub(r"[^\w' ]", " ", sentence.casefold()).split()


def grammar_penalty(text: str) -> float:
    """What a small model overlooks, as log-probability to subtract: 0, or more.

    For an opening clause whose main clause has not begun 2.5 ("To mute yourself"), or 4 where the model takes it for a
    whole question ("Had he married a more amiable woman"); 2 for a label without its value ("message from extension").
    English; other texts are left alone.
    """
    words = last_sentence(text)
    if len(words) < 2:
        return 0.0
    penalty = 0.0
    asked_of_us = words[1] == "you" and text.rstrip().endswith("?")  # of a third person "had he ...?" is rarely asked
    condition = words[0] == "had" and words[1] in _SUBJECTS and not asked_of_us
    if (words[0] in _OPENERS or condition) and not _MAIN_CLAUSE.search(" ".join(words[2:])):
        penalty += 4.0 if condition else 2.5
    if words[-1] in _LABELS and not _DETERMINERS & set(words[-4:-1]):
        penalty += 2.0
    return penalty


SHORT_ANSWER = -3.0
OPEN_QUESTION = -2.8
_NUMBERISH = re.compile(
    r"^(\d+|zero|oh|one|two|three|four|five|six|seven|eight|nine|ten|[a-z]+teen|[a-z]+ty|hundred|and|point|double)$"
)
_WH = frozenset("what who whom whose where which when why how".split())
_STRANDED = frozenset("about for from with in on at like".split())
_PRONOUNS = frozenset("it he she they we you i that this there those these".split())
_BE = frozenset("is are was were am be do does did".split())


def adjusted(model: float, text: str) -> float:
    """The model's score with what it overlooks, and with mercy where it is known to be too strict.

    Names, numbers and one-word answers are whole turns that no model of sentences finds likely; without a determiner
    or a preposition in them they count as doubtful, not as unfinished. A question may end in a preposition ("what is
    it about") or in a verb ("what time it is").
    """
    penalty = grammar_penalty(text)
    words = last_sentence(text)
    hanging = not words or words[-1] in _OPEN_LAST or words[0] in _OPEN_LAST - {"press", "dial", "please"} | _OPENERS
    if len(words) == 2 and _NUMBERISH.match(words[1]) and words[0] in ("at", "in", "on", "for", "about"):
        return max(model, SHORT_ANSWER)  # "at seven"
    short = len(words) <= 2 or all(_NUMBERISH.match(w) for w in words)
    if short and not penalty and not hanging:
        return max(model, SHORT_ANSWER)
    if asks(words):
        return max(model, OPEN_QUESTION)
    return max(FLOOR, model - penalty)


def asks(words: Sequence[str]) -> bool:
    """A question that ends where a statement could not: on its preposition, or on the verb of a clause turned round."""
    if len(words) < 4:
        return False
    stranded = words[0] in _WH and words[-1] in _STRANDED
    turned = words[-1] in _BE and words[-2] in _PRONOUNS and bool(_WH & set(words[:-2]))
    return stranded or turned


class TextEndOfTurnModel:
    """Asks a small language model for the probability of sentence-ending tokens after ``text``.

    ``next_tokens``: a completion over raw text (:mod:`.reading`, or the embedded SmolLM2 on its own slot). The prompt
    is PROMPT_HEAD and the text, so that a growing text costs only its new tokens (docs/turns.md).
    """

    def __init__(self, next_tokens: NextTokens, *, top: int = 100) -> None:
        self._next_tokens = next_tokens
        self._top = top

    def score(self, text: str) -> float:
        """Natural log of the summed probability of ``.``, ``?``, ``!`` and the end of the message, at least -13.8."""
        bare = without_last_stop(text)
        if not bare:
            return FLOOR
        found = self._next_tokens(PROMPT_HEAD + bare, self._top)
        model = math.log(sum(math.exp(p) for token, p in found if token.strip() in _ENDS) + 1e-6)
        return adjusted(model, text)


_OPEN_LAST = frozenset(
    """a an the this these those my your his her its our their to of in on at by for from with without
    about into over under between through during before after and or but nor so because although though
    if unless until while when whereas that which who whom whose what where how why as than is are was
    were be been being am do does did have has had will would shall should can could may might must not
    very really quite just um uh er i we they he she please extension number press dial called""".split()
)
_VERBISH = re.compile(r"^(i'?m?|you|we|they|he|she|it|there|that|this|please|press|call|say|tell|let|go|come|don'?t)$")


class RuleEndOfTurnModel:
    """No model: last word, first word, length. Coarse, and better than silence alone; used when no model is there."""

    def score(self, text: str) -> float:
        """-0.5 (whole) to -6 (a function word hangs in the air), on the scale of :class:`TextEndOfTurnModel`."""
        words = [w for w in re.sub(r"[^\w' ]", " ", text.casefold()).split() if w]
        if not words:
            return FLOOR
        if words[-1] in _OPEN_LAST and len(words) > 1 and not asks(words):
            return -6.0
        if words[0] in _OPENERS and not any(_VERBISH.match(w) for w in words[2:]):
            return -5.0
        return -1.5 if len(words) >= 3 else -2.4
