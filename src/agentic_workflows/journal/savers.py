"""LangGraph's savers: one for each database and event loop, opened by the first run that uses it, closed by the last.

A saver belongs to an event loop, and keeps a connection of its own. Many runs at once would otherwise open one each:
in a SQLite file they wait for each other's locks instead of queueing in one place, and a Postgres server has no more
than a hundred to give.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver

from agentic_workflows.journal.lease import Held, Leases


class KeepsAll:
    """A saver that keeps what a server wants rolled back."""

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Keep all checkpoints: what is done stays done, and what began from earlier ones would do it once more."""


@dataclass
class _Shared:
    """A saver, and how many use it in its event loop."""

    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    saver: BaseCheckpointSaver[Any] | None = None


_shared: dict[tuple[asyncio.AbstractEventLoop, str], _Shared] = {}


@asynccontextmanager
async def shared(
    name: str, opened: Callable[[], AbstractAsyncContextManager[BaseCheckpointSaver[Any]]]
) -> AsyncIterator[BaseCheckpointSaver[Any]]:
    """Open the saver of a database, or share the one that is open in this event loop."""
    key = asyncio.get_running_loop(), name
    mine = _shared.setdefault(key, _Shared())
    mine.users += 1
    try:
        async with mine.opening:
            if mine.saver is None:
                mine.saver = await mine.stack.enter_async_context(opened())
        yield mine.saver
    except BaseException:
        _retire(key, mine)  # it may be broken: whoever comes now opens another one
        raise
    finally:
        mine.users -= 1
        if mine.users == 0:
            _retire(key, mine)
            mine.saver, stack, mine.stack = None, mine.stack, AsyncExitStack()
            await stack.aclose()


def fenced(saver: BaseCheckpointSaver[Any], leases: Leases, held: Held) -> BaseCheckpointSaver[Any]:
    """Return a run's own saver, which refuses to write once the lease of the run is lost."""
    if isinstance(saver, InMemorySaver):  # shared by all runs of a process, which cannot lose a lease to another one
        return saver
    mine = copy(saver)

    async def aput(*args: Any, **kwargs: Any) -> Any:
        await leases.renew(held)
        return await saver.aput(*args, **kwargs)

    mine.aput = aput  # type: ignore[method-assign]  # a wrapper class would have to forward thirty methods
    return mine


def _retire(key: tuple[asyncio.AbstractEventLoop, str], mine: _Shared) -> None:
    if _shared.get(key) is mine:
        del _shared[key]


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_shared.clear)  # their connections are the parent's
