"""Whether a run is slower than its baseline, and at which stage: ``work.py``, ``compare.py``, ``baseline.py``.

``calibrate.py`` measures the machine beside the turns, ``processor.py`` what other programs took. docs/verdict.md.
"""
