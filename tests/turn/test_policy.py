from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice_agent.config import TurnConfig
from voice_agent.turn.policy import State, TurnPolicy, words_of
from voice_agent.turn_events import CancelPreflight, Discard, EndOfTurn, Preflight, Reopen, SpeechStarted, TurnEvent

W = 0.032
TEXT = "What is the capital of France?"
SURE, DOUBTFUL, UNFINISHED = -0.5, -2.5, -6.0


def configured(**changes: float) -> TurnConfig:
    """A configuration of these tests' own: nothing here depends on the defaults."""
    values = {
        "patience": 0.5, "speech_threshold": 0.5, "start_windows": 2,
        "score_sure": -2.0, "score_unsure": -3.0, "score_unfinished": -4.0, "score_early_preflight": -1.0,
        "wait_sure_s": 0.2, "wait_unsure_s": 0.6, "wait_unfinished_s": 1.6, "hold_for_reply_s": 0.1,
        "acoustic_sure": 0.8, "acoustic_unfinished": 0.05, "min_pause_s": 0.2, "pause_factor": 1.2,
        "usual_pause_factor": 0.0, "wait_after_pauses_s": 0.5, "reopen_s": 2.0, "no_words_timeout_s": 0.7,
        "text_final_before_end_s": 0.0, "preflight_before_end_s": 0.3, "max_preflights": 3, "max_early_preflights": 2,
        "early_preflight_spacing_s": 0.25, "early_preflight_stable_s": 0.0,
    } | changes  # fmt: skip
    return TurnConfig(**values)  # type: ignore[arg-type]  # each value has its setting's type


class Call:
    """Drives a policy window by window and keeps what it decides, with the time of each decision."""

    def __init__(self, config: TurnConfig | None = None) -> None:
        self.policy = TurnPolicy(config or configured())
        self.windows = 0
        self.speech_ended_s = 0.0
        self.said: list[TurnEvent] = []
        self.said_at: list[float] = []

    @property
    def now_s(self) -> float:
        return self.windows * W

    def note(self, decisions: tuple[TurnEvent, ...]) -> None:
        self.said += decisions
        self.said_at += [self.now_s] * len(decisions)

    def hear(self, windows: int, probability: float, *, energy_drop: bool = False) -> Call:
        for _ in range(windows):
            self.windows += 1
            if probability > self.policy.config.speech_threshold:
                self.speech_ended_s = self.now_s
            self.note(self.policy.window(self.now_s, probability, W, energy_drop=energy_drop))
        return self

    def energy_drop(self, windows: int) -> Call:
        return self.hear(windows, 0.9, energy_drop=True)

    def speech(self, windows: int = 20) -> Call:
        return self.hear(windows, 0.9)

    def silence(self, seconds: float) -> Call:
        return self.hear(round(seconds / W), 0.1)

    def text(self, text: str = TEXT, score: float | None = None, *, covers_s: float | None = None) -> Call:
        self.note(self.policy.text(text, self.now_s if covers_s is None else covers_s, self.now_s))
        return self if score is None else self.score(text, score)

    def score(self, text: str, score: float) -> Call:
        self.note(self.policy.completeness(text, score, self.now_s))
        return self

    def ready(self, text: str = TEXT) -> Call:
        self.note(self.policy.reply_ready(text, self.now_s))
        return self

    def audible(self) -> Call:
        self.note(self.policy.audible(self.now_s))
        return self

    def acoustic(self, probability: float) -> Call:
        self.note(self.policy.acoustic(probability, self.now_s))
        return self

    def of(self, kind: type[TurnEvent]) -> list[TurnEvent]:
        return [d for d in self.said if isinstance(d, kind)]

    def commit(self) -> EndOfTurn:
        (found,) = self.of(EndOfTurn)
        assert isinstance(found, EndOfTurn)
        return found


def idle() -> Call:
    return Call().silence(0.3)


def speaking() -> Call:
    return idle().speech()


def paused() -> Call:
    return speaking().hear(1, 0.1)


def heard() -> Call:
    """PAUSED, with a text that covers the speech and that is likely to be whole."""
    return paused().text(score=SURE)


