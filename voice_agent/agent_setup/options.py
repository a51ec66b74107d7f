"""The user's own agent: instructions, persona, language, tools and MCP servers, as flags of any verb.

add_agent_flags(parser)
options = load(args, read_config(args))
async with open_session(options.config, tools=options.tools, mcp=options.mcp, ...): ...
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import Config, models
from ..errors import ConfigError, ModelError
from ..livekit_compat.faster_whisper import knows_language
from . import mcp_servers
from .persona import Persona, read_persona

if TYPE_CHECKING:
    from livekit.agents import llm
    from livekit.agents.llm.mcp import MCPServer

_MULTILINGUAL_TOKENS = 51865
"""Whisper's multilingual vocabulary has one entry more than the English one (CTranslate2 decides by it too)."""


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """``config`` with the flags applied; ``tools`` and ``mcp`` for ``open_session``; ``notes`` for the user."""

    config: Config
    tools: tuple[llm.Tool | llm.Toolset, ...] = ()
    mcp: tuple[MCPServer, ...] = ()
    notes: tuple[str, ...] = ()


def add_agent_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of docs/agent.md."""
    group = parser.add_argument_group("the agent (docs/agent.md)")
    group.add_argument("--instructions", metavar="TEXT", help="what the agent is to do")
    group.add_argument(
        "--persona", type=Path, metavar="FILE", help="Markdown file: name, voice, greeting, instructions"
    )
    group.add_argument("--language", metavar="CODE", help="language of the conversation, such as de")
    group.add_argument(
        "--tools", type=Path, action="append", default=[], metavar="FILE.py", help="functions it may call (repeatable)"
    )
    group.add_argument(
        "--mcp",
        action="append",
        default=[],
        metavar="URL|COMMAND",
        help="MCP server whose tools it may use (repeatable)",
    )


def load(args: argparse.Namespace, config: Config) -> AgentOptions:
    """Apply the flags of :func:`add_agent_flags` to ``config`` (which holds the flags of ``add_settings`` already).

    A flag overrides the persona, the persona overrides file and environment. Runs the tool files; connects to nothing.
    Raises ConfigError: a broken persona or tool file, a language that the models do not know, no such MCP command.
    """
    persona = read_persona(args.persona) if args.persona is not None else Persona()
    config = _changed(
        config,
        args,
        "agent",
        name=persona.name,
        greeting=persona.greeting,
        apology=persona.apology,
        instructions=args.instructions or persona.instructions or None,
    )
    if getattr(args, "voice", None) is None:
        config = _changed(config, args, "tts", voice=persona.voice)
    if getattr(args, "model", None) is None:
        config = _changed(config, args, "llm", model=persona.model)
    notes: list[str] = []
    if (language := args.language or persona.language) is not None:
        config = _speak(config, language, notes)
    tools: tuple[llm.Tool | llm.Toolset, ...] = ()
    if files := [*persona.tools, *args.tools]:
        from .tool_files import load_tools  # LiveKit takes a second to import

        tools = load_tools(files)
    servers = tuple(mcp_servers.server(spec) for spec in (*persona.mcp, *args.mcp))
    return AgentOptions(config, tools, servers, tuple(notes))


def _changed(config: Config, args: argparse.Namespace, section: str, **values: str | None) -> Config:
    """``config`` with these values in ``section``, except those that are None or given with ``--set``."""
    given = {pair.partition("=")[0] for pair in getattr(args, "set", ())}
    keep = {key: value for key, value in values.items() if value is not None and f"{section}.{key}" not in given}
    return dataclasses.replace(config, **{section: dataclasses.replace(getattr(config, section), **keep)})


def _speak(config: Config, wanted: str, notes: list[str]) -> Config:
    """The conversation in another language: Whisper is checked, the LLM is told, and a note says if the voice differs.

    Raises ConfigError."""
    from livekit.agents.language import LanguageCode

    code = LanguageCode(wanted.strip()).language
    name = _name_of(code)
    if name is None:
        raise ConfigError(f"--language {wanted}: not a language that Whisper knows; give its code, such as en, de, fr")
    if code != "en" and not multilingual(config.stt.model):
        raise ConfigError(
            f"--language {wanted}: the Whisper model {config.stt.model} knows English only; add --whisper base, or"
            " another multilingual model"
        )
    if (spoken := voice_language(config.tts.voice)) is not None and spoken != code:
        notes.append(
            f"the voice {config.tts.voice} speaks {(_name_of(spoken) or spoken).title()}, not {name.title()}: name"
            f" one that does with --voice (Piper's are called like {code}_{code.upper()}-...-medium)"
        )
    agent = config.agent
    if code != "en":
        notes.append("the end of a turn is detected as in English; if the agent cuts in, raise turn.patience")
        agent = dataclasses.replace(agent, instructions=f"{agent.instructions} Speak {name.title()} only.")
    return dataclasses.replace(config, stt=dataclasses.replace(config.stt, language=code), agent=agent)


def _name_of(code: str) -> str | None:
    """The English name of a language that Whisper knows; None of any other."""
    from livekit.agents.language import LanguageCode

    return (LanguageCode(code).to_language_name() or code) if knows_language(code) else None


def multilingual(model: str) -> bool:
    """Whether a Whisper model (name, path or hub id; fetched if it must be) knows other languages than English."""
    folder = models.whisper(model)
    for name in ("vocabulary.json", "vocabulary.txt"):
        if (path := folder / name).is_file():
            text = path.read_text("utf-8")
            return (len(json.loads(text)) if name.endswith("json") else text.count("\n")) >= _MULTILINGUAL_TOKENS
    return not model.endswith(".en")  # no vocabulary file: loading it says what is wrong


def voice_language(voice: str) -> str | None:
    """The language code of a Piper voice, which is fetched if it must be; None if its settings do not name one."""
    try:
        _, settings = models.piper(voice)
        said: dict[str, Any] = json.loads(settings.read_text("utf-8"))
    except (ModelError, OSError, ValueError):
        return None  # loading the voice says what is wrong with it
    language = said.get("language")
    family = language.get("family") if isinstance(language, dict) else None
    return str(family or (said.get("espeak") or {}).get("voice") or "").partition("-")[0] or None
