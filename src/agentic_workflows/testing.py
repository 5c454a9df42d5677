"""Fakes for tests of agents, actions and policies; shipped, so that users test as this project does."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from agentic_workflows.actions.action import Action, ActionCall
from agentic_workflows.agents.scripted_agent import ScriptedAgent
from agentic_workflows.graph.catalogue import Annotations, Resources
from agentic_workflows.graph.review import Answer
from agentic_workflows.graph.review import to_json as answer_to_json
from agentic_workflows.graph.values import JsonObject
from agentic_workflows.journal.entries import Answered, Lease, Past, Recorded
from agentic_workflows.journal.lease import Held
from agentic_workflows.journal.memory_journal import MemoryJournal
from agentic_workflows.journal.owner import new_owner
from agentic_workflows.journal.run_log import RunLog

__all__ = ["FixedClock", "RecordingAction", "ScriptedAgent", "answer_rows", "memory_log"]


class RecordingAction(Action):
    """An action that does nothing but note its calls; by default read-only.

    Args:
        name: of the action.
        result: what a call gives; a callable is called with the inputs.
        error: what a call raises.
        delay: seconds that a call takes.
        input_schema: any object by default.
        output_schema: of the result.
        resources: what a call touches.
        annotations: those of `Annotations`, such as `read_only=False`.

    """

    calls: list[JsonObject]
    """The inputs of every call, in the order in which they began."""

    def __init__(
        self,
        name: str,
        *,
        result: object = None,
        error: Exception | None = None,
        delay: float = 0.0,
        input_schema: JsonObject | None = None,
        output_schema: JsonObject | None = None,
        resources: Resources | None = None,
        **annotations: Any,
    ) -> None:
        async def run(call: ActionCall) -> object:
            self.calls.append(dict(call.inputs))
            await asyncio.sleep(delay)
            if error is not None:
                raise error
            return result(dict(call.inputs)) if callable(result) else result

        super().__init__(
            name=name,
            description=f"Record a call of {name}.",
            input_schema={"type": "object"} if input_schema is None else input_schema,
            output_schema=output_schema,
            annotations=Annotations(**{"read_only": True, "open_world": False, **annotations}),
            resources=resources,
            run=run,
        )
        object.__setattr__(self, "calls", [])


class FixedClock:
    """A clock for `Database(clock=...)` that stands still until it is told to go on: no test waits for a deadline."""

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time in seconds since the epoch."""
        return self.now.timestamp()

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        self.now += by


def answer_rows(answers: Iterable[Answer]) -> dict[str, Answered]:
    """Return answers as the rows that the journal of the run `r` has of them when they are given now, by review id."""
    at = datetime.now(UTC).isoformat()
    rows = {str(one.id): answer_to_json(one) for one in answers}
    return {one: Answered(review_id=one, run_id="r", answer=said, reviewer="", at=at) for one, said in rows.items()}


def memory_log(*before: Recorded, answers: Iterable[Answer] = ()) -> RunLog:
    """Return the log of the run `r` in a journal of its own, with what was recorded and answered before."""
    lease = Lease(thread_id="t", owner=new_owner(), token=1, expires=float("inf"))
    journal = MemoryJournal(leases=[lease], answers=answer_rows(answers).values())
    return RunLog(Held(journal, lease), "r", Past(outcomes=before))
