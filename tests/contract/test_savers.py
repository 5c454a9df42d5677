import asyncio
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from agentic_workflows.errors import DatabaseError
from agentic_workflows.journal.database import Database
from agentic_workflows.journal.savers import _shared, shared
from agentic_workflows.journal.sqlite_saver import sqlite_saver
from agentic_workflows.journal.waiting import waiting


def opened(path: Path) -> AbstractAsyncContextManager[BaseCheckpointSaver[Any]]:
    return shared(str(path), lambda: of_file(path))


def of_file(path: Path) -> AbstractAsyncContextManager[AsyncSqliteSaver]:
    path.touch()
    return sqlite_saver(path, JsonPlusSerializer())


async def test_runs_at_the_same_time_share_a_saver_and_the_last_one_closes_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    async with AsyncExitStack() as last:
        async with opened(path) as one:
            two = await last.enter_async_context(opened(path))
            assert one is two
        assert await two.aget_tuple({"configurable": {"thread_id": "t"}}) is None
    assert not _shared
    async with opened(path) as three:
        assert three is not two


async def test_a_saver_that_is_closed_says_that_and_not_that_what_it_reads_is_corrupt(tmp_path: Path) -> None:
    async with opened(tmp_path / "runs.db") as saver:
        pass
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        await saver.aget_tuple({"configurable": {"thread_id": "t"}})


