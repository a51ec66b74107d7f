"""Google Vertex's OpenAI-compatible API: application default credentials, renewed by google-auth as they expire.

The openai package's ``openai.providers.vertex`` fetches the token on a thread and sends it to the configured origin
only. This module checks that the origin is Google's, unless the caller passes credentials.
"""

from __future__ import annotations

import importlib.util
from typing import Any
from urllib.parse import urlsplit

import openai

from ...errors import ConfigError
from ..types import Endpoint


def provider(endpoint: Endpoint, credentials: Any = None) -> Any:
    """The openai package's provider for ``endpoint``. ``credentials``: google-auth's; by default the default ones.

    Raises ConfigError if google-auth is missing, or if the address is not Google's.
    """
    from openai.providers.vertex import vertex

    # find_spec of a submodule raises if the parent is missing.
    if importlib.util.find_spec("google") is None or importlib.util.find_spec("google.auth") is None:
        raise ConfigError("vertex needs google-auth: install voice-agent[vertex]")
    host = urlsplit(endpoint.base_url).hostname or ""
    if credentials is None and not host.endswith(".googleapis.com"):
        raise ConfigError(
            f"Google's credentials are not sent to {host}; give a key for it with llm.api_key, or leave out"
            " llm.base_url"
        )
    try:
        return vertex(base_url=endpoint.base_url, credentials=credentials)
    except openai.OpenAIError as error:
        raise ConfigError(f"vertex cannot be asked with these settings ({error})") from None
