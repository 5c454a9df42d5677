"""What `prune` removes, and what it leaves because somebody could go on with it: the same in every database."""

import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from copy import copy
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

import psycopg
import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command

from agentic_workflows import (
    ActionCall,
    AgenticWorkflow,
    RunError,
    ScriptedAgent,
    action,
    approve,
    build_graph,
)
from agentic_workflows.graph.state import State
from agentic_workflows.graph.values import JsonObject
from agentic_workflows.journal.database import Database
from agentic_workflows.journal.memory_journal import MemoryJournal
from agentic_workflows.journal.rows import LARGE
from agentic_workflows.testing import RecordingAction

if TYPE_CHECKING:
    from agentic_workflows.journal.entries import Journal

NOW, LONG_AGO = timedelta(0), timedelta(days=1)
THREAD: Any = {"configurable": {"thread_id": "t"}}
ASKS = {
    "steps": [
        {"name": "act", "action": "act", "outputs": ["x"]},
        {"name": "send", "action": "send", "inputs": {"x": "${x}"}, "human_review_required": True},
    ]
}
ACTS = {"steps": [{"name": "act", "action": "act", "outputs": ["x"]}]}


class Outer(TypedDict):
    """Of a graph that is not ours, with two names that our state has, too."""

    goal: str
    status: str


class Other(TypedDict):
    """Of a graph that is not ours, with no name that our state has."""

    question: str
    answer: str


def yes(asked: Any) -> Command[Any]:
    """Return the approval of the one question that a graph has come to."""
    (question,) = asked["__interrupt__"][0].value["action_requests"]
    return Command(resume={"decisions": [{"type": "approve", "id": question["id"]}]})


def answering(inner: Any) -> Any:
    async def node(state: Other) -> dict[str, Any]:
        return {"answer": (await inner.ainvoke({"goal": state["question"]}))["status"]}

    return node


def inside(inner: Any, saver: Any = None, *, name: str = "agent", state: Any = Outer) -> Any:
    builder: Any = StateGraph(state)
    builder.add_node(name, inner)
    builder.add_edge(START, name)
    return builder.compile(checkpointer=saver)


def called(inner: Any, *, times: int = 1) -> Any:
    async def node(state: Outer) -> Outer:
        ended = [await inner.ainvoke({"goal": state["goal"]}) for _ in range(times)]
        return {"goal": state["goal"], "status": ended[-1]["status"]}

    return node


SHAPES: dict[str, tuple[Callable[[Any, Any], Any], dict[str, Any], int]] = {
    "a node": (inside, {}, 1),
    "two deep": (lambda inner, saver: inside(inside(inner, name="in"), saver), {}, 1),
    "called by a node": (lambda inner, saver: inside(called(inner), saver), {}, 1),
    "called by a node, two deep": (lambda inner, saver: inside(inside(called(inner)), saver), {}, 1),
    "called twice": (lambda inner, saver: inside(called(inner, times=2), saver), {}, 2),
    "one that keeps its state": (inside, {"checkpointer": True}, 1),
    "a node with a name of ours": (lambda inner, saver: inside(inner, saver, name="execute"), {}, 1),
}


class House:
    """A database, and graphs of ours over it, alone or inside others."""

    def __init__(self, url: str | Path) -> None:
        self.url = url
        self.database = Database(url)
        self.act = RecordingAction("act", result="x", read_only=False, destructive=False, trusted=True)
        self.send = RecordingAction("send", result="sent", read_only=False, destructive=False)

    def graph(self, plan: dict[str, Any] = ACTS, **options: Any) -> Any:
        agent = ScriptedAgent([plan] * 9)
        return build_graph(agent, actions=[self.act, self.send], database=self.database, **options)

    def workflow(self, plan: dict[str, Any] = ACTS, *actions: Any) -> AgenticWorkflow:
        known = [self.act, self.send, *actions]
        return AgenticWorkflow(ScriptedAgent([plan] * 9), 50, actions=known, database=self.database)

    async def prune(self, savers: Sequence[BaseCheckpointSaver[Any]] | None = None) -> list[str]:
        return await self.workflow().prune(NOW, savers=savers)

    async def threads(self) -> list[str]:
        return await self.database.journal.threads()

    async def rows(self) -> dict[str, int]:
        """Return how many rows each table has, where it has any, but for the versions of the tables."""
        if isinstance(self.database.journal, MemoryJournal):
            async with self.database.checkpointer() as saver:
                saved = {"checkpoints": [one async for one in saver.alist(None)]} | {
                    name: getattr(saver, name) for name in ("writes", "blobs")
                }
            kept = {name: value for name, value in vars(self.database.journal).items() if isinstance(value, dict)}
            return {name: len(value) for name, value in (saved | kept).items() if value}
        counted = {table: count(self.url, table) for table in tables_of(self.url)}
        versions = {"agentic_version", "checkpoint_migrations"}
        return {table: rows for table, rows in counted.items() if rows and table not in versions}


