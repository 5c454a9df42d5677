"""A journal that cannot be used: one clear error, nothing half written, nothing done twice."""

import asyncio
import os
import pickle
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agentic_workflows import AgenticWorkflow, DatabaseError, Limits, RunError, ScriptedAgent, WorkflowError, approve
from agentic_workflows.actions.action import Action, ActionCall
from agentic_workflows.errors import CorruptError
from agentic_workflows.graph.catalogue import Annotations
from agentic_workflows.journal import lease, writer
from agentic_workflows.journal.backends import SqliteBackend
from agentic_workflows.journal.database import Database, _stored
from agentic_workflows.journal.rows import LARGE
from agentic_workflows.testing import RecordingAction

THREADS = [
    "a b",
    "Ä 中 🙂 \u202e",
    "x" * 1_000,
    "'; DROP TABLE agentic_runs; --",
    '"',
    "../../etc/passwd",
    "%s",
    "a\nb",
]
PLAN = {
    "goal": "g",
    "steps": [
        {"name": "first", "action": "act", "outputs": ["x"]},
        {"name": "second", "action": "act", "inputs": {"x": "${x}"}, "human_review_required": True},
    ],
}


class House:
    """A database, and as many workflows over it as there are processes."""

    def __init__(self, path: Path | str) -> None:
        self.path = path
        self.act = RecordingAction("act", result=1, read_only=False, destructive=False)

    def open(self) -> AgenticWorkflow:
        return AgenticWorkflow(ScriptedAgent([PLAN]), actions=[self.act], database=self.path)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "runs.db")


