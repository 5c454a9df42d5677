"""An action: a declaration (`graph/catalogue.py`) and the coroutine that does it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from agentic_workflows.graph.catalogue import ActionSpec
from agentic_workflows.graph.plan import WorkflowStep
from agentic_workflows.graph.values import JsonValue


@dataclass(frozen=True, kw_only=True)
class ActionCall:
    """One call of an action, as the execution point makes it."""

    action: str
    inputs: Mapping[str, JsonValue]
    """Resolved, and valid under the action's input schema."""
    step: WorkflowStep
    """The step that is being executed, as planned."""
    run_id: str
    item: int | None = None
    """Which element of a `foreach`, from 0."""


Run: TypeAlias = Callable[[ActionCall], Awaitable[object]]


@dataclass(frozen=True, kw_only=True)
class Action(ActionSpec):
    """Something that an agent can do; the result of `run` must be JSON."""

    run: Run


Registry: TypeAlias = Mapping[str, Action]
"""Every action of a run by its name."""
