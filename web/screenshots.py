"""Takes the pictures of the page in docs/: a call with recorded speech, in light, in dark and at a phone's width.

    python web/screenshots.py [FOLDER]      (default docs; needs chromium, livekit-server, playwright)

The language model is simulated, so the pictures say so.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import wave
from pathlib import Path

import numpy as np
from playwright.async_api import Page, async_playwright

from voice_agent.config import Config, LlmConfig, WebConfig, models
from voice_agent.web import launch

CLIPS = ("ask01", "ask02", "ask03", "sense01", "ask04", "sense03", "sense04")
TURNS = 7
LOOKS = {
    "web-light": {"viewport": {"width": 1240, "height": 860}, "color_scheme": "light"},
    "web-dark": {"viewport": {"width": 1240, "height": 860}, "color_scheme": "dark"},
    "web-phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
}


def microphone(path: Path) -> str:
    parts = [np.zeros(16000 * 4, np.int16)]
    for name in CLIPS:
        with wave.open(str(models.assets() / "speech" / f"{name}.wav")) as reader:
            parts += [np.frombuffer(reader.readframes(reader.getnframes()), np.int16), np.zeros(16000 * 9, np.int16)]
    with wave.open(str(path), "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(16000)
        writer.writeframes(np.concatenate(parts).tobytes())
    return f"--use-file-for-fake-audio-capture={path}"


async def main(folder: Path) -> None:
    config = Config(llm=LlmConfig(spec="sim:ttft=170ms,tps=2314"), web=WebConfig(port=0))
    flags = [
        "--no-sandbox",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        "--autoplay-policy=no-user-gesture-required",
        "--allow-loopback-in-peer-connection",
        "--disable-features=WebRtcHideLocalIpsWithMdns",
    ]
    with tempfile.TemporaryDirectory() as scratch:
        flags.append(microphone(Path(scratch) / "microphone.wav"))
        async with launch.running(config, say=print) as r, async_playwright() as p:
            browser = await p.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
            tab = await browser.new_page()
            await tab.goto(r.address)
            await tab.locator("#call").click()
            await tab.locator("#bars > li").nth(TURNS - 1).wait_for(timeout=240_000)
            for name, look in LOOKS.items():
                await shot(tab, folder / f"{name}.png", look)
            await browser.close()


async def shot(tab: Page, path: Path, look: dict[str, object]) -> None:
    await tab.set_viewport_size(look["viewport"])  # type: ignore[arg-type]
    await tab.emulate_media(color_scheme=look["color_scheme"])  # type: ignore[arg-type]
    row = tab.locator("#bars > li button").nth(1)
    match path.stem:
        case "web-light":
            await row.hover()  # the marks beside the row
        case "web-dark":
            await tab.mouse.move(5, 5)
            await row.click()  # the marks in the row
            await tab.mouse.move(5, 5)
        case _:
            await row.click()
            await tab.locator(".turns").evaluate("card => window.scrollTo(0, card.offsetTop - 12)")
    await tab.wait_for_timeout(300)
    await tab.screenshot(path=path)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs")))
