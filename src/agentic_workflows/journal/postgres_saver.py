"""LangGraph's saver of a Postgres database; needs the extra `postgres`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from agentic_workflows.journal.postgres import BUSY_SECONDS, OPTIONS, SETTINGS, AsyncWatchedConnection
from agentic_workflows.journal.savers import KeepsAll

_MINE = "SELECT 1 FROM pg_tables WHERE schemaname = current_schema()"
"""Finds tables in the schema where they would be created."""
AT_ONCE = 0.05
"""Seconds that nobody notices, and enough to be given a connection that is there."""


class _Saver(KeepsAll, AsyncPostgresSaver):
    pass


class _Pool(AsyncConnectionPool[AsyncConnection[DictRow]]):
    """Has one connection, and another for one that is gone; while there is none, only the first who asks waits long."""

    _is_gone = False

    async def getconn(self, timeout: float | None = None) -> AsyncConnection[DictRow]:  # noqa: ASYNC109 - the pool's own
        try:
            found = await super().getconn(AT_ONCE if self._is_gone else timeout)
        except PoolTimeout:
            self._is_gone = True
            raise
        self._is_gone = False
        return found


@asynccontextmanager
async def postgres_saver(url: str, serde: SerializerProtocol) -> AsyncIterator[AsyncPostgresSaver]:
    """Open a saver, with its tables.

    Its connection is replaced once it is gone: by a server that was started anew, or a run that was cut while using it.
    Nobody hears of one that was found gone before it was used.
    """
    kwargs: dict[str, Any] = {**OPTIONS, "prepare_threshold": 0, "row_factory": dict_row}
    async with await AsyncWatchedConnection[DictRow].connect(url, **kwargs) as connection:  # tells better what is wrong
        await _configure(connection)
        await _set_up(AsyncPostgresSaver(connection), connection)
    async with _Pool(
        url,
        connection_class=AsyncWatchedConnection[DictRow],
        min_size=1,
        max_size=1,
        open=False,
        kwargs=kwargs,
        configure=_configure,
        check=_refuse_dead,
        timeout=BUSY_SECONDS,
        reconnect_timeout=BUSY_SECONDS,  # and then anew, for its pauses grow with the time that a server is away
        reconnect_failed=AsyncConnectionPool.check,
    ) as pool:
        await pool.wait(BUSY_SECONDS)
        yield _Saver(pool, serde=serde)


async def _configure(connection: AsyncConnection[DictRow]) -> None:
    await connection.execute(SETTINGS)


async def _refuse_dead(connection: AsyncConnection[DictRow]) -> None:
    """Refuse a connection that the server has closed, before anything is sent on it; it costs no way there and back."""
    connection.pgconn.consume_input()  # what the server said as it left
    connection.pgconn.consume_input()  # that it left


async def _set_up(saver: AsyncPostgresSaver, connection: AsyncWatchedConnection[DictRow]) -> None:
    """Create the saver's tables, one process at a time: LangGraph's own statements fail beside each other.

    Where they are there, nothing is asked for that only their owner may do.
    """
    if await _newest(connection) >= len(saver.MIGRATIONS) - 1:
        return
    lock = "lock(hashtext('agentic_checkpoints'))"
    # Asked again and again: one that waits inside the database would keep `CREATE INDEX CONCURRENTLY` waiting.
    while await (await connection.execute(f"SELECT 1 WHERE NOT pg_try_advisory_{lock}")).fetchone():  # noqa: ASYNC110 - others are other processes
        await asyncio.sleep(0.02)
    connection.is_patient = True
    try:
        await saver.setup()
    finally:
        connection.is_patient = False
        await connection.execute(f"SELECT pg_advisory_un{lock}")


async def _newest(connection: AsyncConnection[DictRow]) -> int:
    """Return the number of the last of LangGraph's migrations that was done; -1 for none."""
    there = await connection.execute(f"{_MINE} AND tablename = 'checkpoint_migrations'")
    if not await there.fetchone():
        return -1
    newest = await (await connection.execute("SELECT coalesce(max(v), -1) AS v FROM checkpoint_migrations")).fetchone()
    return int(newest["v"]) if newest else -1
