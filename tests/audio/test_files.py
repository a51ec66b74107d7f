from __future__ import annotations

import struct
import subprocess
import sys
import wave
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice_agent.audio import files as audio
from voice_agent.errors import AudioError

RATE = 16000
PCM, FLOAT = 1, 3


def tone(seconds: float = 0.25, rate: int = RATE, level: float = 0.5) -> npt.NDArray[np.float64]:
    """A 440 Hz tone, samples in [-1, 1]."""
    return level * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) & 1)


def wav(
    data: bytes, code: int = PCM, bits: int = 16, channels: int = 1, rate: int = RATE, *, wide: bool = False
) -> bytes:
    """A WAV file; ``wide`` writes the format as WAVE_FORMAT_EXTENSIBLE."""
    frame = channels * bits // 8
    form = struct.pack("<HHIIHH", 0xFFFE if wide else code, channels, rate, rate * frame, frame, bits)
    if wide:
        form += struct.pack("<HHIH", 22, bits, 0, code) + b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"
    body = b"WAVE" + chunk(b"fmt ", form) + chunk(b"note", b"odd") + chunk(b"data", data)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def encode(samples: npt.NDArray[np.float64], code: int, bits: int) -> bytes:
    if code == FLOAT:
        return samples.astype("<f4" if bits == 32 else "<f8").tobytes()
    if bits == 8:
        return np.round(samples * 127 + 128).astype(np.uint8).tobytes()
    whole = np.round(samples * (2 ** (bits - 1) - 1)).astype("<i4")
    return b"".join(int(value).to_bytes(bits // 8, "little", signed=True) for value in whole)


def encoded(path: Path, samples: npt.NDArray[np.float64], codec: str, container: str | None, rate: int = RATE) -> Path:
    """``samples`` as FFmpeg compresses them, written to ``path``."""
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        assert isinstance(stream, av.AudioStream)
        whole = np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(whole.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = rate
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "clip.wav"


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(("code", "bits"), [(PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32), (FLOAT, 64)])
def test_every_sample_format_gives_the_same_sound(file: Path, code: int, bits: int, wide: bool) -> None:
    file.write_bytes(wav(encode(tone(), code, bits), code, bits, wide=wide))
    read = audio.read_audio(file)
    assert (read.sample_rate, read.channels, len(read.samples)) == (RATE, 1, RATE // 4)
    assert read.samples.dtype == np.int16
    assert read.duration_s == 0.25
    tolerance = 260 if bits == 8 else 2
    assert np.abs(read.samples - tone() * 32767).max() <= tolerance


def test_sixteen_bit_mono_is_read_exactly_as_wave_wrote_it(file: Path) -> None:
    samples = (tone() * 32767).astype(np.int16)
    with wave.open(str(file), "wb") as writer:
        writer.setparams((1, 2, 44100, 0, "NONE", ""))
        writer.writeframes(samples.tobytes())
    read = audio.read_audio(file)
    assert read.sample_rate == 44100
    np.testing.assert_array_equal(read.samples, samples)


def test_flac_is_read_to_the_sample(tmp_path: Path) -> None:
    read = audio.read_audio(encoded(tmp_path / "a name that says nothing", tone(), "flac", "flac"))
    assert np.array_equal(read.samples, np.round(tone() * 32767))


@pytest.mark.parametrize(
    ("name", "codec", "container", "rate"),
    [
        ("clip.mp3", "libmp3lame", None, RATE),
        ("clip.ogg", "libopus", None, 48_000),
        ("clip.m4a", "aac", "ipod", RATE),
    ],
)
def test_compressed_formats_are_read(tmp_path: Path, name: str, codec: str, container: str, rate: int) -> None:
    read = audio.read_audio(encoded(tmp_path / name, tone(0.6, rate), codec, container, rate))
    assert (read.sample_rate, read.channels) == (rate, 1)
    assert read.duration_s == pytest.approx(0.6, abs=0.13)  # the encoders' delay, and a last frame filled up
    inner = read.samples[rate // 10 : rate // 2]  # 0.4 s: 176 periods
    spectrum = np.abs(np.fft.rfft(inner))
    assert np.argmax(spectrum) == pytest.approx(440 * 0.4, abs=1)
    assert np.sqrt(np.square(inner / 32767).mean()) == pytest.approx(0.5 / 2**0.5, rel=0.1)


def test_a_flac_that_was_cut_short_is_damaged(tmp_path: Path) -> None:
    path = encoded(tmp_path / "clip.flac", np.random.default_rng(1).normal(0, 0.1, 4 * RATE), "flac", None)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match="is damaged"):
        audio.read_audio(path)


def test_a_playlist_opens_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "clip.wav").write_bytes(GOOD)
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path}/clip.wav\n#EXT-X-ENDLIST\n")
    with pytest.raises(AudioError, match="not an audio file"):
        audio.read_audio(playlist)


def test_a_picture_without_sound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width = video.height = 64
        for _ in range(3):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        container.mux(video.encode())
    with pytest.raises(AudioError, match="no sound in it"):
        audio.read_audio(path)


def test_pyav_is_imported_by_the_first_file_only() -> None:
    code = "import sys; from voice_agent.audio import files; print('av' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"


def test_channels_are_mixed_down_to_their_mean(file: Path) -> None:
    stereo = np.column_stack([tone(level=0.8), np.zeros(RATE // 4)]).reshape(-1)
    file.write_bytes(wav(encode(stereo, PCM, 16), channels=2))
    read = audio.read_audio(file)
    assert (read.channels, len(read.samples)) == (2, RATE // 4)
    assert np.abs(read.samples - tone(level=0.4) * 32767).max() <= 2


def test_float_above_full_scale_is_clipped_and_not_a_number_is_silence(file: Path) -> None:
    values = np.array([2.0, -2.0, np.nan, np.inf, 0.5])
    file.write_bytes(wav(encode(values, FLOAT, 32), FLOAT, 32))
    assert audio.read_audio(file).samples.tolist() == [32767, -32768, 0, 0, 16384]


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_recording_from_a_pipe_whose_size_was_never_filled_in_is_read(file: Path, size: int) -> None:
    data = encode(tone(), PCM, 16)
    content = wav(data)
    at = content.rindex(b"data") + 4
    file.write_bytes(content[:at] + struct.pack("<I", size) + content[at + 4 :])
    assert len(audio.read_audio(file).samples) == RATE // 4


def test_half_a_frame_at_the_end_is_dropped(file: Path) -> None:
    file.write_bytes(wav(encode(tone(), PCM, 16) + b"\x01"))
    assert len(audio.read_audio(file).samples) == RATE // 4


GOOD = wav(encode(tone(), PCM, 16))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"RI", "damaged: it starts as a WAV file does"),
        (GOOD[:11], "damaged"),
        (GOOD[:30], "damaged"),
        (GOOD[:12], "damaged"),
        (GOOD[:-4000], rf"header promises {len(GOOD)} bytes, {len(GOOD) - 4000} are there"),
        (wav(b""), "no samples"),
        (b"RIFF\0\0\0\0WAVE" + chunk(b"data", b"\0\0"), "damaged"),
        (wav(encode(tone(), PCM, 16), code=0x11), "cannot be decoded.*ffmpeg"),
        (wav(encode(tone(), PCM, 16), channels=0), "damaged"),
        (wav(encode(tone(), PCM, 16), rate=0), "damaged"),
        (wav(encode(tone(), PCM, 16), rate=999), "1 channels at 999 Hz"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "a PNG picture, not an audio file; convert it with: ffmpeg"),
        (b"ID3\x04" + b"\0" * 100, "damaged: it starts as an MP3 file does"),
        (b"\0\0\0\x20ftypM4A " + b"\0" * 100, "damaged: it starts as an MP4 or M4A file"),
        (b"some words", "of another format, not an audio file"),
        (wav(b"\0\0" * 4000), "is silent"),
        (wav(encode(tone(level=0.0009), PCM, 16)), "is silent"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(file: Path, content: bytes, said: str) -> None:
    file.write_bytes(content)
    with pytest.raises(AudioError, match=said) as caught:
        audio.read_audio(file)
    assert str(file) in str(caught.value)


def test_quiet_is_not_silent(file: Path) -> None:
    file.write_bytes(wav(encode(tone(level=0.002), PCM, 16)))
    assert len(audio.read_audio(file).samples) == RATE // 4


def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no such file"):
        audio.read_audio(tmp_path / "absent.wav")
    with pytest.raises(AudioError, match="is a directory"):
        audio.read_audio(tmp_path)


def test_three_hours_are_refused_from_the_header_alone(file: Path) -> None:
    size = 3 * 3600 * RATE * 2
    content = wav(b"")
    with file.open("wb") as stream:
        stream.write(content[:-4] + struct.pack("<I", size))
        stream.truncate(len(content) + size)  # a hole: no disk space is used
    with pytest.raises(AudioError, match=r"is 3 h long; the limit is 10 min\. Split it with: ffmpeg .*PART%03d\.wav"):
        audio.read_audio(file)


def test_a_length_that_no_header_tells_is_measured(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ADTS counts nothing: FFmpeg guesses from the size, here far too little, so the samples are counted too."""
    monkeypatch.setattr(audio, "MAX_DURATION_S", 2.0)
    quiet_then_loud = np.concatenate([np.zeros(RATE), tone(3.0)])
    aac = encoded(file.with_suffix(".aac"), quiet_then_loud, "aac", "adts")
    with pytest.raises(AudioError, match=r"long|longer than 2 s"):
        audio.read_audio(aac)


def test_just_under_the_limit_is_read(file: Path) -> None:
    rate = 1000
    file.write_bytes(wav(b"\x00\x10" * int(audio.MAX_DURATION_S * rate), rate=rate))
    assert audio.read_audio(file).duration_s == audio.MAX_DURATION_S


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)  # the first file imports PyAV
def test_no_content_makes_any_other_error(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "noise.wav"
    for content in (noise, GOOD[:12] + noise, GOOD[:20] + noise, GOOD[:36] + noise):
        file.write_bytes(content)
        try:
            read = audio.read_audio(file)
        except AudioError:
            continue
        assert len(read.samples) > 0
