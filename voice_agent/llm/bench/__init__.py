"""Compares providers by measurement.

``survey``: which are configured and answer. ``measure``: how fast each is. ``predict``: the voice-to-voice times that
follow for turns recorded on this machine. ``published_speeds``: speeds that others measured. ``provider_report``:
Markdown, JSON, HTML.
"""
