"""An agent that follows a script: for tests, for demonstrations, and for plans made elsewhere."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias, cast

from agentic_workflows.errors import ActionError, PlanningError
from agentic_workflows.graph.history import faults_in
from agentic_workflows.graph.plan import Plan, WorkflowStep

History: TypeAlias = Sequence[Mapping[str, object]]
ScriptedPlan: TypeAlias = Mapping[str, object] | Plan | Exception | Callable[[str, History], object]
"""A plan, an error to raise, or what is called with goal and history."""


class ScriptedAgent:
    """Gives plans one after another, and the results it was told to give.

    Args:
        plans: what each `create_plan` gives in turn; after the last one it raises `PlanningError`.
        results: what `execute_step` gives, by step name or by action; an exception is raised, a callable is called
            with the step.
        actions: the actions that the agent brings, if any.

    Raises:
        TypeError: it is given one plan, and no list.

    """

    def __init__(
        self,
        plans: Iterable[ScriptedPlan],
        results: Mapping[str, object] | None = None,
        actions: object | None = None,
    ) -> None:
        if isinstance(plans, Mapping | Plan):
            raise TypeError(f"{plans!r} is one plan. Give a list of plans: ScriptedAgent([plan]).")
        self._plans = iter(plans)
        self._results = dict(results or {})
        self.actions = actions
        self.goals: list[str] = []
        self.histories: list[list[Mapping[str, object]]] = []
        self.executed: list[WorkflowStep] = []

    async def create_plan(self, goal: str, history: History) -> Mapping[str, object] | Plan:
        """Return the next plan of the script."""
        self.goals.append(goal)
        self.histories.append(list(history))
        try:
            plan = next(self._plans)
        except StopIteration:
            raise PlanningError(
                " ".join([f"The script has no plan number {len(self.goals)}.", *faults_in(history)])
            ) from None
        # Whatever a script says is given: that it may be no plan at all is what scripts are for.
        return cast("Mapping[str, object] | Plan", _played(plan, goal, list(history)))

    async def execute_step(self, step: WorkflowStep) -> object:
        """Return the step's scripted result."""
        self.executed.append(step)
        for name in (step.name, step.action):
            if name in self._results:
                return _played(self._results[name], step)
        raise ActionError(f"The script has no result for the step {step.name!r} ({step.action}).")


def _played(line: object, *arguments: object) -> object:
    if isinstance(line, Exception):
        raise line
    return line(*arguments) if callable(line) else line
