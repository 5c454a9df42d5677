"""What every journal keeps to: in memory, in SQLite, in Postgres."""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import psycopg
import pytest

from agentic_workflows.errors import DatabaseError, ExpiredError, LeaseLostError, ReviewError, RunBusyError
from agentic_workflows.graph.labels import PLAN, Label, Source
from agentic_workflows.graph.outcome import Outcome, OutcomeStatus
from agentic_workflows.graph.state import Request
from agentic_workflows.journal.backends import PostgresBackend, SqliteBackend
from agentic_workflows.journal.entries import Answered, Intent, Journal, Known, Lease, Past, Place, Recorded
from agentic_workflows.journal.memory_journal import MemoryJournal
from agentic_workflows.journal.owner import new_owner, unsure_token
from agentic_workflows.journal.rows import LARGE, LONG, Row, outcome_columns, recorded_of, sources_text
from agentic_workflows.journal.sql_journal import SqlJournal
from agentic_workflows.journal.tables import VERSION
from agentic_workflows.journal.writer import Backend, Writer

RUN = "run"
ODD = "\u0000 \n \x7f 'quoted\" %s %(x)s :name $1 \\ ä 中 🙂 \u202e \ufffe"
ODD_NAME = ODD.replace("\u0000", "")


async def renewed(journal: Journal, lease: Lease, seconds: float = 30) -> Request | None:
    """Return what somebody asked of a run whose lease is kept, or raise that it is lost."""
    (found,) = await journal.renew_all([lease], seconds)
    if isinstance(found, LeaseLostError):
        raise found
    return found


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Counting:
    """A backend that counts what is committed."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.commits = 0

    def commit(self) -> None:
        self.commits += 1
        self._backend.commit()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


class Pruned(Counting):
    """A backend beside which somebody removes a lease just before it is looked at."""

    def __init__(self, backend: Any) -> None:
        super().__init__(backend)
        self.prunes = 1

    def begin(self) -> "Pruned":
        self._backend.begin()
        return self

    def send(self, name: str, /, **values: Any) -> Any:
        if name == "lease" and self.prunes:
            self.prunes -= 1
            self._backend.send("forget_lease", **values)
        return self._backend.send(name, **values)


class House:
    """One database, and as many journals over it as there are processes."""

    def __init__(self, make_backend: Callable[[], Backend] | None) -> None:
        self.clock = Clock()
        self.backends: list[Counting] = []
        self.kind = Counting
        self._make_backend = make_backend
        self._memory = MemoryJournal(clock=self.clock)

    def open(self, clock: Clock | None = None) -> Journal:
        """Open the journal as another process would: on a writer of its own."""
        if self._make_backend is None:
            return self._memory
        self.backends.append(self.kind(self._make_backend()))
        writer = Writer("the database", partial(cast, "Backend", self.backends[-1]))
        return SqlJournal(writer, clock=clock or self.clock)


def sqlite_backend(path: Path) -> Callable[[], Backend]:
    path.touch()
    return lambda: SqliteBackend(path)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def house(request: pytest.FixtureRequest, tmp_path: Path, new_postgres: Callable[[], str]) -> House:
    if request.param == "memory":
        return House(None)
    if request.param == "sqlite":
        return House(sqlite_backend(tmp_path / "j.db"))
    url = new_postgres()
    return House(lambda: PostgresBackend(url))


@pytest.fixture(params=["sqlite", "postgres"])
def shared(request: pytest.FixtureRequest, tmp_path: Path, new_postgres: Callable[[], str]) -> House:
    """A database that two processes can share."""
    if request.param == "sqlite":
        return House(sqlite_backend(tmp_path / "j.db"))
    url = new_postgres()
    return House(lambda: PostgresBackend(url))


@pytest.fixture
def journal(house: House) -> Journal:
    return house.open()


@pytest.fixture
async def lease(journal: Journal) -> Lease:
    return await journal.acquire("t", new_owner(), 30)


def intent(step: str = "s", attempt: int = 0, *, item: int = -1, key: str = "k", occurrence: int = 0) -> Intent:
    place = Place("1:plan", step, item)
    at = "2026-01-01T00:00:00Z"
    return Intent(place=place, attempt=attempt, action="act", key=key, occurrence=occurrence, at=at, token=3)


def outcome_of(
    one: Intent, result: Any = "done", status: OutcomeStatus = OutcomeStatus.SUCCEEDED, *, label: Label | None = None
) -> Recorded:
    outcome = Outcome(status=status, result=result, attempts=1, started=one.at, sources=label)
    return Recorded(intent=one, outcome=outcome)


def answer_row(review_id: str, kind: str = "approve", run_id: str = RUN) -> Answered:
    return Answered(
        review_id=review_id, run_id=run_id, answer={"type": kind}, reviewer=ODD_NAME, at="2026-01-01T00:00:00+00:00"
    )


async def unused(journal: Journal, run_id: str = RUN) -> dict[str, Any]:
    """Return the answers that have not counted for a call yet."""
    return {one: row.answer for one, row in (await journal.past(run_id)).answers.items() if not row.used}


def dead_owner() -> str:
    """A process of this host that ended: its number is that of one which began at another time."""
    return new_owner().rsplit(".", 1)[0] + ".1:abcd"


# Runs and plans.


async def test_a_run_belongs_to_the_thread_that_began_it_first(journal: Journal, lease: Lease) -> None:
    assert await journal.run_of(RUN) is None
    await journal.begin(lease, RUN, ODD_NAME)
    await journal.begin(await journal.acquire("other", new_owner(), 30), RUN, "again")
    assert await journal.run_of(RUN) == ("t", ODD_NAME)


async def test_the_first_plan_of_a_number_counts(journal: Journal, lease: Lease) -> None:
    first = {"goal": ODD, "steps": []}
    assert await journal.proposed(RUN, 1) is None
    assert await journal.propose(lease, RUN, 1, first) == first
    assert await journal.propose(lease, RUN, 1, {"goal": "other"}) == first
    assert await journal.propose(lease, RUN, 2, {"goal": "second"}) == {"goal": "second"}
    assert (await journal.proposed(RUN, 1), await journal.proposed("another run", 1)) == (first, None)


async def test_the_next_plan_is_that_of_the_first_planner_call_that_gave_one(journal: Journal, lease: Lease) -> None:
    for number in (4, 2):
        await journal.propose(lease, RUN, number, {"goal": str(number)})
    found = [await journal.next_plan(RUN, number) for number in (1, 2, 3, 5)]
    assert found == [(2, {"goal": "2"}), (2, {"goal": "2"}), (4, {"goal": "4"}), None]
    assert await journal.next_plan("another run", 1) is None


@pytest.mark.parametrize("length", [LONG - 40, LONG, 40 * LONG])
async def test_a_plan_of_any_length_is_read_as_it_was_written(journal: Journal, lease: Lease, length: int) -> None:
    plan = {"goal": ODD, "steps": [{"name": "a", "inputs": {"text": '{ä"' * (length // 4)}}]}
    assert await journal.propose(lease, RUN, 1, plan) == plan
    await journal.begin(lease, RUN, "g", {})
    begun = await journal.begun("t")
    assert begun is not None
    told = [one["plan"] for one in await journal.timeline("t") if one["what"] == "plan"]
    assert [await journal.proposed(RUN, 1), begun.plan, *told] == [plan] * 3


async def test_a_run_may_be_begun_with_something_else_until_a_checkpoint_is_kept(
    journal: Journal, lease: Lease
) -> None:
    await journal.begin(lease, RUN, "g", {"limit": 1})
    await journal.amend(lease, RUN, {"limit": 2})
    begun = await journal.begun("t")
    assert begun is not None
    assert begun.entry == {"limit": 2}
    await journal.keep(lease, RUN)
    await journal.amend(lease, RUN, {"limit": 3})
    assert await journal.begun("t") is None


async def test_the_run_that_is_begun_is_told_also_where_the_clock_was_set_back(
    journal: Journal, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    await journal.begin(lease, "first", "g", {})
    await journal.keep(lease, "first")
    for module in ("sql_journal", "memory_journal"):
        monkeypatch.setattr(f"agentic_workflows.journal.{module}._now", lambda: "2000-01-01T00:00:00+00:00")
    await journal.begin(lease, "second", "g", {})
    begun = await journal.begun("t")
    assert begun is not None
    assert begun.run_id == "second"
    await journal.keep(lease, "second")
    assert await journal.begun("t") is None


@pytest.mark.parametrize("entry", [None, {}])
async def test_of_a_thread_no_run_but_the_last_is_begun_again(
    journal: Journal, lease: Lease, entry: dict[str, Any] | None
) -> None:
    other = await journal.acquire("other", new_owner(), 30)
    await journal.begin(other, "beside", "g", {})
    await journal.begin(lease, "first", "g", {})
    await journal.begin(lease, "second", "g", entry)
    await journal.keep(lease, "second")
    beside = await journal.begun("other")
    assert beside is not None
    assert (await journal.begun("t"), beside.run_id) == (None, "beside")


# Calls.


async def test_the_past_has_outcomes_intents_without_one_and_answered_questions(journal: Journal, lease: Lease) -> None:
    done, again = intent("a"), intent("a", 1)
    open_one, item = intent("b", occurrence=1), intent("c", item=3, occurrence=2)
    failed = outcome_of(done, status=OutcomeStatus.FAILED)
    await journal.write(lease, RUN, intents=[done, again, open_one, item])
    await journal.write(lease, RUN, outcomes=[failed, outcome_of(again)])
    await journal.answer(answer_row("q"))
    past = await journal.past(RUN)
    assert sorted(past.outcomes, key=lambda one: one.intent.attempt) == [failed, outcome_of(again)]
    assert (set(past.in_doubt), past.answers.keys()) == ({open_one, item}, {"q"})
    assert past.counts == {"act": 3}
    assert await journal.answers(RUN) == past.answers
    assert (await journal.past("another run"), await journal.answers("another run")) == (Past(), {})


@pytest.mark.parametrize("value", [ODD, {ODD: [ODD, None, True, 1.5, -(2**63), 2**64 - 1]}, [], {}, None, ""])
async def test_any_value_comes_back_as_it_was(journal: Journal, lease: Lease, value: Any) -> None:
    one = outcome_of(intent(ODD_NAME, key=ODD_NAME), value)
    await journal.write(lease, RUN, outcomes=[one])
    assert (await journal.past(RUN)).outcomes == (one,)


async def test_the_rules_that_allowed_a_call_are_kept_with_it(journal: Journal, lease: Lease) -> None:
    effect = replace(intent("act"), rules=("payments", ODD_NAME))
    read = replace(intent("look", key=""), rules=("known-action",))
    await journal.begin(lease, RUN, "g")
    await journal.write(lease, RUN, intents=[effect])
    await journal.write(lease, RUN, outcomes=[outcome_of(effect), outcome_of(read)])
    assert {one.intent.rules for one in (await journal.past(RUN)).outcomes} == {effect.rules, read.rules}
    told = [(one["what"], one["step"], one["rules"]) for one in await journal.timeline("t") if "rules" in one]
    assert sorted(told, key=str) == [
        ("intent", "act", ["payments", ODD_NAME]),
        ("outcome", "act", []),
        ("outcome", "look", ["known-action"]),
    ]


async def test_a_result_may_come_from_very_many_sources(journal: Journal, lease: Lease) -> None:
    label = frozenset(Source("output", "look", field=f"{uuid4()}") for _ in range(300))
    calls = [outcome_of(intent(name, key=name), label=label) for name in "ab"]
    for one in calls:
        await journal.write(lease, RUN, outcomes=[one])
    assert sorted((await journal.past(RUN)).outcomes, key=lambda one: one.intent.place) == calls


async def test_sources_whose_texts_were_made_to_have_one_hash_are_told_apart(journal: Journal, lease: Lease) -> None:
    fields = "pppppiK1ZWeqhFWCEcX8h2HRL42tc", "pppppNljyAmt5nfagLl01cxD3z0R4"  # one `hashtextextended` of Postgres
    calls = [outcome_of(intent(one), label=frozenset({Source("output", "look", one)})) for one in sorted(fields)]
    for one in calls:
        await journal.write(lease, RUN, outcomes=[one])
    assert sorted((await journal.past(RUN)).outcomes, key=lambda one: one.intent.place) == calls


async def test_the_past_of_very_many_calls_lets_others_have_their_turn(
    shared: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, not timed: the rows that are read between two turns of somebody else."""
    read = most = 0

    def counted(row: Row) -> Recorded:
        nonlocal read
        read += 1
        return recorded_of(row)

    monkeypatch.setattr("agentic_workflows.journal.sql_journal.recorded_of", counted)
    journal = shared.open()
    lease = await journal.acquire("t", new_owner(), 30)
    calls = [intent(item=at, key=str(at)) for at in range(3_000)]
    await journal.write(lease, RUN, intents=calls[-1:], outcomes=[outcome_of(one) for one in calls[:-1]])
    reading = asyncio.create_task(journal.past(RUN))
    while not reading.done():
        before = read
        await asyncio.sleep(0)
        most = max(most, read - before)
    past = await reading
    assert sorted(past.outcomes, key=lambda one: one.intent.place) == [outcome_of(one) for one in calls[:-1]]
    assert past.in_doubt == (calls[-1],)
    assert (read, most <= 1_000) == (2_999, True)


