"""What a run has used, where the process that used it was killed before its checkpoint."""

from typing import Any, cast

import pytest

from agentic_workflows.execution.used import caught_up, seconds_under_way
from agentic_workflows.graph.outcome import Outcome, OutcomeStatus
from agentic_workflows.graph.state import State
from agentic_workflows.journal.entries import Intent, Past, Place, Recorded


def call(began: int, seconds: float, status: OutcomeStatus = OutcomeStatus.SUCCEEDED) -> Outcome:
    return Outcome(status=status, started=f"2026-01-01T00:00:{began:02}+00:00", seconds=seconds)


def row(step: str, outcome: Outcome, *, plan: str = "1:p", item: int = -1, attempt: int = 0) -> Recorded:
    return Recorded(intent=Intent(place=Place(plan, step, item), attempt=attempt), outcome=outcome)


def state(**more: Any) -> State:
    return cast("State", {"iteration": 3, "seconds": 2.0, "plan_number": 1, "steps": {}, **more})


def used(
    given: State, *rows: Recorded, in_doubt: tuple[Intent, ...] = (), since: int | None = None
) -> tuple[int, float]:
    now = caught_up(given, Past(outcomes=rows, in_doubt=in_doubt), since=since)
    return now["iteration"], now["seconds"]


@pytest.mark.parametrize(
    "calls, seconds",
    [
        ([], 0),
        ([Outcome(status=OutcomeStatus.SKIPPED, seconds=9)], 0),
        ([call(0, 2), call(10, 3)], 5),  # nobody was at it in between
        ([call(10, 3), call(0, 12), call(1, 2)], 13),  # at the same time
    ],
)
def test_a_second_in_which_anything_was_under_way_counts_once(calls: list[Outcome], seconds: float) -> None:
    assert seconds_under_way(calls) == seconds


def test_what_the_checkpoint_knows_is_not_counted_again() -> None:
    known = state(steps={"a": {"status": "succeeded"}})
    assert caught_up(known, Past(outcomes=(row("a", call(0, 60)),))) is known
    assert caught_up(cast("State", {}), Past()) == {}


def test_an_answered_step_counts_once_it_ran() -> None:
    asked = state(steps={"a": {"status": "asked"}})
    assert used(asked, row("a", call(0, 4))) == (4, 6)


def test_each_step_that_ended_unknown_to_the_checkpoint_counts_once() -> None:
    superseded, done = row("a", call(0, 0, OutcomeStatus.FAILED)), row("a", call(0, 1), attempt=1)
    items = [row("each", call(1 + at, 1), item=at) for at in range(5)]
    assert used(state(), superseded, done, *items, row("each", call(6, 0))) == (5, 6)


def test_what_took_no_time_was_not_begun() -> None:
    skipped, given_up = (row(name, call(7, 0, OutcomeStatus.FAILED)) for name in "ab")
    assert used(state(), skipped, given_up) == (3, 2)


def test_a_step_that_is_to_be_begun_again_counts_then() -> None:
    again = Intent(place=Place("1:p", "a"), attempt=1, action="act", key="k", occurrence=0, at="")
    items = [row("each", call(at, 1), item=at) for at in range(5)]
    superseded = row("a", call(0, 0, OutcomeStatus.FAILED))
    assert used(state(), superseded, *items, in_doubt=(again,)) == (3, 5)


def test_only_the_plan_of_the_checkpoint_is_unknown_to_it_and_a_later_one_is_not_taken_up_yet() -> None:
    rows = [row("a", call(10 * at, 3), plan=plan) for at, plan in enumerate(("1:p", "2:q", "3:r", "odd"))]
    assert used(state(plan_number=2), *rows) == (4, 5)
    assert used(state(plan_number=2, seconds=0.0), *rows, since=1) == (5, 6)


def test_seconds_of_a_planner_call_are_not_taken_for_those_of_steps() -> None:
    assert used(state(seconds=8.0), row("a", call(0, 5))) == (4, 13)


def test_seconds_of_a_step_that_was_stopped_between_two_items_are_not_counted_twice() -> None:
    assert used(state(seconds=8.0), *(row("each", call(at, 1), item=at) for at in range(5))) == (3, 8)
