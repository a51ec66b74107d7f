"""The list of checks, in the order in which they are shown."""

from __future__ import annotations

from functools import partial

from ..config import Config, Secret
from ..llm.provider_table import PROVIDERS
from ..room.access import API_SECRET
from . import audio_devices, environment, round_trip, services, stages
from .finding import DoctorCheck, KeyLookup
from .portaudio_probe import PortAudioProbe

LOADING_S = 90.0
SHORTEST_SECRET = 6
FETCHING = "if it is being fetched, try again in a while; else end what else runs on this machine"


def checks(config: Config, keys: KeyLookup, *, chirp: bool = True) -> list[DoctorCheck]:
    """All checks of a configuration. ``keys`` looks up secrets; without ``chirp`` nothing is played."""
    unplug = "the sound system hangs: unplug the device, or restart the sound server"
    portaudio = PortAudioProbe()
    devices = partial(portaudio.guarded, partial(audio_devices.devices, config.audio))
    level = partial(portaudio.guarded, partial(audio_devices.level, config.audio))
    trip = partial(portaudio.guarded, partial(round_trip.round_trip, config.audio))
    listed = [
        DoctorCheck("machine", "Python", environment.python),
        DoctorCheck("machine", "processor", environment.machine),
        DoctorCheck("machine", "packages", environment.packages),
        DoctorCheck("sound", "PortAudio", portaudio, late=unplug, optional=True),
        DoctorCheck("sound", "devices", devices, late=unplug, optional=True),
        DoctorCheck("sound", "level", level, late=unplug, optional=True),
    ]
    if chirp:
        listed.append(DoctorCheck("sound", "round trip", trip, round_trip.DEADLINE_S, unplug, optional=True))
    end_of_turn = partial(stages.end_of_turn_model, config, keys)
    provider = partial(services.provider, config, keys)
    return [
        *listed,
        DoctorCheck("models", "models", partial(stages.found, config)),
        DoctorCheck("stages", "stt", partial(stages.stt, config), LOADING_S, FETCHING),
        DoctorCheck("stages", "end_of_turn_model", end_of_turn, LOADING_S, optional=True),
        DoctorCheck("stages", "tts", partial(stages.tts, config), LOADING_S, FETCHING),
        DoctorCheck("services", "provider", provider, 60.0, "check the network, or name another one"),
        DoctorCheck("services", "LiveKit", partial(services.livekit, keys), 20.0, "check the network"),
    ]


def secrets(config: Config, keys: KeyLookup) -> list[Secret]:
    """The secrets that no output may show, whatever text an error carries."""
    names = [row.key_env for row in PROVIDERS if row.key_env] + [API_SECRET]
    found = [config.llm.api_key, config.web.secret, *(keys(name) for name in names)]
    # A placeholder such as "none" is not a secret, and removing it would damage ordinary words.
    return [secret for secret in found if secret and len(secret.reveal()) >= SHORTEST_SECRET]
