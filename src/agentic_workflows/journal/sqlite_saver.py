"""LangGraph's saver of a SQLite file."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic

import aiosqlite
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from agentic_workflows.journal.backends import BUSY_SECONDS


@asynccontextmanager
async def sqlite_saver(path: Path, serde: SerializerProtocol) -> AsyncIterator[AsyncSqliteSaver]:
    """Open a saver, with its tables."""
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
