"""Calls with recordings: in this process (``call_harness.py``, ``items.py``) or in a room (``room_caller.py``).

Read ``script_input.py`` and ``script_output.py`` (the user's microphone and loudspeaker), ``rows.py`` (what the turns
gave, as rows) and ``self_check.py`` (the ledger held to the recording).
"""
