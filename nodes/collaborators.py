"""What the nodes are given: small protocols, declared where they are used."""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime

from agentic_workflows.graph.plan import Plan
from agentic_workflows.graph.state import Request, State, Update
from agentic_workflows.graph.values import JsonObject


class Agent(Protocol):
    """Plans; any object with this coroutine is one.

    An agent that brings no declared actions also has `execute_step(step)`, as in the article. `review_progress(goal,
    history)` is optional: asked when every step is done, it returns what is still missing, or nothing.
    """

    def create_plan(self, goal: str, history: Sequence[JsonObject]) -> Awaitable[Plan | Mapping[str, Any]]:
        """Return a plan for the goal, given what happened so far."""
        ...


class Control(Protocol):
    """Tells whether somebody asked a run to stop."""

    def requested(self, thread_id: str) -> Request | None:
        """Return the open request for a thread; cheap enough to ask at every step."""
        ...

    def clear(self, thread_id: str) -> None:
        """Forget the request for a thread: it was honoured."""
        ...


class Node(Protocol):
    """A node reads the state and returns an update; it never picks its successor."""

    def __call__(self, state: State, config: RunnableConfig, runtime: Runtime[Any]) -> Awaitable[Update]:
        """Take the run one transition further."""
        ...


def thread_of(config: RunnableConfig) -> str:
    """Return the thread id that a node runs under."""
    return str(config.get("configurable", {}).get("thread_id", ""))
