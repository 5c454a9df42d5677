"""LangGraph's saver of a SQLite file."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, Self, cast

import aiosqlite
from aiosqlite.context import contextmanager
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from agentic_workflows.journal.open_files import open_in_this_process, uri_of
from agentic_workflows.journal.savers import KeepsAll
from agentic_workflows.journal.waiting import set_wait, use_wal, waiting


class _Saver(KeepsAll, AsyncSqliteSaver):
    pass


@asynccontextmanager
async def sqlite_saver(path: Path, serde: SerializerProtocol) -> AsyncIterator[AsyncSqliteSaver]:
    """Open a saver, with its tables."""
    with open_in_this_process(path):
        async with _opened(path) as connection:
            saver = _Saver(connection, serde=serde)
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
    opening = _in_daemon_thread(path)
    try:
        return await opening
    except BaseException:
        if opening.stopping is not None:
            await opening.stopping  # its thread says so to the event loop, which may be closed next
        raise


def _in_daemon_thread(path: Path) -> "_AsyncConnection":
    """Return a connection whose thread no process waits for as it ends, such as that of a stream that nobody closed.

    A thread is a daemon where it is made by one.
    """
    made = list[_AsyncConnection]()

    def make() -> None:
        made.append(_AsyncConnection(partial(_in_wal, path), iter_chunk_size=64))

    maker = Thread(target=make, daemon=True)
    maker.start()
    maker.join()
    return made[0]


class _AsyncConnection(aiosqlite.Connection):
    """Closes the cursor of who was cut: SQLite lets no connection write that still reads what others changed since."""

    stopping: asyncio.Future[Any] | None = None
    """Done once its thread has nothing left to say."""

    def stop(self) -> asyncio.Future[Any] | None:
        """Stop its thread."""
        self.stopping = super().stop()
        return self.stopping

    @contextmanager
    async def cursor(self) -> aiosqlite.Cursor:
        if self._connection is None:  # not the ValueError of aiosqlite, which would say that what is read is corrupt
            raise sqlite3.ProgrammingError("the connection is closed")
        return await super().cursor()

    @contextmanager
    async def execute(self, sql: str, parameters: Iterable[Any] | None = None) -> aiosqlite.Cursor:
        cursor = await self.cursor()
        try:
            return await cursor.execute(sql, parameters)
        except BaseException:
            await cursor.close()
            raise


class _Cursor(sqlite3.Cursor):
    """Waits no longer than others of this process have reason to, and writes many rows in one transaction."""

    def execute(self, sql: str, parameters: Any = (), /) -> Self:
        connection = cast("_Connection", self.connection)
        with waiting(connection.path) as seconds:
            if seconds != connection.seconds:
                super().execute(set_wait(seconds))
                connection.seconds = seconds
            return super().execute(sql, parameters)

    def executemany(self, sql: str, rows: Iterable[Any], /) -> Self:
        try:
            self.execute("BEGIN IMMEDIATE")
            super().executemany(sql, rows)
            self.execute("COMMIT")
        except BaseException:
            self.connection.rollback()
            raise
        return self


class _Connection(sqlite3.Connection):
    """A connection on which every statement is durable once it is done.

    A saver writes and commits in two turns of the event loop. Between them another run may hold the loop up, or the
    saver be cut, and the file would be locked for everybody all the while.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self.path, self.seconds = path, seconds
        super().__init__(uri_of(path), uri=True, timeout=seconds, isolation_level=None)

    def cursor(self, factory: type[sqlite3.Cursor] = _Cursor) -> sqlite3.Cursor:  # type: ignore[override]
        return super().cursor(factory)


def _in_wal(path: Path) -> sqlite3.Connection:
    """Open the file and switch it to WAL, in the thread of the connection; the saver finds that done."""
    with waiting(path) as seconds:
        connection = _Connection(path, seconds)
        try:
            use_wal(connection, seconds)
        except sqlite3.Error:
            connection.close()
            raise
    return connection
