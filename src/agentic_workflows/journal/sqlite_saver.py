"""LangGraph's saver of a SQLite file: opened by the first run that uses it, closed by the last one.

A saver belongs to an event loop and keeps a thread. Many runs at once would otherwise open one each, and wait for
each other's locks on the file instead of queueing in one place.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import aiosqlite
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from agentic_workflows.journal.backends import BUSY_SECONDS


@dataclass
class _Shared:
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    saver: AsyncSqliteSaver | None = None


_shared: dict[tuple[asyncio.AbstractEventLoop, Path], _Shared] = {}


@asynccontextmanager
async def sqlite_saver(path: Path, serde: SerializerProtocol) -> AsyncIterator[AsyncSqliteSaver]:
    """Open the saver of a file, or share the one that is open in this event loop."""
    key = asyncio.get_running_loop(), path
    mine = _shared.setdefault(key, _Shared())
    mine.users += 1
    try:
        async with mine.opening:
            if mine.saver is None:
                mine.saver = await mine.stack.enter_async_context(_opened(path, serde))
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


@asynccontextmanager
async def _opened(path: Path, serde: SerializerProtocol) -> AsyncIterator[AsyncSqliteSaver]:
    connecting = asyncio.ensure_future(_connected(path))
    try:
        connection = await asyncio.shield(connecting)
    except asyncio.CancelledError:  # cut in the middle it would leave its thread behind
        with suppress(sqlite3.Error):
            await (await connecting).close()
        raise
    try:
        saver = AsyncSqliteSaver(connection, serde=serde)
        await _set_up(saver)
        yield saver
    finally:
        await connection.close()


async def _connected(path: Path) -> aiosqlite.Connection:
    return await aiosqlite.connect(path, timeout=BUSY_SECONDS)


async def _set_up(saver: AsyncSqliteSaver) -> None:
    """Create the saver's tables; SQLite itself does not wait for another process that switches the file to WAL."""
    until = monotonic() + BUSY_SECONDS
    while True:
        try:
            await saver.setup()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or monotonic() > until:
                raise
            await asyncio.sleep(0.01)
        else:
            return


def _retire(key: tuple[asyncio.AbstractEventLoop, Path], shared: _Shared) -> None:
    if _shared.get(key) is shared:
        del _shared[key]
