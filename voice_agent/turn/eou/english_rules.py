"""What a small language model overlooks about English sentences, as rules over words.

Written while looking at telephone prompts. Other languages pass through unchanged.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

LEAST_SCORE = math.log(1e-6)
"""The lowest score; a natural log-probability as all scores here."""


def without_last_stop(text: str) -> str:
    """``text`` without final punctuation and with a capital at the start (Whisper may drop either)."""
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


_OPEN_LAST = frozenset(
    """a an the this these those my your his her its our their to of in on at by for from with without
    about into over under between through during before after and or but nor so because although though
    if unless until while when whereas that which who whom whose what where how why as than is are was
    were be been being am do does did have has had will would shall should can could may might must not
    very really quite just um uh er i we they he she please extension number press dial called""".split()
)
_VERBISH = re.compile(r"^(i'?m?|you|we|they|he|she|it|there|that|this|please|press|call|say|tell|let|go|come|don'?t)$")


def last_sentence(text: str) -> list[str]:
    """The words of the last sentence, lower case, without punctuation."""
    sentence = re.split(r"[.?!]\s+", without_last_stop(text))[-1]
    return re.sub(r"[^\w' ]", " ", sentence.casefold()).split()


def grammar_penalty(text: str) -> float:
    """A log-probability to subtract from the model's score: 0 or more.

    2.5 for an opening clause whose main clause has not begun ("To mute yourself"), 4 where the model takes it for a
    whole question ("Had he married a more amiable woman"), 2 for a label without its value ("message from extension").
    """
    words = last_sentence(text)
    if len(words) < 2:
        return 0.0
    penalty = 0.0
    question_to_you = words[1] == "you" and text.rstrip().endswith("?")  # "had he ...?" is rarely a question
    condition = words[0] == "had" and words[1] in _SUBJECTS and not question_to_you
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
    """The model's score less the penalty, and raised where the model is too strict.

    Names, numbers and one-word answers are whole turns that a model of sentences finds unlikely; without a determiner
    or a preposition they count as doubtful, not as unfinished. A question may end in a preposition ("what is it about")
    or in a verb ("what time it is").
    """
    penalty = grammar_penalty(text)
    words = last_sentence(text)
    hanging = not words or words[-1] in _OPEN_LAST or words[0] in _OPEN_LAST - {"press", "dial", "please"} | _OPENERS
    if len(words) == 2 and _NUMBERISH.match(words[1]) and words[0] in ("at", "in", "on", "for", "about"):
        return max(model, SHORT_ANSWER)  # "at seven"
    short = len(words) <= 2 or all(_NUMBERISH.match(w) for w in words)
    if short and not penalty and not hanging:
        return max(model, SHORT_ANSWER)
    if is_question(words):
        return max(model, OPEN_QUESTION)
    return max(LEAST_SCORE, model - penalty)


def is_question(words: Sequence[str]) -> bool:
    """A question that ends on its preposition or on the verb of an inverted clause, where a statement could not."""
    if len(words) < 4:
        return False
    stranded = words[0] in _WH and words[-1] in _STRANDED
    turned = words[-1] in _BE and words[-2] in _PRONOUNS and bool(_WH & set(words[:-2]))
    return stranded or turned


def rule_score(text: str) -> float:
    """-0.5 (whole) to -6 (ends on a function word), from the last word, the first word and the length alone."""
    words = [w for w in re.sub(r"[^\w' ]", " ", text.casefold()).split() if w]
    if not words:
        return LEAST_SCORE
    if words[-1] in _OPEN_LAST and len(words) > 1 and not is_question(words):
        return -6.0
    if words[0] in _OPENERS and not any(_VERBISH.match(w) for w in words[2:]):
        return -5.0
    return -1.5 if len(words) >= 3 else -2.4
