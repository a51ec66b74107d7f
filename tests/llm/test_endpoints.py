from __future__ import annotations

import pytest

from voice_agent.config import LlmConfig, Secret
from voice_agent.errors import ConfigError, ProviderAuthError, ProviderModelError
from voice_agent.llm.choice import check_model, choose_model, is_reasoning, opens_thinking, reasoning_params
from voice_agent.llm.endpoints import configured, resolve
from voice_agent.llm.provider_table import BY_NAME, PROVIDERS

KEY = Secret("canary-4f9d2c7e1b8a")


def keys(*names: str):  # type: ignore[no-untyped-def]  # a lookup
    return lambda name: KEY if name in names else None


@pytest.mark.parametrize(
    ("served", "chosen"),
    [
        (["llama3.1-8b", "llama-3.3-70b", "qwen-3-32b"], "llama-3.3-70b"),
        (["deepseek-r1-distill-llama-70b", "llama-3.3-70b-versatile", "llama-guard-3-8b"], "llama-3.3-70b-versatile"),
        (
            ["meta-llama/Llama-3.1-70B", "meta-llama/Llama-3.1-70B-Instruct-Turbo"],
            "meta-llama/Llama-3.1-70B-Instruct-Turbo",
        ),
        (
            ["accounts/fireworks/models/llama-v3p3-70b-instruct", "accounts/fireworks/models/qwq-32b"],
            "accounts/fireworks/models/llama-v3p3-70b-instruct",
        ),
        (["gpt-oss-120b", "llama3.1-8b", "zai-glm-4.7"], "llama3.1-8b"),
        (["gpt-oss-120b", "qwen-3-235b-a22b-instruct-2507", "llama3.1-8b"], "qwen-3-235b-a22b-instruct-2507"),
        (["zai-glm-4.7", "gpt-oss-120b"], "gpt-oss-120b"),
        (  # Groq since 2026-08
            ["allam-2-7b", "groq/compound", "openai/gpt-oss-120b", "openai/gpt-oss-20b", "qwen/qwen3.6-27b"],
            "openai/gpt-oss-120b",
        ),
        (["text-embedding-3-large", "/models/my-own.gguf"], "/models/my-own.gguf"),
        (["llama3.3:latest", "nomic-embed-text:latest"], "llama3.3:latest"),
    ],
)
def test_choice(served: list[str], chosen: str) -> None:
    choice = choose_model(served)
    assert choice.model == chosen
    assert choice.reason
    assert choose_model(served[::-1]).model == chosen


def test_choice_says_why() -> None:
    assert choose_model(["llama-3.3-70b", "x"]).reason == "a Llama 70B is served"
    assert "only reasoning models" in choose_model(["gpt-oss-20b", "gpt-oss-120b"]).reason
    assert choose_model(["gpt-4o", "gpt-4.1-mini", "o3", "gpt-5-mini"], BY_NAME["openai"]).model == "gpt-4.1-mini"
    with pytest.raises(ProviderModelError, match=r"llm\.model"):
        choose_model(["whisper-large-v3"])


@pytest.mark.parametrize(
    "name", ["o3-mini", "gpt-5", "openai/gpt-oss-20b", "deepseek-r1", "qwen3:8b", "grok-4-reasoning"]
)
def test_reasoning(name: str) -> None:
    assert is_reasoning(name)


@pytest.mark.parametrize("name", ["gpt-4o", "llama3.1-8b", "qwen-3-235b-a22b-instruct-2507", "grok-4-non-reasoning"])
def test_not_reasoning(name: str) -> None:
    assert not is_reasoning(name)


def test_check_model() -> None:
    assert check_model("llama3.2", ["llama3.2:latest"]).model == "llama3.2"
    assert check_model("a/b:nitro", ["a/b"]).model == "a/b:nitro"
    with pytest.raises(ProviderModelError, match="and 5 more"):
        check_model("no", [f"m{n:02}" for n in range(25)])


