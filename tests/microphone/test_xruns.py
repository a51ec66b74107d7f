"""When a device has too many xruns."""

from __future__ import annotations

from voice_agent.microphone.xruns import XrunMonitor


def test_a_few_xruns_are_not_too_many() -> None:
    monitor = XrunMonitor()
    monitor.reset(100.0, 0)
    for count, at in enumerate((102.0, 108.0, 114.0, 120.0), start=1):
        monitor.update(at, count)
    assert monitor.too_many_since is None


def test_three_in_ten_seconds_are_too_many() -> None:
    monitor = XrunMonitor()
    monitor.reset(100.0, 5)
    for count, at in ((6, 102.0), (7, 105.0), (8, 111.0)):
        monitor.update(at, count)
    assert monitor.too_many_since == 111.0
    monitor.reset(112.0, 8)
    assert monitor.too_many_since is None


def test_five_in_two_minutes_are_too_many() -> None:
    monitor = XrunMonitor()
    monitor.reset(100.0, 0)
    for count, at in enumerate((102.0, 130.0, 160.0, 190.0), start=1):
        monitor.update(at, count)
    assert monitor.too_many_since is None
    monitor.update(222.5, 5)
    assert monitor.too_many_since is None
    monitor.update(249.0, 6)
    assert monitor.too_many_since == 249.0


def test_xruns_while_the_device_opens_do_not_count() -> None:
    monitor = XrunMonitor()
    monitor.reset(100.0, 0)
    monitor.update(100.5, 20)
    monitor.update(101.5, 21)
    assert monitor.too_many_since is None


def test_one_underrun_reported_for_several_blocks_counts_once() -> None:
    monitor = XrunMonitor()
    monitor.reset(100.0, 0)
    monitor.update(102.0, 5)
    monitor.update(102.25, 5)
    assert monitor.too_many_since is None
    monitor.update(104.0, 10)
    monitor.update(106.0, 15)
    assert monitor.too_many_since == 106.0
