"""What a secret looks like, and ``***`` in its place. The only home of these patterns; pure.

:func:`redact` replaces what has the form of a known key; it is applied to everything that is written or shown.
:func:`redact_message` also replaces any long token and shortens the text; it is for messages of other programs, which
may quote a key that they refuse. :func:`redact_values` walks JSON values.
"""

from __future__ import annotations

import re
from typing import Any

from .secret import Secret

STARS = "***"
MESSAGE_CHARS = 200
# "name = value" and "Bearer value"; then the prefixes that the providers document, Google's, AWS's and JSON web tokens.
# A match ends before a quote or markup, so that XML and JSON stay well-formed.
_KNOWN_FORM = re.compile(
    r"(?i)\b(?:authorization\s*[=:]\s*)?bearer\s+[^\s\"'<>&]{6,}"
    r"|\b(?:api[_-]?key|access[_-]?token|auth[_-]?token|authorization|password|secret)[\"']?\s*[=:]\s*[\"']?[^\s\"',}<>&]{3,}"
    r"|\b(?:c?sk|gsk|xai|pk|hf|ghp|gho|github_pat|glpat|xox[abps])[-_][\w*.-]{8,}"
    r"|\bAIza[\w-]{20,}|\bA[KS]IA[A-Z0-9]{8,}|\bya29\.[\w.-]+"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}"
)
# A short prefix and a tail, or 32 characters without a space.
_LONG_TOKEN = re.compile(r"\b(?:[a-z]{2,5}[-_][A-Za-z0-9*_\-]{8,}|[A-Za-z0-9_\-]{32,})")
_IN_URL = re.compile(r"(?<=://)[^\s/@]+@")
_SECRET_NAME = re.compile(r"(?i)(?:^|[._-])(?:api_?key|secret|password|passwd|token|authorization)$")


def redact(text: str) -> str:
    """``text`` with ``***`` for everything that has the form of a key, and for credentials in addresses."""
    return _IN_URL.sub(f"{STARS}@", _KNOWN_FORM.sub(STARS, text))


def redact_message(text: str, secret: Secret | None) -> str:
    """``text`` on one line, at most 200 characters, without ``secret`` and without anything that may be a key."""
    if secret:
        text = text.replace(secret.reveal(), STARS)
    text = _LONG_TOKEN.sub(STARS, redact(" ".join(text.split())))
    return text if len(text) <= MESSAGE_CHARS else text[: MESSAGE_CHARS - 3] + "..."


def redact_values(value: Any) -> Any:
    """``value`` in JSON's types, redacted: all strings, and every text whose key is named like a secret."""
    match value:
        case str():
            return redact(value)
        case dict():
            return {
                redact(str(key)): STARS
                if _SECRET_NAME.search(str(key)) and isinstance(entry, str)
                else redact_values(entry)
                for key, entry in value.items()
            }
        case list() | tuple():
            return [redact_values(entry) for entry in value]
        case _:
            return value
