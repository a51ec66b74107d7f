"""Whether the sound system starts at all, tried in a child process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator

from ..config import environment_without_secrets
from .finding import Finding, Status

NO_SOUND = (
    "for a talk, plug in a microphone and a speaker (in a container: pass the sound server through); without them"
    " use voice-agent talk --demo, voice-agent script, or rooms"
)
PROBE = "import sounddevice; sounddevice.query_devices(); print(sounddevice.get_portaudio_version()[1])"
PROBE_S = 15.0


class PortAudioProbe:
    """Starts the sound system in a child process first: ALSA and drivers may end the process that calls them."""

    def __init__(self, probe: str = PROBE) -> None:
        self._probe = probe
        self.usable = True

    def __call__(self) -> Iterator[Finding]:
        self.usable = False
        try:
            done = subprocess.run(
                [sys.executable, "-c", self._probe],
                capture_output=True,
                text=True,
                timeout=PROBE_S,
                check=False,
                env=environment_without_secrets(),
            )
        except subprocess.TimeoutExpired:
            yield Finding(Status.WARNING, "the sound system does not answer", f"restart the sound server; {NO_SOUND}")
            return
        if done.returncode == 0:
            self.usable = True
            yield Finding(Status.OK, done.stdout.strip().partition(",")[0])
            return
        if "PortAudio library not found" in done.stderr:
            advice = f"on Debian and Ubuntu: sudo apt install libportaudio2; {NO_SOUND}"
            yield Finding(Status.WARNING, "PortAudio is not installed", advice)
            return
        last = (done.stderr.strip().splitlines() or [f"signal {-done.returncode}"])[-1][:120]
        advice = f"check ALSA's configuration (~/.asoundrc, ALSA_CONFIG_PATH); {NO_SOUND}"
        yield Finding(Status.WARNING, f"the sound system does not start ({last})", advice)

    def guarded(self, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
        """Run ``check``, unless the sound system did not start."""
        if self.usable:
            yield from check()
        else:
            yield Finding(Status.SKIPPED, "without PortAudio")
