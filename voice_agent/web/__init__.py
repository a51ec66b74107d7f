"""The page to call the agent from, and what it needs: ``tokens`` and ``guard`` (who may call), ``server`` (the web
application), ``livekit_server`` and ``children`` (the processes beside it), ``launch`` (all of it together)."""
