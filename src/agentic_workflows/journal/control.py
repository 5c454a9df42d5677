"""Requests to pause or to cancel a run, from this process or another one."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import cast

from agentic_workflows.graph.state import Request

LOOK_SECONDS = 0.2
"""A process looks for another one's request at most this often."""

_TABLE = "CREATE TABLE IF NOT EXISTS requests (thread_id TEXT PRIMARY KEY, request TEXT, at TEXT)"


class MemoryControl:
    """Requests within one process."""

    def __init__(self) -> None:
        self._requests: dict[str, Request] = {}

    def request(self, thread_id: str, request: Request) -> None:
        """Ask a run to stop at its next step boundary."""
        self._requests[thread_id] = request

    def requested(self, thread_id: str) -> Request | None:
        """Return the open request for a thread."""
        return self._requests.get(thread_id)

    def clear(self, thread_id: str) -> None:
        """Forget the request for a thread."""
        self._requests.pop(thread_id, None)


class SqliteControl(MemoryControl):
    """Requests in the database file, so that one process can ask another."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._looked: dict[str, float] = {}
        with self._connection() as connection:
            connection.execute(_TABLE)

    def request(self, thread_id: str, request: Request) -> None:
        """Ask a run, in whichever process it is, to stop at its next step boundary."""
        super().request(thread_id, request)
        with self._connection() as connection:
            row = (thread_id, request, datetime.now(UTC).isoformat())
            connection.execute("INSERT OR REPLACE INTO requests VALUES (?, ?, ?)", row)

    def requested(self, thread_id: str) -> Request | None:
        """Return the open request for a thread; the file is read at most once in `LOOK_SECONDS`."""
        now = monotonic()
        if now - self._looked.get(thread_id, -LOOK_SECONDS) >= LOOK_SECONDS:
            self._looked[thread_id] = now
            with suppress(sqlite3.OperationalError), self._connection() as connection:
                row = connection.execute("SELECT request FROM requests WHERE thread_id = ?", (thread_id,)).fetchone()
                if row:
                    self._requests[thread_id] = cast("Request", row[0])
        return super().requested(thread_id)

    def clear(self, thread_id: str) -> None:
        """Forget the request for a thread, everywhere."""
        super().clear(thread_id)
        with self._connection() as connection:
            connection.execute("DELETE FROM requests WHERE thread_id = ?", (thread_id,))

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=5)) as connection, connection:
            yield connection
