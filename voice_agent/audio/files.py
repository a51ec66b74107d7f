"""Recordings: any PCM WAV -> mono int16 samples, and one resampler.

The header is read and judged before the samples, so that a file of hours costs nothing. Formats: PCM of 8, 16, 24 and
32 bit, float of 32 and 64 bit, also as ``WAVE_FORMAT_EXTENSIBLE``. The RIFF chunks are walked here because the
standard library's :mod:`wave` knows neither float nor (before Python 3.12) the extensible format.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from ..errors import AudioError

MAX_DURATION_S = 600.0
# Below this peak there is nothing to hear: a muted microphone's noise, or digital silence.
SILENT_PEAK_DBFS = -60.0

_PCM, _FLOAT, _EXTENSIBLE = 0x0001, 0x0003, 0xFFFE
_MAX_CHANNELS = 64
# A writer to a pipe cannot know the size, and leaves about the largest signed or unsigned number, or 0, in its place.
_UNKNOWN_SIZE = 0x7FFFF000
_ADVICE = "convert it with: ffmpeg -i INPUT -ac 1 -ar 16000 -c:a pcm_s16le OUTPUT.wav"


@dataclass(frozen=True, slots=True, eq=False)
class Audio:
    """A recording. ``samples``: int16, mono, shape (n,), at ``sample_rate`` Hz; ``channels``: as found in the file."""

    samples: npt.NDArray[np.int16]
    sample_rate: int
    channels: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate


@dataclass(frozen=True, slots=True)
class _Format:
    code: int
    channels: int
    rate: int
    bits: int

    @property
    def frame_bytes(self) -> int:
        return self.channels * (self.bits // 8)


def read_audio(path: str | os.PathLike[str]) -> Audio:
    """Read a WAV file of any rate and channel count, mixed down to mono.

    Raises AudioError, saying what to do, for a file that is missing, empty, not a WAV, damaged, without samples,
    silent, or longer than ``MAX_DURATION_S``.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise AudioError(f"{path} is a directory; name the WAV files in it one by one")
        size = path.stat().st_size
        with path.open("rb") as stream:
            form, data_bytes = _read_header(path, stream, size)
            _check_length(path, form, data_bytes)
            raw = stream.read(data_bytes)
    except FileNotFoundError:
        raise AudioError(f"{path}: no such file; check the name") from None
    except OSError as error:
        raise AudioError(f"{path} cannot be read ({error.strerror})") from None
    samples = _to_mono_int16(raw, form)
    peak = int(np.abs(samples.astype(np.int32)).max())
    if peak < 32768 * 10 ** (SILENT_PEAK_DBFS / 20):
        raise AudioError(
            f"{path} is silent: nothing to hear in it; check the recording's level or the chosen microphone"
        )
    return Audio(samples, form.rate, form.channels)


def _read_header(path: Path, stream: BinaryIO, size: int) -> tuple[_Format, int]:
    """Walk the chunks up to the samples. Returns their format and how many bytes of them to read."""
    if size == 0:
        raise AudioError(f"{path} is empty (0 bytes); record or copy it again")
    riff = stream.read(12)
    if len(riff) < 12 and b"RIFF".startswith(riff[:4]):
        raise AudioError(f"{path} is damaged: its header breaks off; record or copy it again")
    if riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
        raise AudioError(f"{path} is {_guess(riff)}, not a WAV file; {_ADVICE}")
    form: _Format | None = None
    while True:
        head = stream.read(8)
        if len(head) < 8:
            missing = "the format" if form is None else "the samples"
            raise AudioError(f"{path} is damaged: it ends before {missing}; record or copy it again")
        name, length = struct.unpack("<4sI", head)
        if name == b"data":
            if form is None:
                raise AudioError(f"{path} is damaged: its samples come before their format; record or copy it again")
            here = size - stream.tell()
            if length >= _UNKNOWN_SIZE or (length == 0 and here > 0):
                length = here
            if length > here + form.frame_bytes:
                raise AudioError(
                    f"{path} is damaged: its header promises {length} bytes of sound, {here} are there;"
                    " copy it again, or repair it with: ffmpeg -i INPUT OUTPUT.wav"
                )
            whole = min(length, here) // form.frame_bytes * form.frame_bytes
            if whole == 0:
                raise AudioError(f"{path} has no samples in it; record or copy it again")
            return form, whole
        if name == b"fmt ":
            form = _read_format(path, stream.read(length) if length <= 1024 else b"")
            stream.seek(length & 1, os.SEEK_CUR)
        else:
            stream.seek(length + (length & 1), os.SEEK_CUR)


