"""EXECUTING: run the plan as a dataflow, each step the moment it may."""

from collections.abc import Callable
from time import perf_counter
from typing import Any, TypeAlias, cast

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime

from agentic_workflows.actions.action import Registry
from agentic_workflows.actions.dataflow import Dataflow
from agentic_workflows.actions.execution import ExecutionPoint, RunPass
from agentic_workflows.graph.events import Event
from agentic_workflows.graph.outcome import Outcome
from agentic_workflows.graph.outcome import from_json as outcome_from_json
from agentic_workflows.graph.plan import Plan, WorkflowStep, restore
from agentic_workflows.graph.review import from_json as answer_from_json
from agentic_workflows.graph.state import Limits, State, Update, WorkflowState, limits_from_json
from agentic_workflows.graph.values import JsonObject, JsonValue
from agentic_workflows.nodes.collaborators import Control, Node, thread_of
from agentic_workflows.nodes.plan import stopped

Choose: TypeAlias = Callable[[State], WorkflowStep | None]
"""Picks the next step from the state as it is now, in place of the schedule."""
AT_MOST = "at_most_steps"
"""Key of the configuration that limits how many steps one pass starts."""


def make_execute(point: ExecutionPoint, registry: Registry, control: Control, choose: Choose | None = None) -> Node:
    """Return the execute node; `choose` picks each next step where a subclass says so."""

    async def execute(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> Update:
        """Start whatever may start until nothing can, and return what became of it."""
        limits = limits_from_json(state["limits"], default=Limits())
        plan = restore(state["plan"] or {})
        run = _run_pass(state, plan, limits, lambda event: runtime.stream_writer(event.to_json()))
        thread, at_most = thread_of(config), config.get("configurable", {}).get(AT_MOST)

        def chosen() -> WorkflowStep | None:
            now = cast("State", {**state, **_update(state, flow, run, seconds=0)})
            return choose(now) if choose else None

        flow = Dataflow(
            plan,
            {name: outcome_from_json(cast("JsonObject", one)) for name, one in state["outcomes"].items()},
            point=point,
            registry=registry,
            run=run,
            is_stopped=lambda: control.requested(thread) is not None,
            starts=min(limits.max_iterations - state["iteration"], at_most or limits.max_iterations),
            choose=chosen if choose else None,
        )
        began = perf_counter()
        in_time = await flow.run_all(limits.max_seconds - state["seconds"])
        update = _update(state, flow, run, seconds=perf_counter() - began)
        if (request := control.requested(thread)) and not flow.is_finished:
            control.clear(thread)
            return {**update, **stopped(request, WorkflowState.EXECUTING)}
        return {**update, **_exhausted(flow, limits, update["iteration"], in_time=in_time)}

    return execute


def _run_pass(state: State, plan: Plan, limits: Limits, emit: Callable[[Event], None]) -> RunPass:
    return RunPass(
        run_id=state["run_id"],
        plan=plan.digest,
        limits=limits,
        emit=emit,
        counts={name: int(cast("int", count)) for name, count in state["counts"].items()},
        answers={one: answer_from_json(raw, id=one) for one, raw in state["answers"].items()},
    )


def _update(state: State, flow: Dataflow, run: RunPass, *, seconds: float) -> Update:
    left = state["answers"]
    return {
        "status": WorkflowState.EXECUTING.value,
        "outcomes": {name: outcome.to_json() for name, outcome in [*flow.outcomes.items(), *flow.asked.items()]},
        "counts": run.counts,
        "asks": cast("list[JsonValue]", flow.questions()),
        "answers": {one: left[one] for one in run.answers if one in left},
        "iteration": state["iteration"] + flow.started,
        "seconds": state["seconds"] + seconds,
        "history": [*state["history"], *(_entry(name, outcome) for name, outcome in flow.news)],
    }


def _entry(name: str, outcome: Outcome) -> JsonObject:
    entry: JsonObject = {"step": name, "result": outcome.result, "status": str(outcome.status)}
    if outcome.reason:
        entry["reason"] = outcome.reason
    if outcome.items:
        entry["items"] = [{"status": str(item.status), "reason": item.reason} for item in outcome.items]
    return entry


def _exhausted(flow: Dataflow, limits: Limits, iteration: int, *, in_time: bool) -> Update:
    failed: Update = {"status": WorkflowState.FAILED.value, "left": WorkflowState.EXECUTING.value}
    if not in_time:
        return {**failed, "left": "", "reason": f"max_seconds={limits.max_seconds:g} is exhausted; what ran was cut."}
    if any(outcome.status.is_failure for outcome in flow.outcomes.values()):
        return {}
    if flow.wants_more and iteration >= limits.max_iterations:
        return {**failed, "reason": f"max_iterations={limits.max_iterations} is exhausted."}
    if not flow.has_progress and not flow.wants_more:
        return {**failed, "left": "", "reason": "No step can start. This plan waits for something that never comes."}
    return {}
