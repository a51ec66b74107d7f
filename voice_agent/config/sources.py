"""Reads the configuration: defaults, then a TOML file, then the environment, then flags; later ones win.

Each source is checked by itself, so an error names its place: file and key, variable, or flag.
"""

from __future__ import annotations

import dataclasses
import difflib
import logging
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .sections import Config, sections
from .setting import accept, accept_text, keys
from .variables import ENV_FILE, ENV_PREFIX, this_environment, variable

logger = logging.getLogger(__name__)

FlagValue = str | int | float | bool | None
Values = dict[str, dict[str, Any]]  # section -> key -> accepted value

_warned: set[str] = set()  # variables: the configuration may be read more than once in a process


def load(
    file: Path | None = None, env: Mapping[str, str] | None = None, flags: Mapping[str, FlagValue] | None = None
) -> Config:
    """Read the configuration from ``file``, ``env`` and ``flags``.

    ``file`` defaults to the one named by ``VOICE_AGENT_CONFIG``, ``env`` to this process's environment. ``flags`` maps
    dotted names (``turn.patience``) to values; text is converted. Raises ConfigError, naming the place, the key and
    what is allowed.
    """
    env = this_environment() if env is None else env
    if file is None and env.get(ENV_FILE):
        file = Path(env[ENV_FILE])
    pairs = [(name, key) for name, section in sections().items() for key in keys(section)]
    variables = {variable(name, key): (name, key) for name, key in pairs}
    dotted = {f"{name}.{key}": (name, key) for name, key in pairs}

    sources = [
        _from_file(file) if file is not None else {},
        _from_names(variables, _our_variables(env, variables), "environment variable"),
        _from_names(dotted, flags or {}, "flag"),
    ]
    config = Config()
    for source in sources:
        for name, values in source.items():
            section = dataclasses.replace(getattr(config, name), **values)
            config = dataclasses.replace(config, **{name: section})
    return config


def _from_file(path: Path) -> Values:
    try:
        with path.open("rb") as stream:
            table = tomllib.load(stream)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; name an existing TOML file or leave it out") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML ({error})") from None
    found: Values = {}
    known = sections()
    for name, entries in table.items():
        if name not in known:
            raise ConfigError(f"{path}: unknown section [{name}]; {_did_you_mean(name, known)}")
        if not isinstance(entries, dict):
            raise ConfigError(f"{path}: {name} is a section; write [{name}] and its keys below")
        of_section = keys(known[name])
        for key, value in entries.items():
            if key not in of_section:
                raise ConfigError(f"{path}: unknown key {key!r} in [{name}]; {_did_you_mean(key, of_section)}")
            found.setdefault(name, {})[key] = accept(of_section[key], value, f"{path}: [{name}] {key}")
    return found


def _our_variables(env: Mapping[str, str], variables: Iterable[str]) -> dict[str, str]:
    """The variables of ``env`` that begin like a section's; the other ``VOICE_AGENT_*`` are ignored with one warning.

    Kubernetes sets such variables (``VOICE_AGENT_SERVICE_HOST``, ``VOICE_AGENT_PORT_8080_TCP``) beside a Service
    called voice-agent.
    """
    starts = tuple(variable(name, "") for name in sections())
    given = {name: value for name, value in env.items() if name.startswith(ENV_PREFIX) and name != ENV_FILE}
    ours = {name: value for name, value in given.items() if name.startswith(starts)}
    if others := sorted(given.keys() - ours.keys() - _warned):
        _warned.update(others)
        close = [(name, difflib.get_close_matches(name, variables, n=1, cutoff=0.9)) for name in others]
        shown = ", ".join(name + (f" (did you mean {match[0]!r}?)" if match else "") for name, match in close)
        logger.warning("environment variables ignored, since they begin with no section's name: %s", shown)
    return ours


def _from_names(names: Mapping[str, tuple[str, str]], given: Mapping[str, FlagValue], what: str) -> Values:
    """Read ``given`` values whose names are looked up in ``names`` (name -> section and key)."""
    found: Values = {}
    known = sections()
    for name, value in given.items():
        if name not in names:
            raise ConfigError(f"{what} {name}: unknown setting; {_did_you_mean(name, names)}")
        section, key = names[name]
        to, where = keys(known[section])[key], f"{what} {name}"
        accepted = accept_text(to, value, where) if isinstance(value, str) else accept(to, value, where)
        found.setdefault(section, {})[key] = accepted
    return found


def _did_you_mean(wrong: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(wrong, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
