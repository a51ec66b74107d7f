"""Without ``[local]`` everything in testing can be imported, and doubled conversations and scripts run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import importlib, pkgutil, sys
from pathlib import Path

HEAVY = {"faster_whisper", "ctranslate2", "onnxruntime", "piper", "tokenizers", "xllamacpp", "openvino", "sounddevice"}


class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HEAVY:
            raise ModuleNotFoundError(f"{name} is not part of the light install", name=name)


sys.meta_path.insert(0, NotInstalled())
import voice_agent.testing

assert not [m for m in sys.modules if m.startswith("voice_agent.testing.")], "the package itself imports nothing"
for module in pkgutil.walk_packages(voice_agent.testing.__path__, "voice_agent.testing."):
    importlib.import_module(module.name)

from voice_agent.config import Config
from voice_agent.testing.doubles import conversation, run
from voice_agent.testing.doubles.scenarios import run_deterministic
from voice_agent.testing.scenario.script_file import parse


async def main(clock):
    async with conversation(clock, replies=["It is sunny."]) as c:
        await c.say("What is the weather like?")
        return c.heard


assert run(main) == ["It is sunny."]
folder = Path(sys.argv[1])
script = parse("turns:\\n  - say: What is the weather like?\\n", folder / "a.voice.yaml")
assert run_deterministic(script, Config(), folder / "run").passed
"""


def test_testing_runs_without_the_models_packages(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
