"""Import the scripted scenarios of ``pipecat eval`` (pipecat-ai 1.14). docs/scenarios.md has the mapping.

What has no counterpart in our language is refused with its line, never dropped. Text-only turns (``modality: text``)
are spoken: this tool tests voices.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NoReturn

from ...errors import ConfigError
from .yaml_lines import Where, line_of

_IGNORED = ("user", "judge", "stop_on_failure", "trigger_disconnect")
_REPLIES = ("response", "llm_response", "tts_response")


def convert(data: dict[str, Any], where: Where, path: Path) -> tuple[dict[str, Any], Where]:
    """Our mapping for a pipecat scenario, and the lines of its parts. Raises ConfigError without a counterpart."""
    base: tuple[str | int, ...] = ()
    found = {key: value for key, value in data.items() if key != "scenarios"}
    if "scenarios" in data:
        entries = data["scenarios"]
        if not isinstance(entries, list) or len(entries) != 1 or not isinstance(entries[0], dict):
            _refuse(path, where, ("scenarios",), "give one scenario a file here; split the file")
        base = ("scenarios", 0)
        found |= entries[0]
    if "persona" in found:
        _refuse(path, where, (*base, "persona"), "a simulated caller is not a script; write its turns out")
    if found.get("context"):
        _refuse(path, where, (*base, "context"), "a history to begin with is not supported; speak it as turns")
    at_turns = (*base, "turns") if (*base, "turns") in where else ("turns",)
    lines: Where = {(): 1, ("turns",): where.get(at_turns, 1)}
    turns = []
    for index, turn in enumerate(found.get("turns") or ()):
        at = (*at_turns, index)
        lines[("turns", index)] = where.get(at, 1)
        turns.append(_turn(turn, where, at, path))
    known = {*_IGNORED, "name", "turns", "context"}
    for key in found:
        if key not in known:
            _refuse(path, where, (*base, key), f"{key!r} of a pipecat scenario is not known here")
    name = str(found.get("name") or path.stem)
    return {"name": name, "guards": f"imported from pipecat eval: {path.name}", "turns": turns}, lines


def _turn(turn: Any, where: Where, at: tuple[str | int, ...], path: Path) -> dict[str, Any]:
    if not isinstance(turn, dict):
        _refuse(path, where, at, "a turn is a mapping")
    ours: dict[str, Any] = {}
    expects = turn.get("expect") or []
    user = turn.get("user")
    if "audio" in turn:
        ours["audio"] = turn["audio"]
        if isinstance(user, str):
            ours["text"] = user
    elif isinstance(user, list):
        ours["say"] = [{"hold": f"{e['pause_ms']}ms"} if isinstance(e, dict) and "pause_ms" in e else e for e in user]
    elif user is not None:
        ours["say"] = user
    elif "dtmf" in turn:
        ours["dtmf"] = str(turn["dtmf"])
    else:  # only waits for the bot: a greeting
        within = max([e.get("within_ms", 60_000) for e in expects if isinstance(e, dict)], default=60_000)
        ours["listen"] = f"{within}ms"
    if "send_after" in turn:
        after = turn["send_after"]
        event = after.get("event") if isinstance(after, dict) else None
        if event not in ("bot_started_speaking", "llm_started", "tts_response"):
            _refuse(path, where, (*at, "send_after"), "only after bot_started_speaking, llm_started or tts_response")
        ours["interrupt"] = {"after": f"{after.get('delay_ms', 0)}ms"}
    for key in turn:
        if key not in ("user", "audio", "dtmf", "expect", "send_after", "name"):
            _refuse(path, where, (*at, key), f"{key!r} has no counterpart")
    ours["expect"] = _expect(expects, where, (*at, "expect"), path)
    return ours


def _expect(expects: Any, where: Where, at: tuple[str | int, ...], path: Path) -> dict[str, Any]:
    if not isinstance(expects, list):
        _refuse(path, where, at, "expect is a list of events")
    ours: dict[str, Any] = {}
    for index, e in enumerate(expects):
        here = (*at, index)
        if not isinstance(e, dict):
            _refuse(path, where, here, "an expectation is a mapping with event:")
        event = e.get("event")
        if event in _REPLIES:
            if e.get("absent"):
                ours["answered"] = False
                continue
            if "within_ms" in e:
                ours["within"] = f"{e['within_ms']}ms"
            if words := _words(e):
                ours["says"] = words
        elif event == "user_transcription":
            if words := _words(e):
                ours["heard"] = words
        elif event == "function_call":
            calls = e.get("calls") or [{k: e[k] for k in ("name", "args") if k in e}]
            ours["tool_called"] = [c if isinstance(c, str) else {k: v for k, v in c.items() if v} for c in calls if c]
        elif event in ("bot_started_speaking", "bot_stopped_speaking", "llm_started", "user_stopped_speaking"):
            continue  # follows from there being an answer
        elif event in ("user_started_speaking", "vad_user_started_speaking", "vad_user_stopped_speaking"):
            continue  # follows from the turn being heard
        else:
            _refuse(path, where, here, f"the event {event!r} has no counterpart")
    return ours


def _words(e: dict[str, Any]) -> dict[str, Any]:

    words: dict[str, Any] = {}
    parts = []
    if contains := e.get("text_contains"):  # whitespace does not count there either
        parts.append(r"\s*".join(re.escape(part) for part in str(contains).split()))
    if excludes := e.get("text_excludes"):
        parts.insert(0, rf"^(?!.*{re.escape(str(excludes))})")
    if parts:
        words["regex"] = ".*".join(parts) if len(parts) > 1 else parts[0]
    if criterion := e.get("eval"):
        words["judge"] = criterion
    return words


def _refuse(path: Path, where: Where, at: tuple[str | int, ...], what: str) -> NoReturn:
    raise ConfigError(f"{path}:{line_of(where, at)}: pipecat scenario: {what}")
