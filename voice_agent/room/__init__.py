"""Calls in LiveKit rooms: ``worker`` takes them, ``call`` holds one, ``caller`` is the other side, for tests.

``metadata`` is what a job may change, ``ears`` and ``output`` are the room's two ends, ``published`` is what a call
tells to the room and to metrics, ``load`` says when a machine is full.
"""
