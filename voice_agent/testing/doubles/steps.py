"""What a double was told to do, and the complaint when the conversation went another way."""

from __future__ import annotations


class ScriptError(AssertionError):
    """A double was asked for what its script does not have, or steps of it were never asked for."""


class Complaints:
    """Collects what did not go by the script of one double, to be raised where a test can see it."""

    def __init__(self, who: str) -> None:
        self.who = who
        self.found: list[str] = []

    def unexpected(self, came: str, expected: str) -> str:
        """Note that ``came`` happened where the script has ``expected``; returns the sentence."""
        text = f"{self.who}: expected {expected}; what came is {came}"
        if text not in self.found:  # provisional requests ask the same thing again
            self.found.append(text)
        return text

    def left_over(self, steps: list[str]) -> None:
        """Note steps that nobody asked for."""
        if steps:
            many = f"{len(steps)} steps of the script were" if len(steps) > 1 else "a step of the script was"
            self.found.append(f"{self.who}: {many} never asked for: {'; '.join(steps)}")

    def check(self) -> None:
        """Raise ScriptError for all that was noted."""
        if self.found:
            found, self.found = self.found, []
            raise ScriptError("\n".join(found))
