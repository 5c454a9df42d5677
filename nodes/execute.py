"""EXECUTING: run the plan as a dataflow, each step the moment it may."""

from collections.abc import Callable
from time import perf_counter
from typing import Any, TypeAlias, cast

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime

from agentic_workflows.actions.action import Registry
from agentic_workflows.collector import collector_off
from agentic_workflows.errors import RunError
from agentic_workflows.execution.dataflow import Dataflow
from agentic_workflows.execution.grants import grants_of
from agentic_workflows.execution.point import ExecutionPoint
from agentic_workflows.execution.recorded import refuse_strays
from agentic_workflows.execution.run_pass import RunPass
from agentic_workflows.execution.secrets import Secrets
from agentic_workflows.execution.used import caught_up
from agentic_workflows.graph.checks import refuse_missing
from agentic_workflows.graph.history import marks
from agentic_workflows.graph.inside import wait_until_kept
from agentic_workflows.graph.outcome import Outcome
from agentic_workflows.graph.plan import Plan, WorkflowStep, plan_name, plan_number, restore
from agentic_workflows.graph.state import Limits, State, Update, WorkflowState, ended_steps, limits_from_json
from agentic_workflows.graph.values import JsonObject, JsonValue, canonical, digest
from agentic_workflows.journal.entries import Journal
from agentic_workflows.journal.lease import Leases
from agentic_workflows.journal.run_log import RunLog
from agentic_workflows.nodes.collaborators import Node, holding
from agentic_workflows.nodes.stopping import stopped

Choose: TypeAlias = Callable[[State], WorkflowStep | None]
"""Picks the next step from the state as it is now, in place of the schedule."""
AT_MOST = "at_most_steps"
"""Key of the configuration that limits how many steps one pass starts."""
MOST_SHOWN = 2_000
"""Characters of a result that the state's history shows; the journal has it whole."""


