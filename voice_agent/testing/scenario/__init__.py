"""Conversations written down, run, measured and judged: the script language and the verdict.

Read ``schema.py`` (what a script may say), ``runner.py`` (how it is played), ``expect.py`` (was it as expected),
``work.py`` and ``compare.py`` (has it become slower, and where). docs/scenarios.md and docs/verdict.md for users.
"""