async def test_what_is_known_of_the_past_already_is_not_read_again(journal: Journal, lease: Lease) -> None:
    ended = [outcome_of(intent(step, attempt), [step]) for step, attempt in (("a", 0), ("b", 0), ("b", 1))]
    await journal.write(lease, RUN, intents=[intent("c")], outcomes=ended)
    known: Known = {(one.intent.place, one.intent.attempt): one for one in (await journal.past(RUN)).outcomes}
    await journal.write(lease, RUN, outcomes=[outcome_of(intent("c")), outcome_of(intent("b", 2))])
    past = await journal.past(RUN, known=known)
    assert past == await journal.past(RUN)
    assert len(past.outcomes) == 5
    assert {id(one) for one in known.values()} <= {id(one) for one in past.outcomes}
    known = {(one.intent.place, one.intent.attempt): one for one in past.outcomes}
    await journal.write(lease, RUN, intents=[intent("d")])
    assert await journal.past(RUN, known=known) == replace(past, in_doubt=(intent("d"),))


async def test_an_outcome_of_ten_megabytes_is_kept(journal: Journal, lease: Lease) -> None:
    one = outcome_of(intent(), "ä" * 5_000_000)
    await journal.write(lease, RUN, outcomes=[one])
    assert (await journal.past(RUN)).outcomes == (one,)


