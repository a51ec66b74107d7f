"""Settings: defaults < TOML file < environment < flags, each value checked, each mistake explained.

The whole configuration is one frozen :class:`Config` of sections. To add a setting, add one line to its
section; the file key ``[section] key``, the variable ``VOICE_AGENT_SECTION_KEY``, the flag ``section.key=value``, the
checks and the row in ``docs/configuration.md`` all follow from that line.

This module is the only one that reads the environment: the others are handed values. :mod:`voice_agent.config.page`
writes ``docs/configuration.md`` from it.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import re
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar

from ..errors import ConfigError

ENV_PREFIX = "VOICE_AGENT_"
ENV_FILE = "VOICE_AGENT_CONFIG"

T = TypeVar("T")
FlagValue = str | int | float | bool | None


class Secret:
    """A string that does not show itself: ``str``, ``repr`` and formatting give ``***``.

    Call :meth:`reveal` where it is sent, and nowhere else. It cannot be pickled, so that it reaches no dump.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(("Secret", self._value))

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self  # immutable; dataclasses.asdict copies what it finds

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled")


@dataclass(frozen=True, slots=True)
class _Rule(Generic[T]):
    """What a setting's line says besides its name, type and default."""

    doc: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[T, ...] = ()


def setting(
    default: T, doc: str, *, minimum: float | None = None, maximum: float | None = None, choices: tuple[T, ...] = ()
) -> T:
    """One setting. ``minimum`` and ``maximum`` are allowed themselves; ``choices`` lists all that is allowed."""
    rule = _Rule(" ".join(doc.split()), minimum, maximum, choices)
    # Typed as its default, like dataclasses.field: the class body then reads as the values it makes.
    return field(default=default, metadata={"rule": rule})