def execute(path: Path | str, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def journal_in(path: Path | str) -> list[str]:
    """Return everything in the journal but who holds what."""
    return [line for line in written_in(path) if "agentic_" in line]


def written_in(path: Path | str) -> list[str]:
    """Return everything in the database but who holds what."""
    with closing(sqlite3.connect(path)) as connection:
        return [line for line in connection.iterdump() if "agentic_leases" not in line]


# Rows.


TEXTS = ["{", "[]", "{}", "null", '"x"', "\udcff".encode("utf-8", "surrogatepass")]
SECONDS = [f'{{"status": "succeeded", "seconds": {seconds}}}' for seconds in ("NaN", '"x"', f"1{'0' * 400}")]
DEEP = f'{{"status": "succeeded", "result": {"[" * 100_000}{"]" * 100_000}}}'


@pytest.mark.parametrize(
    "column, text",
    [
        *((column, text) for column in ("calls.outcome", "answers.answer") for text in TEXTS),
        *(("calls.outcome", text) for text in (*SECONDS, DEEP)),
        *((column, text) for column in ("calls.at", "answers.at") for text in ("yesterday", b"\xff")),
        *(("calls.rules", text) for text in TEXTS if text != "[]"),
    ],
)
async def test_a_corrupt_row_is_one_clear_error_and_nothing_runs(house: House, column: str, text: str | bytes) -> None:
    asked = await house.open().run("g", thread_id="t")
    async with house.open()._opened("t") as run:
        await run.answer(approve(asked["reviews"][0]["id"]))
    table, name = column.split(".")
    with closing(sqlite3.connect(house.path)) as connection:
        connection.execute(f"UPDATE agentic_{table} SET {name} = ?", [text])
        connection.commit()
    before = journal_in(house.path)
    for attempt in (lambda: house.open().resume(thread_id="t"), lambda: house.open().result("t")):
        with pytest.raises(DatabaseError) as error:
            await attempt()
        said = rf"The journal cannot be used: the row of .* in agentic_{table} is corrupt"
        assert len(re.findall(said, str(error.value))) == str(error.value).count("is corrupt") == 1
    assert (journal_in(house.path), len(house.act.calls)) == (before, 1)


async def test_a_large_result_that_is_gone_is_one_clear_error_and_nothing_runs(house: House) -> None:
    house.act = RecordingAction("act", result="x" * 2 * LARGE, read_only=False, destructive=False)
    asked = await house.open().run("g", thread_id="t")
    execute(house.path, "DELETE FROM agentic_bodies")
    with pytest.raises(CorruptError, match="the row of step first in agentic_calls is corrupt"):
        await house.open().resume(approve(asked["reviews"][0]["id"]), thread_id="t")
    assert len(house.act.calls) == 1


@pytest.mark.parametrize("column", ["answers.used", "calls.attempt", "calls.item", "calls.occurrence"])
async def test_a_corrupt_number_is_one_clear_error_and_nothing_runs(house: House, column: str) -> None:
    asked = await house.open().run("g", thread_id="t")
    async with house.open()._opened("t") as run:
        await run.answer(approve(asked["reviews"][0]["id"]))
    table, name = column.split(".")
    execute(house.path, f"UPDATE agentic_{table} SET {name} = x'ff00'")
    with pytest.raises(DatabaseError, match=rf"the row of .* in agentic_{table} is corrupt"):
        await house.open().resume(thread_id="t")
    assert len(house.act.calls) == 1


@pytest.mark.parametrize("change", ["step = 'other'", "item = 5"])
async def test_a_row_of_a_call_that_its_plan_does_not_have_is_one_clear_error_and_nothing_runs(
    house: House, change: str
) -> None:
    asked = await house.open().run("g", thread_id="t")
    execute(house.path, f"UPDATE agentic_calls SET {change}")
    corrupt = r"the row of step \w+ in agentic_calls is corrupt \(no call of its plan\)"
    for attempt in range(2):
        with pytest.raises(CorruptError, match=corrupt):
            await house.open().resume(None if attempt else approve(asked["reviews"][0]["id"]), thread_id="t")
    assert len(house.act.calls) == 1
    execute(house.path, "UPDATE agentic_calls SET step = 'first', item = -1")
    assert (await house.open().resume(thread_id="t"))["state"] == "COMPLETE"


EACH = {
    "goal": "g",
    "steps": [
        {"name": "list", "action": "get", "outputs": ["all"]},
        {"name": "each", "action": "act", "foreach": "${all}", "inputs": {"x": "${item}"}, "outputs": ["each"]},
        {"name": "last", "action": "act", "inputs": {"x": "${each[2]}"}},
    ],
}
ASKS_OF_THREE = """
@id("all") permit(principal, action, resource);
@id("three") @reason("It is a three.") forbid(principal, action == Action::"act", resource)
when { context.inputs.x == 3 } unless { context.approved };
"""
OF_EACH = r"the row of step each in agentic_calls is corrupt \(no call of its plan\)"


class HouseOfItems(House):
    """Like it, of a plan with three items; a person is asked about the third, and then about its last step."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        whole = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
        self.act = RecordingAction("act", result=3, read_only=False, destructive=False, input_schema=whole)
        self.get = RecordingAction("get", result=[1, 2, 3])
        self.rules = path.with_name("three.cedar")
        self.rules.write_text(ASKS_OF_THREE)

    def open(self) -> AgenticWorkflow:
        return AgenticWorkflow(
            ScriptedAgent([EACH]), actions=[self.act, self.get], database=self.path, policies=[self.rules]
        )


@pytest.mark.parametrize("outcome", ["outcome", "NULL"], ids=["ended", "in doubt"])
@pytest.mark.parametrize("item", [-5, -1, 3, 7])
async def test_an_item_that_its_foreach_does_not_have_is_one_clear_error_and_nothing_runs(
    tmp_path: Path, item: int, outcome: str
) -> None:
    house = HouseOfItems(tmp_path / "runs.db")
    asked = await house.open().run("g", thread_id="t")
    assert len(house.act.calls) == 2
    execute(
        house.path,
        f"UPDATE agentic_calls SET item = {item}, outcome = {outcome} WHERE step = 'each' AND item = 1",
    )
    for attempt in range(2):
        with pytest.raises(CorruptError, match=OF_EACH):
            await house.open().resume(None if attempt else approve(asked["reviews"][0]["id"]), thread_id="t")
    assert len(house.act.calls) == 2


async def test_an_item_of_a_foreach_that_is_over_is_not_taken_for_another_one(tmp_path: Path) -> None:
    house = HouseOfItems(tmp_path / "runs.db")
    asked = await house.open().run("g", thread_id="t")
    asked = await house.open().resume(approve(asked["reviews"][0]["id"]), thread_id="t")
    execute(house.path, "UPDATE agentic_calls SET item = 7 WHERE step = 'each' AND item = 1")
    with pytest.raises(CorruptError, match=OF_EACH):
        await house.open().resume(approve(asked["reviews"][0]["id"]), thread_id="t")
    execute(house.path, "UPDATE agentic_calls SET item = 1 WHERE step = 'each' AND item = 7")
    assert (await house.open().resume(thread_id="t"))["state"] == "COMPLETE"


class DiesPlanning:
    """Plans once; then its process ends, and the next one gives another plan."""

    def __init__(self) -> None:
        bad = {"name": "bad", "action": "bad", "after": ["each"]}
        self.plans_again = asyncio.Event()
        self.plans = [{**EACH, "steps": [*EACH["steps"][:2], bad]}, None, {"goal": "g", "steps": EACH["steps"][:1]}]

    async def create_plan(self, goal: str, history: Any) -> Any:
        del goal, history
        if (plan := self.plans.pop(0)) is None:
            self.plans_again.set()
            await asyncio.Event().wait()
        return plan


@pytest.mark.parametrize("change", ["step = 'other'", "item = 9", "item = -1", "item = -5"])
async def test_a_call_in_doubt_that_its_replaced_plan_does_not_have_is_one_clear_error_and_nothing_runs(
    tmp_path: Path, change: str
) -> None:
    house, agent = HouseOfItems(tmp_path / "runs.db"), DiesPlanning()
    actions = [house.act, house.get, RecordingAction("bad", error=ValueError("no"))]
    house.rules.write_text('@id("all") permit(principal, action, resource);')

    def opened() -> AgenticWorkflow:
        limits = Limits(max_replans=1)
        return AgenticWorkflow(agent, actions=actions, database=house.path, policies=[house.rules], limits=limits)

    first = asyncio.ensure_future(opened().run("g", thread_id="t"))
    await agent.plans_again.wait()
    first.cancel()
    await asyncio.wait([first])
    assert (len(agent.plans), len(house.act.calls)) == (1, 3)
    execute(house.path, "DELETE FROM agentic_calls WHERE step = 'each' AND item = -1")
    execute(house.path, f"UPDATE agentic_calls SET {change}, outcome = NULL WHERE step = 'each' AND item = 1")
    for _ in range(2):
        with pytest.raises(CorruptError, match=r"the row of step \w+ in agentic_calls is corrupt"):
            await opened().resume(thread_id="t")
    assert (len(agent.plans), len(house.act.calls)) == (1, 3)
    execute(house.path, "UPDATE agentic_calls SET step = 'each', item = 1 WHERE outcome IS NULL")
    asked = await opened().resume(thread_id="t")
    assert [(one["step"], one["item"]) for one in asked["reviews"]] == [("each", 1)]


async def test_an_answer_whose_row_is_of_another_run_now_is_one_clear_error_and_nothing_runs(house: House) -> None:
    asked = await house.open().run("g", thread_id="t")
    answer = approve(asked["reviews"][0]["id"])
    async with house.open()._opened("t") as run:
        await run.answer(answer)
    execute(house.path, "UPDATE agentic_answers SET run_id = 'other'")
    with pytest.raises(CorruptError, match=r"the answer to \w+ of the thread t is corrupt"):
        await house.open().resume(answer, thread_id="t")
    assert len(house.act.calls) == 1


async def test_a_corrupt_number_of_a_plan_is_one_clear_error_and_nothing_runs(house: House) -> None:
    asked = await house.open().run("g", thread_id="t")
    execute(house.path, "UPDATE agentic_plans SET number = 'x'")
    corrupt = r"the row of plan x of the run .+ in agentic_plans is corrupt"
    with pytest.raises(CorruptError, match=corrupt):
        await house.open().database.journal.next_plan(asked["run_id"], 1)
    with pytest.raises(CorruptError, match=corrupt):
        await house.open().timeline("t")
    execute(house.path, "UPDATE agentic_runs SET entry = '{}'")  # its process died before it left a checkpoint
    with pytest.raises(CorruptError, match=corrupt):
        await house.open().resume(thread_id="t")
    assert len(house.act.calls) == 1


@pytest.mark.parametrize(
    "change",
    ["owner = 'x:1:2'", "owner = x'ff'", "token = 'x'", "token = 1.5", "expires = 'x'", "owner = 'x', expires = 1e12"],
)
async def test_a_corrupt_lease_is_one_clear_error_and_nothing_runs(house: House, change: str) -> None:
    asked = await house.open().run("g", thread_id="t")
    execute(house.path, f"UPDATE agentic_leases SET {change}")
    with pytest.raises(CorruptError, match="the row of the thread t in agentic_leases is corrupt"):
        await house.open().resume(approve(asked["reviews"][0]["id"]), thread_id="t")
    assert len(house.act.calls) == 1
    await house.open().database.shrink()  # nobody knows whether it is held, and it stays as it is


@pytest.mark.parametrize("column", ["run_id", "goal", "at"])
async def test_a_timeline_of_a_corrupt_run_is_one_clear_error(house: House, column: str) -> None:
    await house.open().run("g", thread_id="t")
    execute(house.path, f"UPDATE agentic_runs SET {column} = x'ff'")
    with pytest.raises(CorruptError, match=r"the row of the run .+ in agentic_runs is corrupt \(its id, goal or time"):
        await house.open().timeline("t")


ODD_STATES: list[dict[str, Any]] = [
    {"status": "GONE"},
    {"iteration": "5"},
    {"seconds": None},
    {"seconds": float("nan")},
    {"plan_number": "x"},
    {"lineage": 5},
    {"steps": {"a": {}}},
    {"asks": 5},
    {"asks": [{"x": 1}]},
    {"history": [{"plan": "1:x"}]},
    {"limits": {"max_iterations": "x"}},
    {"plan": {"steps": [{}]}},
]
EMPTY = {"v": 4, "id": "00", "ts": "", "channel_versions": {}, "versions_seen": {}}
GONE = [{**EMPTY, "channel_values": values} for values in ODD_STATES]
CHANGED = [
    *(f"checkpoints SET {column} = {value}" for column in ("type", "checkpoint") for value in ("NULL", "-7", "x'ff'")),
    *(f"checkpoints SET checkpoint = x'{_stored().dumps_typed(value)[1].hex()}'" for value in ({}, None, "x", *GONE)),
    *(f"checkpoints SET metadata = {value}" for value in ("NULL", "-7", "x'ff'", "''", "'{'", "'null'", "'{}'")),
    *(f"writes SET {column} = {value}" for column in ("type", "value") for value in ("NULL", "x'ff'")),
]


async def test_a_checkpoint_that_somebody_has_pickled_is_one_clear_error_and_runs_nothing(
    house: House, tmp_path: Path
) -> None:
    class Runs:
        def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
            return os.mkdir, (tmp_path / "ran",)

    await house.open().run("g", thread_id="t")
    with closing(sqlite3.connect(house.path)) as connection:
        connection.execute("UPDATE checkpoints SET type = 'pickle', checkpoint = ?", [pickle.dumps(Runs())])
        connection.commit()
    with pytest.raises(CorruptError):
        await house.open().result("t")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("is_of_the_run_before", [False, True])
@pytest.mark.parametrize("changed", CHANGED)
async def test_a_corrupt_checkpoint_is_one_clear_error_on_every_way_in_and_nothing_runs(
    house: House, changed: str, *, is_of_the_run_before: bool
) -> None:
    await house.open().run("g", thread_id="t")
    execute(house.path, f"UPDATE {changed}")
    if is_of_the_run_before:  # and the process of the last one died before it left a checkpoint
        execute(house.path, "UPDATE agentic_runs SET entry = '{}'")
    before = written_in(house.path)
    for attempt in ways_in(house):
        with pytest.raises(DatabaseError, match=CORRUPT):
            await attempt()
    assert (written_in(house.path), len(house.act.calls)) == (before, 1)


CORRUPT = (
    r"The database .*runs\.db cannot be used: the checkpoint of the thread t is corrupt \(.+\)\. "
    r"It was left as it is; put back a copy of the database \(a SQLite file:"
)


def ways_in(house: House) -> list[Callable[[], Any]]:
    """Return all that somebody may do to the run of the thread t."""

    async def streamed() -> None:
        async for _ in house.open().resume_stream(thread_id="t"):
            pass

    return [
        lambda: house.open().result("t"),
        lambda: house.open().metadata_of("t"),
        lambda: house.open().prune(timedelta(0)),
        lambda: house.open().resume(thread_id="t"),
        lambda: house.open().resume(approve(), thread_id="t"),
        streamed,
        lambda: house.open().run("another goal", thread_id="t"),
        lambda: house.open().cancel("t"),
    ]


UNREADABLE = "checkpoints SET checkpoint = x'00ff'"
BAD_STEP = {"status": "COMPLETE", "plan": {"steps": [{"name": "first", "action": "act", "timeout": "x"}]}}
UNTELLABLE = _stored().dumps_typed({**EMPTY, "channel_values": BAD_STEP})[1].hex()


@pytest.mark.parametrize(
    "changed",
    [
        UNREADABLE,
        f"checkpoints SET checkpoint = x'{UNTELLABLE}'",
        *(f"agentic_calls SET outcome = '{text}'" for text in ("{", "{}", "[1]", '[1, "x"]', "[1, 2, 3]", "1")),
    ],
)
async def test_a_corrupt_run_is_listed_as_that_and_keeps_no_other_from_being_listed_and_pruned(
    house: House, changed: str
) -> None:
    plan = {"goal": "g", "steps": [{"name": "first", "action": "act"}]}
    done = [await house.open().run("g", plan=plan, thread_id=thread) for thread in "abc"]
    where = "thread_id = 'b'" if "checkpoints" in changed else f"run_id = '{done[1]['run_id']}'"
    execute(house.path, f"UPDATE {changed} WHERE {where}")
    told = {run["thread_id"]: (run["state"], run["reason"]) for run in await house.open().runs()}
    assert (told["a"], told["c"], told["b"][0]) == (("COMPLETE", None), ("COMPLETE", None), "CORRUPT")
    assert "is corrupt" in told["b"][1]
    if changed == UNREADABLE:
        with pytest.raises(DatabaseError, match=r"removed: c, a\. One stays: .* of the thread b is corrupt"):
            await house.open().prune(timedelta(0))
        assert [run["thread_id"] for run in await house.open().runs()] == ["b"]
    else:
        assert sorted(await house.open().prune(timedelta(0))) == ["a", "b", "c"]  # what it has done is not asked for


@pytest.mark.parametrize("at", range(1, 4))
async def test_a_database_that_is_away_for_a_moment_is_not_told_as_corrupt(
    house: House, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.open().run("g", thread_id="t")
    begun, begin = 0, SqliteBackend.begin

    def away(backend: SqliteBackend) -> SqliteBackend:
        nonlocal begun
        begun += 1
        if begun == at:
            raise sqlite3.OperationalError("database is locked")
        return begin(backend)

    monkeypatch.setattr(SqliteBackend, "begin", away)
    with pytest.raises(DatabaseError, match="locked") as told:
        await house.open().result("t")
    assert not isinstance(told.value, CorruptError)


async def test_a_journal_that_lacks_what_its_checkpoint_has_seen_repeats_nothing(house: House) -> None:
    asked = await house.open().run("g", thread_id="t")
    execute(house.path, "DELETE FROM agentic_calls WHERE step = 'first'")
    for answers in (approve(asked["reviews"][0]["id"]), None):
        with pytest.raises(RunError, match="does not know of first, which ended as the checkpoint says"):
            await house.open().resume(answers, thread_id="t")
    assert len(house.act.calls) == 1


async def test_an_answer_that_was_used_by_nothing_is_asked_for_again(house: House) -> None:
    asked = await house.open().run("g", thread_id="t")
    async with house.open()._opened("t") as run:
        await run.answer(approve(asked["reviews"][0]["id"]))
    execute(house.path, "UPDATE agentic_answers SET used = 1")
    again = await house.open().resume(thread_id="t")
    assert (again["state"], len(house.act.calls)) == ("REVIEWING", 1)
    assert [one["step"] for one in again["reviews"]] == ["second"]


@pytest.mark.parametrize("text", ["{", "null", "eA==", "", "\xff"])
async def test_a_corrupt_plan_is_one_clear_error_and_nothing_runs(house: House, text: str) -> None:
    await house.open().run("g", thread_id="t")
    execute(house.path, f"UPDATE agentic_plans SET plan = '{text}'")
    execute(house.path, "UPDATE agentic_runs SET entry = '{}'")  # as if its process had died before a checkpoint
    with pytest.raises(
        DatabaseError, match=r"The journal cannot be used: the row of plan 1 of the run .* in agentic_plans is corrupt"
    ):
        await house.open().resume(thread_id="t")
    assert len(house.act.calls) == 1


# Threads.


@pytest.mark.parametrize("thread", THREADS, ids=range(len(THREADS)))
async def test_a_thread_may_be_called_anything(house: House, thread: str) -> None:
    asked = await house.open().run("g", thread_id=thread)
    assert (asked["thread_id"], (await house.open().result(thread))["state"]) == (thread, "REVIEWING")
    assert (await house.open().resume(approve(), thread_id=thread))["state"] == "COMPLETE"
    assert [run["thread_id"] for run in await house.open().runs()] == [thread]
    assert len(house.act.calls) == 2


@pytest.mark.parametrize("thread", ["a\0b", "\udcff"], ids=["nul", "surrogate"])
async def test_a_name_that_no_database_can_hold_is_refused_or_works(house: House, thread: str) -> None:
    try:
        asked = await house.open().run("g", thread_id=thread)
    except WorkflowError:
        assert (house.act.calls, await house.open().runs()) == ([], [])
    else:
        assert (await house.open().result(thread))["state"] == asked["state"]
        assert (await house.open().resume(approve(), thread_id=thread))["state"] == "COMPLETE"
        assert [run["thread_id"] for run in await house.open().runs()] == [thread]


# Results.


async def test_a_result_of_a_hundred_megabytes_is_kept_or_refused_and_ends_the_run_cleanly(house: House) -> None:
    house.act = RecordingAction("act", result="x" * 100_000_000, read_only=False, destructive=False)
    plan = {"goal": "g", "steps": [PLAN["steps"][0]]}  # type: ignore[index]  # a list of steps
    result = await house.open().run("g", plan=plan, thread_id="t")
    again = await house.open().result("t")
    assert (again["state"], again["outputs"] == result["outputs"]) == (result["state"], True)
    assert (result["state"], len(result["outputs"]["x"])) == ("COMPLETE", 100_000_000) or result["reason"]
    assert len(house.act.calls) == 1


# A database that goes while the run is under way.


@pytest.fixture
def ordinary_user(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Be somebody whom file modes bind, in a folder of the own; connections are opened anew all the time."""
    monkeypatch.setattr("agentic_workflows.journal.writer.IDLE_SECONDS", 0.02)
    with tempfile.TemporaryDirectory() as name:
        is_root = os.getuid() == 0
        if is_root:
            os.chown(name, 65_534, 65_534)
            os.setresuid(65_534, 65_534, 0)
        try:
            yield Path(name)
        finally:
            if is_root:
                os.setresuid(0, 0, 0)


def make_read_only(path: Path) -> None:
    for file in path.parent.iterdir():
        file.chmod(0o444)
    path.parent.chmod(0o555)


def make_writable(path: Path) -> None:
    path.parent.chmod(0o755)
    for file in path.parent.iterdir():
        file.chmod(0o644)


def take_away(path: Path) -> None:
    for file in list(path.parent.iterdir()):
        file.rename(path.parent.with_name(path.parent.name + "-" + file.name))


def bring_back(path: Path) -> None:
    for file in list(path.parent.iterdir()):
        file.unlink()
    for file in list(path.parent.parent.glob(path.parent.name + "-*")):
        file.rename(path.parent / file.name.removeprefix(path.parent.name + "-"))


@pytest.mark.parametrize(
    "goes, comes", [(make_read_only, make_writable), (take_away, bring_back)], ids=["read-only", "away"]
)
async def test_a_database_that_goes_in_the_middle_is_one_clear_error_and_the_run_goes_on_later(
    ordinary_user: Path, goes: Callable[[Path], None], comes: Callable[[Path], None]
) -> None:
    (ordinary_user / "data").mkdir()
    path, world = ordinary_user / "data" / "runs.db", list[str]()

    async def act(call: ActionCall) -> str:
        world.append(call.step.name)
        if call.step.name == "b" and world.count("b") == 1:
            goes(path)
            await asyncio.sleep(0.5)
        return "x"

    steps = [{"name": name, "action": "act", "inputs": {"x": name}} for name in "abc"]
    actions = [Action(name="act", run=act, annotations=Annotations(destructive=False, open_world=False))]

    def opened() -> AgenticWorkflow:
        return AgenticWorkflow(
            ScriptedAgent([{"goal": "g", "steps": steps}]), actions=actions, database=Database(path, lease_seconds=1)
        )

    with pytest.raises((DatabaseError, RunError)):
        await opened().run("g", thread_id="t")
    assert world == ["a", "b"]
    comes(path)
    await asyncio.sleep(1.2)  # this process could not give its lease back
    asked = await opened().resume(thread_id="t")
    assert (asked["state"], [one["step"] for one in asked["reviews"]], world) == ("REVIEWING", ["b"], ["a", "b"])


def delete(path: Path) -> None:
    for file in path.parent.glob("runs.db*"):
        file.unlink()


def replace(path: Path) -> None:
    delete(path)
    path.touch()


def delete_log(path: Path) -> None:
    path.with_name("runs.db-wal").unlink()


def put_back(path: Path) -> None:
    copy = path.with_name("copy.db")
    with closing(sqlite3.connect(path)) as current, closing(sqlite3.connect(copy)) as copied:
        current.backup(copied)
    delete(path)
    copy.replace(path)


@pytest.mark.parametrize("idle", [2.0, 0.05], ids=["open", "closed meanwhile"])
@pytest.mark.parametrize("goes", [delete, replace, delete_log, put_back])
async def test_a_database_file_that_is_deleted_in_the_middle_ends_the_run_before_its_next_effect(
    house: House, goes: Callable[[Path], None], idle: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "IDLE_SECONDS", idle)
    monkeypatch.setattr(lease, "LOOK_SECONDS", 5.0)
    world = list[str]()

    async def act(call: ActionCall) -> str:
        world.append(call.step.name)
        if call.step.name == "b":
            await asyncio.sleep(0.2)
            goes(Path(house.path))
        return "x"

    steps = [{"name": name, "action": "act", "inputs": {"x": name}} for name in "abc"]
    actions = [Action(name="act", run=act, annotations=Annotations(destructive=False, open_world=False))]
    workflow = AgenticWorkflow(ScriptedAgent([]), actions=actions, database=house.path)
    # Which one it is depends on who looks first: the heartbeat, or the outcome of the step.
    told = r"runs\.db, or its -wal, was moved, deleted or replaced|runs\.db cannot be used|is not held any more"
    with pytest.raises((DatabaseError, RunError), match=told):
        await workflow.run("g", plan={"goal": "g", "steps": steps}, thread_id="t")
    assert world == ["a", "b"]
