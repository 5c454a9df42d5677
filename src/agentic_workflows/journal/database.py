"""The database of runs: in memory, or one SQLite file."""

import os
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from agentic_workflows.errors import DatabaseError
from agentic_workflows.journal.control import MemoryControl, SqliteControl

MEMORY: Final = "memory"
DEFAULT_DATABASE: Final = Path(".agentic/agentic.db")
"""Of the command line, in the current folder."""


@dataclass(frozen=True, kw_only=True)
class Connection:
    """An open database."""

    checkpointer: BaseCheckpointSaver[Any]
    threads: Sequence[str]
    """Every thread id there is, the one touched last first."""


class Database:
    """Where runs are kept; opened anew for each call, so that it belongs to no event loop.

    Args:
        url: `memory`, or the path of a SQLite file, which is created where it is missing.

    Raises:
        DatabaseError: the file cannot be used; it is not changed then.

    """

    def __init__(self, url: str | Path = MEMORY) -> None:
        self.url = url
        self._memory = InMemorySaver(serde=_plain()) if url == MEMORY else None
        if self._memory is not None:
            self.control = MemoryControl()
            return
        if "://" in str(url):
            raise DatabaseError(f"{url} is no database that this version knows. Give a file path, or {MEMORY!r}.")
        self._path = Path(url)
        with explained(self.url):
            _probe(self._path)
            self.control = SqliteControl(self._path)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Connection]:
        """Open the database for the calls inside.

        Raises:
            DatabaseError: the file went away or cannot be used any more.

        """
        if self._memory is not None:
            yield Connection(checkpointer=self._memory, threads=list(reversed(self._memory.storage)))
            return
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver  # noqa: PLC0415 - memory needs none of it

        with explained(self.url):
            async with AsyncSqliteSaver.from_conn_string(str(self._path)) as saver:
                saver.serde = _plain()
                await saver.setup()
                query = "SELECT thread_id FROM checkpoints GROUP BY thread_id ORDER BY MAX(checkpoint_id) DESC"
                threads = [str(row[0]) for row in await saver.conn.execute_fetchall(query)]
                yield Connection(checkpointer=saver, threads=threads)


@contextmanager
def explained(url: str | Path) -> Iterator[None]:
    """Turn the faults of a database into a `DatabaseError` that names the file and the remedy."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        remedy = "Give another --database, or make the file readable and writable."
        if "locked" in str(error):
            remedy = "Another program holds it; end that one or wait."
        elif "not a database" in str(error) or "malformed" in str(error):
            remedy = "Give the path of another file; this one is left as it is."
        raise DatabaseError(f"The database {url} cannot be used: {error}. {remedy}") from error


def _probe(path: Path) -> None:
    """Find out at once whether the file is a database that can be read and written."""
    if path.is_dir():
        raise IsADirectoryError("it is a folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        raise PermissionError("no permission to read and write it")
    with closing(sqlite3.connect(path, timeout=2)) as connection:
        connection.execute("PRAGMA schema_version").fetchone()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")


def _plain() -> JsonPlusSerializer:
    """Return a serializer that never unpickles: checkpoints hold plain JSON."""
    return JsonPlusSerializer(pickle_fallback=False)
