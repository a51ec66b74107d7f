from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import jwt
import pytest
from aiohttp.test_utils import TestClient, TestServer

from voice_agent.clock import ManualClock
from voice_agent.config import Secret, WebConfig
from voice_agent.room.access import LiveKitAccess
from voice_agent.web.server import Page
from voice_agent.web.tokens import TokenIssuer

ACCESS = LiveKitAccess("ws://127.0.0.1:7880", "key", Secret("a secret that is thirty-two bytes"))
Client = TestClient[Any, Any]


@asynccontextmanager
async def client(clock: ManualClock | None = None, **settings: Any) -> AsyncIterator[Client]:
    config = WebConfig(**settings)
    issuer = TokenIssuer(ACCESS, agent_name="agent-1", ttl_s=config.token_ttl_s)
    page = Page(config, issuer, ACCESS.url, clock or ManualClock())
    async with TestClient(TestServer(page.application())) as made:
        yield made


def headers(c: Client, **more: str) -> dict[str, str]:
    origin = f"http://{c.host}:{c.port}"
    return {"Origin": origin, "Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"} | {
        name.replace("_", "-"): value for name, value in more.items()
    }


async def test_the_page_gets_a_token() -> None:
    async with client() as c:
        answer = await c.post("/api/token", data="{}", headers=headers(c))
        assert answer.status == 200
        found = await answer.json()
        assert set(found) == {"url", "token", "room", "identity", "agent_timeout_s"}
        assert found["url"] == ACCESS.url
        token = jwt.decode(found["token"], ACCESS.api_secret.reveal(), algorithms=["HS256"])
        assert (token["video"]["room"], token["sub"]) == (found["room"], found["identity"])
        assert answer.headers["Cache-Control"] == "no-store"
        assert ACCESS.api_secret.reveal() not in await answer.text()


async def test_nothing_a_stranger_sends_ends_up_in_the_token() -> None:
    async with client() as c:
        wish = {"room": "other", "identity": "boss", "metadata": "x-wish", "agent_name": "x-wish", "roomAdmin": True}
        answer = await c.post("/api/token?room=other&metadata=x-wish", json=wish, headers=headers(c))
        text = str(jwt.decode((await answer.json())["token"], options={"verify_signature": False}))
        for word in ("other", "boss", "x-wish", "roomAdmin"):
            assert word not in text


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_token_is_had_by_post_only(method: str) -> None:
    async with client() as c:
        assert (await c.request(method, "/api/token", headers=headers(c))).status == 405


async def test_other_sites_get_none_unless_they_are_listed() -> None:
    async with client(allow_origins="https://friend.example.org") as c:
        for origin, site in (("https://evil.example.com", "cross-site"), ("null", "cross-site")):
            answer = await c.post("/api/token", data="{}", headers=headers(c, Origin=origin, Sec_Fetch_Site=site))
            assert answer.status == 403
            assert "Access-Control-Allow-Origin" not in answer.headers
        absent = {"Content-Type": "application/json"}
        assert (await c.post("/api/token", data="{}", headers=absent)).status == 403
        friend = headers(c, Origin="https://friend.example.org", Sec_Fetch_Site="cross-site")
        asked = await c.options("/api/token", headers=friend)
        assert (asked.status, asked.headers["Access-Control-Allow-Origin"]) == (
            204,
            "https://friend.example.org",
        )
        given = await c.post("/api/token", data="{}", headers=friend)
        assert (given.status, given.headers["Access-Control-Allow-Origin"]) == (
            200,
            "https://friend.example.org",
        )
        stranger = headers(c, Origin="https://evil.example.com", Sec_Fetch_Site="cross-site")
        assert (await c.options("/api/token", headers=stranger)).status == 403


async def test_a_form_cannot_ask() -> None:
    async with client() as c:
        answer = await c.post("/api/token", data="a=b", headers=headers(c, Content_Type="text/plain"))
        assert answer.status == 415


async def test_a_name_that_was_rebound_gets_nothing() -> None:
    async with client() as c:
        for path in ("/", "/static/app.js"):
            answer = await c.get(path, headers={"Host": f"evil.example.com:{c.port}"})
            assert answer.status == 421
        evil = headers(c, Host="evil.example.com", Origin="http://evil.example.com")
        assert (await c.post("/api/token", data="{}", headers=evil)).status == 421


async def test_a_client_that_asks_too_often_is_told_when_to_come_back() -> None:
    clock = ManualClock()
    async with client(clock, calls_per_minute=2) as c:

        def ask() -> Awaitable[Any]:
            return c.post("/api/token", data="{}", headers=headers(c))

        assert [(await ask()).status for _ in range(3)] == [200, 200, 429]
        assert (await ask()).headers["Retry-After"] == "30"
        clock.advance(31)
        assert [(await ask()).status for _ in range(2)] == [200, 429]


async def test_a_secret_is_asked_for_and_guessing_is_slow() -> None:
    clock = ManualClock()
    async with client(clock, secret=Secret("correct horse battery")) as c:
        answer = await c.post("/api/token", data="{}", headers=headers(c))
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        right = headers(c, Authorization="Bearer correct horse battery")
        assert (await c.post("/api/token", data="{}", headers=right)).status == 200
        wrong = headers(c, Authorization="Bearer wrong")
        statuses = [(await c.post("/api/token", data="{}", headers=wrong)).status for _ in range(6)]
        assert statuses == [401] * 5 + [429]
        assert (await c.post("/api/token", data="{}", headers=right)).status == 429
        clock.advance(13)
        assert (await c.post("/api/token", data="{}", headers=right)).status == 200


async def test_every_answer_carries_the_security_headers() -> None:
    async with client() as c:
        for path, status in (("/", 200), ("/static/app.js", 200), ("/nothing", 404), ("/api/token", 405)):
            answer = await c.get(path)
            assert answer.status == status
            policy = answer.headers["Content-Security-Policy"]
            assert "connect-src 'self' ws://127.0.0.1:7880 http://127.0.0.1:7880;" in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert "microphone=(self)" in answer.headers["Permissions-Policy"]


@pytest.mark.parametrize(
    "path", ["/static/../tokens.py", "/static/%2e%2e/tokens.py", "/static/", "/static/..%2ftokens.py"]
)
async def test_only_the_pages_files_are_served(path: str) -> None:
    async with client() as c:
        assert (await c.get(path)).status in (403, 404)
