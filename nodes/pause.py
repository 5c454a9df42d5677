"""PAUSED: wait until somebody resumes, then go back to the state that was left."""

from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime
from langgraph.types import interrupt

from agentic_workflows.graph.state import State, Update, WorkflowState
from agentic_workflows.journal.lease import Leases
from agentic_workflows.nodes.collaborators import Node, holding
from agentic_workflows.nodes.stopping import stopped


def make_pause(leases: Leases) -> Node:
    """Return the pause node."""

    async def pause(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> Update:  # noqa: ARG001 - a node's shape
        """Interrupt; any resume value continues."""
        left = state.get("left") or WorkflowState.PLANNING.value
        interrupt({"paused": True, "left": left, "resume_with": True})
        async with holding(leases, state, config) as held:
            is_cancelled = await held.honour() == "cancel"
        if is_cancelled:
            return await stopped("cancel", WorkflowState.PAUSED, leases.journal, state["run_id"])
        return {"status": left, "left": "", "reason": None}

    return pause
