"""Takes the picture of `voice-agent talk` in docs/: a real call on virtual devices, while the agent speaks.

python scripts/bench_parts/talk_picture.py [--out docs/talk.svg] [--png FILE.png]
    (needs PulseAudio; for --png, to look at it, chromium and playwright)
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import threading
import time
from pathlib import Path

from voice_agent.audio.files import read_audio
from voice_agent.audio.resampling import resample
from voice_agent.config import models

sys.path.append(str(Path(__file__).parents[2]))  # the virtual devices and the terminal are those of the tests
from tests.support.pulse import RATE, serving
from tests.support.terminal import OnTerminal

CLIPS = ("ask01", "ask02", "ask03", "sense02")
SPEC = "sim:ttft=170ms,tps=2314"
INTO_REPLY_S = 1.2
COLOURS = re.compile(rb"\x1b\[[\d;?]*[A-Za-z]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/talk.svg"))
    parser.add_argument("--png", type=Path)
    parser.add_argument("--columns", type=int, default=92)
    parser.add_argument("--whisper", default="base")
    args = parser.parse_args()
    argv = [sys.executable, "-m", "voice_agent.cli", "talk", "--llm", SPEC, "--whisper", args.whisper]
    with serving() as pulse:
        terminal = OnTerminal([*argv, "--screenshot", str(args.out)], pulse.environment, columns=args.columns)
        over = threading.Event()
        reader = threading.Thread(target=_drain, args=(terminal, over), daemon=True)
        reader.start()
        try:
            _shown(terminal, b"listening", 0)
            for name in CLIPS:
                before = len(terminal.seen)
                clip = read_audio(models.assets() / "speech" / f"{name}.wav")
                pulse.say(resample(clip.samples, clip.sample_rate, RATE), RATE).wait()
                _shown(terminal, b"speaking", before)
                if name != CLIPS[-1]:
                    _shown(terminal, b"listening", len(terminal.seen))
                    time.sleep(0.7)
            time.sleep(INTO_REPLY_S)
            terminal.press(b"q")
            terminal.child.wait(timeout=30)
        finally:
            over.set()
            reader.join(timeout=5)
            terminal.close()
    if args.png is not None:
        _png(args.out, args.png)


def _drain(terminal: OnTerminal, over: threading.Event) -> None:
    while not over.is_set():
        terminal.drain()


def _shown(terminal: OnTerminal, words: bytes, since: int) -> None:
    end = time.monotonic() + 120
    while words not in COLOURS.sub(b"", terminal.seen[since:]):
        if terminal.child.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"{words!r} was not shown; the end of what was:\n{terminal.read()[-1500:]}")
        time.sleep(0.05)


def _png(svg: Path, png: Path) -> None:
    from playwright.sync_api import sync_playwright

    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if binary is None:
        raise SystemExit("chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1200, "height": 700})
        tab.goto(svg.resolve().as_uri())
        tab.screenshot(path=png)
        browser.close()


if __name__ == "__main__":
    main()
