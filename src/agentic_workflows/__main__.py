"""`python -m agentic_workflows`: the command `agentic` of this Python."""

from agentic_workflows.cli import start

start()
