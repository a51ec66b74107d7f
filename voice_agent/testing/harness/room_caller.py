"""A caller in a LiveKit room who knows the agent by its sound alone: joins, speaks recordings, hears what comes back.

    async with Caller.joined(url, token) as caller:
        await caller.agent_there(10)
        start = caller.say(pcm)                          # 16 kHz mono int16
        reply = await caller.reply(start + end_s + 8)    # when the agent became audible, None if it did not
        ...
        caller.save(Path("call.wav"))                    # left the caller, right the agent, one timeline

All times are seconds on the caller's timeline, which counts samples. Voice to voice measured like this includes the
room: packets, Opus and the jitter buffers, both ways.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from livekit import api, rtc

from ...audio.samples import Int16
from ...clock import SYSTEM, Clock
from ...room.track import publish_options
from .agent_audio import FRAME, RATE, AgentAudio, Gap
from .caller_speech import LEAD_S, CallerSpeech

CONNECT_S = 20.0
OPUS_RATE = 48_000  # of WebRTC's counts of samples


@dataclass(frozen=True, slots=True)
class Concealed:
    """Sound that WebRTC made up because packets came late or not at all (pauses not counted)."""

    seconds: float = 0.0
    events: int = 0


def token(
    key: str,
    secret: str,
    room: str,
    *,
    identity: str = "caller",
    agent_name: str | None = None,
    metadata: str = "",
    attributes: Mapping[str, str] | None = None,
) -> str:
    """A JWT for one room. ``agent_name``: the worker to dispatch, with ``metadata`` for its job; None: none (a worker
    without a name comes by itself). ``attributes``: the caller's, such as voice_agent.ledger."""
    ticket = (
        api.AccessToken(key, secret)
        .with_identity(identity)
        .with_grants(api.VideoGrants(room_join=True, room=room))
        .with_attributes(dict(attributes or {}))
        .with_ttl(datetime.timedelta(minutes=30))
    )
    if agent_name is not None:
        dispatch = api.RoomAgentDispatch(agent_name=agent_name, metadata=metadata)
        ticket = ticket.with_room_config(api.RoomConfiguration(agents=[dispatch]))
    return str(ticket.to_jwt())


