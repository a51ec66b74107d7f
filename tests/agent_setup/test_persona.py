"""Persona files: what is read, and what is refused in which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from voice_agent.agent_setup.persona import read_persona
from voice_agent.errors import ConfigError


def test_plain_text_is_all_instructions(tmp_path: Path) -> None:
    (tmp_path / "p.md").write_text("You are a pirate.\n")
    persona = read_persona(tmp_path / "p.md")
    assert (persona.instructions, persona.name, persona.tools) == ("You are a pirate.", None, ())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("---\nvoise: x\n---\nHi", "unknown key 'voise'; did you mean 'voice'?"),
        ("---\nname: 3\n---\nHi", "name: 3 is not text; put it in quotes"),
        ("---\nlanguage: no\n---\nHi", "language: False is not text; put it in quotes"),
        ("---\nname: [a\n---\nHi", "not valid YAML: line 2"),
        ("+++\nname = x\n+++\nHi", "not valid TOML"),
        ("---\nname: x\nHi", "no closing ---"),
        ("---\n- a\n---\nHi", "no table"),
        ("---\ntools: {a: 1}\n---\nHi", "tools: {'a': 1} is not a list"),
        ("---\ntools: nowhere.py\n---\nHi", "nowhere.py does not exist"),
        ("  \n", "is empty"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "p.md"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        read_persona(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert said in str(refused.value)


def test_no_such_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_persona(tmp_path / "p.md")
    (tmp_path / "b.md").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_persona(tmp_path / "b.md")
