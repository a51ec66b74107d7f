"""The baseline of a script: a small readable file, ``NAME.baseline.yaml``, written by ``--update-baseline`` only."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from ...config import Config
from ...errors import ConfigError, UsageError

SCHEMA = 2
SUFFIX = ".baseline.yaml"
_PACKAGES = ("voice-agent", "livekit-agents", "faster-whisper", "ctranslate2", "piper-tts", "onnxruntime", "numpy")


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine of a run. ``fingerprint``: equal for machines that may be compared."""

    cpu: str
    cores: int
    memory_gb: int
    system: str

    @property
    def fingerprint(self) -> str:
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def this_machine() -> Machine:
    """This machine: processor, cores, memory, system."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), cpu)
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, OSError, AttributeError):
        memory = 0.0
    return Machine(cpu, cores, round(memory), f"{platform.system()} {platform.machine()}")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that take part."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def public_config(config: Config) -> dict[str, Any]:
    """Every setting as JSON's types; a secret is only ``***``."""
    rows: dict[str, Any] = json.loads(json.dumps(asdict(config), default=str))
    return rows


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a script measured. ``samples``: measure -> item -> milliseconds (work.py)."""

    scenario: str
    samples: Mapping[str, Mapping[str, list[float]]]
    calibration_ms: list[float]
    turns: int
    cut_offs: int
    unanswered: int
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    target: str = "script"
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Raises UsageError if it cannot be written."""
        data: dict[str, Any] = {"schema": SCHEMA, **asdict(self)}
        data["samples"] = {
            measure: {item: [round(ms, 1) for ms in values] for item, values in items.items()}
            for measure, items in self.samples.items()
        }
        data["calibration_ms"] = [round(ms, 2) for ms in self.calibration_ms]
        # A line is broken after the item that passes the width.
        text = yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=85, allow_unicode=True)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(path.name + ".part")
            beside.write_text("# voice-agent test --update-baseline wrote this; docs/verdict.md\n" + text)
            beside.replace(path)
        except OSError as error:
            raise UsageError(f"{path}: cannot be written ({error.strerror}); name a folder of yours") from None

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """Raises UsageError if there is none, ConfigError for another file or a damaged one."""
        try:
            data = yaml.safe_load(path.read_text())
        except FileNotFoundError:
            raise UsageError(f"{path}: no baseline yet; make one with --update-baseline") from None
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: cannot be read ({error})") from None
        except yaml.YAMLError as error:
            raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
        if not isinstance(data, dict) or data.pop("schema", None) != SCHEMA:
            raise ConfigError(f"{path}: not a baseline of schema {SCHEMA}; make a new one with --update-baseline")
        try:
            found = cls(**data)
            for items in found.samples.values():
                for values in items.values():
                    if not all(math.isfinite(ms) for ms in values):
                        raise ValueError("a value is not a number")
            if not all(ms > 0 and math.isfinite(ms) for ms in found.calibration_ms):
                raise ValueError("calibration_ms holds what is not a duration")
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"{path}: damaged ({error}); make a new one with --update-baseline") from None
        return found


def place(against: Path, name: str) -> Path:
    """The baseline of script ``name``: ``against`` itself if it is such a file, else in that folder."""
    return against if against.suffix in (".yaml", ".yml") else against / f"{name}{SUFFIX}"
