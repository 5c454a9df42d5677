import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from agentic_workflows import AgenticWorkflow, Limits, ReviewError, approve
from agentic_workflows.actions.action import Action, ActionCall
from agentic_workflows.graph.plan import WorkflowStep
from agentic_workflows.journal.database import Database
from agentic_workflows.testing import FixedClock, RecordingAction, ScriptedAgent


def call(action, **inputs):
    return action.run(ActionCall(action=action.name, inputs=inputs, step=WorkflowStep("s", action.name), run_id="r"))


async def test_action_records_calls_and_gives_its_result():
    action = RecordingAction("mail.send", result=lambda inputs: inputs["to"], read_only=False, idempotent=True)
    assert [await call(action, to="a"), await call(action, to="b")] == ["a", "b"]
    assert action.calls == [{"to": "a"}, {"to": "b"}]
    assert isinstance(action, Action)
    assert action.groups == ("effect", "destructive")


async def test_action_fails_and_waits_as_told():
    with pytest.raises(OSError, match="gone"):
        await call(RecordingAction("a", error=OSError("gone")))
    slow = RecordingAction("b", result=1, delay=60)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call(slow), 0.01)
    assert slow.calls == [{}]


async def test_a_question_expires_by_a_clock_that_is_told_to_go_on():
    clock, mail = FixedClock(datetime(2026, 1, 1, tzinfo=UTC)), RecordingAction("mail", read_only=False)
    plan = {"goal": "g", "steps": [{"name": "a", "action": "mail", "human_review_required": True}]}
    limits = Limits(review_seconds=3_600)
    workflow = AgenticWorkflow(ScriptedAgent([plan]), actions=[mail], database=Database(clock=clock), limits=limits)
    asked = await workflow.run("g", thread_id="t")
    assert asked["reviews"][0]["expires"] == "2026-01-01T01:00:00+00:00"
    clock.advance(timedelta(hours=1))
    with pytest.raises(ReviewError, match="too late"):
        await workflow.resume(approve())
    assert ((await workflow.resume())["state"], mail.calls) == ("FAILED", [])
