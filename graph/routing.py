"""Where a run goes next: one table, one look-up."""

from typing import Any, Final

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.graph import END

from agentic_workflows.errors import RunError
from agentic_workflows.graph.state import State, WorkflowState

ROUTES: Final[dict[WorkflowState, str]] = {
    WorkflowState.PLANNING: "plan",
    WorkflowState.EXECUTING: "execute",
    WorkflowState.REVIEWING: "review",
    WorkflowState.PAUSED: "pause",
    WorkflowState.COMPLETE: END,
    WorkflowState.FAILED: END,
}


def route(state: State) -> str:
    """Return the node that serves the state's status.

    Raises:
        RunError: the status is no `WorkflowState`; LangGraph would end the run silently.

    """
    status = state.get("status")
    try:
        return ROUTES[WorkflowState(str(status))]
    except ValueError:
        known = ", ".join(WorkflowState)
        raise RunError(f"The state names the status {status!r}, which is none of {known}.") from None


class Route(Runnable[State, str]):
    """`route` for LangGraph, which would call a plain function in a thread and wait until one is free."""

    name = "route"

    def invoke(self, input: State, config: RunnableConfig | None = None, **_: Any) -> str:  # noqa: A002, ARG002 - LangChain's names
        """Return the node that serves the state's status."""
        return route(input)

    async def ainvoke(self, input: State, config: RunnableConfig | None = None, **_: Any) -> str:  # noqa: A002, ARG002 - LangChain's names
        """Return the node that serves the state's status."""
        return route(input)
