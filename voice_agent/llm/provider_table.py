"""The table of providers: address, authentication, and in what each differs from OpenAI. Facts with date and source.

Each statement about a service was read in its documentation (or, where named, in a dated digest of it) on the given
date; this project has called none of the real services. "not documented" means that no statement was found. The client
drops a request field that a service refuses unexpectedly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

MaxTokensField = Literal["max_completion_tokens", "max_tokens"]
Auth = Literal["bearer", "api-key", "aws", "google", "none"]


@dataclass(frozen=True, slots=True)
class Fact:
    """A statement about a provider. ``as_of``: a date (ISO 8601); ``source``: an address."""

    text: str
    as_of: str
    source: str

    def __str__(self) -> str:
        return f"{self.text} ({self.as_of}, {self.source})"


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider.

    ``base_url`` may name environment variables in braces. ``key_env``: the variable of its key (None: no key).
    ``auth``: a bearer token, an ``api-key`` header, AWS (bearer or SigV4), Google's credentials. ``extra``: the
    optional dependency of this package that it needs. ``prefer``: patterns for :func:`.choice.choose_model` before the
    common list; ``default_model``: used if there is no list of models (``lists_models`` False). ``strict_tools``:
    accepts OpenAI's strict tool schemas. ``refuses``: request fields that are never sent. ``gzip``: accepts compressed
    requests. ``cache_key``: accepts ``prompt_cache_key``. ``rate_headers``: the scheme of its rate headers
    (:mod:`voice_agent.meter.quota`). ``usage``, ``failures``: how it reports counts, timings and errors.
    """

    name: str
    base_url: str
    key_env: str | None
    prefer: tuple[str, ...] = ()
    max_tokens_field: MaxTokensField = "max_tokens"
    strict_tools: bool = False
    notes: str = ""
    auth: Auth = "bearer"
    extra: str | None = None
    default_model: str | None = None
    lists_models: bool = True
    refuses: tuple[str, ...] = ()
    gzip: bool = False
    cache_key: bool = False
    rate_headers: str = "openai"
    usage: str = "`usage` in the last chunk"
    failures: str = "HTTP status and `error.message`"
    served: Fact | None = None
    free: Fact | None = None

    @property
    def host(self) -> str:
        return "" if "{" in self.base_url else urlsplit(self.base_url).hostname or ""

    @property
    def address_variables(self) -> tuple[str, ...]:
        """The environment variables in the address."""
        return tuple(dict.fromkeys(re.findall(r"\{(\w+)\}", self.base_url)))


_DIGEST = "github.com/cuihuan/awesome-ai-gateway data/free_tiers.json, which cites the provider's pages"

