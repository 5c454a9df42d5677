"""A run as users get it: what its checkpoint says, and what the journal knows beyond that."""

from typing import cast

from agentic_workflows.graph.outcome import Outcome, OutcomeStatus
from agentic_workflows.graph.plan import from_json, plan_name
from agentic_workflows.graph.state import State
from agentic_workflows.graph.values import JsonObject
from agentic_workflows.journal.entries import Intent, Past, Place, Recorded
from agentic_workflows.runs.results import as_result

PLAN = from_json({"goal": "g", "steps": [{"name": name, "action": "act", "outputs": [name]} for name in "abc"]})
NAME = plan_name(1, PLAN)
DONE = Outcome(status=OutcomeStatus.SUCCEEDED, result="x", attempts=1)
AGAIN = Outcome(status=OutcomeStatus.FAILED, reason="It was in doubt, and is done again.", attempts=1)


def values(**steps: str) -> State:
    standing: JsonObject = {name: {"status": status, "untrusted": True} for name, status in steps.items()}
    return cast("State", {"status": "EXECUTING", "plan": PLAN.to_json(), "plan_number": 1, "steps": standing})


def recorded(step: str, outcome: Outcome = DONE, *, plan: str = NAME, item: int = -1) -> Recorded:
    return Recorded(intent=Intent(place=Place(plan, step, item), attempt=0), outcome=outcome)


def test_a_step_stands_as_the_checkpoint_says_and_where_that_is_older_as_the_journal_does() -> None:
    result = as_result("t", values(a="skipped", b="asked"), Past(outcomes=(recorded("a"), recorded("b"))))
    assert result["steps"] == {"a": {"status": "skipped"}, "b": DONE.standing}
    assert result["outputs"] == {"a": "x", "b": "x"}


def test_of_another_plan_and_of_an_item_alone_no_step_has_ended() -> None:
    past = Past(outcomes=(recorded("a", plan="0:other"), recorded("b", item=0)))
    assert (as_result("t", values(), past)["steps"], as_result("t", cast("State", {}), past)["steps"]) == ({}, {})


def test_a_step_that_was_begun_again_has_not_ended() -> None:
    again = Intent(place=Place(NAME, "a"), attempt=1, action="act", key="k", occurrence=0, at="")
    past = Past(outcomes=(recorded("a", AGAIN), recorded("b")), in_doubt=(again,))
    assert as_result("t", values(), past)["steps"] == {"b": DONE.standing}


def test_items_of_an_earlier_plan_are_no_result_of_this_one() -> None:
    each = {"name": "a", "action": "act", "foreach": "${b}", "outputs": ["a"]}
    plan = from_json({"goal": "g", "steps": [{"name": "b", "action": "act", "outputs": ["b"]}, each]})
    name = plan_name(2, plan)
    rows = [recorded("a", plan=of, item=at) for of, size in (("1:old", 4), (name, 2)) for at in range(size)]
    state = cast("State", {"status": "EXECUTING", "plan": plan.to_json(), "plan_number": 2})
    result = as_result("t", state, Past(outcomes=(*rows, recorded("a", plan=name))))
    assert result["outputs"] == {"a": ["x", "x"]}
