from __future__ import annotations

import platform
import sys
import threading

import pytest

from voice_agent.runtime.flush_to_zero import enable_flush_to_zero, start_with_flush_to_zero

needs_x86 = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="elsewhere nothing is changed"
)
SUBNORMAL = float("1e-310")


def half() -> float:
    return SUBNORMAL * float("0.5")


@needs_x86
def test_threads_that_are_started_have_it_and_the_calling_one_has_not() -> None:
    found: list[float] = []

    def start() -> None:
        child = threading.Thread(target=lambda: found.append(half()))
        child.start()
        child.join()

    start_with_flush_to_zero(start)
    assert found == [0.0]
    assert half() == float("5e-311")


@needs_x86
def test_rounding_and_exceptions_stay_as_they_are() -> None:
    """A thread's arithmetic is otherwise what it was: to the nearest, and a division by zero is Python's to report."""
    found: list[object] = []

    def start() -> None:
        found.append(enable_flush_to_zero())
        found.append(0.1 + 0.2)
        found.append(float("1e200") * float("1e200"))
        try:
            _ = 1.0 / float("0")
        except ZeroDivisionError:
            found.append("raised")

    start_with_flush_to_zero(start)
    assert found == [True, 0.1 + 0.2, float("inf"), "raised"]


def test_what_start_raises_is_raised_to_the_caller() -> None:
    def start() -> None:
        raise ImportError("no library")

    with pytest.raises(ImportError, match="no library"):
        start_with_flush_to_zero(start)


@pytest.mark.parametrize(("system", "machine"), [("darwin", "x86_64"), ("linux", "aarch64")])
def test_another_processor_or_system_is_left_alone(monkeypatch: pytest.MonkeyPatch, system: str, machine: str) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    found: list[object] = []
    start_with_flush_to_zero(lambda: found.extend([enable_flush_to_zero(), half()]))
    assert found == [False, float("5e-311")]
