"""Azure AI Foundry: the key goes into ``api-key``, and the model is a deployment's name.

Documented for the v1 API at learn.microsoft.com/azure/ai-foundry/openai (read 2026-11); a model is not listed under
its deployment's name, so it is not checked.
"""

from __future__ import annotations

from collections.abc import Mapping

import openai

from ...config import Secret


def headers(key: Secret) -> Mapping[str, str | openai.Omit]:
    """Request headers: Azure's, and none for a bearer token."""
    return {"api-key": key.reveal(), "Authorization": openai.Omit()}
