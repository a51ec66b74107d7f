"""What was measured, as a page to look at, a comment for a pull request, and JUnit XML (docs/report.md).

Read in this order: ``load.py`` (a run directory, a saved call or a file of rows -> :class:`Loaded`), ``sound.py`` (the
stretch of recording around a turn, and what the samples say of the ledger),
``data.py`` (what the page always shows), ``detail.py`` and ``evidence.py`` (one turn), ``page.py`` (one HTML file
around it), ``markdown.py``. The page's own code is in ``page/``.
"""

from __future__ import annotations

from .html import write_html
from .markdown import markdown
from .read_runs import Loaded, load

__all__ = ["Loaded", "load", "markdown", "write_html"]
