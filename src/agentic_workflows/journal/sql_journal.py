"""The journal in a SQL database."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar, cast

from agentic_workflows.collector import collector_off
from agentic_workflows.errors import ExpiredError, LeaseLostError, RunBusyError
from agentic_workflows.graph.state import Request
from agentic_workflows.graph.values import JsonObject, canonical
from agentic_workflows.journal.calls import refuse_recorded, write_calls
from agentic_workflows.journal.entries import NOTHING_KNOWN, Answered, Begun, Intent, Known, Lease, Past, Recorded
from agentic_workflows.journal.owner import heir, is_dead, name_of, nobody
from agentic_workflows.journal.rows import (
    ANSWERS,
    ATTEMPT,
    BODIES,
    CALLS,
    KEY,
    LABELS,
    OUTCOME,
    PLACE,
    PLANS,
    RUNS,
    SAVED,
    Row,
    answered_of,
    begun_of,
    intent_of,
    just_after,
    lease_of,
    number_of,
    plan_of,
    plan_text,
    recorded_of,
    run_entry,
)
from agentic_workflows.journal.timeline import answer_entry, in_order, intent_entry, outcome_entry, plan_entry
from agentic_workflows.journal.writer import Later, RefusedError, Sent, Transaction, Writer

Result = TypeVar("Result")
_AT_ONCE = 1_000
"""Rows that are read before others in the process get their turn."""


class SqlJournal:
    """A `Journal` on a writer thread."""

    def __init__(self, writer: Writer, *, clock: Callable[[], float]) -> None:
        self._writer = writer
        self._clock = clock

    def now(self) -> datetime:
        """Return the time by which answers are given and expire."""
        return datetime.fromtimestamp(self._clock(), UTC)

    async def begin(self, lease: Lease, run_id: str, goal: str, entry: JsonObject | None = None) -> None:
        """Write down that a run began, once; the runs before it on its thread are not begun again from now on."""
        row = {"run_id": run_id, "thread_id": lease.thread_id, "goal": goal}
        given, now = None if entry is None else canonical(entry), _now()

        def work(to: Transaction) -> None:
            before = to.send("runs", by_thread_id=lease.thread_id).rows[-1:]
            at = max([now, *map(just_after, before)])  # their times tell their order, whatever the clock says
            to.send("begin", **row, at=at, entry=given)
            to.send("replace", by_thread_id=lease.thread_id, run_id=run_id)

        await self._fenced(lease, work)

    async def begun(self, thread_id: str) -> Begun | None:
        """Return the last run of a thread, where no checkpoint of it is kept and so it is to be begun again."""

        def work(to: Transaction) -> Begun | None:
            last = to.send("begun", by_thread_id=thread_id).rows[-1:]
            return begun_of(last[0], to.send("plans", by_run_id=last[0][0]).rows[-1:]) if last else None

        return await self._writer.do(work)

    async def amend(self, lease: Lease, run_id: str, entry: JsonObject) -> None:
        """Change what a run is begun with again, where no checkpoint of it is kept."""
        given = canonical(entry)
        await self._fenced(lease, lambda to: to.send("amend", by_run_id=run_id, entry=given))

    async def keep(self, lease: Lease, run_id: str) -> None:
        """Note that a checkpoint of a run is kept, so that it is not begun again."""
        await self._fenced(lease, lambda to: to.send("keep", by_run_id=run_id))

    async def run_of(self, run_id: str) -> tuple[str, str] | None:
        """Return the thread that a run belongs to, and the goal that it was begun with, where the run is known."""
        rows = await self._writer.do(lambda to: to.send("run", by_run_id=run_id).rows)
        return (str(rows[0][1]), str(rows[0][2])) if rows else None

    async def runs(self, thread_id: str) -> dict[str, str]:
        """Return the runs that were begun on a thread, oldest first, with their goals."""
        rows = await self._writer.do(lambda to: to.send("runs", by_thread_id=thread_id).rows)
        return {str(row[0]): str(row[2]) for row in rows}

    async def propose(self, lease: Lease, run_id: str, number: int, plan: JsonObject) -> JsonObject:
        """Write down the plan of a planner call, and return the one that is written there."""

        def work(to: Transaction) -> JsonObject:
            to.send("propose", run_id=run_id, number=number, plan=plan_text(plan), at=_now())
            return plan_of(to.send("proposed", by_run_id=run_id, by_number=number).rows[0])

        return await self._fenced(lease, work)

    async def proposed(self, run_id: str, number: int) -> JsonObject | None:
        """Return the plan of a planner call, where it is written down."""
        rows = await self._writer.do(lambda to: to.send("proposed", by_run_id=run_id, by_number=number).rows)
        return plan_of(rows[0]) if rows else None

    async def next_plan(self, run_id: str, number: int) -> tuple[int, JsonObject] | None:
        """Return the first plan that is written down of this planner call or a later one, and which call gave it."""
        rows = await self._writer.do(lambda to: to.send("plans", by_run_id=run_id).rows)
        return next(((number_of(row), plan_of(row)) for row in rows if number_of(row) >= number), None)

    async def past(self, run_id: str, *, known: Known = NOTHING_KNOWN) -> Past:
        """Return what is written down of a run's calls; those that are known need no reading."""

        def work(to: Transaction) -> tuple[list[Recorded], list[Row], list[Row]]:
            ended = [*known.values()]  # as it is now: more may be written, and known, while this is on its way back
            # Outcomes are never removed from a run that goes on: where there are as many, they are these.
            if ended and to.send("ended", by_run_id=run_id).rows != [(len(ended),)]:
                ended = []
            calls = to.send("calls_in_doubt" if ended else "calls", by_run_id=run_id)
            return ended, calls.rows, to.send("answers", by_run_id=run_id).rows

        outcomes, calls, answers = await self._writer.do(work)
        in_doubt: list[Intent] = []
        calls.reverse()
        while calls:  # each row goes when it is read: there may be very many, and other runs in the process
            with collector_off():
                for row in [calls.pop() for _ in range(min(_AT_ONCE, len(calls)))]:
                    if row[OUTCOME] is None:
                        in_doubt.append(intent_of(row))
                    else:
                        outcomes.append(known.get((row[PLACE], row[ATTEMPT])) or recorded_of(row))
            if calls:
                await asyncio.sleep(0)
        told = {one.review_id: one for one in map(answered_of, answers)}
        return Past(outcomes=tuple(outcomes), in_doubt=tuple(in_doubt), answers=told)

    async def answers(self, run_id: str) -> dict[str, Answered]:
        """Return what people answered, used or not, by review id."""
        rows = await self._writer.do(lambda to: to.send("answers", by_run_id=run_id).rows)
        return {one.review_id: one for one in map(answered_of, rows)}

    async def write(
        self,
        lease: Lease,
        run_id: str,
        *,
        intents: Sequence[Intent] = (),
        outcomes: Sequence[Recorded] = (),
        used: Sequence[str] = (),
        until: datetime | None = None,
    ) -> Request | None:
        """Write intents and outcomes and use up answers in one transaction; returns what somebody asked of the run."""

        def work(to: Transaction) -> "Later[Request | None]":  # unquoted it is made for every step
            if until is not None and self.now() >= until:
                raise RefusedError(ExpiredError(until))
            row = to.send("lease", by_thread_id=lease.thread_id)
            try:
                recorded = write_calls(to, run_id, intents, outcomes, used)
            except Exception as error:
                _refuse_lost(row, lease, error)
                raise

            def asked() -> "Request | None":
                try:
                    held = _lease_row(row, lease)
                except Exception as error:  # what was sent after the row may fail as it is read
                    _refuse_lost(row, lease, error)
                    raise
                refuse_recorded(run_id, outcomes, recorded)
                return cast("Request | None", held[5])

            return Later(asked)

        request: Request | None = await self._writer.do(work)
        return request

    async def answer(self, answered: Answered) -> bool:
        """Write an answer; False where the question has one already, which then stays."""
        values = {**answered.__dict__, "answer": canonical(answered.answer), "used": int(answered.used)}
        return await self._writer.do(lambda to: to.send("answer", **values).changed) == 1

    async def acquire(self, thread_id: str, owner: str, seconds: float) -> Lease:
        """Take the lease of a thread.

        Raises:
            RunBusyError: another owner has it, and is not known to be dead.

        """

        def work(to: Transaction) -> Lease:
            now = self._clock()
            expires = now + seconds
            held = {"owner": owner, "expires": expires, "touched": now}
            first = {"thread_id": thread_id, "token": 1, "request": None, **held}
            found: list[Row] = []
            while not found:  # the row that kept ours out may be removed before it is looked at
                if to.send("first_lease", **first).changed == 1:
                    return Lease(thread_id=thread_id, owner=owner, token=1, expires=expires)
                found = to.send("lease", by_thread_id=thread_id).rows
            last = lease_of(found[0])
            if last.is_held(now):
                raise RefusedError(RunBusyError(thread_id, name_of(last.owner), last.expires))
            mine = replace(last, owner=heir(owner, last.owner, last.token), token=last.token + 1, expires=expires)
            to.send("take_lease", **_lease_values(last, **held | {"owner": mine.owner, "token": mine.token}))
            return mine

        return await self._writer.do(work)

    async def renew_all(self, leases: Sequence[Lease], seconds: float) -> list[Request | LeaseLostError | None]:
        """Keep leases for longer; returns of each what somebody asked of the run, or that another owner took it."""
        thread_ids = canonical([lease.thread_id for lease in leases])

        def work(to: Transaction) -> list[Request | LeaseLostError | None]:
            rows = {row[0]: [row] for row in to.send("leases", thread_ids=thread_ids).rows}
            now = self._clock()

            def renewed(lease: Lease) -> Request | LeaseLostError | None:
                # One that is not among them is looked for by itself: for SQLite, a name in JSON ends at a NUL.
                row = rows.get(lease.thread_id) or to.send("lease", by_thread_id=lease.thread_id).rows
                if lost := _lost(row, lease):
                    return lost
                if not now + seconds * 2 / 3 <= row[0][3] <= now + seconds:  # beyond that, the clock was set back
                    to.send("take_lease", **_lease_values(lease, owner=lease.owner, expires=now + seconds, touched=now))
                return cast("Request | None", row[0][5])

            return [renewed(lease) for lease in leases]

        return await self._writer.do(work)

    async def release(self, lease: Lease) -> None:
        """Give the lease back; its token stays used."""
        freed = {"owner": nobody(lease.owner), "expires": 0.0, "touched": self._clock()}
        await self._writer.do(lambda to: to.send("take_lease", **_lease_values(lease, **freed)))

    async def holder(self, thread_id: str) -> Lease | None:
        """Return the lease of a thread, where anybody holds it who is not known to be dead."""
        rows = await self._writer.do(lambda to: to.send("lease", by_thread_id=thread_id).rows)
        return next((one for one in map(lease_of, rows) if one.is_held(self._clock())), None)

    async def is_held(self) -> bool:
        """Tell whether anybody holds a thread."""
        rows = await self._writer.do(lambda to: to.send("holders", now=self._clock()).rows)
        return not all(is_dead(str(owner)) for (owner,) in rows)

    async def clear(self, lease: Lease, honoured: Request | None) -> None:
        """Forget what was asked of the run, where that is still the request that its holder honoured."""
        await self._fenced(lease, lambda to: to.send("clear", by_thread_id=lease.thread_id, by_request=honoured))

    async def request(self, thread_id: str, request: Request) -> bool:
        """Ask a run to stop; tells whether the thread is known."""

        def work(to: Transaction) -> bool:
            known = to.send("lease", by_thread_id=thread_id).rows
            if known and known[0][5] != "cancel":
                to.send("set_request", by_thread_id=thread_id, request=request)
            return bool(known)

        return await self._writer.do(work)

    async def timeline(self, thread_id: str) -> list[JsonObject]:
        """Return everything that is written down about a thread, oldest first."""

        def work(to: Transaction) -> list[JsonObject]:
            found: list[JsonObject] = []
            for run in to.send("runs", by_thread_id=thread_id).rows:
                found.append(run_entry(run))
                run_id = run[0]
                plans, calls, answers = (to.send(name, by_run_id=run_id).rows for name in ("plans", "calls", "answers"))
                found += [plan_entry(number_of(row), plan_of(row), row[3]) for row in plans]
                found += [intent_entry(run_id, intent_of(row)) for row in calls if row[KEY]]
                found += [answer_entry(answered_of(row)) for row in answers]
                found += [outcome_entry(recorded_of(row)) for row in calls if row[OUTCOME] is not None]
            return in_order(found)

        return await self._writer.do(work)

    async def forget(self, lease: Lease, *within: str, checkpoints: bool = False) -> None:
        """Remove everything that is written down about a thread and those within."""

        def work(to: Transaction) -> None:
            for thread_id in (lease.thread_id, *within):
                for run_id, *_ in to.send("runs", by_thread_id=thread_id).rows:
                    for what in (ANSWERS, CALLS, PLANS, RUNS):
                        to.send(f"forget_{what}", by_run_id=run_id)
                to.send("forget_lease", by_thread_id=thread_id)
            for what in SAVED if checkpoints else ():
                to.send(f"forget_{what}", by_thread_id=lease.thread_id)

        await self._fenced(lease, work)

    async def sweep(self) -> None:
        """Remove large results and labels that no run has any more."""
        for table in (BODIES, LABELS):  # one lock at a time: others take them in any order
            await self._writer.do(partial(_sweep, table))

    async def threads(self) -> list[str]:
        """Return every thread that was ever held, the one touched last first."""
        rows = await self._writer.do(lambda to: to.send("threads").rows)
        return [str(row[0]) for row in rows]

    async def _fenced(self, lease: Lease, work: Callable[[Transaction], Result]) -> Result:
        def fenced(to: Transaction) -> Later[Result]:
            row = to.send("lease", by_thread_id=lease.thread_id)
            result = work(to)

            def checked() -> Result:
                _lease_row(row, lease)
                return result

            return Later(checked)

        return await self._writer.do(fenced)


