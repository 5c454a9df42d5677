"""How long a process waits for a SQLite file that another one has locked."""

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agentic_workflows.errors import DatabaseError
from agentic_workflows.journal import waiting
from agentic_workflows.journal.database import Database
from agentic_workflows.journal.waiting import A_MOMENT, LOCKED_SECONDS
from agentic_workflows.journal.waiting import waiting as wait_for


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(waiting, "LOCKED_SECONDS", 0.6)
    return tmp_path / "runs.db"


@pytest.fixture
def other(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        yield other


def seconds(path: Path) -> float:
    with wait_for(path) as found:
        return found


async def test_who_waits_in_vain_does_so_for_all_until_the_journal_gets_the_lock(
    path: Path, other: sqlite3.Connection
) -> None:
    journal = Database(path).journal
    other.execute("BEGIN IMMEDIATE")
    assert seconds(path) == 0.6
    with pytest.raises(DatabaseError, match="locked"):
        await journal.threads()
    assert seconds(path) == A_MOMENT
    other.execute("COMMIT")
    assert await journal.threads() == []
    assert seconds(path) == 0.6
    other.execute("BEGIN IMMEDIATE")  # the connection that tried for a moment waits again, too
    began = time.monotonic()
    with pytest.raises(DatabaseError, match="locked"):
        await journal.threads()
    assert time.monotonic() - began > 0.5


async def test_after_a_while_somebody_waits_again(path: Path, other: sqlite3.Connection) -> None:
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseError, match="locked"):
        await Database(path).journal.threads()
    await asyncio.sleep(0.7)
    assert seconds(path) == 0.6


def test_what_failed_at_once_was_waited_for_by_nobody(path: Path) -> None:
    for error in (sqlite3.OperationalError("database is locked"), sqlite3.OperationalError("disk I/O error")):
        with pytest.raises(sqlite3.OperationalError), wait_for(path):
            raise error
    assert seconds(path) == 0.6
    assert LOCKED_SECONDS > 8
