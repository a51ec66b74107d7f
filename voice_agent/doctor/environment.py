"""Checks of Python, the processor and the installed packages."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata

from packaging.requirements import Requirement

from .finding import Finding, Status

OLDEST = (3, 11)
DISTRIBUTION = "voice-agent"


def python() -> Iterator[Finding]:
    """The interpreter's version, compared with the oldest one supported."""
    version = platform.python_version()
    text = f"{platform.python_implementation()} {version} on {platform.system()} {platform.machine()}"
    good = sys.version_info >= OLDEST
    advice = f"use Python {OLDEST[0]}.{OLDEST[1]} or newer"
    yield Finding(Status.OK if good else Status.FAILED, text, "" if good else advice, {"version": version})


def machine() -> Iterator[Finding]:
    """The number of usable cores, and whether other programs use them now."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    facts = {"cores": cores, "load_1min": round(load, 2)}
    text = f"{cores} cores, load {load:.1f}"
    if load > cores * 0.8:
        yield Finding(
            Status.WARNING, f"{text}: others are working", "end them; the times below are longer for it", facts
        )
    elif cores < 2:
        yield Finding(Status.WARNING, text, "two cores at least: STT and TTS work at the same time", facts)
    else:
        yield Finding(Status.OK, text, facts=facts)


def packages(distribution: str = DISTRIBUTION) -> Iterator[Finding]:
    """Every required package, its version compared with the requirement."""
    try:
        wanted = [Requirement(line) for line in metadata.requires(distribution) or ()]
    except metadata.PackageNotFoundError:
        yield Finding(Status.FAILED, f"{distribution} is not installed here", "install it with: pip install -e .")
        return
    needed = [r for r in wanted if r.marker is None or r.marker.evaluate({"extra": "local"})]
    wrong = [problem for requirement in needed if (problem := _problem(requirement))]
    facts: dict[str, str | int] = {"required": len(needed), "wrong": len(wrong)}
    if wrong:
        names = " ".join(f"'{_plain(r)}'" for r in needed if _problem(r))
        yield Finding(Status.FAILED, "; ".join(wrong), f"install them with: pip install -U {names}", facts)
    else:
        ours = metadata.version(distribution)
        yield Finding(Status.OK, f"{distribution} {ours}; {len(needed)} required packages fit", facts=facts)
    yield from _extras(wanted)


def _extras(wanted: Sequence[Requirement]) -> Iterator[Finding]:
    extra = [r for r in wanted if r.marker is not None and r.marker.evaluate({"extra": "mcp"}) and "mcp" in r.name]
    for requirement in extra:
        problem = _problem(requirement)
        if problem is None:
            yield Finding(Status.OK, f"{requirement.name} {metadata.version(requirement.name)}", name="MCP")
        else:
            yield Finding(
                Status.SKIPPED, f"{problem}; only --mcp needs it", "pip install 'voice-agent[mcp]'", name="MCP"
            )


def _problem(requirement: Requirement) -> str | None:
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{requirement.name} {version} is not {requirement.specifier}"
    return None


def _plain(requirement: Requirement) -> str:
    return f"{requirement.name}{requirement.specifier}"