class _Section:
    """Base of the sections: a value made in code is held to the same limits as one that was loaded."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for key in _keys(type(self)).values():
            _check(key, getattr(self, key.name), f"{type(self).__name__}({key.name}=...)")


@dataclass(frozen=True, slots=True)
class SttConfig(_Section):
    """The ears: Whisper."""

    model: str = setting(
        "tiny.en",
        "Whisper model: `tiny.en` and `base` are installed with the package; else the path of a CTranslate2 model"
        " folder, or a hub id, fetched on first use.",
    )
    device: str = setting("cpu", "Where Whisper runs. `cuda` is untested.", choices=("cpu", "cuda", "auto"))
    compute_type: str = setting("int8", "CTranslate2 number format, such as `int8`, `float16`, `float32`.")
    runtime: str = setting(
        "auto",
        "What runs Whisper: onnxruntime (on `cpu` in `int8`, four times faster a token), or CTranslate2. `auto`:"
        " onnxruntime where it can and the model's file is below 700 MB.",
        choices=("auto", "onnx", "ctranslate2"),
    )
    language: str = setting("en", "Language code spoken by the user, such as `en` or `de`.")
    hotwords: str = setting("", "Words that Whisper should favour, separated by spaces.")
    threads: int = setting(2, "CPU threads of the ears.", minimum=1, maximum=64)


@dataclass(frozen=True, slots=True)
class TurnConfig(_Section):
    """The turn: when the user has finished."""

    patience: float = setting(
        0.5, "From eager (0) to patient (1): every wait is halved at 0 and doubled at 1.", minimum=0.0, maximum=1.0
    )
    end_of_turn_model: str = setting(
        "embedded",
        "Who judges whether a text is complete: the embedded model, or rules alone.",
        choices=("embedded", "rules"),
    )
    acoustic: bool = setting(
        False,
        "Ask the acoustic end-of-turn model (v1-mini) as well, when the text leaves doubt. Costs 250 MB and 50 ms.",
    )
    speech_threshold: float = setting(
        0.5, "VAD probability above which a window is speech.", minimum=0.05, maximum=0.95
    )
    start_windows: int = setting(2, "Windows of 32 ms with speech, in a row, that start a turn.", minimum=1, maximum=20)
    score_sure: float = setting(
        -2.4, "Completeness (log-probability) from which the text is surely whole.", maximum=0.0
    )
    score_unsure: float = setting(-3.4, "Completeness from which the text may be whole.", maximum=0.0)
    score_unfinished: float = setting(-4.3, "Completeness below which the text is surely unfinished.", maximum=0.0)
    score_early_preflight: float = setting(
        -2.0, "Completeness from which the model is asked while the user speaks.", maximum=0.0
    )
    score_energy_drop_preflight: float = setting(
        -1.8, "The same, when the voice is fading and the text has heard all that was loud.", maximum=0.0
    )
    energy_drop_db: float = setting(
        12.0, "So far below the loudest recent window speech counts as fading.", minimum=1.0, maximum=60.0
    )
    energy_drop_final_before_s: float = setting(
        0.1,
        "While it fades, a text that heard all but this much of what was loud is worth asking on.",
        minimum=0.0,
        maximum=1.0,
    )
    wait_sure_s: float = setting(
        0.18, "Silence before the commit when the text is surely whole.", minimum=0.03, maximum=5.0
    )
    wait_unsure_s: float = setting(0.45, "Silence before the commit when it may be whole.", minimum=0.03, maximum=10.0)
    wait_unfinished_s: float = setting(
        1.8, "Silence before the commit when it is unfinished.", minimum=0.03, maximum=20.0
    )
    hold_for_reply_s: float = setting(
        0.12,
        "How much longer to listen while the reply is not ready: it costs the user nothing.",
        minimum=0.0,
        maximum=5.0,
    )
    hold_for_pace_s: float = setting(
        0.7,
        "The same, while the model's usual pace says that the reply cannot be ready yet: up to this much.",
        minimum=0.0,
        maximum=5.0,
    )
    acoustic_sure: float = setting(0.8, "Acoustic probability that shortens a wait.", minimum=0.0, maximum=1.0)
    acoustic_unfinished: float = setting(0.02, "Acoustic probability that stretches a wait.", minimum=0.0, maximum=1.0)
    pause_counts_from_s: float = setting(
        0.2, "Pauses inside a turn count from this length on.", minimum=0.03, maximum=5.0
    )
    pause_factor: float = setting(
        1.1, "After pauses in this turn, wait this many times the longest.", minimum=0.0, maximum=5.0
    )
    usual_pause_factor: float = setting(
        0.4, "Wait at least this share of the pauses that this speaker usually makes.", minimum=0.0, maximum=5.0
    )
    wait_after_pauses_s: float = setting(0.34, "At most this much, for pauses made before.", minimum=0.0, maximum=5.0)
    reopen_s: float = setting(
        2.5, "Speech this soon after its end reopens a turn nobody has answered audibly.", minimum=0.0
    )
    give_up_s: float = setting(0.7, "Sound without words is forgotten after this silence.", minimum=0.1, maximum=10.0)
    text_final_before_end_s: float = setting(
        0.5,
        "At a pause, a text that heard all but this much of the speech is worth asking on.",
        minimum=0.0,
        maximum=1.0,
    )
    preflight_before_end_s: float = setting(
        0.35, "An unfinished text is asked on only this long before its commit.", minimum=0.0, maximum=5.0
    )
    max_preflights: int = setting(5, "Provisional requests a turn, at most.", minimum=0, maximum=50)
    max_early_preflights: int = setting(
        3,
        "Of these, while the user still speaks; the last one of several is kept for when the voice fades.",
        minimum=0,
        maximum=50,
    )
    keep_over_inflection: bool = setting(
        True,
        "Keep a provisional reply where only the ending of the last word changes (call, calls); never with tools.",
    )
    early_preflight_stable_s: float = setting(
        0.09, "Only when no new word came up in this much new speech.", minimum=0.0, maximum=2.0
    )
    early_preflight_spacing_s: float = setting(
        0.25, "Time between two requests made while the user speaks.", minimum=0.0
    )
    record_evidence: bool = setting(
        False, "Keep with each turn what the policy was given, for `voice-agent replay` and `tune`: about 2 kB a turn."
    )

    @property
    def patience_factor(self) -> float:
        """What every wait is multiplied by: 0.5 at patience 0, 1 at 0.5, 2 at 1."""
        return float(2.0 ** (2.0 * self.patience - 1.0))


@dataclass(frozen=True, slots=True)
class InterruptionConfig(_Section):
    """The user speaks while the agent does: who keeps the floor."""

    speech_threshold: float = setting(
        0.5, "VAD probability above which a window counts as speech over the agent.", minimum=0.05, maximum=0.99
    )
    start_windows: int = setting(
        2, "Windows of 32 ms with speech, in a row, that silence the agent.", minimum=1, maximum=10
    )
    sure_threshold: float = setting(
        0.8, "VAD probability from which one window is enough, until the first false alarm.", minimum=0.05, maximum=1.0
    )
    false_alarm_windows: int = setting(
        2, "So many more windows it takes after each false alarm in one reply.", minimum=0, maximum=10
    )
    resume_after_s: float = setting(
        0.3, "Silence after a sound without words until the agent goes on.", minimum=0.05, maximum=5.0
    )
    doubt_s: float = setting(
        2.0, "The agent goes on over a sound that has brought no word in this time.", minimum=0.2, maximum=20.0
    )
    sure_words: int = setting(
        3, "So many words take the floor at once; fewer when they are heard twice, or the user falls silent.", minimum=1
    )
    last_words_s: float = setting(
        0.6, 'A "yes" over the last words of a reply, so long before its end, is an answer.', minimum=0.0, maximum=5.0
    )
    backchannels: str = setting(
        "mhm, mm, mmm, mm-hmm, mhmm, hm, hmm, uh-huh, aha, uh, um, ah, oh, yeah, yea, yep, yes, yup, okay, ok, right,"
        " all right, alright, sure, i see, got it, cool, great, nice, good, wow, really, exactly, of course, true",
        "Words, separated by commas, that are said to keep the other one talking: alone they do not take the floor.",
    )
    commands: str = setting(
        "stop, wait, no, nope, hold on, hang on, hey, hello, what, why, who, when, where, how, sorry, pardon, pause,"
        " enough, listen, actually, but, repeat, again, help, cancel, quiet, excuse me, never mind",
        "Words, separated by commas, that take the floor though they are said alone and quickly.",
    )


@dataclass(frozen=True, slots=True)
class LlmConfig(_Section):
    """The mind: a language model behind the OpenAI-compatible API."""

    provider: str | None = setting(None, "Provider by name. Left out: the first whose key is set, else embedded.")
    base_url: str | None = setting(None, "Address of any OpenAI-compatible endpoint, up to and including `/v1`.")
    api_key: Secret | None = setting(None, "Key for the endpoint. Better in the environment than in a file.")
    model: str | None = setting(None, "Model id. Left out: chosen from what the endpoint says it serves.")
    spec: str | None = setting(
        None, "Short form of it all: `embedded`, `sim:ttft=170ms,tps=2314`, or a provider's name."
    )
    connect_timeout_s: float = setting(3.0, "Longest wait for the connection, in seconds.", minimum=0.05, maximum=60)
    first_content_timeout_s: float = setting(
        4.0, "Longest wait for the first word of an answer, in seconds.", minimum=0.05, maximum=120
    )
    total_timeout_s: float = setting(30.0, "Longest time for a whole answer, in seconds.", minimum=0.1, maximum=600)
    stall_timeout_s: float = setting(
        5.0, "Longest gap between two pieces of an answer, in seconds.", minimum=0.05, maximum=120
    )
    max_completion_tokens: int = setting(220, "Longest answer, in tokens.", minimum=1, maximum=100_000)
    context_tokens: int = setting(
        6000,
        "The conversation sent with a request, in tokens (estimated): above this, its oldest part is dropped, half of"
        " it at once, so that prompt caches stay valid.",
        minimum=200,
        maximum=1_000_000,
    )
    summarise: str = setting(
        "auto",
        "Keep the dropped part in a few sentences, asked for while an answer is spoken; `auto`: of hosted models only.",
        choices=("auto", "on", "off"),
    )
    temperature: float = setting(0.6, "Sampling temperature.", minimum=0.0, maximum=2.0)
    hedge: str | None = setting(
        None,
        "Who is asked as well when the model is late (docs/budget.md): a provider's name, or `sim:...`. Left out: the"
        " same provider, on a second connection.",
    )
    hedge_base_url: str | None = setting(None, "Its address, for any OpenAI-compatible endpoint.")
    hedge_api_key: Secret | None = setting(None, "Its key. Better in the environment than in a file.")
    hedge_model: str | None = setting(None, "Its model id. Left out: chosen from what it serves.")


@dataclass(frozen=True, slots=True)
class MeterConfig(_Section):
    """Requests and tokens by provider, kept for all processes of this machine (docs/providers.md)."""

    enabled: bool = setting(True, "Count what is used.")
    limits: str = setting(
        "",
        "What may be used, such as `cerebras.tokens_day=1M, groq.requests_minute=30`; names: requests_minute,"
        " requests_day, tokens_minute, tokens_day. Others are taken from the provider's rate headers.",
    )
    warn_at: float = setting(0.8, "Share of a limit from which to warn.", minimum=0.05, maximum=1.0)
    at_limit: str = setting(
        "warn",
        "What to do when a limit is reached: ask all the same, refuse the request, or take another provider.",
        choices=("warn", "refuse", "route"),
    )
    prices: str = setting("", "Prices of a million tokens in / out, such as `cerebras=0.35/0.75, groq=0.59/0.79`.")


@dataclass(frozen=True, slots=True)
class TtsConfig(_Section):
    """The mouth: a Piper voice."""

    voice: str = setting(
        "en_US-joe-medium",
        "Piper voice: this one is installed with the package; else the path of an `.onnx` file (its `.onnx.json`"
        " beside it), or a voice's name, fetched on first use.",
    )
    speaker: int | None = setting(None, "Speaker number, for a voice with several.", minimum=0)
    length_scale: float | None = setting(
        None, "Slower above 1, faster below. Left out: the voice's own.", minimum=0.25, maximum=4.0
    )
    runtime: str = setting(
        "auto",
        "What runs the voice: `onnx` (onnxruntime, float32: the samples of Piper's own graph), or `openvino` (bfloat16,"
        " less than half the time on a processor with AMX, for 350 MB and some 3 s at the start). `auto`: `openvino` in"
        " a room's worker where there is AMX, else `onnx`.",
        choices=("auto", "onnx", "openvino"),
    )

    def runtime_for(self, *, several: bool) -> str:
        """``runtime`` for one conversation, which would not get its memory and its start back, or for several."""
        return "onnx" if self.runtime == "auto" and not several else self.runtime


@dataclass(frozen=True, slots=True)
class SoundConfig(_Section):
    """The microphone and the loudspeaker of `voice-agent talk`."""

    input: str = setting("", "Microphone: its index or a part of its name (`voice-agent devices`). Empty: the default.")
    output: str = setting("", "Loudspeaker: its index or a part of its name. Empty: the default.")
    aec: bool = setting(True, "Take the agent's own sound out of the microphone. Not needed with a headset.")
    noise_suppression: bool = setting(True, "Take steady noise out of the microphone.")
    gain_control: bool = setting(True, "Bring a soft or loud voice to an even level.")
    latency_ms: float = setting(
        20.0,
        "Latency asked of each device at first. One that loses sound again and again gets twice as much, up to 80 ms.",
        minimum=5,
        maximum=500,
    )


@dataclass(frozen=True, slots=True)
class BudgetConfig(_Section):
    """Milliseconds from the end of the user's speech to the first sound of the answer."""

    total_ms: float = setting(500.0, "The whole way, voice to voice.", minimum=1)
    endpointing_ms: float = setting(200.0, "Waiting to be sure that the user has finished.", minimum=0)
    stt_ms: float = setting(100.0, "From the end of speech to the text.", minimum=0)
    llm_ms: float = setting(200.0, "From the request to the first content.", minimum=0)
    tts_ms: float = setting(80.0, "From the first speakable words to their first sound.", minimum=0)
    output_ms: float = setting(30.0, "From that sound's being ready to its being heard.", minimum=0)
    counts: str = setting(
        "answer",
        "What ends the wait where an acknowledgement was heard before the answer: the `answer`, or the `first` sound.",
        choices=("answer", "first"),
    )


