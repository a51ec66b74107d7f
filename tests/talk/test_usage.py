"""Provider usage as events: emitted when it changes, one warning for each limit, shown at 80 columns."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from rich.console import Console

from voice_agent.budget.turn_verdict import Budget
from voice_agent.clock import ManualClock
from voice_agent.config import MeterConfig
from voice_agent.meter import Level, Reading, Snapshot, Totals, opened, snapshot
from voice_agent.talk.events import Note, ProviderUsage
from voice_agent.talk.screen_state import Follower
from voice_agent.talk.usage import UsageWatch, in_words
from voice_agent.talk.view import View


def reading(used: int, state: str = "ok", requests: int = 12) -> Snapshot:
    level = Level("tokens_day", used, 1_000_000, "configured")
    one = Reading("cerebras", Totals(), Totals(requests, used, 0), (level,), None, state)  # type: ignore[arg-type]
    return Snapshot(0.0, MappingProxyType({"cerebras": one}))


def test_told_when_it_changes_and_warned_of_once() -> None:
    now: list[Snapshot | None] = [None]
    watch = UsageWatch(lambda: now[0])
    assert watch.events() == []
    now[0] = reading(3400)
    assert watch.events() == [ProviderUsage("cerebras", 12, 3400, "tokens_day", 0.0034, "ok")]
    assert watch.events() == []
    now[0] = reading(820_000, "warn")
    usage, note = watch.events()
    assert isinstance(usage, ProviderUsage)
    assert usage.state == "warn"
    assert note == Note("cerebras: 82% of the tokens a day are used (820,000 of 1,000,000)")
    now[0] = reading(830_000, "warn")
    assert [type(event) for event in watch.events()] == [ProviderUsage]
    now[0] = reading(1_000_000, "full")
    assert [type(event) for event in watch.events()] == [ProviderUsage, Note]


def test_a_provider_that_was_not_asked_is_not_told_of() -> None:
    assert UsageWatch(lambda: reading(0, requests=0)).events() == []


def test_the_real_meter_warns_at_80_percent(tmp_path: Path) -> None:
    config = MeterConfig(limits="cerebras.requests_day=10")
    watch = UsageWatch(snapshot)
    with opened(config, tmp_path / "meter.sqlite", clock=ManualClock(1_000_000.0)) as meter:
        assert meter is not None
        meter.used("cerebras", "m", requests=7, prompt_tokens=70)
        assert meter.flush()
        assert [event.state for event in watch.events() if isinstance(event, ProviderUsage)] == ["ok"]
        meter.used("cerebras", "m", requests=1)
        assert meter.flush()
        usage, note = watch.events()
    assert usage == ProviderUsage("cerebras", 8, 70, "requests_day", 0.8, "warn")
    assert note == Note("cerebras: 80% of the requests a day are used (8 of 10)")


def test_on_the_screen() -> None:
    follower = Follower(Budget())
    follower.take(ProviderUsage("cerebras", 1, 10))
    follower.take(ProviderUsage("groq", 2, 20))
    follower.take(ProviderUsage("cerebras", 12, 3400, "tokens_day", 0.82, "warn"))
    console = Console(width=80, force_terminal=True, color_system="256", no_color=True)
    with console.capture() as captured:
        console.print(View(follower.state))
    text = captured.get()
    assert "groq today: 2 requests, 20 tokens" in text
    assert "cerebras today: 12 requests, 3,400 tokens; 82% of tokens a day, nearly used up" in text
    assert "cerebras today: 1 requests" not in text


def test_in_words() -> None:
    assert in_words(ProviderUsage("groq", 2, 1234)) == "groq today: 2 requests, 1,234 tokens"
    assert in_words(ProviderUsage("groq", 2, 1, "requests_minute", 1.0, "full")).endswith(
        "100% of requests a minute, used up"
    )
