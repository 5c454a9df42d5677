"""What a run has used of its limits, in processes that were killed included: their checkpoints never came to be."""

from collections.abc import Iterable
from typing import cast

from agentic_workflows.graph.outcome import Outcome
from agentic_workflows.graph.state import State, ended_steps
from agentic_workflows.journal.entries import WHOLE, Past


def caught_up(state: State, past: Past, *, since: int | None = None) -> State:
    """Return the state with the iterations and seconds of what ended after its checkpoint, as the journal tells them.

    A step counts once when it has ended, however often it was begun, and not at all where it took no time: then it was
    skipped or given up. One in doubt counts when it is begun again.

    Args:
        state: as the last checkpoint has it.
        past: what the journal knows of the run.
        since: the first plan whose steps are counted; by default the state's own, for the checkpoint counts those of
            earlier ones. Later plans count once planning has come to them again.

    """
    last = state.get("plan_number", 0)
    first = last if since is None else since
    ended = ended_steps(state)
    calls = ((one.intent.place, one.outcome) for one in past.outcomes)
    news = [(at, one) for at, one in calls if at.step not in ended and first <= at.plan_number <= last]
    if not news:
        return state
    begun_again = {one.place for one in past.in_doubt}
    wholes = {at for at, _ in news if at.item == WHOLE} - begun_again
    ran = {(at.plan, at.step) for at, one in news if one.seconds}
    # Of a step that was stopped between two items, the checkpoint knows the seconds of those, and not the step.
    known = state.get("seconds", 0.0)
    certain = seconds_under_way(one for at, one in news if at.item == WHOLE)
    seconds = max(known + certain, seconds_under_way(one for _, one in news))
    iterations = sum((place.plan, place.step) in ran for place in wholes)
    return cast("State", {**state, "iteration": state.get("iteration", 0) + iterations, "seconds": seconds})


def seconds_under_way(calls: Iterable[Outcome]) -> float:
    """Return for how many seconds at least one of these calls was under way."""
    total, until = 0.0, 0.0
    for began, ended in sorted(one.span for one in calls if one.started):
        total += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return total