def test_the_first_key_decides_and_cerebras_comes_first() -> None:
    assert PROVIDERS[0].name == "cerebras"
    every = [row.key_env for row in PROVIDERS if row.key_env]
    assert resolve(LlmConfig(), keys(*every)).provider.name == "cerebras"
    groq = resolve(LlmConfig(model="m"), keys("GROQ_API_KEY", "OPENAI_API_KEY"))
    assert (groq.provider.name, groq.model, groq.api_key) == ("groq", "m", KEY)
    assert resolve(LlmConfig(), keys()).kind == "embedded"


def test_names() -> None:
    assert resolve(LlmConfig(spec="embedded"), keys("CEREBRAS_API_KEY")).kind == "embedded"
    assert resolve(LlmConfig(spec="ollama"), keys()).base_url == "http://127.0.0.1:11434/v1"
    assert resolve(LlmConfig(provider="Groq"), keys("GROQ_API_KEY")).provider.name == "groq"
    assert resolve(LlmConfig(api_key=KEY), keys()).provider.name == "cerebras"
    sim = resolve(LlmConfig(spec="sim:ttft=170ms,tps=2314"), keys("CEREBRAS_API_KEY"))
    assert sim.simulated
    assert sim.kind == "sim"
    assert sim.label == "simulated (170 ms + 2314 tok/s)"


def test_an_address_wins() -> None:
    end = resolve(LlmConfig(base_url="http://10.0.0.1:8000/v1/", api_key=KEY, model="m"), keys("CEREBRAS_API_KEY"))
    assert (end.base_url, end.provider.name, end.api_key, end.model) == ("http://10.0.0.1:8000/v1", "custom", KEY, "m")
    known = resolve(LlmConfig(base_url="https://api.groq.com/openai/v1"), keys("GROQ_API_KEY"))
    assert (known.provider.name, known.api_key) == ("groq", KEY)


def test_a_providers_key_goes_to_no_other_host() -> None:
    assert resolve(LlmConfig(base_url="https://evil.example/v1"), keys("CEREBRAS_API_KEY")).api_key is None
    proxied = resolve(LlmConfig(base_url="https://proxy.example/v1", provider="groq"), keys("GROQ_API_KEY"))
    assert (proxied.provider.name, proxied.api_key) == ("groq", None)


@pytest.mark.parametrize(
    "cfg",
    [
        LlmConfig(base_url="api.cerebras.ai/v1"),
        LlmConfig(base_url="http://host:port/v1"),
        LlmConfig(base_url=f"https://{KEY.reveal()}"[:8]),
        LlmConfig(base_url=f"https://u:{KEY.reveal()}@host/v1"),
        LlmConfig(base_url=f"https://host/v1?key={KEY.reveal()}"),
        LlmConfig(base_url=KEY.reveal()),
        LlmConfig(base_url="http://h/v1", spec="embedded"),
        LlmConfig(provider="groq", spec="embedded"),
        LlmConfig(spec="sim:ttft=fast"),
        LlmConfig(provider="nobody"),
    ],
)
def test_settings_that_cannot_be(cfg: LlmConfig) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(cfg, keys())
    assert KEY.reveal() not in str(caught.value)


def test_a_missing_key_names_its_variable() -> None:
    with pytest.raises(ProviderAuthError, match="SAMBANOVA_API_KEY"):
        resolve(LlmConfig(provider="sambanova"), keys("CEREBRAS_API_KEY"))


def test_an_endpoint_does_not_show_its_key() -> None:
    assert KEY.reveal() not in repr(resolve(LlmConfig(api_key=KEY), keys()))


ADDRESSES = {
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com/",
    "AZURE_OPENAI_API_KEY": "k",
    "GOOGLE_CLOUD_PROJECT": "my-project",
    "GOOGLE_CLOUD_LOCATION": "us-central1",
}


def variables(**changed: str | None):  # type: ignore[no-untyped-def]  # a lookup
    values = {**ADDRESSES, **changed}
    return lambda name: Secret(value) if (value := values.get(name)) else None


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("bedrock", "https://bedrock-mantle.eu-west-1.api.aws/v1"),
        ("azure", "https://mine.openai.azure.com/openai/v1"),
        (
            "vertex",
            "https://us-central1-aiplatform.googleapis.com/v1/projects/my-project/locations/us-central1/endpoints/openapi",
        ),
    ],
)
def test_addresses_made_from_variables(name: str, url: str) -> None:
    assert resolve(LlmConfig(provider=name), variables()).base_url == url
    with pytest.raises(ConfigError, match=r"for its address: set it, or give the address with llm\.base_url"):
        resolve(LlmConfig(provider=name, api_key=KEY), keys())


