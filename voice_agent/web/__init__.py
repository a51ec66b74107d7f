"""The web page to call the agent from, and what it needs.

``guard`` and ``tokens`` decide who may call, ``server`` is the web application, ``livekit_server`` and ``children`` run
the processes beside it, ``launch`` starts all of it together.
"""
