"""The configuration of a script's run: the user's, with what the script sets itself."""

from __future__ import annotations

import dataclasses

from ...config import Config
from ...config import load as load_config
from .script_schema import Scenario


def configured(config: Config, scenario: Scenario) -> Config:
    """``config`` with the script's own settings and model."""
    named = dict(scenario.settings)
    if scenario.llm is not None:
        named["llm.spec"] = scenario.llm
    wanted = load_config(env={}, flags=named)
    for name in named:
        section, _, key = name.partition(".")
        value = getattr(getattr(wanted, section), key)
        changed = dataclasses.replace(getattr(config, section), **{key: value})
        config = dataclasses.replace(config, **{section: changed})
    return config
