"""Writes ``docs/configuration.md``: ``python -m voice_agent.config.page > docs/configuration.md``."""

from __future__ import annotations

from .sections import sections
from .setting import Key, keys
from .variables import ENV_FILE, ENV_PREFIX

HEAD = f"""# Configuration

<!-- Written by `python -m voice_agent.config.page > docs/configuration.md`; a test keeps it current. -->

A setting is read from four sources; the later ones win:

1. the defaults below,
2. a TOML file, named by `--config` or the variable `{ENV_FILE}`,
3. the environment: `{ENV_PREFIX}<SECTION>_<KEY>`, such as `{ENV_PREFIX}TURN_PATIENCE=0.7`,
4. flags: `--set section.key=value`, such as `--set turn.patience=0.7`.

An unknown name or a value that is not allowed is an error that names the place, the key and what is allowed.
Numbers whose name ends in `_s` are seconds, in `_ms` milliseconds.

Variables that begin with `{ENV_PREFIX}` but not with a section's name after it are ignored with a warning: Kubernetes
sets `{ENV_PREFIX}SERVICE_HOST` and the like beside a Service called `voice-agent`. A Service called `voice-agent-web`
would set `{ENV_PREFIX}WEB_PORT`, which is a setting: give that Service another name, or set `enableServiceLinks: false`
in the pod.
"""


def page() -> str:
    """The text of ``docs/configuration.md``."""
    lines = [HEAD.rstrip()]
    for name, section in sections().items():
        lines += ["", f"## [{name}]", "", (section.__doc__ or "").strip(), ""]
        lines += ["| key | type | default | allowed | what it does |", "|---|---|---|---|---|"]
        lines += [_row(key) for key in keys(section).values()]
    return "\n".join(lines) + "\n"


def _row(key: Key) -> str:
    shown = "" if key.default is None else str(key.default)
    default = f"`{shown}`" if shown else "(none)"
    allowed = key.allowed.replace("|", "\\|")
    return f"| `{key.name}` | {key.type_name} | {default} | {allowed} | {key.limits.doc} |"


if __name__ == "__main__":
    print(page(), end="")
