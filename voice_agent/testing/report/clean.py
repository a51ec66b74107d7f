"""No secret leaves with a report: the last net, over every string that is written into one."""

from __future__ import annotations

import re
from typing import Any

# Whatever looks like a key, wherever it stands: somebody may have read one out, or put it into a base URL.
_KEY = re.compile(
    r"(?i)\bbearer\s+[\w.~+/=-]{6,}"
    r"|\b(?:api[_-]?key|access[_-]?token|auth[_-]?token|authorization|password|secret)[\"']?\s*[=:]\s*[\"']?[^\s\"',}<>&]{3,}"
    r"|\b(?:c?sk|gsk|xai|pk|hf|ghp|gho|github_pat|glpat|xox[abps])[-_][\w*.-]{8,}"
    r"|\bAIza[\w-]{20,}|\bAKIA[A-Z0-9]{12,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}"
)
_IN_URL = re.compile(r"(?<=://)[^\s/@]+@")
_NAMES = re.compile(r"(?i)(?:^|[._-])(?:api_?key|secret|password|passwd|token|authorization)$")


def clean(value: Any) -> Any:
    """JSON's types again, with ``***`` for what is named or looks like a key, and for credentials in addresses."""
    match value:
        case str():
            return _IN_URL.sub("***@", _KEY.sub("***", value))
        case dict():
            return {
                clean(str(key)): "***" if _NAMES.search(str(key)) and isinstance(entry, str) else clean(entry)
                for key, entry in value.items()
            }
        case list() | tuple():
            return [clean(entry) for entry in value]
        case _:
            return value
