"""LangGraph's saver of a SQLite file: opened by the first run that uses it, closed by the last one.

A saver belongs to an event loop and keeps a thread. Many runs at once would otherwise open one each, and wait for
each other's locks on the file instead of queueing in one place.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver


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
    async with mine.opening:
        if mine.saver is None:
            mine.saver = await mine.stack.enter_async_context(_opened(path, serde))
        mine.users += 1
    try:
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
    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        saver.serde = serde
        await saver.setup()
        yield saver


def _retire(key: tuple[asyncio.AbstractEventLoop, Path], shared: _Shared) -> None:
    if _shared.get(key) is shared:
        del _shared[key]
