"""The list of checks, in the order in which they are shown."""

from __future__ import annotations

from functools import partial

from ..config import Config, Secret
from ..llm.endpoints import PROVIDERS
from ..room.access import API_SECRET
from . import environment, services, sound, stages
from .finding import DoctorCheck
from .stages import KeyLookup

LOADING_S = 90.0
SHORTEST = 6
FETCHING = "if it is being fetched, try again in a while; else end what else runs on this machine"


def checks(config: Config, keys: KeyLookup, *, chirp: bool = True) -> list[DoctorCheck]:
    """All checks of a configuration. ``keys`` looks up a variable's secret; ``chirp`` False: nothing is played."""
    unplug = "the sound system hangs: unplug the device, or restart the sound server"
    system = sound.PortAudioProbe()
    listed = [
        DoctorCheck("machine", "Python", environment.python),
        DoctorCheck("machine", "processor", environment.machine),
        DoctorCheck("machine", "packages", environment.packages),
        DoctorCheck("sound", "PortAudio", system, late=unplug, optional=True),
        DoctorCheck(
            "sound",
            "devices",
            partial(system.guarded, partial(sound.devices, config.audio)),
            late=unplug,
            optional=True,
        ),
        DoctorCheck(
            "sound", "level", partial(system.guarded, partial(sound.level, config.audio)), late=unplug, optional=True
        ),
    ]
    if chirp:
        trip = partial(system.guarded, partial(sound.round_trip, config.audio))
        listed.append(DoctorCheck("sound", "round trip", trip, sound.CHIRP_DEADLINE_S, unplug, optional=True))
    return [
        *listed,
        DoctorCheck("models", "models", partial(stages.found, config)),
        DoctorCheck("stages", "ears", partial(stages.ears, config), LOADING_S, FETCHING),
        DoctorCheck("stages", "judge", partial(stages.end_of_turn_model, config, keys), LOADING_S, optional=True),
        DoctorCheck("stages", "mouth", partial(stages.mouth, config), LOADING_S, FETCHING),
        DoctorCheck(
            "services", "provider", partial(stages.mind, config, keys), 60.0, "check the network, or name another one"
        ),
        DoctorCheck("services", "LiveKit", partial(services.livekit, keys), 20.0, "check the network"),
    ]


def secrets(config: Config, keys: KeyLookup) -> list[Secret]:
    """Everything that must not be shown, whatever an error's text carries."""
    names = [row.key_env for row in PROVIDERS if row.key_env] + [API_SECRET]
    found = [config.llm.api_key, config.web.secret, *(keys(name) for name in names)]
    # A placeholder such as "none" is no secret, and would be cut out of ordinary words.
    return [secret for secret in found if secret and len(secret.reveal()) >= SHORTEST]
