"""The keyboard: bytes from a terminal in, commands and typed lines out. Pure.

A single key is a command only while no line is being typed. ``/`` begins a line (and is not part of it); so does any
printable character that is not a command. From then on every character belongs to the line, until Enter or Escape.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Literal

CommandName = Literal["mute", "interrupt", "repeat", "ledger", "quit"]
COMMANDS: dict[str, CommandName] = {" ": "mute", "i": "interrupt", "r": "repeat", "b": "ledger", "q": "quit"}

_PASTE_ON, _PASTE_OFF = "\x1b[200~", "\x1b[201~"
# An escape sequence (a cursor or function key), and the beginning of one at the end of the data.
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.)")
_PART = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|O)$")


@dataclass(frozen=True, slots=True)
class KeyCommand:
    """A key that acts at once."""

    name: CommandName


@dataclass(frozen=True, slots=True)
class TypedLine:
    """A line that the user sent with Enter; never empty."""

    text: str


class KeyInput:
    """Parses what a terminal sends. :attr:`line` is the line being typed; None: no line."""

    def __init__(self) -> None:
        self.line: str | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""
        self._pasting = False

    def feed(self, data: bytes) -> list[KeyCommand | TypedLine]:
        """Parse ``data``. An Escape at its end is the key; an incomplete sequence waits for the next call."""
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
        """Put pasted text into the line, line ends as spaces: a paste must not act as keys."""
        pasted, end, rest = text.partition(_PASTE_OFF)
        if end:
            self._pasting = False
        else:  # the end marker may come in two pieces
            cut = next((n for n in range(len(_PASTE_OFF) - 1, 0, -1) if pasted.endswith(_PASTE_OFF[:n])), 0)
            if cut:
                pasted, self._pending = pasted[:-cut], pasted[-cut:]
        self.line = (self.line or "") + "".join(c if c.isprintable() else " " for c in pasted)
        return rest
