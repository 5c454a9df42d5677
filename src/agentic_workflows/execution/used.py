"""What a run has used of its limits, in processes that were killed included: their checkpoints never came to be."""

from collections.abc import Iterable
from typing import cast

from agentic_workflows.graph.outcome import Outcome, OutcomeStatus
from agentic_workflows.graph.state import State
from agentic_workflows.journal.entries import WHOLE, Past, Recorded


def caught_up(state: State, past: Past, *, since: int | None = None) -> State:
    """Return the state with the iterations and seconds that the journal tells and the last checkpoint does not know of.

    A step counts once it ended, however often it was begun, unless it took no time: then it was skipped or given up.
    One that is to be begun again counts then. The checkpoint knows all of the plans before its own, unless `since` is
    the number of one, and none of a plan after it: whoever goes through that one again takes it up.
    """
    last = state.get("plan_number", 0)
    first = last if since is None else since
    settled = {name for name, standing in state.get("steps", {}).items() if standing["status"] != OutcomeStatus.ASKED}
    news = [one for one in past.outcomes if first <= _number(one) <= last and one.place.step not in settled]
    if not news:
        return state
    begun_again = {one.place for one in past.in_doubt}
    wholes = {one.place for one in news if one.place.item == WHOLE} - begun_again
    ran = {(one.place.plan, one.place.step) for one in news if one.outcome.seconds}
    # Of a step that was stopped between two items, the checkpoint knows the seconds of those, and not the step.
    known = state.get("seconds", 0.0)
    certain = seconds_under_way(one.outcome for one in news if one.place.item == WHOLE)
    seconds = max(known + certain, seconds_under_way(one.outcome for one in news))
    iterations = sum((place.plan, place.step) in ran for place in wholes)
    return cast("State", {**state, "iteration": state.get("iteration", 0) + iterations, "seconds": seconds})


def seconds_under_way(calls: Iterable[Outcome]) -> float:
    """Return for how many seconds at least one of these calls was under way."""
    total, until = 0.0, 0.0
    for began, ended in sorted(one.span for one in calls if one.started):
        total += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return total


def _number(one: Recorded) -> int:
    """Return which planner call of the run gave the plan of a call."""
    number = one.place.plan.partition(":")[0]
    return int(number) if number.isdecimal() else 0
