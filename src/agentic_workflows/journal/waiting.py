"""How long the connections of a process wait for a SQLite file that somebody else has locked.

A run asks for much as it ends, and many runs share a connection, so they would wait one after the other. So once one
connection has waited in vain, all give up after a moment for as long again, unless the journal gets the lock meanwhile.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

LOCKED_SECONDS = 15.0
"""Longer than most keep a file locked, and not so long that a lease could expire meanwhile."""
A_MOMENT = 0.05

_in_vain: dict[Path, float] = {}
"""Until when nobody waits for a file, because somebody did in vain."""


@contextmanager
def waiting(path: Path) -> Iterator[float]:
    """Tell how many seconds whoever is inside may wait for the file, and take note where that was in vain."""
    began = monotonic()
    try:
        yield A_MOMENT if began < _in_vain.get(path, 0.0) else LOCKED_SECONDS
    except sqlite3.OperationalError as error:
        if _is_locked(error) and monotonic() > began + LOCKED_SECONDS / 2:  # not at once, as SQLite says it at times
            _in_vain[path] = monotonic() + LOCKED_SECONDS
        raise


def note_locked(path: Path, connection: sqlite3.Connection) -> None:
    """Take note that the journal's connection has the lock of the file: it can be had, and is waited for again."""
    if _in_vain.pop(path, None) is not None:
        connection.execute(set_wait(LOCKED_SECONDS))


def set_wait(seconds: float) -> str:
    """Return the statement after which a connection waits that long."""
    return f"PRAGMA busy_timeout = {seconds * 1000:.0f}"


def use_wal(connection: sqlite3.Connection, seconds: float) -> None:
    """Switch to WAL, in a thread that may wait: SQLite does not, for others that open or close the file just now."""
    until = monotonic() + seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not _is_locked(error) or monotonic() > until:
                raise
            sleep(0.01)
        else:
            return


def _is_locked(error: sqlite3.OperationalError) -> bool:
    return "locked" in str(error)
