from __future__ import annotations

import pytest

from voice_agent.config import Secret, WebConfig
from voice_agent.errors import ConfigError
from voice_agent.web.guard import Guard, check_binding, connect_sources, is_loopback, security_headers

WORD = Secret("correct horse battery")


@pytest.mark.parametrize(
    ("host", "local"),
    [
        *[("127.0.0.1", True), ("127.1.2.3", True), ("localhost", True), ("::1", True), ("0.0.0.0", False)],
        *[("::", False), ("192.168.1.4", False), ("example.org", False), ("", False)],
    ],
)
def test_loopback_is_told_from_the_rest(host: str, local: bool) -> None:
    assert is_loopback(host) is local


def test_beyond_loopback_a_secret_is_wanted_or_a_proxy() -> None:
    check_binding(WebConfig())
    check_binding(WebConfig(host="0.0.0.0", secret=WORD))
    check_binding(WebConfig(host="0.0.0.0", behind_auth=True))
    with pytest.raises(ConfigError, match="VOICE_AGENT_WEB_SECRET"):
        check_binding(WebConfig(host="0.0.0.0"))
    with pytest.raises(ConfigError, match="16 characters"):
        check_binding(WebConfig(secret=Secret("short")))


@pytest.mark.parametrize(
    ("host", "answers"),
    [
        *[("localhost:8090", True), ("127.0.0.1", True), ("[::1]:8090", True), ("LOCALHOST", True)],
        *[("voice.example.org", True), ("evil.example.com:8090", False), ("", False), ("[::1", False)],
        *[("localhost.evil.example.com", False), ("localhost@evil.example.com", False)],
    ],
)
def test_it_answers_to_its_own_names_only(host: str, answers: bool) -> None:
    guard = Guard.of(WebConfig(allow_hosts="voice.example.org other.example.org"))
    assert guard.answers_to(host) is answers


def test_bound_to_every_address_it_still_answers_to_names_only() -> None:
    guard = Guard.of(WebConfig(host="0.0.0.0", secret=WORD, allow_hosts="10.0.0.7"))
    assert guard.answers_to("10.0.0.7:8090")
    assert not guard.answers_to("0.0.0.0:8090")


@pytest.mark.parametrize(
    ("origin", "host", "site", "allowed"),
    [
        ("http://localhost:8090", "localhost:8090", "same-origin", True),
        ("https://voice.example.org", "voice.example.org", "same-origin", True),
        ("http://localhost:8090", "localhost:8090", "", True),  # an older browser
        ("http://localhost:8090", "localhost:8090", "cross-site", False),
        ("http://localhost:8090", "localhost:8090", "same-site", False),
        ("http://localhost:9999", "localhost:8090", "same-site", False),
        ("http://127.0.0.1:8090", "localhost:8090", "cross-site", False),
        ("https://evil.example.com", "localhost:8090", "cross-site", False),
        ("https://friend.example.org", "localhost:8090", "cross-site", True),
        ("https://friend.example.org:443", "localhost:8090", "cross-site", True),
        ("http://friend.example.org", "localhost:8090", "cross-site", False),
        ("https://friend.example.org.evil.example.com", "localhost:8090", "cross-site", False),
        ("null", "localhost:8090", "cross-site", False),
        ("", "localhost:8090", "", False),
        ("http://localhost:99999", "localhost:8090", "", False),
    ],
)
def test_calls_come_from_the_same_origin_or_a_listed_one(origin: str, host: str, site: str, allowed: bool) -> None:
    guard = Guard.of(WebConfig(allow_origins="https://friend.example.org"))
    assert guard.origin_allowed(origin, host, site) is allowed


def test_a_listed_origin_must_be_one() -> None:
    with pytest.raises(ConfigError, match="no origin"):
        Guard.of(WebConfig(allow_origins="https://ok.example.org *"))


def test_the_secret() -> None:
    guard = Guard.of(WebConfig(secret=WORD))
    assert guard.knows_secret("Bearer correct horse battery")
    assert guard.knows_secret("bearer  correct horse battery ")
    for wrong in (
        "",
        "Bearer",
        "Bearer correct horse",
        "Basic correct horse battery",
        "correct horse battery",
        "Bearer é",
    ):
        assert not guard.knows_secret(wrong)
    assert Guard.of(WebConfig()).knows_secret("")


def test_clients_are_counted_by_address() -> None:
    guard = Guard.of(WebConfig())
    assert guard.client("10.0.0.1", "1.2.3.4") == "10.0.0.1"
    assert guard.client("2001:db8::1", "") == guard.client("2001:db8::ffff", "")
    assert guard.client(None, "") == "unknown"
    behind = Guard.of(WebConfig(behind_auth=True))
    assert behind.client("10.0.0.1", "6.6.6.6, 1.2.3.4") == "1.2.3.4"
    assert behind.client("10.0.0.1", "nonsense") == "10.0.0.1"


def test_the_page_may_connect_to_livekit_and_nowhere_else() -> None:
    assert connect_sources("ws://127.0.0.1:7880") == ["ws://127.0.0.1:7880", "http://127.0.0.1:7880"]
    assert connect_sources("wss://lk.example.org/base") == ["wss://lk.example.org", "https://lk.example.org"]
    assert "wss://*.livekit.cloud" in connect_sources("wss://me.livekit.cloud")
    policy = security_headers(["ws://127.0.0.1:7880"])["Content-Security-Policy"]
    assert "connect-src 'self' ws://127.0.0.1:7880;" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
