"""Writes ``docs/configuration.md``: ``python -m voice_agent.config.page > docs/configuration.md``."""

from __future__ import annotations

from .schema import ENV_FILE, ENV_PREFIX, describe, sections


def page() -> str:
    """The text of ``docs/configuration.md``."""
    lines = [
        "# Configuration",
        "",
        "<!-- Written by `python -m voice_agent.config.page > docs/configuration.md`; a test keeps it current. -->",
        "",
        "A setting is looked for in four places; the later ones win:",
        "",
        "1. the defaults below,",
        f"2. a TOML file, named by `--config` or the variable `{ENV_FILE}`,",
        f"3. the environment: `{ENV_PREFIX}<SECTION>_<KEY>`, such as `{ENV_PREFIX}TURN_PATIENCE=0.7`,",
        "4. flags: `--set section.key=value`, such as `--set turn.patience=0.7`.",
        "",
        "An unknown name or a value that is not allowed is an error that names the place, the key and what is allowed.",
        "Numbers whose name ends in `_s` are seconds, in `_ms` milliseconds.",
    ]
    rows = describe()
    for name, section in sections().items():
        lines += ["", f"## [{name}]", "", (section.__doc__ or "").strip(), ""]
        lines += ["| key | type | default | allowed | what it does |", "|---|---|---|---|---|"]
        for row in (row for row in rows if row.section == name):
            default = f"`{row.default}`" if row.default else "(none)"
            allowed = row.allowed.replace("|", "\\|")
            lines.append(f"| `{row.key}` | {row.type} | {default} | {allowed} | {row.doc} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