def read(url: str | Path, statement: str) -> list[Any]:
    opened: Any = sqlite3.connect(url) if isinstance(url, Path) else psycopg.connect(url)
    with closing(opened) as connection:
        return [row[0] for row in connection.execute(statement).fetchall()]


def tables_of(url: str | Path) -> list[str]:
    if isinstance(url, Path):
        return read(url, "SELECT name FROM sqlite_master WHERE type = 'table'")
    return read(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")


def count(url: str | Path, table: str) -> int:
    return int(read(url, f"SELECT count(*) FROM {table}")[0])


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def house(request: pytest.FixtureRequest, tmp_path: Path, new_postgres: Callable[[], str]) -> House:
    urls = {"memory": lambda: "memory", "sqlite": lambda: tmp_path / "runs.db", "postgres": new_postgres}
    return House(urls[request.param]())


# What is gone.


async def test_of_a_pruned_run_no_table_keeps_anything(house: House) -> None:
    house.act = RecordingAction("act", result="x" * 2 * LARGE, read_only=False, destructive=False, trusted=True)
    await house.workflow(ASKS).run("g", thread_id="t")
    await house.workflow(ASKS).resume(approve(), thread_id="t")
    await house.workflow(ASKS).run("again", thread_id="t")
    done = await house.workflow(ASKS).resume(approve(), thread_id="t")
    await house.database.journal.request("t", "cancel")  # it came when the run was over
    assert (done["state"], len(await house.rows()) > 5) == ("COMPLETE", True)
    assert await house.workflow().prune(LONG_AGO) == []
    assert await house.prune() == ["t"]
    assert await house.rows() == {}


async def test_what_a_pruned_run_shared_with_another_one_stays_with_that(house: House) -> None:
    house.act = RecordingAction("act", result="x" * 2 * LARGE, read_only=False, destructive=False, trusted=True)
    asked = await house.workflow(ASKS).run("g", thread_id="waits")
    before = (await house.database.journal.past(asked["run_id"])).outcomes
    await house.workflow(ACTS).run("g", thread_id="t")
    assert (await house.prune(), await house.threads()) == (["t"], ["waits"])
    assert (await house.database.journal.past(asked["run_id"])).outcomes == before
    assert before[0].outcome.sources is not None
    assert (await house.workflow(ASKS).resume(approve(), thread_id="waits"))["state"] == "COMPLETE"
    assert house.send.calls == [{"x": "x" * 2 * LARGE}]


async def test_a_finished_run_whose_next_goal_has_just_come_in_stays(house: House) -> None:
    async with house.database.checkpointer() as saver:
        graph = house.graph(checkpointer=saver)
        await graph.ainvoke({"goal": "one"}, THREAD)
        await graph.ainvoke({"goal": "two"}, THREAD, interrupt_before=["plan"])
        assert (await house.prune(), await house.threads()) == ([], ["t"])
        assert (await graph.ainvoke(None, THREAD))["goal"] == "two"
    assert (await house.prune(), await house.rows()) == (["t"], {})


@pytest.mark.parametrize("at", ["before it forgets", "before the saver deletes", "after it has forgotten"])
async def test_a_prune_that_was_frozen_beyond_its_lease_removes_nothing_more(house: House, at: str) -> None:
    frozen = Freezing(house.url, at=at)
    house.database = frozen
    await house.workflow(ASKS).run("g", thread_id="t")
    await house.workflow(ASKS).resume(approve(), thread_id="t")
    begun = list[str]()

    async def begin_another() -> None:
        begun.append((await house.workflow(ASKS).run("another", thread_id="t"))["state"])

    frozen.meanwhile = begin_another
    gone = await house.prune()
    if not begun:
        await begin_another()
    assert (gone, begun) == ([] if at == "before it forgets" else ["t"], ["REVIEWING"])
    another = await house.workflow(ASKS).resume(approve(), thread_id="t")
    assert (another["state"], another["goal"], len(house.act.calls), len(house.send.calls)) == (
        "COMPLETE", "another", 2, 2,
    )  # fmt: skip


class Freezing(Database):
    """A database whose process keeps no lease, and at one place does not run for longer than one lasts."""

    def __init__(self, url: str | Path, *, at: str) -> None:
        self._now, self._at = time.time(), at
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        super().__init__(url, clock=lambda: self._now)
        self.leases.journal = cast("Journal", FrozenJournal(self.leases.journal, self.is_at))
        self.leases._beat = self._keep_nothing  # type: ignore[method-assign]

    async def _keep_nothing(self, together: object) -> None:
        """Take the place of what keeps leases."""

    async def is_at(self, place: str) -> None:
        """Have something done meanwhile, where the process has come to its place."""
        if place == self._at and self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            self._now += 31
            await meanwhile()

    @asynccontextmanager
    async def checkpointer(self) -> AsyncIterator[BaseCheckpointSaver[Any]]:
        async with super().checkpointer() as whole:
            saver = copy(whole)

            async def adelete_thread(thread_id: str) -> None:
                await self.is_at("before the saver deletes")
                await whole.adelete_thread(thread_id)

            saver.adelete_thread = adelete_thread  # type: ignore[method-assign]
            yield saver


class FrozenJournal:
    """A journal that tells when it forgets something."""

    def __init__(self, whole: "Journal", is_at: Callable[[str], Awaitable[None]]) -> None:
        self._whole, self._is_at = whole, is_at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)

    async def forget(self, *what: Any, **options: bool) -> None:
        await self._is_at("before it forgets")
        await self._whole.forget(*what, **options)
        await self._is_at("after it has forgotten")


