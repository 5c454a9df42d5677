"""The databases that a journal can be in: a SQLite file, or Postgres."""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple

from agentic_workflows.errors import DatabaseError
from agentic_workflows.journal.faults import without_password
from agentic_workflows.journal.migrations import MIGRATIONS, OF_POSTGRES
from agentic_workflows.journal.open_files import NO_FILE, Identity, identity_of, open_in_this_process, replaced, uri_of
from agentic_workflows.journal.waiting import note_locked, use_wal, waiting
from agentic_workflows.journal.writer import UnheardError

_IN_VAIN_SECONDS = 20
"""How long nobody waits for a Postgres server once somebody has waited for it in vain."""
_AGAIN_SECONDS = 0.2
"""Between two attempts to reach a server."""
_ENCODINGS = {"UTF8", "SQL_ASCII", None}
"""Of databases that can hold any text; the second takes what it is given, and some poolers tell none."""
_TAKE_LONG = ("forget_", "sweep_")
"""How the names of statements begin that go through much of the database, while the server says nothing."""
_GAVE_WAY = {"40001", "40P01"}
"""What Postgres calls it when transactions cannot be done beside each other, or would wait for each other for ever."""


class SqliteBackend:
    """A SQLite file, durable at every commit (WAL, `synchronous=FULL`)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._leaving = ExitStack()
        self._files: dict[str, Identity] = {}
        """What tells the file and its write-ahead log from others of their names."""
        self._sql: Mapping[str, str] = {}

    def connect(self) -> None:
        """Open the file, which must be there, and create or migrate the tables."""
        self._leaving.enter_context(open_in_this_process(self._path))
        with waiting(self._path) as seconds:
            self._connection = sqlite3.connect(
                uri_of(self._path), uri=True, timeout=seconds, isolation_level=None, check_same_thread=False
            )  # closed by whoever forks
            self._files = {str(self._path): identity_of(str(self._path))}
            use_wal(self._connection, seconds)
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("BEGIN IMMEDIATE")
        note_locked(self._path, self._connection)
        _prepare(self, "sqlite", self._path)
        self._connection.execute("COMMIT")
        if (log := identity_of(f"{self._path}-wal")) != NO_FILE:
            self._files[f"{self._path}-wal"] = log

    def begin(self) -> "SqliteBackend":
        """Begin a transaction that nobody else can write beside.

        Raises:
            DatabaseError: another process would not find what is written.

        """
        if any(identity_of(name) != known for name, known in self._files.items()):
            raise replaced(self._path)
        with waiting(self._path):
            self._open.execute("BEGIN IMMEDIATE")
        note_locked(self._path, self._open)
        return self

    def commit(self) -> None:
        """Make the transaction durable."""
        self._open.execute("COMMIT")

    def gave_way(self, error: BaseException) -> bool:  # noqa: ARG002 - nobody writes beside it
        """Return False."""
        return False

    def close(self) -> None:
        """Close the file."""
        with self._leaving:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def send(self, name: str, /, **values: object) -> "_Done":
        """Run a statement by its name."""
        cursor = self._open.execute(self._sql[name], values)
        return _Done(cursor.fetchall(), cursor.rowcount)

    def learn(self, sql: Mapping[str, str]) -> None:
        """Take over the statements that `send` knows."""
        self._sql = sql

    def execute(self, text: str) -> None:
        """Run a statement given as text."""
        self._open.execute(text)

    @property
    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise DatabaseError(f"The journal in {self._path} is not open.")
        return self._connection


class _Done(NamedTuple):
    """What a statement gave."""

    rows: list[tuple[Any, ...]]
    changed: int


class PostgresBackend:
    """A Postgres database by its URL; needs the extra `postgres`.

    Statements go out one after the other without waiting for their answers, for the way there and back takes longest.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Any = None
        self._pipeline: Any = None
        self._leaving = ExitStack()
        self._was_reached = False
        """Whether its URL is known to be right: whoever got that wrong hears of it at once."""
        self._in_vain = 0.0
        """Until when nobody waits long for the server, because somebody did in vain: a run asks for much as it ends."""
        self._sql: Mapping[str, str] = {}

    def connect(self) -> None:
        """Open the connection, and create or migrate the tables."""
        from agentic_workflows.journal import postgres  # noqa: PLC0415 - an extra

        self._connection = self._reached()
        if (encoding := self._connection.info.parameter_status("server_encoding")) not in _ENCODINGS:
            raise DatabaseError(
                f"The database {without_password(self._url)} has the encoding {encoding}, which lacks most characters: "
                f"what an action gives might not be written down. Create it with ENCODING 'UTF8' TEMPLATE template0."
            )
        self._connection.execute(postgres.SETTINGS)
        self._pipeline = self._leaving.enter_context(self._connection.pipeline())
        # Nobody waits for ever, and who freezes in the middle of a transaction does not keep the others from writing.
        for name in ("lock_timeout", "idle_in_transaction_session_timeout"):
            self._connection.execute(f"SET {name} = '{postgres.BUSY_SECONDS}s'")
        self._connection.execute("BEGIN")
        self._connection.execute("SELECT pg_advisory_xact_lock(hashtext('agentic_version'))")
        self._connection.is_patient = _prepare(self, "postgresql", without_password(self._url))
        self._connection.execute("COMMIT")
        self._pipeline.sync()
        self._connection.is_patient = False

    def _reached(self) -> Any:
        """Open the connection; a server that was reached before is asked again for a while, for it may start anew."""
        from agentic_workflows.journal import postgres  # noqa: PLC0415 - an extra

        began = monotonic()
        was_in_vain = began < self._in_vain
        until = began + (postgres.A_MOMENT if was_in_vain else postgres.BUSY_SECONDS)
        while True:
            options = {**postgres.OPTIONS, "connect_timeout": max(postgres.A_MOMENT, round(until - monotonic()))}
            try:
                connection = postgres.WatchedConnection.connect(self._url, **options)
            except Exception:
                if self._was_reached and not was_in_vain and monotonic() < until:
                    sleep(_AGAIN_SECONDS)
                    continue
                if monotonic() > began + postgres.BUSY_SECONDS / 2:
                    self._in_vain = monotonic() + _IN_VAIN_SECONDS
                raise
            self._was_reached = True
            return connection

    def begin(self) -> "PostgresBackend":
        """Begin a transaction, on another connection where this one is gone; psycopg itself would wait for it."""
        try:
            self._connection.execute("BEGIN")
        except Exception:
            if not self._connection.closed:
                raise
            self.close()
            self.connect()
            self._connection.execute("BEGIN")
        return self

    def commit(self) -> None:
        """Make the transaction durable.

        Raises:
            UnheardError: the connection is gone, and nobody knows whether it is.

        """
        try:
            self._connection.execute("COMMIT")
            self._pipeline.sync()
            self._connection.is_patient = False
        except Exception as error:
            if self._connection.closed:
                raise UnheardError(error) from error
            raise

    def gave_way(self, error: BaseException) -> bool:
        """Tell whether Postgres took the transaction back for the sake of another one, and says to do it again."""
        return getattr(error, "sqlstate", None) in _GAVE_WAY

    def close(self) -> None:
        """Close the connection, and then its pipeline, which would wait for a server that may be gone."""
        if self._connection is not None:
            if self._connection.was_silent:
                self._in_vain = monotonic() + _IN_VAIN_SECONDS
            self._connection.close()
            self._connection = None
            with suppress(Exception):
                self._leaving.close()

    def send(self, name: str, /, **values: object) -> "_Awaited":
        """Send a statement by its name."""
        self._connection.is_patient |= name.startswith(_TAKE_LONG)
        return _Awaited(self._connection.execute(self._sql[name], values), self._pipeline)

    def learn(self, sql: Mapping[str, str]) -> None:
        """Take over the statements that `send` knows."""
        self._sql = sql

    def execute(self, text: str) -> None:
        """Run a statement given as text."""
        self._connection.execute(text)


