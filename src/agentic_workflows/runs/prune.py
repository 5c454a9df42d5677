"""Removing runs with all that is kept of them, and nothing that somebody could still go on with.

A run inside another graph lives as long as the thread of that one: each checkpoint there may be resumed, an earlier one
as well, and leads into the same run, whose effects would happen again if the journal had forgotten them. Whether such a
thread is at its end, only its own graph can tell. So the run goes when the thread goes: with the run of ours that it is
a part of, or once the thread is kept nowhere any more.

Likewise a run that an action has begun on a thread with the name of its call's key: as long as the run of the call is
kept, the action may be called again, and looks for what it has begun.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from langgraph.checkpoint.base import BaseCheckpointSaver

from agentic_workflows.errors import LeaseLostError, RunBusyError, RunError
from agentic_workflows.graph.threads import outers_of
from agentic_workflows.journal.database import Database
from agentic_workflows.journal.entries import run_of_key
from agentic_workflows.journal.faults import CORRUPT
from agentic_workflows.runs.opened import OpenRun
from agentic_workflows.runs.whereabouts import Whereabouts

Savers: TypeAlias = Sequence[BaseCheckpointSaver[Any]]


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """Removes what nobody has touched since a time."""

    database: Database
    saver: BaseCheckpointSaver[Any]
    open: Callable[[str], OpenRun]
    since: str
    others: Savers | None
    """Where graphs around ours keep their threads beside this database; None where nobody says that these are all."""

    async def remove(self, thread_id: str, inner: Iterable[str]) -> list[str]:
        """Remove a thread that is due, with the runs inside of it, and return the runs that are gone.

        It stays where somebody has it, or gave it another goal just now.
        """
        run, journal = self.open(thread_id), self.database.journal
        if not await self._is_due(run):
            return []
        with suppress(RunBusyError, LeaseLostError):
            async with self.database.leases.hold(thread_id) as held:
                if await self._is_due(run):
                    within = [one for one in inner if run.exists and not await self._has_its_own(one)]
                    await journal.forget(held.lease, *within, checkpoints=run.where is not Whereabouts.FOREIGN)
                    return [thread_id, *within] if run.values else []
        return []

    async def _is_due(self, run: OpenRun) -> bool:
        """Tell whether a thread may go, such as one of which there is no more than its name."""
        await run.load()
        if run.outer or await self._is_of_a_call(run.thread_id):
            return False
        if run.exists:
            return run.is_over and run.touched < self.since
        if run.where is not Whereabouts.ELSEWHERE:
            return True
        return self.others is not None and run.touched < self.since and not await self._is_kept(run.thread_id)

    async def _is_of_a_call(self, thread_id: str) -> bool:
        """Tell whether a thread is named by the idempotency key of a call whose run is kept."""
        run_id = run_of_key(thread_id)
        return run_id is not None and await self.database.journal.run_of(run_id) is not None

    async def _is_kept(self, thread_id: str) -> bool:
        """Tell whether a thread, or one that it may be a part of, is kept anywhere."""
        outers, savers = [outer for outer, _ in outers_of(thread_id)], [self.saver, *(self.others or ())]
        if any([await self.database.journal.begun(outer) for outer in outers]):
            return True  # a run of ours that has left no checkpoint yet
        return any([await _has(saver, thread) for thread in (thread_id, *outers) for saver in savers])

    async def _has_its_own(self, thread_id: str) -> bool:
        """Tell whether a thread is one of its own, although its name is that of a run inside another one."""
        return await self.database.journal.begun(thread_id) is not None or await _has(self.saver, thread_id)


async def _has(saver: BaseCheckpointSaver[Any], thread_id: str) -> bool:
    try:
        return bool([one async for one in saver.alist({"configurable": {"thread_id": thread_id}}, limit=1)])
    except NotImplementedError as error:
        raise RunError(
            f"{type(saver).__name__} cannot be asked here. Give the asynchronous saver of its kind."
        ) from error
    except CORRUPT:
        return True  # there is something, of whatever kind
