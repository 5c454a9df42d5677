"""Runs are the same in every database."""

import asyncio
import json
import sqlite3
import time
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from agentic_workflows import (
    Action,
    AgenticWorkflow,
    Annotations,
    DatabaseError,
    Limits,
    ReviewError,
    RunError,
    ScriptedAgent,
    approve,
    reject,
    respond,
)
from agentic_workflows.errors import RunBusyError
from agentic_workflows.journal.backends import PostgresBackend, SqliteBackend
from agentic_workflows.journal.database import Database, _vacuum
from agentic_workflows.journal.entries import Answered
from agentic_workflows.journal.tables import VERSION
from agentic_workflows.journal.writer import IDLE_SECONDS
from agentic_workflows.testing import RecordingAction

if TYPE_CHECKING:
    from agentic_workflows.journal.entries import Journal

PLAN = {
    "goal": "g",
    "steps": [
        {"name": "draft", "action": "act", "outputs": ["text"]},
        {"name": "list", "action": "look", "outputs": ["names"]},
        {"name": "each", "action": "act", "foreach": "${names}", "inputs": {"to": "${item}"}},
        {"name": "send", "action": "send", "inputs": {"text": "${text}"}, "human_review_required": True},
    ],
}


class House:
    """One database, and as many workflows over it as there are processes."""

    def __init__(self, url: str | Path, text: str = "done") -> None:
        self.url = url
        self.act = RecordingAction("act", result=text, read_only=False, destructive=False, trusted=True)
        self.send = RecordingAction("send", result="sent", read_only=False, destructive=False, delay=0.02)
        self.look = RecordingAction("look", result=["a", "b ä 🙂"], trusted=True)
        self.agent = ScriptedAgent([PLAN, PLAN])
        self._memory = Database() if url == "memory" else None

    def open(self) -> AgenticWorkflow:
        actions = [self.act, self.send, self.look]
        return AgenticWorkflow(self.agent, 50, actions=actions, database=self._memory or self.url)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path, new_postgres: Callable[[], str]) -> str | Path:
    match request.param:
        case "sqlite":
            return tmp_path / "ä b" / "runs.db"
        case "postgres":
            return new_postgres()
    return "memory"


@pytest.fixture
def house(url: str | Path) -> House:
    return House(url)


async def test_a_run_is_reviewed_and_finished_through_another_object(house: House) -> None:
    asked = await house.open().run("g", thread_id="a/b ä 'x'")
    assert (asked["state"], len(house.act.calls), house.send.calls) == ("REVIEWING", 3, [])
    assert (await house.open().result("a/b ä 'x'"))["reviews"] == asked["reviews"]
    done = await house.open().resume(approve(), thread_id="a/b ä 'x'")
    assert (done["state"], done["outputs"]) == ("COMPLETE", {"text": "done", "names": ["a", "b ä 🙂"]})
    assert (len(house.act.calls), house.send.calls) == (3, [{"text": "done"}])
    assert await house.open().result("a/b ä 'x'") == done
    assert [run["thread_id"] for run in await house.open().runs()] == ["a/b ä 'x'"]


async def test_a_finished_run_is_not_resumed(house: House) -> None:
    asked = await house.open().run("g")
    await house.open().resume(approve(), thread_id=asked["thread_id"])
    for answers in (None, approve()):
        with pytest.raises((RunError, ReviewError)):
            await house.open().resume(answers, thread_id=asked["thread_id"])
    assert len(house.send.calls) == 1


async def test_of_two_resumes_at_once_one_runs_and_the_other_is_told(house: House) -> None:
    asked = await house.open().run("g")
    both = (house.open().resume(approve(), thread_id=asked["thread_id"]) for _ in range(2))
    results = await asyncio.gather(*both, return_exceptions=True)
    won = [one for one in results if isinstance(one, dict)]
    lost = [one for one in results if isinstance(one, RunBusyError | ReviewError | RunError)]
    assert (len(won), len(lost), won[0]["state"], len(house.send.calls)) == (1, 1, "COMPLETE", 1)


async def test_a_rejection_plans_again_and_what_was_done_is_not_done_again(house: House) -> None:
    asked = await house.open().run("g")
    again = await house.open().resume(reject("Not now."), thread_id=asked["thread_id"])
    assert (again["state"], len(house.act.calls)) == ("REVIEWING", 3)
    assert again["reviews"][0]["id"] != asked["reviews"][0]["id"]
    done = await house.open().resume(approve(), thread_id=asked["thread_id"])
    assert (done["state"], len(house.act.calls), len(house.send.calls)) == ("COMPLETE", 3, 1)


