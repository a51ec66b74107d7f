"""Who answers: one table of providers, the choice of a model, and the way from settings to an :class:`Endpoint`.

Everything here is pure: no network, no environment, no server is started. Addresses and key variables of cerebras,
together, fireworks, sambanova, openrouter and ollama are those in livekit-plugins-openai 1.8.9, groq's those in BAML's
documentation; the ports of llama.cpp and vllm are their servers' defaults. ``max_tokens_field`` and ``strict_tools``
were not tried on the real services: a field that is refused is swapped or dropped by the client.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from ..config import LlmConfig, Secret
from ..errors import ConfigError, ProviderAuthError, ProviderModelError
from .sim import SimSpec, parse_spec

MaxTokensField = Literal["max_completion_tokens", "max_tokens"]
KeyLookup = Callable[[str], Secret | None]


@dataclass(frozen=True, slots=True)
class Provider:
    """One row: where a provider is and in what it differs.

    ``key_env`` is the variable of its key (None: it takes none). ``prefer`` are patterns for
    :func:`choose_model` that go before the common list. ``strict_tools``: takes OpenAI's strict tool schemas.
    """

    name: str
    base_url: str
    key_env: str | None
    prefer: tuple[str, ...] = ()
    max_tokens_field: MaxTokensField = "max_tokens"
    strict_tools: bool = False
    notes: str = ""

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).hostname or ""


# In the order in which a key that is set selects a provider; Cerebras is the default.
PROVIDERS: tuple[Provider, ...] = (
    Provider(
        "cerebras",
        "https://api.cerebras.ai/v1",
        "CEREBRAS_API_KEY",
        max_tokens_field="max_completion_tokens",
        notes="the default; gives queue, prompt and completion times with each answer",
    ),
    Provider(
        "groq",
        "https://api.groq.com/openai/v1",
        "GROQ_API_KEY",
        max_tokens_field="max_completion_tokens",
        notes="gives its timings too",
    ),
    Provider("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY"),
    Provider("fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    Provider("sambanova", "https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY"),
    Provider(
        "openrouter",
        "https://openrouter.ai/api/v1",
        "OPENROUTER_API_KEY",
        notes="a router: the time to the first word is its own plus the upstream's",
    ),
    Provider(
        "openai",
        "https://api.openai.com/v1",
        "OPENAI_API_KEY",
        prefer=(r"^gpt-4\.1-mini$", r"^gpt-4o-mini$", r"^gpt-4\.1$", r"^gpt-4o$"),
        max_tokens_field="max_completion_tokens",
        strict_tools=True,
    ),
    Provider("ollama", "http://127.0.0.1:11434/v1", None, notes="on this machine"),
    Provider("llama.cpp", "http://127.0.0.1:8080/v1", None, notes="llama-server on this machine"),
    Provider("vllm", "http://127.0.0.1:8000/v1", None, notes="on this machine"),
)
BY_NAME: Mapping[str, Provider] = {row.name: row for row in PROVIDERS}
DEFAULT = PROVIDERS[0]
CUSTOM = Provider("custom", "", None, notes="any OpenAI-compatible address")
EMBEDDED = Provider("embedded", "", None, notes="SmolLM2-135M on this machine, started by us")
SIMULATED = Provider("simulated", "", None, notes="a pacing double on loopback, started by us")

Kind = Literal["remote", "embedded", "sim"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go. For the kinds ``embedded`` and ``sim`` the address is empty until their server runs.

    ``model`` None means: choose from what is served. ``simulated`` must be shown beside every figure.
    ``extra_body`` is added to each request. ``label`` is fit for the screen and carries no secret.
    """

    provider: Provider
    base_url: str
    api_key: Secret | None
    model: str | None
    simulated: bool
    label: str
    kind: Kind = "remote"
    sim: SimSpec | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict)

    def at(self, base_url: str, **changes: Any) -> Endpoint:
        """This endpoint, now that its server listens at ``base_url`` (up to and including ``/v1``)."""
        return dataclasses.replace(self, base_url=base_url, **changes)


