"""The microphone end: a person at a desk.

async with microphone(config.audio, on_audible=road.audible, on_gaps=...) as mic:
    road.session.input.audio, road.session.output.audio = mic.input, mic.output

PortAudio's callbacks only copy between the device and a ring; each call of the microphone's wakes the event loop, where
:meth:`Microphone._pump` does the rest, 100 times a second (31 while nobody speaks).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from ..audio.samples import Int16
from ..audio.stream_recorder import Channel
from ..audio.timeline import Timeline
from ..clock import SYSTEM, Clock
from ..config import AudioConfig
from ..errors import AudioError, UsageError
from .audio_processing import RATE, AudioProcessing
from .capture import AudioFrontEnd, Capture, MicrophoneInput
from .sound_system import Device, Kind, PortAudio, SoundSystem, Stream, choose, format_for
from .speaker import Player, SpeakerOutput

BLOCKS_PER_S = 100
STALL_S = 3.0  # no callback for so long: the device is gone, though nobody says so
WATCH_S = 0.25
TELL_EVERY_S = 10.0  # lost sound is told of at most so often; the counts are always there
WRITE_EVERY_S, WRITE_BEHIND_S = 1.0, 2.0
STRAINS = ((3, 10.0), (5, 120.0))  # sound lost so often in so long (seconds): the device gets more latency
SETTLING_S = 1.0  # what is lost right after opening does not count for that
MOST_LATENCY_S = 0.08  # more would be heard in every answer, long after the machine was busy
QUIET_DBFS, QUIET_WAIT_S = -45.0, 5.0  # the devices are reopened when nobody speaks, or after so long


class Strain:
    """Whether one device loses sound again and again. Give it the count so far, now and then."""

    def __init__(self) -> None:
        self._lost: deque[float] = deque(maxlen=max(often for often, _ in STRAINS))
        self._count = 0
        self._from = 0.0
        self.since: float | None = None
        """When it became too much (monotonic); None: it is not."""

    def opened(self, now: float, count: int) -> None:
        """The device was opened; begin anew."""
        self._lost.clear()
        self._count, self._from, self.since = count, now + SETTLING_S, None

    def look(self, now: float, count: int) -> None:
        """``count``: how often it has lost sound since the call began."""
        new, self._count = count - self._count, count
        if now >= self._from:
            self._lost.extend([now] * (new > 0))  # PortAudio reports one underrun for several blocks: that is once
        lost = self._lost
        if self.since is None and any(len(lost) >= n and now - lost[-n] <= within_s for n, within_s in STRAINS):
            self.since = now


class Microphone:
    """Both devices, open. Made by :func:`microphone`."""

    def __init__(
        self,
        settings: AudioConfig,
        sound: SoundSystem,
        *,
        on_audible: Callable[[float], None],
        on_gaps: Callable[[int, float], None],
        on_event: Callable[[str], None],
        record: Path | None,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._sound = sound
        self._clock = clock
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._woken = False
        self._streams: dict[Kind, Stream] = {}
        self._devices: dict[Kind, Device] = {}
        self._defaults: dict[Kind, str] = {}
        latency_s = settings.latency_ms / 1000
        self._latency_s: dict[Kind, float] = {"input": latency_s, "output": latency_s}
        self._strains: dict[Kind, Strain] = {"input": Strain(), "output": Strain()}
        self._earlier_xruns = [0, 0]
        self._told_xruns = (0, 0)
        self._told_at = clock.now() - TELL_EVERY_S
        self._recording = record is not None
        self.timeline = Timeline(record, clock, keep=False)
        self.timeline.start()
        self._written_at = clock.now()
        self.input = MicrophoneInput()
        self._player = Player(48_000, clock)
        self._front: AudioFrontEnd | None = None
        self._agent_channel: Channel | None = None
        self._user_channel: Channel | None = None
        self.output = SpeakerOutput(self._player, clock, on_audible=on_audible, on_gaps=on_gaps, on_played=self._played)
        self._muted = False
        self._resting = False

    # --- what is known ------------------------------------------------------------------------------------------------

    @property
    def muted(self) -> bool:
        """Silence goes to the ears; time goes on."""
        return self._muted

    @muted.setter
    def muted(self, value: bool) -> None:
        self._muted = value
        if self._front is not None:
            self._front.muted = value

    @property
    def resting(self) -> bool:
        """Nobody speaks or thinks, say so: sound is then handed on in whole windows of the ears', a third as often.
        Speech is noticed no later for it."""
        return self._resting

    @resting.setter
    def resting(self, value: bool) -> None:
        self._resting = value
        if self._front is not None:
            self._front.capture.resting = value

    @property
    def level_dbfs(self) -> float:
        """The microphone's level over the last 50 ms, after processing (also while muted)."""
        return self._front.level_dbfs if self._front is not None else -96.0

    @property
    def input_xruns(self) -> int:
        """How often the microphone lost sound."""
        return self._earlier_xruns[0] + (self._front.capture.xruns if self._front is not None else 0)

    @property
    def output_xruns(self) -> int:
        """How often the loudspeaker's device ran dry (not: the reply; that is ``on_gaps``)."""
        return self._earlier_xruns[1] + self._player.xruns

    @property
    def latency_ms(self) -> tuple[float, float]:
        """Reported latency of the input (with the processing) and of the output."""
        front, stream = self._front, self._streams.get("input")
        if front is None or stream is None:
            return 0.0, 0.0
        taking = max(front.clock.latency_s, stream.latency_s) + front.processing.delay_s
        return taking * 1000, self._player.latency_s * 1000

    @property
    def description(self) -> str:
        """Both devices in one line."""
        front = self._front
        if front is None:
            return "no sound device"
        names = {kind: self._devices[kind].name for kind in ("input", "output")}
        return (
            f"input: {names['input']} {front.capture.rate / 1000:g} kHz,"
            f" output: {names['output']} {self._player.rate / 1000:g} kHz,"
            f" echo cancellation {'on' if front.processing.aec else 'off'}"
        )

    # --- opening ------------------------------------------------------------------------------------------------------

    def _pick(self, devices: list[Device], kind: Kind, *, again: bool) -> Device:
        wanted = self._settings.input if kind == "input" else self._settings.output
        try:
            return choose(devices, kind, wanted)
        except (AudioError, UsageError):
            default = choose(devices, kind, "")
            if again and default.name != self._defaults.get(kind):
                return default  # another one has appeared in the place of the lost one
            raise

    def open(self, *, again: bool = False, refresh: bool = False) -> tuple[Player, AudioFrontEnd]:
        """Open both devices. Blocks. Raises AudioError or UsageError with nothing left open."""
        if refresh:
            self._sound.refresh()
        devices = self._sound.devices()
        kinds: tuple[Kind, Kind] = ("input", "output")
        chosen = {kind: self._pick(devices, kind, again=again) for kind in kinds}
        rates = {kind: format_for(self._sound, chosen[kind], kind) for kind in kinds}
        player = Player(rates["output"][0], self._clock)
        capture = Capture(rates["input"][0], self._clock, far=lambda: player.played.written, wake=self._wake)
        front = AudioFrontEnd(
            capture,
            AudioProcessing(self._settings, player.rate),
            self.input,
            self._frame if self._recording else _nothing,
        )
        front.muted, capture.resting = self._muted, self._resting
        calls = {"input": capture.take, "output": player.fill}
        streams: dict[Kind, Stream] = {}
        try:
            for kind in ("output", "input"):
                rate, channels = rates[kind]
                streams[kind] = self._sound.open(
                    chosen[kind],
                    kind,
                    rate=rate,
                    channels=channels,
                    block=rate // BLOCKS_PER_S,
                    latency_s=self._latency_s[kind],
                    callback=calls[kind],
                )
        except BaseException:
            _close(streams)
            raise
        if player.latency_s == 0.0:
            player.latency_s = streams["output"].latency_s
        self._streams, self._devices = streams, chosen
        if not again:
            self._defaults = {kind: choose(devices, kind, "").name for kind in kinds}
        return player, front

    def use(self, player: Player, front: AudioFrontEnd) -> None:
        """Go on with what :meth:`open` has opened."""
        if self._front is not None:
            self._earlier_xruns[0] += self._front.capture.xruns
            self._earlier_xruns[1] += self._player.xruns
        self.output.go_on(player)
        self._player, self._front = player, front
        now = self._clock.now()
        self._strains["input"].opened(now, self.input_xruns)
        self._strains["output"].opened(now, self.output_xruns)
        if self._recording:
            self._agent_channel = Channel(self.timeline, self.timeline.agent, player.rate)
            self._user_channel = Channel(self.timeline, self.timeline.user, RATE)

    async def aclose(self) -> None:
        """Let go of the devices, and write the rest of the recording."""
        streams, self._streams = self._streams, {}
        await self._loop.run_in_executor(None, _close, streams)
        self.timeline.close()

    # --- running ------------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        """On the sound system's thread."""
        if not self._woken:
            self._woken = True
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                self._loop.call_soon_threadsafe(self._pump)

    def _pump(self) -> None:
        self._woken = False
        if self._front is None:
            return
        self.output.pump()
        self._front.pump(self._player.latency_s)
        now = self._clock.now()
        if self._recording and now - self._written_at >= WRITE_EVERY_S:
            self._written_at = now
            self.timeline.write(self.timeline.seconds(now) - WRITE_BEHIND_S)

    def _played(self, pcm: Int16, at: float) -> None:
        if self._front is not None:
            self._front.played(pcm)
        if self._agent_channel is not None:
            self._agent_channel.add(pcm, at)

    def _frame(self, pcm: Int16, at: float) -> None:
        if self._user_channel is not None:
            self._user_channel.add(pcm, at)

    async def watch(self, retry_s: float) -> None:
        """See to lost sound and lost devices, until cancelled."""
        while True:
            await asyncio.sleep(WATCH_S)
            xruns, now = (self.input_xruns, self.output_xruns), self._clock.now()
            self._strains["input"].look(now, xruns[0])
            self._strains["output"].look(now, xruns[1])
            if strained := self._strained(now):
                await self._widen(strained, retry_s)
            elif xruns != self._told_xruns and now - self._told_at >= TELL_EVERY_S:
                self._told_xruns, self._told_at = xruns, now
                most = max(self._latency_s.values()) >= MOST_LATENCY_S
                self._on_event(
                    f"sound was lost: {xruns[0]} times at the microphone, {xruns[1]} times at the loudspeaker"
                    + ("; if it goes on, close other programs or raise audio.latency_ms" if most else "")
                )
            if lost := self._lost():
                await self._recover(lost, retry_s)

    def _strained(self, now: float) -> list[Kind]:
        """The devices that are to get more latency, once it is a moment for that."""
        found = {k: s.since for k, s in self._strains.items() if self._latency_s[k] < MOST_LATENCY_S}
        since = {k: at for k, at in found.items() if at is not None}
        quiet = not self.output.playing and self.level_dbfs < QUIET_DBFS
        return list(since) if quiet or any(now - at > QUIET_WAIT_S for at in since.values()) else []

    async def _widen(self, strained: list[Kind], retry_s: float) -> None:
        for kind in strained:
            self._latency_s[kind] = min(MOST_LATENCY_S, 2 * self._latency_s[kind])
        xruns = self._told_xruns = self.input_xruns, self.output_xruns
        self._told_at = self._clock.now()
        await self._reopen(retry_s, refresh=False)
        names: dict[Kind, str] = {"input": "the microphone", "output": "the loudspeaker"}
        self._on_event(
            f"sound was lost {xruns[0]} times at the microphone, {xruns[1]} times at the loudspeaker; latency raised: "
            + ", ".join(f"{names[kind]} is asked for {self._latency_s[kind] * 1000:.0f} ms" for kind in strained)
        )

    def _lost(self) -> list[Kind]:
        called: dict[Kind, float] = {"output": self._player.called_at}
        if self._front is not None:
            called["input"] = self._front.capture.called_at
        now = self._clock.now()
        return [k for k, s in self._streams.items() if not s.alive or now - called[k] > STALL_S]

    async def _recover(self, lost: list[Kind], retry_s: float) -> None:
        words: dict[Kind, str] = {"input": "the microphone", "output": "the loudspeaker"}
        names = " and ".join(f"{words[kind]} {self._devices[kind].name!r}" for kind in sorted(lost))
        self._on_event(f"{names} is gone; the call is paused until it is back or another one is there")
        await self._reopen(retry_s, refresh=True)
        self._on_event(f"sound is back, the call goes on: {self.description}")

    async def _reopen(self, retry_s: float, *, refresh: bool) -> None:
        streams, self._streams = self._streams, {}
        await self._loop.run_in_executor(None, _close, streams)
        self.output.halt()
        while True:
            with contextlib.suppress(AudioError, UsageError):  # it is not back yet: this was said, and is tried again
                again = functools.partial(self.open, again=True, refresh=refresh)
                opened = await self._loop.run_in_executor(None, again)
                break
            refresh = True
            await asyncio.sleep(retry_s)
        self.use(*opened)


