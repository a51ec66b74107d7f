"""Flags and persona to an agent; the language of the conversation."""

from __future__ import annotations

from pathlib import Path

import pytest

from voice_agent.agent_setup.options import multilingual
from voice_agent.config import AgentConfig, Config
from voice_agent.errors import ConfigError

from .agent_flags import options

PERSONA = """---
name: Ada
voice: en_US-joe-medium
greeting: "Hello, this is Ada."
language: en
tools: [desk.py]
---
You answer questions about the town library.

- Opening hours: ten to six.
"""


def test_a_persona_gives_settings_and_tools(tmp_path: Path, desk: Path) -> None:
    (tmp_path / "ada.md").write_text(PERSONA)
    made = options(["--persona", str(tmp_path / "ada.md")])
    agent = made.config.agent
    assert (agent.name, agent.greeting) == ("Ada", "Hello, this is Ada.")
    assert agent.instructions.startswith("You answer questions about the town library.")
    assert agent.instructions.endswith("- Opening hours: ten to six.")
    assert [tool.id for tool in made.tools] == ["fine_for", "renew", "shelf", "burn"]
    assert agent.prompt.startswith("Your name is Ada. You answer questions")
    assert "no markdown" in agent.prompt


def test_a_flag_overrides_the_persona_and_the_persona_the_file(tmp_path: Path) -> None:
    persona, toml = tmp_path / "p.md", tmp_path / "c.toml"
    persona.write_text('+++\nname = "Ada"\ngreeting = "Hi."\nmodel = "m1"\n+++\nBe kind.\n')
    toml.write_text('[agent]\nname = "Bob"\napology = "Oh."\n[llm]\nmodel = "m0"\n')
    base = ["--config", str(toml), "--persona", str(persona)]
    config = options(base).config
    assert (config.agent.name, config.agent.greeting, config.agent.apology) == ("Ada", "Hi.", "Oh.")
    assert (config.llm.model, config.agent.instructions) == ("m1", "Be kind.")
    config = options(
        [*base, "--model", "m2", "--instructions", "Be brief.", "--set", "agent.greeting=Good day."]
    ).config
    assert (config.llm.model, config.agent.instructions) == ("m2", "Be brief.")
    assert (config.agent.name, config.agent.greeting) == ("Ada", "Good day.")


def test_the_default_prompt_is_one_text() -> None:
    agent = AgentConfig()
    assert agent.prompt == f"{agent.instructions} {agent.manner}"
    assert AgentConfig(instructions="A.", manner="", name="B").prompt == "Your name is B. A."


def test_english_models_know_english_only() -> None:
    assert not multilingual("tiny.en")
    assert multilingual("base")
    with pytest.raises(ConfigError, match=r"--language de: the Whisper model tiny\.en knows English only.*base"):
        options(["--language", "de"])


def test_another_language_is_told_to_whisper_and_to_the_model() -> None:
    made = options(["--language", "German", "--whisper", "base"])
    assert made.config.stt.language == "de"
    assert made.config.agent.instructions.endswith("Speak German only.")
    assert any("en_US-joe-medium speaks English, not German" in note for note in made.notes)


def test_english_changes_nothing() -> None:
    made = options(["--language", "en"])
    assert (made.config, made.notes) == (Config(), ())


def test_a_code_that_is_no_language() -> None:
    with pytest.raises(ConfigError, match="not a language that Whisper knows"):
        options(["--language", "xx", "--whisper", "base"])