@pytest.mark.parametrize("name", [ODD_NAME, "a/b", "x" * 5000, "'; DROP TABLE agentic_runs; --"])
async def test_a_thread_may_have_any_name(journal: Journal, name: str) -> None:
    lease = await journal.acquire(name, new_owner(), 30)
    await journal.begin(lease, RUN, "g")
    assert (await journal.run_of(RUN), await journal.threads()) == ((name, "g"), [name])


# Writing.


async def test_nothing_is_written_without_the_lease(house: House, lease: Lease, journal: Journal) -> None:
    house.clock.now += 31
    taken = await journal.acquire("t", new_owner(), 30)
    await journal.begin(taken, "another run", "g")
    writes: list[Callable[[], Any]] = [
        lambda: journal.begin(lease, RUN, "g"),
        lambda: journal.propose(lease, RUN, 1, {}),
        lambda: journal.amend(lease, RUN, {}),
        lambda: journal.keep(lease, "another run"),
        lambda: journal.write(lease, RUN, intents=[intent()]),
        lambda: journal.write(lease, RUN),
        lambda: renewed(journal, lease),
        lambda: journal.forget(lease),
    ]
    for write in writes:
        with pytest.raises(LeaseLostError):
            await write()
    assert (await journal.past(RUN), await journal.run_of(RUN), await journal.proposed(RUN, 1)) == (
        Past(), None, None,
    )  # fmt: skip
    assert await journal.runs("t") == {"another run": "g"}


async def test_who_lost_its_lease_is_told_so_also_where_another_one_has_written_what_it_writes(house: House) -> None:
    mine, other = house.open(), house.open()
    lease = await mine.acquire("t", new_owner(), 30)
    await mine.answer(answer_row("q"))
    house.clock.now += 31
    taken = await other.acquire("t", new_owner(), 30)
    await other.write(taken, RUN, intents=[intent()], outcomes=[outcome_of(intent("a"))], used=["q"])
    late: list[dict[str, Any]] = [
        {"intents": [intent()]},
        {"outcomes": [outcome_of(intent("a"))]},
        {"outcomes": [outcome_of(intent("b"))], "intents": [intent(), intent("c")]},
        {"used": ["q"]},
    ]
    for write in late:
        with pytest.raises(LeaseLostError):
            await mine.write(lease, RUN, **write)
    past = await other.past(RUN)
    assert (past.in_doubt, past.outcomes) == ((intent(),), (outcome_of(intent("a")),))


async def test_who_lost_its_lease_with_its_thread_writes_nothing_under_the_token_of_the_next(
    journal: Journal, lease: Lease
) -> None:
    await journal.forget(lease)
    assert (await journal.acquire("t", new_owner(), 30)).token == lease.token
    writes = partial(journal.write, lease, RUN, intents=[intent()]), partial(journal.begin, lease, RUN, "g")
    for late in (*writes, partial(renewed, journal, lease)):
        with pytest.raises(LeaseLostError):
            await late()
    assert ((await journal.past(RUN)).in_doubt, await journal.runs("t")) == ((), {})


async def test_a_lease_that_was_never_given_writes_nothing(journal: Journal) -> None:
    made_up = Lease(thread_id="unknown", owner="me", token=1, expires=1e12)
    with pytest.raises(LeaseLostError):
        await journal.write(made_up, RUN, intents=[intent()])
    assert await journal.past(RUN) == Past()


