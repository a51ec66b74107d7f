"""LiveKit's audio output into a room, with the parts that ours replaces or reads under public names.

LiveKit's output has no public name (livekit-agents 1.8.9); another one would repeat its 300 lines of playout
bookkeeping. Where a release lacks a part, :func:`available` is False: then :class:`ParticipantOutput` cannot be used,
and a call publishes its audio by LiveKit's own output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from livekit import rtc
from livekit.agents import utils
from livekit.agents.voice import io

from .symbols import Symbol, all_found

_MODULE = "livekit.agents.voice.room_io._output"
_LOST = (
    "in rooms, voice-to-voice is measured to the start of playback, silence included, and pauses lose 0.2 s of speech"
)


def _part(name: str) -> Symbol:
    return Symbol("livekit-agents", _MODULE, f"_ParticipantAudioOutput.{name}", _LOST, set_in="__init__")


OUTPUT = Symbol("livekit-agents", _MODULE, "_ParticipantAudioOutput", _LOST)
PARTS = tuple(
    _part(name)
    for name in (
        "_audio_bstream",
        "_audio_source",
        "_playback_enabled",
        "_interrupted_event",
        "_pushed_duration",
        "_source_discarded_duration",
        "_run_offset",
    )
)
SOURCE_HANDLE = Symbol("livekit", "livekit.rtc", "AudioSource._ffi_handle", _LOST, set_in="__init__")

if TYPE_CHECKING:
    from livekit.agents.voice.room_io._output import _ParticipantAudioOutput as _Base
else:
    _Base = OUTPUT.find() or io.AudioOutput


def available() -> bool:
    """Whether the installed release has all that :class:`ParticipantOutput` needs; if not, each part is warned of."""
    return all_found(OUTPUT, *PARTS, SOURCE_HANDLE)


class ParticipantOutput(_Base):
    """LiveKit's output; its audio goes out in pieces that begin at 20 ms and grow to ``piece_ms`` (LiveKit's have 50).

    Use it where :func:`available`. Call :meth:`replace_source` before :meth:`start`.
    """

    def __init__(
        self, room: rtc.Room, *, sample_rate: int, piece_ms: int, track_publish_options: rtc.TrackPublishOptions
    ) -> None:
        super().__init__(room, sample_rate=sample_rate, num_channels=1, track_publish_options=track_publish_options)
        self._audio_bstream = utils.audio.AudioByteStream(
            sample_rate, 1, samples_per_channel=sample_rate * piece_ms // 1000, progressive=True
        )

    def replace_source(self, source: rtc.AudioSource) -> None:
        """Publish ``source`` instead of LiveKit's, which is closed."""
        replaced, self._audio_source = self._audio_source, source
        replaced._ffi_handle.dispose()  # or it lives until it is collected

    @property
    def paused(self) -> bool:
        """Nothing is handed on."""
        return not self._playback_enabled.is_set()

    @property
    def interrupted(self) -> bool:
        """The speech that is being played has been interrupted."""
        return self._interrupted_event.is_set()

    @property
    def pushed_s(self) -> float:
        """Audio of the present speech that has been captured so far, in seconds."""
        return self._pushed_duration + self._audio_bstream.buffered_duration

    def played_again(self, seconds: float) -> None:
        """Audio that a pause discarded is given to the source once more; LiveKit's account then has it once."""
        self._source_discarded_duration -= seconds
        self._run_offset -= seconds

    def flush(self) -> None:
        """As LiveKit's; the next speech begins with a short piece again."""
        super().flush()
        self._audio_bstream.reset_progressive()
