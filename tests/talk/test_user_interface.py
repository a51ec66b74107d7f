"""Keys, signals and crashes on a real terminal (a pseudo one): it is always given back as it was."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.terminal import OnTerminal

Start = Callable[..., OnTerminal]
Child = Callable[[str], list[str]]

ECHO = """\
while True:
    press = await ui.pressed.get()
    ui.emit(Note(f'got {press}'))
    if press == KeyCommand('quit'):
        return
"""
WAIT = "await asyncio.Event().wait()"


class TestKeys:
    def test_single_keys_lines_and_quit(self, on_terminal: Start, child: Child) -> None:
        t = on_terminal(child(ECHO))
        t.wait_for("q quit")
        assert not t.echoes()
        t.press(b" ")
        t.wait_for("got KeyCommand(name='mute')")
        t.press(b"hello there")
        t.wait_for("> hello there")
        t.press(b"\r")
        t.wait_for("got TypedLine(text='hello there')")
        t.press(b"/bring it\r")
        t.wait_for("got TypedLine(text='bring it')")
        t.press(b"q")
        assert t.end() == 0
        assert t.restored()

    def test_escape_clears_and_a_paste_presses_nothing(self, on_terminal: Start, child: Child) -> None:
        t = on_terminal(child(ECHO))
        t.wait_for("q quit")
        t.press(b"hel")
        t.wait_for("> hel")
        t.press(b"\x1b")
        t.wait_for("listening")
        t.press(b"\x1b[200~quit it\nbaby\x1b[201~\r")
        assert "got KeyCommand" not in t.wait_for("got TypedLine(text='quit it baby')")
        t.press(b"\x04")
        assert t.end() == 0


class TestEnds:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT])
    def test_a_signal(self, on_terminal: Start, child: Child, number: signal.Signals) -> None:
        t = on_terminal(child(WAIT))
        t.wait_for("q quit")
        os.kill(t.child.pid, number)
        assert t.end() == 128 + number
        assert t.restored()
        assert "Traceback" not in t.read()

    def test_ctrl_c(self, on_terminal: Start, child: Child) -> None:
        t = on_terminal(child("try:\n    " + WAIT + "\nfinally:\n    ui.emit(Note('cleaned up'))"))
        t.wait_for("q quit")
        t.press(b"\x03")
        assert t.end() == 130
        assert "cleaned up" in t.read()
        assert t.restored()

    def test_a_second_ctrl_c_does_not_wait(self, on_terminal: Start, child: Child) -> None:
        body = "try:\n    " + WAIT + "\nfinally:\n    ui.emit(Note('stuck'))\n    await asyncio.sleep(3600)"
        t = on_terminal(child(body))
        t.wait_for("q quit")
        t.press(b"\x03")
        t.wait_for("stuck")
        t.press(b"\x03")
        assert t.end() != 0
        assert t.restored()

    def test_a_crash(self, on_terminal: Start, child: Child) -> None:
        t = on_terminal(child("await asyncio.sleep(0.3)\nraise ValueError('on purpose')"))
        assert t.end() == 1
        assert "ValueError: on purpose" in t.read()
        assert t.restored()

    def test_a_screen_that_cannot_be_drawn(self, on_terminal: Start, child: Child) -> None:
        t = on_terminal(child("ui.emit(TurnDone(None))\n" + WAIT))
        assert t.end() == 1
        assert "AttributeError" in t.read()
        assert t.restored()

    def test_stopped_and_continued(self, on_terminal: Start, child: Child, tmp_path: Path) -> None:
        program = " ".join(child(ECHO))
        stty = tmp_path / "stty"
        t = on_terminal(["bash", "-m", "-c", f"{program}; stty -a > {stty}; echo back; fg; echo code $?"])
        t.wait_for("q quit")
        t.press(b"\x1a")
        shown = t.wait_for("back")
        assert " icanon" in stty.read_text()
        assert " echo " in stty.read_text()
        stopped = shown.partition("back")[0]
        assert stopped.rfind("\x1b[?25h") > stopped.rfind("\x1b[?25l")
        t.press(b" ")
        t.wait_for("got KeyCommand(name='mute')")
        assert not t.echoes()
        t.press(b"q")
        t.wait_for("code 0")
        assert t.end() == 0
        assert t.restored()

    def test_what_libraries_write_to_standard_error_stays_readable(self, on_terminal: Start, child: Child) -> None:
        t = on_terminal(child("os.write(2, b'ALSA lib: something\\n')\n" + ECHO))
        t.wait_for("ALSA lib: something")
        t.press(b"q")
        assert t.end() == 0


class TestWithoutTerminal:
    def test_lines_are_read_from_a_pipe(self, child: Child) -> None:
        body = "for _ in range(2):\n    ui.emit(Note(f'got {(await ui.pressed.get())}'))"
        done = subprocess.run(child(body), input="quit the job\nb\n", capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "got TypedLine(text='quit the job')\ngot TypedLine(text='b')\n" in done.stdout
        assert "\x1b" not in done.stdout

    def test_no_input_at_all(self, child: Child) -> None:
        body = "await asyncio.sleep(0.2)\nui.emit(Note('went on'))"
        done = subprocess.run(child(body), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        assert (done.returncode, "went on" in done.stdout) == (0, True), done.stderr

    def test_lines_from_a_file(self, child: Child, tmp_path: Path) -> None:
        lines = tmp_path / "lines"
        lines.write_text("one\ntwo\n")
        body = "for _ in range(2):\n    ui.emit(Note(f'got {(await ui.pressed.get())}'))"
        with lines.open() as f:
            done = subprocess.run(child(body), stdin=f, capture_output=True, text=True, timeout=60)
        assert "got TypedLine(text='two')" in done.stdout

    def test_a_closed_output_ends_the_call(self, child: Child) -> None:
        body = "while True:\n    ui.emit(Note('more'))\n    await asyncio.sleep(0.01)"
        with subprocess.Popen(
            child(body), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as p:
            assert p.stdout is not None
            assert p.stderr is not None
            assert p.stdout.readline()
            p.stdout.close()
            assert p.wait(timeout=60) == 128 + signal.SIGPIPE
            assert "Traceback" not in p.stderr.read()
