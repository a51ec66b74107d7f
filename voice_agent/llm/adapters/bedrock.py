"""AWS Bedrock's OpenAI-compatible API: a Bedrock API key as bearer token, or signed requests (SigV4, botocore).

The openai package signs (``openai.providers.bedrock``); it refuses to sign for another origin.
"""

from __future__ import annotations

import importlib.util
import logging
import re
from typing import Any
from urllib.parse import urlsplit

import openai

from ...errors import ConfigError
from ..types import Endpoint

_REGION = re.compile(r"\.([a-z]{2,8}(?:-[a-z0-9]+)+-\d+)\.")


def provider(endpoint: Endpoint, credentials: Any = None) -> Any:
    """The openai package's provider for ``endpoint``. ``credentials``: botocore's; by default its own chain finds them.

    Raises ConfigError if there is no key and botocore is not installed, or if the address has no region.
    """
    from openai.providers.bedrock import bedrock

    # It logs what it signs at DEBUG, including the session token.
    logging.getLogger("botocore.auth").setLevel(logging.INFO)
    try:
        if endpoint.api_key:
            return bedrock(base_url=endpoint.base_url, api_key=endpoint.api_key.reveal())
        if importlib.util.find_spec("botocore") is None:
            raise ConfigError(
                "bedrock without a Bedrock API key signs with AWS credentials, which needs botocore: install"
                " voice-agent[bedrock], or set AWS_BEARER_TOKEN_BEDROCK"
            )
        found = _REGION.search(urlsplit(endpoint.base_url).hostname or "")
        return bedrock(
            base_url=endpoint.base_url,
            region=found[1] if found else None,
            api_key=None,
            credential_provider=(lambda: credentials) if credentials is not None else None,
        )
    except openai.OpenAIError as error:
        raise ConfigError(f"bedrock cannot be asked with these settings ({error}); check AWS_REGION") from None