class Caller:
    """Make one with :meth:`joined`."""

    def __init__(self, clock: Clock = SYSTEM, *, hear_ms: int = 10, lead_s: float = LEAD_S) -> None:
        self.room = rtc.Room()
        self._clock = clock
        self._hear_ms = hear_ms
        self._began = 0.0
        self.speech = CallerSpeech(self.now_s, lead_s=lead_s)
        self.heard = AgentAudio()
        self._audible = asyncio.Event()  # heard.first_heard_s is known
        self.agent_track: rtc.Track | None = None
        self._agent = asyncio.Event()
        self._gone = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.agent_joined_s: float | None = None
        """When the agent's track was there."""

    @classmethod
    @contextlib.asynccontextmanager
    async def joined(
        cls, url: str, ticket: str, *, hear_ms: int = 10, lead_s: float = LEAD_S, clock: Clock = SYSTEM
    ) -> AsyncIterator[Caller]:
        """Join, with a microphone that is silent until :meth:`say`; leave at the end.

        ``hear_ms`` (a multiple of 10): sound arrives in frames of that length, and is known that much later. Times stay
        those of 10 ms; long frames let many callers run in one process. ``lead_s`` (0.2 at most): how early sound is
        pushed; a shorter stall of this process is not heard.
        """
        caller = cls(clock, hear_ms=hear_ms, lead_s=lead_s)
        await caller._join(url, ticket)
        try:
            yield caller
        finally:
            await caller.leave()

    async def _join(self, url: str, ticket: str) -> None:
        room = self.room
        room.on("track_subscribed", self._subscribed)
        room.on("participant_disconnected", self.participant_left)
        self._began = self._clock.now()
        async with asyncio.timeout(CONNECT_S):
            await room.connect(url, ticket)
        source = rtc.AudioSource(RATE, 1, queue_size_ms=300)
        track = rtc.LocalAudioTrack.create_audio_track("microphone", source)
        await room.local_participant.publish_track(track, publish_options())
        # From here on the timeline is the microphone's; what came before is before 0.
        joined = self._clock.now()
        if self.agent_joined_s is not None:
            self.agent_joined_s -= joined - self._began
        self._began = joined
        self._spawn(self.speech.feed(source))

    async def leave(self) -> None:
        """Hang up."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.room.disconnect()

    def now_s(self) -> float:
        """The present on the timeline."""
        return self._clock.now() - self._began

    # --- speaking ---------------------------------------------------------------------------------------------------

    def say(self, pcm: Int16) -> float:
        """Speak ``pcm`` after everything still to be spoken. Returns when its first sample is spoken."""
        return self.speech.say(pcm)

    @property
    def worst_lag_s(self) -> float:
        """How late its speech was pushed at most: figures of a caller that lagged are worth nothing."""
        return self.speech.worst_lag_s

    async def spoken(self) -> None:
        """Return when everything has been spoken."""
        while self.speech.speaking:  # noqa: ASYNC110  # the timeline goes on in steps of a frame
            await asyncio.sleep(FRAME / RATE)

    # --- hearing ----------------------------------------------------------------------------------------------------

    def _subscribed(self, track: rtc.Track, _: object, who: rtc.RemoteParticipant) -> None:
        if track.kind == rtc.TrackKind.KIND_AUDIO and who.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT:
            self.agent_joined_s = self.now_s()
            self._gone.clear()
            self._agent.set()
            self.agent_track = track
            self._spawn(self._listen(track))

    def participant_left(self, who: rtc.RemoteParticipant) -> None:
        """LiveKit's event: someone has left the room."""
        if who.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT:
            self._agent.clear()
            self._gone.set()
            self.agent_track = None

    async def _listen(self, track: rtc.Track) -> None:
        stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1, frame_size_ms=self._hear_ms)
        try:
            async for event in stream:
                self.heard.add(self.now_s(), np.frombuffer(event.frame.data, np.int16).copy())
                if self.heard.first_heard_s is not None:
                    self._audible.set()
        finally:
            await stream.aclose()

    @property
    def agent(self) -> rtc.RemoteParticipant | None:
        """The agent, if it is in the room."""
        people = self.room.remote_participants.values()
        return next((p for p in people if p.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT), None)

    async def agent_there(self, within_s: float) -> bool:
        """Whether the agent's track is there within that time."""
        return await self._within(self._agent.wait, within_s)

    async def agent_gone(self, within_s: float) -> bool:
        """Whether the agent has left within that time."""
        return await self._within(self._gone.wait, within_s)

    @staticmethod
    async def _within(wait: Callable[[], Awaitable[object]], within_s: float) -> bool:
        try:
            async with asyncio.timeout(within_s):
                await wait()
        except TimeoutError:
            return False
        return True

    def listen_from_now(self) -> None:
        """:meth:`reply` counts from here on."""
        self.heard.listen_from(self.now_s())
        self._audible.clear()

    async def reply(self, until_s: float) -> float | None:
        """When the agent was first heard since :meth:`listen_from_now`; None if not before ``until_s``."""
        await self._within(self._audible.wait, max(0.0, until_s - self.now_s()))
        return self.heard.first_heard_s

    @property
    def last_heard_s(self) -> float:
        """When the agent was last heard; 0 if it never was."""
        return self.heard.last_heard_s

    def heard_between(self, begin_s: float, end_s: float) -> bool:
        """Whether the agent was heard after ``begin_s`` and not after ``end_s``."""
        return self.heard.heard_between(begin_s, end_s)

    async def quiet(self, for_s: float, within_s: float = 30.0) -> bool:
        """Return when neither side has been heard for ``for_s``; False if that does not come within ``within_s``."""
        began = self.now_s()
        while (now := self.now_s()) - began < within_s:
            left_s = max(self.speech.until_s, max(self.last_heard_s, began) + for_s) - now
            if left_s <= 0:
                return True
            await asyncio.sleep(min(max(left_s, FRAME / RATE), began + within_s - now))
        return False

    async def stopped(self, onset_s: float, *, hush_s: float = 0.4, within_s: float = 6.0) -> float | None:
        """How long after ``onset_s`` the agent fell silent (for ``hush_s`` at least); None if it spoke on."""
        while (now := self.now_s()) < onset_s + within_s:
            if now > onset_s + hush_s and now - self.last_heard_s > hush_s:
                return max(0.0, self.last_heard_s - onset_s)
            await asyncio.sleep(0.005)
        return None

    def gaps(self, longest_s: float = 0.06) -> list[Gap]:
        """Where the agent's sound broke off for longer than ``longest_s`` while it spoke."""
        return self.heard.gaps(longest_s)

    async def concealed(self) -> Concealed:
        """How much of the agent's sound WebRTC has made up so far."""
        for one in await self.agent_track.get_stats() if self.agent_track is not None else ():
            if one.WhichOneof("stats") == "inbound_rtp":
                counted = one.inbound_rtp.inbound
                samples = counted.concealed_samples - counted.silent_concealed_samples
                return Concealed(samples / OPUS_RATE, int(counted.concealment_events))
        return Concealed()

    # --- the recording ------------------------------------------------------------------------------------------------

    def recording(self) -> Int16:
        """Both sides so far: shape (samples, 2), 16 kHz; left the caller, right the agent as it arrived."""
        user = self.speech.track
        return np.stack([user, self.heard.track(len(user))], axis=1)

    def save(self, path: Path) -> None:
        """Write :meth:`recording` as a WAV."""
        with wave.open(str(path), "wb") as out:
            out.setnchannels(2)
            out.setsampwidth(2)
            out.setframerate(RATE)
            out.writeframes(self.recording().tobytes())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
