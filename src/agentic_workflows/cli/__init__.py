"""The command `agentic`."""