def _custom(cfg: LlmConfig, key: KeyLookup) -> Endpoint:
    url = (cfg.base_url or "").strip().rstrip("/")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # the port is parsed, and refused, on access
    except ValueError:
        raise ConfigError("llm.base_url is not an address; write for example https://api.cerebras.ai/v1") from None
    if parts.scheme not in ("http", "https") or not host:
        # The text is not shown: a key pasted into the wrong setting must not be printed.
        raise ConfigError("llm.base_url must start with http:// or https://, for example https://api.cerebras.ai/v1")
    if parts.username or parts.password or parts.query:
        raise ConfigError("llm.base_url must not carry a key or a query; put the key into llm.api_key")
    if cfg.provider is not None:
        row = _row(cfg.provider)
    else:
        row = next((row for row in PROVIDERS if row.key_env and row.host == host), CUSTOM)
    # A provider's own key goes to its own host only.
    secret = cfg.api_key or (key(row.key_env) if row.key_env and row.host == host else None)
    return Endpoint(row, url, secret, cfg.model, False, host if row is CUSTOM else f"{row.name} ({host})")


def _row(name: str) -> Provider:
    row = BY_NAME.get(name.strip().lower())
    if row is None:
        known = ", ".join([*BY_NAME, "embedded", "sim:..."])
        raise ConfigError(f"unknown provider {name!r}; known: {known}; or give llm.base_url for any other")
    return row


def _named(row: Provider, cfg: LlmConfig, key: KeyLookup) -> Endpoint:
    secret = cfg.api_key or (key(row.key_env) if row.key_env else None)
    if row.key_env and secret is None:
        raise ProviderAuthError(f"{row.name} needs a key: set {row.key_env} (or llm.api_key), or use --llm embedded")
    return Endpoint(row, row.base_url, secret, cfg.model, False, f"{row.name} ({row.host})")


def embedded(model: str | None = None) -> Endpoint:
    """The endpoint of the model that comes with the package; its server is not running yet."""
    return Endpoint(EMBEDDED, "", None, model, False, "embedded (SmolLM2-135M on this machine)", kind="embedded")


def resolve(cfg: LlmConfig, key: KeyLookup) -> Endpoint:
    """Settings -> endpoint. ``key`` looks up a variable's secret (:func:`voice_agent.config.provider_key`).

    ``base_url`` wins; else ``spec`` or ``provider``; else a bare ``api_key`` means Cerebras; else the first provider
    whose key is set (Cerebras first); else the embedded model. Raises ConfigError for settings that contradict each
    other or name nothing, ProviderAuthError where a named provider's key is missing.
    """
    spec = (cfg.spec or "").strip()
    if spec and cfg.base_url:
        raise ConfigError("llm.spec and llm.base_url both say where to ask; leave one out")
    if spec and cfg.provider and spec.lower() != cfg.provider.strip().lower():
        raise ConfigError("llm.spec and llm.provider name different models; leave one out")
    if cfg.base_url:
        return _custom(cfg, key)
    name = spec or (cfg.provider or "").strip()
    if name == "sim" or name.startswith("sim:"):
        sim = parse_spec(name)
        return Endpoint(SIMULATED, "", None, cfg.model, True, f"simulated ({sim})", kind="sim", sim=sim)
    if name.lower() == "embedded":
        return embedded(cfg.model)
    if name:
        return _named(_row(name), cfg, key)
    if cfg.api_key:
        return _named(DEFAULT, cfg, key)
    for row in PROVIDERS:
        if row.key_env and key(row.key_env):
            return _named(row, cfg, key)
    return embedded(cfg.model)


@dataclass(frozen=True, slots=True)
class Choice:
    """A model and, in words, why it is this one."""

    model: str
    reason: str


