"""Deviations from a double's script: what was not expected, and what was left over."""

from __future__ import annotations


class ScriptError(AssertionError):
    """A double was asked for something its script lacks, or steps of the script were never asked for."""


class Deviations:
    """Collects the deviations of one double, to be raised where a test sees them."""

    def __init__(self, who: str) -> None:
        self.who = who
        self.found: list[str] = []

    def unexpected(self, came: str, expected: str) -> str:
        """Note that ``came`` happened where the script has ``expected``. Returns the sentence."""
        text = f"{self.who}: expected {expected}; what came is {came}"
        if text not in self.found:  # provisional requests ask the same thing again
            self.found.append(text)
        return text

    def left_over(self, steps: list[str]) -> None:
        """Note steps that were never asked for."""
        if steps:
            many = f"{len(steps)} steps of the script were" if len(steps) > 1 else "a step of the script was"
            self.found.append(f"{self.who}: {many} never asked for: {'; '.join(steps)}")

    def check(self) -> None:
        """Raise ScriptError for all that was noted."""
        if self.found:
            found, self.found = self.found, []
            raise ScriptError("\n".join(found))