async def test_a_saver_that_failed_somebody_is_shared_no_more(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    async with opened(path) as one:
        with suppress(OSError):
            async with opened(path):
                raise OSError("The disk is gone.")
        async with opened(path) as two:
            assert one is not two
    assert not _shared


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_saver_keeps_what_a_server_rolls_back(
    kind: str, tmp_path: Path, new_postgres: Callable[[], str]
) -> None:
    async with Database(tmp_path / "runs.db" if kind == "sqlite" else new_postgres()).checkpointer() as saver:
        await saver.aput(CONFIG, empty_checkpoint(), {"run_id": "r"}, {})
        await saver.adelete_for_runs(["r"])
        assert await saver.aget_tuple({"configurable": {"thread_id": "t"}})


CONFIG: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": "1"}}
WRITES: list[Callable[[BaseCheckpointSaver[Any]], Awaitable[object]]] = [
    lambda saver: saver.aput(CONFIG, empty_checkpoint(), {}, {}),
    lambda saver: saver.aput_writes(CONFIG, [("a", 1), ("b", 2)], "task"),
    lambda saver: saver.adelete_thread("t"),
]


@pytest.mark.parametrize("write", WRITES)
async def test_a_saver_that_is_cut_while_it_writes_keeps_nobody_out(
    tmp_path: Path, write: Callable[[BaseCheckpointSaver[Any]], Awaitable[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cut() -> None:
        raise asyncio.CancelledError

    async with of_file(tmp_path / "runs.db") as saver:
        monkeypatch.setattr(saver.conn, "commit", cut)
        with pytest.raises(asyncio.CancelledError):
            await write(saver)
        with closing(sqlite3.connect(tmp_path / "runs.db", timeout=0, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")


@pytest.mark.parametrize("write", WRITES)
async def test_a_saver_goes_on_once_nobody_locks_its_file(
    tmp_path: Path, write: Callable[[BaseCheckpointSaver[Any]], Awaitable[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentic_workflows.journal.waiting.LOCKED_SECONDS", 0.05)
    async with of_file(tmp_path / "runs.db") as saver:
        with closing(sqlite3.connect(tmp_path / "runs.db", isolation_level=None)) as other:
            other.execute("CREATE TABLE counts (n)")
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                await write(saver)
            other.execute("COMMIT")
            for _ in range(2):  # beside others who write
                assert await saver.aget_tuple({"configurable": {"thread_id": "other"}}) is None
                other.execute("INSERT INTO counts VALUES (1)")
                await write(saver)


@pytest.mark.parametrize("write", WRITES)
async def test_many_who_share_a_saver_hear_together_of_a_file_that_stays_locked(
    tmp_path: Path, write: Callable[[BaseCheckpointSaver[Any]], Awaitable[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentic_workflows.journal.waiting.LOCKED_SECONDS", 1.0)
    async with of_file(tmp_path / "runs.db") as saver:
        with closing(sqlite3.connect(tmp_path / "runs.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            found = await asyncio.gather(*(write(saver) for _ in range(8)), return_exceptions=True)
            assert {str(one) for one in found} == {"database is locked"}
            assert 0.9 < time.monotonic() - began < 3


async def test_what_goes_wrong_once_a_saver_has_the_lock_keeps_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def failing(path: Path) -> Iterator[float]:
        with waiting(path) as seconds:
            yield seconds
        raise MemoryError

    async with of_file(tmp_path / "runs.db") as saver:
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr("agentic_workflows.journal.sqlite_saver.waiting", failing)
            with pytest.raises(MemoryError):
                await saver.aput_writes(CONFIG, [("a", 1)], "task")
        with closing(sqlite3.connect(tmp_path / "runs.db", timeout=0, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")


async def test_a_history_that_is_cut_as_it_begins_keeps_its_saver_from_writing_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def slow(path: Path) -> Iterator[float]:
        begun.set()
        time.sleep(0.1)
        with waiting(path) as seconds:
            yield seconds
        done.set()

    begun, done, path = threading.Event(), threading.Event(), tmp_path / "runs.db"
    async with of_file(path) as saver:
        for _ in range(3):
            await saver.aput(CONFIG, empty_checkpoint(), {}, {})
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr("agentic_workflows.journal.sqlite_saver.waiting", slow)
            reading = asyncio.ensure_future(anext(saver.alist({"configurable": {"thread_id": "t"}})))
            await asyncio.to_thread(begun.wait, 10)
            reading.cancel()
            await asyncio.wait([reading])
            await asyncio.to_thread(done.wait, 10)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("CREATE TABLE counts (n)")
        await saver.aput(CONFIG, empty_checkpoint(), {}, {})


def end_connections(postgres: str, *, lets_in: bool = True) -> None:
    """End all connections to a database, and let nobody in again until that is said."""
    name = conninfo_to_dict(postgres)["dbname"]
    with psycopg.connect(make_conninfo(postgres, dbname="postgres"), autocommit=True) as server:
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {lets_in}")  # type: ignore[arg-type]
        server.execute("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s", [name])


async def test_a_saver_gets_another_connection_to_postgres_for_one_that_is_gone(postgres: str) -> None:
    async with Database(postgres).checkpointer() as saver:
        await saver.aput(CONFIG, empty_checkpoint(), {}, {})
        end_connections(postgres)
        assert await saver.aget_tuple({"configurable": {"thread_id": "t"}})


async def test_of_many_who_want_a_connection_to_postgres_that_is_gone_one_waits(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentic_workflows.journal.postgres_saver.BUSY_SECONDS", 1)
    async with Database(postgres).checkpointer() as saver:
        await saver.aput(CONFIG, empty_checkpoint(), {}, {})
        end_connections(postgres, lets_in=False)
        began = time.monotonic()
        found = await asyncio.gather(*(saver.aget_tuple(CONFIG) for _ in range(10)), return_exceptions=True)
        assert {isinstance(one, psycopg.OperationalError) for one in found} == {True}
        assert time.monotonic() < began + 5
        end_connections(postgres)
        while True:
            with suppress(psycopg.OperationalError):
                assert await saver.aget_tuple({"configurable": {"thread_id": "t"}})
                break
            assert time.monotonic() < began + 30


async def test_a_saver_whose_server_says_nothing_any_more_is_waited_for_by_nobody(proxy: Any) -> None:
    async with Database(proxy.url).checkpointer() as saver:
        await saver.aput(CONFIG, empty_checkpoint(), {}, {})
        for write in WRITES:
            proxy.passes.clear()
            async with asyncio.timeout(15):
                with pytest.raises(psycopg.OperationalError):
                    await write(saver)
            proxy.passes.set()
            while True:
                with suppress(psycopg.OperationalError):
                    await write(saver)
                    break


async def test_a_saver_works_again_soon_after_postgres_was_away_for_long(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentic_workflows.journal.postgres_saver.BUSY_SECONDS", 1)
    monkeypatch.setattr("agentic_workflows.journal.postgres_saver.AT_ONCE", 0.001)  # of a server that is far away
    monkeypatch.setattr("psycopg_pool.base.AttemptWithBackoff.DELAY_BACKOFF", 60)  # as after a minute, from the second
    async with Database(postgres).checkpointer() as saver:
        end_connections(postgres, lets_in=False)
        with pytest.raises(psycopg.OperationalError):
            await saver.aget_tuple(CONFIG)
        await asyncio.sleep(1)
        end_connections(postgres)
        await asyncio.sleep(2.5)  # while nobody asks
        assert await saver.aget_tuple(CONFIG) is None


async def test_a_journal_whose_connection_to_postgres_is_gone_writes_on_another(postgres: str) -> None:
    journal = Database(postgres).journal
    await journal.acquire("t", "me:1:1:x", 30)
    end_connections(postgres)
    taken = await asyncio.gather(*(journal.acquire(f"t{at}", "me:1:1:x", 30) for at in range(10)))
    assert [lease.token for lease in taken] == [1] * 10


async def test_a_journal_waits_for_a_postgres_that_refuses_for_a_while_as_it_starts_anew(postgres: str) -> None:
    journal = Database(postgres).journal
    await journal.acquire("t", "me:1:1:x", 30)
    end_connections(postgres, lets_in=False)
    taking = asyncio.ensure_future(journal.acquire("another", "me:1:1:x", 30))
    await asyncio.sleep(1)
    assert not taking.done()
    end_connections(postgres)
    assert (await taking).token == 1


async def test_of_many_who_write_to_a_postgres_that_stays_away_one_waits(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentic_workflows.journal.postgres.BUSY_SECONDS", 2)
    journal = Database(postgres).journal
    await journal.threads()
    end_connections(postgres, lets_in=False)
    for least, most in ((1.9, 5), (0, 1), (0, 1)):
        began = time.monotonic()
        with pytest.raises(DatabaseError, match="not currently accepting connections"):
            await journal.threads()
        assert least < time.monotonic() - began < most
    end_connections(postgres)
    assert await journal.threads() == []


async def test_a_postgres_that_nobody_has_reached_yet_is_not_waited_for(postgres: str) -> None:
    end_connections(postgres, lets_in=False)
    began = time.monotonic()
    with pytest.raises(DatabaseError, match="not currently accepting connections"):
        await Database(postgres).journal.threads()
    assert time.monotonic() < began + 5