async def test_a_second_goal_on_a_thread_is_a_run_of_its_own(house: House) -> None:
    first = await house.open().run("g", thread_id="t")
    with pytest.raises(RunError, match="REVIEWING"):
        await house.open().run("second", thread_id="t")
    await house.open().resume(approve(), thread_id="t")
    second = await house.open().run("second", thread_id="t")
    assert second["run_id"] != first["run_id"]
    assert (await house.open().resume(approve(), thread_id="t"))["state"] == "COMPLETE"
    assert (len(house.act.calls), len(house.send.calls)) == (6, 2)


async def test_a_thread_goes_on_where_the_clock_was_set_back(house: House, set_back: Callable[[], None]) -> None:
    await house.open().run("first", thread_id="t")
    set_back()
    await house.open().resume(approve(), thread_id="t")
    seen = [await house.open().result("t")]
    set_back()
    await house.open().run("second", thread_id="t")
    seen.append(await house.open().result("t"))
    set_back()
    await house.open().cancel("t")
    seen.append(await house.open().result("t"))
    states = [(one["goal"], one["state"], len(one["reviews"])) for one in seen]
    assert states == [("first", "COMPLETE", 0), ("second", "REVIEWING", 1), ("second", "FAILED", 0)]


async def test_a_pause_from_another_object_is_honoured(house: House) -> None:
    steps = [{"name": f"s{at}", "action": "send", "inputs": {"at": at}} for at in range(40)]
    running = asyncio.create_task(house.open().run("g", plan={"goal": "g", "steps": steps}, thread_id="t"))
    while not house.send.calls and not running.done():
        await asyncio.sleep(0.01)
    await asyncio.to_thread(house.open().request, "t", "pause")
    paused, seen = await asyncio.wait_for(running, 5), len(house.send.calls)
    assert (paused["state"], seen < 40) == ("PAUSED", True)
    done = await house.open().resume(thread_id="t")
    assert (done["state"], [call["at"] for call in house.send.calls]) == ("COMPLETE", list(range(40)))


async def test_a_pause_is_honoured_between_the_items_of_a_foreach_and_each_is_done_once(house: House) -> None:
    house.look = RecordingAction("look", result=list(range(40)), trusted=True)
    names = {"name": "names", "action": "look", "outputs": ["names"]}
    each = {"name": "each", "action": "send", "foreach": "${names}", "inputs": {"at": "${item}"}, "outputs": ["sent"]}
    running = asyncio.create_task(house.open().run("g", plan={"goal": "g", "steps": [names, each]}, thread_id="t"))
    while not house.send.calls and not running.done():
        await asyncio.sleep(0.01)
    await asyncio.to_thread(house.open().request, "t", "pause")
    paused, seen = await asyncio.wait_for(running, 5), len(house.send.calls)
    assert (paused["state"], seen < 40) == ("PAUSED", True)
    began = time.perf_counter()
    done = await house.open().resume(thread_id="t")
    assert done["seconds"] <= paused["seconds"] + time.perf_counter() - began
    assert (done["state"], done["iterations"], done["outputs"]["sent"]) == ("COMPLETE", 3, ["sent"] * 40)
    assert [call["at"] for call in house.send.calls] == list(range(40))


