"""Azure AI Foundry: the key is sent as ``api-key``, and the model is the name of a deployment.

Documented for the v1 API at learn.microsoft.com/azure/ai-foundry/openai (read 2026-11). Models are not listed by the
names of their deployments, so the model is not checked.
"""

from __future__ import annotations

from collections.abc import Mapping

import openai

from ...config import Secret


def headers(key: Secret) -> Mapping[str, str | openai.Omit]:
    """Request headers with Azure's key and without a bearer token."""
    return {"api-key": key.reveal(), "Authorization": openai.Omit()}
