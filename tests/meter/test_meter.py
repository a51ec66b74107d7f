from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from voice_agent import meter
from voice_agent.config import MeterConfig
from voice_agent.errors import ConfigError, RateLimitedError
from voice_agent.meter import UsageMeter, from_headers, parse_limits, parse_prices
from voice_agent.meter.quota import duration_s
from voice_agent.meter.store import Store, UsageEvent

NOW = 1_790_000_000.0


class Wall:
    """A clock whose calendar a test sets."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return self.at


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def made(tmp_path: Path, wall: Wall) -> Iterator[list[UsageMeter]]:
    meters: list[UsageMeter] = []
    yield meters
    for one in meters:
        one.close()


def make(
    made: list[UsageMeter], tmp_path: Path, wall: Wall, said: list[str] | None = None, **config: object
) -> UsageMeter:
    warn = (said if said is not None else []).append
    settings = MeterConfig(**config)  # type: ignore[arg-type]  # the test's own
    made.append(UsageMeter(settings, tmp_path / "m.sqlite", clock=wall, on_warning=warn))
    return made[-1]


def test_counts_by_minute_and_day(made: list[UsageMeter], tmp_path: Path, wall: Wall) -> None:
    one = make(made, tmp_path, wall)
    one.used("groq", "m", requests=1, prompt_tokens=100, completion_tokens=20)
    wall.at += 300
    one.used("groq", "m", requests=1)
    one.used("groq", "m", prompt_tokens=50, estimated_tokens=7)
    assert one.flush()
    reading = one.snapshot().providers["groq"]
    assert (reading.minute.requests, reading.minute.tokens) == (1, 57)
    assert (reading.day.requests, reading.day.prompt_tokens, reading.day.completion_tokens) == (2, 150, 27)
    assert one.snapshot().line() == "groq 2 requests, 177 tokens today"
    wall.at += 86_400
    assert one.flush()
    assert not one.snapshot().providers


def test_another_process_counts_into_the_same_file(made: list[UsageMeter], tmp_path: Path, wall: Wall) -> None:
    one = make(made, tmp_path, wall, limits="cerebras.requests_day=1k")
    one.used("cerebras", "m", requests=1)
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=_child, args=(tmp_path / "m.sqlite", 50)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
        assert child.exitcode == 0
    assert one.flush()
    level = one.snapshot().providers["cerebras"].highest
    assert level is not None
    assert (level.used, level.limit, level.source) == (101, 1000, "configured")


def _child(path: Path, times: int) -> None:
    store = Store(path)
    for _ in range(times):
        store.write([UsageEvent("cerebras", "m", NOW, requests=1)])
    store.close()


def test_what_was_counted_outlives_a_killed_process(made: list[UsageMeter], tmp_path: Path, wall: Wall) -> None:
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=_killed, args=(tmp_path / "m.sqlite",))
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL
    one = make(made, tmp_path, wall)
    assert one.flush()
    assert one.snapshot().providers["cerebras"].day.requests == 3


def _killed(path: Path) -> None:
    store = Store(path)
    store.write([UsageEvent("cerebras", "m", NOW, requests=3)])
    store.write(_killed_in_the_transaction())


def _killed_in_the_transaction() -> Iterator[UsageEvent]:
    yield UsageEvent("cerebras", "m", NOW, requests=100)
    os.kill(os.getpid(), signal.SIGKILL)


def test_warns_once_and_then_refuses(made: list[UsageMeter], tmp_path: Path, wall: Wall) -> None:
    said: list[str] = []
    one = make(made, tmp_path, wall, said, limits="groq.tokens_day=1000", at_limit="refuse")
    one.used("groq", "m", requests=1, prompt_tokens=790)
    one.flush()
    one.admit("groq")
    assert not said
    for more in (20, 20):
        one.used("groq", "m", prompt_tokens=more)
        one.flush()
    assert said == ["groq: 81% of tokens a day used (810 of 1,000)"]
    assert one.snapshot().warnings() == ["groq: 83% of tokens a day used (830 of 1,000)"]
    one.used("groq", "m", completion_tokens=200)
    one.flush()
    assert len(said) == 2
    with pytest.raises(RateLimitedError, match=r"1,030 of 1,000 tokens a day are used.*--provider") as caught:
        one.admit("groq")
    assert caught.value.retry_after_s == pytest.approx(86_400 - NOW % 86_400)
    assert not one.exhausted("groq")
    one.admit("cerebras")


def test_routes_away_or_asks_all_the_same(made: list[UsageMeter], tmp_path: Path, wall: Wall) -> None:
    route = make(made, tmp_path, wall, limits="groq.requests_minute=1", at_limit="route")
    route.used("groq", "m", requests=1)
    route.flush()
    assert route.exhausted("groq")
    assert not route.exhausted("cerebras")
    same = make(made, tmp_path, wall, limits="groq.requests_minute=1")
    same.flush()
    assert same.snapshot().providers["groq"].state == "full"
    same.admit("groq")


def test_rate_headers_count_until_they_reset(made: list[UsageMeter], tmp_path: Path, wall: Wall) -> None:
    one = make(made, tmp_path, wall, at_limit="refuse")
    headers = {
        "x-ratelimit-limit-requests": "1000",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "2m",
    }
    one.read_headers("groq", headers, "groq")
    one.flush()
    (level,) = one.snapshot().providers["groq"].levels
    assert (level.name, level.used, level.limit, level.source) == ("requests_day", 1000, 1000, "provider")
    with pytest.raises(RateLimitedError):
        one.admit("groq")
    wall.at += 121
    one.admit("groq")  # no new reading is needed for that
    one.flush()
    assert not one.snapshot().providers["groq"].levels


def test_a_file_that_cannot_be_used_does_not_end_a_call(made: list[UsageMeter], tmp_path: Path, wall: Wall) -> None:
    (tmp_path / "m.sqlite").write_bytes(b"this is no database, " * 100)
    said: list[str] = []
    one = make(made, tmp_path, wall, said)
    one.used("groq", "m", requests=1, prompt_tokens=5)
    assert one.flush()
    assert one.snapshot().providers["groq"].day.requests == 1
    assert len(said) == 1
    assert "counting in memory only" in said[0]


def test_money(made: list[UsageMeter], tmp_path: Path, wall: Wall) -> None:
    one = make(made, tmp_path, wall, prices="cerebras=0.35/0.75")
    one.used("cerebras", "m", requests=1, prompt_tokens=1_000_000, completion_tokens=200_000)
    wall.at += 1800
    one.flush()
    assert one.snapshot().providers["cerebras"].cost_today == pytest.approx(0.5)
    assert one.snapshot().cost_per_hour == pytest.approx(1.0)


def test_old_minutes_are_forgotten(tmp_path: Path) -> None:
    store = Store(tmp_path / "m.sqlite")
    store.write([UsageEvent("a", "m", NOW - 50 * 86_400, requests=1), UsageEvent("a", "m", NOW, requests=1)])
    store.forget_before(NOW)
    assert store.totals(0, NOW)["a"].requests == 1
    store.close()
    with sqlite3.connect(tmp_path / "m.sqlite") as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    db.close()


@pytest.mark.parametrize(
    ("scheme", "headers", "wanted"),
    [
        ("openai", {"limit-requests": "60", "remaining-requests": "59"}, [("requests_minute", 60, 59, None)]),
        (
            "cerebras",
            {
                "limit-requests-day": "14400",
                "remaining-requests-day": "14399",
                "reset-requests-day": "33011.38",
                "limit-tokens-minute": "30000",
                "remaining-tokens-minute": "29780",
                "reset-tokens-minute": "11.4",
            },
            [("requests_day", 14400, 14399, 33011.38), ("tokens_minute", 30000, 29780, 11.4)],
        ),
        (
            "groq",
            {
                "limit-requests": "14400",
                "remaining-requests": "14370",
                "reset-requests": "2m59.56s",
                "limit-tokens": "18000",
                "remaining-tokens": "17997",
                "reset-tokens": "7.66s",
            },
            [("requests_day", 14400, 14370, 179.56), ("tokens_minute", 18000, 17997, 7.66)],
        ),
        ("openai", {"limit-tokens": "5", "remaining-tokens": "9"}, [("tokens_minute", 5, 5, None)]),
        ("unknown", {"limit-tokens-prompt": "60000", "limit-tokens-generated": "600"}, []),  # Fireworks: a second's
        ("unknown", {"limit-requests": "60", "remaining-requests": "59"}, []),
        ("openai", {"limit-requests": "many", "remaining-requests": "59", "limit-tokens": "0"}, []),
    ],
)
def test_rate_headers(scheme: str, headers: dict[str, str], wanted: list[tuple[object, ...]]) -> None:
    found = from_headers({f"x-ratelimit-{name}": value for name, value in headers.items()}, scheme)
    assert [(q.name, q.limit, q.remaining, q.resets_s) for q in found] == wanted


@pytest.mark.parametrize(
    ("text", "seconds"), [("6m0s", 360.0), ("20ms", 0.02), ("1h2m", 3720.0), ("1790000000", None), ("soon", None)]
)
def test_durations(text: str, seconds: float | None) -> None:
    assert duration_s(text) == seconds


def test_settings() -> None:
    assert parse_limits("cerebras.tokens_day=24M, llama.cpp.requests_minute=30") == {
        "cerebras": {"tokens_day": 24_000_000},
        "llama.cpp": {"requests_minute": 30},
    }
    for wrong in ("tokens_day=5", "groq.tokens=5", "groq.tokens_day=lots", "groq"):
        with pytest.raises(ConfigError, match=r"meter\.limits"):
            parse_limits(wrong)
    for wrong in ("groq", "groq=1", "groq=a/b"):
        with pytest.raises(ConfigError, match=r"meter\.prices"):
            parse_prices(wrong)


def test_the_meter_of_this_process(tmp_path: Path) -> None:
    assert meter.snapshot() is None
    with meter.opened(MeterConfig(), tmp_path / "m.sqlite") as one:
        assert meter.current() is one
        assert meter.snapshot() is not None
    assert meter.current() is None
    with meter.opened(MeterConfig(enabled=False)) as none:
        assert none is None