async def test_an_answer_is_used_once(journal: Journal, lease: Lease) -> None:
    await journal.answer(answer_row("q"))
    assert await unused(journal) == {"q": {"type": "approve"}}
    await journal.write(lease, RUN, intents=[intent("a")], used=["q"])
    assert await unused(journal) == {}
    with pytest.raises(ReviewError):
        await journal.write(lease, RUN, intents=[intent("b")], used=["q"])
    past = await journal.past(RUN)
    assert (past.in_doubt, past.answers.keys()) == ((intent("a"),), {"q"})


async def test_an_answer_that_does_not_exist_cannot_be_used(journal: Journal, lease: Lease) -> None:
    with pytest.raises(ReviewError):
        await journal.write(lease, RUN, intents=[intent()], used=["none"])
    assert await journal.past(RUN) == Past()


async def test_a_refused_write_uses_none_of_its_answers(journal: Journal, lease: Lease) -> None:
    for one in ("good", "used"):
        await journal.answer(answer_row(one))
    await journal.write(lease, RUN, used=["used"])
    with pytest.raises(ReviewError):
        await journal.write(lease, RUN, intents=[intent()], outcomes=[outcome_of(intent("x"))], used=["good", "used"])
    assert (await unused(journal), (await journal.past(RUN)).outcomes) == ({"good": {"type": "approve"}}, ())


async def test_an_approval_that_expired_writes_nothing_and_stays_unused(house: House, lease: Lease) -> None:
    journal = house.open()
    await journal.answer(answer_row("q"))
    until = journal.now() + timedelta(seconds=60)
    house.clock.now += 60
    with pytest.raises(ExpiredError) as expired:
        await journal.write(lease, RUN, intents=[intent()], outcomes=[outcome_of(intent("x"))], used=["q"], until=until)
    assert expired.value.until == until
    past = await journal.past(RUN)
    assert (past.outcomes, past.in_doubt, await unused(journal)) == ((), (), {"q": {"type": "approve"}})
    house.clock.now -= 1
    await journal.write(lease, RUN, intents=[intent()], used=["q"], until=until)
    assert ((await journal.past(RUN)).in_doubt, await unused(journal)) == ((intent(),), {})


async def test_the_time_is_that_of_the_journals_clock(house: House) -> None:
    journal = house.open()
    assert journal.now().timestamp() == house.clock.now
    house.clock.now += 1
    assert (journal.now().timestamp(), journal.now().tzinfo) == (house.clock.now, UTC)


async def test_an_answer_keeps_who_gave_it_and_when(journal: Journal) -> None:
    await journal.answer(answer_row("q"))
    assert (await journal.past(RUN)).answers == {"q": answer_row("q")}


async def test_a_write_that_fails_leaves_nothing_of_it(shared: House) -> None:
    journal = shared.open()
    lease = await journal.acquire("t", new_owner(), 30)
    await journal.write(lease, RUN, intents=[intent("a")])
    await journal.answer(answer_row("q"))
    with pytest.raises(DatabaseError):
        await journal.write(lease, RUN, outcomes=[outcome_of(intent("b"))], intents=[intent("a")], used=["q"])
    past = await journal.past(RUN)
    assert (past.outcomes, past.in_doubt, await unused(journal)) == (
        (),
        (intent("a"),),
        {"q": {"type": "approve"}},
    )


async def test_an_outcome_takes_the_place_of_no_other_one(journal: Journal, lease: Lease) -> None:
    await journal.write(lease, RUN, outcomes=[outcome_of(intent("a"))])
    await journal.answer(answer_row("q"))
    outcomes = [outcome_of(intent("b")), outcome_of(intent("a"), "another")]
    with pytest.raises(DatabaseError, match="has an outcome already"):
        await journal.write(lease, RUN, outcomes=outcomes, used=["q"])
    assert (await journal.past(RUN)).outcomes == (outcome_of(intent("a")),)
    assert await unused(journal) == {"q": {"type": "approve"}}


async def test_a_write_that_fails_fails_alone(shared: House) -> None:
    journal = shared.open()
    lease = await journal.acquire("t", new_owner(), 30)
    await journal.write(lease, RUN, intents=[intent("a")])
    writes = [journal.write(lease, RUN, intents=[intent(name)]) for name in ("b", "a", "c")]
    errors = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(error) for error in errors] == [type(None), DatabaseError, type(None)]
    assert {one.place.step for one in (await journal.past(RUN)).in_doubt} == {"a", "b", "c"}


async def test_a_write_tells_what_was_asked_of_the_run(journal: Journal, lease: Lease) -> None:
    assert await journal.write(lease, RUN) is None
    await journal.request("t", "pause")
    assert (await journal.write(lease, RUN), await renewed(journal, lease)) == ("pause", "pause")
    await journal.clear(lease, "pause")
    assert (await journal.write(lease, RUN), await renewed(journal, lease)) == (None, None)


async def test_a_pause_takes_back_no_cancel(journal: Journal, lease: Lease) -> None:
    for asked in ("pause", "cancel", "pause"):
        assert await journal.request("t", asked)  # type: ignore[arg-type]  # one by one
    assert await renewed(journal, lease) == "cancel"


@pytest.mark.parametrize("honoured", ["pause", None])
async def test_only_what_was_honoured_is_cleared(journal: Journal, lease: Lease, honoured: Request | None) -> None:
    await journal.request("t", "cancel")
    await journal.clear(lease, honoured)
    assert await renewed(journal, lease) == "cancel"
    await journal.clear(lease, "cancel")
    await journal.clear(lease, None)
    assert await renewed(journal, lease) is None


async def test_who_lost_its_lease_clears_no_request(journal: Journal) -> None:
    old = await journal.acquire("t", "elsewhere:1:1:x", -1)
    new = await journal.acquire("t", new_owner(), 30)
    await journal.request("t", "pause")
    with pytest.raises(LeaseLostError):
        await journal.clear(old, "pause")
    assert await renewed(journal, new) == "pause"


async def test_writes_at_once_share_commits_and_all_land(shared: House) -> None:
    journal = shared.open()
    leases = [await journal.acquire(f"t{at}", new_owner(), 30) for at in range(50)]
    before = shared.backends[0].commits
    await asyncio.gather(*(journal.write(each, each.thread_id, intents=[intent()]) for each in leases))
    assert shared.backends[0].commits - before <= 5
    for each in leases:
        assert (await journal.past(each.thread_id)).in_doubt == (intent(),)


