"""The only module that reads the environment: the others are handed values.

It also says where this package keeps its files (:func:`cache_dir`), and what a child process is given.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from .secret import Secret
from .sections import Config, sections
from .setting import keys

ENV_PREFIX = "VOICE_AGENT_"
ENV_FILE = "VOICE_AGENT_CONFIG"


def this_environment() -> Mapping[str, str]:
    """This process's environment."""
    return os.environ


def variable(section: str, key: str) -> str:
    """The name of a setting's variable: ``VOICE_AGENT_SECTION_KEY``."""
    return ENV_PREFIX + f"{section}_{key}".upper()


def child_environment(config: Config, extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment, for a child that is to read the very same ``config``, with ``extra`` added."""
    found = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    for name, section in sections().items():
        for key in keys(section):
            value = getattr(getattr(config, name), key)
            text = "" if value is None else value.reveal() if isinstance(value, Secret) else str(value)
            found[variable(name, key)] = text
    return found | dict(extra)


def environment_switch(name: str) -> bool:
    """Whether a library's switch is on: ``1`` or ``true``."""
    return os.environ.get(name, "").strip().lower() in ("1", "true")


def environment_default(name: str, value: str) -> None:
    """Set a variable that a library in this process reads, unless the user has set it."""
    os.environ.setdefault(name, value)


def environment_without_secrets() -> dict[str, str]:
    """This process's environment for a child that needs no key: without our settings, and without names of keys."""
    looks_secret = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(ENV_PREFIX) and not looks_secret.search(name)
    }


def plain_environment() -> dict[str, str]:
    """The variables that any program may need, and no other: for a program that is not ours."""
    names = ("PATH", "HOME", "TMPDIR", "TEMP", "TMP", "TZ", "LANG", "LC_ALL", "SYSTEMROOT")
    return {name: os.environ[name] for name in names if name in os.environ}


def provider_key(name: str, env: Mapping[str, str] | None = None) -> Secret | None:
    """A provider's key from its own variable, such as ``CEREBRAS_API_KEY``; None if unset or blank."""
    value = (os.environ if env is None else env).get(name, "").strip()
    return Secret(value) if value else None


def cache_dir(env: Mapping[str, str] | None = None) -> Path:
    """The folder for this package's fetched and joined models (``XDG_CACHE_HOME``, else ``~/.cache``)."""
    base = (os.environ if env is None else env).get("XDG_CACHE_HOME", "")
    # The XDG base directory specification says that a relative path is ignored.
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "voice-agent"
