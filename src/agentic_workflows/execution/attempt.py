"""One attempt at a call, or several."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from time import monotonic
from typing import TypeAlias

from langgraph.errors import GraphInterrupt

from agentic_workflows.actions.action import Action, ActionCall
from agentic_workflows.errors import ActionError, ResultError, WorkflowError, said
from agentic_workflows.execution.contained import ContainedError, contained
from agentic_workflows.execution.lost import is_lost
from agentic_workflows.execution.run_pass import RunPass
from agentic_workflows.execution.secrets import hidden, kept_from_traces
from agentic_workflows.graph.events import AttemptFailed
from agentic_workflows.graph.state import Limits
from agentic_workflows.graph.values import JsonValue, as_json, some_of
from agentic_workflows.journal.lease import LOOK_SECONDS
from agentic_workflows.under_way import under_way

_MOST_INSIDE = 3
"""Errors of a group that are told, at each level of it."""
Attempt: TypeAlias = Callable[[], Coroutine[None, None, JsonValue]]


class LostError(ActionError):
    """An attempt was lost sight of: it may have had its effect."""


class WaitingError(LostError):
    """A graph that an attempt calls waits for a person, as it would at each further attempt."""


class StoppedError(WorkflowError):
    """No further attempt was begun, for the run is to stop."""


async def attempt_once(call: ActionCall, action: Action, limits: Limits, secrets: Mapping[str, str]) -> JsonValue:
    """Make one attempt; nothing that it gives or says shows a secret.

    Raises:
        LostError: it did not finish in time, or lost its connection; a `WaitingError` where a graph waits for a person.
        ActionError: it failed; whatever the action does wrong becomes one.

    """
    if not secrets:
        return await _attempt(call, action, limits)
    try:
        with kept_from_traces(secrets):
            return hidden(await _attempt(call, action, limits), secrets)
    except ActionError as error:
        kind = next((kind for kind in (WaitingError, LostError, ResultError) if isinstance(error, kind)), ActionError)
        told = kind(str(hidden(said(error), secrets)))
        told.quotes_output = error.quotes_output
        raise told from None


async def _attempt(call: ActionCall, action: Action, limits: Limits) -> JsonValue:
    seconds = (call.step.timeout or limits.default_timeout).total_seconds()
    try:
        result = await contained(_run(call, action), seconds)
    except TimeoutError as error:
        raise LostError(f"{call.action} did not finish within {seconds:g} s.") from error
    except ResultError:
        raise
    except ActionError as error:
        if is_lost(error):
            raise LostError(said(error)) from error
        raise
    except ContainedError as error:  # it was cut by something else than its own end
        raise LostError(f"{call.action} raised {error}") from error
    except Exception as error:
        kind = _kind_of(error)
        raise kind(f"{call.action} raised {type(error).__name__}: {without_values(error)}") from error
    try:
        return as_json(result, where=f"The result of {call.action}")
    except ActionError as error:
        raise ResultError(str(error)) from None


def _kind_of(error: Exception) -> type[ActionError]:
    if isinstance(error, GraphInterrupt):
        return WaitingError
    return LostError if is_lost(error) else ActionError


async def _run(call: ActionCall, action: Action) -> object:
    if not action.has_effect:
        return await action.run(call)
    with under_way(call.idempotency_key):
        return await action.run(call)


def without_values(error: BaseException) -> str:
    """Return what an error says, a group also what those in it say.

    Pydantic's shows the ends of what it was given, a secret perhaps.
    """
    from pydantic import ValidationError  # noqa: PLC0415 - few calls fail
    from pydantic_core import PydanticSerializationError  # noqa: PLC0415

    from agentic_workflows.actions.declare import problems_of  # noqa: PLC0415

    if isinstance(error, PydanticSerializationError):
        return "a value is not of the type that it should have"
    if isinstance(error, BaseExceptionGroup):
        inside = [f"{type(one).__name__}: {without_values(one)}" for one in error.exceptions]
        return f"{said(error)}: {some_of(inside, _MOST_INSIDE, '; ')}"
    return problems_of(error) if isinstance(error, ValidationError) else said(error)


async def attempt_often(
    attempt: Attempt, most: int, call: ActionCall, run: RunPass, until: datetime | None
) -> JsonValue:
    """Make up to `most` attempts, waiting longer between them each time, none but the first once `until` has passed.

    Raises:
        StoppedError: the run is to stop, and an attempt was left.
        ActionError: as in `attempt_once`, of the last attempt.
        LeaseLostError: another process has the run by now, and an attempt was left.
        ExpiredError: what lets the call happen has expired, and an attempt was left.
        DatabaseError: nobody could tell whether another one has, and an attempt was left.

    """
    import tenacity  # noqa: PLC0415 - most runs never retry

    def note(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        failed = AttemptFailed(
            step=call.step.name, attempt=state.attempt_number, reason=said(error) if error else "", item=call.item
        )
        run.emit(failed)

    async def wait(seconds: float) -> None:
        due = monotonic() + seconds
        while not run.is_stopped():
            if (left := due - monotonic()) <= 0:
                await run.log.confirm(until)
                break
            await asyncio.sleep(min(left, LOOK_SECONDS))
        if run.is_stopped():
            raise StoppedError

    retrying = tenacity.AsyncRetrying(
        stop=tenacity.stop_after_attempt(most),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=10),
        retry=tenacity.retry_if_exception(
            lambda error: isinstance(error, ActionError) and not isinstance(error, WaitingError)
        ),
        before_sleep=note,
        sleep=wait,
        reraise=True,
    )
    return await retrying(attempt)