def _close(streams: dict[Kind, Stream]) -> None:
    for stream in streams.values():
        with contextlib.suppress(Exception):  # a device that is gone cannot be closed properly
            stream.close()


def _nothing(pcm: Int16, at: float) -> None:
    pass


@contextlib.asynccontextmanager
async def microphone(
    settings: AudioConfig,
    *,
    on_audible: Callable[[float], None],
    on_gaps: Callable[[int, float], None],
    on_event: Callable[[str], None] = lambda text: None,
    record: Path | None = None,
    clock: Clock = SYSTEM,
    sound: SoundSystem | None = None,
    retry_s: float = 1.0,
) -> AsyncIterator[Microphone]:
    """Open the microphone and the loudspeaker.

    ``on_audible(at)``: once a segment, when (monotonic, device latency included) its first audible sample is heard.
    ``on_gaps(count, total_ms)``: at a segment's end, how often it ran dry in its middle. ``on_event(text)``: lost
    sound, lost and returned devices. ``record``: a stereo WAV of both sides (only then does ``line`` hold anything).
    ``sound``: the sound system, PortAudio if left out; ``retry_s``: how often a lost device is looked for.
    Raises AudioError (no device, or it cannot be opened) and UsageError (no device of that name).
    """
    loop = asyncio.get_running_loop()
    system: SoundSystem = sound if sound is not None else await loop.run_in_executor(None, PortAudio)
    mic = Microphone(
        settings, system, on_audible=on_audible, on_gaps=on_gaps, on_event=on_event, record=record, clock=clock
    )
    watcher: asyncio.Task[None] | None = None
    try:
        mic.use(*await loop.run_in_executor(None, mic.open))
        watcher = asyncio.create_task(mic.watch(retry_s))
        yield mic
    finally:
        if watcher is not None:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
        await mic.aclose()


__all__ = ["Microphone", "microphone"]