@dataclass(frozen=True, slots=True)
class DegradationConfig(_Section):
    """What is done when a turn is late (docs/budget.md)."""

    hedge: bool = setting(True, "Ask a second time when the first content is late; the first answer is spoken.")
    hedge_quantile: float = setting(
        0.9, "Late is later than this share of the provider's latest requests.", minimum=0.5, maximum=0.999
    )
    hedge_start_ms: float = setting(400.0, "Late, until ten requests have been seen.", minimum=1, maximum=60_000)
    hedge_floor_ms: float = setting(120.0, "Never sooner than this.", minimum=0, maximum=60_000)
    hedge_tokens: float = setting(
        0.08, "Share of all tokens that second requests may cost (prompts included).", minimum=0.0, maximum=1.0
    )
    hedge_per_minute: int = setting(20, "Second requests a minute, at most.", minimum=0, maximum=10_000)
    hedge_with_tools: bool = setting(
        True, "Also where the agent has tools: only calls of the answer that is taken are carried out."
    )
    small_first: bool = setting(True, "Late: the voice is given fewer words first, where no gap follows.")
    acknowledge: bool = setting(True, "The answer is far: say a short word first, prepared ahead.")
    acknowledge_rest_ms: float = setting(
        900.0, "Only when the answer is expected to take this long still.", minimum=100, maximum=60_000
    )
    acknowledge_question: str = setting(
        "Let me see., One moment., Let me think.", "What may be said after a question, separated by commas."
    )
    acknowledge_other: str = setting("Okay., Right., All right.", "What may be said after anything else.")
    degrade: bool = setting(True, "Late turn after turn: go on with less, and return when there is time again.")
    degrade_after: int = setting(3, "So many of the latest five turns over the budget.", minimum=1, maximum=5)
    recover_after: int = setting(8, "So many turns in a row well within it.", minimum=1, maximum=1000)
    degrade_memory_mb: int = setting(
        900,
        "A smaller Whisper beside the usual one only if this process stays below. 0: never. A room worker's calls share"
        " one, so there it is not asked.",
        minimum=0,
        maximum=1_000_000,
    )
    short_reply_tokens: int = setting(80, "Longest answer while degraded, in tokens.", minimum=10, maximum=100_000)
    give_up_ms: float | None = setting(
        None,
        "No first content after this, from the first request on: give up, and say the apology. Left out: after"
        " `llm.first_content_timeout_s`.",
        minimum=100,
        maximum=120_000,
    )
    breaker: bool = setting(True, "Stop asking a provider that fails again and again, and try it now and then.")
    breaker_failures: int = setting(3, "So many failures in a row.", minimum=1, maximum=100)
    breaker_open_s: float = setting(10.0, "How long it is left alone.", minimum=0.1, maximum=3600)


