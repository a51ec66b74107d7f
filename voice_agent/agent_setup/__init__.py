"""What the agent is: instructions, persona file, tool files, MCP servers."""