def committed() -> Call:
    call = heard().ready().silence(0.3)
    assert call.policy.state is State.COMMITTED
    return call


S, P, C, IDLE = State.SPEAKING, State.PAUSED, State.COMMITTED, State.IDLE
ROWS: list[tuple[str, Callable[[], Call], Callable[[Call], object], State, list[type]]] = [
    ("one window is not speech", idle, lambda c: c.speech(1), IDLE, []),
    ("clicks are not speech", idle, lambda c: [c.speech(1).hear(1, 0.1) for _ in range(9)], IDLE, []),
    ("speech starts", idle, lambda c: c.speech(2), S, [SpeechStarted]),
    ("speech goes on", speaking, lambda c: c.speech(9), S, []),
    ("a window without speech", speaking, lambda c: c.hear(1, 0.1), P, []),
    ("whole text", speaking, lambda c: c.text(score=SURE), S, [Preflight]),
    ("doubtful text", speaking, lambda c: c.text(score=DOUBTFUL), S, []),
    ("text not judged yet", speaking, lambda c: c.text(), S, []),
    ("the user goes on", paused, lambda c: c.speech(1), S, []),
    ("text covers the speech", paused, lambda c: c.text(score=DOUBTFUL), P, [Preflight]),
    ("the same words again", heard, lambda c: c.text(TEXT.lower().rstrip("?")), P, []),
    ("other words", heard, lambda c: c.text("What is the capital of Spain?", SURE), P, [Preflight]),
    ("text does not cover it", paused, lambda c: c.text(score=SURE, covers_s=c.now_s - 0.5), P, []),
    ("wait over, reply ready", heard, lambda c: c.ready().silence(0.2), C, [EndOfTurn]),
    ("wait over, reply held for", heard, lambda c: c.silence(0.2), P, []),
    ("held long enough", heard, lambda c: c.silence(0.4), C, [EndOfTurn]),
    ("reply ready, wait not over", heard, lambda c: c.ready().silence(0.1), P, []),
    ("the reply to another text", heard, lambda c: c.ready("Who wrote it?").silence(0.2), P, []),
    ("no words", paused, lambda c: c.text("").silence(0.9), IDLE, [Discard]),
    ("a text that never covers", paused, lambda c: c.text(covers_s=0.5).silence(9), IDLE, [Discard]),
    ("the user goes on after the commit", committed, lambda c: c.speech(2), S, [Reopen]),
    ("a click after the commit", committed, lambda c: c.speech(1), C, []),
    ("audible", committed, lambda c: c.audible(), IDLE, []),
    ("too long after the commit", committed, lambda c: c.silence(2.1), IDLE, []),
    ("speech long after the commit", committed, lambda c: c.silence(2.1).speech(2), S, [SpeechStarted]),
    ("speech after audible", committed, lambda c: c.audible().speech(2), S, [SpeechStarted]),
    ("late text", committed, lambda c: c.text("Something else."), C, []),
    ("late score", committed, lambda c: c.score("Something else.", SURE), C, []),
    ("text out of nowhere", idle, lambda c: c.text(score=SURE).ready().acoustic(1.0), IDLE, []),
    ("audible while the user speaks", speaking, lambda c: c.audible(), S, []),
    ("acoustic opinion while the user speaks", speaking, lambda c: c.acoustic(1.0), S, []),
]  # fmt: skip


@pytest.mark.parametrize(("start", "event", "state", "said"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS])
def test_the_transition_table(
    start: Callable[[], Call], event: Callable[[Call], object], state: State, said: list[type]
) -> None:
    call = start()
    before = len(call.said)
    event(call)
    assert call.policy.state is state
    assert [type(d) for d in call.said[before:]] == said


def test_the_table_visits_every_state_and_decision() -> None:
    assert {row[3] for row in ROWS} == set(State)
    assert {kind for row in ROWS for kind in row[4]} == {SpeechStarted, Preflight, EndOfTurn, Reopen, Discard}


