"""The gate into execution (is this plan allowed?) and out of it (are these the results that the goal needs?)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphInterrupt
from langgraph.runtime import Runtime

from agentic_workflows.actions.action import Registry
from agentic_workflows.errors import RunError, said
from agentic_workflows.execution.contained import contained
from agentic_workflows.graph.checks import refuse_missing
from agentic_workflows.graph.events import PlanAccepted, PlanRefused
from agentic_workflows.graph.findings import Finding
from agentic_workflows.graph.findings import from_json as finding_from_json
from agentic_workflows.graph.history import joint_marks, late_marks
from agentic_workflows.graph.inside import named_by
from agentic_workflows.graph.outcome import OutcomeStatus
from agentic_workflows.graph.plan import Plan, plan_name, restore
from agentic_workflows.graph.state import Limits, State, Update, WorkflowState, limits_from_json
from agentic_workflows.graph.values import JsonObject, JsonValue
from agentic_workflows.journal.entries import Journal
from agentic_workflows.journal.lease import Leases
from agentic_workflows.nodes.collaborators import Node, ask, holding, shown, uncounted
from agentic_workflows.nodes.stopping import may_have_happened, stopped, wait_or_cut
from agentic_workflows.policies.report import Report

Examine = Callable[[Plan, State], Report]
"""Checks a plan and decides every step of it as far as possible."""
ReviewProgress = Callable[[str, Sequence[JsonObject]], Awaitable[object]]


def make_validate(examine: Examine, agent: object, leases: Leases, registry: Registry) -> Node:
    """Return the validate node; an agent's `review_progress` says what is missing when all steps are done."""

    async def validate(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> Update:
        """Judge a new plan, or what an execution came to; any other state passes."""
        if state["status"] == WorkflowState.PLANNING:
            return await _gate_in(state, examine, runtime, leases.journal, registry)
        if state["status"] == WorkflowState.EXECUTING:
            return await _gate_out(state, agent, leases, config)
        return {}

    return validate


async def _gate_in(
    state: State, examine: Examine, runtime: Runtime[Any], journal: Journal, registry: Registry
) -> Update:
    """Return what becomes of a new plan: it is executed, planned again, or ends the run."""
    if state.get("plan") is None:
        return _refuse(state, [finding_from_json(one) for one in state["findings"]], runtime)
    plan = restore(state["plan"] or {})
    report = examine(plan, state)
    if report.findings:
        await _refuse_begun(state, report, journal, registry)
        if state.get("run_plan"):
            return _refuse_given(report, runtime)
        refused = state["refused"] if _lacks_only_iterations(report) else [*state["refused"], report.refusal]
        return {**_refuse(state, report.findings, runtime), "plan": None, "refused": refused}
    told = report.to_json()
    runtime.stream_writer(PlanAccepted(report=told).to_json())
    shown = {key: told[key] for key in ("order", "decisions", "provenance")}
    given = state.get("run_plan") and plan.digest  # it stands in `plan` whole; this says that nobody plans again
    return {"status": WorkflowState.EXECUTING.value, "run_plan": given, "report": shown, "findings": []}


async def _refuse_begun(state: State, report: Report, journal: Journal, registry: Registry) -> None:
    """Refuse to judge a plan that was accepted and begun before a process was killed, where nothing could replace it.

    Raises:
        RunError: nothing is changed, so the run goes on once its actions, or the policies that accepted it, are back.

    """
    past, name = await journal.past(state["run_id"]), plan_name(state["plan_number"], report.plan)
    doubts = [one.place.step for one in past.in_doubt if one.place.plan == name]
    if not doubts and all(one.intent.place.plan != name for one in past.outcomes):
        return
    refuse_missing(report.plan, registry)
    if state.get("run_plan") and not _lacks_only_iterations(report):
        raise RunError(
            f"The given plan has begun, and is refused now: {_reason(report)}"
            f"{may_have_happened(doubts)} Resume the run with the policies that it was begun with, or cancel it; "
            f"nothing was changed."
        )


def _reason(report: Report) -> str:
    return " ".join(str(finding) for finding in report.findings)


def _refuse_given(report: Report, runtime: Runtime[Any]) -> Update:
    """Refuse a plan that came with the goal: nobody can plan it again, but it may be given more iterations."""
    runtime.stream_writer(PlanRefused(findings=[finding.to_json() for finding in report.findings]).to_json())
    return {
        "status": WorkflowState.FAILED.value,
        "reason": _reason(report),
        "left": WorkflowState.PLANNING.value if _lacks_only_iterations(report) else "",
    }


def _lacks_only_iterations(report: Report) -> bool:
    """Tell whether a plan would run, had it more iterations."""
    return all(finding.field == "max_iterations" for finding in report.findings)


def _refuse(state: State, findings: Sequence[Finding], runtime: Runtime[Any]) -> Update:
    """Return the update that has the agent plan again, with these findings in the history."""
    found: list[JsonValue] = [finding.to_json() for finding in findings]
    runtime.stream_writer(PlanRefused(findings=found).to_json())
    is_late = bool(state.get("late"))  # then the findings quote its words
    entry: JsonObject = {"step": None, "result": {"findings": found}, **late_marks(is_late=is_late)}
    return {"status": WorkflowState.PLANNING.value, "findings": found, "history": [*state["history"], entry]}


async def _gate_out(state: State, agent: object, leases: Leases, config: RunnableConfig) -> Update:
    """Return where a run goes after a pass of execution."""
    outcomes = state["steps"]
    failed = [(name, one) for name, one in outcomes.items() if OutcomeStatus(str(one["status"])).is_failure]
    if failed:
        return _after_failure(state, failed, is_replaced=await _is_replaced(state, leases.journal))
    if state["asks"]:
        return {"status": WorkflowState.REVIEWING.value}
    if restore(state["plan"] or {}).by_name.keys() <= outcomes.keys():
        return await _complete(state, agent, leases, config)
    return {"status": WorkflowState.EXECUTING.value}


async def _is_replaced(state: State, journal: Journal) -> bool:
    """Tell whether a later plan is written down: before a process was killed, this one came to that."""
    return await journal.next_plan(state["run_id"], state["plan_number"] + 1) is not None


def _after_failure(state: State, failed: list[tuple[str, JsonObject]], *, is_replaced: bool) -> Update:
    """Return what becomes of a run with failed steps: it plans again, once nothing is in doubt, or it ends."""
    reason = " ".join(f"Step {name} {outcome['status']}: {outcome['reason']}" for name, outcome in failed)
    doubts = [ask for ask in state["asks"] if ask.get("in_doubt")]
    limit = _limits(state).max_replans
    if state["replans"] >= limit and not is_replaced:
        spent = f" max_replans={limit} is used up." if limit else ""
        more = spent + may_have_happened(str(ask["step"]) for ask in doubts)
        stop = "." if more and reason[-1] not in ".!?" else ""
        return {"status": WorkflowState.FAILED.value, "reason": reason + stop + more, "asks": []}
    if doubts:  # a new plan must know what happened; the failures come up again once that is settled
        return {"status": WorkflowState.REVIEWING.value, "asks": doubts}
    found: list[JsonValue] = [
        Finding(step=name, problem=f"{outcome['status']}: {outcome['reason']}").to_json() for name, outcome in failed
    ]
    marked = joint_marks([outcome for _, outcome in failed])
    entry: JsonObject = {"step": None, "result": {"findings": found}, **marked}
    return {
        "status": WorkflowState.PLANNING.value,
        "replans": state["replans"] + 1,
        "asks": [],
        "findings": found,
        "history": [*state["history"], entry],
    }


async def _complete(state: State, agent: object, leases: Leases, config: RunnableConfig) -> Update:
    """Return what becomes of a run whose steps are all done: it is complete, unless its agent says what is missing."""
    review_progress: ReviewProgress | None = getattr(agent, "review_progress", None)
    history, saw_untrusted = shown(agent, state["history"])
    missing = ""
    if await _is_replaced(state, leases.journal):  # another judgement could drop a later plan, which may have begun
        missing = "it was planned again."
    elif review_progress is not None:
        async with holding(leases, state, config) as held:
            if request := await held.honour():
                return await stopped(request, WorkflowState.EXECUTING, held.journal, state["run_id"])
            told = _asked(state, review_progress, history)
            if request := await wait_or_cut(told, held, state["run_id"]):
                return await stopped(request, WorkflowState.EXECUTING, held.journal, state["run_id"])
        try:
            missing = _missing(told)
        except GraphInterrupt:  # asked once more, it would begin another run, and do all of it again
            reason = "A graph that review_progress calls waits for a person, and cannot be answered."
            return {"status": WorkflowState.FAILED.value, "reason": reason}
    if not missing:
        return {"status": WorkflowState.COMPLETE.value, "reason": uncounted(state) or None, "left": ""}
    if state["replans"] >= _limits(state).max_replans:
        return {"status": WorkflowState.FAILED.value, "reason": f"The goal is not reached: {missing}"}
    feedback: JsonObject = {"feedback": f"The goal is not reached yet: {missing}"}
    entry: JsonObject = {"step": None, "result": feedback, **({"untrusted": True} if saw_untrusted else {})}
    replans = state["replans"] + 1
    return {"status": WorkflowState.PLANNING.value, "replans": replans, "history": [*state["history"], entry]}


def _asked(state: State, review_progress: ReviewProgress, history: Sequence[JsonObject]) -> "asyncio.Future[object]":
    """Ask the agent what is missing."""
    limits = _limits(state)
    seconds = min(limits.step_timeout, limits.max_seconds - state["seconds"])
    with named_by(f"{state['run_id']}:{state['plan_number']}"):
        return asyncio.ensure_future(contained(ask(review_progress, state["goal"], history), seconds))


def _missing(asked: "asyncio.Future[object]") -> str:
    """Return what the agent said is missing; an agent that fails here has not confirmed the goal.

    Raises:
        GraphInterrupt: a graph that it calls waits for a person.

    """
    try:
        told = asked.result()
    except GraphInterrupt:
        raise
    except Exception as error:  # noqa: BLE001 - an agent's fault is a finding
        return f"the agent could not review the progress: {type(error).__name__}: {said(error)}"
    if told is False:
        return "the agent's review of the progress says no"
    return str(told) if told and told is not True else ""


def _limits(state: State) -> Limits:
    return limits_from_json(state["limits"])
