"""Running many calls at once, each as soon as somebody hands it out."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, TypeVar

from agentic_workflows.graph.outcome import Outcome, OutcomeStatus

Key = TypeVar("Key", bound=Hashable)

CUT: Final = Outcome(
    status=OutcomeStatus.FAILED,
    reason="It was cut when the time of the run ran out; whether it took effect is not known.",
)


async def run_ready(
    take: Callable[[], Key | None],
    perform: Callable[[Key], Awaitable[Outcome]],
    settle: Callable[[Key, Outcome], None],
    *,
    limit: int,
) -> None:
    """Perform whatever `take` hands out, at most `limit` at once, until it hands out nothing and nothing runs.

    When it is cancelled nothing is left running, and what ran is settled as cut.
    """
    running: dict[asyncio.Future[Outcome], Key] = {}
    # Not asyncio.wait: that looks at all that runs whenever one of them is done.
    done: asyncio.Queue[asyncio.Future[Outcome]] = asyncio.Queue()
    try:
        while True:
            while len(running) < limit and (key := take()) is not None:
                started = asyncio.ensure_future(perform(key))
                started.add_done_callback(done.put_nowait)
                running[started] = key
            if not running:
                return
            ended = await done.get()
            settle(running.pop(ended), ended.result())
    finally:
        for future in running:
            future.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for key in running.values():
            settle(key, CUT)