class TestDecisions:
    def test_speech_started_at_the_start_of_its_first_window(self) -> None:
        call = Call(configured(start_windows=3)).hear(10, 0.1).speech(3)
        (started,) = call.said
        assert isinstance(started, SpeechStarted)
        assert started.at_s == pytest.approx(10 * W)

    def test_an_ask_says_whether_the_user_still_speaks(self) -> None:
        early, late = speaking().text(score=SURE), paused().text(score=SURE)
        assert early.said[-1] == Preflight(TEXT, early=True)
        assert late.said[-1] == Preflight(TEXT, early=False)

    def test_asked_early_on_the_same_words_it_is_not_asked_again(self) -> None:
        call = speaking().text(score=SURE).speech(5).hear(1, 0.1).text("what is the capital of france").silence(0.4)
        assert call.of(Preflight) == [Preflight(TEXT, early=True)]
        assert call.policy.state is State.COMMITTED

    def test_another_ending_of_the_last_word_is_another_text(self) -> None:
        asked, heard = "Connect me to my call.", "Connect me to my calls."
        call = speaking().text(asked, SURE).speech(5).hear(1, 0.1)
        call.text(heard).ready(asked).text(heard, SURE).silence(0.3)
        assert call.of(Preflight) == [Preflight(asked, early=True), Preflight(heard, early=False)]
        commit = call.commit()
        assert (commit.text, commit.reason) == (heard, "held long enough")

    def test_the_commit_has_its_evidence(self) -> None:
        call = heard().acoustic(0.5)
        call.ready().silence(0.3)
        commit = call.commit()
        assert (commit.text, commit.score, commit.acoustic) == (TEXT, SURE, 0.5)
        assert commit.speech_ended_s == pytest.approx(call.speech_ended_s)
        assert commit.wanted_s == pytest.approx(0.2)
        assert commit.wanted_s <= commit.waited_s < commit.wanted_s + W + 1e-9

    def test_a_reply_that_is_not_ready_is_held_for_so_long_and_no_longer(self) -> None:
        commit = heard().silence(1.0).commit()
        assert commit.wanted_s == pytest.approx(0.2)
        assert commit.wanted_s + 0.1 <= commit.waited_s < commit.wanted_s + 0.1 + W + 1e-9

    def test_a_ready_reply_ends_the_hold_between_windows(self) -> None:
        call = heard().silence(0.24)
        assert not call.of(EndOfTurn)
        call.ready()
        assert call.commit().text == TEXT

    def test_the_text_after_the_pause_is_the_one_committed(self) -> None:
        call = paused().text("What is the", UNFINISHED).speech(10).hear(1, 0.1).text(score=SURE).ready().silence(0.3)
        assert call.commit().text == TEXT

    def test_a_reopened_turn_has_both_texts(self) -> None:
        call = committed().speech(20).hear(1, 0.1)
        call.text("And of Spain?", None)
        whole = f"{TEXT} And of Spain?"
        assert call.policy.present_text == whole
        call.score(whole, SURE).ready(whole).silence(0.3)
        assert [d.text for d in call.said if isinstance(d, EndOfTurn | Reopen)] == [TEXT, TEXT, whole]

    def test_a_turn_reopens_as_often_as_it_takes(self) -> None:
        call = committed().speech(20).hear(1, 0.1).text("And of Spain?").silence(1.0)
        call.speech(20).hear(1, 0.1).text("Please.").silence(1.0)
        last = call.of(EndOfTurn)[-1]
        assert isinstance(last, EndOfTurn)
        assert last.text == f"{TEXT} And of Spain? Please."

    def test_a_cough_after_the_commit_commits_the_same_words_again(self) -> None:
        call = committed().speech(5).hear(1, 0.1).text("").silence(1.0)
        assert [type(d) for d in call.said if not isinstance(d, Preflight)] == [
            SpeechStarted,
            EndOfTurn,
            Reopen,
            EndOfTurn,
        ]
        last = call.of(EndOfTurn)[-1]
        assert isinstance(last, EndOfTurn)
        assert last.text == TEXT

    def test_the_next_turn_knows_nothing_of_the_last(self) -> None:
        call = committed().audible().speech(20).hear(1, 0.1)
        assert call.policy.present_text == ""
        call.text("Who wrote it?", SURE).ready("Who wrote it?").silence(0.3)
        last = call.of(EndOfTurn)[-1]
        assert isinstance(last, EndOfTurn)
        assert last.text == "Who wrote it?"

    def test_a_score_of_another_turn_does_not_count(self) -> None:
        call = committed().audible().speech(20).hear(1, 0.1).text()
        assert call.policy.wait_s() == pytest.approx(0.6)  # the same words, but nobody has judged them in this turn


