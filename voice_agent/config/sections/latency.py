"""Settings of the latency budget and of what is done when a turn exceeds it."""

from __future__ import annotations

from dataclasses import dataclass

from ..setting import Section, setting


@dataclass(frozen=True, slots=True)
class BudgetConfig(Section):
    """Milliseconds from the end of the user's speech to the first sound of the answer."""

    total_ms: float = setting(500.0, "The total, voice to voice.", minimum=1)
    endpointing_ms: float = setting(200.0, "The wait for the end of turn.", minimum=0)
    stt_ms: float = setting(100.0, "From the end of speech to the text.", minimum=0)
    llm_ms: float = setting(200.0, "From the request to the first content.", minimum=0)
    tts_ms: float = setting(80.0, "From the first speakable words to their first sound.", minimum=0)
    output_ms: float = setting(30.0, "From the first sound ready to the first sound heard.", minimum=0)
    counts: str = setting(
        "answer",
        "What ends the measured time if an acknowledgement was heard before the answer: the `answer`, or the `first`"
        " sound.",
        choices=("answer", "first"),
    )


@dataclass(frozen=True, slots=True)
class DegradationConfig(Section):
    """Degradation steps: what is done when a turn is late (docs/budget.md)."""

    hedge: bool = setting(
        True, "Send a second request when the first content is late; the first answer to arrive is spoken."
    )
    hedge_quantile: float = setting(
        0.9, "Late means later than this share of the provider's latest requests.", minimum=0.5, maximum=0.999
    )
    hedge_start_ms: float = setting(
        400.0, "The time that counts as late until ten requests have been measured.", minimum=1, maximum=60_000
    )
    hedge_min_ms: float = setting(
        120.0, "The second request is never sent sooner than this.", minimum=0, maximum=60_000
    )
    hedge_tokens: float = setting(
        0.08, "Share of all tokens that second requests may cost (prompts included).", minimum=0.0, maximum=1.0
    )
    hedge_per_minute: int = setting(20, "Second requests a minute, at most.", minimum=0, maximum=10_000)
    hedge_with_tools: bool = setting(
        True, "Hedge also where the agent has tools: only the tool calls of the answer that is used are run."
    )
    small_first: bool = setting(
        True, "When late, text-to-speech gets fewer words in its first chunk, if no gap follows."
    )
    acknowledge: bool = setting(
        True, "When the answer is far off, say a short acknowledgement first, synthesised in advance."
    )
    acknowledge_rest_ms: float = setting(
        900.0, "Acknowledge only when the answer is expected to take this much longer.", minimum=100, maximum=60_000
    )
    acknowledge_question: str = setting(
        "Let me see., One moment., Let me think.", "Acknowledgements of a question, separated by commas."
    )
    acknowledge_other: str = setting("Okay., Right., All right.", "Acknowledgements of anything else.")
    degrade: bool = setting(
        True,
        "When turn after turn is late, use less (a smaller Whisper, shorter answers); return when there is time again.",
    )
    degrade_after: int = setting(
        3, "Degrade after this many of the latest five turns over the budget.", minimum=1, maximum=5
    )
    recover_after: int = setting(8, "Recover after this many turns in a row well within it.", minimum=1, maximum=1000)
    degrade_memory_mb: int = setting(
        900,
        "Load a smaller Whisper beside the usual one only if this process stays below this. 0: never. A room worker's"
        " calls share one, so it is not checked there.",
        minimum=0,
        maximum=1_000_000,
    )
    short_reply_tokens: int = setting(80, "Longest answer while degraded, in tokens.", minimum=10, maximum=100_000)
    give_up_ms: float | None = setting(
        None,
        "Without first content this long after the first request, say the apology. Left out: after"
        " `llm.first_content_timeout_s`.",
        minimum=100,
        maximum=120_000,
    )
    breaker: bool = setting(
        True, "Circuit breaker: send nothing to a provider that keeps failing, and try it now and then."
    )
    breaker_failures: int = setting(3, "The breaker opens after this many failures in a row.", minimum=1, maximum=100)
    breaker_open_s: float = setting(10.0, "How long the breaker stays open.", minimum=0.1, maximum=3600)


@dataclass(frozen=True, slots=True)
class DebugConfig(Section):
    """Fault injection: a deliberate delay, to check that a verdict finds it (docs/verdict.md)."""

    delay_stage: str = setting(
        "", "The stage to delay. Empty: none.", choices=("", "stt", "turn", "llm", "tts", "output")
    )
    delay_ms: float = setting(40.0, "The delay, in milliseconds.", minimum=0.0, maximum=5000.0)