async def test_processes_that_write_at_once_all_land(shared: House) -> None:
    journals = [shared.open() for _ in range(4)]
    leases = [await each.acquire(f"t{at}", new_owner(), 30) for at, each in enumerate(journals)]

    async def write(at: int) -> None:
        for number in range(25):
            await journals[at].write(leases[at], f"r{at}", intents=[intent(str(number))])

    await asyncio.gather(*map(write, range(4)))
    for at, each in enumerate(journals):
        assert len((await each.past(f"r{at}")).in_doubt) == 25


# Answers.


async def test_an_answer_and_a_goal_may_be_long(journal: Journal, lease: Lease) -> None:
    long = "long " * 1_000_000
    assert await journal.answer(replace(answer_row("q"), answer={"type": "respond", "message": long}))
    await journal.begin(lease, RUN, long)
    assert (await journal.answers(RUN))["q"].answer["message"] == long
    assert await journal.run_of(RUN) == (lease.thread_id, long)


async def test_the_first_answer_counts(journal: Journal) -> None:
    assert await journal.answer(answer_row("q", "approve")) is True
    assert await journal.answer(answer_row("q", "reject")) is False
    assert await journal.answer(answer_row("q", "approve")) is False
    assert await unused(journal) == {"q": {"type": "approve"}}
    assert await unused(journal, "another run") == {}


async def test_of_answers_at_once_one_counts(shared: House) -> None:
    journals = [shared.open() for _ in range(4)]
    for at in range(10):
        took = await asyncio.gather(*(each.answer(answer_row(f"q{at}")) for each in journals))
        assert sorted(took) == [False, False, False, True]


# Leases.


async def test_a_held_thread_is_busy_until_it_is_released(house: House) -> None:
    mine, other = house.open(), house.open()
    lease = await mine.acquire("t", new_owner(), 30)
    with pytest.raises(RunBusyError) as busy:
        await other.acquire("t", new_owner(), 30)
    assert (busy.value.owner, busy.value.expires) == (lease.owner, lease.expires)
    await mine.write(lease, RUN)
    await mine.release(lease)
    assert (await other.acquire("t", new_owner(), 30)).token == lease.token + 1


async def test_a_lease_that_was_given_back_is_free_also_where_the_clock_was_set_back(house: House) -> None:
    mine, other = house.open(), house.open()
    await mine.release(await mine.acquire("t", new_owner(), 30))
    house.clock.now -= 3600
    assert (await other.holder("t"), await other.is_held()) == (None, False)
    await other.acquire("t", new_owner(), 30)


async def test_who_gives_a_lease_back_late_gives_back_its_own_also_where_its_thread_was_forgotten(
    journal: Journal, lease: Lease
) -> None:
    await journal.forget(lease)
    other = await journal.acquire("t", "elsewhere:1:1:x", 30)
    assert other.token == lease.token
    await journal.release(lease)
    await journal.write(other, RUN)


async def test_a_lease_that_is_removed_as_it_is_taken_is_taken_anew(shared: House) -> None:
    earlier = shared.open()
    await earlier.release(await earlier.acquire("t", new_owner(), 30))
    shared.kind = Pruned
    mine = shared.open()
    lease = await mine.acquire("t", new_owner(), 30)
    await mine.write(lease, RUN)
    with pytest.raises(RunBusyError):
        await earlier.acquire("t", new_owner(), 30)


async def test_another_thread_is_not_busy(journal: Journal, lease: Lease) -> None:
    assert (await journal.acquire("other", new_owner(), 30)).thread_id == "other"
    await journal.write(lease, RUN)


async def test_a_lease_that_ran_out_is_taken_over_and_its_token_is_dead(house: House) -> None:
    mine, other = house.open(), house.open()
    lease = await mine.acquire("t", new_owner(), 30)
    house.clock.now += 29
    with pytest.raises(RunBusyError):
        await other.acquire("t", new_owner(), 30)
    house.clock.now += 2
    taken = await other.acquire("t", new_owner(), 30)
    with pytest.raises(LeaseLostError):
        await mine.write(lease, RUN, intents=[intent()])
    await mine.release(lease)
    await other.write(taken, RUN)
    with pytest.raises(RunBusyError):
        await mine.acquire("t", new_owner(), 30)


async def test_a_renewed_lease_does_not_run_out(house: House) -> None:
    mine, other = house.open(), house.open()
    lease = await mine.acquire("t", new_owner(), 30)
    for _ in range(4):
        house.clock.now += 20
        await renewed(mine, lease)
    with pytest.raises(RunBusyError):
        await other.acquire("t", new_owner(), 30)
    await mine.write(lease, RUN)


async def test_a_lease_that_is_renewed_by_a_clock_that_was_set_back_runs_out_by_that(house: House) -> None:
    mine, other = house.open(), house.open()
    lease = await mine.acquire("t", new_owner(), 30)
    house.clock.now -= 3600
    await renewed(mine, lease)
    house.clock.now += 29
    with pytest.raises(RunBusyError):
        await other.acquire("t", "elsewhere:1:1:x", 30)
    house.clock.now += 2
    await other.acquire("t", "elsewhere:1:1:x", 30)


async def test_leases_are_renewed_together_and_each_is_told_of_its_own(house: House) -> None:
    mine, other = house.open(), house.open()
    names = ["alone", "asked", "taken", "forgotten", ODD_NAME, "x" * 5000]
    leases = [await mine.acquire(name, new_owner(), 0 if name == "taken" else 30) for name in names]
    await other.acquire("taken", "elsewhere:1:1:x", 300)
    await other.request("asked", "cancel")
    await other.forget(leases[names.index("forgotten")])
    house.clock.now += 20
    found = await mine.renew_all(leases, 30)
    told = [str(one) if isinstance(one, LeaseLostError) else one for one in found]
    lost = [str(LeaseLostError("taken", "elsewhere:1:1:x")), str(LeaseLostError("forgotten", ""))]
    assert told == [None, "cancel", *lost, None, None]
    house.clock.now += 20
    for name in ("alone", "asked", ODD_NAME, "x" * 5000):
        with pytest.raises(RunBusyError):
            await other.acquire(name, new_owner(), 30)
    assert await mine.renew_all([], 30) == []


