"""A turn policy that a test drives window by window, and the states it starts from."""

from __future__ import annotations

from voice_agent.config import TurnConfig
from voice_agent.turn.turn_policy import TurnPolicy, TurnState
from voice_agent.turn_events import EndOfTurn, TurnEvent

W = 0.032
TEXT = "What is the capital of France?"
SURE, DOUBTFUL, UNFINISHED = -0.5, -2.5, -6.0


def configured(**changes: float) -> TurnConfig:
    """A configuration of these tests' own: nothing here depends on the defaults."""
    values = {
        "patience": 0.5, "speech_threshold": 0.5, "start_windows": 2,
        "score_sure": -2.0, "score_unsure": -3.0, "score_unfinished": -4.0, "score_early_preflight": -1.0,
        "wait_sure_s": 0.2, "wait_unsure_s": 0.6, "wait_unfinished_s": 1.6, "hold_for_reply_s": 0.1,
        "min_pause_s": 0.2, "pause_factor": 1.2,
        "usual_pause_factor": 0.0, "wait_after_pauses_s": 0.5, "reopen_s": 2.0, "no_words_timeout_s": 0.7,
        "text_final_before_end_s": 0.0, "preflight_before_end_s": 0.3, "max_preflights": 3, "max_early_preflights": 2,
        "early_preflight_spacing_s": 0.25, "early_preflight_stable_s": 0.0,
    } | changes  # fmt: skip
    return TurnConfig(**values)  # type: ignore[arg-type]  # each value has its setting's type


class DrivenPolicy:
    """Drives a policy window by window and notes its decisions with their times."""

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

    def hear(self, windows: int, probability: float, *, energy_drop: bool = False) -> DrivenPolicy:
        for _ in range(windows):
            self.windows += 1
            if probability > self.policy.config.speech_threshold:
                self.speech_ended_s = self.now_s
            self.note(self.policy.window(self.now_s, probability, W, energy_drop=energy_drop))
        return self

    def energy_drop(self, windows: int) -> DrivenPolicy:
        return self.hear(windows, 0.9, energy_drop=True)

    def speech(self, windows: int = 20) -> DrivenPolicy:
        return self.hear(windows, 0.9)

    def silence(self, seconds: float) -> DrivenPolicy:
        return self.hear(round(seconds / W), 0.1)

    def text(self, text: str = TEXT, score: float | None = None, *, covers_s: float | None = None) -> DrivenPolicy:
        self.note(self.policy.text(text, self.now_s if covers_s is None else covers_s, self.now_s))
        return self if score is None else self.score(text, score)

    def score(self, text: str, score: float) -> DrivenPolicy:
        self.note(self.policy.end_of_turn_score(text, score, self.now_s))
        return self

    def ready(self, text: str = TEXT) -> DrivenPolicy:
        self.note(self.policy.reply_ready(text, self.now_s))
        return self

    def audible(self) -> DrivenPolicy:
        self.note(self.policy.audible(self.now_s))
        return self

    def of(self, kind: type[TurnEvent]) -> list[TurnEvent]:
        return [d for d in self.said if isinstance(d, kind)]

    def commit(self) -> EndOfTurn:
        (found,) = self.of(EndOfTurn)
        assert isinstance(found, EndOfTurn)
        return found


def idle() -> DrivenPolicy:
    return DrivenPolicy().silence(0.3)


def speaking() -> DrivenPolicy:
    return idle().speech()


def paused() -> DrivenPolicy:
    return speaking().hear(1, 0.1)


def heard() -> DrivenPolicy:
    """PAUSED, with a text that covers the speech and that is likely to be whole."""
    return paused().text(score=SURE)


def committed() -> DrivenPolicy:
    call = heard().ready().silence(0.3)
    assert call.policy.state is TurnState.COMMITTED
    return call
