"""The verbs of ``voice-agent``: one module a verb, each with ``add(verbs)``; what a verb does is elsewhere."""