async def test_a_lease_of_any_name_is_renewed_in_sqlite(tmp_path: Path) -> None:
    journal = House(sqlite_backend(tmp_path / "j.db")).open()
    lease = await journal.acquire(ODD, new_owner(), 30)
    await journal.request(ODD, "pause")
    assert await journal.renew_all([lease], 30) == ["pause"]


async def test_leases_are_renewed_in_one_transaction(shared: House) -> None:
    journal = shared.open()
    leases = [await journal.acquire(f"t{at}", new_owner(), 30) for at in range(50)]
    before = shared.backends[0].commits
    for _ in range(2):  # those that are not due, and those that are
        assert await journal.renew_all(leases, 30) == [None] * 50
        shared.clock.now += 20
    assert shared.backends[0].commits - before == 2


async def test_the_lease_of_a_dead_process_is_taken_at_once(house: House) -> None:
    mine, other = house.open(), house.open()
    dead = await mine.acquire("t", dead_owner(), 30)
    lease = await other.acquire("t", new_owner(), 30)
    assert lease.token == dead.token + 1
    with pytest.raises(LeaseLostError):
        await mine.write(dead, RUN)


async def test_the_lease_of_another_host_is_never_taken_early(house: House) -> None:
    await house.open().acquire("t", "elsewhere:1:1:abcd", 30)
    with pytest.raises(RunBusyError):
        await house.open().acquire("t", new_owner(), 30)


async def test_who_takes_a_lease_that_ran_out_knows_up_to_which_token_what_was_begun_is_unsure(house: House) -> None:
    journal = house.open()
    known = [await journal.acquire("t", dead_owner(), 30)]
    house.clock.now += 31
    known.append(await journal.acquire("t", "elsewhere:1:1:a", 30))  # of one that is dead
    await journal.release(known[-1])
    known.append(await journal.acquire("t", new_owner(), 30))
    assert [unsure_token(one.owner) for one in known] == [None, None, None]
    house.clock.now += 62
    taken = [await journal.acquire("t", new_owner(), 30)]
    await renewed(journal, taken[-1], 60)
    await journal.write(taken[-1], RUN)
    house.clock.now += 61
    taken.append(await journal.acquire("t", dead_owner(), 30))
    taken.append(await journal.acquire("t", new_owner(), 30))
    await journal.release(taken[-1])
    assert not await journal.is_held()
    taken.append(await journal.acquire("t", "elsewhere:1:1:c", 30))
    assert [unsure_token(one.owner) for one in taken] == [3, 4, 4, 4]
    house.clock.now += 31
    last = await journal.acquire("t", new_owner(), 30)
    assert unsure_token(last.owner) == 7
    begun = [replace(intent(), token=token) for token in (0, 7, 8)]
    assert [[each.may_still_happen(one) for one in begun] for each in (known[0], last)] == [
        [False, False, False],
        [True, True, False],
    ]
    with pytest.raises(LeaseLostError):
        await renewed(journal, taken[-1])


async def test_a_lease_is_held_until_it_is_given_back_runs_out_or_its_owner_is_dead(house: House) -> None:
    mine, other = house.open(), house.open()
    held = [await other.is_held()]
    lease = await mine.acquire("t", new_owner(), 30)
    held.append(await other.is_held())
    await mine.release(lease)
    held.append(await other.is_held())
    await mine.acquire("dead", dead_owner(), 30)
    held.append(await other.is_held())
    await mine.acquire("elsewhere", "elsewhere:1:1:abcd", 30)
    held.append(await other.is_held())
    house.clock.now += 31
    assert [*held, await other.is_held()] == [False, True, False, False, True, False]


async def test_the_holder_of_a_thread_is_told_while_it_holds_it(house: House) -> None:
    mine, other = house.open(), house.open()
    assert await other.holder("t") is None
    lease = await mine.acquire("t", new_owner(), 30)
    assert (await other.holder("t"), await other.holder("u")) == (lease, None)
    await mine.release(lease)
    await mine.acquire("dead", dead_owner(), 30)
    await mine.acquire("elsewhere", "elsewhere:1:1:abcd", 30)
    found = [await other.holder(thread_id) for thread_id in ("t", "dead", "elsewhere")]
    assert [one and one.owner for one in found] == [None, None, "elsewhere:1:1:abcd"]
    house.clock.now += 31
    assert await other.holder("elsewhere") is None


async def test_of_processes_that_take_a_lease_at_once_one_gets_it(shared: House) -> None:
    journals = [shared.open() for _ in range(4)]
    for at in range(10):  # first time and takeover
        for _ in range(2):
            taken = await asyncio.gather(
                *(each.acquire(f"t{at}", new_owner(), 30) for each in journals), return_exceptions=True
            )
            kinds = sorted(type(one).__name__ for one in taken)
            assert kinds == ["Lease", "RunBusyError", "RunBusyError", "RunBusyError"]
            shared.clock.now += 31


async def test_a_clock_that_jumps_lets_no_two_owners_write(shared: House) -> None:
    ahead, mine = Clock(shared.clock.now + 3600), shared.open()
    other = shared.open(ahead)
    lease = await mine.acquire("t", new_owner(), 30)
    taken = await other.acquire("t", new_owner(), 30)
    for attempt in (lambda: mine.write(lease, RUN, intents=[intent()]), lambda: renewed(mine, lease)):
        with pytest.raises(LeaseLostError):
            await attempt()
    ahead.now -= 7200
    await renewed(other, taken)
    await other.write(taken, RUN, intents=[intent("b")])
    assert (await mine.past(RUN)).in_doubt == (intent("b"),)


async def test_a_takeover_and_a_write_at_once_are_one_after_the_other(shared: House) -> None:
    mine, other = shared.open(), shared.open(Clock(shared.clock.now + 60))
    for at in range(40):
        lease, run_id = await mine.acquire(f"t{at}", new_owner(), 30), f"r{at}"

        async def take_and_look(thread: str = f"t{at}", run_id: str = run_id) -> Past:
            await other.acquire(thread, new_owner(), 30)
            return await other.past(run_id)

        write = mine.write(lease, run_id, intents=[intent()])
        written, seen = await asyncio.gather(write, take_and_look(), return_exceptions=True)
        assert isinstance(seen, Past)
        assert len(seen.in_doubt) == (0 if isinstance(written, LeaseLostError) else 1), f"race {at}"


