"""``voice-agent doctor``: checks what a call needs, how fast each part is, and says what to do next.

    findings = examine(checks(config, provider_key), secrets=secrets(config, provider_key), on_finding=print)

Read in this order: :mod:`.finding` (the values, and how a check is run), :mod:`.checks` (the list), then the checks
themselves: :mod:`.environment`, :mod:`.audio_devices`, :mod:`.round_trip`, :mod:`.stages`, :mod:`.services`;
:mod:`.findings_output` prints what they found.
"""

from __future__ import annotations

from .checks import checks, secrets
from .finding import DoctorCheck, Finding, Status, examine

__all__ = ["DoctorCheck", "Finding", "Status", "checks", "examine", "secrets"]