def _sweep(table: str, to: Transaction) -> None:
    to.send(f"lock_{table}")
    to.send(f"sweep_{table}")


def _lease_row(found: Sent, lease: Lease) -> Row:
    """Return the row of a lease that is still held.

    Raises:
        RefusedError: with a `LeaseLostError`.

    """
    row = found.rows
    if lost := _lost(row, lease):
        raise RefusedError(lost)
    return row[0]


def _refuse_lost(found: Sent, lease: Lease, error: Exception) -> None:
    """Refuse a write that has failed where its lease is lost: the new owner may have written the same calls."""
    lost = None
    with suppress(Exception):  # where the connection is gone, the row is not heard of either
        lost = _lost(found.rows, lease)
    if lost is not None:
        raise lost from error


def _lost(row: Sequence[Row], lease: Lease) -> LeaseLostError | None:
    """Return what tells that a lease is not held any more, by the row of its thread, where there is one."""
    if row and (row[0][1], row[0][2]) == (lease.owner, lease.token):
        return None
    return LeaseLostError(lease.thread_id, name_of(str(row[0][1])) if row else "")


def _lease_values(lease: Lease, **values: object) -> dict[str, object]:
    """Return the values of the statement `take_lease`, which writes over the row of exactly this lease."""
    known = {"by_thread_id": lease.thread_id, "by_token": lease.token, "by_owner": lease.owner}
    return {**known, "token": lease.token, **values}


def _now() -> str:
    return datetime.now(UTC).isoformat()