# Inside a graph that is not ours.


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_run_inside_another_graph_goes_once_the_thread_of_that_is_gone(house: House, shape: str) -> None:
    make, options, runs = SHAPES[shape]
    async with house.database.checkpointer() as saver:
        ended = await make(house.graph(**options), saver).ainvoke({"goal": "g"}, THREAD)
        inner = sorted(await house.threads())
        assert (ended["status"], len(house.act.calls), len(inner)) == ("COMPLETE", runs, runs)
        for savers in (None, [], [InMemorySaver()]):
            assert await house.prune(savers) == []
        await saver.adelete_thread("t")
    assert await house.prune() == []  # it could be kept elsewhere
    assert await house.workflow().prune(LONG_AGO, savers=[]) == []
    assert sorted(await house.prune([])) == inner
    assert await house.rows() == {}


@pytest.mark.parametrize("durability", ["exit", "sync"])
async def test_an_earlier_checkpoint_of_the_thread_still_leads_into_the_run_inside(
    house: House, durability: Any
) -> None:
    async with house.database.checkpointer() as saver:
        graph = inside(house.graph(ASKS), saver)
        asked = await graph.ainvoke({"goal": "g"}, THREAD, durability=durability)
        waiting = (await graph.aget_state(THREAD)).config
        assert await house.prune([]) == []
        assert (await graph.ainvoke(yes(asked), THREAD, durability=durability))["status"] == "COMPLETE"
        assert await house.prune([]) == []
        assert (await graph.ainvoke(yes(asked), waiting, durability=durability))["status"] == "COMPLETE"
    assert (len(house.act.calls), len(house.send.calls)) == (1, 1)


async def test_a_run_inside_a_graph_that_is_kept_elsewhere_stays_until_that_is_looked_at(house: House) -> None:
    elsewhere, other = InMemorySaver(), InMemorySaver()
    graph = inside(house.graph(ASKS), elsewhere)
    asked = await graph.ainvoke({"goal": "g"}, THREAD)
    for savers in (None, [elsewhere], [other, elsewhere]):
        assert await house.prune(savers) == []
    assert (await graph.ainvoke(yes(asked), THREAD))["status"] == "COMPLETE"
    assert (len(house.act.calls), len(house.send.calls)) == (1, 1)
    assert await house.prune([elsewhere]) == []
    await elsewhere.adelete_thread("t")
    inner = await house.threads()
    assert (await house.prune([other, elsewhere]), await house.rows()) == (inner, {})


