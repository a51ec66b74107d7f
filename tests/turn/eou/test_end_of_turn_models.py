from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence

import pytest

from voice_agent.config import TurnConfig, models
from voice_agent.llm.local.embedded import EmbeddedModel
from voice_agent.pipeline.model_loader import next_token_reader
from voice_agent.turn import RuleEndOfTurnModel, TextEndOfTurnModel
from voice_agent.turn.eou.english_rules import LEAST_SCORE, adjusted, grammar_penalty, without_last_stop

PAIRS = [
    ("What is the capital of France?", "What is the capital of"),
    ("He was not an ill-disposed young man.", "He was not an"),
    ("He might even have been made amiable himself.", "He might even have been"),
    ("I would like to book a table for two.", "I would like to book a"),
    ("Can you tell me when the train leaves?", "Can you tell me when the"),
    ("Please call me back tomorrow morning.", "Please call me back because"),
    ("Thank you very much for your help.", "Thank you very much for"),
    ("My flight leaves at seven in the evening.", "My flight leaves at"),
]


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("Yes.", "Yes"),
        ("what is it?!", "What is it"),
        ("I think… ", "I think"),
        ("well, -", "Well"),
        ('he said "no."', 'He said "no'),
        ("it's 3.5", "It's 3.5"),
        ("  . ", ""),
        ("", ""),
    ],
)
def test_the_last_stop_is_taken_off(text: str, bare: str) -> None:
    assert without_last_stop(text) == bare


@pytest.mark.parametrize(
    ("text", "unfinished"),
    [
        ("Had he married a more amiable woman.", True),  # whatever stop Whisper puts there
        ("Had he married a more amiable woman?", True),
        ("Had I known", True),
        ("Had he married a more amiable woman, he might have been happy.", False),
        ("Had you been there before?", False),
        ("Had a great day.", False),
        ("He had married.", False),
    ],
)
def test_a_condition_without_its_main_clause(text: str, unfinished: bool) -> None:
    assert (grammar_penalty(text) > 0) is unfinished


def test_a_condition_is_unfinished_however_whole_a_question_the_model_finds_it() -> None:
    """SmolLM2 gives "Had he married a more amiable woman" -0.7."""
    assert adjusted(-0.5, "Had he married a more amiable woman?") < TurnConfig().score_unsure
    assert adjusted(-0.7, "Had he married a more amiable woman?") < TurnConfig().score_unfinished


class TestRules:
    @pytest.mark.parametrize(("finished", "unfinished"), PAIRS)
    def test_a_whole_sentence_scores_above_its_beginning(self, finished: str, unfinished: str) -> None:
        end_of_turn_model = RuleEndOfTurnModel()
        assert end_of_turn_model.score(finished) > end_of_turn_model.score(unfinished)

    @pytest.mark.parametrize(
        ("better", "worse"),
        [
            ("Please hold the line.", "Yes."),  # a single word may be the first of many
            ("Yes.", "I want to"),
            ("If you call me.", "To reach the sales department."),
            ("To go home you take the bus.", "When the sun"),
            ("anything", ""),
        ],
    )
    def test_order(self, better: str, worse: str) -> None:
        assert RuleEndOfTurnModel().score(better) > RuleEndOfTurnModel().score(worse)

    @pytest.mark.parametrize("text", ["", " ... ", "?"])
    def test_no_words_are_no_sentence(self, text: str) -> None:
        assert RuleEndOfTurnModel().score(text) == LEAST_SCORE

    @pytest.mark.parametrize("pair", PAIRS)
    def test_whispers_stop_and_capitals_say_nothing(self, pair: tuple[str, str]) -> None:
        for text in pair:
            bare = text.rstrip(".?")
            assert RuleEndOfTurnModel().score(bare.upper() + "!") == RuleEndOfTurnModel().score(bare.lower())


class Tokens:
    """Stands in for the language model: gives fixed tokens and notes the prompts."""

    def __init__(self, *tokens: tuple[str, float]) -> None:
        self.tokens = [(token, math.log(p)) for token, p in tokens]
        self.prompts: list[tuple[str, int]] = []

    def __call__(self, prompt: str, top: int) -> Sequence[tuple[str, float]]:
        self.prompts.append((prompt, top))
        return self.tokens


class TestModel:
    @pytest.mark.parametrize(
        ("tokens", "probability"),
        [
            ([(".", 0.5), ("?", 0.25), (" and", 0.2)], 0.75),
            ([(" .", 0.3), ("<|im_end|>", 0.2)], 0.5),
            ([("...", 0.1), ("…", 0.1), ('."', 0.1)], 0.3),
            ([(",", 0.9), (" the", 0.1)], 0.0),
            ([], 0.0),
        ],
    )
    def test_the_probabilities_of_ending_are_summed(self, tokens: list[tuple[str, float]], probability: float) -> None:
        assert TextEndOfTurnModel(Tokens(*tokens)).score("Who wrote it?") == pytest.approx(math.log(probability + 1e-6))

    def test_never_below_the_least_score_nor_above_zero(self) -> None:
        assert TextEndOfTurnModel(Tokens()).score("Who") >= LEAST_SCORE
        assert TextEndOfTurnModel(Tokens((".", 1.0))).score("Who") <= 1e-5

    def test_the_question_is_the_open_turn_without_the_stop(self) -> None:
        tokens = Tokens((".", 0.5))
        TextEndOfTurnModel(tokens, top=7).score(" who wrote it?")
        ((prompt, top),) = tokens.prompts
        assert top == 7
        assert prompt.endswith("<|im_start|>user\nWho wrote it")

    def test_a_growing_text_grows_the_same_prompt(self) -> None:
        tokens = Tokens((".", 0.5))
        end_of_turn_model = TextEndOfTurnModel(tokens)
        end_of_turn_model.score("Who wrote.")
        end_of_turn_model.score("Who wrote it.")
        assert tokens.prompts[1][0].startswith(tokens.prompts[0][0])

    @pytest.mark.parametrize("text", ["", " ", "...", "?!"])
    def test_nothing_is_asked_about_nothing(self, text: str) -> None:
        tokens = Tokens((".", 1.0))
        assert TextEndOfTurnModel(tokens).score(text) == LEAST_SCORE
        assert tokens.prompts == []


@pytest.fixture(scope="module", params=["onnxruntime", "llama.cpp"])
def end_of_turn_model(request: pytest.FixtureRequest) -> Iterator[TextEndOfTurnModel]:
    """As a conversation has it, and as one has it whose answers come from the same model."""
    path = models.smollm2()
    with contextlib.ExitStack() as stack:
        chatting = stack.enter_context(EmbeddedModel.shared(path)) if request.param == "llama.cpp" else None
        yield TextEndOfTurnModel(next_token_reader(path, chatting)())


def test_the_real_model_tells_finished_from_unfinished(end_of_turn_model: TextEndOfTurnModel) -> None:
    whole = {text: end_of_turn_model.score(text) for text, _ in PAIRS}
    open_ = {text: end_of_turn_model.score(text) for _, text in PAIRS}
    assert all(LEAST_SCORE <= score <= 0.0 for score in (*whole.values(), *open_.values()))
    for finished, unfinished in PAIRS:
        assert whole[finished] > open_[unfinished], (finished, unfinished)
    ranked = [a > b for a in whole.values() for b in open_.values()]
    assert sum(ranked) / len(ranked) > 0.9, (whole, open_)
