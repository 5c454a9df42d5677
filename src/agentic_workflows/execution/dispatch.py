"""Running many calls at once, each as soon as somebody hands it out."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Final, Generic, TypeVar, cast

from agentic_workflows.graph.outcome import Outcome, OutcomeStatus

Key = TypeVar("Key", bound=Hashable)

CUT: Final = Outcome(
    status=OutcomeStatus.FAILED,
    reason="It was cut when the time of the run ran out; whether it took effect is not known.",
)
"""Stands for a call or step that was cancelled or stopped, and may go on with the run; compare it with `is`."""


async def run_ready(
    take: Callable[[], Key | None],
    perform: Callable[[Key], Coroutine[Any, Any, Outcome]],
    note: Callable[[Key, Outcome], None],
    *,
    limit: int,
) -> None:
    """Perform whatever `take` hands out, at most `limit` at once, until it hands out nothing and nothing runs.

    When it is cancelled nothing is left running, and what ran is noted as cut.
    """
    workers = _Workers(take, perform, note, limit)
    try:
        workers.fill()
        await workers.end()
    finally:
        for key in await workers.cut():
            note(key, CUT)


class _Workers(Generic[Key]):
    """Tasks that perform keys. Each takes its next key itself, for a new task costs turns of the event loop."""

    def __init__(
        self,
        take: Callable[[], Key | None],
        perform: Callable[[Key], Coroutine[Any, Any, Outcome]],
        note: Callable[[Key, Outcome], None],
        limit: int,
    ) -> None:
        self._take, self._perform, self._note, self._limit = take, perform, note, limit
        self._keys: dict[asyncio.Task[None], Key] = {}
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fill(self) -> None:
        """Start what may start."""
        while len(self._keys) < self._limit and (key := self._take()) is not None:
            # Not by the factory of the loop, which may begin it at once: its key must be known before.
            worker = asyncio.Task(self._work(), loop=self._over.get_loop())
            self._keys[worker] = key
            worker.add_done_callback(self._leave)

    async def end(self) -> None:
        """Wait until nothing runs; raises what went wrong on the way."""
        if self._keys:
            await self._over

    async def cut(self) -> list[Key]:
        """Cancel what still runs, and return its keys."""
        self._over.cancel()
        for worker in self._keys:
            worker.cancel()
        await asyncio.gather(*self._keys, return_exceptions=True)
        return list(self._keys.values())

    async def _work(self) -> None:
        worker = cast("asyncio.Task[None]", asyncio.current_task())
        while True:
            outcome = await self._perform(self._keys[worker])
            if self._over.done():
                return
            self._note(self._keys.pop(worker), outcome)
            key = self._take()
            if key is None:
                return
            self._keys[worker] = key
            self.fill()
            if not outcome.attempts:  # it waited for nothing, and others want their turn, too
                await asyncio.sleep(0)

    def _leave(self, worker: asyncio.Task[None]) -> None:
        if self._over.done():
            return
        try:
            worker.result()
        except BaseException as error:  # noqa: BLE001 - whoever waits raises it
            self._over.set_exception(error)
        else:
            if not self._keys:
                self._over.set_result(None)
