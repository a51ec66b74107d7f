"""What was measured, as an HTML page, as Markdown for a pull request, and as JUnit XML (docs/report.md).

Read in this order: ``read_runs.py`` (a run directory, a saved call or a file of rows -> :class:`Loaded`),
``waveform.py`` (the recording around a turn, and what its samples say of the ledger), ``collect.py`` (all runs lined
up), ``overall_verdict.py``, ``page_index.py`` (what the page always shows), ``detail.py`` and ``turn_evidence.py`` (one
turn), ``html.py`` (one HTML file around them), ``markdown.py``. The page's own code is in ``page/``.
"""

from __future__ import annotations

from .collect import report_on
from .html import write_html
from .markdown import markdown
from .read_runs import Loaded, load

__all__ = ["Loaded", "load", "markdown", "report_on", "write_html"]
