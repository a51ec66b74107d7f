"""Bad usage: one clear line, the file's name in it, exit code 2, and never a traceback."""

from __future__ import annotations

import struct
import wave
from pathlib import Path

import numpy as np
import pytest

from voice_agent.cli import main
from voice_agent.commands.common import EXIT_USAGE


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("VOICE_AGENT_"):
            monkeypatch.delenv(name)


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run, expect bad usage, and give the one line."""
    assert main(list(argv)) == EXIT_USAGE
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1, err
    assert lines[0].startswith("voice-agent: ")
    return lines[0]


def write_wav(path: Path, samples: np.ndarray[tuple[int], np.dtype[np.int16]]) -> Path:
    with wave.open(str(path), "wb") as f:
        f.setnchannels(1)
        f.setsampwidth(2)
        f.setframerate(16_000)
        f.writeframes(samples.tobytes())
    return path


class TestFiles:
    def test_missing(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "nobody.wav"
        assert f"{path}: no such file" in said(capsys, "script", str(path))

    def test_empty(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "empty.wav"
        path.touch()
        assert str(path) in (line := said(capsys, "script", str(path)))
        assert "empty" in line

    def test_a_folder(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        line = said(capsys, "script", str(tmp_path))
        assert f"{tmp_path} is a directory" in line

    def test_a_picture(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "picture.wav"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
        assert f"{path} is a PNG picture" in said(capsys, "script", str(path))

    @pytest.mark.parametrize("kept", [3, 11, 20, 40, 43, 500])
    def test_broken_off(self, speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kept: int) -> None:
        path = tmp_path / "broken.wav"
        path.write_bytes((speech / "ask02.wav").read_bytes()[:kept])
        assert str(path) in (line := said(capsys, "script", str(path)))
        assert "damaged" in line

    def test_silent(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = write_wav(tmp_path / "silent.wav", np.zeros(16_000, np.int16))
        assert f"{path} is silent" in said(capsys, "script", str(path))

    def test_sound_but_no_speech(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        hum = (3000 * np.sin(np.arange(16_000) * 2 * np.pi * 50 / 16_000)).astype(np.int16)
        path = write_wav(tmp_path / "hum.wav", hum)
        assert f"{path}: no speech in it" in said(capsys, "script", str(path))

    def test_three_hours(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "long.wav"
        n = 3 * 3600 * 16_000 * 2
        with path.open("wb") as f:
            f.write(b"RIFF" + struct.pack("<I", n + 36) + b"WAVEfmt ")
            f.write(struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16) + b"data" + struct.pack("<I", n))
            f.truncate(n + 44)  # sparse: it takes no room
        assert f"{path} is 3 h long" in said(capsys, "script", str(path))

    def test_the_bad_one_of_several_is_named(
        self, speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "nobody.wav"
        line = said(capsys, "script", str(speech / "ask02.wav"), str(path))
        assert str(path) in line
        assert "ask02" not in line

    def test_text_without_words(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "text:" in said(capsys, "script", "text: ")

    def test_a_configuration_that_is_missing(
        self, speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "nothing.toml"
        assert str(path) in said(capsys, "script", str(speech / "ask02.wav"), "--config", str(path))


class TestSettings:
    @pytest.mark.parametrize(
        ("pair", "words"),
        [
            ("turn.patiense=0.7", ["turn.patiense", "turn.patience"]),
            ("patience=0.7", ["patience", "unknown"]),
            ("turn.patience=2", ["turn.patience", "0 to 1"]),
            ("turn.patience=often", ["turn.patience", "'often'", "number"]),
            ("turn.patience", ["KEY=VALUE"]),
            ("=1", ["unknown"]),
        ],
    )
    def test_set(self, speech: Path, capsys: pytest.CaptureFixture[str], pair: str, words: list[str]) -> None:
        line = said(capsys, "script", str(speech / "ask02.wav"), "--set", pair)
        assert all(word in line for word in words), line

    @pytest.mark.parametrize(
        ("spec", "words"),
        [
            ("sim:ttft=fast", ["ttft=fast", "170ms"]),
            ("sim:speed=9", ["speed=9", "allowed"]),
            ("nobody", ["nobody"]),
            ("sim:error=418", ["error=418", "500"]),
        ],
    )
    def test_llm(self, speech: Path, capsys: pytest.CaptureFixture[str], spec: str, words: list[str]) -> None:
        line = said(capsys, "script", str(speech / "ask02.wav"), "--llm", spec)
        assert all(word in line for word in words), line

    @pytest.mark.parametrize("flag", [["--repeat", "0"], ["--gap", "-1"]])
    def test_numbers_that_make_no_sense(
        self, speech: Path, capsys: pytest.CaptureFixture[str], flag: list[str]
    ) -> None:
        assert flag[0] in said(capsys, "script", str(speech / "ask02.wav"), *flag)

    @pytest.mark.parametrize(
        "argv", [[], ["script"], ["sing"], ["script", "x", "--loud"], ["script", "x", "--repeat", "y"]]
    )
    def test_no_such_command(self, capsys: pytest.CaptureFixture[str], argv: list[str]) -> None:
        with pytest.raises(SystemExit) as stop:
            main(argv)
        assert stop.value.code == EXIT_USAGE
        assert "usage: voice-agent" in capsys.readouterr().err

    def test_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as stop:
            main(["script", "--help"])
        assert stop.value.code == 0
        out = capsys.readouterr().out
        for flag in ("--record", "--jsonl", "--repeat", "--llm", "--whisper", "--set"):
            assert flag in out

    def test_a_key_that_is_not_allowed_is_not_repeated(self, speech: Path, capsys: pytest.CaptureFixture[str]) -> None:
        key = "canary-4f9d2c7e1b8a"
        line = said(capsys, "script", str(speech / "ask02.wav"), "--api-key", key, "--llm", "nobody")
        assert key not in line
