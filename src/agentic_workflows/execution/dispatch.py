"""Running many calls at once, each as soon as somebody hands it out."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Final, Generic, TypeVar

from agentic_workflows.graph.outcome import Outcome, OutcomeStatus

Key = TypeVar("Key", bound=Hashable)

CUT: Final = Outcome(
    status=OutcomeStatus.FAILED,
    reason="It was cut when the time of the run ran out; whether it took effect is not known.",
)


async def run_ready(
    take: Callable[[], Key | None],
    perform: Callable[[Key], Coroutine[Any, Any, Outcome]],
    settle: Callable[[Key, Outcome], None],
    *,
    limit: int,
) -> None:
    """Perform whatever `take` hands out, at most `limit` at once, until it hands out nothing and nothing runs.

    When it is cancelled nothing is left running, and what ran is settled as cut.
    """
    running = _Running(take, perform, settle, limit)
    try:
        running.fill()
        await running.end()
    finally:
        for key in await running.cut():
            settle(key, CUT)


class _Running(Generic[Key]):
    """What runs; what ends is settled and followed at once, in its callback, for waking a task would cost a turn."""

    def __init__(
        self,
        take: Callable[[], Key | None],
        perform: Callable[[Key], Coroutine[Any, Any, Outcome]],
        settle: Callable[[Key, Outcome], None],
        limit: int,
    ) -> None:
        self._take, self._perform, self._settle, self._limit = take, perform, settle, limit
        self._keys: dict[asyncio.Future[Outcome], Key] = {}
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fill(self) -> None:
        """Start what may start."""
        while len(self._keys) < self._limit and (key := self._take()) is not None:
            started = asyncio.ensure_future(self._perform(key))
            self._keys[started] = key
            started.add_done_callback(self._go_on)

    async def end(self) -> None:
        """Wait until nothing runs; raises what went wrong on the way."""
        if self._keys:
            await self._over

    async def cut(self) -> list[Key]:
        """Cancel what still runs, and return its keys."""
        self._over.cancel()
        for future in self._keys:
            future.cancel()
        await asyncio.gather(*self._keys, return_exceptions=True)
        return list(self._keys.values())

    def _go_on(self, ended: asyncio.Future[Outcome]) -> None:
        if self._over.done():
            return
        try:
            self._settle(self._keys.pop(ended), ended.result())
            self.fill()
        except BaseException as error:  # noqa: BLE001 - whoever waits raises it
            self._over.set_exception(error)
        else:
            if not self._keys:
                self._over.set_result(None)
