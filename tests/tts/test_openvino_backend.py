"""The OpenVINO backend in a process: what it imports, signals, when a voice takes it."""

from __future__ import annotations

import logging
import subprocess
import sys
from types import ModuleType

import pytest

from voice_agent.config import models
from voice_agent.errors import ModelError
from voice_agent.tts import Voice, openvino_backend, vits_split
from voice_agent.tts.vits_split import Part

pytestmark = pytest.mark.skipif(
    openvino_backend.openvino() is None, reason="needs OpenVINO: pip install 'voice-agent[openvino]'"
)


def test_importing_openvino_reports_nothing() -> None:
    """OpenVINO's converter sends an event to Google Analytics when it is imported. Other code can still import it."""
    code = (
        "import sys; from voice_agent.tts import openvino_backend; assert openvino_backend.openvino() is not None;"
        "print([m for m in sys.modules if 'telemetry' in m and m.startswith('openvino')]);"
        "print('openvino.tools.ovc' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "False"]


def test_signals_on_the_main_thread_do_not_end_the_process() -> None:
    """A process ended if its main thread had used AMX, faulthandler was on, and several signals came at once.

    ``pthread_kill`` names the main thread: a signal to the process may go to any thread that does not block it, and
    then arrives late or alone. Blocked, the signals wait, and unblocking handles all of them on one stack.
    """
    code = """
import faulthandler, signal, threading
from voice_agent.config import models
from voice_agent.tts import Voice

faulthandler.enable()
list(Voice.load(*models.piper("en_US-joe-medium"), backend="openvino").speak("Hello there."))
got = []
several = {signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD}
for one in several:
    signal.signal(one, lambda number, frame: got.append(number))
signal.pthread_sigmask(signal.SIG_BLOCK, several)
for one in several:
    signal.pthread_kill(threading.main_thread().ident, one)
assert signal.sigpending() == several
signal.pthread_sigmask(signal.SIG_UNBLOCK, several)
assert set(got) == several, got
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def another_make(_: Part) -> tuple[Part, Part]:
    raise ModelError("no convolution enc_p.proj")


@pytest.mark.parametrize(
    ("where", "name", "value", "why"),
    [
        (openvino_backend, "SAMPLES_AGREE_DB", 300.0, "samples differ from float32's by"),
        (vits_split, "split_text_encoder", another_make, "no convolution"),
    ],
)
def test_a_voice_that_does_not_run_the_same_stays_in_float32(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    where: ModuleType,
    name: str,
    value: object,
    why: str,
) -> None:
    monkeypatch.setattr(where, name, value)
    monkeypatch.setattr(openvino_backend, "has_amx", lambda: True)
    with caplog.at_level(logging.WARNING, "voice_agent"):
        voice = Voice.load(*models.piper("en_US-joe-medium"), backend="auto")
    assert why in caplog.text
    assert voice.backend == "onnx"
    assert voice.windows.flow.widths == voice.windows.decoder.widths == ()
    with pytest.raises(ModelError, match=r"tts\.backend=onnx"):
        Voice.load(*models.piper("en_US-joe-medium"), backend="openvino")


def test_auto_takes_it_where_the_processor_has_amx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_backend, "has_amx", lambda: True)
    assert Voice.load(*models.piper("en_US-joe-medium"), backend="auto").backend == "openvino"
