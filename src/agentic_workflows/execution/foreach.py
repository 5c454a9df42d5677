"""A `foreach` step: one call an element, under the same order as steps.

There may be very many elements, and other runs in the process: items are looked at a few at a time, and only so many
ahead of those that run.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from agentic_workflows.actions.action import Action, ActionCall
from agentic_workflows.execution.case import footprint_of
from agentic_workflows.execution.dispatch import CUT, run_ready
from agentic_workflows.execution.point import ExecutionPoint
from agentic_workflows.execution.recorded import stray
from agentic_workflows.execution.run_pass import RunPass
from agentic_workflows.graph.outcome import Outcome, OutcomeStatus
from agentic_workflows.graph.plan import WorkflowStep
from agentic_workflows.graph.schedule import Footprint, Schedule
from agentic_workflows.graph.values import JsonValue

LOOK_AHEAD = 1_000
"""Items that wait for their turn in the schedule; the next one is looked at when one of them is taken."""
_AT_ONCE = 200
"""Items that are looked at before others in the process get their turn."""
_NOT_RUN = Outcome(status=OutcomeStatus.SKIPPED, reason="It did not run, because an earlier item failed.")


@dataclass(frozen=True)
class Items:
    """The calls of a `foreach`, each made when it is asked for and kept by nobody: there may be very many."""

    size: int
    call: Callable[[int], ActionCall]
    """Raises an `UnresolvedReferenceError` where a reference gives nothing for the element at this place."""

    def refuse_others(self, step: str, known: Iterable[int]) -> None:
        """Refuse items that the journal knows of a step, and that are none of these.

        Raises:
            CorruptError: there is one.

        """
        if any(at >= self.size for at in known):
            raise stray(step)

    def __iter__(self) -> Iterator[ActionCall]:
        return map(self.call, range(self.size))


async def run_items(
    step: WorkflowStep,
    calls: Items,
    action: Action,
    point: ExecutionPoint,
    run: RunPass,
) -> Outcome:
    """Run the items that have not ended, whatever becomes of one of them, and return what became of all.

    A step that is stopped between two items, or attempts at one, is `CUT`, and goes on with the run.

    Raises:
        UnresolvedReferenceError: the inputs of one cannot be resolved; then none is run.
        CorruptError: the journal has an item that is not among them; then none is run.

    """
    ended = run.log.items_of(run.plan, step.name)
    calls.refuse_others(step.name, (*ended, *run.log.effects.items_in_doubt(run.plan, step.name)))
    ahead = _Ahead(calls.size, ended, lambda at: footprint_of(calls.call(at), action, run))

    def take() -> int | None:
        return None if run.is_stopped() else ahead.take()

    def note(at: int, outcome: Outcome) -> None:
        if outcome is not CUT:
            ended[at] = outcome
        if outcome.status.is_settled:
            ahead.settle(at)

    async def perform(at: int) -> Outcome:
        return await point.execute(calls.call(at), action, run)

    await _refuse_unresolved(calls, ended, run.is_stopped)
    while not (run.is_stopped() or ahead.is_through):
        await ahead.fill()
        await run_ready(take, perform, note, limit=run.limits.max_parallel)
    if run.is_stopped() and len(ended) < calls.size:
        return CUT
    has_failed = any(one.status.is_failure for one in ended.values())
    rest = _NOT_RUN if has_failed else None
    each = _in_turns(range(calls.size))
    return together([ended.get(at) or rest or _waiting(calls.call(at), action, point, run) async for at in each])


async def _refuse_unresolved(calls: Items, ended: Collection[int], is_stopped: Callable[[], bool]) -> None:
    """Refuse a call that cannot be made, but for the first ones, which `_Ahead` makes before it hands one out.

    Raises:
        UnresolvedReferenceError: a reference gives nothing.

    """
    async for at in _in_turns(range(LOOK_AHEAD, calls.size)):
        if is_stopped():
            return
        if at not in ended:
            calls.call(at)


class _Ahead:
    """Hands out the items in their order, and has up to `LOOK_AHEAD` of them in the schedule before their turn.

    Where all of those wait for an item that does not run, such as one that waits for an answer, `fill` looks further.

    Args:
        size: how many there are.
        ended: what became of those that ended; they are not handed out, and hold others up where they failed.
        footprint: what an item touches.

    """

    def __init__(self, size: int, ended: Mapping[int, Outcome], footprint: Callable[[int], Footprint]) -> None:
        self._size, self._ended, self._next = size, ended, 0
        self._waiting = self._most = 0
        """Items in the schedule that are still to be taken."""
        self._schedule = Schedule[int]((), {}, footprint=footprint, worst=footprint)

    @property
    def is_through(self) -> bool:
        """Tell whether every item was looked at."""
        return self._next == self._size

    async def fill(self) -> None:
        """Look at further items, whatever those wait for that were looked at before."""
        self._most = self._waiting + LOOK_AHEAD
        async for _ in _in_turns(count()):
            if not self._look(1):
                return

    def take(self) -> int | None:
        """Return the next item that may start, and look at those after the last one that was looked at."""
        self._look(2)
        at = next((at for at in iter(self._schedule.take, None) if at not in self._ended), None)
        self._waiting -= at is not None
        return at

    def settle(self, at: int) -> None:
        """Note that an item is done, so that what waited for it may start."""
        self._schedule.settle(at)

    def _look(self, most: int) -> bool:
        """Enter the next items into the schedule, at most so many; False where no more are to be entered now."""
        for _ in range(most):
            if self.is_through or self._waiting >= self._most:
                return False
            at, self._next = self._next, self._next + 1
            known = self._ended.get(at)
            if known is None or not known.status.is_settled:
                self._schedule.add(at)
            self._waiting += known is None
        return True


async def _in_turns(places: Iterable[int]) -> AsyncIterator[int]:
    """Yield what is given, and let others in the process have their turn every so often."""
    for seen, at in enumerate(places, 1):
        yield at
        if seen % _AT_ONCE == 0:
            await asyncio.sleep(0)


def together(items: Sequence[Outcome]) -> Outcome:
    """Return what became of a `foreach`: the worst of its items, each of them visible.

    It has not ended while one is in doubt, whatever became of others: a person says first whether that happened.
    """
    result: JsonValue = [item.result for item in items]
    failed = [f"item {at + 1}: {item.reason}" for at, item in enumerate(items) if item.status.is_failure]
    if failed and not any(item.ask and item.ask.get("in_doubt") for item in items):
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