def make_execute(
    point: ExecutionPoint, registry: Registry, leases: Leases, secrets: Secrets, choose: Choose | None
) -> Node:
    """Return the execute node; `choose` picks each next step where a subclass says so."""

    async def execute(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> Update:
        """Start whatever may start until nothing can, and return what became of it."""
        limits = limits_from_json(state["limits"])
        plan = restore(state["plan"] or {})
        refuse_missing(plan, registry)
        await wait_until_kept(config, seconds=leases.seconds)
        async with holding(leases, state, config) as held:
            lineage, past = await _lineage(state, plan, leases.journal), await leases.journal.past(state["run_id"])
            name = plan_name(state["plan_number"], plan)

            def chosen() -> WorkflowStep | None:
                now = cast("State", {**state, **_update(state, flow, seconds=0)})
                return choose(now) if choose else None

            with collector_off():
                refuse_strays(past.calls, plan, name)
                state = caught_up(state, past)
                run = RunPass(
                    run_id=state["run_id"],
                    plan=name,
                    asked_under=lineage[0],
                    policy=point.engine.digest,
                    limits=limits,
                    secrets=secrets,
                    is_stopped=lambda: held.request is not None or held.lost is not None,
                    emit=lambda event: runtime.stream_writer(event.to_json()),
                    log=RunLog(held, state["run_id"], past),
                    counts=past.counts,
                    grants=grants_of(past, limits, leases.journal.now),
                )
                flow = Dataflow(
                    plan,
                    point=point,
                    registry=registry,
                    run=run,
                    starts=_starts(state, limits, config),
                    choose=chosen if choose else None,
                )
            _refuse_gaps(state, flow)
            began = perf_counter()
            try:
                seconds = limits.max_seconds - state["seconds"]
                in_time = await flow.run_all(seconds) and not (seconds <= 0 and flow.wants_more)
            finally:
                await run.log.flush()
            if held.lost:
                raise held.lost
            update = {**_update(state, flow, seconds=perf_counter() - began), "lineage": lineage}
            if not flow.is_finished and (request := await held.honour()):
                stop = await stopped(request, WorkflowState.EXECUTING, leases.journal, state["run_id"])
                return {**update, **stop}
            return {**update, **_exhausted(flow, limits, update["iteration"], in_time=in_time)}

    return execute


def _starts(state: State, limits: Limits, config: RunnableConfig) -> int:
    """Return how many steps may start; none where the time is up, for each would be cut at once."""
    if state["seconds"] >= limits.max_seconds:
        return 0
    left, at_most = limits.max_iterations - state["iteration"], config.get("configurable", {}).get(AT_MOST)
    return min(left, at_most) if isinstance(at_most, int) and at_most > 0 else left


async def _lineage(state: State, plan: Plan, journal: Journal) -> list[str]:
    """Return the plans that approvals count for, this one the last: each only left steps out of the one before."""
    known, name = state.get("lineage") or [], plan_name(state["plan_number"], plan)
    if name in known:
        return known
    earlier = await journal.proposed(state["run_id"], plan_number(known[-1])) if known else None
    return [*known, name] if earlier and plan.narrows(restore(earlier)) else [name]


def _refuse_gaps(state: State, flow: Dataflow) -> None:
    """Refuse a journal that does not know what the checkpoint knows, such as one of another day.

    Raises:
        RunError: what it does not know could be done again.

    """
    if unknown := sorted(ended_steps(state) - flow.outcomes.keys()):
        raise RunError(
            f"The journal does not know of {', '.join(unknown)}, which ended as the checkpoint says: the two do not "
            f"belong together, and going on could do effects twice. Give the database that the run was made with."
        )


@collector_off()
def _update(state: State, flow: Dataflow, *, seconds: float) -> Update:
    known = {str(entry["step"]) for entry in state["history"] if entry.get("plan") == flow.name}
    now = {**flow.outcomes, **flow.asked}
    marked = {name: marks(flow.label_of(name, one)) for name, one in now.items()}
    steps: dict[str, JsonObject] = {name: {**one.standing, **marked[name]} for name, one in now.items()}
    news = [(name, outcome) for name, outcome in flow.outcomes.items() if name not in known]
    return {
        "status": WorkflowState.EXECUTING.value,
        "steps": steps,
        "asks": flow.questions(),
        "iteration": state["iteration"] + flow.started,
        "seconds": state["seconds"] + seconds,
        "history": [
            *state["history"],
            *({**_entry(flow, name, outcome), **marked[name]} for name, outcome in news),
        ],
    }


def _entry(flow: Dataflow, name: str, outcome: Outcome) -> JsonObject:
    entry: JsonObject = {
        "step": name,
        "result": _shown(outcome.result),
        "status": outcome.status.value,
        "plan": flow.name,
    }
    if outcome.reason:
        entry["reason"] = outcome.reason
    if outcome.items:
        entry["items"] = [{"status": str(item.status), "reason": item.reason} for item in outcome.items]
    return entry


def _shown(result: JsonValue) -> JsonValue:
    """Return a result as the state shows it; a large one is referred to."""
    if result is None or isinstance(result, bool | int | float):
        return result
    text = canonical(result)
    return result if len(text) <= MOST_SHOWN else {"$large": digest(result), "characters": len(text)}


def _exhausted(flow: Dataflow, limits: Limits, iteration: int, *, in_time: bool) -> Update:
    """Return the update that ends the run, where a limit is used up or nothing can start; empty where it goes on."""
    failed: Update = {"status": WorkflowState.FAILED.value, "left": WorkflowState.EXECUTING.value}
    if not in_time:
        cut = "; what ran was cut" if flow.started else ""
        return {**failed, "left": "", "reason": f"max_seconds={limits.max_seconds:g} is exhausted{cut}."}
    if flow.fault:
        return {**failed, "left": "", "reason": flow.fault}
    if any(outcome.status.is_failure for outcome in flow.outcomes.values()):
        return {}
    if flow.wants_more and iteration >= limits.max_iterations:
        return {**failed, "reason": f"max_iterations={limits.max_iterations} is exhausted."}
    if not flow.has_progress and not flow.wants_more:
        why = (
            "get_next_step chose one that has ended or is not in the plan, or what is left waits for what never comes."
        )
        return {**failed, "left": "", "reason": f"No step can start: {why}"}
    return {}
