"""LangGraph's saver of a Postgres database; needs the extra `postgres`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row


@asynccontextmanager
async def postgres_saver(url: str, serde: SerializerProtocol) -> AsyncIterator[AsyncPostgresSaver]:
    """Open a saver, with its tables."""
    async with await AsyncConnection[DictRow].connect(
        url, autocommit=True, prepare_threshold=0, row_factory=dict_row
    ) as connection:
        saver = AsyncPostgresSaver(connection, serde=serde)
        await _set_up(saver, connection)
        yield saver


async def _set_up(saver: AsyncPostgresSaver, connection: AsyncConnection[DictRow]) -> None:
    """Create the saver's tables, one process at a time: LangGraph's own statements fail beside each other."""
    lock = "lock(hashtext('agentic_checkpoints'))"
    # Asked again and again: one that waits inside the database would keep `CREATE INDEX CONCURRENTLY` waiting.
    while await (await connection.execute(f"SELECT 1 WHERE NOT pg_try_advisory_{lock}")).fetchone():  # noqa: ASYNC110 - others are other processes
        await asyncio.sleep(0.02)
    try:
        await saver.setup()
    finally:
        await connection.execute(f"SELECT pg_advisory_un{lock}")