@dataclass(frozen=True, slots=True)
class AgentConfig(_Section):
    """What the agent is and says of itself."""

    name: str = setting("", "What the agent is called; it is told so.")
    instructions: str = setting(
        "You are a friendly voice assistant on a live call.", "What the language model is told about its job."
    )
    manner: str = setting(
        "Answer in one to three short spoken sentences, and put"
        " the answer in the first few words. Use plain words: no markdown, lists, headings, emoji, code or web"
        " addresses, since everything you write is read aloud. If you did not understand, or do not know, say so"
        " briefly and ask one short question.",
        "How it is to speak: added to the instructions, whatever they are. Empty: nothing is added.",
    )
    greeting: str = setting("", "Said when a conversation starts. Empty: the user speaks first.")
    apology: str = setting(
        "Sorry, I had trouble with that. Could you say it again?", "Said when the language model fails."
    )

    @property
    def prompt(self) -> str:
        """All that the language model is told: name, instructions, manner."""
        name = f"Your name is {self.name}." if self.name else ""
        return " ".join(part for part in (name, self.instructions.strip(), self.manner.strip()) if part)


@dataclass(frozen=True, slots=True)
class RoomConfig(_Section):
    """Calls in LiveKit rooms (docs/rooms.md)."""

    calls_per_core: float = setting(
        5.0, "Calls that one free processor core carries; a machine with more is full.", minimum=0.1, maximum=100.0
    )
    eager_calls_per_core: float = setting(
        2.0,
        "With more calls than this on a core less is done ahead: no sound before it is needed, and in mid-speech only"
        " `room.many_calls_early_preflights` requests.",
        minimum=0.0,
        maximum=100.0,
    )
    many_calls_early_preflights: int = setting(
        2, "Provisional requests a turn while the user still speaks, where many calls run.", minimum=0, maximum=50
    )
    max_calls: int = setting(0, "Calls at the same time, at most. 0: only the cores count.", minimum=0, maximum=10_000)
    drain_s: int = setting(600, "How long a worker that ends waits for its calls.", minimum=0, maximum=86_400)
    empty_s: float = setting(
        20.0, "How long the agent waits in a room that all people have left.", minimum=0.0, maximum=3600.0
    )
    voices: str = setting("", "Voices that a job's metadata may choose, separated by commas.")
    languages: str = setting("", "Languages that a job's metadata may choose, separated by commas.")
    noise_suppression: bool = setting(False, "WebRTC's noise suppression and high-pass filter on what is heard.")
    dtmf: str = setting(
        "text", "Keys pressed on a phone: handed to the model as text, or not at all.", choices=("text", "off")
    )
    dtmf_wait_s: float = setting(
        2.0, "Keys belong together until `#` or a pause of this length.", minimum=0.2, maximum=20.0
    )
    remote_session: bool = setting(
        False,
        "Let whoever is in the room read the instructions and the conversation and steer it with LiveKit's"
        " `RemoteSession`.",
    )


