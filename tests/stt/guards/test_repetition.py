from __future__ import annotations

import pytest

from voice_agent.stt.guards.repetition import repetitions_removed, strip_restart


class TestRestart:
    @pytest.mark.parametrize(
        ("text", "audio_s", "kept"),
        [
            ("please hold while. Please hold while", 1.2, "please hold while."),
            ("Please hold. Please hold. Please hold.", 1.0, "Please hold."),
            ("no matches found. There are no matches found. There are no match", 2.0, "no matches found."),
            ("Who wrote it? Who wrote", 0.9, "Who wrote it?"),
            ("He was not an ill-disposed He was not an", 1.5, "He was not an ill-disposed"),
            ("What is the capital of France? What is the capital of France?", 1.9, "What is the capital of France?"),
            ("your call. YOUR CALL your call", 0.8, "your call."),
        ],
    )
    def test_a_loop_is_cut_to_its_first_round(self, text: str, audio_s: float, kept: str) -> None:
        assert strip_restart(text, audio_s) == (kept, True)

    def test_of_two_rounds_that_differ_in_a_word_the_riper_one_is_kept(self) -> None:
        twice = "They have been carried away by monkey. They have been carried away by monkeys."
        assert strip_restart(twice, 2.6) == ("They have been carried away by monkeys.", True)

    @pytest.mark.parametrize(
        ("text", "audio_s"),
        [
            ("no no no", 0.6),
            ("No, no, no, no!", 2.0),
            ("No, no, no, no!", 1.0),
            ("bye bye", 0.4),
            ("Bye bye, bye bye.", 1.6),
            ("very very good", 0.7),
            ("please hold while I look, please hold while I look", 4.0),
            ("one two three", 0.5),
            ("the more the merrier", 0.9),
            ("that that is is", 0.9),
            ("I know what I know", 1.6),
            ("", 0.0),
            ("yes", 0.1),
        ],
    )
    def test_what_can_have_been_said_is_kept(self, text: str, audio_s: float) -> None:
        assert strip_restart(text, audio_s) == (text, False)

    def test_the_same_words_are_a_loop_or_not_by_the_time_there_was(self) -> None:
        twice = "please hold the line please hold the line"
        assert strip_restart(twice, 1.0)[1]
        assert not strip_restart(twice, 4.0)[1]

    def test_a_phrase_said_three_times_at_the_end_is_said_once(self) -> None:
        kept, cut = strip_restart("We will call you back" + " as soon as" * 3, 3.0)
        assert (kept, cut) == ("We will call you back as soon as", True)

    def test_a_loop_that_is_cut_short_leaves_a_whole_sentence(self) -> None:
        """tiny.en, 4.5 s of a telephone menu: the word before the first round is the last of a round as well."""
        loop = "3 for advanced options." + " Press 0 for mailbox options." * 3 + " Press 0 for mailbox"
        assert strip_restart(loop, 4.5) == ("3 for advanced options. Press 0 for mailbox options.", True)


class TestRepetitionsRemoved:
    @pytest.mark.parametrize(
        ("text", "once"),
        [
            (
                "They have been carried away by monkeys. I am carried away by monkeys.",
                "They have been carried away by monkeys.",
            ),
            (
                "You cannot reply to this message. Reply to this message because the sender has no mailbox.",
                "You cannot Reply to this message because the sender has no mailbox.",
            ),
        ],
    )
    def test_a_phrase_said_twice_is_proposed_once(self, text: str, once: str) -> None:
        assert once in repetitions_removed(text)

    @pytest.mark.parametrize("text", ["", "yes", "no no no", "Please hold while I try that extension."])
    def test_nothing_repeats(self, text: str) -> None:
        assert repetitions_removed(text) == []
