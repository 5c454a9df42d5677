"""Fakes for tests of agents, actions and policies; shipped, so that users test as this project does."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from agentic_workflows.actions.action import Action, ActionCall
from agentic_workflows.agents.scripted_agent import ScriptedAgent
from agentic_workflows.graph.catalogue import Annotations, Resources
from agentic_workflows.graph.values import JsonObject

__all__ = ["FixedClock", "RecordingAction", "ScriptedAgent"]


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
    """A clock that stands still until it is told to go on."""

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = now

    def __call__(self) -> datetime:
        """Return the time."""
        return self._now

    def now(self) -> datetime:
        """Return the time."""
        return self._now

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        self._now += by