class TestAskBudget:
    def test_texts_that_never_stop_changing(self) -> None:
        call = paused()
        for i in range(20):
            call.text(f"What is the capital of country {i}?", SURE)
        assert len(call.of(Preflight)) == 3
        call.silence(0.6)
        assert call.commit().text == "What is the capital of country 19?"

    def test_early_asks_have_a_budget_of_their_own_and_a_distance(self) -> None:
        call = Call(configured(max_preflights=10, max_early_preflights=4, early_preflight_spacing_s=0.5)).speech(5)
        for i in range(80):
            call.text(f"What is the capital of country {i}?", SURE).speech(3)
        asked_at = [at for at, d in zip(call.said_at, call.said, strict=True) if isinstance(d, Preflight)]
        assert len(asked_at) == 3  # the fourth is kept
        assert all(b - a >= 0.5 for a, b in itertools.pairwise(asked_at))
        for _ in range(3):
            call.energy_drop(3).text("What is the capital of country 81?", SURE)
        assert len(call.of(Preflight)) == 4

    def test_the_only_early_ask_is_not_kept(self) -> None:
        call = (
            Call(configured(max_early_preflights=1, early_preflight_spacing_s=0.0)).speech(5).text(score=SURE).speech(3)
        )
        assert len(call.text(score=SURE).of(Preflight)) == 1

    def test_none_allowed(self) -> None:
        call = Call(configured(max_preflights=0)).speech().text(score=SURE).hear(1, 0.1).text(score=SURE).silence(1.0)
        assert not call.of(Preflight)
        assert call.commit().text == TEXT

    def test_an_unfinished_text_is_asked_on_only_shortly_before_its_commit(self) -> None:
        call = paused().text("What is the", UNFINISHED).silence(3)
        asked_at = next(at for at, d in zip(call.said_at, call.said, strict=True) if isinstance(d, Preflight))
        committed_at = next(at for at, d in zip(call.said_at, call.said, strict=True) if isinstance(d, EndOfTurn))
        wanted = call.commit().wanted_s
        assert wanted == pytest.approx(1.6)
        assert asked_at - call.speech_ended_s >= wanted - 0.3 - 1e-9
        assert asked_at < committed_at


def wait_s(
    score: float | None, config: TurnConfig, *, acoustic: float | None = None, pauses_s: tuple[float, ...] = ()
) -> float:
    call = Call(config).speech()
    for pause_s in pauses_s:
        call.silence(pause_s).speech(5)
    call.hear(1, 0.1)
    call.policy.text(TEXT, call.now_s, call.now_s)
    if score is not None:
        call.policy.completeness(TEXT, score, call.now_s)
    if acoustic is not None:
        call.policy.acoustic(acoustic, call.now_s)
    assert call.policy.state is State.PAUSED
    return call.policy.wait_s()


scores = st.floats(-13.8, 0.0)
opinions = st.none() | st.floats(0.0, 1.0)


