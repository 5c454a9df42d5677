"""Holding a lease: it is renewed while it is held, and tells what somebody asked of the run."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from threading import Thread
from time import monotonic
from typing import Final

from agentic_workflows.errors import DatabaseError, LeaseLostError, RunBusyError
from agentic_workflows.graph.state import Request
from agentic_workflows.journal.entries import Journal, Lease
from agentic_workflows.journal.owner import name_of, new_owner
from agentic_workflows.under_way import when_ended

LEASE_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 0.25
"""How often a run looks whether somebody asked it to stop."""


class Held:
    """A lease in hand."""

    def __init__(self, journal: Journal, lease: Lease) -> None:
        self._journal = journal
        self.lease = lease
        self.request: Request | None = lease.request
        """What somebody asked of the run, as of the last renewal or write."""
        self.lost: LeaseLostError | None = None
        self.runs = set[str]()
        """The runs that do something under it."""

    def hear(self, request: Request | None) -> None:
        """Take note of what somebody asked; a pause takes back no cancel."""
        if request and self.request != "cancel":
            self.request = request

    async def clear(self) -> None:
        """Forget what was asked of the run: it was honoured."""
        await self._journal.clear(self.lease)
        self.request = None  # afterwards: a renewal on its way may have told it once more


class Leases:
    """The leases that this process holds in one journal."""

    def __init__(self, journal: Journal, *, seconds: float = LEASE_SECONDS) -> None:
        self.journal = journal
        self.seconds = seconds
        self._held: dict[str, Held] = {}

    @asynccontextmanager
    async def hold(self, thread_id: str, *, owner: str | None = None, wait: float = 0.0) -> AsyncIterator[Held]:
        """Hold a thread's lease for what is done inside.

        Args:
            thread_id: the thread.
            owner: who holds it already, further out in the same run; then that lease is used.
            wait: seconds to wait for another owner, who may just have been killed.

        Raises:
            RunBusyError: another owner has it.

        """
        outer = self._held.get(owner or "")
        if outer is not None and outer.lease.thread_id == thread_id:
            yield outer
            return
        held = await self._acquire(thread_id, monotonic() + wait)
        self._held[held.lease.owner] = held
        beat = asyncio.create_task(self._beat(held))
        try:
            yield held
        finally:
            del self._held[held.lease.owner]
            await _through(self._end(held, beat))

    def ask(self, thread_id: str, request: Request) -> bool:
        """Ask a run to stop without waiting for the database; tells whether it is one of this process."""
        mine = [held for held in self._held.values() if held.lease.thread_id == thread_id]
        for held in mine:
            held.hear(request)
        return bool(mine)

    async def _acquire(self, thread_id: str, until: float) -> Held:
        owner = new_owner()
        while True:
            try:
                return Held(self.journal, await self._taken(thread_id, owner))
            except RunBusyError as busy:
                if held := await self._resumed(busy.owner):
                    return held
                if monotonic() >= until:
                    raise
                await asyncio.sleep(0.2)

    async def _resumed(self, owner: str) -> Held | None:
        """Go on with a lease that was left to an act of this process; given back first, others could have it."""
        if (held := _left.pop(owner, None)) is None:
            return None
        try:
            held.hear(await self.journal.renew(held.lease, self.seconds))
        except LeaseLostError:
            return None
        except BaseException:
            self._leave(held)
            raise
        return held

    async def _taken(self, thread_id: str, owner: str) -> Lease:
        """Take a lease; one that is cut in the middle is given back, or nobody would hold it until it expires."""
        taking = asyncio.ensure_future(self.journal.acquire(thread_id, owner, self.seconds))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            await _through(self._refuse(taking))
            raise

    async def _refuse(self, taking: "asyncio.Future[Lease]") -> None:
        with suppress(RunBusyError, DatabaseError):
            await self.journal.release(await taking)

    async def _end(self, held: Held, beat: "asyncio.Task[None]") -> None:
        beat.cancel()
        await asyncio.wait({beat})
        if not self._leave(held):
            with suppress(DatabaseError):  # it expires by itself
                await self.journal.release(held.lease)

    def _leave(self, held: Held) -> bool:
        """Leave a lease to what goes on of its runs; whoever had it meanwhile would find that nothing happened.

        Nobody renews it: who takes it when it ran out knows that it was not given back.
        """
        owner = name_of(held.lease.owner)

        def give_back() -> None:
            if _left.pop(owner, None) is not None:
                Thread(target=asyncio.run, args=[_released(self.journal, held.lease)], daemon=True).start()

        _left[owner] = Held(self.journal, replace(held.lease, request=None))
        _left[owner].runs = held.runs
        if when_ended(frozenset(held.runs), give_back):
            return True
        del _left[owner]
        return False

    async def _beat(self, held: Held) -> None:
        """Keep the lease, and see what others ask."""
        while held.lost is None:
            await asyncio.sleep(min(LOOK_SECONDS, self.seconds / 3))
            try:
                held.hear(await self.journal.renew(held.lease, self.seconds))
            except LeaseLostError as error:
                held.lost = error
            except DatabaseError:
                continue  # the next write says so, where it matters


_left: dict[str, Held] = {}
"""By the name of their owner, the leases of this process that nobody holds while an act of their runs goes on."""


async def _released(journal: Journal, lease: Lease) -> None:
    with suppress(DatabaseError):
        await journal.release(lease)


async def _through(work: Coroutine[None, None, None]) -> None:
    """Do work to its end, also where whoever waits for it is cut meanwhile."""
    doing = asyncio.ensure_future(work)
    try:
        await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait({doing})
        raise