def test_event_loops_of_several_threads_share_a_journal(journal: Journal) -> None:
    rounds = 60
    taken: list[str] = []

    async def work(mine: str) -> None:
        for at in range(rounds):
            lease, run_id = await journal.acquire(f"{mine}{at}", new_owner(), 30), f"run {mine}{at}"
            await journal.begin(lease, run_id, "g")
            await journal.propose(lease, run_id, 1, {"steps": []})
            assert await journal.next_plan(run_id, 1) == (1, {"steps": []})
            await journal.write(lease, run_id, intents=[intent()])
            assert await journal.answer(answer_row(f"{mine}{at}", run_id=run_id))
            assert len(await journal.timeline(f"{mine}{at}")) == 4
            with suppress(RunBusyError):
                await journal.acquire(f"wanted {at}", new_owner(), 30)
                taken.append(f"wanted {at}")

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(asyncio.run, work(name)) for name in "abcdefgh"]:
                done.result()
    finally:
        sys.setswitchinterval(usual)
    assert sorted(taken) == sorted(f"wanted {at}" for at in range(rounds))


async def test_threads_are_listed_the_last_touched_first(house: House, journal: Journal) -> None:
    for name in ("a", "b", "c"):
        house.clock.now += 1
        await journal.release(await journal.acquire(name, new_owner(), 30))
    house.clock.now += 1
    await journal.acquire("a", new_owner(), 30)
    assert await journal.threads() == ["a", "c", "b"]


