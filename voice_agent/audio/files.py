"""Audio files (WAV, MP3, FLAC, Ogg, Opus, M4A and others) -> mono int16 samples.

PyAV (FFmpeg's libraries, a dependency of livekit-agents) demultiplexes and decodes. It is imported by the first call
and not with this module, because it takes 50 ms and 19 MB where nothing else has imported it. The length in the header
is checked before anything is decoded, so a file of hours costs nothing.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import AudioError
from .samples import Int16

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame

MAX_DURATION_S = 600.0
SILENT_PEAK_DBFS = -60.0
"""A peak below this is a muted microphone's noise, or digital silence."""

_FORMATS = "wav,w64,aiff,au,caf,flac,mp3,ogg,mov,matroska,aac,amr"
"""FFmpeg's demultiplexers that may be used. The others include playlists, which open other files and addresses."""
_EXACT_LENGTH = ("flac", "aiff", "caf", "mov")
"""Formats whose header counts the samples, so that fewer samples mean that the file was cut short."""
_RATES = (1000, 768_000)
_UNKNOWN_SIZE = 0x7FFFF000
"""A writer to a pipe cannot know the size, and writes 0 or about the largest signed or unsigned number in its place."""
_SIZE_SLACK = 64
_CONVERT = "convert it with: ffmpeg -i INPUT -ac 1 -ar 16000 -c:a pcm_s16le OUTPUT.wav"
_REPAIR = "copy it again, or repair it with: ffmpeg -i INPUT OUTPUT.wav"
_AGAIN = "record or copy it again"
_SIGNATURES = {
    b"RIFF": "a WAV file",
    b"ID3": "an MP3 file",
    b"\xff\xfb": "an MP3 file",
    b"OggS": "an Ogg file",
    b"fLaC": "a FLAC file",
    b"FORM": "an AIFF file",
}
_NOT_AUDIO = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive",
}


@dataclass(frozen=True, slots=True, eq=False)
class Audio:
    """A recording. ``samples``: int16, mono, shape (n,), at ``sample_rate`` Hz; ``channels``: as found in the file."""

    samples: Int16
    sample_rate: int
    channels: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate


