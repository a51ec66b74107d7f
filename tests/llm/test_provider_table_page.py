from __future__ import annotations

from pathlib import Path

from voice_agent.llm.provider_table_page import tables
from voice_agent.llm.sim_spec import ERRORS

PAGE = (Path(__file__).parents[2] / "docs" / "providers.md").read_text()


def test_the_page_has_the_table_as_it_is() -> None:
    assert tables() in PAGE  # else: python -m voice_agent.llm.provider_table_page


def test_the_page_lists_every_simulated_error() -> None:
    for error in ERRORS:
        assert f"`{error}`" in PAGE
