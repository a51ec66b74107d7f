"""The script language, what the user does: words, recordings, pauses, interruptions, and changes to the sound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from .schema_base import Strict
from .units import Duration, Level, Share


class UtterancePart(Strict):
    """A part of what the user says: one of ``say``, ``audio``, ``hold`` (a pause)."""

    say: str | None = Field(
        default=None, min_length=1, description="Words spoken by a Piper voice; labelled synthetic."
    )
    audio: str | None = Field(default=None, description="A WAV file, relative to the script.")
    hold: Duration | None = Field(default=None, description="A pause, such as 0.8s.")
    voice: str | None = Field(default=None, description="Piper voice of these words.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(value is not None for value in (self.say, self.audio, self.hold)) != 1:
            raise ValueError("a piece is one of say, audio or hold")
        if self.voice is not None and self.say is None:
            raise ValueError("voice belongs to say: a recording has its own")
        return self


def _pieces(kind: str) -> Callable[[Any], Any]:
    def normal(value: Any) -> Any:
        entries = [value] if isinstance(value, str | Mapping) else value
        if not isinstance(entries, list) or not entries:
            raise ValueError(f"{kind} takes a text, or a list of texts and pieces such as {{hold: 0.8s}}")
        return [{kind: entry} if isinstance(entry, str) else entry for entry in entries]

    return normal


_Loose = str | list[str | UtterancePart]
Said = Annotated[tuple[UtterancePart, ...], BeforeValidator(_pieces("say"), json_schema_input_type=_Loose)]
Played = Annotated[tuple[UtterancePart, ...], BeforeValidator(_pieces("audio"), json_schema_input_type=_Loose)]


class Interrupt(Strict):
    """This turn is spoken while the agent still answers the one before."""

    after: Duration = Field(default=1.0, description="How long after the agent's first sound the user begins.")


class Backchannel(Strict):
    """A short sound of agreement while the agent answers this turn."""

    say: Said | None = None
    audio: Played | None = None
    voice: str | None = None
    after: Duration = Field(default=0.8, description="How long after the agent's first sound.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.say is None) == (self.audio is None):
            raise ValueError("a back-channel is one of say or audio")
        return self


def as_backchannel(value: Any) -> Any:
    return {"say": value} if isinstance(value, str) else value


class Noise(Strict):
    """Noise under the user's speech, as loud as the ratio says (RMS of speech to RMS of noise)."""

    snr: Level
    kind: Literal["white", "pink", "babble", "file"] = "pink"
    file: str | None = Field(default=None, description="The recording, for kind: file; repeated as often as needed.")

    @model_validator(mode="after")
    def _file(self) -> Self:
        if (self.kind == "file") != (self.file is not None):
            raise ValueError("kind: file and file: PATH.wav go together")
        return self


class EchoPerturbation(Strict):
    """The agent's own voice in the user's microphone."""

    delay: Duration = 0.12
    level: Level = Field(default=-20.0, le=0.0)


class Loss(Strict):
    """20 ms packets that are lost or late, simulated on the samples (no network is involved)."""

    rate: Share = 0.05
    jitter: Duration = 0.0
    buffer: Duration = Field(
        default=0.06, description="Depth of the jitter buffer: what comes later than this is lost."
    )
    conceal: Literal["repeat", "silence"] = "repeat"


class Perturb(Strict):
    """Changes to the user's sound, applied in the order of this list."""

    speed: float | None = Field(
        default=None, ge=0.5, le=2.0, description="1.1 is a tenth faster; the pitch moves with it."
    )
    gain: Level | None = None
    phone: bool = Field(default=False, description="8 kHz telephone band, 300 to 3400 Hz, mu-law.")
    noise: Noise | None = None
    loss: Loss | None = None
    echo: EchoPerturbation | None = None