@pytest.mark.parametrize("error", [NotImplementedError(), ValueError("of a type that is not known here")])
async def test_a_saver_that_cannot_tell_what_it_has_keeps_everything(house: House, error: Exception) -> None:
    class Silent(InMemorySaver):
        def alist(self, *_: Any, **__: Any) -> Any:
            raise error

    await inside(house.graph(), InMemorySaver()).ainvoke({"goal": "g"}, THREAD)
    before = await house.rows()
    if isinstance(error, NotImplementedError):
        with pytest.raises(RunError, match="Silent cannot be asked here"):
            await house.prune([Silent()])
    else:
        assert await house.prune([Silent()]) == []
    assert await house.rows() == before


async def test_a_run_whose_checkpoints_are_elsewhere_stays_as_one_inside_does(house: House) -> None:
    elsewhere = InMemorySaver()
    await house.graph(checkpointer=elsewhere).ainvoke({"goal": "g"}, THREAD)
    assert [await house.prune(savers) for savers in (None, [elsewhere])] == [[], []]
    await elsewhere.adelete_thread("t")
    assert (await house.prune([elsewhere]), await house.rows()) == (["t"], {})


@pytest.mark.parametrize("state", [Outer, State, Other])
async def test_no_thread_of_another_graph_is_taken_for_a_run_of_ours(house: House, state: Any) -> None:
    async with house.database.checkpointer() as saver:
        inner = house.graph(ASKS)
        graph = inside(answering(inner) if state is Other else inner, saver, state=state)
        given: Any = {"goal": "g"} if state is not Other else {"question": "g"}
        for _ in range(2):
            given = yes(asked) if (asked := await graph.ainvoke(given, THREAD)).get("__interrupt__") else None
            before = [(one.config, one.checkpoint) async for one in saver.alist(THREAD)]
            await nothing_can_be_done_with("t", house.workflow())
            assert await house.prune([]) == []
            assert [(one.config, one.checkpoint) async for one in saver.alist(THREAD)] == before
    assert (len(house.act.calls), len(house.send.calls)) == (1, 1)


async def nothing_can_be_done_with(thread: str, workflow: AgenticWorkflow) -> None:
    ways_in: list[Any] = [
        lambda: workflow.result(thread),
        lambda: workflow.resume(thread_id=thread),
        lambda: workflow.cancel(thread),
        lambda: workflow.run("g", thread_id=thread),
    ]
    for way_in in ways_in:
        with pytest.raises(RunError, match=rf"There is no run '{thread}'|The thread {thread} belongs to another graph"):
            await way_in()


async def test_a_run_inside_is_looked_at_by_its_name_and_gone_on_with_by_its_graph_alone(house: House) -> None:
    async with house.database.checkpointer() as saver:
        graph, workflow = inside(house.graph(ASKS), saver), house.workflow(ASKS)
        asked = await graph.ainvoke({"goal": "g"}, THREAD)
        (listed,) = await workflow.runs()
        name = listed["thread_id"]
        assert (listed["state"], listed["outer"], listed["goal"], len(listed["reviews"])) == ("REVIEWING", "t", "g", 1)
        assert await workflow.result(name) == listed
        ways_in: list[Any] = [
            lambda: workflow.resume(approve(), thread_id=name),
            lambda: workflow.cancel(name),
            lambda: workflow.run("g", thread_id=name),
        ]
        for way_in in ways_in:
            with pytest.raises(RunError, match="is a part of the thread t; go on with that one"):
                await way_in()
        assert (await graph.ainvoke(yes(asked), THREAD))["status"] == "COMPLETE"
        assert ((await workflow.result(name))["state"], len(house.send.calls)) == ("COMPLETE", 1)
        await saver.adelete_thread("t")
    left = await workflow.result(name)
    assert (left["state"], left["outer"], left["goal"], len(left["steps"])) == ("UNKNOWN", "", "g", 2)
    assert [one["state"] for one in await workflow.runs()] == ["UNKNOWN"]


# Inside a run of ours.


