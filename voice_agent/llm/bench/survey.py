"""Which providers are configured, which answer, and which model would be chosen, with the reason."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from ...clock import SYSTEM, Clock
from ...config import LlmConfig
from ...errors import ConfigError, ProviderError
from ..client import ChatLLM
from ..endpoints import configured, resolve
from ..provider_table import PROVIDERS, Provider
from ..types import KeyLookup, RequestDeadlines

# A list of models costs no tokens. A server that takes longer is too slow for a conversation.
PATIENCE = RequestDeadlines(connect_s=2.0, first_content_s=4.0, total_s=6.0)


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """One row of the survey. ``reachable``: None if not asked. ``ms``: the time that its list of models took.

    ``chosen``: a conversation would use this provider now.
    """

    provider: str
    configured: bool
    why: str
    reachable: bool | None = None
    model: str | None = None
    model_why: str = ""
    ms: float | None = None
    error: str = ""
    chosen: bool = False


def _why(row: Provider, key: KeyLookup) -> str:
    names = [*([row.key_env] if row.key_env else []), *row.address_variables]
    missing = [name for name in names if key(name) is None]
    if row.auth == "none":
        return "on this machine, needs no key"
    if not missing:
        return f"{' and '.join(names)} set" if names else "application default credentials"
    return f"{' and '.join(missing)} not set"


async def survey(
    cfg: LlmConfig, key: KeyLookup, *, rows: Sequence[Provider] = PROVIDERS, ask: bool = True, clock: Clock = SYSTEM
) -> list[ProviderStatus]:
    """The status of all ``rows``; configured providers are asked concurrently, unless ``ask`` is False.

    Raises ConfigError for settings that contradict each other.
    """
    try:
        chosen: str | None = resolve(cfg, key).provider.name
    except ProviderError:
        chosen = None
    return list(await asyncio.gather(*(_one(cfg, key, row, row.name == chosen, ask, clock) for row in rows)))


async def _one(cfg: LlmConfig, key: KeyLookup, row: Provider, chosen: bool, ask: bool, clock: Clock) -> ProviderStatus:
    found = ProviderStatus(
        row.name, configured(row, key) or (chosen and bool(cfg.api_key)), _why(row, key), chosen=chosen
    )
    if not found.configured or not ask:
        return found
    own = cfg if chosen else dataclasses.replace(cfg, base_url=None, api_key=None, model=None)
    settings = own if chosen else dataclasses.replace(own, provider=row.name, spec=None)
    began = clock.now()
    try:
        client = ChatLLM(resolve(settings, key), deadlines=PATIENCE, warm_connections=0, clock=clock)
    except (ProviderError, ConfigError) as error:
        return dataclasses.replace(found, reachable=False, error=str(error))
    try:
        choice = await client.connection.choose()
    except ProviderError as error:
        return dataclasses.replace(found, reachable=False, error=str(error))
    finally:
        await client.aclose()
    asked = row.lists_models
    return dataclasses.replace(
        found,
        reachable=True if asked else None,
        model=choice.model,
        model_why=choice.reason,
        ms=round((clock.now() - began) * 1000, 1) if asked else None,
    )
