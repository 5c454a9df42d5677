"""What a run has used of its limits, in processes that were killed included: their checkpoints never came to be."""

from collections.abc import Iterable
from typing import cast

from agentic_workflows.graph.outcome import Outcome, OutcomeStatus
from agentic_workflows.graph.state import State
from agentic_workflows.journal.entries import WHOLE, Past, Recorded


def caught_up(state: State, past: Past) -> State:
    """Return the state with the iterations and seconds that the journal tells and the last checkpoint does not know of.

    A step counts once it ended, however often it was begun; one that is to be begun again counts then. Plans after that
    of the state do not count yet: whoever goes through them again takes them up one by one.
    """
    entries = (entry for entry in state.get("history", []) if isinstance(entry, dict))
    known = {(entry.get("plan"), entry["step"]) for entry in entries}
    rows = [one for one in past.outcomes if _number(one) <= state.get("plan_number", 0)]
    unknown = [one for one in rows if (one.place.plan, one.place.step) not in known]
    if not unknown:
        return state
    begun_again = {one.place for one in past.in_doubt}
    ended = {
        one.place
        for one in unknown
        if one.place.item == WHOLE and one.place not in begun_again and one.outcome.status != OutcomeStatus.SKIPPED
    }
    # Not their sum: of a step that was stopped between two items, the checkpoint knows the seconds and not the step.
    seconds = max(state.get("seconds", 0.0), seconds_under_way(one.outcome for one in rows))
    return cast("State", {**state, "iteration": state.get("iteration", 0) + len(ended), "seconds": seconds})


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
