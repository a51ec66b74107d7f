"""Every use of a private name of livekit-agents and livekit; nothing else in the package touches one."""
