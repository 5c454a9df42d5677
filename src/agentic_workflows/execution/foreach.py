"""A `foreach` step: one call an element, under the same order as steps."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from agentic_workflows.actions.action import Action, ActionCall
from agentic_workflows.execution.case import RunPass, footprint_of
from agentic_workflows.execution.dispatch import CUT, run_ready
from agentic_workflows.execution.point import ExecutionPoint
from agentic_workflows.graph.outcome import Outcome, OutcomeStatus
from agentic_workflows.graph.plan import WorkflowStep
from agentic_workflows.graph.schedule import Schedule
from agentic_workflows.graph.values import JsonValue
from agentic_workflows.journal.entries import WHOLE, Place

_NOT_RUN = Outcome(status=OutcomeStatus.SKIPPED, reason="It did not run, because an earlier item failed.")


@dataclass(frozen=True)
class Items:
    """The calls of a `foreach`, each made when it is asked for and kept by nobody: there may be very many."""

    size: int
    call: Callable[[int], ActionCall]
    """Raises an `UnresolvedReferenceError` where a reference gives nothing for the element at this place."""

    def __iter__(self) -> Iterator[ActionCall]:
        return map(self.call, range(self.size))


async def run_items(
    step: WorkflowStep,
    calls: Items,
    action: Action,
    point: ExecutionPoint,
    run: RunPass,
    *,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Run the items that have not ended, whatever becomes of one of them, and return what became of all.

    `is_stopped` is asked before each item; a step that is stopped between two is `CUT`, and goes on with the run.

    Raises:
        UnresolvedReferenceError: the inputs of one cannot be resolved; then none is run.

    """
    ended = run.log.items_of(run.plan, step.name)
    touched = [footprint_of(call, action, run) for call in calls]
    schedule = Schedule(range(calls.size), {}, footprint=touched.__getitem__, worst=touched.__getitem__)
    handed_out = set(ended)

    def take() -> int | None:
        untaken = iter(schedule.take, None) if not is_stopped() else ()
        return next((at for at in untaken if at not in handed_out), None)

    def settle(at: int, outcome: Outcome) -> None:
        ended[at] = outcome
        if outcome.status.is_settled:
            schedule.settle(at)

    async def perform(at: int) -> Outcome:
        return await point.execute(calls.call(at), action, run)

    for at, outcome in list(ended.items()):
        settle(at, outcome)
    await run_ready(take, perform, settle, limit=run.limits.max_parallel)
    if is_stopped() and len(ended) < calls.size:
        return CUT
    has_failed = any(one.status.is_failure for one in ended.values())
    rest = _NOT_RUN if has_failed else None
    return together([ended.get(at) or rest or _waiting(call, action, point, run) for at, call in enumerate(calls)])


def items_by_step(known: Mapping[Place, Outcome]) -> dict[tuple[str, str], list[Outcome]]:
    """Return by plan and step what became of the items of each `foreach`, those that ended, in order."""
    items: dict[tuple[str, str], list[Outcome]] = {}
    for place in sorted((one for one in known if one.item != WHOLE), key=lambda one: one.item):
        items.setdefault((place.plan, place.step), []).append(known[place])
    return items


def together(items: Sequence[Outcome]) -> Outcome:
    """Return what became of a `foreach`: the worst of its items, each of them visible."""
    result: JsonValue = [item.result for item in items]
    failed = [f"item {at + 1}: {item.reason}" for at, item in enumerate(items) if item.status.is_failure]
    if failed:
        status, reason = OutcomeStatus.FAILED, f"{len(failed)} of {len(items)} items failed. {' '.join(failed[:5])}"
    elif any(item.status == OutcomeStatus.ASKED for item in items):
        status, reason = OutcomeStatus.ASKED, "Items wait for a person."
    else:
        status, reason = OutcomeStatus.SUCCEEDED, ""
    attempts = sum(item.attempts for item in items)
    quotes = any(item.quotes_output for item in items if item.status.is_failure)
    return Outcome(
        status=status, result=result, reason=reason, attempts=attempts, items=tuple(items), quotes_output=quotes
    )


def _waiting(call: ActionCall, action: Action, point: ExecutionPoint, run: RunPass) -> Outcome:
    """Return an item that did not get its turn, with its question where it has one."""
    question = point.question(call, action, run)
    ask = question.to_json() if question else None
    return Outcome(status=OutcomeStatus.ASKED, reason="It waits for an earlier item.", ask=ask)
