"""LangGraph's saver of a file, opened by many at once, and cut while it opens."""

import asyncio
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from agentic_workflows.errors import DatabaseError
from agentic_workflows.journal.database import Database
from agentic_workflows.journal.savers import _shared
from agentic_workflows.journal.sqlite_saver import sqlite_saver


async def opened(path: Path) -> list[str]:
    database = Database(path)
    async with database.checkpointer():
        return await database.journal.threads()


def test_a_new_file_is_opened_by_many_at_once(tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def one(path: Path) -> list[str]:
        together.wait(10)
        return asyncio.run(opened(path))

    with ThreadPoolExecutor(8) as threads:
        for at in range(40):
            assert list(threads.map(one, [tmp_path / f"{at}.db"] * 8)) == [[]] * 8


async def test_while_somebody_locks_the_file_the_event_loop_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        opening, turns = asyncio.ensure_future(opened_saver(path)), 0
        began = time.monotonic()
        while time.monotonic() < began + 0.3:
            await asyncio.sleep(0.01)
            turns += 1
        assert (opening.done(), turns > 5) == (False, True)
        other.execute("COMMIT")
    assert await opening == "wal"


async def opened_saver(path: Path) -> str:
    async with sqlite_saver(path, JsonPlusSerializer()) as saver, saver.conn.execute("PRAGMA journal_mode") as mode:
        return str((await mode.fetchone() or [""])[0])


def test_a_process_ends_also_where_nobody_has_closed_its_stream(tmp_path: Path) -> None:
    left = f"""
import asyncio
from agentic_workflows import AgenticWorkflow, ScriptedAgent
from agentic_workflows.testing import RecordingAction

plan = {{"goal": "g", "steps": [{{"name": "a", "action": "act"}}]}}
act = RecordingAction("act", delay=60)
events = AgenticWorkflow(ScriptedAgent([plan]), actions=[act], database={str(tmp_path / "runs.db")!r}).stream("g")
loop = asyncio.new_event_loop()
loop.run_until_complete(anext(events))
print("left")
"""
    done = subprocess.run([sys.executable, "-c", left], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "left\n"


@pytest.mark.parametrize("turns", range(0, 12, 2))
def test_cut_while_it_opens_it_leaves_no_thread_behind(
    tmp_path: Path, turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cut() -> None:
        opening = asyncio.create_task(opened(tmp_path / "runs.db"))
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening

    raised: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    before = set(threading.enumerate())
    asyncio.run(cut())
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive()
    assert (raised, _shared) == ([], {})


def test_a_file_that_was_taken_away_is_not_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    database = Database(path)
    path.unlink()
    with pytest.raises(DatabaseError, match="unable to open database file"):
        asyncio.run(opened_alone(database))
    assert not path.exists()


def test_a_file_that_cannot_be_opened_leaves_no_thread_that_complains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "folder" / "runs.db"
    database = Database(path)
    path.unlink()
    path.parent.rmdir()
    raised: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    before = set(threading.enumerate())
    for _ in range(10):
        with pytest.raises(DatabaseError, match="unable to open database file"):
            asyncio.run(opened_alone(database))
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
    assert raised == []


async def opened_alone(database: Database) -> None:
    async with database.checkpointer():
        pass