@dataclass(frozen=True, slots=True)
class DebugConfig(_Section):
    """A fault, on purpose: to see that it is found (docs/verdict.md)."""

    delay_stage: str = setting(
        "", "The stage that is to be late. Empty: none.", choices=("", "stt", "turn", "llm", "tts", "output")
    )
    delay_ms: float = setting(40.0, "How late it is, in milliseconds.", minimum=0.0, maximum=5000.0)


@dataclass(frozen=True, slots=True)
class WebConfig(_Section):
    """The page to call the agent from: `voice-agent web`."""

    host: str = setting("127.0.0.1", "Address to serve the page at. Beyond loopback it wants a secret.")
    port: int = setting(8090, "Its port; 0 takes any that is free.", minimum=0, maximum=65535)
    secret: Secret | None = setting(None, "What callers must know, 16 characters or more. Better in the environment.")
    behind_auth: bool = setting(False, "A proxy of your own asks who the callers are, so no secret is needed here.")
    allow_hosts: str = setting("", "Further names that the page is served under, separated by spaces.")
    allow_origins: str = setting("", "Other sites whose pages may start calls, such as `https://example.org`.")
    token_ttl_s: float = setting(300.0, "How long a ticket for a call may be used to join.", minimum=10, maximum=3600)
    calls_per_minute: int = setting(10, "Calls that one client may start a minute.", minimum=1, maximum=10_000)
    total_calls_per_minute: int = setting(60, "Calls that all may start a minute.", minimum=1, maximum=100_000)
    agent_timeout_s: float = setting(
        10.0, "The page explains itself if no agent has come after this time.", minimum=0.1, maximum=120
    )
    agent_name: str = setting(
        "", "The worker that is sent to a call. Left empty, the command starts one of its own and gives it a name."
    )
    livekit_url: str = setting("", "Where browsers reach LiveKit, if that is not `LIVEKIT_URL`.")
    ledger: bool = setting(True, "Callers are shown the turn waterfall.")


