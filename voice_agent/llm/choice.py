"""The choice of the model: the best of those served, or a named one that is checked. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ProviderModelError
from .provider_table import CUSTOM, Provider


@dataclass(frozen=True, slots=True)
class Choice:
    """A model, and the reason for it in words."""

    model: str
    reason: str


_NOT_CHAT = re.compile(
    r"embed|whisper|tts|audio|speech|guard|rerank|moderation|image|dall-?e|realtime|transcri|ocr|diffusion|flux"
    r"|search|computer|sora|babbage|davinci|bge-|clip|parakeet|^compound"
)
# Models that reason before they answer: the user would hear nothing meanwhile. Qwen 3 does, except "instruct".
_REASONING = re.compile(
    r"^o[134](-|$)|gpt-[5-9]|gpt-oss|deepseek-?r\d|r1-distill|qwq|think|reason(?<!non-reason)|magistral"
    r"|glm-?(4\.[5-9]|[5-9])|minimax-m|nemotron|qwen-?3(?!.*(instruct|coder))|kimi-?k2\.[5-9]"
)
# Reasoning models whose reasoning can be switched off.
_OFF = (r"qwen-?3\.8-27b",)
# Reasoning models that can be told to reason little; preferred to an unknown model.
_LITTLE = (r"gpt-oss-120b", r"gpt-oss")
_LLAMA_70B = (r"llama-?3\.3.*70b", r"^llama3\.3(:latest)?$", r"llama-?3\.1.*70b", r"llama.*70b")
# Large enough for a conversation and fast where served; then any model that follows instructions.
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


# ``llm.model = "llama-70b"``: the best served model of that size, under any name.
LLAMA_SIZES: Mapping[str, tuple[str, ...]] = {
    "llama-8b": (r"llama-?3\.1.*8b", r"llama-?3.*8b", r"llama.*8b"),
    "llama-70b": _LLAMA_70B,
    "llama-405b": (r"llama-?3\.1.*405b", r"llama.*405b"),
}


def _plain(model: str) -> str:
    """``accounts/fireworks/models/llama-v3p3-70b-instruct`` -> ``llama-3.3-70b-instruct``."""
    name = model.lower().rsplit("/", 1)[-1].removesuffix(".gguf")
    return re.sub(r"v?(\d)p(\d)", r"\1.\2", name)


def is_reasoning(model: str) -> bool:
    """Whether ``model`` is known to reason before it answers."""
    return _REASONING.search(_plain(model)) is not None


def _best(models: Sequence[str], patterns: Sequence[str]) -> str | None:
    for pattern in patterns:
        if found := [model for model in models if re.search(pattern, _plain(model))]:
            # Instruction-tuned before base, the plain name before its variants, then by name (a stable order).
            return min(found, key=lambda m: (not re.search(r"instruct|versatile|chat", m.lower()), len(m), m))
    return None


def choose_model(served: Sequence[str], provider: Provider = CUSTOM) -> Choice:
    """The model for a voice agent: a Llama 70B if served, otherwise the best that does not reason first, otherwise any.

    Raises ProviderModelError if no chat model is served.
    """
    chat = [model for model in served if not _NOT_CHAT.search(_plain(model))]
    if not chat:
        raise ProviderModelError(f"{provider.name} serves no chat model to this key; name one with llm.model")
    direct = [model for model in chat if not is_reasoning(model)]
    if (model := _best(direct, _LLAMA_70B)) is not None:
        return Choice(model, "a Llama 70B is served")
    if (model := _best(chat, _OFF)) is not None:
        return Choice(model, "no Llama 70B is served; this one's reasoning can be switched off")
    if len(chat) == 1:
        return Choice(chat[0], "the only chat model served")
    if (model := _best(direct, (*provider.prefer, *_OTHERS))) is not None:
        return Choice(model, "no Llama 70B is served; this is the best one served that answers without reasoning first")
    if direct and (model := _best(chat, _LITTLE)) is not None:
        return Choice(model, "no model of the preference list is served; this one can be told to reason little")
    if direct:
        return Choice(min(direct), "no model of the preference list is served; the first by name")
    model = _best(chat, (*_LITTLE, r"glm", r"qwen")) or min(chat)
    return Choice(model, "only reasoning models are served; the reasoning is kept out of the voice but takes its time")


def check_model(model: str, served: Sequence[str], provider: Provider = CUSTOM) -> Choice:
    """A model named in the settings, checked against the served ones. Raises ProviderModelError with a list of these.

    Tags that endpoints do not list are accepted (Ollama's ``:latest``, OpenRouter's ``:nitro``). ``llama-8b``,
    ``llama-70b`` and ``llama-405b`` stand for the best served model of that size.
    """
    if (patterns := LLAMA_SIZES.get(model.lower())) is not None and model not in served:
        chat = [one for one in served or [provider.default_model or ""] if one and not _NOT_CHAT.search(_plain(one))]
        if (found := _best([one for one in chat if not is_reasoning(one)], patterns)) is not None:
            return Choice(found, f"the {model} that is served")
    if not served:
        return Choice(model, "named in the settings; the endpoint does not say what it serves")
    if model in served or f"{model}:latest" in served or (":" in model and model.rsplit(":", 1)[0] in served):
        return Choice(model, "named in the settings")
    some = sorted(one for one in served if not _NOT_CHAT.search(_plain(one)))
    shown = ", ".join(some[:20]) + (f", and {len(some) - 20} more" if len(some) > 20 else "")
    raise ProviderModelError(f"{provider.name} does not serve {model!r}; set llm.model to one of: {shown}")


def reasoning_params(model: str) -> dict[str, Any]:
    """Request fields that keep a model's reasoning short; empty for models that do not reason.

    Qwen 3.8 on Cerebras accepts ``none`` (see ``provider_table``); gpt-oss accepts ``low`` at least.
    """
    name = _plain(model)
    if "gpt-oss" in name:
        return {"reasoning_effort": "low"}
    return {"reasoning_effort": "none"} if any(re.search(pattern, name) for pattern in _OFF) else {}


REASONING_ROOM = 400  # reasoning tokens count as completion tokens


def reasoning_room(model: str) -> int:
    """Tokens that a model needs in addition to its answer, for the least reasoning that gpt-oss accepts; otherwise
    0."""
    return REASONING_ROOM if reasoning_params(model).get("reasoning_effort") == "low" else 0


def opens_thinking(model: str) -> bool:
    """Whether the model's template opens ``<think>`` in the prompt, so that the answer only closes it.

    True for DeepSeek R1 and its distillates, QwQ and Qwen's "thinking" models, if the server does not separate it.
    """
    return re.search(r"deepseek-?r1|r1-distill|qwq|-thinking", _plain(model)) is not None
