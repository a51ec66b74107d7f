"""Settings of turn-taking: the end of a turn, and interruptions."""

from __future__ import annotations

from dataclasses import dataclass

from ..setting import Section, setting


@dataclass(frozen=True, slots=True)
class TurnConfig(Section):
    """Turn detection: when the user has finished."""

    patience: float = setting(
        0.5, "From eager (0) to patient (1): every wait is halved at 0 and doubled at 1.", minimum=0.0, maximum=1.0
    )
    end_of_turn_model: str = setting(
        "embedded",
        "What estimates whether a text is complete: the embedded language model, or rules alone.",
        choices=("embedded", "rules"),
    )
    speech_threshold: float = setting(
        0.5, "VAD probability above which a window is speech.", minimum=0.05, maximum=0.95
    )
    start_windows: int = setting(2, "Windows of 32 ms with speech, in a row, that start a turn.", minimum=1, maximum=20)
    score_sure: float = setting(
        -2.4, "End-of-turn log-probability from which the text is surely complete.", maximum=0.0
    )
    score_unsure: float = setting(-3.4, "End-of-turn log-probability from which the text may be complete.", maximum=0.0)
    score_unfinished: float = setting(
        -4.3, "End-of-turn log-probability below which the text is surely incomplete.", maximum=0.0
    )
    score_early_preflight: float = setting(
        -2.0, "End-of-turn log-probability from which a preflight is sent while the user speaks.", maximum=0.0
    )
    score_energy_drop_preflight: float = setting(
        -1.8, "The same, during an energy drop, when the text covers all loud speech.", maximum=0.0
    )
    energy_drop_db: float = setting(
        12.0, "An energy drop: speech this far below the loudest recent window.", minimum=1.0, maximum=60.0
    )
    energy_drop_final_before_s: float = setting(
        0.1,
        "During an energy drop, a preflight is sent on a text that covers all but this much of the loud speech.",
        minimum=0.0,
        maximum=1.0,
    )
    wait_sure_s: float = setting(
        0.18, "Silence before the end of turn when the text is surely complete.", minimum=0.03, maximum=5.0
    )
    wait_unsure_s: float = setting(
        0.45, "Silence before the end of turn when it may be complete.", minimum=0.03, maximum=10.0
    )
    wait_unfinished_s: float = setting(
        1.8, "Silence before the end of turn when it is incomplete.", minimum=0.03, maximum=20.0
    )
    hold_for_reply_s: float = setting(
        0.12,
        "Extra silence while the reply is not ready: it costs the user nothing.",
        minimum=0.0,
        maximum=5.0,
    )
    hold_for_expected_reply_s: float = setting(
        0.7,
        "The same, while the model's recent latency says that the reply cannot be ready yet: up to this much.",
        minimum=0.0,
        maximum=5.0,
    )
    min_pause_s: float = setting(0.2, "Pauses inside a turn count from this length.", minimum=0.03, maximum=5.0)
    pause_factor: float = setting(
        1.1, "After pauses in this turn, wait this many times the longest one.", minimum=0.0, maximum=5.0
    )
    usual_pause_factor: float = setting(
        0.4, "Wait at least this share of this speaker's usual pause.", minimum=0.0, maximum=5.0
    )
    wait_after_pauses_s: float = setting(0.34, "The longest wait because of earlier pauses.", minimum=0.0, maximum=5.0)
    reopen_s: float = setting(
        2.5, "Speech this soon after the end of a turn reopens it, unless its reply is already audible.", minimum=0.0
    )
    no_words_timeout_s: float = setting(
        0.7, "Sound without words is dropped after this silence.", minimum=0.1, maximum=10.0
    )
    text_final_before_end_s: float = setting(
        0.5,
        "At a pause, a preflight is sent on a text that covers all but this much of the speech.",
        minimum=0.0,
        maximum=1.0,
    )
    preflight_before_end_s: float = setting(
        0.35,
        "For an incomplete text, the preflight is sent only this long before the end of turn.",
        minimum=0.0,
        maximum=5.0,
    )
    max_preflights: int = setting(5, "Preflights (provisional requests) a turn, at most.", minimum=0, maximum=50)
    max_early_preflights: int = setting(
        3,
        "Of these, while the user still speaks; the last of several is kept for an energy drop.",
        minimum=0,
        maximum=50,
    )
    early_preflight_stable_s: float = setting(
        0.09, "Early preflights: only when this much new speech brought no new word.", minimum=0.0, maximum=2.0
    )
    early_preflight_spacing_s: float = setting(0.25, "Early preflights: shortest time between two.", minimum=0.0)
    record_evidence: bool = setting(
        False, "Keep the policy's inputs with each turn, for `voice-agent replay` and `tune`: about 2 kB a turn."
    )

    @property
    def patience_factor(self) -> float:
        """The factor of every wait: 0.5 at patience 0, 1 at 0.5, 2 at 1."""
        return float(2.0 ** (2.0 * self.patience - 1.0))


@dataclass(frozen=True, slots=True)
class InterruptionConfig(Section):
    """Barge-in: the user speaks while the agent speaks."""

    speech_threshold: float = setting(
        0.5, "VAD probability above which a window counts as speech over the agent.", minimum=0.05, maximum=0.99
    )
    start_windows: int = setting(
        2, "Windows of 32 ms with speech, in a row, that pause the agent.", minimum=1, maximum=10
    )
    sure_threshold: float = setting(
        0.8,
        "VAD probability from which one window is enough, until the first false interruption.",
        minimum=0.05,
        maximum=1.0,
    )
    false_alarm_windows: int = setting(
        2, "Windows added after each false interruption in one reply.", minimum=0, maximum=10
    )
    resume_after_s: float = setting(
        0.3, "Silence after a sound without words before the agent resumes.", minimum=0.05, maximum=5.0
    )
    false_interruption_timeout_s: float = setting(
        2.0, "The agent resumes over a sound that has brought no word in this time.", minimum=0.2, maximum=20.0
    )
    min_words: int = setting(
        3,
        "This many words interrupt at once; fewer do when two passes agree on them, or when the user falls silent.",
        minimum=1,
    )
    last_words_s: float = setting(
        0.6,
        'A backchannel such as "yes" is an answer if it comes this shortly before the end of a reply.',
        minimum=0.0,
        maximum=5.0,
    )
    backchannels: str = setting(
        "mhm, mm, mmm, mm-hmm, mhmm, hm, hmm, uh-huh, aha, uh, um, ah, oh, yeah, yea, yep, yes, yup, okay, ok, right,"
        " all right, alright, sure, i see, got it, cool, great, nice, good, wow, really, exactly, of course, true",
        "Backchannels, separated by commas: alone they do not interrupt.",
    )
    commands: str = setting(
        "stop, wait, no, nope, hold on, hang on, hey, hello, what, why, who, when, where, how, sorry, pardon, pause,"
        " enough, listen, actually, but, repeat, again, help, cancel, quiet, excuse me, never mind",
        "Words, separated by commas, that interrupt at once, also alone.",
    )
