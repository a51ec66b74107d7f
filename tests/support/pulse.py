"""A private PulseAudio server with a virtual loudspeaker and a virtual microphone, for tests with real sound.

Two null sinks: what PortAudio plays on ``speaker`` can be read from its monitor, and what is played into ``mic`` is
what PortAudio hears as ``microphone``. ALSA is pointed at this server alone, through a configuration of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

Int16 = npt.NDArray[np.int16]

RATE = 48_000
PIECE = RATE // 100  # samples of a tap that are read, and noted, at a time
AUDIBLE = 300  # of 32767, as in voice_agent.audio.timeline
NEEDED = ("pulseaudio", "pactl", "pacat", "parec")

ASOUNDRC = """\
pcm.speaker { type pulse device "speaker" }
pcm.microphone { type pulse device "mic.monitor" }
pcm.!default { type pulse }
ctl.!default { type pulse }
"""
# "norewinds": without it a null sink works in blocks of up to 2 s, as no device does.
SINK = "module-null-sink sink_name={name} rate=48000 channels=1 norewinds=1"


def place(needle: Int16, hay: Int16) -> int:
    """Where ``needle`` is in ``hay``: the peak of their cross-correlation."""
    size = 1 << (len(hay) + len(needle)).bit_length()
    product = np.conj(np.fft.rfft(needle.astype(float), size)) * np.fft.rfft(hay.astype(float), size)
    return int(np.argmax(np.fft.irfft(product, size)[: max(1, len(hay) - len(needle) // 2)]))


class NoPulse(RuntimeError):
    """There is no PulseAudio here; says what to install."""


class Tap:
    """What a source of the server carries, in pieces of 10 ms whose arrival is noted (monotonic clock).

    One program that reads two sources skews them against each other by seconds; so each source has a ``parec`` of its
    own, and its samples are placed by the median of (arrival - samples so far) around them: good to about 10 ms.
    """

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child
        self._pieces: list[bytes] = []
        self._arrived: list[float] = []
        self.loud_at = 0.0  # when something audible arrived last
        self._thread = threading.Thread(target=self._read, name="tap", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._child.stdout is not None
        while len(piece := self._child.stdout.read(2 * PIECE)) == 2 * PIECE:
            now = time.monotonic()
            self._arrived.append(now)
            self._pieces.append(piece)
            if int(np.abs(np.frombuffer(piece, np.int16).astype(np.int32)).max()) > AUDIBLE:
                self.loud_at = now

    def between(self, since: float, until: float) -> tuple[Int16, float]:
        """The samples around that stretch of the clock, and when the first of them was there (monotonic)."""
        arrived = np.array(self._arrived)
        first, last = (int(i) for i in np.searchsorted(arrived, (since, until)))
        pieces = self._pieces[first:last]
        if not pieces:
            return np.zeros(0, np.int16), since
        at = float(np.median(arrived[first:last] - np.arange(last - first) * PIECE / RATE)) - PIECE / RATE
        return np.frombuffer(b"".join(pieces), np.int16), at

    def stop(self) -> None:
        """End it; what was read stays."""
        self._child.kill()
        self._child.wait()
        self._thread.join(timeout=5)
        if self._child.stdout is not None:
            self._child.stdout.close()


class Pulse:
    """A running server. ``environment`` makes a process use it and no other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._socket = folder / "native"
        (folder / "asoundrc").write_text(ASOUNDRC)
        self.environment = {
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "PULSE_SERVER": f"unix:{self._socket}",
            "ALSA_CONFIG_PATH": str(folder / "asoundrc"),
        }
        self._server: subprocess.Popen[bytes] | None = None
        self._children: list[subprocess.Popen[bytes]] = []
        self._taps: list[Tap] = []

    def start(self) -> None:
        """Start the server; returns when it answers."""
        script = self.folder / "start.pa"
        sinks = "".join(f"load-module {SINK.format(name=name)}\n" for name in ("speaker", "mic"))
        script.write_text(
            f"{sinks}load-module module-native-protocol-unix socket={self._socket} auth-anonymous=1\n"
            "set-default-sink speaker\nset-default-source mic.monitor\n"
        )
        env = {k: v for k, v in (os.environ | self.environment).items() if k != "PULSE_SERVER"}
        command = ["pulseaudio", "-n", "-F", str(script), "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"]
        command += ["--high-priority=yes", "--realtime=yes"]  # where the system lets it
        with (self.folder / "log").open("wb") as log:
            self._server = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=log)
        for _ in range(200):
            if self._ask("info").returncode == 0:
                return
            if self._server.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError("pulseaudio did not start: " + (self.folder / "log").read_text()[-2000:])

    def stop(self) -> None:
        """End everything that was started here."""
        for tap in self._taps:
            tap.stop()
        for child in self._children:
            child.kill()
            child.wait()
        if self._server is not None:
            self._server.terminate()
            try:
                self._server.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()

    def _ask(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["pactl", *args], env=os.environ | self.environment, capture_output=True, text=True, check=False, timeout=20
        )

    def pactl(self, *args: str) -> str:
        """Run ``pactl``; what it says."""
        done = self._ask(*args)
        if done.returncode:
            raise RuntimeError(f"pactl {' '.join(args)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def unplug(self) -> None:
        """Take both devices away, as when a headset is unplugged: their streams end."""
        for line in self.pactl("list", "short", "modules").splitlines():
            number, name = line.split("\t")[:2]
            if name == "module-null-sink":
                self.pactl("unload-module", number)

    def plug_in(self) -> None:
        """Bring both devices back."""
        for name in ("speaker", "mic"):
            self.pactl("load-module", *SINK.format(name=name).split())
        self.pactl("set-default-sink", "speaker")
        self.pactl("set-default-source", "mic.monitor")

    def say(self, pcm: Int16, rate: int) -> subprocess.Popen[bytes]:
        """Speak ``pcm`` into the virtual microphone, from about now on."""
        return self._pacat(["--playback", "--device=mic", f"--rate={rate}"], pcm)

    def echo(self, *, delay_ms: int, gain_db: float) -> None:
        """From now on the loudspeaker is heard in the microphone."""
        number = self.pactl(
            "load-module", "module-loopback", "source=speaker.monitor", "sink=mic", f"latency_msec={delay_ms}"
        )
        for line in self.pactl("list", "short", "sink-inputs").splitlines():
            if "module-loopback" in line:
                self.pactl("set-sink-input-volume", line.split("\t")[0], f"{gain_db}dB")
                return
        raise RuntimeError(f"no stream of the loopback {number}")

    def record(self, source: str, path: Path) -> subprocess.Popen[bytes]:
        """Record ``source`` (``speaker.monitor``, ``mic.monitor``) to raw mono int16 at 48 kHz, until it is ended."""
        form = ["--format=s16le", f"--rate={RATE}", "--channels=1", "--latency-msec=20"]
        env = os.environ | self.environment
        with path.open("wb") as out:
            child = subprocess.Popen(["parec", f"--device={source}", *form], env=env, stdout=out)
        self._children.append(child)
        return child

    def tap(self, source: str) -> Tap:
        """Listen to ``source`` from now on."""
        form = ["--format=s16le", f"--rate={RATE}", "--channels=1", "--latency-msec=10"]
        env = os.environ | self.environment
        child = subprocess.Popen(["parec", f"--device={source}", *form], env=env, stdout=subprocess.PIPE)
        self._taps.append(Tap(child))
        return self._taps[-1]

    def _pacat(self, args: list[str], pcm: Int16) -> subprocess.Popen[bytes]:
        raw = self.folder / f"say{len(self._children)}.raw"
        raw.write_bytes(pcm.tobytes())
        child = subprocess.Popen(
            ["pacat", "--raw", "--format=s16le", "--channels=1", "--latency-msec=20", *args, str(raw)],
            env=os.environ | self.environment,
        )
        self._children.append(child)
        return child


@contextlib.contextmanager
def serving() -> Iterator[Pulse]:
    """A server for the length of the block. Raises NoPulse where there is no PulseAudio."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        raise NoPulse(f"NO SOUND SERVER: {', '.join(missing)} not found; sudo apt install pulseaudio pulseaudio-utils")
    if not any(Path("/usr/lib").glob("*/alsa-lib/libasound_module_pcm_pulse.so")):
        raise NoPulse("NO SOUND SERVER: ALSA's pulse plugin is missing; sudo apt install libasound2-plugins")
    with tempfile.TemporaryDirectory(prefix="pulse") as folder:  # a short path: it ends in a Unix socket's name
        server = Pulse(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def running() -> Iterator[Pulse]:
    """:func:`serving`, for a test: it is skipped, loudly, where there is no PulseAudio."""
    import pytest  # scripts/bench has none

    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(serving())
        except NoPulse as missing:
            pytest.skip(str(missing))
        yield server
