"""Virtual environments of the systems that ours is compared with, made on first use beside the project's own."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PIPECAT = "pipecat-ai[whisper,piper,silero,openai]==1.14.0"


def livekit() -> Path:
    """A Python that sees this environment, and LiveKit's OpenAI plug-in besides, which the project does not need."""
    folder = ROOT / ".venv-bench"
    python = folder / "bin" / "python"
    wanted = f"livekit-plugins-openai=={importlib.metadata.version('livekit-agents')}"
    if _made(folder) != wanted:
        _create(folder)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        link = folder / "lib" / version / "site-packages" / "project.pth"
        link.write_text(sysconfig.get_paths()["purelib"] + "\n")
        _install(python, "--no-deps", wanted)
        (folder / ".made").write_text(wanted)
    return python


def pipecat() -> Path:
    """A Python with Pipecat. It and this project want different versions of several packages."""
    folder = ROOT / ".venv-pipecat"
    if _made(folder) != PIPECAT:
        print("bench: setting up .venv-pipecat (once)", file=sys.stderr, flush=True)
        _create(folder)
        _install(folder / "bin" / "python", PIPECAT)
        (folder / ".made").write_text(PIPECAT)
    return folder / "bin" / "python"


def _made(folder: Path) -> str:
    note = folder / ".made"
    return note.read_text() if note.is_file() else ""


def _create(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _uv("venv", "--python", sys.executable, str(folder))
    (folder / ".gitignore").write_text("*\n")


def _install(python: Path, *what: str) -> None:
    _uv("pip", "install", "--python", str(python), *what)


def _uv(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "uv", "--quiet", *arguments], check=False)
    if done.returncode != 0:
        raise SystemExit(f"bench: uv {' '.join(arguments)} failed; its message stands above")