def _read_format(path: Path, chunk: bytes) -> _Format:
    if len(chunk) < 16:
        raise AudioError(f"{path} is damaged: its format is cut short; record or copy it again")
    code, channels, rate, _, _, bits = struct.unpack("<HHIIHH", chunk[:16])
    if code == _EXTENSIBLE and len(chunk) >= 26:
        (code,) = struct.unpack("<H", chunk[24:26])
    if not 1 <= channels <= _MAX_CHANNELS or not 1000 <= rate <= 768_000:
        raise AudioError(
            f"{path} is damaged: its header says {channels} channels at {rate} Hz; record or copy it again"
        )
    if bits not in {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}.get(code, ()):
        raise AudioError(f"{path} holds compressed or unusual sound (format {code:#06x}, {bits} bit); {_ADVICE}")
    return _Format(code, channels, rate, bits)


def _check_length(path: Path, form: _Format, data_bytes: int) -> None:
    duration_s = data_bytes / form.frame_bytes / form.rate
    if duration_s > MAX_DURATION_S:
        raise AudioError(
            f"{path} is {_spoken(duration_s)} long; the limit is {_spoken(MAX_DURATION_S)}. Split it with:"
            f" ffmpeg -i INPUT -f segment -segment_time {MAX_DURATION_S:.0f} -c copy PART%03d.wav"
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


def _to_mono_int16(raw: bytes, form: _Format) -> npt.NDArray[np.int16]:
    if form.code == _PCM and form.bits == 16 and form.channels == 1:
        return np.frombuffer(raw, "<i2").astype(np.int16)
    mixed: npt.NDArray[np.float64] = _to_float(raw, form).reshape(-1, form.channels).mean(axis=1)
    full: npt.NDArray[np.float64] = np.clip(np.round(mixed * 32768.0), -32768, 32767)
    return full.astype(np.int16)


def _to_float(raw: bytes, form: _Format) -> npt.NDArray[np.float64]:
    """Samples in [-1, 1), all channels interleaved."""
    if form.code == _FLOAT:
        values = np.frombuffer(raw, "<f4" if form.bits == 32 else "<f8").astype(np.float64)
        # Not-a-number and infinity are found in files of broken writers; they are silence, not full scale.
        return np.where(np.isfinite(values), values, 0.0)
    if form.bits == 8:
        return (np.frombuffer(raw, np.uint8).astype(np.float64) - 128.0) / 128.0
    if form.bits == 24:
        packed = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        wide = np.zeros((len(packed), 4), np.uint8)
        wide[:, 1:] = packed  # into the upper bytes, so that the sign comes along
        return wide.view("<i4").reshape(-1).astype(np.float64) / 2.0**31
    whole = np.frombuffer(raw, "<i2" if form.bits == 16 else "<i4").astype(np.float64)
    return whole / 2.0 ** (form.bits - 1)


def _guess(head: bytes) -> str:
    """What kind of file starts like this, in words."""
    signatures = {
        b"\x89PNG": "a PNG picture",
        b"\xff\xd8\xff": "a JPEG picture",
        b"ID3": "an MP3 file",
        b"\xff\xfb": "an MP3 file",
        b"OggS": "an Ogg file",
        b"fLaC": "a FLAC file",
        b"FORM": "an AIFF file",
        b"RF64": "an RF64 file (a WAV above 4 GB)",
        b"%PDF": "a PDF document",
        b"PK\x03\x04": "a ZIP archive",
    }
    if head[4:8] == b"ftyp":
        return "an MP4 or M4A file"
    return next((kind for start, kind in signatures.items() if head.startswith(start)), "of another format")
