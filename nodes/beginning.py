"""How a run begins, and where it must not: beside a run of its thread that has not ended, or that it could repeat."""

from collections.abc import Iterable, Mapping, Sequence
from shlex import quote
from typing import Any, Final
from uuid import uuid4

from langchain_core.runnables import RunnableConfig

from agentic_workflows.errors import PlanError, RunError
from agentic_workflows.execution.recorded import recorded_steps
from agentic_workflows.graph.findings import Finding
from agentic_workflows.graph.plan import from_json, plan_name, restore
from agentic_workflows.graph.state import FINISHED, Limits, State, Update, WorkflowState, limits_from_json
from agentic_workflows.graph.threads import run_of
from agentic_workflows.graph.values import beginning, writable
from agentic_workflows.journal.entries import Journal
from agentic_workflows.journal.lease import Held
from agentic_workflows.nodes.collaborators import ANSWER
from agentic_workflows.nodes.stopping import may_have_happened, unsettled_steps

_TAKEN: Final = dict.fromkeys(("given_plan", "given_limits", "given_run_id"))
"""Resets what came in with a goal: it counts for one run."""


def is_new_run(state: State) -> bool:
    """Tell whether a new run begins; otherwise the run that is under way plans once more.

    One that plans once more has the status PLANNING, the goal that it was begun with, and no given run id any more.
    """
    is_given = state.get("given_run_id") is not None
    return is_given or state.get("status") != WorkflowState.PLANNING or state.get("goal", "") != state.get("run_goal")


def begin(state: State, config: RunnableConfig, limits: Limits) -> Update:
    """Return the state that a run begins with, whatever the one before it left; `limits` hold where none came in."""
    given, goal = state.get("given_plan"), state.get("goal")
    goal = goal if isinstance(goal, str) else ""
    if isinstance(given, Mapping) and not goal:
        goal = str(given.get("goal") or "Run the given plan.")
    own = limits_from_json(state.get("given_limits"), default=limits)
    return {
        "goal": writable(goal),
        "run_goal": writable(goal),
        "run_plan": given,
        **_TAKEN,
        "run_id": str(state.get("given_run_id") or run_of(config) or uuid4()),
        "limits": own.to_json(),
        "status": WorkflowState.PLANNING.value,
        "late": False,
        "plan": None,
        "report": None,
        "iteration": 0,
        "replans": 0,
        "tokens": 0,
        "seconds": 0.0,
        "plan_number": 0,
        "lineage": [],
        "steps": {},
        "asks": [],
        "findings": [],
        "refused": [],
        "history": [],
        "left": "",
        "reason": None,
    }


async def left_in_doubt(state: State, begins: str, held: Held) -> list[str]:
    """Return the steps in doubt of the run before the one that begins, where that has not ended on this thread."""
    run_id = state.get("run_id")
    if not run_id or run_id == begins or state.get("status") in FINISHED:
        return []
    home, _ = await held.journal.run_of(run_id) or ("", "")
    return unsettled_steps(await held.journal.past(run_id)) if home == held.lease.thread_id else []


def gone_on_with(state: State, doubts: Sequence[str]) -> Update:
    """Return what has the run under way go on; the goal that came in is dropped, and a finding says so."""
    problem = (
        f"The new goal was not begun, for the run before it has not ended.{may_have_happened(doubts)} That one goes "
        f"on; give the goal again once it has ended."
    )
    return {
        **_TAKEN,
        # One that was executed is replaced; one that has only been proposed is judged yet.
        **({"plan": None} if state["status"] == WorkflowState.PLANNING and state["steps"] else {}),
        "goal": state["run_goal"],
        "findings": [Finding(field=ANSWER, problem=problem).to_json()],
    }


async def begun_before(state: State, update: Update, held: Held) -> str:
    """Return the id of the run that begins: that of an equal run under way which the checkpoint does not know, if any.

    The checkpoints of that run are lost, or somebody went back to before it began. Under its id nothing is done again.
    """
    run_id, journal = str(update["run_id"]), held.journal
    begun = await journal.runs(held.lease.thread_id)
    if run_id in begun:
        return run_id
    if await journal.run_of(run_id):  # on another thread: LangChain hands its name down to whatever a node calls
        run_id = str(uuid4())
    for later in reversed(_begun_since(state.get("run_id"), begun)):
        is_equal = begun[later] == update["goal"] and await _came_with(update, later, journal)
        if is_equal and await _is_under_way(later, journal):
            return later
    return run_id


