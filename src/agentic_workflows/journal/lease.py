"""Holding a lease: it is renewed while it is held, and tells what somebody asked of the run."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from threading import Lock, Thread
from time import monotonic
from typing import Final

from agentic_workflows.errors import DatabaseError, LeaseLostError, RunBusyError
from agentic_workflows.graph.state import Request
from agentic_workflows.journal.entries import Intent, Journal, Known, Lease, Recorded
from agentic_workflows.journal.owner import give_up, name_of, new_owner
from agentic_workflows.under_way import when_ended

LEASE_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 0.25
"""Between two looks at what somebody asked of the runs."""


class Held:
    """A lease in hand: what a run writes with."""

    def __init__(self, journal: Journal, lease: Lease) -> None:
        self.journal = journal
        self.lease = lease
        self.request: Request | None = lease.request
        """What somebody asked of the run, as of the last renewal or write."""
        self.lost: LeaseLostError | None = None
        self.runs: dict[str, Known] = {}
        """By their ids, the runs that do something under it, with the outcomes of each that were read or written."""

    async def write(
        self,
        run_id: str,
        *,
        intents: Sequence[Intent] = (),
        outcomes: Sequence[Recorded] = (),
        used: Sequence[str] = (),
        until: datetime | None = None,
    ) -> None:
        """Write as `Journal.write` does, and take note of what somebody asked."""
        self.hear(
            await self.journal.write(self.lease, run_id, intents=intents, outcomes=outcomes, used=used, until=until)
        )

    def hear(self, request: Request | None) -> None:
        """Take note of what somebody asked; a pause takes back no cancel."""
        if request and self.request != "cancel":
            self.request = request

    async def honour(self) -> Request | None:
        """Return what was asked of the run, to be honoured now, and forget a pause.

        A cancel stays until the thread gets another goal: a process that is killed before the end of the run is kept
        finds it again.
        """
        request = self.request
        if request == "pause":
            await self.clear()
        return request

    async def clear(self) -> None:
        """Forget what was asked of the run. What somebody asked since then stays."""
        honoured = self.request
        await self.journal.clear(self.lease, honoured)
        if self.request == honoured:  # afterwards: a renewal on its way may have told it once more
            self.request = None


@dataclass(frozen=True)
class _Beat:
    """What keeps the leases that are held in one event loop; it ends with the last of them."""

    held: set[Held]
    task: "asyncio.Task[None]"


class Leases:
    """The leases that this process holds in one journal."""

    def __init__(self, journal: Journal, *, seconds: float = LEASE_SECONDS) -> None:
        self.journal = journal
        self.seconds = seconds
        self._held: dict[str, Held] = {}
        self._beats: dict[asyncio.AbstractEventLoop, _Beat] = {}

    @asynccontextmanager
    async def hold(self, thread_id: str, *, owner: str = "", wait: float = 0.0) -> AsyncIterator[Held]:
        """Hold a thread's lease for what is done inside.

        Args:
            thread_id: the thread.
            owner: who holds it already, further out in the same run; then that lease is used.
            wait: seconds to wait for another owner, who may just have been killed.

        Raises:
            RunBusyError: another owner has it.

        """
        outer = self._held.get(owner)
        if outer is not None and outer.lease.thread_id == thread_id:
            yield outer
            return
        held = await self._acquire(thread_id, monotonic() + wait)
        self._held[held.lease.owner] = held
        self._keep(held)
        try:
            yield held
        finally:
            del self._held[held.lease.owner]
            self._keep_no_longer(held)
            await _through(self._let_go(held), partial(self._leave_or_give_up, held))

    async def renew(self, held: Held) -> None:
        """Keep a lease for longer, and hear what somebody asked of the run.

        Raises:
            LeaseLostError: another owner took it.

        """
        (found,) = await self.journal.renew_all([held.lease], self.seconds)
        if isinstance(found, LeaseLostError):
            raise found
        held.hear(found)

    def ask(self, thread_id: str, request: Request) -> bool:
        """Ask a run to stop without waiting for the database; tells whether it is one of this process."""
        mine = [held for held in list(self._held.values()) if held.lease.thread_id == thread_id]
        for held in mine:
            held.hear(request)
        return bool(mine)

    async def _acquire(self, thread_id: str, until: float) -> Held:
        owner = new_owner()
        while True:
            left = _left.copy()
            try:
                return Held(self.journal, await self._taken(thread_id, owner))
            except RunBusyError as busy:
                if held := await self._resumed(busy.owner):
                    return held
                if monotonic() >= until and busy.owner not in left:  # one of those is free by now, or soon
                    raise
                await asyncio.sleep(0.2)

    async def _resumed(self, owner: str) -> Held | None:
        """Go on with a lease that was left to an act of this process; given back first, others could take it."""
        with _lock:
            if (held := _left.get(owner)) is None:
                return None
            del _left[owner]
        try:
            await self.renew(held)
        except LeaseLostError:
            return None
        except BaseException:
            await _through(self._let_go(held), partial(self._leave_or_give_up, held))
            raise
        return held

    async def _taken(self, thread_id: str, owner: str) -> Lease:
        """Take a lease; one that is cut in the middle is given back, or nobody would hold it until it expires."""
        taking = asyncio.ensure_future(self.journal.acquire(thread_id, owner, self.seconds))
        try:
            return await asyncio.shield(taking)
        except DatabaseError:  # it may have been taken all the same, and nobody heard of it
            give_up(owner)
            raise
        except asyncio.CancelledError:
            await _through(self._refuse(taking, owner), partial(give_up, owner))
            raise

    async def _refuse(self, taking: "asyncio.Future[Lease]", owner: str) -> None:
        """Wait for a lease that is being taken, and give it back."""
        try:
            await self.journal.release(await taking)
        except RunBusyError:
            pass
        except DatabaseError:
            give_up(owner)

    async def _let_go(self, held: Held) -> None:
        if not self._leave(held):
            try:
                await self.journal.release(held.lease)
            except DatabaseError:  # another process waits until it expires
                give_up(held.lease.owner)

    def _leave_or_give_up(self, held: Held) -> None:
        if not self._leave(held):
            give_up(held.lease.owner)

    def _leave(self, held: Held) -> bool:
        """Leave a lease to the acts of its runs that go on, and tell whether there are any.

        Whoever got it now could find that an effect has not happened, and the act would do it yet. Nobody renews it
        meanwhile, and who takes it once it has run out sees that it was not given back.
        """
        owner = name_of(held.lease.owner)
        left = Held(self.journal, replace(held.lease, request=None))
        left.runs = held.runs

        def give_back() -> None:
            with _lock:
                if _left.get(owner) is not left:  # somebody went on with it, and may have left it to more
                    return
                _left[owner] = None
            try:
                Thread(target=_give_back, args=[self.journal, held.lease], daemon=True).start()
            except RuntimeError:  # none is to be had
                give_up(owner)
                del _left[owner]

        with _lock:
            if is_left := when_ended(frozenset(held.runs), give_back):
                _left[owner] = left
        return is_left

    def _keep(self, held: Held) -> None:
        loop = asyncio.get_running_loop()
        if loop not in self._beats:
            together = set[Held]()
            # In no run's context: it may go on long after the run that was the first.
            task = loop.create_task(self._beat(together), context=Context())
            self._beats[loop] = _Beat(together, task)
        self._beats[loop].held.add(held)

    def _keep_no_longer(self, held: Held) -> None:
        loop = asyncio.get_running_loop()
        beat = self._beats[loop]
        beat.held.remove(held)
        if not beat.held:
            del self._beats[loop]
            beat.task.cancel()

    async def _beat(self, together: set[Held]) -> None:
        """Keep the leases, and see what others ask: one question for all of them, however many they are."""
        while True:
            await asyncio.sleep(min(LOOK_SECONDS, self.seconds / 3))
            asked = [held for held in together if held.lost is None]
            try:
                found = await self.journal.renew_all([held.lease for held in asked], self.seconds)
            except DatabaseError:
                continue  # the next write says so, where it matters
            for held, told in zip(asked, found, strict=True):
                if isinstance(told, LeaseLostError):
                    held.lost = told
                else:
                    held.hear(told)


_lock = Lock()
_left: dict[str, Held | None] = {}
"""By the name of their owner, the leases of this process that nobody holds, and that others do not get yet.

An act of their runs goes on; None stands for one whose acts have ended, and which is being given back.
"""


def _begin_anew() -> None:
    """Have nothing in a process that was forked: what is left is left to acts of its parent."""
    global _lock  # noqa: PLW0603 - another thread may have held it
    _lock = Lock()
    _left.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_begin_anew)


def _give_back(journal: Journal, lease: Lease) -> None:
    try:
        asyncio.run(journal.release(lease))
    except DatabaseError:
        give_up(lease.owner)
    finally:
        del _left[name_of(lease.owner)]


async def _through(work: Coroutine[None, None, None], instead: Callable[[], None]) -> None:
    """Do work to its end, also where whoever waits for it is cut meanwhile.

    An event loop that ends cuts the work, too, at times before it has begun; `instead` is done then.
    """
    doing = asyncio.ensure_future(work)
    doing.add_done_callback(lambda done: instead() if done.cancelled() else None)
    try:
        await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait({doing})
        raise
