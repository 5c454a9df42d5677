import json
from dataclasses import fields, replace
from typing import Any

import pytest

from agentic_workflows.graph.labels import GOAL
from agentic_workflows.graph.outcome import (
    Outcome,
    OutcomeStatus,
    Settlement,
    from_json,
    is_usual,
    named_outputs,
    outputs_of,
    usual,
)
from agentic_workflows.graph.plan import WorkflowStep

NOTHING = object()


@pytest.mark.parametrize(
    "outputs, result, named",
    [
        ([], "anything", {}),
        (["a"], 5, {"a": 5}),
        (["a"], {"a": 5, "b": 6}, {"a": 5}),
        (["a"], {"b": 6}, {"a": {"b": 6}}),
        (["a"], None, {"a": None}),
        (["a", "b"], {"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 2}),
        (["a", "b"], {"a": 1}, None),
        (["a", "b"], [1, 2], None),
        (["a", "b"], None, None),
    ],
)
def test_a_result_gives_outputs_by_key_or_as_the_bare_value(outputs: list, result: object, named: object) -> None:
    assert named_outputs(WorkflowStep("s", "act", {}, outputs), result) == named  # type: ignore[arg-type]  # JSON


def test_the_outputs_of_a_foreach_are_lists_over_its_items() -> None:
    step = WorkflowStep("s", "act", {}, ["a", "b"], foreach="${l}")
    items = tuple(Outcome(status=OutcomeStatus.SUCCEEDED, result={"a": at, "b": str(at)}) for at in range(2))
    assert outputs_of(step, Outcome(status=OutcomeStatus.SUCCEEDED, items=items)) == {"a": [0, 1], "b": ["0", "1"]}
    assert outputs_of(step, Outcome(status=OutcomeStatus.SUCCEEDED)) == {"a": [], "b": []}


def test_an_outcome_survives_json() -> None:
    item = Outcome(status=OutcomeStatus.ASKED, ask={"id": "i"}, reason="why")
    outcome = Outcome(status=OutcomeStatus.FAILED, result=[None, {"a": 1}], attempts=2, seconds=0.5, items=(item,))
    assert from_json(json.loads(json.dumps(outcome.to_json()))) == outcome


def test_a_usual_outcome_says_nothing_but_what_it_is_made_of_again() -> None:
    when: dict[str, Any] = {"started": "2026-01-01T00:00:00+00:00", "seconds": 1.5, "sources": GOAL}
    outcome = Outcome(status=OutcomeStatus.SUCCEEDED, attempts=1, result=[None], **when)
    assert is_usual(outcome)
    assert usual([None], **when) == outcome
    others: dict[str, Any] = {"status": OutcomeStatus.FAILED, "attempts": 2, "reason": "why", "items": (outcome,)}
    others |= {"ask": {}, "quotes_output": False, "quotes_inputs": False, "took_place": True}
    others["settlement"] = Settlement.FOUND
    assert {*others, *when, "result"} == {field.name for field in fields(Outcome)}
    for name, value in others.items():
        assert not is_usual(replace(outcome, **{name: value}))


@pytest.mark.parametrize("settlement", [None, *Settlement])
def test_how_a_doubt_was_settled_is_a_plain_word_and_no_other_one_is_read(settlement: Settlement | None) -> None:
    outcome = Outcome(status=OutcomeStatus.FAILED, settlement=settlement)
    told = outcome.to_json()
    assert type(told["settlement"]) in {str, type(None)}
    assert from_json(told) == outcome
    for other in ("", "It was in doubt.", 1):
        with pytest.raises(ValueError, match="is not a valid Settlement"):
            from_json(told | {"settlement": other})


def test_only_a_result_or_a_skip_lets_dependents_go_on() -> None:
    assert {one for one in OutcomeStatus if one.is_settled} == {OutcomeStatus.SUCCEEDED, OutcomeStatus.SKIPPED}
    assert {one for one in OutcomeStatus if one.is_failure} == {OutcomeStatus.FAILED, OutcomeStatus.DENIED}


@pytest.mark.parametrize(
    "changed",
    [{"seconds": float("nan")}, {"seconds": "x"}, {"attempts": "x"}, {"started": "yesterday"}, {"started": 1}],
)
def test_an_outcome_that_tells_no_time_or_attempts_is_refused(changed: dict[str, Any]) -> None:
    told = Outcome(status=OutcomeStatus.SUCCEEDED, started="2026-01-01T00:00:00Z", seconds=1.5).to_json()
    began, ended = from_json(told).span
    assert ended - began == 1.5
    with pytest.raises((ValueError, TypeError)):
        from_json(told | changed)
