"""What holds for any evidence."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from voice_agent.config import TurnConfig
from voice_agent.turn.turn_text import words_of
from voice_agent.turn_events import CancelPreflight, EndOfTurn, Preflight, Reopen, SpeechStarted

from .driven_policy import TEXT, DrivenPolicy, W, configured

scores = st.floats(-13.8, 0.0)
events = st.lists(
    st.one_of(
        st.tuples(st.just("speech"), st.integers(1, 25)),
        st.tuples(st.just("silence"), st.integers(1, 40)),
        st.tuples(st.just("text"), st.sampled_from(["", "Yes", "Yes I", "Yes I do", TEXT]), st.integers(0, 10)),
        st.tuples(st.just("score"), st.sampled_from(["Yes", "Yes I", "Yes I do", TEXT]), scores),
        st.tuples(st.just("ready"), st.sampled_from(["Yes", "Yes I do", TEXT])),
        st.tuples(st.just("audible")),
    ),
    min_size=5,
    max_size=60,
)


def replay(evidence: list[tuple[str | int | float, ...]], config: TurnConfig) -> DrivenPolicy:
    call = DrivenPolicy(config)
    for kind, *args in evidence:
        match kind, args:
            case "speech", [int(n)]:
                call.speech(n)
            case "silence", [int(n)]:
                call.hear(n, 0.0)
            case "text", [str(text), int(behind)]:
                call.text(text, covers_s=call.now_s - behind * W)
            case "score", [str(text), float(score)]:
                call.score(text, score)
            case "ready", [str(text)]:
                call.ready(text)
            case _:
                call.audible()
    return call


class TestAnyEvidence:
    @settings(deadline=None, max_examples=150)
    @given(events, st.floats(0, 1))
    def test_same_evidence_same_decisions(self, evidence: list[tuple[str | int | float, ...]], patience: float) -> None:
        config = configured(patience=patience)
        first, second = replay(evidence, config), replay(evidence, config)
        assert first.said == second.said
        assert first.said_at == second.said_at

    @settings(deadline=None, max_examples=300)
    @given(events)
    def test_what_always_holds(self, evidence: list[tuple[str | int | float, ...]]) -> None:
        call = DrivenPolicy(configured())
        covers_s, asks, early, opened = -1.0, 0, 0, False
        for event in evidence:
            before = len(call.said)
            if event[0] == "text" and call.policy.in_speech:
                covers_s = call.now_s - int(event[2]) * W
            one_by_one = [(event[0], 1)] * int(event[1]) if event[0] in ("speech", "silence") else [event]
            for step in one_by_one:
                self.step(call, step)
                for d in call.said[before:]:
                    if isinstance(d, SpeechStarted | Reopen):
                        assert not opened
                        covers_s, asks, early, opened = -1.0, 0, 0, True
                    elif isinstance(d, Preflight):
                        asks, early = asks + 1, early + d.early
                        assert words_of(d.text)
                    elif isinstance(d, CancelPreflight):
                        assert asks
                    elif isinstance(d, EndOfTurn):
                        assert opened
                        assert words_of(d.text)
                        assert covers_s >= call.speech_ended_s - 1e-9  # nothing that was said is left out
                        assert d.waited_s >= d.wait_s - 1e-6
                        opened = False
                    else:
                        assert opened
                        opened = False
                    assert asks <= 3
                    assert early <= 2
                before = len(call.said)

    @staticmethod
    def step(call: DrivenPolicy, event: tuple[str | int | float, ...]) -> None:
        match event:
            case ("speech", _):
                call.speech(1)
            case ("silence", _):
                call.hear(1, 0.0)
            case ("text", str(text), int(behind)):
                call.text(text, covers_s=call.now_s - behind * W)
            case ("score", str(text), float(score)):
                call.score(text, score)
            case ("ready", str(text)):
                call.ready(text)
            case _:
                call.audible()
