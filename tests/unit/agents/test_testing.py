import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from agentic_workflows.actions.action import Action, ActionCall
from agentic_workflows.graph.plan import WorkflowStep
from agentic_workflows.testing import FixedClock, RecordingAction


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


def test_clock_stands_still():
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    clock.advance(timedelta(hours=1))
    assert clock() == clock.now() == datetime(2026, 1, 1, 1, tzinfo=UTC)
