"""The one place where a session is wired: configuration in, a LiveKit AgentSession with its ledger out."""