class _Awaited:
    """What a statement gives, once its answer has come."""

    def __init__(self, cursor: Any, pipeline: Any) -> None:
        self._cursor, self._pipeline = cursor, pipeline

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._cursor.fetchall()
        return rows

    @property
    def changed(self) -> int:
        if self._cursor.rowcount < 0:  # psycopg waits for rows by itself, for their number it does not
            self._pipeline.sync()
        return int(self._cursor.rowcount)


def _prepare(backend: SqliteBackend | PostgresBackend, kind: str, name: object) -> bool:
    """Create or migrate the tables, and teach the backend its statements; tells whether there was anything to do.

    Raises:
        DatabaseError: a newer version of this package wrote the journal.

    """
    known = json.loads(Path(__file__).with_name(f"{kind}.json").read_text(encoding="utf-8"))
    newest, definitions = known["version"], known["definitions"]
    backend.learn(known["statements"])
    version = int(backend.send("get_version").rows[0][0] or 0) if backend.send("has_version").rows else 0
    if version > newest:
        raise DatabaseError(
            f"The journal in {name} has version {version}, and this program knows {newest}. Upgrade agentic-workflows."
        )
    is_older: bool = version < newest
    if is_older:
        for text in definitions.values():
            backend.execute(text)
        for step in range(version + 1, newest + 1) if version else ():
            for text in (*MIGRATIONS[step], *(OF_POSTGRES.get(step, ()) if kind == "postgresql" else ())):
                backend.execute(text)
        backend.send("set_version", version=newest)
    return is_older
