"""How a call opens its audio devices:

async with open_microphone(config.audio, on_audible=pipeline.audible, on_gaps=ledger.gaps) as mic:
    session.input.audio, session.output.audio = mic.input, mic.output
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from ..clock import SYSTEM, Clock
from ..config import AudioConfig
from .device_watch import DeviceWatch
from .microphone import Microphone
from .portaudio import PortAudio
from .sound_system import SoundSystem


@contextlib.asynccontextmanager
async def open_microphone(
    settings: AudioConfig,
    *,
    on_audible: Callable[[float], None],
    on_gaps: Callable[[int, float], None],
    on_event: Callable[[str], None] = lambda text: None,
    record: Path | None = None,
    clock: Clock = SYSTEM,
    sound_system: SoundSystem | None = None,
    retry_s: float = 1.0,
) -> AsyncIterator[Microphone]:
    """Open the microphone and the loudspeaker; close them at the end of the block.

    ``on_audible(at)``: once for each reply, the monotonic time at which its first audible sample is heard (device
    latency included). ``on_gaps(count, total_ms)``: at the end of a reply, how often it ran dry before its end.
    ``on_event(text)``: lost samples, lost and returned devices. ``record``: a stereo WAV of both sides (only then does
    ``timeline`` hold anything). ``sound_system``: PortAudio by default. ``retry_s``: how often a lost device is looked
    for. Raises AudioError (no device, or it cannot be opened) and UsageError (no device of that name).
    """
    if sound_system is None:
        sound_system = await asyncio.get_running_loop().run_in_executor(None, PortAudio)
    mic = Microphone(settings, sound_system, on_audible=on_audible, on_gaps=on_gaps, record=record, clock=clock)
    watcher: asyncio.Task[None] | None = None
    try:
        await mic.open()
        watcher = asyncio.create_task(DeviceWatch(mic, on_event, clock, retry_s).run())
        yield mic
    finally:
        if watcher is not None:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
        await mic.aclose()
