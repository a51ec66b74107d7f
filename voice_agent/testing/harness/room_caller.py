"""A caller in a room, who knows the agent by its sound alone: joins, speaks recordings, and hears what comes back.

    async with Caller.joined(url, token) as caller:
        await caller.agent_there(10)
        start = caller.say(pcm)                               # 16 kHz mono int16
        reply = await caller.reply(start + end_s, within_s=8)  # when the agent became audible, None if it did not
        ...
        caller.save(Path("call.wav"))                         # left the caller, right the agent, one line of time

All times are seconds on the caller's line, which counts samples. Voice to voice measured so has the room in it:
packets, Opus and the jitter buffer, both ways.
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

RATE = 16_000
FRAME = 160  # samples: 10 ms, the step of the line
PIECE = 10  # steps handed to the track at once: each piece costs the same
LEAD_S = 0.05  # so long before they are due, so that a busy moment makes no hole in what is said
CONNECT_S = 20.0
LOUD = 300  # a sample above this is heard; Opus leaves a noise of a few units in silence
DEAD = 4  # no sample of a run above this: nothing was sent; a voice that pauses is not so quiet
SAME_REPLY_S = 2.0  # sound that comes back within this is the same reply's
CAUGHT_UP_S = 0.5  # what arrives late and is made up for within this was late here, not on its way
OPUS_RATE = 48_000  # of WebRTC's counts of samples


@dataclass(frozen=True, slots=True)
class Gap:
    """The agent's sound was away for a while in the middle of a reply, at ``at_s`` on the line."""

    at_s: float
    length_s: float


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
    """A ticket for one room. ``agent_name``: the worker that is sent there, with ``metadata`` for its job; None: none
    is asked for (a worker without a name comes by itself). ``attributes``: the caller's, such as voice_agent.ledger."""
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
        self._lead_s = lead_s
        self._source: rtc.AudioSource | None = None
        self._queue: list[Int16] = []
        self._spoken: list[Int16] = []
        self._heard: list[tuple[float, Int16]] = []  # end on the line as it arrived, sound
        self._loud: list[float] = []  # ends of the frames that were heard
        self._first_loud: float | None = None
        self._audible = asyncio.Event()  # _first_loud is known
        self._since = 0.0
        self._began = 0.0
        self._speech_until_s = 0.0
        self._track: rtc.Track | None = None
        self._agent = asyncio.Event()
        self._gone = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.agent_joined_s: float | None = None
        """When the agent's track was there, on the line."""
        self.worst_lag_s = 0.0
        """How late its sound was handed on: a figure of a caller that lagged is worth nothing."""

    @classmethod
    @contextlib.asynccontextmanager
    async def joined(
        cls, url: str, ticket: str, *, hear_ms: int = 10, lead_s: float = LEAD_S, clock: Clock = SYSTEM
    ) -> AsyncIterator[Caller]:
        """Join, with a microphone that is silent until :meth:`say`; leave at the end.

        ``hear_ms`` (a multiple of 10): what is heard comes in pieces of that length, and is known that much later. The
        times are those of 10 ms all the same, and many callers in one process cost less. ``lead_s`` (0.2 at most): so
        long before it is due sound is handed on; a stall of this process that is shorter is not heard.
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
        room.on("participant_disconnected", self._left)
        self._began = self._clock.now()
        async with asyncio.timeout(CONNECT_S):
            await room.connect(url, ticket)
        self._source = rtc.AudioSource(RATE, 1, queue_size_ms=300)
        track = rtc.LocalAudioTrack.create_audio_track("microphone", self._source)
        await room.local_participant.publish_track(track, publish_options())
        # From here on the line is the microphone's; what came before is before 0.
        joined = self._clock.now()
        if self.agent_joined_s is not None:
            self.agent_joined_s -= joined - self._began
        self._began = joined
        self._spawn(self._feed())

    async def leave(self) -> None:
        """Hang up."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.room.disconnect()

    # --- speaking ---------------------------------------------------------------------------------------------------

    def now_s(self) -> float:
        """The present on the line."""
        return self._clock.now() - self._began

    def say(self, pcm: Int16) -> float:
        """Speak ``pcm`` next (after what is still to be spoken). Returns when its first sample is spoken."""
        start = (len(self._spoken) + len(self._queue)) * FRAME / RATE
        padded = np.concatenate([pcm, np.zeros(-len(pcm) % FRAME, np.int16)])
        self._queue += [padded[i : i + FRAME] for i in range(0, len(padded), FRAME)]
        self._speech_until_s = start + len(padded) / RATE
        return start

    @property
    def speaking(self) -> bool:
        """Something is still to be spoken."""
        return self.now_s() < self._speech_until_s

    async def spoken(self) -> None:
        """Return when everything has been spoken."""
        while self.speaking:  # noqa: ASYNC110  # the line goes on in steps of a frame
            await asyncio.sleep(FRAME / RATE)

    async def _feed(self) -> None:
        assert self._source is not None
        silence = np.zeros(FRAME, np.int16)
        while True:
            # After a stall in silence the line jumps; else it would lag for ever, and every later figure with it.
            while not self._queue and self.now_s() > (len(self._spoken) + 2) * FRAME / RATE:
                self._spoken.append(silence)
            left_s = len(self._spoken) * FRAME / RATE - self.now_s()
            if left_s > self._lead_s:
                await asyncio.sleep(left_s - self._lead_s)
            elif self._spoken and self._queue:
                self.worst_lag_s = max(self.worst_lag_s, -left_s)
            steps, self._queue = self._queue[:PIECE], self._queue[PIECE:]
            steps += [silence] * (PIECE - len(steps))
            piece = np.concatenate(steps)
            await self._source.capture_frame(rtc.AudioFrame(piece.tobytes(), RATE, 1, len(piece)))
            self._spoken += steps

    # --- hearing ----------------------------------------------------------------------------------------------------

    def _subscribed(self, track: rtc.Track, _: object, who: rtc.RemoteParticipant) -> None:
        if track.kind == rtc.TrackKind.KIND_AUDIO and who.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT:
            self.agent_joined_s = self.now_s()
            self._gone.clear()
            self._agent.set()
            self._track = track
            self._spawn(self._listen(track))

    def _left(self, who: rtc.RemoteParticipant) -> None:
        if who.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT:
            self._agent.clear()
            self._gone.set()
            self._track = None

    async def _listen(self, track: rtc.Track) -> None:
        stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1, frame_size_ms=self._hear_ms)
        try:
            async for event in stream:
                pcm = np.frombuffer(event.frame.data, np.int16).copy()
                now = self.now_s()
                self._heard.append((now, pcm))
                if pcm.max(initial=0) <= LOUD and pcm.min(initial=0) >= -LOUD:
                    continue
                for at in _loud_ends(pcm, now):
                    self._loud.append(at)
                    if self._first_loud is None and at > self._since:
                        self._first_loud = at
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
        self._since, self._first_loud = self.now_s(), None
        self._audible.clear()

    async def reply(self, until_s: float) -> float | None:
        """When the agent was first heard since :meth:`listen_from_now`; None if not before ``until_s`` on the line."""
        await self._within(self._audible.wait, max(0.0, until_s - self.now_s()))
        return self._first_loud

    @property
    def last_heard_s(self) -> float:
        """When the agent was last heard; 0 if it never was."""
        return self._loud[-1] if self._loud else 0.0

    def heard_between(self, begin_s: float, end_s: float) -> bool:
        """Whether the agent was heard after ``begin_s`` and not after ``end_s``."""
        return any(begin_s < at <= end_s for at in reversed(self._loud))

    async def quiet(self, for_s: float, within_s: float = 30.0) -> bool:
        """Return when nobody has been heard for that long; False if that does not come within ``within_s``."""
        began = self.now_s()
        while (now := self.now_s()) - began < within_s:
            left_s = max(self._speech_until_s, max(self.last_heard_s, began) + for_s) - now
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
        """Where the agent's sound was away for longer than that while it spoke: silence that begins within 30 ms of
        sound, and pieces that came late without the next ones making up for it (those were late in this process)."""
        return sorted([*self._silences(longest_s), *self._missing(longest_s)], key=lambda gap: gap.at_s)

    def _silences(self, longest_s: float) -> list[Gap]:
        found: list[Gap] = []
        if not self._heard:
            return found
        pcm = np.concatenate([pcm for _, pcm in self._heard])
        ends_at = np.cumsum([len(pcm) for _, pcm in self._heard])
        level = np.abs(pcm.astype(np.int32))
        edges = np.diff(np.concatenate([[0], (level <= DEAD).astype(np.int8), [0]]))
        for start, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
            before, after = level[max(0, start - 3 * FRAME) : start], level[end : end + int(SAME_REPLY_S * RATE)]
            if end - start > longest_s * RATE and before.max(initial=0) > LOUD and after.max(initial=0) > LOUD:
                piece = int(np.searchsorted(ends_at, start, side="right"))
                at_s = self._heard[piece][0] - float(ends_at[piece] - start) / RATE
                found.append(Gap(at_s, float(end - start) / RATE))
        return found

    def _missing(self, longest_s: float) -> list[Gap]:
        found: list[Gap] = []
        loud = np.asarray(self._loud)
        ends = np.array([end for end, _ in self._heard])
        late = ends - np.cumsum([len(pcm) for _, pcm in self._heard]) / RATE
        for i in range(1, len(ends)):
            soon = late[i : int(np.searchsorted(ends, ends[i] + CAUGHT_UP_S, side="right"))]
            length_s = float(soon.min() - late[i - 1])
            if length_s <= longest_s or not len(loud):
                continue
            before = float(ends[i - 1])
            if float(np.abs(loud - before).min()) < 0.03 and bool((loud > before + length_s).any()):
                found.append(Gap(before, length_s))
        return found

    async def concealed(self) -> Concealed:
        """What of the agent's sound was made up so far."""
        for one in await self._track.get_stats() if self._track is not None else ():
            if one.WhichOneof("stats") == "inbound_rtp":
                counted = one.inbound_rtp.inbound
                samples = counted.concealed_samples - counted.silent_concealed_samples
                return Concealed(samples / OPUS_RATE, int(counted.concealment_events))
        return Concealed()

    # --- the recording ------------------------------------------------------------------------------------------------

    def recording(self) -> Int16:
        """Both sides so far: shape (samples, 2), 16 kHz; left the caller, right the agent as it arrived."""
        user = np.concatenate(self._spoken) if self._spoken else np.zeros(0, np.int16)
        agent = np.zeros(len(user), np.int16)
        at = 0
        for end_s, pcm in self._heard:
            start = max(at, round(end_s * RATE) - len(pcm))
            pcm = pcm[: max(0, len(agent) - start)]
            agent[start : start + len(pcm)] = pcm
            at = start + len(pcm)
        return np.stack([user, agent], axis=1)

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


def _loud_ends(pcm: Int16, end_s: float) -> list[float]:
    """Where the 10 ms steps of ``pcm`` (which ends at ``end_s``) end that can be heard."""
    ends = []
    for start in range(0, len(pcm), FRAME):
        step = pcm[start : start + FRAME]
        if step.max(initial=0) > LOUD or step.min(initial=0) < -LOUD:
            ends.append(end_s - (len(pcm) - start - len(step)) / RATE)
    return ends
