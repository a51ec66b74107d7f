"""Settings of speech-to-text, the language model, text-to-speech, and of the agent itself."""

from __future__ import annotations

from dataclasses import dataclass

from ..secret import Secret
from ..setting import Section, setting


@dataclass(frozen=True, slots=True)
class SttConfig(Section):
    """Speech-to-text: Whisper."""

    model: str = setting(
        "tiny.en",
        "Whisper model: `tiny.en` and `base` are installed with the package; else the path of a CTranslate2 model"
        " folder, or a hub id, fetched on first use.",
    )
    device: str = setting("cpu", "Where Whisper runs. `cuda` is untested.", choices=("cpu", "cuda", "auto"))
    compute_type: str = setting("int8", "CTranslate2 number format, such as `int8`, `float16`, `float32`.")
    backend: str = setting(
        "auto",
        "What runs Whisper: onnxruntime (on `cpu` in `int8`, four times faster a token), or CTranslate2. `auto`:"
        " onnxruntime where it can and the model's file is below 700 MB.",
        choices=("auto", "onnx", "ctranslate2"),
    )
    language: str = setting("en", "Language code spoken by the user, such as `en` or `de`.")
    hotwords: str = setting("", "Words that Whisper favours, separated by spaces.")
    threads: int = setting(2, "CPU threads of speech-to-text.", minimum=1, maximum=64)


@dataclass(frozen=True, slots=True)
class LlmConfig(Section):
    """The language model, behind the OpenAI-compatible API."""

    provider: str | None = setting(
        None, "Provider by name. Left out: the first whose key is set, else the embedded model."
    )
    base_url: str | None = setting(None, "Address of any OpenAI-compatible endpoint, up to and including `/v1`.")
    api_key: Secret | None = setting(None, "Key for the endpoint. Better in the environment than in a file.")
    model: str | None = setting(None, "Model id. Left out: chosen from those that the endpoint lists.")
    spec: str | None = setting(None, "Short form: `embedded`, `sim:ttft=170ms,tps=2314`, or a provider's name.")
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
        "Keep a summary of the dropped part, requested while an answer is spoken; `auto`: with hosted models only.",
        choices=("auto", "on", "off"),
    )
    temperature: float = setting(0.6, "Sampling temperature.", minimum=0.0, maximum=2.0)
    hedge: str | None = setting(
        None,
        "Endpoint of the second request when the model is late (docs/budget.md): a provider's name, or `sim:...`. Left"
        " out: the same provider, on a second connection.",
    )
    hedge_base_url: str | None = setting(None, "Its address, for any OpenAI-compatible endpoint.")
    hedge_api_key: Secret | None = setting(None, "Its key. Better in the environment than in a file.")
    hedge_model: str | None = setting(None, "Its model id. Left out: chosen from those that it lists.")


@dataclass(frozen=True, slots=True)
class MeterConfig(Section):
    """Usage: requests and tokens by provider, counted for all processes of this machine (docs/providers.md)."""

    enabled: bool = setting(True, "Count requests and tokens.")
    limits: str = setting(
        "",
        "Limits, such as `cerebras.tokens_day=1M, groq.requests_minute=30`; names: requests_minute,"
        " requests_day, tokens_minute, tokens_day. Limits not named here are read from the provider's rate headers.",
    )
    warn_at: float = setting(0.8, "Share of a limit from which to warn.", minimum=0.05, maximum=1.0)
    at_limit: str = setting(
        "warn",
        "At a limit: send the request with a warning, refuse it, or route it to another provider.",
        choices=("warn", "refuse", "route"),
    )
    prices: str = setting("", "Prices of a million tokens in / out, such as `cerebras=0.35/0.75, groq=0.59/0.79`.")


@dataclass(frozen=True, slots=True)
class TtsConfig(Section):
    """Text-to-speech: a Piper voice."""

    voice: str = setting(
        "en_US-joe-medium",
        "Piper voice: this one is installed with the package; else the path of an `.onnx` file (its `.onnx.json`"
        " beside it), or a voice's name, fetched on first use.",
    )
    speaker: int | None = setting(None, "Speaker number, for a voice with several.", minimum=0)
    length_scale: float | None = setting(
        None, "Slower above 1, faster below. Left out: the voice's own.", minimum=0.25, maximum=4.0
    )
    backend: str = setting(
        "auto",
        "What runs the voice: `onnx` (onnxruntime, float32: the samples of Piper's own graph), or `openvino` (bfloat16,"
        " less than half the time on a processor with AMX, for 350 MB and some 3 s at the start). `auto`: `openvino` in"
        " a room's worker where there is AMX, else `onnx`.",
        choices=("auto", "onnx", "openvino"),
    )

    def backend_for(self, *, several: bool) -> str:
        """``backend`` for one conversation, which does not earn back OpenVINO's memory and start, or for several."""
        return "onnx" if self.backend == "auto" and not several else self.backend


@dataclass(frozen=True, slots=True)
class AgentConfig(Section):
    """The agent: its name, its instructions, and its fixed sentences."""

    name: str = setting("", "The agent's name; part of the prompt.")
    instructions: str = setting(
        "You are a friendly voice assistant on a live call.", "The task, as the language model is told."
    )
    manner: str = setting(
        "Answer in one to three short spoken sentences, and put"
        " the answer in the first few words. Use plain words: no markdown, lists, headings, emoji, code or web"
        " addresses, since everything you write is read aloud. If you did not understand, or do not know, say so"
        " briefly and ask one short question.",
        "The style of speech: added to any instructions. Empty: nothing is added.",
    )
    greeting: str = setting("", "Said when a conversation starts. Empty: the user speaks first.")
    apology: str = setting(
        "Sorry, I had trouble with that. Could you say it again?", "Said when the language model fails."
    )

    @property
    def prompt(self) -> str:
        """The system prompt: name, instructions, manner."""
        name = f"Your name is {self.name}." if self.name else ""
        return " ".join(part for part in (name, self.instructions.strip(), self.manner.strip()) if part)
