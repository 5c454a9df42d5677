"""Running code that is not ours: it may fail in any way, but it ends neither the run nor the process."""

import asyncio
import logging
import traceback
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

from agentic_workflows.errors import WorkflowError, said, take_error

Result = TypeVar("Result")
GRACE_SECONDS: Final = 2.0
"""How long cut code may take to clean up; what it does after that is nobody's result any more."""
MOST_FRAMES: Final = 20
"""Of a failure in the log, the last ones."""
_log = logging.getLogger("agentic_workflows")


class ContainedError(WorkflowError):
    """Code that is not ours raised what is no ordinary error."""


async def contained(work: Awaitable[Result], seconds: float) -> Result:
    """Await work in a task of its own.

    Raises:
        TimeoutError: it was cut after the seconds; a TimeoutError of its own comes as a `ContainedError`.
        ContainedError: it raised something that would end the process, cancelled itself, or timed out by itself.
        Exception: whatever else it raised.

    """
    loop = asyncio.get_running_loop()
    # Cheaper than `asyncio.wait`, and in the path of every call.
    ended: asyncio.Future[bool] = loop.create_future()
    task = loop.create_task(_tamed(work, ended))
    timer = loop.call_later(seconds, partial(_set, ended, in_time=False))
    in_time = False
    try:
        in_time = await ended
    finally:
        timer.cancel()
        if not in_time:  # it was cut, and ends later or in the same instant: nobody asks how
            task.add_done_callback(take_error)
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=GRACE_SECONDS)
    if not in_time:
        raise TimeoutError(f"it did not finish within {seconds:g} s")
    if task.cancelled():
        raise ContainedError("CancelledError: it cancelled itself")
    return task.result()


def log_failure(error: BaseException) -> None:
    """Write to the log, at level DEBUG, where code that is not ours failed.

    Not what it said, for that may quote a secret: the run tells it, without them.
    """
    if not _log.isEnabledFor(logging.DEBUG):
        return
    with suppress(Exception):  # an error may be odd, too
        for one in filter(None, (error, error.__cause__)):
            frames = "".join(traceback.format_tb(one.__traceback__, limit=-MOST_FRAMES))
            _log.debug("%s was raised here:\n%s", type(one).__name__, frames)


def _set(ended: "asyncio.Future[bool]", *, in_time: bool) -> None:
    if not ended.done():
        ended.set_result(in_time)


async def _tamed(work: Awaitable[Result], ended: "asyncio.Future[bool]") -> Result:
    try:
        return await work
    except (asyncio.CancelledError, KeyboardInterrupt):
        raise
    except TimeoutError as error:
        log_failure(error)
        raise ContainedError(f"TimeoutError: {said(error)}") from error
    except Exception as error:
        log_failure(error)
        raise
    except BaseException as error:
        log_failure(error)
        raise ContainedError(f"{type(error).__name__}: {said(error)}") from error
    finally:
        _set(ended, in_time=True)