_NOT_CHAT = re.compile(
    r"embed|whisper|tts|audio|speech|guard|rerank|moderation|image|dall-?e|realtime|transcri|ocr|diffusion|flux"
    r"|search|computer|sora|babbage|davinci|bge-|clip|parakeet"
)
# Models that think before they speak: the user would hear nothing meanwhile. Qwen 3 does unless it says "instruct".
_REASONING = re.compile(
    r"^o[134](-|$)|gpt-[5-9]|gpt-oss|deepseek-?r\d|r1-distill|qwq|think|reason(?<!non-reason)|magistral"
    r"|glm-?(4\.[5-9]|[5-9])|minimax-m|nemotron|qwen-?3(?!.*(instruct|coder))|kimi-?k2\.[5-9]"
)
_LLAMA_70B = (r"llama-?3\.3.*70b", r"^llama3\.3(:latest)?$", r"llama-?3\.1.*70b", r"llama.*70b")
# Big enough for a conversation and fast where served; then whatever follows instructions at all.
_OTHERS = (
    r"llama-?4-?maverick",
    r"llama-?4-?scout",
    r"qwen-?3.*(235b|next|80b).*instruct",
    r"qwen-?2\.5.*72b",
    r"gpt-4\.1-mini|gpt-4o-mini",
    r"mistral-?(small|medium|large)",
    r"gemma-?\d.*(27b|31b)",
    r"qwen-?(2\.5|3).*(30b|32b).*",
    r"deepseek-?(v3|chat)",
    r"kimi-?k2",
    r"llama-?3\.1.*405b",
    r"llama.*8b",
    r"(qwen|mistral|gemma|phi|llama|smollm)",
)


def _plain(model: str) -> str:
    """``accounts/fireworks/models/llama-v3p3-70b-instruct`` -> ``llama-3.3-70b-instruct``."""
    name = model.lower().rsplit("/", 1)[-1].removesuffix(".gguf")
    return re.sub(r"v?(\d)p(\d)", r"\1.\2", name)


def is_reasoning(model: str) -> bool:
    """Whether the name is that of a model known to think before it answers."""
    return _REASONING.search(_plain(model)) is not None


def _best(models: Sequence[str], patterns: Sequence[str]) -> str | None:
    for pattern in patterns:
        if found := [model for model in models if re.search(pattern, _plain(model))]:
            # Instruction-tuned before base; the plain name before its variants; then by name, so that it is stable.
            return min(found, key=lambda m: (not re.search(r"instruct|versatile|chat", m.lower()), len(m), m))
    return None


def choose_model(served: Sequence[str], provider: Provider = CUSTOM) -> Choice:
    """The model for a voice: a Llama 70B where served, else the best that does not reason first, else any.

    Raises ProviderModelError if nothing is served that could hold a conversation.
    """
    chat = [model for model in served if not _NOT_CHAT.search(_plain(model))]
    if not chat:
        raise ProviderModelError(f"{provider.name} serves no chat model to this key; name one with llm.model")
    direct = [model for model in chat if not is_reasoning(model)]
    if (model := _best(direct, _LLAMA_70B)) is not None:
        return Choice(model, "a Llama 70B is served")
    if len(chat) == 1:
        return Choice(chat[0], "the only chat model served")
    if (model := _best(direct, (*provider.prefer, *_OTHERS))) is not None:
        return Choice(model, "no Llama 70B is served; this is the best one served that answers without reasoning first")
    if direct:
        return Choice(min(direct), "no model of the preference list is served; the first by name")
    model = _best(chat, (r"gpt-oss-120b", r"gpt-oss", r"glm", r"qwen")) or min(chat)
    return Choice(model, "only reasoning models are served; the reasoning is kept out of the voice but takes its time")


def check_model(model: str, served: Sequence[str], provider: Provider = CUSTOM) -> Choice:
    """A model asked for by name, checked against what is served. Raises ProviderModelError that lists those.

    Tags that endpoints do not list are allowed for: Ollama's ``:latest``, OpenRouter's ``:nitro`` and the like.
    """
    if not served:
        return Choice(model, "named in the settings; the endpoint does not say what it serves")
    if model in served or f"{model}:latest" in served or (":" in model and model.rsplit(":", 1)[0] in served):
        return Choice(model, "named in the settings")
    some = sorted(one for one in served if not _NOT_CHAT.search(_plain(one)))
    shown = ", ".join(some[:20]) + (f", and {len(some) - 20} more" if len(some) > 20 else "")
    raise ProviderModelError(f"{provider.name} does not serve {model!r}; set llm.model to one of: {shown}")


def reasoning_params(model: str) -> dict[str, Any]:
    """Request fields that keep a reasoning model's thinking short; empty for models that do not reason."""
    return {"reasoning_effort": "low"} if "gpt-oss" in _plain(model) else {}
