"""What the nodes are given: the agent that they ask, and the lease that they hold."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from typing import Any, Final, Protocol

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime

from agentic_workflows.actions.action import awaited
from agentic_workflows.errors import RunError
from agentic_workflows.graph.history import is_untrusted, without_secrets, without_untrusted
from agentic_workflows.graph.plan import Plan
from agentic_workflows.graph.state import FINISHED, State, Update
from agentic_workflows.graph.threads import thread_of
from agentic_workflows.graph.values import JsonObject
from agentic_workflows.journal.entries import Journal
from agentic_workflows.journal.lease import Held, Leases

OWNER: Final = "__agentic_owner"
"""Key of the configuration: the owner of the lease, where the caller of the graph holds it already."""
ANSWER: Final = "answer"
"""The field of a finding that says why an answer, or a goal in place of one, did not count."""


class Agent(Protocol):
    """Makes plans: any object with this method, best a coroutine, for a plain function holds up all other runs.

    An agent that brings no declared actions also has `execute_step(step)`, as in the article. `review_progress(goal,
    history)` is optional: it is asked when every step is done, and returns what is still missing, or nothing.

    An agent with `sees_outputs = False` plans again, and reviews, without a word of what is untrusted. For any other
    agent, plans that it makes once there was untrusted output in its history are untrusted themselves, and cannot
    change the goal. No agent is shown what may hold a secret that an action gave.
    """

    def create_plan(self, goal: str, history: Sequence[JsonObject]) -> Awaitable[Plan | Mapping[str, Any]]:
        """Return a plan for the goal, given what happened so far."""
        ...


def shown(agent: object, history: Sequence[JsonObject]) -> tuple[list[JsonObject], bool]:
    """Return what an agent is shown of a run's history, and whether anything of that is untrusted."""
    told = without_secrets(history)
    if not getattr(agent, "sees_outputs", True):
        return without_untrusted(told), False
    return told, any(map(is_untrusted, history))


def uncounted(state: State) -> str:
    """Return why the answer or goal that came in last did not count; empty where it did."""
    findings = state.get("findings") or []
    return " ".join(str(one["problem"]) for one in findings if one.get("field") == ANSWER)


async def ask(method: Callable[[str, Sequence[JsonObject]], Any], goal: str, history: Sequence[JsonObject]) -> Any:
    """Return what a method of an agent gives, whether it is a coroutine or not; it gets a copy of the history."""
    return await awaited(method(goal, deepcopy(history)))


class Node(Protocol):
    """A node reads the state and returns an update; it never picks its successor."""

    def __call__(self, state: State, config: RunnableConfig, runtime: Runtime[Any]) -> Awaitable[Update]:
        """Take the run one transition further."""
        ...


@asynccontextmanager
async def holding(leases: Leases, state: State, config: RunnableConfig) -> AsyncIterator[Held]:
    """Hold the lease of the run for what a node does; on a server, wait for an owner that was just killed.

    Raises:
        RunBusyError: another process has the run.
        RunError: the thread is a copy of the one that the run belongs to.

    """
    owner, thread = str(config.get("configurable", {}).get(OWNER) or ""), thread_of(state, config)
    async with leases.hold(thread, owner=owner, wait=0 if owner else leases.seconds + 1) as held:
        await refuse_foreign(leases.journal, state, thread)
        yield held


async def refuse_foreign(journal: Journal, state: State, thread: str) -> None:
    """Refuse to go on with a run that by the journal belongs to another thread, or that the journal does not know.

    Raises:
        RunError: going on could do effects twice.

    """
    run_id = state.get("run_id")
    if not run_id or state.get("status") in FINISHED or not state.get("iteration"):
        return
    known = await journal.run_of(run_id)
    if known is None:
        raise RunError(
            f"The journal does not know the run {run_id} of the thread {thread}, so nobody can tell what it has done. "
            f"Give the database that the run was begun with."
        )
    home, _ = known
    if home != thread:
        raise RunError(
            f"The thread {thread} is a copy: its run {run_id} belongs to the thread {home}, and its effects must "
            f"not happen twice. Continue there, or begin a new run here with a goal."
        )
