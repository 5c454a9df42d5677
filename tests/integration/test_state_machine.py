"""Whatever an agent does, a run ends where somebody can see why: the law behind the table of routes."""

# ruff: noqa: ARG002 - fakes have the parameters of what they stand for

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agentic_workflows import (
    AgenticWorkflow,
    Limits,
    ModelError,
    Plan,
    PlanError,
    PlanningError,
    WorkflowStep,
    approve,
    edit,
    reject,
    respond,
)

DANGEROUS = {"delete_all", "admin_action", "financial_transaction"}
ENDS = {"COMPLETE", "FAILED", "REVIEWING", "PAUSED"}
PATIENCE = 5.0
"""Seconds that a run may take; its own budget is far below."""


class Hang:
    """Stands for a call that never comes back."""


RESULTS: dict[str, Any] = {
    "fine": {"x": 1, "y": [None, True]},
    "bare": 5,
    "nothing": None,
    "object": object(),
    "number": 2**70,
    "text": "\ud800",
    "nan": float("nan"),
    "keys": {1: 2},
    "error": ValueError("broken"),
    "exit": SystemExit(3),
    "cancelled": asyncio.CancelledError(),
    "group": BaseExceptionGroup("many", [SystemExit(1)]),
    "hang": Hang(),
    **dict.fromkeys(sorted(DANGEROUS), "must never be seen"),
}
NO_PLANS: list[Any] = [
    None, 5, "a plan", [], {}, {"steps": None}, {"steps": []}, {"steps": [1]}, {"steps": [{"name": "a"}]},
    {"steps": [{"name": "a", "action": "fine", "oops": 1}]}, {"steps": [{"name": "a", "action": "fine"}] * 2},
    {"steps": [{"name": "a", "action": "fine", "inputs": {"x": object()}}]},
    {"steps": [{"name": "a", "action": "fine", "inputs": {"x": "\ud800"}}]},
    {"steps": [{"name": "a", "action": "fine", "inputs": {"x": 2**70}}]},
    {"steps": [{"name": "a", "action": "fine", "inputs": {"x": "${"}}]},
    {"steps": [{"name": "a", "action": "fine", "after": ["b"]}, {"name": "b", "action": "fine", "after": ["a"]}]},
    {"steps": [{"name": f"s{at}", "action": "fine"} for at in range(50)]},
    Plan("g", []), Plan("g", [WorkflowStep("a", "fine")] * 2), Plan("g", [WorkflowStep("a", "fine", {"x": 2**70})]),
    Plan("g", [WorkflowStep("a", "fine", after=["a"])]), object(),
    ValueError("no plan"), PlanningError("no more plans"), ModelError("HTTP 500"), PlanError([]),
    asyncio.CancelledError(), BaseExceptionGroup("many", [SystemExit(1)]), Hang(),
]  # fmt: skip


