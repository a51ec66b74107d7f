"""One HTML file with everything in it: it fetches no address, and no text of a conversation becomes markup.

The page's code (``page/*.js``, ES modules) is joined into a single inline module. The measurements are in data blocks
that no browser executes, one a turn, read when the turn is opened. The page's content security policy allows this
script and this style by their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ...config.redaction import redact, redact_values
from ...errors import UsageError
from .collect import RunsReport, by_urgency, report_on
from .detail import detail, sound
from .page_index import index
from .waveform import Recording

PAGE = Path(__file__).with_name("page")
MODULES = ("dom", "store", "player", "charts", "plot", "turn", "list", "runs", "main")
AUDIO_MB = 24.0
_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./(\w+)\.js";\n', re.M)
_EXPORT = re.compile(r"^export (?:const|class|function) (\w+)", re.M)


def write_html(
    folders: Sequence[Path],
    path: Path,
    *,
    audio_mb: float = AUDIO_MB,
    on_note: Callable[[str], None] = lambda _: None,
) -> None:
    """Write the report on ``folders`` as one page (:func:`~.collect.report_on`; :func:`write_page`)."""
    write_page(report_on(folders, on_note), path, audio_mb=audio_mb)


def write_page(report: RunsReport, path: Path, *, audio_mb: float = AUDIO_MB) -> None:
    """Write the page, whole or not at all. Raises UsageError if it cannot be written.

    ``audio_mb``: how much of the file may be sound; turns that do not fit have a link to the recording instead.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(path.name + ".part")
        with beside.open("w", encoding="utf-8", errors="replace") as stream:
            for part in _parts(report, path, round(audio_mb * 1e6)):
                stream.write(part)
        beside.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}); name a file in a folder of yours") from None


def bundle() -> str:
    """The page's modules as one, each in its own scope. ValueError if one imports what does not stand before it."""
    parts: list[str] = []
    for place, name in enumerate(MODULES):
        text = (PAGE / f"{name}.js").read_text(encoding="utf-8")
        for _, needed in _IMPORT.findall(text):
            if needed not in MODULES[:place]:
                raise ValueError(f"{name}.js imports {needed}.js, which does not stand before it")
        body = re.sub(r"^export ", "", _IMPORT.sub(r"const {\1} = $\2;\n", text), flags=re.M)
        parts.append(f"const ${name} = (() => {{\n{body}return {{ {', '.join(_EXPORT.findall(text))} }};\n}})();")
    return "\n".join(parts)


def data_block(name: str, value: Any) -> str:
    """JSON inside HTML. Without ``<`` and ``&`` in it there is nothing a parser could take for markup."""
    text = json.dumps(redact_values(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f'<script type="application/json" id="{name}">{text}</script>\n'


def _parts(report: RunsReport, path: Path, audio_bytes: int) -> Iterator[str]:
    names = list(dict.fromkeys(run.name for run in report.runs))
    title = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    style, script = (PAGE / "report.css").read_text(encoding="utf-8"), bundle()
    # A recording beside the page is played from there; nothing else is ever loaded.
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; media-src 'self' file: blob:;"
        " img-src data:; base-uri 'none'; form-action 'none'"
    )
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{html.escape(redact(title))}: voice-agent report</title>\n<style>{style}</style>\n</head>\n"
        '<body>\n<div id="page"><noscript>This report is drawn by a script that is part of this file; allow it to'
        " run. The figures are also in the Markdown that <code>voice-agent report --markdown</code> writes."
        "</noscript></div>\n"
    )
    with contextlib.ExitStack() as stack:
        recordings = [
            None if run.recording is None else stack.enter_context(Recording(run.recording)) for run in report.runs
        ]
        links = [None if run.recording is None else link_to(run.recording, path) for run in report.runs]
        embedded = 0
        left = audio_bytes
        for entry in by_urgency(report):
            recording = recordings[entry.run]
            data = None if recording is None or left <= 0 else sound(entry, recording)
            if data is None:
                continue
            block = data_block(f"a{entry.number}", data)
            if len(block) <= left:
                left -= len(block)
                embedded += 1
                yield block
        for entry in report.entries:
            yield data_block(f"t{entry.number}", detail(report, entry, recordings[entry.run], links[entry.run]))
        facts = index(report, title)
        with_sound = sum(entry.window is not None and recordings[entry.run] is not None for entry in report.entries)
        facts["audio"] = {"embedded": embedded, "of": with_sound, "limit_mb": audio_bytes / 1e6}
        yield data_block("index", facts)
    yield f'<script type="module">{script}</script>\n</body>\n</html>\n'


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def link_to(recording: Path, page: Path) -> str | None:
    """The recording's address as seen from the page; None if the two are on different drives."""
    try:
        return quote(Path(os.path.relpath(recording.resolve(), page.resolve().parent)).as_posix())
    except ValueError:
        return None
