"""The database of runs: their journal, and LangGraph's checkpoints beside it."""

import asyncio
import os
import re
import sqlite3
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.base import CipherProtocol, SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from agentic_workflows.collector import collector_off
from agentic_workflows.errors import DatabaseError
from agentic_workflows.journal.backends import PostgresBackend, SqliteBackend
from agentic_workflows.journal.entries import Journal
from agentic_workflows.journal.faults import as_database_error, without_password
from agentic_workflows.journal.lease import LEASE_SECONDS, Leases
from agentic_workflows.journal.memory_journal import MemoryJournal
from agentic_workflows.journal.open_files import open_in_this_process, uri_of
from agentic_workflows.journal.savers import shared
from agentic_workflows.journal.sql_journal import SqlJournal
from agentic_workflows.journal.writer import writer_for

MEMORY: Final = "memory"
DEFAULT_DATABASE: Final = Path(".agentic/agentic.db")
"""Of the command line, in the current folder."""
COPY_SECONDS = 2.0
"""The most that what is left of a file may take to copy.

To write it back takes up to three times as long, and all the while others wait for the file, for fifteen seconds.
"""
_FAULTS: Final = (sqlite3.Error, OSError, ValueError)
"""What goes wrong as a file is opened; while one is in use, the last two may be anybody's."""
_SETTINGS = re.compile(r"(?is)postgres(ql)?:(?!//)|(.*\s)?(host|port|user|\w*password|dbname|service)\s*=")
"""Settings of Postgres that are no URL; taken for the name of a file, they would be one with a password in it."""


