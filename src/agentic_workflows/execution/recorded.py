"""What is written down of the steps of a plan, and of their items."""

from collections.abc import Mapping
from dataclasses import replace

from agentic_workflows.graph.outcome import Outcome
from agentic_workflows.graph.plan import Plan
from agentic_workflows.journal.entries import WHOLE, Place


def recorded_steps(plan: Plan, known: Mapping[Place, Outcome], named: str) -> dict[str, Outcome]:
    """Return what became of each step that ended, from what is written down about the plan of this name."""
    items = items_by_step(known)
    ended: dict[str, Outcome] = {}
    for step in plan.steps:
        whole = known.get(Place(named, step.name))
        if whole is not None and step.foreach is not None:
            each = items.get((named, step.name), [])
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