@pytest.mark.parametrize("size", [1_000_000])
async def test_a_large_result_is_the_next_step_s_input(url: str | Path, size: int) -> None:
    house = House(url, "ä" * (size // 2))
    asked = await house.open().run("g")
    assert asked["outputs"]["text"] == "ä" * (size // 2)
    assert (await house.open().resume(approve(), thread_id=asked["thread_id"]))["state"] == "COMPLETE"
    assert house.send.calls == [{"text": "ä" * (size // 2)}]


@pytest.mark.parametrize("text", ["a\0b", "a\udcffb"], ids=["nul", "surrogate"])
async def test_a_text_that_no_database_can_hold_is_written_out(url: str | Path, text: str) -> None:
    house, failing = House(url), House(url)
    failing.look = RecordingAction("look", error=ValueError(text))
    look = {"goal": "g", "steps": [{"name": "a", "action": "look"}]}
    failed = await failing.open().run(text, plan=look, thread_id="failed")
    assert failed["reason"].startswith("Step a failed: look raised ValueError: a\\")
    asked = await house.open().run(text, plan=PLAN, thread_id="asked")
    rejected = await house.open().resume(reject(text), thread_id="asked")
    assert [failed["state"], rejected["state"], asked["goal"][:2]] == ["FAILED", "FAILED", "a\\"]
    for one, result in ((failing, failed), (house, rejected)):
        assert (await one.open().result(result["thread_id"]))["reason"] == result["reason"]


async def test_a_thread_whose_name_postgres_cannot_hold_is_one_clear_error(postgres: str) -> None:
    for thread in ("a\0b", "\udcff"):
        with pytest.raises(DatabaseError, match="It cannot hold this text; give another one"):
            await House(postgres).open().run("g", thread_id=thread)
    assert await House(postgres).open().runs() == []


async def test_a_thread_that_does_not_exist_is_said_to_be_missing(house: House) -> None:
    with pytest.raises(RunError, match="There is no run 'none'"):
        await house.open().resume(thread_id="none")


# What cannot be used.


async def test_a_checkpoint_whose_journal_is_another_one_s_repeats_no_effect(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    house = House(path)
    asked = await house.open().run("g")
    for table in ("runs", "plans", "calls", "answers", "leases"):
        execute(path, f"DELETE FROM agentic_{table}")
    with pytest.raises(RunError):
        await house.open().resume(approve(), thread_id=asked["thread_id"])
    assert (len(house.act.calls), house.send.calls) == (3, [])


async def test_a_journal_without_its_checkpoint_is_refused_and_repeats_no_effect(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    house = House(path)
    await house.open().run("g", thread_id="t")
    for table in ("checkpoints", "writes"):
        execute(path, f"DELETE FROM {table}")
    before = await house.open().timeline("t")
    with pytest.raises(RunError, match="No checkpoint of the run t is in the database"):
        await house.open().resume(thread_id="t")
    with pytest.raises(RunError, match="The thread t has a run that has done something"):
        await house.open().run("g", thread_id="t")
    assert await house.open().timeline("t") == before
    assert ((await house.open().run("g", thread_id="u"))["state"], len(house.act.calls)) == ("REVIEWING", 6)


async def test_prune_leaves_a_thread_alone_that_is_given_another_goal_meanwhile(house: House) -> None:
    asked = await house.open().run("g", thread_id="t")
    await house.open().resume(approve(), thread_id="t")

    async def second() -> dict[str, Any]:
        while True:
            with suppress(RunBusyError):  # it is being pruned at the moment
                return await house.open().run("second", thread_id="t")

    running = asyncio.create_task(second())
    removed = [thread for _ in range(10) for thread in await house.open().prune(timedelta(0))]
    result = await running
    told = [entry["what"] for entry in await house.open().timeline("t")]
    assert (result["state"], told.count("intent"), removed) == ("REVIEWING", 3 + 4 * (not removed), removed)
    assert asked["run_id"] != result["run_id"]


@pytest.mark.parametrize("cut_at", ["before", "after"])
async def test_a_prune_that_is_cut_is_finished_by_the_next_one_and_refuses_no_goal(house: House, cut_at: str) -> None:
    for thread in ("t", "given another goal"):
        await house.open().run("g", thread_id=thread)
        await house.open().resume(approve(), thread_id=thread)
        house.agent = ScriptedAgent([PLAN, PLAN])
        with pytest.raises(CutError):
            await cut(house, at=cut_at).prune(timedelta(0))
    assert (await house.open().run("g", thread_id="given another goal"))["state"] == "REVIEWING"
    await house.open().prune(timedelta(0))
    assert (await house.open().timeline("given another goal"))[0]["what"] == "run begun"
    journal = house.open().database.journal
    assert (await journal.threads(), await journal.runs("t")) == (["given another goal"], {})


class CutError(Exception):
    """The process ended."""


def cut(house: House, *, at: str) -> AgenticWorkflow:
    """Return a workflow whose process ends before or after its journal has forgotten something."""
    workflow = house.open()
    whole = workflow.database.journal

    class Cut:
        def __getattr__(self, name: str) -> Any:
            return getattr(whole, name)

        async def forget(self, *what: Any, **options: bool) -> None:
            workflow.database.leases.journal = whole  # the next process has it
            if at == "after":
                await whole.forget(*what, **options)
            raise CutError

    workflow.database.leases.journal = cast("Journal", Cut())
    return workflow


LARGE = 500_000


async def filled(path: Path) -> House:
    """Return a database of four finished runs with large results, and of one that waits."""
    house, other = House(path), House(path)
    await house.open().run("g", thread_id="waits")
    look = {"goal": "g", "steps": [{"name": "a", "action": "look"}]}
    for at in range(4):
        other.look = RecordingAction("look", result=str(at) * LARGE)
        assert (await other.open().run("g", plan=look, thread_id=str(at)))["state"] == "COMPLETE"
    return house


def size_of(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))


async def test_prune_gives_back_the_space_of_a_file_and_what_waits_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "ä b?.db"
    house = await filled(path)
    assert size_of(path) > 4 * LARGE
    assert sorted(await house.open().prune(timedelta(0))) == ["0", "1", "2", "3"]
    assert size_of(path) < LARGE
    assert (await house.open().resume(approve(), thread_id="waits"))["state"] == "COMPLETE"


async def test_where_little_of_a_file_was_freed_prune_does_not_write_it_anew(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    house = await filled(path)
    execute(path, f"CREATE TABLE other AS SELECT zeroblob({20 * LARGE}) AS x")
    assert len(await house.open().prune(timedelta(0))) == 4
    assert size_of(path) > 24 * LARGE


async def test_a_prune_gives_up_what_would_keep_others_from_a_large_file_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentic_workflows.journal.database.COPY_SECONDS", 0)
    path = tmp_path / "runs.db"
    house = await filled(path)
    assert len(await house.open().prune(timedelta(0))) == 4
    assert size_of(path) > 4 * LARGE
    assert (await house.open().resume(approve(), thread_id="waits"))["state"] == "COMPLETE"


async def test_while_another_process_holds_a_thread_prune_leaves_the_file_as_large_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    house, journal = await filled(path), Database(path).journal
    lease = await journal.acquire("under way", "elsewhere:1:1:abcd", 30)
    assert len(await house.open().prune(timedelta(0))) == 4
    assert size_of(path) > 4 * LARGE
    assert await journal.renew_all([lease], 30) == [None]


@pytest.mark.parametrize("held", ["BEGIN; SELECT * FROM agentic_calls", "BEGIN IMMEDIATE"])
async def test_a_file_that_somebody_reads_or_writes_is_left_as_it_is(tmp_path: Path, held: str) -> None:
    path = tmp_path / "runs.db"
    house = await filled(path)
    journal = house.open().database.journal
    await journal.forget(await journal.acquire("0", "elsewhere:1:1:abcd", 0))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        for statement in held.split("; "):
            other.execute(statement).fetchone()
        began = time.perf_counter()
        _vacuum(path)
        assert time.perf_counter() - began < 1
        assert size_of(path) > 4 * LARGE
        other.execute("COMMIT")
    assert (await house.open().resume(approve(), thread_id="waits"))["state"] == "COMPLETE"
    _vacuum(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


async def test_an_sqlite_journal_of_a_newer_version_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    house = House(path)
    asked = await house.open().run("g")
    await asyncio.sleep(0.6)  # the writer closes
    execute(path, "UPDATE agentic_version SET version = 99")
    before = dumped(path)
    calls: list[Any] = [
        lambda: house.open().run("g"),
        lambda: house.open().resume(approve(), thread_id=asked["thread_id"]),
        lambda: house.open().runs(),
    ]
    for attempt in calls:
        with pytest.raises(DatabaseError, match=f"version 99, and this program knows {VERSION}"):
            await attempt()
    assert (dumped(path), len(house.act.calls), house.send.calls) == (before, 3, [])


async def test_a_checkpoint_without_its_journal_is_refused_or_asks_again(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    house = House(path)
    asked = await house.open().run("g")
    await asyncio.sleep(0.6)
    for table in ("runs", "plans", "calls", "answers", "leases"):
        execute(path, f"DROP TABLE agentic_{table}")
    with pytest.raises(DatabaseError):
        await house.open().resume(approve(), thread_id=asked["thread_id"])
    assert (len(house.act.calls), house.send.calls) == (3, [])


_CALL = "run_id TEXT, plan TEXT, step TEXT, item INTEGER, attempt INTEGER, action TEXT, key TEXT, occurrence INTEGER"
_SAME = "run_id, plan, step, item, attempt, action, key, occurrence"
_LABELED = "agentic_calls LEFT JOIN agentic_labels ON id = label WHERE outcome IS NOT NULL"
_PRIMARY = "PRIMARY KEY (run_id, plan, step, item, attempt)"
TO_VERSION_5 = ("DELETE FROM agentic_version WHERE version > 5", "INSERT INTO agentic_version VALUES (5)")
TO_VERSION_4 = (
    "ALTER TABLE agentic_calls DROP COLUMN rules",
    "ALTER TABLE agentic_calls DROP COLUMN token",
    "DELETE FROM agentic_version WHERE version > 4",
    "INSERT INTO agentic_version VALUES (4)",
)
TO_VERSION_3 = (
    *TO_VERSION_4[:2],
    "DELETE FROM agentic_version WHERE version > 3",
    "INSERT INTO agentic_version VALUES (3)",
)
TO_VERSION_2 = (
    f"CREATE TABLE agentic_intents ({_CALL}, at TEXT, {_PRIMARY})",
    f"CREATE TABLE agentic_outcomes ({_CALL}, outcome TEXT, body TEXT, sources TEXT, {_PRIMARY})",
    f"INSERT INTO agentic_intents SELECT {_SAME}, at FROM agentic_calls WHERE key <> ''",
    f"INSERT INTO agentic_outcomes SELECT {_SAME}, outcome, body, text FROM {_LABELED}",
    "DROP TABLE agentic_calls",
    "DROP TABLE agentic_labels",
    "ALTER TABLE agentic_runs DROP COLUMN entry",
    "DELETE FROM agentic_version WHERE version > 2",
    "INSERT INTO agentic_version VALUES (2)",
)
TO_VERSION_1 = (
    *TO_VERSION_2,
    "ALTER TABLE agentic_outcomes DROP COLUMN sources",
    "DELETE FROM agentic_version",
    "INSERT INTO agentic_version VALUES (1)",
)


@pytest.mark.parametrize(
    "statements",
    [TO_VERSION_5, TO_VERSION_4, TO_VERSION_3, TO_VERSION_2, TO_VERSION_1],
    ids=["from 5", "from 4", "from 3", "from 2", "from 1"],
)
async def test_an_older_database_is_upgraded_in_place_with_a_run_under_way(
    house: House, statements: tuple[str, ...]
) -> None:
    if house.url == "memory":
        return  # gone with its process
    asked = await house.open().run("g", thread_id="t")
    before = await Database(house.url).journal.past(asked["run_id"])
    await asyncio.sleep(IDLE_SECONDS * 1.5)
    assert spell_outcomes(house.url)
    for statement in statements:
        execute(house.url, statement)
    if isinstance(house.url, Path):
        inflate_checkpoints(house.url)
    past = await Database(house.url).journal.past(asked["run_id"])
    has_labels = statements is not TO_VERSION_1
    known = {one.intent.place: one.outcome.sources if has_labels else None for one in before.outcomes}
    assert {one.intent.place: one.outcome.sources for one in past.outcomes} == known
    assert [replace(one.outcome, sources=None, started="") for one in past.outcomes] == [
        replace(one.outcome, sources=None, started="") for one in before.outcomes
    ]
    done = await house.open().resume(approve(), thread_id="t")
    assert (done["state"], house.send.calls, len(house.act.calls)) == ("COMPLETE", [{"text": "done"}], 3)


async def test_a_postgres_that_is_not_there_is_one_clear_error_without_the_password() -> None:
    url = "postgresql://me:secret@127.0.0.1:1/runs"
    pytest.importorskip("psycopg", reason="needs the extra postgres")
    for attempt in (lambda: House(url).open().run("g"), lambda: House(url).open().result("t")):
        with pytest.raises(DatabaseError) as error:
            await attempt()
        assert "secret" not in str(error.value)
        assert "127.0.0.1:1/runs" in str(error.value)


async def test_a_missing_run_in_postgres_does_not_show_the_password(postgres: str) -> None:
    url = postgres.replace("postgres:@", "postgres:secret@")
    with pytest.raises(RunError) as error:
        await House(url).open().result("none")
    assert "secret" not in str(error.value)


def execute(url: str | Path, statement: str) -> None:
    connection: Any = sqlite3.connect(url) if isinstance(url, Path) else psycopg.connect(url)
    try:
        connection.execute(statement)
        connection.commit()
    finally:
        connection.close()


def spell_outcomes(url: str | Path) -> int:
    """Write the outcomes as they were written before the usual ones were lists; returns how many."""
    connection: Any = sqlite3.connect(url) if isinstance(url, Path) else psycopg.connect(url)
    mark = "?" if isinstance(url, Path) else "%s"
    lists = connection.execute("SELECT step, item, outcome FROM agentic_calls WHERE outcome LIKE '[%'").fetchall()
    for step, item, text in lists:
        result, seconds = json.loads(text)
        old = json.dumps({"attempts": 1, "result": result, "seconds": seconds, "status": "succeeded"})
        where = f"WHERE step = {mark} AND item = {mark}"
        connection.execute(f"UPDATE agentic_calls SET outcome = {mark} {where}", (old, step, item))
    connection.commit()
    connection.close()
    return len(lists)


def inflate_checkpoints(path: Path) -> None:
    """Write the checkpoints as they were written before they were compressed."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT checkpoint_id, type, checkpoint FROM checkpoints").fetchall()
        for one, kind, data in rows:
            old = [kind.removesuffix("+zlib"), zlib.decompress(data), one]
            connection.execute("UPDATE checkpoints SET type = ?, checkpoint = ? WHERE checkpoint_id = ?", old)
        connection.commit()


def dumped(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


async def test_a_run_is_kept_in_one_place_also_where_a_link_to_its_folder_is_changed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "one")
    house, direct = (
        AgenticWorkflow(ScriptedAgent([]), actions=[], database=tmp_path / folder / "runs.db")
        for folder in ("link", "one")
    )
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to(tmp_path / "two")
    await house.run("g", plan={"goal": "g", "steps": []}, thread_id="t")
    assert list((tmp_path / "two").iterdir()) == []
    assert [one["thread_id"] for one in await direct.runs()] == ["t"]


async def test_runs_at_once_need_no_connection_each(postgres: str) -> None:
    seen: list[int] = []

    async def look(_: object) -> str:
        mine = "datname = current_database() AND application_name <> 'looks'"
        with psycopg.connect(postgres, application_name="looks") as connection:
            found = connection.execute(f"SELECT count(*) FROM pg_stat_activity WHERE {mine}").fetchone()
            seen.append(found[0])  # type: ignore[index]
        return "looked"

    action = Action(name="look", annotations=Annotations(read_only=True), run=look)
    plan = {"goal": "g", "steps": [{"name": "s", "action": "look"}]}
    house = AgenticWorkflow(ScriptedAgent([]), actions=[action], database=postgres)
    results = await asyncio.gather(*(house.run("g", plan=plan) for _ in range(30)))
    assert {one["state"] for one in results} == {"COMPLETE"}
    assert max(seen) <= 2  # the journal's and the saver's


async def test_what_is_written_at_once_goes_to_postgres_in_few_turns(postgres: str) -> None:
    def plan_of(size: int) -> dict[str, Any]:
        steps = [{"name": f"s{at}", "action": "act", "inputs": {"at": at}} for at in range(size)]
        return {"goal": "g", "steps": steps}

    async with turns_of(postgres) as (url, turns):
        act = RecordingAction(
            "act", delay=0.05, read_only=False, destructive=False, trusted=True, resources=lambda _: ()
        )
        limits = Limits(max_parallel=100)
        house = AgenticWorkflow(ScriptedAgent([]), 200, actions=[act], database=url, limits=limits)
        counted = []
        for size in (1, 1, 80):
            before = len(turns)
            assert (await house.run("g", plan=plan_of(size)))["state"] == "COMPLETE"
            counted.append(len(turns) - before)
    assert counted[2] - counted[1] < 40  # each effect by itself would take two at least


def test_a_file_that_was_taken_away_is_not_begun_anew(tmp_path: Path) -> None:
    backend = SqliteBackend(tmp_path / "runs.db")
    with pytest.raises(sqlite3.OperationalError):
        backend.connect()
    backend.close()
    assert not (tmp_path / "runs.db").exists()


def test_what_a_file_has_said_to_be_written_is_on_the_disk(tmp_path: Path) -> None:
    (tmp_path / "runs.db").touch()
    backend = SqliteBackend(tmp_path / "runs.db")
    backend.connect()
    backend.learn({"how": "PRAGMA synchronous", "where": "PRAGMA journal_mode"})
    assert (backend.send("how").rows, backend.send("where").rows) == ([(2,)], [("wal",)])
    backend.close()


@pytest.mark.parametrize("default, found", [("off", "on"), ("local", "local"), ("remote_apply", "remote_apply")])
async def test_what_postgres_has_said_to_be_written_is_so_whatever_its_default(
    postgres: str, default: str, found: str
) -> None:
    seen = await seen_by_writes(postgres, "synchronous_commit", default)
    assert seen == {("agentic_calls", found), ("checkpoints", found)}


@pytest.mark.parametrize("default", ["repeatable read", "serializable"])
async def test_runs_read_what_is_committed_in_postgres_whatever_its_default(postgres: str, default: str) -> None:
    seen = await seen_by_writes(postgres, "default_transaction_isolation", default)
    assert seen == {(table, "read committed") for table in ("agentic_calls", "checkpoints")}


async def test_a_role_that_may_create_nothing_uses_the_tables_that_are_there(postgres: str) -> None:
    await House(postgres).open().run("g")
    info = conninfo_to_dict(postgres)
    for statement in (
        f"CREATE ROLE {info['dbname']} LOGIN",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {info['dbname']}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {info['dbname']}",
    ):
        execute(postgres, statement)
    mine = House(postgres.replace(f"{info['user']}:@", f"{info['dbname']}@"))
    assert mine.url != postgres
    asked = await mine.open().run("g", thread_id="t")
    assert (await mine.open().resume(approve(), thread_id="t"))["state"] == "COMPLETE", asked
    assert await mine.open().prune(timedelta(0)) == ["t"]


async def test_a_schema_has_tables_of_its_own_beside_those_of_another_one_on_its_search_path(postgres: str) -> None:
    await House(postgres).open().run("g", thread_id="of all")
    execute(postgres, "CREATE SCHEMA mine")
    mine = f"{postgres}&options=-csearch_path%3Dmine,public"
    await House(mine).open().run("g", thread_id="mine")
    assert [run["thread_id"] for run in await House(mine).open().runs()] == ["mine"]


@pytest.mark.parametrize("kind, goal", [("SQL_ASCII", "plain"), ("UTF8", "Grüße an 中")])
async def test_runs_end_whatever_the_encoding_of_a_database_and_of_its_clients(
    postgres: str, kind: str, goal: str
) -> None:
    info = conninfo_to_dict(postgres)
    url = postgres.replace(str(info["dbname"]), f"{info['dbname']}x")
    create = f"CREATE DATABASE {info['dbname']}x ENCODING '{kind}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(create)  # type: ignore[arg-type]  # a name
        connection.execute(f"ALTER DATABASE {info['dbname']}x SET client_encoding = 'latin1'")  # type: ignore[arg-type]
    await House(url).open().run(goal, thread_id="t")
    done = await House(url).open().resume(approve(), thread_id="t")
    assert (done["state"], done["goal"]) == ("COMPLETE", goal)


async def test_a_database_that_cannot_hold_every_text_is_refused_before_anything_is_done(postgres: str) -> None:
    name = f"{conninfo_to_dict(postgres)['dbname']}latin"
    with psycopg.connect(postgres, autocommit=True) as connection:
        create = f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        connection.execute(create)  # type: ignore[arg-type]  # a name
    house = House(postgres.replace(str(conninfo_to_dict(postgres)["dbname"]), name))
    with pytest.raises(DatabaseError, match=r"has the encoding LATIN1, .*Create it with ENCODING 'UTF8'"):
        await house.open().run("g")
    assert house.act.calls == []


async def seen_by_writes(url: str, setting: str, default: str) -> set[tuple[str, str]]:
    """Return what a setting is where a run writes its journal and checkpoints, with that default of the database."""
    execute(url, f"ALTER DATABASE {conninfo_to_dict(url)['dbname']} SET {setting} = '{default}'")
    await House(url).open().run("g")  # makes the tables
    execute(url, "CREATE TABLE seen (name text, value text)")
    mine = setting.removeprefix("default_")
    insert = f"INSERT INTO seen VALUES (TG_TABLE_NAME, current_setting(''{mine}''))"
    execute(url, f"CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN {insert}; RETURN NULL; END'")
    for table in ("agentic_calls", "checkpoints"):
        execute(url, f"CREATE TRIGGER see AFTER INSERT ON {table} EXECUTE FUNCTION see()")
    await House(url).open().run("g")
    with psycopg.connect(url) as connection:
        return set(connection.execute("SELECT DISTINCT name, value FROM seen").fetchall())


async def test_a_commit_whose_answer_was_lost_is_told_as_that_and_nothing_is_done_twice(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_lost() -> bool:
        nonlocal left
        left -= bool(house.send.calls)
        return left == 0

    lose_answers(postgres, is_lost, monkeypatch)
    steps = [{"name": name, "action": "send", "inputs": {"at": name}} for name in ("one", "two", "three")]
    told: list[str] = []
    for lost in range(1, 100):
        left, house, done = lost, House(postgres), {"state": ""}
        while done["state"] != "COMPLETE":
            try:
                done = await gone_on_with(house, {"goal": "g", "steps": steps}, f"t{lost}")
            except DatabaseError as error:
                told.append(str(error))
        each = [call["at"] for call in house.send.calls]
        assert len(each) == len(set(each))
        if left >= 0:
            break
    assert len(told) > 4
    assert [one for one in told if "See that its server runs, can be reached" not in one] == []


async def test_of_answers_at_once_whose_commit_was_not_heard_of_none_is_told_of_another_one(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(name: str) -> Answered:
        return Answered(review_id=name, run_id="r", answer={"type": "approve"}, reviewer="me", at="2026-01-01")

    journal, lost = Database(postgres).journal, iter([True])
    lose_answers(postgres, lambda: next(lost, False), monkeypatch)
    found = await asyncio.gather(*(journal.answer(answer(f"{at}")) for at in range(9)), return_exceptions=True)
    assert {type(one) for one in found if one is not True} == {DatabaseError}
    assert len(await journal.answers("r")) == 9


def lose_answers(url: str, is_lost: Callable[[], bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have connections end once a transaction is committed, before it is told, where that is to be lost."""
    commit = PostgresBackend.commit

    def losing(self: PostgresBackend) -> None:
        commit(self)
        if is_lost():
            end_connections(url)
            commit(self)

    monkeypatch.setattr(PostgresBackend, "commit", losing)


def end_connections(url: str) -> None:
    name = conninfo_to_dict(url)["dbname"]
    end = f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{name}'"
    execute(make_conninfo(url, dbname="postgres"), end)


@pytest.mark.parametrize("is_cut", [False, True])
async def test_a_run_whose_server_says_nothing_any_more_ends_soon_and_is_gone_on_with_later(
    proxy: Any, *, is_cut: bool
) -> None:
    house, begun = House(proxy.url), asyncio.Event()

    def freeze(_: object) -> None:
        if not begun.is_set():  # it only looks, and so it is asked again
            proxy.passes.clear()
            begun.set()

    house.look = RecordingAction("look", result=freeze, trusted=True)
    steps = [{"name": name, "action": "send", "inputs": {"at": name}} for name in ("one", "two")]
    steps.insert(1, {"name": "freeze", "action": "look", "after": ["one"]})
    plan = {"goal": "g", "steps": [steps[0], steps[1], {**steps[2], "after": ["freeze"]}]}
    running = asyncio.ensure_future(gone_on_with(house, plan, "t"))
    await begun.wait()
    if is_cut:
        running.cancel()
    await asyncio.wait([running], timeout=40)  # a run asks for much as it ends
    assert running.done()
    assert running.cancelled() or isinstance(running.exception(), DatabaseError)
    proxy.passes.set()
    done = {"state": ""}
    while done["state"] != "COMPLETE":
        done = await gone_on_with(house, plan, "t")
    assert house.send.calls in ([{"at": "one"}], [{"at": "one"}, {"at": "two"}])  # the last may be in doubt


@pytest.mark.parametrize("is_open", [False, True])
async def test_a_server_that_was_waited_for_in_vain_is_waited_for_a_moment_by_the_next_ones(
    proxy: Any, monkeypatch: pytest.MonkeyPatch, *, is_open: bool
) -> None:
    monkeypatch.setattr("agentic_workflows.journal.postgres.BUSY_SECONDS", 5)
    journal = Database(proxy.url).journal
    if is_open:
        await journal.threads()
    proxy.passes.clear()
    with pytest.raises(DatabaseError):
        await journal.threads()
    began = time.monotonic()
    with pytest.raises(DatabaseError):
        await journal.threads()
    assert time.monotonic() < began + 4
    proxy.passes.set()
    assert await journal.threads() == []


async def test_a_server_that_takes_in_slowly_what_is_written_is_not_silent(
    proxy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentic_workflows.journal.postgres.SILENT_SECONDS", 3)
    journal, long = Database(proxy.url).journal, "long " * 10_000_000
    lease = await journal.acquire("t", "me", 30)
    proxy.seconds, began = 0.007, time.monotonic()
    await journal.begin(lease, "run", long)
    assert time.monotonic() - began > 4, "longer than anybody waits for a silent server here"
    assert await journal.run_of("run") == ("t", long)


async def test_a_large_database_is_swept_however_long_that_takes(postgres: str, proxy: Any) -> None:
    import psycopg

    journal = Database(proxy.url).journal
    await journal.threads()
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION slowly() RETURNS trigger AS $$ BEGIN PERFORM pg_sleep(1.5); RETURN NULL; END $$ "
            "LANGUAGE plpgsql"
        )
        connection.execute("CREATE TRIGGER slowly AFTER DELETE ON agentic_bodies EXECUTE FUNCTION slowly()")
        connection.execute("INSERT INTO agentic_bodies VALUES ('digest', 'body')")
        await journal.sweep()
        assert connection.execute("SELECT count(*) FROM agentic_bodies").fetchone() == (0,)
        connection.execute("CREATE TRIGGER slowly AFTER INSERT ON agentic_leases EXECUTE FUNCTION slowly()")
        with pytest.raises(DatabaseError, match="was silent"):  # others are not waited for so long
            await journal.acquire("t", "somebody", 30)


async def test_large_tables_are_made_and_changed_however_long_that_takes(postgres: str, proxy: Any) -> None:
    slow = "IF current_query() NOT LIKE '%agentic_version%' THEN PERFORM pg_sleep(0.7); END IF"
    take_long = f"CREATE FUNCTION take_long() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN {slow}; END$$"
    execute(postgres, take_long)
    execute(postgres, "CREATE EVENT TRIGGER slow ON ddl_command_start EXECUTE FUNCTION take_long()")
    assert (await House(proxy.url).open().run("g"))["state"] == "REVIEWING"


async def gone_on_with(house: House, plan: dict[str, Any], thread: str) -> dict[str, Any]:
    """Go on with a run as its user would, or begin it."""
    try:
        found = await house.open().result(thread)
    except RunError:
        return await house.open().run("g", plan=plan, thread_id=thread)
    doubts = [respond("sent", one["id"]) for one in found["reviews"]]
    return found if found["state"] == "COMPLETE" else await house.open().resume(doubts or None, thread_id=thread)


@asynccontextmanager
async def turns_of(url: str) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Give a database's URL through a proxy on loopback, and the messages after which a client waits for an answer."""
    info = conninfo_to_dict(url)
    turns: list[bytes] = []

    async def ask(client: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        kind = b""  # the first message has none
        while True:
            size = await client.readexactly(4)
            server.write(kind + size + await client.readexactly(int.from_bytes(size) - 4))
            kind = await client.readexactly(1)
            turns.extend([kind] if kind in b"SHQ" else [])  # sync, flush, a query by itself

    async def answer(server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while data := await server.read(1 << 20):
            client.write(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(f"{info['host']}/.s.PGSQL.{info.get('port', 5432)}")
        with suppress(asyncio.IncompleteReadError, asyncio.CancelledError), closing(writer), closing(back):
            await asyncio.gather(ask(reader, back), answer(there, writer))

    with closing(await asyncio.start_server(serve, "127.0.0.1", 0)) as server:  # who waits for it waits for its clients
        port = server.sockets[0].getsockname()[1]
        yield f"postgresql://{info['user']}@127.0.0.1:{port}/{info['dbname']}?sslmode=disable&gssencmode=disable", turns
