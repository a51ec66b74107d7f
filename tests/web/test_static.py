"""The built page: that it is the one of these sources, and what it must not contain."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pytest

from voice_agent.web.server import STATIC

WEB = Path(__file__).resolve().parents[2] / "web"


def test_the_built_page_is_the_one_of_these_sources() -> None:
    names = [f"src/{path.name}" for path in (WEB / "src").iterdir()]
    made = hashlib.sha256()
    for name in sorted([*names, "build.mjs", "package-lock.json", "tsconfig.json"]):
        made.update(name.encode() + b"\0" + (WEB / name).read_bytes() + b"\0")
    built = json.loads((STATIC / "build.json").read_text())["sources"]
    assert built == made.hexdigest(), "build the page again: cd web && npm ci && npm run build"


def test_the_lock_names_no_address_and_every_package_by_its_hash() -> None:
    text = (WEB / "package-lock.json").read_text()
    assert "://" not in text
    packages = json.loads(text)["packages"]
    assert {name for name, entry in packages.items() if "integrity" not in entry} == {""}


class Sources(HTMLParser):
    """What a page loads, and whether anything in it would need an exception in the policy."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.inline: list[str] = []
        self.labelled: set[str] = set()
        self.fields: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "img", "iframe", "audio", "video"):
            self.loads.append(given.get("src") or "")
        if tag == "link":
            self.loads.append(given.get("href") or "")
        self.inline += [name for name in given if name == "style" or name.startswith("on")]
        if tag == "style":
            self.inline.append(tag)
        if tag == "label":
            self.labelled.add(given.get("for") or "")
        if tag in ("input", "select"):
            self.fields.add(given.get("id") or "")


def test_the_page_loads_its_own_files_only_and_every_field_has_a_label() -> None:
    found = Sources()
    found.feed((STATIC / "index.html").read_text())
    assert found.loads
    assert all(re.fullmatch(r"static/[\w.]+", path) and (STATIC / path[7:]).is_file() for path in found.loads)
    assert not found.inline
    assert found.fields
    assert found.fields <= found.labelled


def test_no_script_or_style_fetches_from_elsewhere() -> None:
    assert not re.findall(r"url\(|@import", (STATIC / "app.css").read_text())
    script = (STATIC / "app.js").read_text()
    assert not re.findall(r"(?:import|importScripts)\(\s*[\"']", script)
    hosts = set(re.findall(r"(?:https?|wss?)://([\w-]+(?:\.[\w-]+)+)", script))
    assert hosts <= {"aomediacodec.github.io"}  # the name of an RTP header extension, which is never fetched


def test_the_licences_of_what_is_bundled_come_along() -> None:
    text = (STATIC / "THIRD_PARTY.txt").read_text()
    packages = json.loads((WEB / "package-lock.json").read_text())["packages"]
    bundled = [path for path, entry in packages.items() if path and not entry.get("dev") and "@types/" not in path]
    assert "node_modules/livekit-client" in bundled
    for path in bundled:
        entry = packages[path]
        assert f"{path.removeprefix('node_modules/')} {entry['version']} ({entry['license']})" in text


def test_the_wheel_takes_the_built_page_and_leaves_the_sources() -> None:
    build = tomllib.loads((WEB.parent / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    assert build["wheel"]["packages"] == ["voice_agent"]  # static/ lies inside the package
    assert STATIC.is_relative_to(WEB.parent / "voice_agent")
    assert "/web" in build["sdist"]["include"]


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb`` (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_colours_are_told_apart(theme: str) -> None:
    roots = re.findall(r":root \{(.*?)\}", (WEB / "src" / "theme.css").read_text(), re.S)
    assert len(roots) == 2
    colour = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", roots[0]))
    if theme == "dark":
        colour |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", roots[1]))
    texts = [(text, on) for text in ("text", "soft") for on in ("bg", "card", "sunk")]
    texts += [("text", "warn-bg"), ("on-accent", "accent"), ("on-accent", "hangup"), ("bad", "card"), ("bad", "sunk")]
    texts += [("bad", "bad-bg"), ("card", "text")]
    for text, on in texts:
        assert contrast(colour[text], colour[on]) >= 4.5, (text, on)  # AA for text
    marks = [name for name in colour if name.startswith("s-")]
    assert len(marks) == 8
    for mark in [*marks, "edge", "accent", "good"]:
        assert contrast(colour[mark], colour["card"]) >= 3, mark  # AA for what is not text