class TestWaits:
    @pytest.mark.parametrize(
        ("score", "wanted_s"),
        [(-0.1, 0.2), (-2.0, 0.2), (-2.5, 0.4), (-3.0, 0.6), (-3.5, 1.1), (-4.0, 1.6), (-9.0, 1.6), (None, 0.6)],
    )
    def test_by_score(self, score: float | None, wanted_s: float) -> None:
        assert wait_s(score, configured()) == pytest.approx(wanted_s)

    @settings(deadline=None)
    @given(scores, scores, opinions, st.floats(0, 1), st.lists(st.floats(0.05, 0.15), max_size=2))
    def test_a_higher_score_never_waits_longer(
        self, a: float, b: float, acoustic: float | None, patience: float, pauses_s: list[float]
    ) -> None:
        config = configured(patience=patience, min_pause_s=0.03, usual_pause_factor=0.5)
        low, high = sorted((a, b))
        given_pauses = tuple(pauses_s)
        less = wait_s(high, config, acoustic=acoustic, pauses_s=given_pauses)
        assert less <= wait_s(low, config, acoustic=acoustic, pauses_s=given_pauses) + 1e-9

    @settings(deadline=None)
    @given(scores, opinions, st.floats(0, 1))
    def test_patience_scales_every_wait(self, score: float, acoustic: float | None, patience: float) -> None:
        plain = wait_s(score, configured(), acoustic=acoustic)
        config = configured(patience=patience)
        assert wait_s(score, config, acoustic=acoustic) == pytest.approx(plain * config.patience_factor)
        assert 0.5 <= config.patience_factor <= 2.0

    @settings(deadline=None)
    @given(scores, st.floats(0, 1), st.floats(0, 1))
    def test_a_surer_ear_never_waits_longer(self, score: float, a: float, b: float) -> None:
        low, high = sorted((a, b))
        config = configured()
        assert wait_s(score, config, acoustic=high) <= wait_s(score, config, acoustic=low) + 1e-9

    def test_the_ear_does_not_overrule_an_unfinished_text(self) -> None:
        assert wait_s(UNFINISHED, configured(), acoustic=1.0) == pytest.approx(1.6)

    def test_an_ear_that_hears_no_end_stretches_a_sure_text(self) -> None:
        assert wait_s(SURE, configured(), acoustic=0.01) == pytest.approx(0.6)

    def test_a_speaker_who_paused_in_this_turn_is_given_as_long(self) -> None:
        without, with_pause = wait_s(SURE, configured()), wait_s(SURE, configured(), pauses_s=(0.32,))
        assert without == pytest.approx(0.2)
        assert with_pause == pytest.approx(0.32 * 1.2, abs=0.02)
        assert wait_s(SURE, configured(), pauses_s=(0.5,)) == pytest.approx(0.5)  # at most wait_after_pauses_s

    def test_gaps_between_words_are_no_pauses(self) -> None:
        assert wait_s(SURE, configured(), pauses_s=(0.16,)) == pytest.approx(0.2)

    def test_a_usual_pause_is_remembered_over_turns(self) -> None:
        config = configured(usual_pause_factor=1.0, pause_factor=0.0, wait_after_pauses_s=0.5)
        call = Call(config)
        for _ in range(6):
            call.speech().hear(1, 0.1).text("What is the", UNFINISHED).silence(0.42).speech(10).hear(1, 0.1)
            call.text(score=SURE).ready().silence(0.8).audible()
        first, *_, last = (d for d in call.of(EndOfTurn) if isinstance(d, EndOfTurn))
        assert first.wanted_s < last.wanted_s <= 0.5 + 1e-9


events = st.lists(
    st.one_of(
        st.tuples(st.just("speech"), st.integers(1, 25)),
        st.tuples(st.just("silence"), st.integers(1, 40)),
        st.tuples(st.just("text"), st.sampled_from(["", "Yes", "Yes I", "Yes I do", TEXT]), st.integers(0, 10)),
        st.tuples(st.just("score"), st.sampled_from(["Yes", "Yes I", "Yes I do", TEXT]), scores),
        st.tuples(st.just("ready"), st.sampled_from(["Yes", "Yes I do", TEXT])),
        st.tuples(st.just("audible")),
        st.tuples(st.just("acoustic"), st.floats(0, 1)),
    ),
    min_size=5,
    max_size=60,
)


def replay(evidence: list[tuple[str | int | float, ...]], config: TurnConfig) -> Call:
    call = Call(config)
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
            case "acoustic", [float(probability)]:
                call.acoustic(probability)
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
        call = Call(configured())
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
                        assert d.waited_s >= d.wanted_s - 1e-6
                        opened = False
                    else:
                        assert opened
                        opened = False
                    assert asks <= 3
                    assert early <= 2
                before = len(call.said)

    @staticmethod
    def step(call: Call, event: tuple[str | int | float, ...]) -> None:
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
            case ("acoustic", float(probability)):
                call.acoustic(probability)
            case _:
                call.audible()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("What's up?", "what's up"),
        ("  TWENTY-one,  please! ", "twenty one please"),
        ("...", ""),
        ("Straße: ja", "strasse ja"),
    ],
)
def test_texts_are_compared_by_their_words(text: str, words: str) -> None:
    assert words_of(text) == words


