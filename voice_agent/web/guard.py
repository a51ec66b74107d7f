"""Who may talk to the page's server: names it answers to, pages that may call it, the secret, the headers. Pure.

The rules, and against what each stands:

- the ``Host`` of a request is one the server was started for (DNS rebinding: a stranger's name that leads here);
- a ticket is asked for by a page of the same origin, or of one that is listed (another site using a visitor's browser);
- bound to anything but loopback, a secret is asked for, or the operator says that their own proxy does that.
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
    """Raise ConfigError for settings that would open the server to strangers."""
    if settings.secret is not None and len(settings.secret.reveal()) < SHORTEST_SECRET:
        raise ConfigError(f"web.secret is too short: take {SHORTEST_SECRET} characters or more, such as a random word")
    if is_loopback(settings.host) or settings.secret is not None or settings.behind_auth:
        return
    raise ConfigError(
        f"web.host = {settings.host!r} would let anyone on the network call. Set a secret that callers must know"
        " (VOICE_AGENT_WEB_SECRET), or say --behind-auth if a proxy of your own asks who they are"
    )


def host_name(host: str) -> str:
    """The name in a ``Host`` header, in lower case, without port and brackets; empty if it makes no sense."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _origin(text: str) -> str:
    """An origin in its one spelling (no default port, lower case); empty if it is none."""
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
    """The rules for one server. ``hosts``: names it answers to; ``origins``: other sites whose pages may call."""

    hosts: frozenset[str]
    origins: frozenset[str]
    secret: Secret | None
    behind_auth: bool

    @classmethod
    def of(cls, settings: WebConfig) -> Guard:
        """The rules of these settings. Raises ConfigError for an origin that is none."""
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
        """Whether a page of ``origin`` may ask for a ticket; browsers send it with every POST, so it must be there."""
        known = _origin(origin)
        if not known:
            return False
        if known in self.origins:
            return True
        # Behind a proxy the server does not know whether the page came by http or https; the name and port decide.
        same = known in (_origin(f"http://{host}"), _origin(f"https://{host}"))
        return same and fetch_site in ("", "same-origin")

    def knows_secret(self, authorization: str) -> bool:
        """Whether the ``Authorization`` header carries the secret; True if none is asked for."""
        if self.secret is None:
            return True
        scheme, _, given = authorization.partition(" ")
        right = hmac.compare_digest(given.strip().encode(), self.secret.reveal().encode())
        return right and scheme.lower() == "bearer"

    def client(self, peer: str | None, forwarded_for: str) -> str:
        """Whom to count a request against. Only the operator's own proxy is believed about who stands behind it."""
        last = forwarded_for.rpartition(",")[2].strip()
        for text in (last, peer) if self.behind_auth else (peer,):
            try:
                address = ipaddress.ip_address(text or "")
            except ValueError:
                continue
            if address.version == 6:  # whoever has one IPv6 address has the 2^64 beside it as well
                return str(ipaddress.ip_network((address, 64), strict=False))
            return str(address)
        return "unknown"


def connect_sources(livekit_url: str) -> list[str]:
    """What the page may connect to besides its own server: LiveKit, by WebSocket and by http (it asks why)."""
    parts = urlsplit(livekit_url)
    secure = parts.scheme in ("wss", "https")
    schemes = ("wss", "https") if secure else ("ws", "http")
    # LiveKit Cloud answers with the address of the nearest region, another name under the same domain.
    names = [parts.netloc, *(["*.livekit.cloud"] if parts.netloc.endswith(".livekit.cloud") else [])]
    return [f"{scheme}://{name}" for name in names for scheme in schemes]


def security_headers(connect: Iterable[str]) -> dict[str, str]:
    """Headers for every answer. Scripts and styles come from this server only, none stand in the page itself."""
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
