from __future__ import annotations

from pathlib import Path

from voice_agent.llm.providers import PROVIDERS
from voice_agent.llm.sim import ERRORS


def test_the_page_lists_every_provider_and_simulated_error() -> None:
    page = (Path(__file__).parents[2] / "docs" / "providers.md").read_text()
    for row in PROVIDERS:
        assert f"`{row.base_url}` | {f'`{row.key_env}`' if row.key_env else 'none'} |" in page
    for error in ERRORS:
        assert f"`{error}`" in page