def read_audio(path: str | os.PathLike[str]) -> Audio:
    """Read an audio file of any rate and channel count, mixed down to mono.

    Raises AudioError, with what to do, for a file that is missing, empty, not audio, damaged, without samples, silent,
    or longer than ``MAX_DURATION_S``.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise AudioError(f"{path} is a directory; name the audio files in it one by one")
        with path.open("rb") as stream:
            _check_size(path, stream)
            audio = _decoded(path, stream)
    except FileNotFoundError:
        raise AudioError(f"{path}: no such file; check the name") from None
    except OSError as error:
        raise AudioError(f"{path} cannot be read ({error.strerror})") from None
    peak = int(np.abs(audio.samples.astype(np.int32)).max())
    if peak < 32768 * 10 ** (SILENT_PEAK_DBFS / 20):
        raise AudioError(
            f"{path} is silent: nothing to hear in it; check the recording's level or the chosen microphone"
        )
    return audio


def _check_size(path: Path, stream: BinaryIO) -> None:
    """Refuse an empty file, and a WAV file that is shorter than its header says: FFmpeg reads what is left of one."""
    size = os.fstat(stream.fileno()).st_size
    head = stream.read(8)
    stream.seek(0)
    if size == 0:
        raise AudioError(f"{path} is empty (0 bytes); {_AGAIN}")
    if len(head) == 8 and head.startswith(b"RIFF"):
        promised = struct.unpack("<I", head[4:])[0] + 8
        if size + _SIZE_SLACK < promised < _UNKNOWN_SIZE:
            raise AudioError(f"{path} is damaged: its header promises {promised} bytes, {size} are there; {_REPAIR}")


def _decoded(path: Path, stream: BinaryIO) -> Audio:
    import av

    head = stream.read(12)
    stream.seek(0)
    try:
        # With tags in another encoding than UTF-8 PyAV would raise.
        container = av.open(stream, "r", options={"format_whitelist": _FORMATS}, metadata_errors="ignore")
    except av.FFmpegError:
        raise AudioError(_refusal(path, head)) from None
    with container:
        if not container.streams.audio:
            raise AudioError(f"{path} has no sound in it; {_CONVERT}")
        track = container.streams.audio[0]
        promised_s = float(track.duration * track.time_base) if track.duration and track.time_base else None
        if promised_s is not None and promised_s > MAX_DURATION_S:
            raise AudioError(f"{path} is {_spoken(promised_s)} long; {_limit(path)}")
        try:
            audio = _joined(path, container.decode(track))
        except av.FFmpegError as error:
            raise AudioError(f"{path} is damaged: its sound cannot be decoded ({error.strerror}); {_CONVERT}") from None
        if promised_s is not None and container.format.name.startswith(_EXACT_LENGTH):
            missing_s = promised_s - audio.duration_s
            if missing_s > 0.1 + 0.01 * promised_s:
                raise AudioError(
                    f"{path} is damaged: its header promises {promised_s:.1f} s of sound, {audio.duration_s:.1f} s are"
                    f" there; {_REPAIR}"
                )
        return audio


def _joined(path: Path, frames: Iterator[AudioFrame]) -> Audio:
    """The decoded ``frames`` in one. Raises AudioError for no samples, too many of them, or a change of format."""
    parts: list[Int16] = []
    rate = channels = total = 0
    for frame in frames:
        rate, channels = rate or frame.sample_rate, channels or frame.layout.nb_channels
        if not _RATES[0] <= rate <= _RATES[1]:
            raise AudioError(f"{path} is damaged: its header says {channels} channels at {rate} Hz; {_AGAIN}")
        if (frame.sample_rate, frame.layout.nb_channels) != (rate, channels):
            raise AudioError(f"{path} changes its rate or its channels in the middle; {_CONVERT}")
        total += frame.samples
        if total > MAX_DURATION_S * rate:
            raise AudioError(f"{path} is longer than {_spoken(MAX_DURATION_S)}; {_limit(path)}")
        parts.append(_mono(frame.to_ndarray(), channels))
    if total == 0:
        raise AudioError(f"{path} has no samples in it; {_AGAIN}")
    return Audio(np.concatenate(parts), rate, channels)


def _mono(samples: NDArray[Any], channels: int) -> Int16:
    """PyAV's array of a frame ([channels, n], or [1, n * channels] with the channels interleaved) -> int16 [n]."""
    if samples.dtype == np.int16 and channels == 1:
        return samples.reshape(-1)
    if samples.dtype.kind == "f":
        # Broken writers leave NaN and infinity in files; they are silence, not full scale.
        scaled = np.where(np.isfinite(samples), samples, 0.0).astype(np.float64)
    else:
        half = 2.0 ** (8 * samples.dtype.itemsize - 1)
        scaled = (samples.astype(np.float64) - (half if samples.dtype.kind == "u" else 0.0)) / half
    mixed = scaled.mean(axis=0) if len(samples) == channels else scaled.reshape(-1, channels).mean(axis=1)
    rounded: Int16 = np.clip(np.round(mixed * 32768.0), -32768, 32767).astype(np.int16)
    return rounded


def _refusal(path: Path, head: bytes) -> str:
    """Why FFmpeg does not open a file that starts with ``head``, and what to do."""
    kind = "an MP4 or M4A file" if head[4:8] == b"ftyp" else _known(head, _SIGNATURES)
    if kind is not None:
        return f"{path} is damaged: it starts as {kind} does, but its header breaks off or is wrong; {_AGAIN}"
    return f"{path} is {_known(head, _NOT_AUDIO) or 'of another format'}, not an audio file; {_CONVERT}"


def _known(head: bytes, signatures: dict[bytes, str]) -> str | None:
    return next((kind for start, kind in signatures.items() if head.startswith(start) or start.startswith(head)), None)


def _limit(path: Path) -> str:
    return (
        f"the limit is {_spoken(MAX_DURATION_S)}. Split it with:"
        f" ffmpeg -i INPUT -f segment -segment_time {MAX_DURATION_S:.0f} -c copy PART%03d{path.suffix}"
    )


def _spoken(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    minutes, seconds_left = divmod(rest, 60)
    parts = [
        f"{hours} h" if hours else "",
        f"{minutes} min" if minutes else "",
        f"{seconds_left} s" if seconds_left else "",
    ]
    return " ".join(part for part in parts if part)