def nesting(house: House) -> AgenticWorkflow:
    """Return a workflow whose action runs a graph of ours."""

    @action(destructive=False, trusted=True)
    async def nested(goal: str) -> str:
        """Run it."""
        ended = await house.graph().ainvoke({"goal": goal})
        return str(ended["status"])

    step = {"name": "nested", "action": "nested", "inputs": {"goal": "inner"}, "outputs": ["x"]}
    return house.workflow({"steps": [step, ASKS["steps"][1]]}, nested)


async def test_a_run_inside_a_run_of_ours_goes_with_it_and_not_before(house: House) -> None:
    asked = await nesting(house).run("g", thread_id="ours")
    (name,) = (one for one in await house.threads() if one != "ours")
    assert (asked["state"], len(house.act.calls)) == ("REVIEWING", 1)
    assert [await house.prune(savers) for savers in (None, [])] == [[], []]
    assert (await nesting(house).resume(approve(), thread_id="ours"))["state"] == "COMPLETE"
    assert await house.workflow().prune(LONG_AGO, savers=[]) == []
    assert (await house.prune(), await house.rows()) == (["ours", name], {})


async def test_a_run_on_a_thread_that_is_named_by_the_key_of_a_call_goes_after_the_run_of_that(house: House) -> None:
    @action(destructive=False, idempotent=True)
    async def delegate(call: ActionCall) -> str:
        """Have a run of its own do it."""
        return str((await house.workflow().run("inner", thread_id=call.idempotency_key))["state"])

    steps = [{"name": "delegate", "action": "delegate", "outputs": ["x"]}, ASKS["steps"][1]]
    outer = house.workflow({"steps": steps}, delegate)
    assert (await outer.run("g", thread_id="t"))["state"] == "REVIEWING"
    (name,) = (one for one in await house.threads() if one != "t")
    assert (await house.prune(), (await house.workflow().result(name))["state"]) == ([], "COMPLETE")
    assert (await outer.resume(approve(), thread_id="t"))["state"] == "COMPLETE"
    unknown = name.replace(name.partition(":")[0], "of another database")
    await house.workflow().run("g", thread_id=unknown)
    gone = [*await house.prune(), *await house.prune()]
    assert (sorted(gone), await house.rows()) == (sorted(["t", name, unknown]), {})


async def test_a_run_inside_one_of_ours_that_has_left_no_checkpoint_yet_stays(house: House) -> None:
    journal = house.database.journal
    for thread, entry in (("ours", {"given_plan": None}), ("ours|execute:1", None)):
        lease = await journal.acquire(thread, "somebody:1:1:1", 30)
        await journal.begin(lease, f"run of {thread}", "g", cast("JsonObject | None", entry))
        await journal.release(lease)
    assert (await house.prune([]), sorted(await house.threads())) == ([], ["ours", "ours|execute:1"])


async def test_a_run_that_is_only_called_as_one_inside_another_stays(house: House) -> None:
    await house.workflow().run("g", thread_id="ours")
    await house.workflow(ASKS).run("g", thread_id="ours|execute:1")
    assert (await house.prune(), await house.threads()) == (["ours"], ["ours|execute:1"])
    assert (await house.workflow(ASKS).resume(approve(), thread_id="ours|execute:1"))["state"] == "COMPLETE"


@pytest.mark.parametrize("cut_at", ["before", "after"])
async def test_a_prune_of_runs_inside_each_other_that_is_cut_is_finished_by_the_next_one(
    house: House, cut_at: str
) -> None:
    await nesting(house).run("g", thread_id="ours")
    await nesting(house).resume(approve(), thread_id="ours")
    journal = house.database.journal
    house.database.leases.journal = cast("Journal", Cut(journal, at=cut_at))
    with pytest.raises(CutError):
        await house.prune()
    house.database.leases.journal = journal
    await house.prune()
    assert await house.rows() == {}


class CutError(Exception):
    """The process ended."""


class Cut:
    """A journal whose process ends before it forgets something, or after that."""

    def __init__(self, whole: "Journal", *, at: str) -> None:
        self._whole, self._at = whole, at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)

    async def forget(self, *what: Any, **options: bool) -> None:
        if self._at == "after":
            await self._whole.forget(*what, **options)
        raise CutError
