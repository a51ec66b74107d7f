"""The keyboard: bytes in, commands and lines out (pure); and a terminal that always gets its manners back.

A single key is a command only while no line has been begun. ``/`` begins a line (and is not part of it), so does any
other printable character that is no command; from then on every character belongs to the line until Enter or Escape.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import termios
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

CommandName = Literal["mute", "interrupt", "repeat", "ledger", "quit"]
COMMANDS: dict[str, CommandName] = {" ": "mute", "i": "interrupt", "r": "repeat", "b": "ledger", "q": "quit"}

_PASTE_ON, _PASTE_OFF = "\x1b[200~", "\x1b[201~"
# A cursor or function key, whole; and the beginning of one, at the end of what has arrived.
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.)")
_PART = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|O)$")


@dataclass(frozen=True, slots=True)
class KeyCommand:
    """A key that does something at once."""

    name: CommandName


@dataclass(frozen=True, slots=True)
class TypedLine:
    """A line that was sent with Enter; never empty."""

    text: str


class KeyInput:
    """Turns what a terminal sends into commands and lines. :attr:`line` is what is being typed; None: nothing."""

    def __init__(self) -> None:
        self.line: str | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""
        self._pasting = False

    def feed(self, data: bytes) -> list[KeyCommand | TypedLine]:
        """Take in what was read. A lone Escape at its end is the key; the rest of a cursor key may come later."""
        text = self._pending + self._decoder.decode(data)
        self._pending = ""
        done: list[KeyCommand | TypedLine] = []
        while text:
            if self._pasting:
                text = self._paste(text)
            elif text.startswith("\x1b"):
                if (sequence := _SEQUENCE.match(text)) is not None:
                    self._pasting = sequence.group() == _PASTE_ON
                    text = text[sequence.end() :]
                elif _PART.fullmatch(text) is not None:
                    self._pending, text = text, ""
                else:
                    self.line = None
                    text = text[1:]
            else:
                done += self._key(text[0])
                text = text[1:]
        return done

    def _key(self, key: str) -> list[KeyCommand | TypedLine]:
        if self.line is None and key in COMMANDS:
            return [KeyCommand(COMMANDS[key])]
        if key in "\r\n":
            line, self.line = (self.line or "").strip(), None
            return [TypedLine(line)] if line else []
        if key in "\x7f\b":
            self.line = self.line[:-1] if self.line else None
        elif key == "\x15":  # Ctrl-U
            self.line = None
        elif key == "\x17":  # Ctrl-W
            self.line = re.sub(r"\S+\s*$", "", self.line or "") or None
        elif key == "\x04" and self.line is None:  # Ctrl-D
            return [KeyCommand("quit")]
        elif key == "/" and self.line is None:
            self.line = ""
        elif key.isprintable():
            self.line = (self.line or "") + key
        return []

    def _paste(self, text: str) -> str:
        """Pasted text goes into the line, line ends as spaces: what somebody copied must not press keys."""
        pasted, end, rest = text.partition(_PASTE_OFF)
        if end:
            self._pasting = False
        else:  # the mark of the end may be in two pieces
            cut = next((n for n in range(len(_PASTE_OFF) - 1, 0, -1) if pasted.endswith(_PASTE_OFF[:n])), 0)
            if cut:
                pasted, self._pending = pasted[:-cut], pasted[-cut:]
        self.line = (self.line or "") + "".join(c if c.isprintable() else " " for c in pasted)
        return rest


class Terminal:
    """A terminal on ``fd`` (and its screen on ``out_fd``) that gives single keys, and can be put back at any moment.

    Ctrl-C, Ctrl-Z and Ctrl-backslash stay signals. Ctrl-S does not freeze the screen. Pastes are told from keys.
    """

    def __init__(self, fd: int, out_fd: int) -> None:
        self._fd = fd
        self._out_fd = out_fd
        self._saved: list[int | list[bytes | int]] | None = None

    @staticmethod
    def usable(fd: int) -> bool:
        """Whether ``fd`` is a terminal that this process may read: one in the background would be stopped by it."""
        try:
            return os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp()
        except OSError:
            return False

    def enter(self) -> None:
        """Single keys, no echo."""
        saved = termios.tcgetattr(self._fd)
        if self._saved is None:
            self._saved = list(saved)
        changed = list(saved)
        changed[0] &= ~termios.IXON
        changed[3] &= ~(termios.ICANON | termios.ECHO)
        control = list(changed[6])
        control[termios.VMIN], control[termios.VTIME] = 1, 0
        changed[6] = control
        termios.tcsetattr(self._fd, termios.TCSADRAIN, changed)
        self._write("\x1b[?2004h")  # mark pastes

    def leave(self) -> None:
        """As it was found, with the cursor shown. May be called more than once."""
        if self._saved is None:
            return
        saved, self._saved = self._saved, None
        self._write("\x1b[?2004l\x1b[?25h")
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(self._fd, termios.TCSADRAIN, saved)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            os.write(self._out_fd, text.encode())

    @contextlib.contextmanager
    def keys(self) -> Iterator[None]:
        """Single keys inside the block, everything as before after it, whatever ends it."""
        self.enter()
        try:
            yield
        finally:
            self.leave()
