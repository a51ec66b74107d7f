"""``voice-agent doctor`` as a user runs it, with the real models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import CANARY, Doctor, Provider

pytestmark = pytest.mark.e2e


def test_a_machine_whose_sound_is_out_of_order(doctor: Doctor) -> None:
    done = doctor("--json", "--llm", "embedded", PATH="")
    output = json.loads(done.stdout)
    rows = {row["name"]: row for row in output["findings"]}
    assert done.returncode == 0, done.stdout
    assert output["ok"] is True
    assert all(row["advice"] for row in output["findings"] if row["status"] in ("warning", "failed"))
    assert rows["PortAudio"]["status"] == "warning"
    assert "talk --demo" in rows["PortAudio"]["advice"]
    assert rows["devices"]["status"] == rows["level"]["status"] == rows["round trip"]["status"] == "skipped"
    assert rows["whisper tiny.en"]["facts"]["path"]
    assert rows["stt"]["facts"]["words_heard"] >= 0.6
    assert rows["stt"]["facts"]["ms"] > 0
    assert rows["end_of_turn_model"]["facts"]["whole"] > rows["end_of_turn_model"]["facts"]["broken"]
    assert rows["tts"]["facts"]["times_real_time"] > 1.2
    assert "(embedded)" in rows["first words"]["text"]
    assert rows["LiveKit"]["status"] == "skipped"
    assert "Traceback" not in done.stderr


def test_what_is_broken_is_named_and_no_key_is_shown(doctor: Doctor, provider: Provider, tmp_path: Path) -> None:
    done = doctor(
        "--no-chirp", "--base-url", provider.url, "--api-key", CANARY, "--whisper", str(tmp_path),
        "--voice", "./no.onnx",
        OPENAI_API_KEY=CANARY, LIVEKIT_URL="ws://127.0.0.1:9", LIVEKIT_API_KEY="k", LIVEKIT_API_SECRET=CANARY * 3,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    text = " ".join(done.stdout.split())
    for part in (
        "no model.bin",
        "does not exist",
        "refused the key (401)",
        "no connection",
        "FAIL LiveKit",
        "4 failed",
    ):
        assert part in text, done.stdout
    assert CANARY not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_bad_setting_is_bad_usage(doctor: Doctor) -> None:
    done = doctor("--set", "llm.nothing=1")
    assert done.returncode == 2
    assert "unknown setting" in done.stderr
