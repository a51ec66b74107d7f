"""Helpers of the provider contract tests: the endpoint of a double, and one answer from it."""

from __future__ import annotations

from typing import Any

from voice_agent.config import Secret
from voice_agent.llm.client import ChatLLM
from voice_agent.llm.types import Endpoint

from .service_credentials import KEY
from .services import Service
from .test_client import context


def endpoint(service: Service, key: str | None = KEY, model: str | None = None) -> Endpoint:
    keyless = service.aws_signed or service.row.auth in ("google", "none")
    named = model or ("my-deployment" if service.name == "azure" else None)
    secret = None if keyless or key is None else Secret(key)
    return Endpoint(service.row, service.base_url, secret, named, False, service.name)


def named(service: Service) -> str:
    return service.row.default_model or "llama-3.3-70b"


async def said(client: ChatLLM, **kwargs: Any) -> str:
    return (await client.chat(chat_ctx=context(), **kwargs).collect()).text
