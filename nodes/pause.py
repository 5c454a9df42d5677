"""PAUSED: wait until somebody resumes, then go back to the state that was left."""

from collections.abc import Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime

from agentic_workflows.graph.asking import asked, single_value
from agentic_workflows.graph.state import State, Update, WorkflowState
from agentic_workflows.graph.threads import namespace_of
from agentic_workflows.graph.values import digest
from agentic_workflows.journal.lease import Leases
from agentic_workflows.nodes.collaborators import Node, holding
from agentic_workflows.nodes.stopping import stopped


def make_pause(leases: Leases) -> Node:
    """Return the pause node."""

    async def pause(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> Update:  # noqa: ARG001 - a node's shape
        """Interrupt, and go on with any value that is meant for that."""
        left, name = state.get("left") or WorkflowState.PLANNING.value, _name(config)
        is_over = _continues(single_value(config), name)
        given = asked({"paused": True, "left": left, "resume_with": name}, config, takes_single=is_over)
        if not (given.is_meant or any(_continues(one, name) for one in given.values)):
            raise given.waiting
        async with holding(leases, state, config) as held:
            is_cancelled = await held.honour() == "cancel"
        if is_cancelled:
            return await stopped("cancel", WorkflowState.PAUSED, leases.journal, state["run_id"])
        return {"status": left, "left": "", "reason": None}

    return pause


def _name(config: RunnableConfig) -> object:
    """Return the value that ends a pause: True, or inside another graph, where values for others come, its own name."""
    return digest(config.get("configurable", {})["checkpoint_ns"])[:16] if namespace_of(config) else True


def _continues(given: object, name: object) -> bool:
    """Tell whether a value ends a pause: it is the name, or where that is True, anything but answers to questions."""
    return given == name or (name is True and not (isinstance(given, Mapping) and "decisions" in given))
