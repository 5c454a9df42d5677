"""How a run stops: paused or cancelled on request, and with what said of effects that may have happened."""

import asyncio
from collections.abc import Iterable
from typing import Any

from agentic_workflows.errors import take_error
from agentic_workflows.graph.state import Request, Update, WorkflowState
from agentic_workflows.journal.entries import Journal, Past, attempt_of
from agentic_workflows.journal.lease import LOOK_SECONDS, Held


async def wait_or_cut(call: "asyncio.Future[Any]", held: Held, run_id: str) -> Request | None:
    """Wait until a call of the agent has ended, or cut it and return what was asked of the run meanwhile.

    Raises:
        LeaseLostError: another process has the run now; the call is cut, or what it gave does not count.
        DatabaseError: nobody could tell whether another process has it.

    """
    try:
        while not (await asyncio.wait({call}, timeout=LOOK_SECONDS))[0]:
            if held.lost:
                raise held.lost
            if request := await held.honour():
                return request
        await held.write(run_id)  # nothing: it is refused where another process has gone on with the run meanwhile
    finally:
        call.cancel()
        call.add_done_callback(take_error)  # also where its caller is cut while it ends
        await asyncio.wait({call})
    return None


async def stopped(request: Request, left: WorkflowState, journal: Journal, run_id: str) -> Update:
    """Return the update that honours a request to pause or to cancel."""
    if request == "pause":
        return {"status": WorkflowState.PAUSED.value, "left": left.value, "reason": "Paused on request."}
    return {"status": WorkflowState.FAILED.value, "left": "", "reason": cancelled(await journal.past(run_id))}


def cancelled(past: Past) -> str:
    """Return why a run ends that was cancelled, with what of it may have happened and nobody said that it did."""
    return f"Cancelled on request.{may_have_happened(unsettled_steps(past))}"


def unsettled_steps(past: Past) -> list[str]:
    """Return the steps in doubt of which nobody has said that they happened."""
    given = past.given
    return [doubt.place.step for doubt in past.in_doubt if str(attempt_of(doubt)) not in given]


def may_have_happened(steps: Iterable[str]) -> str:
    """Return what a reason says of the steps that are in doubt, where the run ends with them."""
    return "".join(f" Step {step} may have happened; nobody knows." for step in sorted(set(steps)))