def test_addresses_that_need_care() -> None:
    whole = variables(AZURE_OPENAI_ENDPOINT="https://mine.openai.azure.com/openai/v1/")
    assert resolve(LlmConfig(provider="azure"), whole).base_url == "https://mine.openai.azure.com/openai/v1"
    everywhere = resolve(LlmConfig(provider="vertex"), variables(GOOGLE_CLOUD_LOCATION="global")).base_url
    assert everywhere.startswith("https://aiplatform.googleapis.com/v1/projects/my-project/locations/global/")
    with pytest.raises(ConfigError, match="GOOGLE_CLOUD_LOCATION does not fit"):
        resolve(LlmConfig(provider="vertex"), variables(GOOGLE_CLOUD_LOCATION="evil.example/x"))


def test_configured() -> None:
    assert configured(BY_NAME["azure"], variables())
    assert not configured(BY_NAME["azure"], variables(AZURE_OPENAI_ENDPOINT=None))
    assert configured(BY_NAME["ollama"], keys())
    # A key without the address that belongs to it selects nothing.
    assert resolve(LlmConfig(), keys("AZURE_OPENAI_API_KEY")).kind == "embedded"


def test_a_provider_without_quota_is_skipped() -> None:
    both = keys("CEREBRAS_API_KEY", "GROQ_API_KEY")
    assert resolve(LlmConfig(), both, exhausted=lambda name: name == "cerebras").provider.name == "groq"
    assert resolve(LlmConfig(), both, exhausted=lambda name: True).provider.name == "cerebras"
    named = resolve(LlmConfig(provider="cerebras"), both, exhausted=lambda name: True)
    assert named.provider.name == "cerebras"  # who names one gets it, or its error


@pytest.mark.parametrize(
    ("wish", "served", "found"),
    [
        ("llama-8b", ["llama-3.3-70b-versatile", "llama-3.1-8b-instant"], "llama-3.1-8b-instant"),
        ("llama-70b", ["Meta-Llama-3.3-70B-Instruct", "DeepSeek-R1-Distill-Llama-70B"], "Meta-Llama-3.3-70B-Instruct"),
        (
            "llama-405b",
            ["accounts/fireworks/models/llama-v3p1-405b-instruct", "accounts/fireworks/models/llama-v3p3-70b-instruct"],
            "accounts/fireworks/models/llama-v3p1-405b-instruct",
        ),
    ],
)
def test_a_size_of_llama_by_whatever_name(wish: str, served: list[str], found: str) -> None:
    assert check_model(wish, served).model == found


def test_a_size_that_is_not_served() -> None:
    with pytest.raises(ProviderModelError, match="llama-405b"):
        check_model("llama-405b", ["gpt-oss-120b"])
    assert check_model("llama-70b", [], BY_NAME["replicate"]).model == "meta/meta-llama-3-70b-instruct"


def test_reasoning_is_kept_short_where_it_can_be() -> None:
    served_by_cerebras = ["gpt-oss-120b", "qwen-3.8-27b"]
    assert choose_model(served_by_cerebras, BY_NAME["cerebras"]).model == "qwen-3.8-27b"
    assert reasoning_params("qwen-3.8-27b") == {"reasoning_effort": "none"}
    assert reasoning_params("openai/gpt-oss-120b") == {"reasoning_effort": "low"}
    assert reasoning_params("llama-3.3-70b") == {}
    assert opens_thinking("deepseek-ai/DeepSeek-R1")
    assert not opens_thinking("qwen-3-235b-a22b-instruct-2507")


def test_every_fact_has_a_date_and_a_source() -> None:
    for row in PROVIDERS:
        for fact in (row.served, row.free):
            assert fact is None or (fact.as_of and fact.source)
