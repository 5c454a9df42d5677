"""What is written down of the steps of a plan, and of their items."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from agentic_workflows.errors import CorruptError
from agentic_workflows.graph.outcome import Outcome, OutcomeStatus
from agentic_workflows.graph.plan import Plan, WorkflowStep
from agentic_workflows.journal.entries import WHOLE, Intent, Place
from agentic_workflows.journal.faults import corrupt


def refuse_strays(calls: Iterable[Intent], plan: Plan, named: str) -> None:
    """Refuse a journal that has a call of the plan of this name which is none: the one it was would be done again.

    Raises:
        CorruptError: the row was changed since it was written.

    """
    for one in calls:
        if one.place.plan == named and not _is_call(one, plan.by_name.get(one.place.step)):
            raise stray(one.place.step)


def stray(step: str) -> CorruptError:
    """Return the error that says that the journal has a call of this step which its plan does not have."""
    return corrupt("journal", f"the row of step {step} in agentic_calls", ValueError("no call of its plan"))


def _is_call(one: Intent, step: WorkflowStep | None) -> bool:
    """Tell whether a plan has a call, as far as that can be told without its values."""
    if step is None or one.place.item < WHOLE:
        return False
    is_whole = one.place.item == WHOLE
    # Of the whole of a `foreach` there is what became of it, but no call.
    return is_whole if step.foreach is None else not (is_whole and one.action)


def recorded_steps(plan: Plan, known: Mapping[Place, Outcome], named: str) -> dict[str, Outcome]:
    """Return what became of each step that ended, from what is written down about the plan of this name.

    Raises:
        CorruptError: an item of a `foreach` that succeeded is missing, so that its results would be of other items.

    """
    items = items_by_step(known)
    ended: dict[str, Outcome] = {}
    for step in plan.steps:
        whole = known.get(Place(named, step.name))
        if whole is not None and step.foreach is not None:
            each = items.get((named, step.name), [])
            are_all = all(Place(named, step.name, at) in known for at in range(len(each)))
            if whole.status == OutcomeStatus.SUCCEEDED and not are_all:
                raise stray(step.name)
            whole = replace(whole, items=tuple(each), result=[item.result for item in each])
        if whole is not None:
            ended[step.name] = whole
    return ended


def items_by_step(known: Mapping[Place, Outcome]) -> dict[tuple[str, str], list[Outcome]]:
    """Return by plan and step what became of the items of each `foreach`, those that ended, in order."""
    items: dict[tuple[str, str], list[Outcome]] = {}
    for place in sorted((one for one in known if one.item != WHOLE), key=lambda one: one.item):
        items.setdefault((place.plan, place.step), []).append(known[place])
    return items
