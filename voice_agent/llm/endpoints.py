"""From settings to an :class:`~.types.Endpoint`. Providers are in ``provider_table``, the choice of a model in
``choice``.

Pure: no network, no environment, no server is started.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from ..config import LlmConfig
from ..errors import ConfigError, ProviderAuthError
from .provider_table import BY_NAME, CUSTOM, DEFAULT, EMBEDDED, PROVIDERS, SIMULATED, Provider
from .sim_spec import parse_spec
from .types import Endpoint, KeyLookup


def _custom(cfg: LlmConfig, key: KeyLookup) -> Endpoint:
    url = (cfg.base_url or "").strip().rstrip("/")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # the port is parsed, and refused, on access
    except ValueError:
        raise ConfigError("llm.base_url is not an address; write for example https://api.cerebras.ai/v1") from None
    if parts.scheme not in ("http", "https") or not host:
        # The value is not shown: it may be a key pasted into the wrong setting.
        raise ConfigError("llm.base_url must start with http:// or https://, for example https://api.cerebras.ai/v1")
    if parts.username or parts.password or parts.query:
        raise ConfigError("llm.base_url must not carry a key or a query; put the key into llm.api_key")
    if cfg.provider is not None:
        row = _row(cfg.provider)
    else:
        row = next((row for row in PROVIDERS if row.key_env and row.host == host), CUSTOM)
    # A provider's key is sent to that provider's host only.
    secret = cfg.api_key or (key(row.key_env) if row.key_env and row.host == host else None)
    return Endpoint(row, url, secret, cfg.model, False, host if row is CUSTOM else f"{row.name} ({host})")


def _row(name: str) -> Provider:
    row = BY_NAME.get(name.strip().lower())
    if row is None:
        known = ", ".join([*BY_NAME, "embedded", "sim:..."])
        raise ConfigError(f"unknown provider {name!r}; known: {known}; or give llm.base_url for any other")
    return row


# Used if the first one is not set.
_ALSO: Mapping[str, str] = {"AWS_REGION": "AWS_DEFAULT_REGION"}


def _address(row: Provider, key: KeyLookup) -> str:
    """The row's address with its variables filled in. Raises ConfigError naming the variables that are not set."""
    values = {name: key(name) or (key(_ALSO[name]) if name in _ALSO else None) for name in row.address_variables}
    if missing := [name for name, value in values.items() if value is None]:
        raise ConfigError(
            f"{row.name} needs {' and '.join(missing)} for its address: set it, or give the address with llm.base_url"
        )
    # Not secret, but looked up in the same way as the keys.
    texts = {name: value.reveal().strip().rstrip("/") for name, value in values.items() if value is not None}
    for name, text in texts.items():
        kinds = {"AZURE_OPENAI_ENDPOINT": r"https?://[\w.:/-]+", "GOOGLE_CLOUD_PROJECT": r"[\w.:-]+"}
        if not re.fullmatch(kinds.get(name, r"[a-z0-9-]+"), text):
            raise ConfigError(f"{name} does not fit into an address; check what it is set to")
    # Google's "global" location has no region in its host name.
    url = row.base_url.format(**texts).replace("https://global-aiplatform.", "https://aiplatform.")
    return url.replace("/openai/v1/openai/v1", "/openai/v1")


def configured(row: Provider, key: KeyLookup) -> bool:
    """Whether the variables of ``row`` are set: its key and those of its address. True for a local server."""
    if row.key_env and key(row.key_env) is None:
        return False
    return all(key(name) or (name in _ALSO and key(_ALSO[name])) for name in row.address_variables)


def _named(row: Provider, cfg: LlmConfig, key: KeyLookup) -> Endpoint:
    secret = cfg.api_key or (key(row.key_env) if row.key_env else None)
    if row.key_env and secret is None and row.auth != "aws":  # AWS has other credentials too
        raise ProviderAuthError(f"{row.name} needs a key: set {row.key_env} (or llm.api_key), or use --llm embedded")
    url = _address(row, key)
    return Endpoint(row, url, secret, cfg.model, False, f"{row.name} ({urlsplit(url).hostname})")


def embedded(model: str | None = None) -> Endpoint:
    """The endpoint of the embedded model; its server is not running yet."""
    return Endpoint(EMBEDDED, "", None, model, False, "embedded (SmolLM2-135M on this machine)", kind="embedded")


def resolve(cfg: LlmConfig, key: KeyLookup, *, exhausted: Callable[[str], bool] | None = None) -> Endpoint:
    """Settings -> endpoint. ``key`` looks up a variable's secret (:func:`voice_agent.config.provider_key`).

    In this order: ``base_url``; ``spec`` or ``provider``; ``api_key`` alone (Cerebras); the first provider whose key is
    set (Cerebras first), skipping those whose quota ``exhausted`` reports as used up; the embedded model. Raises
    ConfigError for settings that contradict each other or name an unknown provider, ProviderAuthError if the key of a
    named provider is missing.
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
    usable = [row for row in PROVIDERS if row.key_env and configured(row, key)]
    if usable:
        return _named(next((row for row in usable if not (exhausted and exhausted(row.name))), usable[0]), cfg, key)
    return embedded(cfg.model)
