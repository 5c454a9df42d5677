"""Where the checkpoints of a run are, and what the journal tells of one that has none here."""

from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import Any, cast

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.types import StateSnapshot

from agentic_workflows.graph.build import Graph
from agentic_workflows.graph.state import Input, State, WorkflowState, refuse_misshapen
from agentic_workflows.graph.threads import is_inside, outers_of
from agentic_workflows.graph.values import JsonObject
from agentic_workflows.journal.entries import Begun, Journal


class Whereabouts(Enum):
    """Where the checkpoints of a run are."""

    HERE = auto()
    """On its own thread or within that of a graph around it, once there are any."""
    ELSEWHERE = auto()
    """In no place that is known here, or gone: the journal is all that tells of the run."""
    FOREIGN = auto()
    """Nowhere: the thread is one of another graph."""


async def find(
    graph: Graph, journal: Journal, thread_id: str, *, is_begun: bool
) -> tuple[Whereabouts, str, StateSnapshot]:
    """Return where the checkpoints of a run are, the thread of the graph around it, and the last checkpoint.

    The thread is empty where it has its own. Of a run that is begun, the checkpoint is that of the run before.

    Raises:
        Exception: whatever tells that the checkpoint is not as it was written.

    """
    outer, snapshot = "", await graph.aget_state({"configurable": {"thread_id": thread_id}})
    if not await _is_ours(snapshot.values, journal, thread_id):
        where = Whereabouts.FOREIGN if id_of(snapshot) else Whereabouts.HERE
        return where, outer, snapshot._replace(values={})
    if not (snapshot.values or is_begun):
        outer, snapshot = await _within(graph, thread_id) or (outer, snapshot)
    _check(snapshot)
    return (Whereabouts.HERE if snapshot.values or is_begun else Whereabouts.ELSEWHERE), outer, snapshot


def id_of(snapshot: StateSnapshot) -> str:
    """Return the id of a checkpoint, which is empty where the thread has none."""
    return str(snapshot.config.get("configurable", {}).get("checkpoint_id", ""))


async def _is_ours(values: Mapping[str, Any], journal: Journal, thread_id: str) -> bool:
    """Tell whether there is a run on the thread; a graph around a run may have the same names in its state."""
    if not (run_id := values.get("run_id")):
        return bool(await journal.runs(thread_id))
    home, _ = await journal.run_of(str(run_id)) or ("", "")
    return not is_inside(home, thread_id)


async def _within(graph: Graph, thread_id: str) -> tuple[str, StateSnapshot] | None:
    """Return the thread of the graph around a run, and the run's last checkpoint there, where it is kept here, too."""
    saver = cast("BaseCheckpointSaver[Any]", graph.checkpointer)
    for outer, namespace in outers_of(thread_id):
        saved = await saver.aget_tuple({"configurable": {"thread_id": outer, "checkpoint_ns": namespace}})
        if saved is not None:
            kept = saved.checkpoint["channel_values"]
            values = {name: value for name, value in kept.items() if name in State.__annotations__}
            at = saved.checkpoint["ts"]
            return outer, StateSnapshot(values, (), saved.config, saved.metadata, at, None, (), ())
    return None


def _check(snapshot: StateSnapshot) -> None:
    """Raise whatever tells that a checkpoint is not as it was written; a run that has only begun may lack the most."""
    if snapshot.metadata is not None and not isinstance(snapshot.metadata.get("step"), int):
        raise ValueError("its metadata names no step")
    refuse_misshapen(snapshot.values)


def as_input(begun: Begun) -> Input:
    """Return what the graph is invoked with to begin a run, also once more."""
    given = begun.entry
    return Input(
        goal=begun.goal,
        given_plan=given.get("given_plan"),
        given_limits=cast("JsonObject | None", given.get("given_limits")),
        given_run_id=begun.run_id,
    )


def last_begun(told: Sequence[JsonObject]) -> Begun:
    """Return the run that was begun last, as a timeline tells it."""
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


def as_state(begun: Begun) -> State:
    """Return the state of a run of which no checkpoint is kept, as far as the journal tells it."""
    status = WorkflowState.PLANNING if begun.plan is None else WorkflowState.EXECUTING
    known: dict[str, Any] = {"goal": begun.goal, "run_id": begun.run_id, "status": status.value, "plan": begun.plan}
    known |= {"limits": begun.entry.get("given_limits") or {}, "plan_number": begun.number, "iteration": begun.number}
    known |= {"replans": 0, "tokens": 0, "seconds": 0.0, "report": None, "reason": None}
    return cast("State", known | {"steps": {}, "asks": [], "findings": [], "refused": [], "lineage": [], "history": []})
