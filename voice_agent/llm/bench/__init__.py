"""Which provider, as a measured answer.

``survey``: who is configured and answers. ``measure``: how fast each is. ``predict``: what that means for a turn on
this machine. ``published``: paces that others measured. ``report``: Markdown, JSON, HTML.
"""