# Ordered: the first provider whose key is set is used. Cerebras is the default.
PROVIDERS: tuple[Provider, ...] = (
    Provider(
        "cerebras",
        "https://api.cerebras.ai/v1",
        "CEREBRAS_API_KEY",
        prefer=(r"qwen-3\.8-27b", r"gemma-4-31b"),
        max_tokens_field="max_completion_tokens",
        gzip=True,
        cache_key=True,
        rate_headers="cerebras",
        usage="`usage` and `time_info` (queue, prompt, completion; seconds) in a last chunk with empty `choices`",
        failures="HTTP status; 429 names the bucket; `max_completion_tokens` is reserved against the minute's tokens",
        notes="the default; its prompt cache works by itself on equal beginnings",
        served=Fact(
            "gpt-oss-120b and qwen-3.8-27b, both reasoning (effort low, none); no Llama on shared inference any more",
            "2026-10",
            "skills.sh/terminalskills/skills/cerebras, which cites inference-docs.cerebras.ai/models/overview",
        ),
        free=Fact(
            "trial: 5 requests and 30k tokens a minute, 1M tokens a day; a means of payment is asked for",
            "2026-08-31",
            _DIGEST,
        ),
    ),
    Provider(
        "groq",
        "https://api.groq.com/openai/v1",
        "GROQ_API_KEY",
        max_tokens_field="max_completion_tokens",
        refuses=("logprobs", "logit_bias", "top_logprobs", "n"),
        rate_headers="groq",
        usage="`x_groq.usage` in the last chunk, with queue, prompt and completion times in seconds",
        failures="HTTP status; `retry-after` with 429; the fields of its list are answered with 400",
        notes="gives its timings too; `messages[].name` is refused as well and never sent by us",
        served=Fact(
            "openai/gpt-oss-120b, openai/gpt-oss-20b, qwen/qwen3.6-27b (preview), all reasoning; Llama 3.3 70B and"
            " 3.1 8B were shut down on 2026-08-16 but for enterprises",
            "2026-09-05",
            "console.groq.com/docs/deprecations, as quoted in github.com/langchain-ai/langchain/pull/38363 and"
            " github.com/ITSpecialist111/ai_automation_suggester/issues/187",
        ),
        free=Fact(
            "gpt-oss-120b: 30 requests and 8k tokens a minute, 1k requests and 200k tokens a day", "2026-08-31", _DIGEST
        ),
    ),
    Provider(
        "together",
        "https://api.together.xyz/v1",
        "TOGETHER_API_KEY",
        rate_headers="unknown",
        failures="HTTP status; 429 above a rate that follows recent traffic (docs.together.ai/docs/rate-limits)",
        free=Fact("none; 5 dollars prepaid at least", "2026-07", _DIGEST),
    ),
    Provider(
        "fireworks",
        "https://api.fireworks.ai/inference/v1",
        "FIREWORKS_API_KEY",
        rate_headers="unknown",
        failures="HTTP status; 429 above an adaptive limit, 503 when overloaded",
        notes="its rate headers give tokens a second and nothing that remains, so the meter leaves them alone",
        free=Fact(
            "none published; accounts start at 3.6M tokens of prompts and 36k of answers a minute",
            "read 2026-11",
            "docs.fireworks.ai/serverless/rate-limits",
        ),
    ),
    Provider(
        "sambanova",
        "https://api.sambanova.ai/v1",
        "SAMBANOVA_API_KEY",
        rate_headers="sambanova",
        served=Fact(
            "Meta-Llama-3.3-70B-Instruct, gpt-oss-120b, DeepSeek-V3.1, MiniMax-M2.7",
            "2026-08-27",
            "github.com/juspay/neurolink docs/getting-started/providers/sambanova.md",
        ),
        free=Fact("20 requests a minute, 20 requests and 200k tokens a day", "2026-08-31", _DIGEST),
    ),
    Provider(
        "openrouter",
        "https://openrouter.ai/api/v1",
        "OPENROUTER_API_KEY",
        rate_headers="unknown",
        failures="before the model starts: HTTP status; after it: `error` (with `code`) under 200, whole or in the"
        " stream; comment lines `: OPENROUTER PROCESSING` while it waits (openrouter.ai/docs)",
        notes="a router: the time to the first word is its own plus the upstream's",
        free=Fact(
            "models ending in :free: 20 requests a minute, 50 a day (1,000 after buying 10 dollars)",
            "2026-08-31",
            _DIGEST,
        ),
    ),
    Provider(
        "openai",
        "https://api.openai.com/v1",
        "OPENAI_API_KEY",
        prefer=(r"^gpt-4\.1-mini$", r"^gpt-4o-mini$", r"^gpt-4\.1$", r"^gpt-4o$"),
        max_tokens_field="max_completion_tokens",
        strict_tools=True,
        cache_key=True,
        usage="`usage` in a last chunk with empty `choices`, when asked for",
    ),
    Provider(
        "bedrock",
        "https://bedrock-mantle.{AWS_REGION}.api.aws/v1",
        "AWS_BEARER_TOKEN_BEDROCK",
        auth="aws",
        extra="bedrock",
        rate_headers="unknown",
        notes="a Bedrock API key; without one, AWS credentials sign each request (SigV4, botocore); AWS recommends"
        " bedrock-runtime.{region}.amazonaws.com/openai/v1 to newcomers where it has the model: set llm.base_url, with"
        " the API key",
        served=Fact(
            "open-weight models by region, such as gpt-oss; Llama is not reached by chat completions, only by Converse",
            "read 2026-11",
            "docs.aws.amazon.com/bedrock and tanstack.com/ai/latest/docs/adapters/bedrock",
        ),
    ),
    Provider(
        "azure",
        "{AZURE_OPENAI_ENDPOINT}/openai/v1",
        "AZURE_OPENAI_API_KEY",
        auth="api-key",
        lists_models=False,
        max_tokens_field="max_completion_tokens",
        usage="`usage` in a last chunk with empty `choices`; a first chunk with `prompt_filter_results` only",
        failures="HTTP status; a filtered answer ends with `content_filter`",
        notes="Azure AI Foundry: the model is the name of your deployment, so it must be named with llm.model",
        served=Fact("what you have deployed", "read 2026-11", "learn.microsoft.com/azure/ai-foundry"),
    ),
    Provider(
        "vertex",
        "https://{GOOGLE_CLOUD_LOCATION}-aiplatform.googleapis.com/v1/projects/{GOOGLE_CLOUD_PROJECT}"
        "/locations/{GOOGLE_CLOUD_LOCATION}/endpoints/openapi",
        None,
        auth="google",
        extra="vertex",
        default_model="openai/gpt-oss-120b-maas",
        lists_models=False,
        rate_headers="unknown",
        failures="HTTP status; Google's errors also come as a list of one object",
        notes="Google's application default credentials (google-auth); tokens are renewed as they expire",
        served=Fact(
            "open models by region, openai/gpt-oss-120b-maas among them; meta/llama-3.3-70b-instruct-maas was retired"
            " on 2026-10-21",
            "read 2026-11",
            "docs.cloud.google.com/gemini-enterprise-agent-platform/models/deprecations/open-models",
        ),
    ),
    Provider(
        "replicate",
        "https://api.replicate.com/v1",
        "REPLICATE_API_TOKEN",
        default_model="meta/meta-llama-3-70b-instruct",
        lists_models=False,
        rate_headers="unknown",
        usage="in the finished prediction only, so the tokens of our streams are estimated",
        failures="HTTP status and `detail`; in the stream an event `error`, or `done` with a reason",
        notes="not OpenAI's API: predictions, through an adapter of ours; no tools",
        served=Fact(
            "meta/meta-llama-3-8b-instruct, meta/meta-llama-3-70b-instruct, meta/meta-llama-3.1-405b-instruct",
            "read 2026-11",
            "replicate.com/docs/streaming",
        ),
    ),
    Provider("ollama", "http://127.0.0.1:11434/v1", None, auth="none", rate_headers="unknown", notes="on this machine"),
    Provider(
        "llama.cpp",
        "http://127.0.0.1:8080/v1",
        None,
        auth="none",
        rate_headers="unknown",
        usage="`usage` and `timings` (milliseconds) in the last chunk",
        notes="llama-server on this machine",
    ),
    Provider("vllm", "http://127.0.0.1:8000/v1", None, auth="none", rate_headers="unknown", notes="on this machine"),
)
BY_NAME: Mapping[str, Provider] = {row.name: row for row in PROVIDERS}
DEFAULT = PROVIDERS[0]
CUSTOM = Provider("custom", "", None, notes="any OpenAI-compatible address")
EMBEDDED = Provider("embedded", "", None, auth="none", notes="SmolLM2-135M on this machine, started by us")
SIMULATED = Provider("simulated", "", None, auth="none", notes="a pacing double on loopback, started by us")