class Database:
    """Where runs are kept: in memory, in a SQLite file, or in Postgres.

    Args:
        url: `memory`; the path of a SQLite file, which is created where it is missing; or `postgresql://...`.
        lease_seconds: how long a run stays with a process that does not answer any more.
        clock: seconds since the epoch; leases, questions and approvals expire by it.

    Raises:
        DatabaseError: the database cannot be used; it is not changed then.

    """

    def __init__(
        self,
        url: str | Path = MEMORY,
        *,
        lease_seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not isinstance(url, str | os.PathLike):
            raise DatabaseError(f"The database is {url!r}. Give a file path, postgresql://..., or {MEMORY!r}.")
        refuse_settings(url)
        in_memory = url in (MEMORY, ":memory:")
        with explained(url):  # however a process moves, or a link
            self.url = url if in_memory or "://" in str(url) else Path(os.path.realpath(url))
        self._memory = InMemorySaver(serde=_Plain()) if in_memory else None
        self._clock = clock
        self.leases = Leases(self._make_journal(), seconds=lease_seconds)

    @property
    def journal(self) -> Journal:
        """Return the journal."""
        return self.leases.journal

    @asynccontextmanager
    async def checkpointer(self) -> AsyncIterator[BaseCheckpointSaver[Any]]:
        """Open LangGraph's saver for the calls inside.

        Raises:
            DatabaseError: the database went away or cannot be used any more.

        """
        if self._memory is not None:
            yield self._memory
        elif self._is_postgres:
            async with _postgres_saver(str(self.url)) as saver:
                yield saver
        else:
            async with _sqlite_saver(Path(self.url)) as saver:
                yield saver

    async def shrink(self) -> None:
        """Give back what a SQLite file has freed, if that is much, soon done, and nobody runs or writes beside us."""
        if self._memory is not None or self._is_postgres:
            return
        with suppress(DatabaseError):
            if not await self.journal.is_held():  # a run would wait for all of it, and end if that takes long
                await asyncio.to_thread(_vacuum, Path(self.url))

    @property
    def _is_postgres(self) -> bool:
        return str(self.url).startswith(("postgresql://", "postgres://"))

    def _make_journal(self) -> Journal:
        if self._memory is not None:
            return MemoryJournal(clock=self._clock, saver=self._memory)
        if self._is_postgres:
            writer = writer_for(str(self.url), lambda: PostgresBackend(str(self.url)))
            return SqlJournal(writer, clock=self._clock)
        if "://" in str(self.url):
            raise DatabaseError(
                f"{without_password(self.url)} is no database that this version knows. Give a file path, "
                f"postgresql://..., or {MEMORY!r}."
            )
        path = Path(self.url)
        with explained(self.url):
            _probe(path)
        return SqlJournal(writer_for(str(path), lambda: SqliteBackend(path)), clock=self._clock)


def refuse_settings(url: str | Path) -> None:
    """Refuse what looks like settings of Postgres and is no URL.

    Raises:
        DatabaseError: it does; they are not shown, for a password may be among them.

    """
    if isinstance(url, str) and _SETTINGS.match(url):
        raise DatabaseError("Settings of Postgres are given as a URL: postgresql://user@host:port/name?setting=value")


@asynccontextmanager
async def _sqlite_saver(path: Path) -> AsyncIterator[BaseCheckpointSaver[Any]]:
    from agentic_workflows.journal.sqlite_saver import sqlite_saver  # noqa: PLC0415 - memory needs none of it

    async with AsyncExitStack() as stack:
        stack.enter_context(explained(path, (sqlite3.Error,)))
        with explained(path):
            saver = await stack.enter_async_context(shared(str(path), lambda: sqlite_saver(path, _stored())))
        yield saver


@asynccontextmanager
async def _postgres_saver(url: str) -> AsyncIterator[BaseCheckpointSaver[Any]]:
    try:
        import psycopg  # noqa: PLC0415 - an extra

        from agentic_workflows.journal.postgres_saver import postgres_saver  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise as_database_error(url, error) from error
    with explained(url, (psycopg.Error,)):
        async with shared(url, lambda: postgres_saver(url, _stored())) as saver:
            yield saver


@contextmanager
def explained(url: str | Path, faults: tuple[type[Exception], ...] = _FAULTS) -> Iterator[None]:
    """Turn the faults of a database into a `DatabaseError` that names the file and the remedy."""
    try:
        yield
    except faults as error:
        made = as_database_error(url, error)
        raise made from made.__cause__


def _probe(path: Path) -> None:
    """Find out at once whether the file is a database that can be read and written."""
    if path.is_dir():
        raise IsADirectoryError("it is a folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        raise PermissionError("no permission to read and write it")
    with open_in_this_process(path), closing(sqlite3.connect(path, timeout=2)) as connection:
        connection.execute("PRAGMA schema_version").fetchone()
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            # Not where runs use it already: the lock may be held by one of this event loop, which waits for us.
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")


def _vacuum(path: Path) -> None:
    """Write the file anew without what was freed, if that is a good part of it and can be done now, and soon."""
    with (
        suppress(sqlite3.Error),
        open_in_this_process(path),
        closing(sqlite3.connect(uri_of(path), uri=True, timeout=0, isolation_level=None)) as file,
    ):
        ((pages,), (free,)) = (file.execute(f"PRAGMA {what}_count").fetchone() for what in ("page", "freelist"))
        if free > pages / 4:
            until = time.monotonic() + COPY_SECONDS
            file.set_progress_handler(lambda: time.monotonic() > until, 100)
            file.execute("VACUUM")
            file.set_progress_handler(None, 0)
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


class _Plain(JsonPlusSerializer):
    """Reads plain JSON, and unpickles nothing."""

    def __init__(self) -> None:
        super().__init__(pickle_fallback=False)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Return the value."""
        with collector_off():
            return super().loads_typed(data)


class _Deflated(CipherProtocol):
    """Makes a checkpoint a sixth as large; each names what wrote it, so that older ones are read, too."""

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        """Return the bytes compressed."""
        return "zlib", zlib.compress(plaintext, 1)

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:  # noqa: ARG002 - there is one
        """Return the bytes as they were."""
        return zlib.decompress(ciphertext)


def _stored() -> SerializerProtocol:
    """Return the serializer of checkpoints on a disk."""
    return EncryptedSerializer(_Deflated(), _Plain())
