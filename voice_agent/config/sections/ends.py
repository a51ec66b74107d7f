"""Settings of the ends of a call: sound devices, LiveKit rooms, the web page."""

from __future__ import annotations

from dataclasses import dataclass

from ..secret import Secret
from ..setting import Section, setting


@dataclass(frozen=True, slots=True)
class AudioConfig(Section):
    """The sound devices of `voice-agent talk`: microphone, loudspeaker, and the processing between them."""

    input: str = setting("", "Microphone: its index or a part of its name (`voice-agent devices`). Empty: the default.")
    output: str = setting("", "Loudspeaker: its index or a part of its name. Empty: the default.")
    aec: bool = setting(
        True, "Echo cancellation: remove the agent's own sound from the microphone. Not needed with a headset."
    )
    noise_suppression: bool = setting(True, "Remove steady noise from the microphone.")
    gain_control: bool = setting(True, "Bring a soft or loud voice to an even level.")
    latency_ms: float = setting(
        20.0,
        "Latency requested of each device at first. A device that keeps losing sound gets twice as much, up to 80 ms.",
        minimum=5,
        maximum=500,
    )


@dataclass(frozen=True, slots=True)
class RoomConfig(Section):
    """Calls in LiveKit rooms (docs/rooms.md)."""

    calls_per_core: float = setting(
        5.0,
        "Calls that one free processor core carries; a machine with more calls is full.",
        minimum=0.1,
        maximum=100.0,
    )
    eager_calls_per_core: float = setting(
        2.0,
        "With more calls than this on a core, less is done in advance: no synthesis before it is needed, and while the"
        " user speaks only `room.many_calls_early_preflights` preflights.",
        minimum=0.0,
        maximum=100.0,
    )
    many_calls_early_preflights: int = setting(
        2, "Early preflights a turn under the load of many calls.", minimum=0, maximum=50
    )
    max_calls: int = setting(0, "Calls at the same time, at most. 0: only the cores count.", minimum=0, maximum=10_000)
    drain_s: int = setting(600, "How long a worker that shuts down waits for its calls.", minimum=0, maximum=86_400)
    empty_s: float = setting(
        20.0, "How long the agent waits in a room that all people have left.", minimum=0.0, maximum=3600.0
    )
    voices: str = setting("", "Voices that a job's metadata may choose, separated by commas.")
    languages: str = setting("", "Languages that a job's metadata may choose, separated by commas.")
    noise_suppression: bool = setting(False, "WebRTC's noise suppression and high-pass filter on the user's sound.")
    dtmf: str = setting(
        "text", "Keys pressed on a phone: passed to the model as text, or not at all.", choices=("text", "off")
    )
    dtmf_wait_s: float = setting(
        2.0, "Keys belong together until `#` or a pause of this length.", minimum=0.2, maximum=20.0
    )
    remote_session: bool = setting(
        False,
        "Let participants of the room read the instructions and the conversation and control the session through"
        " LiveKit's `RemoteSession`.",
    )


@dataclass(frozen=True, slots=True)
class WebConfig(Section):
    """The page to call the agent from: `voice-agent web`."""

    host: str = setting("127.0.0.1", "Address to serve the page at. Beyond loopback a secret is required.")
    port: int = setting(8090, "Its port; 0 takes any that is free.", minimum=0, maximum=65535)
    secret: Secret | None = setting(
        None, "Secret that callers must give, 16 characters or more. Better in the environment."
    )
    behind_auth: bool = setting(False, "A proxy of your own authenticates the callers, so no secret is required here.")
    allow_hosts: str = setting("", "Further host names of the page, separated by spaces.")
    allow_origins: str = setting("", "Other sites whose pages may start calls, such as `https://example.org`.")
    token_ttl_s: float = setting(300.0, "How long a call's token may be used to join.", minimum=10, maximum=3600)
    calls_per_minute: int = setting(10, "Calls that one client may start a minute.", minimum=1, maximum=10_000)
    total_calls_per_minute: int = setting(
        60, "Calls that all clients together may start a minute.", minimum=1, maximum=100_000
    )
    agent_timeout_s: float = setting(
        10.0, "The page shows an error if no agent has joined after this time.", minimum=0.1, maximum=120
    )
    agent_name: str = setting(
        "", "The worker to dispatch to a call. Empty: the command starts a worker of its own and names it."
    )
    livekit_url: str = setting("", "The address of LiveKit for browsers, if it is not `LIVEKIT_URL`.")
    ledger: bool = setting(True, "Show callers the turn waterfall.")


@dataclass(frozen=True, slots=True)
class LivekitConfig(Section):
    """The LiveKit server that `voice-agent web` starts when `LIVEKIT_URL` is not set."""

    server: str = setting("", "Path of the `livekit-server` program. Empty: looked for on the PATH and in the cache.")