@st.composite
def plans(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a plan that may be sound, with steps that may do anything."""
    steps = []
    for at in range(draw(st.integers(1, 3))):
        used = draw(st.sampled_from(["${v0}", "${v0.x}", "${v1[0]}", "${v0[::0]}", "${v0 | to_number(@)}", "plain"]))
        action = draw(st.sampled_from([*RESULTS, "fine", "fine", "fine", "bare"]))
        step: dict[str, Any] = {"name": f"s{at}", "action": action, "outputs": [f"v{at}"], "inputs": {"in": used}}
        extras = [{}, {}, {"human_review_required": True}, {"foreach": "${v0.y}"}, {"when": "${v0.y[1]}"}]
        extras += [{"validation": {"type": "object"}}, {"retries": 1}, {"when": False}, {"timeout": 0.02}]
        steps.append({**step, **draw(st.sampled_from(extras))})
    return {"steps": steps}


class Misbehaving:
    """An agent that follows a script of anything at all, and repeats its last line for ever."""

    def __init__(self, script: Sequence[Any]) -> None:
        self._script, self._at = list(script), 0
        self.executed: list[str] = []

    async def create_plan(self, goal: str, history: object) -> Any:
        line = self._script[min(self._at, len(self._script) - 1)]
        self._at += 1
        return await play(line)

    async def execute_step(self, step: WorkflowStep) -> Any:
        self.executed.append(step.action)
        return await play(RESULTS.get(step.action))


class Judging(Misbehaving):
    """One that also has something to say about the progress."""

    def __init__(self, script: Sequence[Any], said: Any) -> None:
        super().__init__(script)
        self._said = said

    async def review_progress(self, goal: str, history: object) -> Any:
        return await play(self._said)


async def play(line: Any) -> Any:
    if isinstance(line, Hang):
        await asyncio.sleep(3_600)
    if isinstance(line, BaseException):
        raise line
    return line


def answers_to(reviews: Sequence[Mapping[str, Any]], kinds: Sequence[int]) -> dict[str, Any]:
    makers: list[Callable[[], Any]] = [
        approve, lambda: edit({"in": "other"}), lambda: reject("no"), lambda: respond({"v0": 1, "v1": 2, "v2": 3}),
    ]  # fmt: skip
    return {one["id"]: makers[kinds[at % len(kinds)]]() for at, one in enumerate(reviews)}


def check(result: Mapping[str, Any], agent: Misbehaving, limits: Limits) -> None:
    """Assert the law on a run that came to rest."""
    assert result["state"] in ENDS
    assert result["state"] in {"COMPLETE", "REVIEWING"} or result["reason"], "an end has its reason"
    assert bool(result["reviews"]) == (result["state"] == "REVIEWING")
    assert result["iterations"] <= limits.max_iterations
    assert result["replans"] <= limits.max_replans
    assert not DANGEROUS.intersection(agent.executed)
    assert json.loads(json.dumps(result)) == result
    assert all({"step", "result"} <= entry.keys() for entry in result["history"])
    if result["state"] == "COMPLETE":
        planned = {step["name"] for step in result["plan"]["steps"]}
        assert planned, "nothing is complete that never had a plan"
        assert {name: one["status"] in {"succeeded", "skipped"} for name, one in result["steps"].items()} == (
            dict.fromkeys(planned, True)
        )


async def live(agent: Misbehaving, limits: Limits, kinds: Sequence[int]) -> None:
    workflow = AgenticWorkflow(agent, limits.max_iterations, limits=limits)
    result = await asyncio.wait_for(workflow.run("g"), PATIENCE)
    check(result, agent, limits)
    for _ in range(3):
        if result["state"] != "REVIEWING":
            break
        result = await asyncio.wait_for(workflow.resume(answers_to(result["reviews"], kinds)), PATIENCE)
        check(result, agent, limits)
    assert asyncio.all_tasks() == {asyncio.current_task()}, "nothing is left running"


def outlived(agent: Misbehaving, limits: Limits, kinds: Sequence[int] = (0,)) -> None:
    """Run to rest; an agent that ends the process, or the run with an error of its own, breaks the law."""
    try:
        asyncio.run(live(agent, limits, kinds))
    except (SystemExit, asyncio.CancelledError) as error:
        raise AssertionError(f"The agent ended the run with {error!r}.") from error


TIGHT = Limits(max_iterations=4, max_seconds=0.3, step_timeout=0.03, max_replans=1)


@given(
    script=st.lists(st.sampled_from(NO_PLANS) | plans(), min_size=1, max_size=3),
    limits=st.builds(
        Limits,
        max_iterations=st.integers(1, 6),
        max_replans=st.integers(0, 2),
        max_parallel=st.integers(1, 3),
        max_seconds=st.just(0.3),
        step_timeout=st.just(0.03),
    ),
    kinds=st.lists(st.integers(0, 3), min_size=1, max_size=3),
)
@settings(max_examples=120)
def test_any_agent_ends_in_a_state_with_a_reason_within_the_budget(
    script: list[Any], limits: Limits, kinds: list[int]
) -> None:
    outlived(Misbehaving(script), limits, kinds)


@pytest.mark.parametrize("line", NO_PLANS, ids=lambda line: type(line).__name__)
def test_whatever_stands_for_a_plan_ends_the_run_without_a_step(line: Any) -> None:
    agent = Misbehaving([line])
    outlived(agent, TIGHT)
    assert agent.executed == []


@pytest.mark.parametrize("action", list(RESULTS))
@pytest.mark.parametrize("extra", [{}, {"validation": {"type": "object"}}, {"human_review_required": True}])
def test_whatever_an_action_does_the_run_ends(action: str, extra: dict[str, Any]) -> None:
    outlived(Misbehaving([{"steps": [{"name": "s0", "action": action, "outputs": ["v0"], **extra}]}]), TIGHT)


@given(said=st.sampled_from([None, True, "", [], {}, False, "more", 5, ["more"]]) | st.just(ValueError("no")))
@example(said=Hang())
@example(said=asyncio.CancelledError())
@example(said=BaseExceptionGroup("many", [SystemExit(1)]))
@example(said=object())
@settings(max_examples=10)
def test_whatever_the_agent_says_of_the_progress_the_run_ends(said: Any) -> None:
    outlived(Judging([{"steps": [{"name": "s0", "action": "fine"}]}], said), TIGHT)


def test_an_agent_that_exits_ends_its_run_and_not_the_process() -> None:
    outlived(Misbehaving([SystemExit(3)]), TIGHT)


def test_planners_that_are_slow_share_one_budget_of_time() -> None:
    class Slow(Misbehaving):
        calls = 0

        async def create_plan(self, goal: str, history: object) -> Any:
            self.calls += 1
            await asyncio.sleep(0.06)
            return {"steps": []}

    agent = Slow([None])
    outlived(agent, Limits(max_iterations=60, max_seconds=0.3))
    assert agent.calls <= 6


def test_endless_replans_end_within_the_iterations() -> None:
    class Inventive(Misbehaving):
        calls = 0

        async def create_plan(self, goal: str, history: object) -> Any:
            self.calls += 1
            return {"steps": [{"name": f"s{self.calls}", "action": "error"}]}

    agent = Inventive([None])
    outlived(agent, Limits(max_iterations=30, max_replans=1_000))
    assert (agent.calls, len(agent.executed)) == (15, 15)
