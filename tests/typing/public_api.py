"""Not run: what a user writes must type-check, strictly, and mean what it seems to mean."""

# ruff: noqa: ARG002 - fakes have the parameters of what they stand for

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import timedelta
from typing import Any, assert_type

from agentic_workflows import (
    Action,
    AgenticWorkflow,
    Limits,
    Plan,
    ScriptedAgent,
    WorkflowState,
    WorkflowStep,
    action,
    approve,
    edit,
    reject,
    respond,
)
from agentic_workflows.graph.events import Event
from agentic_workflows.nodes.collaborators import Agent
from agentic_workflows.testing import RecordingAction


class ArticleAgent:
    """Two coroutines, plain dicts: an `Agent` without saying so."""

    async def create_plan(self, goal: str, history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {"steps": [WorkflowStep("find", "research", {"query": goal}, ["found"], None, True)]}

    async def execute_step(self, step: WorkflowStep) -> object:
        return step.inputs["query"]


class PlanningAgent:
    """One that returns a `Plan`."""

    async def create_plan(self, goal: str, history: Sequence[Mapping[str, Any]]) -> Plan:
        return Plan(goal, [WorkflowStep("wait", "sleep", {"n": 1}, timeout=timedelta(seconds=1), after=["find"])])


@action
def plain(path: str) -> str:
    """Declare a plain function."""
    return path


@action(read_only=True, arguments={"path": "target"})
async def with_notes(path: str) -> list[str]:
    """Declare a coroutine with annotations."""
    return [path]


agents: list[Agent] = [ArticleAgent(), PlanningAgent(), ScriptedAgent([])]
actions: list[Action] = [plain, with_notes, RecordingAction("act")]


async def use() -> None:
    """Use the workflow as the README does."""
    workflow = AgenticWorkflow(ArticleAgent(), max_iterations=10)
    assert_type(await workflow.run("goal"), dict[str, Any])
    assert_type(workflow.run_sync("goal"), dict[str, Any])
    assert_type(workflow.state, WorkflowState)
    assert_type(workflow.get_next_step(), WorkflowStep | None)
    assert_type(workflow.validate_plan(Plan("goal", [])), bool)
    events: AsyncGenerator[Event, None] = workflow.stream("goal", plan={"steps": []})
    async for event in events:
        assert_type(event, Event)
    await workflow.resume(approve())
    await workflow.resume([approve("one"), reject("no", "two")])
    await workflow.resume({"one": edit({"n": 2}), "two": respond("done")}, thread_id="t")
    await workflow.resume(max_iterations=20)
    AgenticWorkflow(PlanningAgent(), actions=actions, policies=["default"], limits=Limits(max_replans=2))


async def misuse() -> None:
    """Each of these lines must be an error; an ignore that is not needed is one, too."""
    AgenticWorkflow(object())  # type: ignore[arg-type]
    workflow = AgenticWorkflow(ArticleAgent())
    await workflow.run()  # type: ignore[call-arg]
    await workflow.resume("yes")  # type: ignore[arg-type]
    AgenticWorkflow(ArticleAgent(), 10, [plain])  # type: ignore[misc, call-arg, arg-type, unused-ignore]
    workflow.state = WorkflowState.COMPLETE  # type: ignore[misc]
    approve().id = "other"  # type: ignore[misc]
