"""LangGraph's saver of a SQLite file."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import aiosqlite
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from agentic_workflows.journal.backends import BUSY_SECONDS, use_wal
from agentic_workflows.journal.open_files import open_in_this_process


@asynccontextmanager
async def sqlite_saver(path: Path, serde: SerializerProtocol) -> AsyncIterator[AsyncSqliteSaver]:
    """Open a saver, with its tables."""
    with open_in_this_process(path):
        async with _opened(path) as connection:
            saver = AsyncSqliteSaver(connection, serde=serde)
            await saver.setup()
            yield saver


@asynccontextmanager
async def _opened(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    connecting = asyncio.ensure_future(_connected(path))
    try:
        connection = await asyncio.shield(connecting)
    except asyncio.CancelledError:  # cut in the middle it would leave its thread behind
        with suppress(sqlite3.Error):
            await (await connecting).close()
        raise
    try:
        yield connection
    finally:
        await connection.close()


async def _connected(path: Path) -> aiosqlite.Connection:
    return await aiosqlite.Connection(partial(_in_wal, path), iter_chunk_size=64)


def _in_wal(path: Path) -> sqlite3.Connection:
    """Open the file, in the thread of the connection; the saver has nothing left to switch then."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS)
    try:
        use_wal(connection)
    except sqlite3.Error:
        connection.close()
        raise
    return connection
