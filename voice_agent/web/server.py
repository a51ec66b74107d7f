"""The web application: the page, its files, and ``/api/token``, under the rules of :mod:`~.guard`."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from importlib import resources
from pathlib import Path

from aiohttp import web

from ..clock import SYSTEM, Clock
from ..config import WebConfig
from .guard import Guard, connect_sources, security_headers
from .tokens import RateLimit, TokenIssuer

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

STATIC = Path(str(resources.files(__package__) / "static"))
BODY_LIMIT = 1024  # bytes; a request for a token has no content


class Page:
    """The application's state and handlers. ``livekit_url``: LiveKit's address for browsers."""

    def __init__(self, settings: WebConfig, issuer: TokenIssuer, livekit_url: str, clock: Clock = SYSTEM) -> None:
        self._settings = settings
        self._issuer = issuer
        self._url = livekit_url
        self._guard = Guard.of(settings)
        self._headers = security_headers(connect_sources(livekit_url))
        self._limit = RateLimit(
            client_per_minute=settings.calls_per_minute, total_per_minute=settings.total_calls_per_minute, clock=clock
        )
        # Wrong secrets count separately; otherwise a stranger who guesses could block all callers.
        self._wrong_secrets = RateLimit(client_per_minute=5, total_per_minute=1_000_000, clock=clock)

    def application(self) -> web.Application:
        """An aiohttp application, ready to serve."""
        app = web.Application(client_max_size=BODY_LIMIT, middlewares=[self._check_host])
        app.on_response_prepare.append(self._add_headers)
        app.router.add_get("/", self._index)
        app.router.add_post("/api/token", self._token)
        app.router.add_options("/api/token", self._preflight)
        app.router.add_static("/static", STATIC)
        return app

    @web.middleware
    async def _check_host(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self._guard.answers_to(request.host):
            raise web.HTTPMisdirectedRequest(
                text="This server does not answer to that name. Its operator can add it: --set web.allow_hosts=NAME\n"
            )
        return await handler(request)

    async def _add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(self._headers)
        response.headers.setdefault("Cache-Control", "no-cache")
        origin = request.headers.get("Origin", "")
        if request.path == "/api/token" and self._allowed(request):
            response.headers.update({"Access-Control-Allow-Origin": origin, "Vary": "Origin"})

    def _allowed(self, request: web.Request) -> bool:
        headers = request.headers
        return self._guard.origin_allowed(headers.get("Origin", ""), request.host, headers.get("Sec-Fetch-Site", ""))

    async def _index(self, request: web.Request) -> web.StreamResponse:
        return web.FileResponse(STATIC / "index.html")

    async def _preflight(self, request: web.Request) -> web.Response:
        if not self._allowed(request):
            raise web.HTTPForbidden(text="This page may not call.\n")
        return web.Response(
            status=204,
            headers={
                "Access-Control-Allow-Methods": "POST",
                "Access-Control-Allow-Headers": "Authorization, Content-Type",
                "Access-Control-Max-Age": "600",
            },
        )

    async def _token(self, request: web.Request) -> web.Response:
        if not self._allowed(request):
            raise web.HTTPForbidden(
                text="Calls come from this server's own page, or one listed in web.allow_origins.\n"
            )
        if request.content_type != "application/json":  # a form of another site could send any other type
            raise web.HTTPUnsupportedMediaType(text="Send application/json.\n")
        client = self._guard.client(request.remote, request.headers.get("X-Forwarded-For", ""))
        _refuse_for(self._wrong_secrets.wait(client))
        authorization = request.headers.get("Authorization", "")
        if not self._guard.knows_secret(authorization):
            if authorization:
                self._wrong_secrets.take(client)
            raise web.HTTPUnauthorized(text="The secret is missing or wrong.\n", headers={"WWW-Authenticate": "Bearer"})
        _refuse_for(self._limit.take(client))
        issued = self._issuer.issue()
        return web.json_response(
            {
                "url": self._url,
                "token": issued.token,
                "room": issued.room,
                "identity": issued.identity,
                "agent_timeout_s": self._settings.agent_timeout_s,
            },
            headers={"Cache-Control": "no-store"},
        )


def _refuse_for(wait_s: float) -> None:
    if wait_s > 0:
        seconds = str(math.ceil(wait_s))
        raise web.HTTPTooManyRequests(text=f"Try again in {seconds} s.\n", headers={"Retry-After": seconds})
