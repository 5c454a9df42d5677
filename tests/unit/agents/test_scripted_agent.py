from typing import Any

import pytest

from agentic_workflows.agents.scripted_agent import ScriptedAgent
from agentic_workflows.errors import ActionError, PlanningError
from agentic_workflows.graph.plan import Plan, WorkflowStep


async def test_plans_come_in_turn_and_then_planning_ends():
    agent = ScriptedAgent(
        [{"steps": []}, ValueError("bad"), lambda goal, history: {"goal": goal, "seen": len(history)}]
    )
    assert await agent.create_plan("a", []) == {"steps": []}
    with pytest.raises(ValueError, match="bad"):
        await agent.create_plan("b", [])
    history = [{"step": None, "result": {"feedback": "no"}}]
    assert await agent.create_plan("c", history) == {"goal": "c", "seen": 1}
    with pytest.raises(PlanningError, match="no plan number 4"):
        await agent.create_plan("d", [])
    assert agent.goals == ["a", "b", "c", "d"]
    assert agent.histories == [[], [], history, []]


async def test_results_go_by_step_then_by_action():
    results = {"first": 1, "say": lambda step: step.inputs["text"], "boom": OSError("disk")}
    agent = ScriptedAgent([], results, actions=["declared"])
    steps = [WorkflowStep("first", "say"), WorkflowStep("second", "say", {"text": "hi"})]
    assert [await agent.execute_step(step) for step in steps] == [1, "hi"]
    with pytest.raises(OSError, match="disk"):
        await agent.execute_step(WorkflowStep("x", "boom"))
    with pytest.raises(ActionError, match="no result for the step 'y'"):
        await agent.execute_step(WorkflowStep("y", "other"))
    assert [step.name for step in agent.executed] == ["first", "second", "x", "y"]
    assert agent.actions == ["declared"]


@pytest.mark.parametrize("one", [{"steps": []}, Plan("g", [])])
def test_one_plan_is_no_script(one: Any) -> None:
    with pytest.raises(TypeError, match=r"is one plan. Give a list of plans: ScriptedAgent\(\[plan\]\)\."):
        ScriptedAgent(one)
