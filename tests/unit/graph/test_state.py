import json
from datetime import timedelta

import pytest

from agentic_workflows.errors import RunError
from agentic_workflows.graph.state import Limits, WorkflowState, limits_from_json


def test_the_states_are_those_of_the_article() -> None:
    assert [state.value for state in WorkflowState] == [
        "PLANNING", "EXECUTING", "REVIEWING", "COMPLETE", "FAILED", "PAUSED",
    ]  # fmt: skip


def test_limits_survive_json_and_keep_what_is_not_said() -> None:
    limits = Limits(max_iterations=3, max_seconds=1.5)
    assert limits_from_json(json.loads(json.dumps(limits.to_json())), default=Limits()) == limits
    assert limits_from_json({"max_steps": 5}, default=limits) == Limits(max_iterations=3, max_seconds=1.5, max_steps=5)
    assert limits_from_json(None, default=limits) == limits


def test_an_unknown_limit_is_refused_with_the_known_ones() -> None:
    with pytest.raises(RunError, match=r"max_itterations.*Known: .*max_iterations"):
        limits_from_json({"max_itterations": 3}, default=Limits())


@pytest.mark.parametrize(
    "name",
    [
        "max_iterations",
        "max_replans",
        "max_tokens",
        "max_seconds",
        "max_parallel",
        "max_steps",
        "step_timeout",
        "review_seconds",
        "grant_seconds",
    ],
)
@pytest.mark.parametrize("value", [-1, "3", None, True, float("nan"), [1]])
def test_a_limit_that_is_no_number_in_range_is_refused(name: str, value: object) -> None:
    with pytest.raises(RunError, match=name):
        Limits(**{name: value})  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize("name", ["max_iterations", "max_replans", "max_tokens", "max_parallel", "max_steps"])
def test_a_limit_that_counts_is_a_whole_number(name: str) -> None:
    with pytest.raises(RunError, match=name):
        Limits(**{name: 2.5})  # type: ignore[arg-type]  # that is the point


def test_the_default_timeout_is_a_timedelta() -> None:
    assert Limits(step_timeout=1.5).default_timeout == timedelta(seconds=1.5)