async def write_down(state: State, before: str | None, held: Held) -> None:
    """Write down that a run begins, unless the journal has it already.

    Args:
        state: of the run that begins.
        before: the id of the run that the checkpoint knows, if any.
        held: the lease of the thread.

    Raises:
        RunError: it must not begin.

    """
    if not await _is_known(state, held.journal):
        await refuse_forgotten(held.journal, held.lease.thread_id, before, state["goal"])
        await held.clear()  # it was asked of the run before, and came too late for that
        await held.journal.begin(held.lease, state["run_id"], state["goal"])


async def refuse_forgotten(journal: Journal, thread: str, known: str | None, goal: str) -> None:
    """Refuse a goal whose run could repeat what a run of the thread has done that the checkpoint does not know.

    The checkpoints of that run are lost, or somebody went back to before it began. If it has done anything, no run with
    the same goal is begun; if it has left an effect in doubt, none at all.

    Args:
        journal: has every run of the thread.
        thread: where the goal came in.
        known: the id of the last run that the checkpoint knows, if any.
        goal: what is wanted.

    Raises:
        RunError: effects could happen twice.

    """
    begun = await journal.runs(thread)
    for run_id in _begun_since(known, begun):
        past = await journal.past(run_id)
        if unsettled_steps(past) or (past.outcomes and begun[run_id] == goal):
            raise RunError(
                f"The thread {thread} has a run that has done something ({run_id}, {beginning(begun[run_id], 200)!r}), "
                f"and what it is begun from does not know of that: effects could happen twice. Go on from the last "
                f"checkpoint of the thread, give the database that has it, or give another thread; `agentic export "
                f"{quote(thread)}` tells what was done."
            )


def _begun_since(known: str | None, begun: Iterable[str]) -> list[str]:
    """Return the runs of a thread that began after the known one; all of them where that is none of them."""
    every = list(begun)
    return every[every.index(known) + 1 :] if known in every else every


async def _is_under_way(run_id: str, journal: Journal) -> bool:
    """Tell whether a run has not ended, as far as the journal tells: there are steps left, and none has failed."""
    number, plan, last = 0, None, await journal.next_plan(run_id, 1)
    while last is not None:
        number, plan = last
        last = await journal.next_plan(run_id, number + 1)
    if plan is None:
        return True
    steps = restore(plan)
    known = {place: one.outcome for place, one in (await journal.past(run_id)).ended.items()}
    ended = recorded_steps(steps, known, plan_name(number, steps))
    return len(ended) < len(steps.steps) and not any(one.status.is_failure for one in ended.values())


async def _is_known(state: State, journal: Journal) -> bool:
    """Tell whether the journal has the run that begins here: then it was begun before, and goes on.

    Raises:
        RunError: it was begun with another goal or plan, such as by a call that does not call the same graphs each
            time.

    """
    known = await journal.run_of(state["run_id"])
    if known is None:
        return False
    _, goal = known
    other = f"goal: {beginning(goal, 200)!r}" if goal and goal != state["goal"] else ""  # some came with a plan alone
    if other or not await _came_with(state, state["run_id"], journal):
        raise RunError(
            f"The run {state['run_id']} was begun with another {other or 'plan'}. Nothing was done. Call this graph "
            f"with the same goals and plans in the same order each time, or give each a thread of its own."
        )
    return True


async def _came_with(begins: Mapping[str, Any], run_id: str, journal: Journal) -> bool:
    """Tell whether a run can have come with the plan that comes with this goal; a first plan that differs says no."""
    given, written = begins["run_plan"], await journal.next_plan(run_id, 1)
    if given is None or written is None:
        return True
    try:
        return from_json(given, goal=begins["goal"]).to_json() == written[1]
    except PlanError:
        return False