@dataclass(frozen=True, slots=True)
class LivekitConfig(_Section):
    """The LiveKit server that `voice-agent web` starts when `LIVEKIT_URL` is not set."""

    server: str = setting("", "Path of the `livekit-server` program. Empty: looked for on the PATH and in the cache.")


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that can be set. ``Config()`` is the defaults; :func:`load` reads the other layers."""

    stt: SttConfig = field(default_factory=SttConfig)
    turn: TurnConfig = field(default_factory=TurnConfig)
    interruption: InterruptionConfig = field(default_factory=InterruptionConfig)
    llm: LlmConfig = field(default_factory=LlmConfig)
    meter: MeterConfig = field(default_factory=MeterConfig)
    tts: TtsConfig = field(default_factory=TtsConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    degradation: DegradationConfig = field(default_factory=DegradationConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    sound: SoundConfig = field(default_factory=SoundConfig)
    room: RoomConfig = field(default_factory=RoomConfig)
    debug: DebugConfig = field(default_factory=DebugConfig)
    web: WebConfig = field(default_factory=WebConfig)
    livekit: LivekitConfig = field(default_factory=LivekitConfig)


class Described(NamedTuple):
    """One row of :func:`describe`. ``default`` and ``allowed`` are text, as a user would write it."""

    section: str
    key: str
    type: str
    default: str
    allowed: str
    doc: str


@dataclass(frozen=True, slots=True)
class _Key:
    """A setting as the checks see it. ``kind`` is the type without ``| None``."""

    name: str
    kind: type
    optional: bool
    default: Any
    rule: _Rule[Any]

    @property
    def type_name(self) -> str:
        plain = {str: "text", int: "whole number", float: "number", bool: "true or false", Secret: "text"}
        return plain[self.kind] + (", or left out" if self.optional else "")

    @property
    def allowed(self) -> str:
        rule = self.rule
        if rule.choices:
            return " | ".join(str(choice) for choice in rule.choices)
        if rule.minimum is not None and rule.maximum is not None:
            return f"{rule.minimum:g} to {rule.maximum:g}"
        if rule.minimum is not None:
            return f"{rule.minimum:g} or more"
        return f"{rule.maximum:g} or less" if rule.maximum is not None else "any"

    @property
    def wanted(self) -> str:
        return self.type_name if self.allowed == "any" else f"{self.type_name}: {self.allowed}"


def sections() -> dict[str, type[_Section]]:
    """The sections of :class:`Config` by name."""
    return typing.get_type_hints(Config)


def _keys(section: type[_Section]) -> dict[str, _Key]:
    hints = typing.get_type_hints(section)
    found = {}
    for item in dataclasses.fields(section):  # type: ignore[arg-type]  # every subclass is a dataclass
        hint = hints[item.name]
        options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        (kind,) = (option for option in options if option is not types.NoneType)
        found[item.name] = _Key(item.name, kind, types.NoneType in options, item.default, item.metadata["rule"])
    return found


def _did_you_mean(wrong: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(wrong, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


def _refuse(key: _Key, value: object, where: str) -> NoReturn:
    shown = "***" if key.kind is Secret else repr(value)
    raise ConfigError(f"{where}: {shown} is not allowed; {key.name} takes {key.wanted}")


def _check(key: _Key, value: object, where: str) -> None:
    """Hold a value of any origin to the setting's type and limits."""
    if value is None and key.optional:
        return
    fits = isinstance(value, (int, float) if key.kind is float else key.kind)
    if not fits or (isinstance(value, bool) and key.kind is not bool):
        _refuse(key, value, where)
    if isinstance(value, float) and not math.isfinite(value):
        _refuse(key, value, where)
    rule = key.rule
    if rule.choices and value not in rule.choices:
        _refuse(key, value, where)
    if isinstance(value, int | float):
        too_low = rule.minimum is not None and value < rule.minimum
        too_high = rule.maximum is not None and value > rule.maximum
        if too_low or too_high:
            _refuse(key, value, where)


