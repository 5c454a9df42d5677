"""A run that the journal alone tells of, because no checkpoint of it is kept or none is here."""

from collections.abc import Sequence
from typing import Any, cast

from agentic_workflows.graph.state import Input, State, WorkflowState
from agentic_workflows.graph.values import JsonObject
from agentic_workflows.journal.entries import Begun


def as_input(begun: Begun) -> Input:
    """Return what the graph is invoked with to begin a run, also once more."""
    given = begun.entry
    return Input(
        goal=begun.goal,
        given_plan=given.get("given_plan"),
        given_limits=cast("JsonObject | None", given.get("given_limits")),
        given_run_id=begun.run_id,
    )


def last_of(told: Sequence[JsonObject]) -> Begun:
    """Return the run that a timeline tells of last."""
    began = max(at for at, entry in enumerate(told) if entry["what"] == "run begun")
    plans = [entry for entry in told[began:] if entry["what"] == "plan"]
    run, plan = cast("dict[str, Any]", told[began]), cast("dict[str, Any]", plans[-1] if plans else {})
    return Begun(
        run_id=run["run_id"],
        goal=run["goal"],
        entry={},
        at=max(str(entry["at"]) for entry in told),
        plan=plan.get("plan"),
        number=plan.get("number", 0),
    )


def as_begun(begun: Begun) -> State:
    """Return the state of a run of which no checkpoint is kept, as far as the journal tells it."""
    status = WorkflowState.PLANNING if begun.plan is None else WorkflowState.EXECUTING
    known: dict[str, Any] = {"goal": begun.goal, "run_id": begun.run_id, "status": status.value, "plan": begun.plan}
    known |= {"limits": begun.entry.get("given_limits") or {}, "plan_number": begun.number, "iteration": begun.number}
    known |= {"replans": 0, "tokens": 0, "seconds": 0.0, "report": None, "reason": None}
    return cast("State", known | {"steps": {}, "asks": [], "findings": [], "refused": [], "lineage": [], "history": []})
