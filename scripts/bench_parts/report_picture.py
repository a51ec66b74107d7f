"""Takes the picture of the report in docs/: a real run, as ``voice-agent test`` left it (docs/report.md).

python scripts/bench_parts/report_picture.py RUN... [--out docs/report.png] [--dark]      (needs chromium, playwright)
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from voice_agent.testing.report import write_html


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, default=Path("docs/report.png"))
    parser.add_argument("--dark", action="store_true")
    args = parser.parse_args()
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if binary is None:
        parser.error("chromium is not installed (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as p:
        page = Path(folder) / "report.html"
        write_html(args.runs, page)
        browser = p.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        tab = browser.new_page(
            viewport={"width": 1360, "height": 1000},
            color_scheme="dark" if args.dark else "light",
            device_scale_factor=1,
        )
        tab.goto(page.as_uri())
        tab.wait_for_selector(".plot")
        tab.screenshot(path=args.out, full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