def _bool(text: str) -> bool:
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    return words[text.strip().lower()]


_PARSERS: dict[type, Callable[[str], Any]] = {int: int, float: float, bool: _bool, str: str, Secret: Secret}


def _accept(key: _Key, value: object, where: str, *, text: bool) -> Any:
    """Turn a raw value (``text``: from the environment or a flag) into the setting's type, or raise ConfigError."""
    if text and isinstance(value, str):
        if value == "" and key.optional:
            return None
        try:
            value = _PARSERS[key.kind](value)
        except (ValueError, KeyError):
            _refuse(key, value, where)
    elif key.kind is Secret and isinstance(value, str):
        value = Secret(value)
    _check(key, value, where)
    return float(value) if key.kind is float and isinstance(value, int) else value


def _from_file(path: Path) -> dict[str, dict[str, Any]]:
    try:
        with path.open("rb") as stream:
            table = tomllib.load(stream)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; name an existing TOML file or leave it out") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML ({error})") from None
    found: dict[str, dict[str, Any]] = {}
    known = sections()
    for name, entries in table.items():
        if name not in known:
            raise ConfigError(f"{path}: unknown section [{name}]; {_did_you_mean(name, known)}")
        if not isinstance(entries, dict):
            raise ConfigError(f"{path}: {name} is a section; write [{name}] and its keys below")
        keys = _keys(known[name])
        for key, value in entries.items():
            if key not in keys:
                raise ConfigError(f"{path}: unknown key {key!r} in [{name}]; {_did_you_mean(key, keys)}")
            found.setdefault(name, {})[key] = _accept(keys[key], value, f"{path}: [{name}] {key}", text=False)
    return found