# --- the model's pace -------------------------------------------------------------------------------------------------


def held_until(pace_s: float | None, **settings: float) -> float:
    """Silence at the commit of a surely whole text, asked on 60 ms into the pause, whose reply does not come."""
    policy = TurnPolicy(TurnConfig(**settings))  # type: ignore[arg-type]
    policy.reply_takes_s = pace_s
    for n in range(1, 11):
        policy.window(n * 0.032, 0.9)
    ended = policy.speech_ended_s
    policy.window(ended + 0.032, 0.0)
    policy.text("what time is it", ended, ended + 0.05)
    asked = policy.completeness("what time is it", -0.5, ended + 0.06)
    assert any(isinstance(d, Preflight) for d in asked)
    for tick in range(1, 300):
        for decision in policy.advance(ended + 0.06 + tick * 0.01):
            if isinstance(decision, EndOfTurn):
                return round(decision.waited_s, 2)
    raise AssertionError("never committed")


def test_listening_longer_is_free_while_no_reply_can_be_ready() -> None:
    assert held_until(None) == 0.30  # wait_sure_s and hold_for_reply_s
    assert held_until(0.15) == 0.30  # a fast model leaves nothing free
    assert held_until(0.40) == 0.46  # asked at 60 ms, ready 400 ms later at the soonest
    assert held_until(5.0) == 0.88  # and at most hold_for_expected_reply_s longer
    assert held_until(0.40, hold_for_expected_reply_s=0.0) == 0.30


def test_a_reply_that_is_ready_sooner_is_not_held_back() -> None:
    policy = TurnPolicy(TurnConfig())
    policy.reply_takes_s = 0.8
    for n in range(1, 11):
        policy.window(n * 0.032, 0.9)
    ended = policy.speech_ended_s
    policy.window(ended + 0.032, 0.0)
    policy.text("what time is it", ended, ended + 0.05)
    policy.completeness("what time is it", -0.5, ended + 0.06)
    assert policy.advance(ended + 0.25) == ()
    assert [type(d) for d in policy.reply_ready("what time is it", ended + 0.26)] == [EndOfTurn]


class TestFading:
    """The voice fades some 0.2 s before the VAD sees the end: the time to ask."""

    def call(self, text: str = TEXT, covers_s: float = 0.62, **changes: float) -> list[TurnEvent]:
        config = configured(
            score_early_preflight=-0.1, score_energy_drop_preflight=-1.0, energy_drop_final_before_s=0.1, **changes
        )
        policy = TurnPolicy(config)
        said: list[TurnEvent] = []
        for n in range(1, 21):  # loud until 0.64 s
            said += policy.window(n * W, 0.9, W)
        assert policy.loud_until_s == policy.speech_ended_s == pytest.approx(20 * W)
        said += policy.text(text, covers_s, 21 * W)
        said += policy.completeness(text, SURE, 21 * W)
        assert not any(isinstance(d, Preflight) for d in said)
        said += policy.window(21 * W, 0.9, W, energy_drop=True)
        assert policy.loud_until_s == pytest.approx(20 * W)
        assert policy.speech_ended_s == pytest.approx(21 * W)
        return said

    def test_a_whole_text_that_heard_all_that_was_loud_is_asked_on(self) -> None:
        assert self.call()[-1] == Preflight(TEXT, early=True)

    def test_a_text_that_missed_a_loud_word_is_not(self) -> None:
        assert not any(isinstance(d, Preflight) for d in self.call(covers_s=0.4))

    def test_nor_beyond_the_early_requests_of_a_turn(self) -> None:
        assert not any(isinstance(d, Preflight) for d in self.call(max_early_preflights=0))
