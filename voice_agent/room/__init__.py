"""Calls in LiveKit rooms (docs/rooms.md).

``worker`` takes calls, ``call`` holds one. ``metadata``: what a job may change. ``audio_input``, ``output``, ``track``:
the two directions of audio. ``participants``: to whom the agent listens. ``dtmf``: keys of a phone.
``ledger_publisher``, ``metrics``: what a call reports. ``worker_load``: when a machine is full. ``access``: where the
LiveKit server is.
"""
