from __future__ import annotations

import pytest

from voice_agent.config import InterruptionConfig
from voice_agent.turn.speech_kind import SpeechClassifier, SpeechKind, is_echo

AGENT = "well that is a long story so let me tell it from the beginning"


@pytest.mark.parametrize(
    ("heard", "echo"),
    [
        ("let me tell it", True),
        ("so let me spell it from", True),  # misheard
        ("beginning", True),
        ("what is the capital of france", False),
        ("tell me about the garden please", False),
        ("story", False),  # too long ago for a single word
        ("", False),
    ],
)
def test_echo(heard: str, echo: bool) -> None:
    assert is_echo(heard, AGENT) is echo


@pytest.mark.parametrize("text", ["Mhm", "uh-huh", "I see.", "yeah, I see, okay", "All right!"])
def test_backchannels(text: str) -> None:
    assert SpeechClassifier(InterruptionConfig()).is_backchannel(text)


@pytest.mark.parametrize("text", ["", "okay but why", "right now", "no", "yes please"])
def test_no_backchannels(text: str) -> None:
    assert not SpeechClassifier(InterruptionConfig()).is_backchannel(text)


def test_the_lists_are_settings() -> None:
    classifier = SpeechClassifier(InterruptionConfig(backchannels="genau, na klar", commands="halt"))
    assert classifier.is_backchannel("Na klar, genau.")
    assert not classifier.is_backchannel("okay")
    assert classifier.is_command("Halt!")


@pytest.mark.parametrize(
    ("text", "length_s", "kind"),
    [
        ("what is the capital", 1.0, SpeechKind.WORDS),
        ("what is the capital", 0.4, SpeechKind.NOTHING),  # four words in the time of two
        ("Stop.", 0.3, SpeechKind.WORDS),
        ("I'll.", 0.3, SpeechKind.SHORT_SOUND),
        ("I'll.", 0.6, SpeechKind.WORDS),
        ("I'll.", None, SpeechKind.WORDS),
        ("Thank you.", 1.0, SpeechKind.NOTHING),
        ("let me tell it", 1.0, SpeechKind.ECHO),
    ],
)
def test_kinds(text: str, length_s: float | None, kind: SpeechKind) -> None:
    assert SpeechClassifier(InterruptionConfig()).kind(text, AGENT, length_s) is kind
