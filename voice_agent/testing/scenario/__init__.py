"""Scripted conversations: written down, played, and held to what was expected (docs/scenarios.md).

Read ``script_schema.py`` (what a script may say), ``director.py`` (how it is played, through an end),
``harness_end.py`` and ``room_end.py`` (the two ends), ``runner.py`` (one run), ``expect.py`` (the checks),
``results.py`` (the run directory), ``against_baseline.py`` (held to a baseline).
"""