async def test_the_runs_of_a_thread_are_those_begun_on_it_in_order_until_it_is_forgotten(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = await journal.acquire("t", new_owner(), 30)
    known = [await journal.runs("t")]
    for run_id in ("b", "a"):
        await journal.begin(lease, run_id, f"goal of {run_id}")
        for module in ("sql_journal", "memory_journal"):  # the clock is set back
            monkeypatch.setattr(f"agentic_workflows.journal.{module}._now", lambda: "2000-01-01T00:00:00+00:00")
    known.append(await journal.runs("t"))
    await journal.forget(lease)
    assert [*known, await journal.runs("t")] == [{}, {"b": "goal of b", "a": "goal of a"}, {}]
    assert list(known[1]) == ["b", "a"]


async def test_threads_are_forgotten_together(journal: Journal) -> None:
    for thread in ("c", "b", "a"):
        lease = await journal.acquire(thread, new_owner(), 30)
        await journal.begin(lease, f"run of {thread}", "g")
    await journal.forget(lease, "b")
    assert [await journal.run_of(f"run of {thread}") for thread in "abc"] == [None, None, ("c", "g")]
    assert await journal.threads() == ["c"]


async def test_nothing_is_left_of_a_run_of_a_forgotten_thread_and_all_of_another_one(journal: Journal) -> None:
    plan, told = {"goal": "g", "steps": []}, dict[str, Any]()
    leases = {thread: await journal.acquire(thread, new_owner(), 30) for thread in ("other", "t")}
    for number, (thread, lease) in enumerate(leases.items(), 1):
        await journal.begin(lease, f"run of {thread}", "g", {"limit": 1})
        await journal.propose(lease, f"run of {thread}", number, plan)
        await journal.answer(answer_row(f"review of {thread}", run_id=f"run of {thread}"))
    await journal.forget(leases["t"])
    await journal.begin(await journal.acquire("t", new_owner(), 30), "run of t", "again")
    for thread in ("other", "t"):
        begun, run_id = await journal.begun(thread), f"run of {thread}"
        told[thread] = begun and begun.number, await journal.next_plan(run_id, 1), [*await journal.answers(run_id)]
    assert told == {"other": (1, (1, plan), ["review of other"]), "t": (None, None, [])}


async def test_a_run_that_begins_with_nothing_to_begin_it_with_again_is_not_begun_again(
    journal: Journal, lease: Lease
) -> None:
    await journal.begin(lease, RUN, "g")
    assert await journal.begun("t") is None


async def test_a_run_that_is_begun_again_has_the_last_plan_of_its_own(journal: Journal) -> None:
    for number, thread in enumerate(("t", "other"), 1):
        lease = await journal.acquire(thread, new_owner(), 30)
        await journal.begin(lease, f"run of {thread}", "g", {})
        await journal.propose(lease, f"run of {thread}", number, {"goal": thread, "steps": []})
    begun = await journal.begun("t")
    assert begun is not None
    assert (begun.number, begun.plan) == (1, {"goal": "t", "steps": []})


async def test_what_was_asked_of_a_thread_is_forgotten_with_it(journal: Journal, lease: Lease) -> None:
    await journal.request("t", "cancel")
    await journal.forget(lease)
    assert await renewed(journal, await journal.acquire("t", new_owner(), 30)) is None


async def test_what_two_runs_share_stays_while_one_has_it(journal: Journal) -> None:
    both, mine = "a" * 2 * LARGE, "b" * 2 * LARGE
    for thread in ("other", "t"):
        lease = await journal.acquire(thread, new_owner(), 30)
        await journal.begin(lease, f"run of {thread}", "g")
        done = [outcome_of(intent(str(at)), result, label=PLAN) for at, result in enumerate([both, mine + thread])]
        await journal.write(lease, f"run of {thread}", intents=[intent("0"), intent("1")])
        await journal.write(lease, f"run of {thread}", outcomes=done)
    await journal.forget(lease)
    await journal.sweep()
    assert (await journal.past("run of t")).outcomes == ()
    left = {one.intent.place.step: one.outcome for one in (await journal.past("run of other")).outcomes}
    assert {step: (one.result, one.sources) for step, one in left.items()} == {
        "0": (both, PLAN), "1": (f"{mine}other", PLAN),
    }  # fmt: skip


async def test_what_is_swept_in_one_process_is_written_again_by_another_that_knew_it(shared: House) -> None:
    mine, other = shared.open(), shared.open()
    done = outcome_of(intent(), "a" * 2 * LARGE, label=PLAN)
    for run_id in ("first", "second"):
        lease = await mine.acquire("t", new_owner(), 30)
        await mine.begin(lease, run_id, "g")
        await mine.write(lease, run_id, outcomes=[done])
        assert (await other.past(run_id)).outcomes == (done,)
        await other.forget(lease)
        await other.sweep()


async def test_what_is_written_beside_a_sweep_is_kept(shared: House) -> None:
    mine, other = shared.open(), shared.open()
    done = outcome_of(intent(), "a" * 2 * LARGE, label=PLAN)
    for at in range(40):
        lease = await mine.acquire(f"t{at}", new_owner(), 30)
        await mine.begin(lease, f"r{at}", "g")
        await asyncio.gather(mine.write(lease, f"r{at}", outcomes=[done]), other.sweep())
        assert (await mine.past(f"r{at}")).outcomes == (done,), f"race {at}"
        await mine.forget(lease)


SHARED = [outcome_of(intent(name), name * 2 * LARGE, label=frozenset({Source("output", name)})) for name in "abcdef"]
"""Outcomes whose results and labels other runs may have, too."""
STORE = "INSERT INTO agentic_bodies VALUES (%s, 'x')"


def digest_of(one: Recorded) -> str:
    return str(outcome_columns(one.outcome)[0]["body"])


async def test_what_runs_share_is_written_in_one_order(postgres: str) -> None:
    async with beside(postgres) as (other, write):
        first, *rest = sorted(map(digest_of, SHARED))
        other.execute(STORE, [first])
        await write(SHARED)
        other.execute("SET lock_timeout = '300ms'")
        for digest in rest:
            other.execute(STORE, [digest])


async def test_sources_that_others_write_at_once_keep_nobody_waiting(postgres: str) -> None:
    journal, calls = House(lambda: PostgresBackend(postgres)).open(), SHARED[:1]
    lease = await journal.acquire("t", new_owner(), 30)
    with psycopg.connect(postgres) as other:
        other.execute("INSERT INTO agentic_labels (text) VALUES (%s)", [sources_text(calls[0].outcome.sources)])
        async with asyncio.timeout(5):
            await journal.write(lease, RUN, outcomes=calls)
    later = replace(calls[0], intent=intent("later"))  # the same sources are there twice now
    await journal.write(lease, RUN, outcomes=[later])
    assert {one.outcome.sources for one in (await journal.past(RUN)).outcomes} == {calls[0].outcome.sources}


async def test_a_write_that_gave_way_to_another_one_is_done_again(postgres: str) -> None:
    async with beside(postgres) as (other, write):
        other.execute("SET deadlock_timeout = '60s'")  # so that it is the journal that gives way
        first, *_, last = sorted(map(digest_of, SHARED))
        other.execute(STORE, [last])
        await write(SHARED)
        await asyncio.to_thread(other.execute, STORE, [first])


@asynccontextmanager
async def beside(postgres: str) -> AsyncIterator[tuple[Any, Callable[[list[Recorded]], Awaitable[None]]]]:
    """Give a connection, and what writes outcomes until that is kept waiting; at the end it must have come through."""
    journal, writing = House(lambda: PostgresBackend(postgres)).open(), list[Any]()
    lease = await journal.acquire("t", new_owner(), 30)

    async def write(outcomes: list[Recorded]) -> None:
        writing.append(asyncio.ensure_future(journal.write(lease, RUN, outcomes=outcomes)))
        with psycopg.connect(postgres, autocommit=True) as looking:
            while not looking.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone():
                await asyncio.sleep(0.01)

    with psycopg.connect(postgres) as other:
        yield other, write
        other.rollback()
    await asyncio.gather(*writing)
    assert (await journal.past(RUN)).outcomes


async def test_a_request_survives_its_run(journal: Journal, lease: Lease) -> None:
    assert await journal.request("t", "cancel")
    assert not await journal.request("unknown", "cancel")
    await journal.release(lease)
    taken = await journal.acquire("t", new_owner(), 30)
    assert (taken.request, await renewed(journal, taken)) == ("cancel", "cancel")
    await journal.clear(taken, "cancel")
    await journal.release(taken)
    assert (await journal.acquire("t", new_owner(), 30)).request is None
    assert await journal.threads() == ["t"]


# Versions.


async def test_a_newer_sqlite_journal_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    await House(sqlite_backend(path)).open().acquire("t", "old:1:1:a", 30)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE agentic_version SET version = ?", (VERSION + 1,))
    connection.close()
    before = dumped(path)
    with pytest.raises(DatabaseError, match=rf"has version {VERSION + 1}, and this program knows {VERSION}"):
        await House(sqlite_backend(path)).open().acquire("t", new_owner(), 30)
    assert dumped(path) == before


async def test_a_newer_postgres_journal_is_refused_and_stays_as_it_is(postgres: str) -> None:
    import psycopg

    await House(lambda: PostgresBackend(postgres)).open().acquire("t", "old:1:1:a", 30)
    with psycopg.connect(postgres) as connection:
        connection.execute("UPDATE agentic_version SET version = %s", (VERSION + 1,))
    url = f"{postgres}&password=secret"
    with pytest.raises(DatabaseError, match=rf"has version {VERSION + 1}, and this program knows {VERSION}") as error:
        await House(lambda: PostgresBackend(url)).open().acquire("t", new_owner(), 30)
    assert "password" not in str(error.value)
    with psycopg.connect(postgres) as connection:
        assert connection.execute("SELECT owner, token FROM agentic_leases").fetchall() == [("old:1:1:a", 1)]
        assert connection.execute("SELECT version FROM agentic_version").fetchall() == [(VERSION + 1,)]


async def test_processes_that_open_a_new_database_at_once_all_can(shared: House) -> None:
    journals = [shared.open() for _ in range(4)]
    leases = await asyncio.gather(*(each.acquire(f"t{at}", new_owner(), 30) for at, each in enumerate(journals)))
    assert [each.token for each in leases] == [1, 1, 1, 1]


def dumped(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()
