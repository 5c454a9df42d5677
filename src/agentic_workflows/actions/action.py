"""An action: a declaration (`graph/catalogue.py`) and the coroutine that does it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable, iscoroutinefunction
from typing import Any, TypeAlias, cast

from agentic_workflows.errors import ActionError
from agentic_workflows.graph.catalogue import ActionSpec
from agentic_workflows.graph.plan import WorkflowStep
from agentic_workflows.graph.values import JsonValue
from agentic_workflows.policies.provenance import Provenance


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
    idempotency_key: str = ""
    """Equal for every attempt at the same effect, also after a crash or in a new plan; empty where there is none."""
    provenance: Provenance | None = None
    """Where the inputs come from; None is not known, and then none of them is trusted."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What `reconcile` found: the effect took place, and this was its result."""

    result: JsonValue


Run: TypeAlias = Callable[[ActionCall], Awaitable[object]]
Reconcile: TypeAlias = Callable[[ActionCall], Awaitable[Found | None]]
"""Finds out whether a call's effect took place; None is no. Raises where that cannot be told."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Action(ActionSpec):
    """Something that an agent can do; the result of `run` must be JSON.

    Raises:
        ActionError: what is given as one of its functions is no function.

    """

    run: Run
    reconcile: Reconcile | None = None
    """Asked after a crash or a lost connection; without it a person is asked, unless the action is idempotent."""

    def __post_init__(self) -> None:
        for name, of in {"run": "the call", "reconcile": "the call", "resources": "its inputs"}.items():
            given = getattr(self, name)
            if not callable(given) and (name == "run" or given is not None):
                wrong = f"{name} is {given!r}, no function. Give one of {of}."
                raise ActionError(f"The action {self.name!r} is declared wrongly: {wrong}")
        if self.reconcile is not None and not iscoroutinefunction(self.reconcile):
            object.__setattr__(self, "reconcile", partial(_asked, self.reconcile))


async def awaited(given: Any) -> Any:
    """Return what a function of somebody else's gave, which may be a coroutine or not."""
    return await given if isawaitable(given) else given


async def _asked(reconcile: Callable[[ActionCall], Any], call: ActionCall) -> Found | None:
    return cast("Found | None", await awaited(reconcile(call)))


Registry: TypeAlias = Mapping[str, Action]
"""Every action of a run by its name."""
