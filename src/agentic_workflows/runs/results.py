"""A run as the dict that users get: the state of its thread, with the values that its journal holds."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from agentic_workflows.collector import collector_off
from agentic_workflows.execution.recorded import items_by_step, recorded_steps
from agentic_workflows.execution.used import caught_up
from agentic_workflows.graph.history import MARKS
from agentic_workflows.graph.outcome import Outcome, OutcomeStatus, outputs_of
from agentic_workflows.graph.plan import plan_name, restore
from agentic_workflows.graph.state import State, WorkflowState, ended_steps
from agentic_workflows.graph.values import JsonObject, copied
from agentic_workflows.journal.entries import Past, Place

_OURS = MARKS | {"plan"}


@collector_off()
def as_result(thread_id: str, values: State, past: Past, *, is_kept: bool = True, outer: str = "") -> dict[str, Any]:
    """Return a run as a dict, keys as in `AgenticWorkflow.run`; of one with no checkpoint the journal alone tells."""
    # What actions gave is copied: a journal in memory goes on with its own.
    values = caught_up(values, past, since=None if is_kept else 1)
    known = {place: one.outcome for place, one in past.ended.items()}
    ended, items = _ended(values, known), items_by_step(known)
    status = values.get("status", WorkflowState.PLANNING.value)
    return {
        "thread_id": thread_id,
        "run_id": values.get("run_id"),
        "goal": values.get("goal"),
        "state": status,
        "outputs": _outputs(values, ended),
        "history": [_whole(entry, known, items) for entry in values.get("history", [])],
        "iterations": values.get("iteration", 0),
        "reason": values.get("reason"),
        "reviews": [copied(one) for one in open_questions(values, past.answers)],
        "plan": values.get("plan"),
        "report": values.get("report"),
        "steps": _steps(values, ended),
        "replans": values.get("replans", 0),
        "tokens": values.get("tokens", 0),
        "seconds": values.get("seconds", 0.0),
        "outer": outer,
    }


def open_questions(values: State, answers: Collection[str]) -> list[JsonObject]:
    """Return the questions that nobody has answered yet, given the ids of those that somebody has."""
    if values.get("status") != WorkflowState.REVIEWING:
        return []
    return [ask for ask in values.get("asks", []) if ask["id"] not in answers]


def _ended(values: State, known: Mapping[Place, Outcome]) -> dict[str, Outcome]:
    """Return what became of each step of the current plan that ended, by what is written down about it."""
    if not values.get("plan"):
        return {}
    plan = restore(values["plan"] or {})
    return recorded_steps(plan, known, plan_name(values["plan_number"], plan))


def _steps(values: State, ended: Mapping[str, Outcome]) -> dict[str, JsonObject]:
    """Return how each step stands; what ended since the last checkpoint, if there is one, only the journal knows."""
    kept = {name: without_plan(standing) for name, standing in values.get("steps", {}).items()}
    known = ended_steps(values)
    return kept | {name: one.standing for name, one in ended.items() if name not in known}


def _outputs(values: State, ended: Mapping[str, Outcome]) -> JsonObject:
    """Return every output of the current plan that exists, by name."""
    outputs: JsonObject = {}
    succeeded = {name: one for name, one in ended.items() if one.status == OutcomeStatus.SUCCEEDED}
    steps = restore(values["plan"] or {}).by_name if succeeded else {}
    for name, outcome in succeeded.items():
        outputs.update(outputs_of(steps[name], outcome))
    return copied(outputs)


def without_plan(entry: JsonObject) -> JsonObject:
    """Return an entry of the history as users see it: the name of its plan and the marks on its text are ours."""
    return {key: value for key, value in entry.items() if key not in _OURS}


def _whole(
    entry: JsonObject, known: Mapping[Place, Outcome], items: Mapping[tuple[str, str], Sequence[Outcome]]
) -> JsonObject:
    """Return an entry of the history with its result, where the state only refers to it."""
    result = entry["result"]
    if isinstance(result, dict) and "$large" in result:
        place = Place(str(entry.get("plan")), str(entry["step"]))
        if each := items.get((place.plan, place.step)):
            result = [one.result for one in each]
        elif place in known:
            result = known[place].result
    return {**without_plan(entry), "result": copied(result)}
