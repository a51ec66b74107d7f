from __future__ import annotations

import argparse
from dataclasses import dataclass, field

import pytest
from rich.console import Console

from voice_agent.errors import AudioError, UsageError
from voice_agent.microphone.device_table import listing, table
from voice_agent.microphone.sound_system import Callback, Device, Kind, Stream, choose, format_for


def device(index: int, name: str, inputs: int = 1, outputs: int = 0, **more: object) -> Device:
    return Device(index, name, str(more.pop("api", "ALSA")), inputs, outputs, 44_100, **more)  # type: ignore[arg-type]


SPEAKER = device(0, "HDA Intel PCH: ALC257 Analog (hw:0,0)", 2, 2)
HEADSET = device(1, "Jabra Headset", 1, 2)
DEFAULT = device(2, "default", 32, 32, default_input=True, default_output=True)
CAMERA = device(3, "HD Webcam", 2, 0)
HEADSET_2 = device(4, "Jabra Headset Pro", 1, 2)
ALL = [SPEAKER, HEADSET, DEFAULT, CAMERA, HEADSET_2]


@dataclass
class Listed:
    """A sound system that only lists. ``takes``: (rate, channels) that its devices take."""

    found: list[Device]
    takes: set[tuple[int, int]] = field(default_factory=lambda: {(48_000, 1)})

    def devices(self) -> list[Device]:
        return self.found

    def supports(self, device: Device, kind: Kind, rate: int, channels: int) -> bool:
        return (rate, channels) in self.takes

    def open(
        self, device: Device, kind: Kind, *, rate: int, channels: int, block: int, latency_s: float, callback: Callback
    ) -> Stream:
        raise AssertionError("nothing is opened here")

    def refresh(self) -> None:
        raise AssertionError("nothing is refreshed here")


class TestChoice:
    @pytest.mark.parametrize(
        ("name", "kind", "found"),
        [
            ("", "input", DEFAULT),
            ("", "output", DEFAULT),
            ("3", "input", CAMERA),
            (" webcam ", "input", CAMERA),
            ("JABRA HEADSET", "output", HEADSET),  # the whole name of one, a part of the other
            ("pro", "output", HEADSET_2),
            ("hw:0", "input", SPEAKER),
        ],
    )
    def test_by_index_or_part_of_the_name(self, name: str, kind: Kind, found: Device) -> None:
        assert choose(ALL, kind, name) is found

    def test_several_fit(self) -> None:
        with pytest.raises(UsageError, match="'jabra' fits several microphones: 1 Jabra Headset; 4 Jabra Headset Pro"):
            choose(ALL, "input", "jabra")

    @pytest.mark.parametrize("name", ["nothing like it", "17", "3"])
    def test_none_fits(self, name: str) -> None:
        """Number 3 is a camera: it has no loudspeaker."""
        with pytest.raises(UsageError, match="no loudspeaker is called") as e:
            choose(ALL, "output", name)
        assert "1 Jabra Headset;" in str(e.value)
        assert "Webcam" not in str(e.value)

    @pytest.mark.parametrize("kind", ["input", "output"])
    def test_no_device_at_all(self, kind: Kind) -> None:
        with pytest.raises(AudioError, match="talk --demo"):
            choose([], kind, "")

    def test_no_default(self) -> None:
        assert choose([SPEAKER, CAMERA], "input", "") is SPEAKER

    def test_the_same_device_under_several_apis_is_one(self) -> None:
        mme = device(0, "Headset", 1, 1, api="MME", default_input=True)
        wasapi = device(1, "Headset", 1, 1, api="WASAPI")
        assert choose([wasapi, mme], "input", "headset") is mme
        assert choose([wasapi, mme], "output", "headset") is wasapi


class TestFormat:
    @pytest.mark.parametrize(
        ("takes", "microphone", "loudspeaker"),
        [
            ({(r, 1) for r in (16_000, 24_000, 44_100, 48_000)}, (16_000, 1), (48_000, 1)),
            ({(44_100, 1)}, (44_100, 1), (44_100, 1)),
            ({(48_000, 2)}, (48_000, 2), (48_000, 2)),
            ({(16_000, 2), (44_100, 1)}, (44_100, 1), (44_100, 1)),
            (set(), (44_100, 1), (44_100, 1)),
        ],
    )
    def test_the_rate(
        self, takes: set[tuple[int, int]], microphone: tuple[int, int], loudspeaker: tuple[int, int]
    ) -> None:
        sound = Listed(ALL, takes)
        assert format_for(sound, SPEAKER, "input") == microphone
        assert format_for(sound, SPEAKER, "output") == loudspeaker


class TestListing:
    def test_every_device_is_in_the_table_at_80_columns(self) -> None:
        console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
        console.print(table(listing(Listed(ALL, {(48_000, 1), (16_000, 1)}))))
        console.file.close()
        text = console.export_text()
        assert text.count("default") == 4  # its name and its mark, twice
        assert text.count("16 48") == 9
        assert max(map(len, text.splitlines())) <= 80
        assert "Webcam" in text

    def test_no_device(self) -> None:
        with pytest.raises(AudioError, match="talk --demo"):
            listing(Listed([]))


def test_the_verb_has_help() -> None:
    from voice_agent.commands import devices

    parser = argparse.ArgumentParser()
    devices.add(parser.add_subparsers())
    assert parser.parse_args(["devices"]).json is False
