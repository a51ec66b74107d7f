"""Prints the provider table as Markdown for ``docs/providers.md``: ``python -m
voice_agent.llm.provider_table_page``."""

from __future__ import annotations

from .provider_table import PROVIDERS, Fact

_AUTH = {
    "bearer": "bearer",
    "api-key": "`api-key` header",
    "aws": "bearer or SigV4",
    "google": "google-auth",
    "none": "-",
}


def _fact(fact: Fact | None) -> str:
    return f"{fact.text} ({fact.as_of})" if fact else "unknown"


def tables() -> str:
    """Three tables: address and key; what is served and free; in what each differs."""
    out = ["| name | address | key variable | authentication |", "|---|---|---|---|"]
    for row in PROVIDERS:
        key = f"`{row.key_env}`" if row.key_env else "none"
        out.append(f"| {row.name} | `{row.base_url}` | {key} | {_AUTH[row.auth]} |")
    out += ["", "| name | served | free of charge |", "|---|---|---|"]
    out += [f"| {r.name} | {_fact(r.served)} | {_fact(r.free)} |" for r in PROVIDERS if r.auth != "none"]
    out += ["", "| name | counts and timings | errors | never sent | notes |", "|---|---|---|---|---|"]
    for row in PROVIDERS:
        refused = ", ".join(f"`{name}`" for name in row.refuses) or "-"
        out.append(f"| {row.name} | {row.usage} | {row.failures} | {refused} | {row.notes or '-'} |")
    sources = dict.fromkeys(fact.source for row in PROVIDERS for fact in (row.served, row.free) if fact)
    return "\n".join([*out, "", "Sources: " + "; ".join(sources) + ".", ""])


if __name__ == "__main__":
    print(tables(), end="")