def _from_names(names: Mapping[str, tuple[str, str]], given: Mapping[str, Any], what: str) -> dict[str, dict[str, Any]]:
    """Read ``given`` values whose names are looked up in ``names`` (name -> section and key)."""
    found: dict[str, dict[str, Any]] = {}
    known = sections()
    for name, value in given.items():
        if name not in names:
            raise ConfigError(f"{what} {name}: unknown setting; {_did_you_mean(name, names)}")
        section, key = names[name]
        accepted = _accept(_keys(known[section])[key], value, f"{what} {name}", text=True)
        found.setdefault(section, {})[key] = accepted
    return found


def load(
    file: Path | None = None, env: Mapping[str, str] | None = None, flags: Mapping[str, FlagValue] | None = None
) -> Config:
    """Read the configuration: defaults, then ``file``, then ``env``, then ``flags``; later ones win.

    ``file`` defaults to the one named by ``VOICE_AGENT_CONFIG``, ``env`` to this process's environment. ``flags`` maps
    dotted names (``turn.patience``) to values; text is converted. Raises ConfigError, naming the place, the key and
    what is allowed.
    """
    env = os.environ if env is None else env
    if file is None and env.get(ENV_FILE):
        file = Path(env[ENV_FILE])
    pairs = [(name, key) for name, section in sections().items() for key in _keys(section)]
    variables = {ENV_PREFIX + f"{name}_{key}".upper(): (name, key) for name, key in pairs}
    dotted = {f"{name}.{key}": (name, key) for name, key in pairs}
    ours = {name: value for name, value in env.items() if name.startswith(ENV_PREFIX) and name != ENV_FILE}

    layers = [
        _from_file(file) if file is not None else {},
        _from_names(variables, ours, "environment variable"),
        _from_names(dotted, flags or {}, "flag"),
    ]
    config = Config()
    for layer in layers:
        for name, values in layer.items():
            section = dataclasses.replace(getattr(config, name), **values)
            config = dataclasses.replace(config, **{name: section})
    return config


def child_environment(config: Config, extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment, for a child that is to read the very same ``config``, with ``extra`` added."""
    found = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    for name, section in sections().items():
        for key in _keys(section):
            value = getattr(getattr(config, name), key)
            text = "" if value is None else value.reveal() if isinstance(value, Secret) else str(value)
            found[ENV_PREFIX + f"{name}_{key}".upper()] = text
    return found | dict(extra)


def environment_switch(name: str) -> bool:
    """Whether a library's switch is on: ``1`` or ``true``."""
    return os.environ.get(name, "").strip().lower() in ("1", "true")


def environment_default(name: str, value: str) -> None:
    """Tell a library in this process what it only reads from the environment, unless the user has told it."""
    os.environ.setdefault(name, value)


def environment_without_secrets() -> dict[str, str]:
    """This process's environment for a child that needs no key: without our settings, and what is named like a key."""
    looks_secret = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(ENV_PREFIX) and not looks_secret.search(name)
    }


def plain_environment() -> dict[str, str]:
    """Of this process's environment what any program may need, and nothing else: for one that is not ours."""
    names = ("PATH", "HOME", "TMPDIR", "TEMP", "TMP", "TZ", "LANG", "LC_ALL", "SYSTEMROOT")
    return {name: os.environ[name] for name in names if name in os.environ}


def provider_key(name: str, env: Mapping[str, str] | None = None) -> Secret | None:
    """A provider's key from its own variable, such as ``CEREBRAS_API_KEY``; None if unset or blank."""
    value = (os.environ if env is None else env).get(name, "").strip()
    return Secret(value) if value else None


def cache_dir(env: Mapping[str, str] | None = None) -> Path:
    """The folder for this package's fetched and joined models (``XDG_CACHE_HOME``, else ``~/.cache``)."""
    base = (os.environ if env is None else env).get("XDG_CACHE_HOME", "")
    # The XDG base directory specification says that a relative path is to be ignored.
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "voice-agent"


def describe() -> list[Described]:
    """Every setting, in the order of the sections."""
    rows = []
    for name, section in sections().items():
        for key in _keys(section).values():
            default = "" if key.default is None else str(key.default)
            rows.append(Described(name, key.name, key.type_name, default, key.allowed, key.rule.doc))
    return rows
