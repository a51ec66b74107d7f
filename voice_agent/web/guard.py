"""Who may use the page's server: host names, origins, the secret, the security headers. Pure.

The rules, and the attack that each one prevents:

- the ``Host`` of a request must be a name of this server (DNS rebinding: a foreign name that points here);
- only a page of the same origin, or of a listed one, may request a token (another site that uses a visitor's browser);
- a server that is not on loopback requires a secret, unless the operator's own proxy authenticates (strangers).
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..config import Secret, WebConfig
from ..errors import ConfigError

SHORTEST_SECRET = 16
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def is_loopback(host: str) -> bool:
    """Whether binding to ``host`` keeps the server on this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_binding(settings: WebConfig) -> None:
    """Raise ConfigError for settings that would let strangers call."""
    if settings.secret is not None and len(settings.secret.reveal()) < SHORTEST_SECRET:
        raise ConfigError(f"web.secret is too short: take {SHORTEST_SECRET} characters or more, such as a random word")
    if is_loopback(settings.host) or settings.secret is not None or settings.behind_auth:
        return
    raise ConfigError(
        f"web.host = {settings.host!r} would let anyone on the network call. Set a secret that callers must know"
        " (VOICE_AGENT_WEB_SECRET), or say --behind-auth if a proxy of your own asks who they are"
    )


def host_name(host: str) -> str:
    """The name in a ``Host`` header, in lower case, without port and brackets; empty if it is invalid."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _origin(text: str) -> str:
    """The normalized origin (lower case, no default port); empty if ``text`` is not one."""
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    usual = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{name}" + ("" if port in (None, usual) else f":{port}")


@dataclass(frozen=True, slots=True)
class Guard:
    """The rules of one server. ``hosts``: its own names; ``origins``: other sites whose pages may call."""

    hosts: frozenset[str]
    origins: frozenset[str]
    secret: Secret | None
    behind_auth: bool

    @classmethod
    def of(cls, settings: WebConfig) -> Guard:
        """The rules that ``settings`` make. Raises ConfigError for an invalid origin."""
        origins = {entry: _origin(entry) for entry in settings.allow_origins.split()}
        for entry, known in origins.items():
            if not known:
                raise ConfigError(f"web.allow_origins: {entry!r} is no origin; write such as https://example.org")
        bound = set() if settings.host in ("0.0.0.0", "::", "") else {settings.host}
        named = {name.lower() for name in settings.allow_hosts.split()}
        return cls(
            hosts=frozenset(_LOCAL_NAMES | bound | named),
            origins=frozenset(origins.values()),
            secret=settings.secret,
            behind_auth=settings.behind_auth,
        )

    def answers_to(self, host: str) -> bool:
        """Whether a request with this ``Host`` header was meant for this server."""
        return host_name(host) in self.hosts

    def origin_allowed(self, origin: str, host: str, fetch_site: str) -> bool:
        """Whether a page of ``origin`` may request a token. Browsers send it with every POST: it must be there."""
        known = _origin(origin)
        if not known:
            return False
        if known in self.origins:
            return True
        # Behind a proxy the server does not know whether the page came by http or https: compare name and port.
        same = known in (_origin(f"http://{host}"), _origin(f"https://{host}"))
        return same and fetch_site in ("", "same-origin")

    def knows_secret(self, authorization: str) -> bool:
        """Whether the ``Authorization`` header holds the secret; True if none is required."""
        if self.secret is None:
            return True
        scheme, _, given = authorization.partition(" ")
        right = hmac.compare_digest(given.strip().encode(), self.secret.reveal().encode())
        return right and scheme.lower() == "bearer"

    def client(self, peer: str | None, forwarded_for: str) -> str:
        """The client that a request counts for. ``X-Forwarded-For`` is trusted only behind the operator's own proxy."""
        last = forwarded_for.rpartition(",")[2].strip()
        for text in (last, peer) if self.behind_auth else (peer,):
            try:
                address = ipaddress.ip_address(text or "")
            except ValueError:
                continue
            if address.version == 6:  # who has one IPv6 address has its whole /64 network
                return str(ipaddress.ip_network((address, 64), strict=False))
            return str(address)
        return "unknown"


def connect_sources(livekit_url: str) -> list[str]:
    """What the page may connect to besides its own server: LiveKit by WebSocket and by http (for error reasons)."""
    parts = urlsplit(livekit_url)
    secure = parts.scheme in ("wss", "https")
    schemes = ("wss", "https") if secure else ("ws", "http")
    # LiveKit Cloud redirects to the nearest region, another name under the same domain.
    names = [parts.netloc, *(["*.livekit.cloud"] if parts.netloc.endswith(".livekit.cloud") else [])]
    return [f"{scheme}://{name}" for name in names for scheme in schemes]


def security_headers(connect: Iterable[str]) -> dict[str, str]:
    """Headers for every response. Scripts and styles come from this server only; none are inline."""
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self'",
        "media-src": "'self' blob:",
        "connect-src": " ".join(["'self'", *connect]),
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {sources}" for name, sources in policy.items()),
        "Permissions-Policy": "microphone=(self), camera=(), geolocation=(), display-capture=()",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
