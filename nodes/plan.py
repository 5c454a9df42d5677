"""PLANNING: ask the agent for a plan; `validate` judges it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from itertools import takewhile
from time import perf_counter
from typing import Any, TypeAlias, cast

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphInterrupt
from langgraph.runtime import Runtime

from agentic_workflows.errors import DatabaseError, ModelError, PlanError, PlanningError, RunError, said
from agentic_workflows.execution.contained import contained
from agentic_workflows.graph.events import PlanProposed, RunStarted, StateEntered
from agentic_workflows.graph.findings import Finding
from agentic_workflows.graph.findings import from_json as finding_from_json
from agentic_workflows.graph.inside import named_by
from agentic_workflows.graph.plan import Plan, from_json
from agentic_workflows.graph.state import Limits, Request, State, Update, WorkflowState, limits_from_json
from agentic_workflows.graph.values import JsonObject
from agentic_workflows.journal.lease import Held, Leases
from agentic_workflows.nodes.beginning import begin, begun_before, gone_on_with, is_new_run, left_in_doubt, write_down
from agentic_workflows.nodes.collaborators import Agent, Node, ask, holding, shown
from agentic_workflows.nodes.stopping import stopped, wait_or_cut
from agentic_workflows.nodes.usage import counted_usage

CheckInput: TypeAlias = Callable[[State], str]
"""Says why a run must not begin with what it was given; nothing where it may."""


Settle: TypeAlias = Callable[[State, Held], Awaitable[Update]]
"""Settles what replaced plans left in doubt: the next one must know of it. It asks about what it cannot settle."""


def make_plan(agent: Agent, leases: Leases, limits: Limits, settle: Settle, check_input: CheckInput) -> Node:
    """Return the plan node; limits are those of a run that names none."""

    async def plan(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> Update:
        """Call the agent once, and return its plan or what kept it from giving one."""
        update = begin(state, config, limits) if is_new_run(state) else {}
        async with holding(leases, cast("State", {**state, **update}), config) as held:
            if not update:
                return await _go_on(state, agent, held, settle, runtime)
            if doubts := await left_in_doubt(state, update["run_id"], held):
                return gone_on_with(state, doubts)
            update["run_id"] = await begun_before(state, update, held)
            runtime.stream_writer(RunStarted(run_id=update["run_id"], goal=update["goal"]).to_json())
            runtime.stream_writer(StateEntered(state=WorkflowState.PLANNING.value).to_json())
            now, problem = cast("State", {**state, **update}), check_input(state)
            await write_down(now, state.get("run_id"), held)
            if problem:
                return {**update, "status": WorkflowState.FAILED.value, "reason": problem}
            return {**update, **await _go_on(now, agent, held, settle, runtime)}

    return plan


async def _go_on(state: State, agent: Agent, held: Held, settle: Settle, runtime: Runtime[Any]) -> Update:
    """Plan, unless the run is to stop or something has to be asked first."""
    if ended := _exhausted(state):
        return {"status": WorkflowState.FAILED.value, **ended}
    if request := await held.honour():
        return await stopped(request, WorkflowState.PLANNING, held.journal, state["run_id"])
    settled = await settle(state, held)
    if settled.get("asks"):
        return {**settled, "status": WorkflowState.REVIEWING.value, "steps": {}}
    now, call = cast("State", {**state, **settled}), _PlannerCall(agent, held)
    proposed = await _propose(now, call, runtime)
    return {**settled, **call.used(now), **proposed}


class _PlannerCall:
    """One planner call: its tokens counted, cut when the run must stop."""

    def __init__(self, agent: Agent, held: Held) -> None:
        self._agent, self.held = agent, held
        self.saw_untrusted = False
        self.tokens = 0
        self.seconds = 0.0
        self.stopped: Request | None = None

    def used(self, state: State) -> Update:
        """Return what the run has used, this call included, and whether what it gave is late."""
        tokens, seconds = state["tokens"] + self.tokens, state["seconds"] + self.seconds
        return {"tokens": tokens, "seconds": seconds, "late": self.saw_untrusted}

    async def make(self, state: State, number: int, seconds: float) -> Plan | Mapping[str, Any] | None:
        """Return the agent's plan of a number; None where the run was asked to stop.

        Raises:
            PlanningError: the agent cannot plan any more, or not within the time left, or waits for a person.
            Exception: whatever else the agent raised, or the lease.

        """
        with counted_usage() as usage:
            began = perf_counter()
            history, self.saw_untrusted = shown(self._agent, state["history"])
            with named_by(f"{state['run_id']}:{number}"):
                asked = ask(self._agent.create_plan, state["goal"], history)
                planning = asyncio.ensure_future(contained(asked, seconds))
            try:
                self.stopped = await wait_or_cut(planning, self.held, state["run_id"])
                return None if self.stopped else _given(planning)
            except TimeoutError:
                raise PlanningError(f"max_seconds is exhausted: no plan within {seconds:.1f} s.") from None
            finally:
                self.tokens = sum(each["total_tokens"] for each in usage.usage_metadata.values())
                self.seconds = perf_counter() - began


def _given(planning: "asyncio.Future[Plan | Mapping[str, Any]]") -> Plan | Mapping[str, Any]:
    """Return the plan that a call of the agent gave.

    Raises:
        PlanningError: a graph that it calls waits for a person.
        Exception: whatever else the agent raised.

    """
    try:
        return planning.result()
    except GraphInterrupt as waiting:  # asked once more, it would begin another run, and do all of it again
        raise PlanningError("A graph that the agent calls waits for a person, and cannot be answered.") from waiting
    # The agent's own, such as of a workflow inside it; not the journal's.
    except (DatabaseError, RunError) as error:
        raise PlanError([_no_plan(error)]) from error


def _exhausted(state: State) -> Update:
    """Return the end of a run that may plan no more, empty where it may; with more iterations it goes on at `left`."""
    limits = limits_from_json(state["limits"])
    findings = [str(finding_from_json(one)) for one in state.get("findings", [])]
    last = f" Last: {' '.join(findings)[:1_000]}" if findings else ""
    if state["iteration"] >= limits.max_iterations:
        return {"left": "PLANNING", "reason": f"max_iterations={limits.max_iterations} is exhausted.{last}"}
    if state["tokens"] >= limits.max_tokens:
        return {"left": "", "reason": f"max_tokens={limits.max_tokens} is exhausted.{last}"}
    if state["seconds"] >= limits.max_seconds:
        return {"left": "", "reason": f"max_seconds={limits.max_seconds:g} is exhausted.{last}"}
    if not state["goal"].strip():
        return {"left": "", "reason": "There is no goal. Give one, or a plan."}
    return {}


async def _propose(state: State, call: _PlannerCall, runtime: Runtime[Any]) -> Update:
    """Return what one planner call came to: a plan, which is written down first, findings, or the end of the run."""
    limits, journal = limits_from_json(state["limits"]), call.held.journal
    # Calls that gave no plan before a process was killed were made, and count.
    due = state["plan_number"] + 1
    number, known = await journal.next_plan(state["run_id"], due) or (due, None)
    # Planner calls are counted by themselves: steps that the journal knows take no iteration when a run is begun again.
    iteration = state["iteration"] + 1 + number - due
    update: Update = {"iteration": iteration, "plan": None, "plan_number": number, "steps": {}, "asks": []}
    try:
        raw = known or await _candidate(state, call, number, max(limits.max_seconds - state["seconds"], 0.0))
        if call.stopped:
            return await stopped(call.stopped, WorkflowState.PLANNING, journal, state["run_id"])
        plan = from_json(raw, goal=state["goal"], source="The plan", max_steps=limits.max_steps)
        plan = replace(plan, saw_untrusted=True) if call.saw_untrusted else plan
        plan = plan if _may_name_goal(plan, state) else replace(plan, goal=state["goal"])
    except PlanningError as error:
        # The last plan stays, so that one sees what it came to.
        return {"iteration": iteration, "status": WorkflowState.FAILED.value, "reason": str(error)}
    except PlanError as error:
        findings = [finding.to_json() for finding in error.findings]
    except (DatabaseError, RunError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever an agent does wrong is a finding, never a crash
        findings = [(Finding(problem=str(error)) if isinstance(error, ModelError) else _no_plan(error)).to_json()]
        if isinstance(error, ModelError) and findings == state["findings"]:
            reason = f"The model failed twice in the same way. {error}"
            return {**update, "status": WorkflowState.FAILED.value, "reason": reason}
    else:
        # Before anyone uses it: a crash from here on finds it again.
        plan_json = await journal.propose(call.held.lease, state["run_id"], number, plan.to_json())
        runtime.stream_writer(PlanProposed(plan=plan_json).to_json())
        return {**update, "plan": plan_json, "late": plan.saw_untrusted, "findings": []}
    return {**update, "findings": findings}


def _may_name_goal(plan: Plan, state: State) -> bool:
    """Tell whether a plan may name a goal of its own: what stands in it counts as the user's word."""
    return state.get("run_plan") is not None or not plan.saw_untrusted


def _no_plan(error: Exception) -> Finding:
    return Finding(problem=f"The agent gave no plan: {type(error).__name__}: {said(error)}")


async def _candidate(state: State, call: _PlannerCall, number: int, seconds: float) -> object:
    """Return the plan that came with the goal, or the agent's."""
    given = state.get("run_plan")
    if given is None:
        return await call.make(state, number, seconds)
    if state["history"]:
        raise PlanningError(f"The given plan cannot be planned again. {_last_said(state)}")
    return given


def _last_said(state: State) -> str:
    """Return the findings and feedback since the last step of the run, for a reason."""
    since = takewhile(lambda entry: entry.get("step") is None, reversed(state["history"]))
    results = (result for entry in since if isinstance(result := entry.get("result"), dict))
    return " ".join(reversed([_words(result) for result in results]))


def _words(result: JsonObject) -> str:
    if isinstance(found := result.get("findings"), list):
        return " ".join(str(finding_from_json(one)) for one in found if isinstance(one, dict))
    return str(result.get("feedback") or result.get("reason") or "")
