"""The journal of one process, gone with it."""

import inspect
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import wraps
from threading import RLock
from typing import Any, TypeVar

from langgraph.checkpoint.base import BaseCheckpointSaver

from agentic_workflows.errors import ExpiredError, LeaseLostError, ReviewError, RunBusyError
from agentic_workflows.graph.state import Request
from agentic_workflows.graph.values import JsonObject
from agentic_workflows.journal.entries import NOTHING_KNOWN, Answered, Begun, Intent, Known, Lease, Past, Recorded
from agentic_workflows.journal.faults import recorded_twice
from agentic_workflows.journal.owner import heir, name_of, nobody
from agentic_workflows.journal.timeline import answer_entry, in_order, intent_entry, outcome_entry, plan_entry

Class = TypeVar("Class", bound=type)


def _by_one_thread_at_a_time(cls: Class) -> Class:
    """Have each method of a journal done by one thread at a time; none of them waits for anything meanwhile."""

    def alone(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        async def done(self: Any, *args: Any, **more: Any) -> Any:
            with self._lock:
                return await method(self, *args, **more)

        return done

    for name, method in list(vars(cls).items()):
        if inspect.iscoroutinefunction(method):
            setattr(cls, name, alone(method))
    return cls


@_by_one_thread_at_a_time
class MemoryJournal:
    """A `Journal` in dicts."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        leases: Iterable[Lease] = (),
        answers: Iterable[Answered] = (),
        saver: BaseCheckpointSaver[Any] | None = None,
    ) -> None:
        self._clock, self._lock, self._saver = clock, RLock(), saver
        self._runs: dict[str, tuple[str, str, str]] = {}
        self._entries: dict[str, JsonObject] = {}
        self._plans: dict[tuple[str, int], tuple[JsonObject, str]] = {}
        self._intents: dict[str, list[Intent]] = {}
        self._outcomes: dict[str, Known] = {}
        self._answers = {one.review_id: one for one in answers}
        self._leases = {lease.thread_id: lease for lease in leases}
        self._requests: dict[str, Request] = {}

    def now(self) -> datetime:
        """Return the time by which answers are given and expire."""
        return datetime.fromtimestamp(self._clock(), UTC)

    async def begin(self, lease: Lease, run_id: str, goal: str, entry: JsonObject | None = None) -> None:
        """Write down that a run began, once; the runs before it on its thread are not begun again from now on."""
        self._check(lease)
        if run_id not in self._runs:
            self._runs[run_id] = (lease.thread_id, goal, _now())
            self._entries |= {} if entry is None else {run_id: entry}

    async def begun(self, thread_id: str) -> Begun | None:
        """Return the last run of a thread, where no checkpoint of it is kept and so it is to be begun again."""
        run_id = next((one for one, run in reversed(self._runs.items()) if run[0] == thread_id), "")
        if run_id not in self._entries:
            return None
        _, goal, at = self._runs[run_id]
        number = max((number for one, number in self._plans if one == run_id), default=0)
        plan = self._plans[run_id, number][0] if number else None
        return Begun(run_id=run_id, goal=goal, entry=self._entries[run_id], at=at, plan=plan, number=number)

    async def amend(self, lease: Lease, run_id: str, entry: JsonObject) -> None:
        """Change what a run is begun with again, where no checkpoint of it is kept."""
        self._check(lease)
        if run_id in self._entries:
            self._entries[run_id] = entry

    async def keep(self, lease: Lease, run_id: str) -> None:
        """Note that a checkpoint of a run is kept, so that it is not begun again."""
        self._check(lease)
        self._entries.pop(run_id, None)

    async def run_of(self, run_id: str) -> tuple[str, str] | None:
        """Return the thread that a run belongs to, and the goal that it was begun with, where the run is known."""
        return self._runs[run_id][:2] if run_id in self._runs else None

    async def runs(self, thread_id: str) -> dict[str, str]:
        """Return the runs that were begun on a thread, oldest first, with their goals."""
        return {run_id: goal for run_id, (thread, goal, _) in self._runs.items() if thread == thread_id}

    async def propose(self, lease: Lease, run_id: str, number: int, plan: JsonObject) -> JsonObject:
        """Write down the plan of a planner call, and return the one that is written there."""
        self._check(lease)
        return self._plans.setdefault((run_id, number), (plan, _now()))[0]

    async def proposed(self, run_id: str, number: int) -> JsonObject | None:
        """Return the plan of a planner call, where it is written down."""
        kept = self._plans.get((run_id, number))
        return kept[0] if kept else None

    async def next_plan(self, run_id: str, number: int) -> tuple[int, JsonObject] | None:
        """Return the first plan that is written down of this planner call or a later one, and which call gave it."""
        later = [at for one, at in self._plans if one == run_id and at >= number]
        return (min(later), self._plans[run_id, min(later)][0]) if later else None

    async def past(self, run_id: str, *, known: Known = NOTHING_KNOWN) -> Past:  # noqa: ARG002 - here nothing is read
        """Return what is known of a run's calls."""
        ended, intents = self._outcomes.get(run_id, {}), self._intents.get(run_id, ())
        return Past(
            outcomes=tuple(ended.values()),
            in_doubt=tuple(one for one in intents if (one.place, one.attempt) not in ended),
            answers=await self.answers(run_id),
        )

    async def answers(self, run_id: str) -> dict[str, Answered]:
        """Return what people answered, used or not, by review id."""
        return {one.review_id: one for one in self._answers.values() if one.run_id == run_id}

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
        """Write intents and outcomes and use up answers; returns what somebody asked of the run."""
        self._check(lease)
        if until is not None and self.now() >= until:
            raise ExpiredError(until)
        for review_id in used:
            if review_id not in self._answers or self._answers[review_id].used:
                raise ReviewError(f"The answer to {review_id} was used already.")
        known = self._outcomes.setdefault(run_id, {})
        ended: Known = {(one.intent.place, one.intent.attempt): one for one in outcomes}
        for (_, step, _), _ in ended.keys() & known.keys():
            raise recorded_twice(step, run_id)
        self._answers |= {one: replace(self._answers[one], used=True) for one in used}
        known |= ended
        self._intents.setdefault(run_id, []).extend(intents)
        return self._requests.get(lease.thread_id)

    async def answer(self, answered: Answered) -> bool:
        """Write an answer; False where the question has one already, which then stays."""
        return self._answers.setdefault(answered.review_id, answered) is answered

    async def acquire(self, thread_id: str, owner: str, seconds: float) -> Lease:
        """Take the lease of a thread."""
        now, held = self._clock(), self._leases.get(thread_id)
        if held and held.is_held(now):
            raise RunBusyError(thread_id, name_of(held.owner), held.expires)
        token = held.token + 1 if held else 1
        self._leases.pop(thread_id, None)
        owner = heir(owner, held.owner, held.token) if held else owner
        taken = Lease(thread_id=thread_id, owner=owner, token=token, expires=now + seconds)
        self._leases[thread_id] = taken
        return replace(taken, request=self._requests.get(thread_id))

    async def renew_all(self, leases: Sequence[Lease], seconds: float) -> list[Request | LeaseLostError | None]:
        """Keep leases for longer; returns of each what somebody asked of the run, or that another owner took it."""
        found: list[Request | LeaseLostError | None] = []
        for lease in leases:
            try:
                self._check(lease)
            except LeaseLostError as lost:
                found.append(lost)
            else:
                self._leases[lease.thread_id] = replace(lease, expires=self._clock() + seconds)
                found.append(self._requests.get(lease.thread_id))
        return found

    async def release(self, lease: Lease) -> None:
        """Give the lease back; its token stays used."""
        held = self._leases.get(lease.thread_id)
        if held is not None and (held.owner, held.token) == (lease.owner, lease.token):
            self._leases[lease.thread_id] = replace(lease, owner=nobody(lease.owner), expires=0.0)

    async def holder(self, thread_id: str) -> Lease | None:
        """Return the lease of a thread, where anybody holds it who is not known to be dead."""
        held = self._leases.get(thread_id)
        return held if held and held.is_held(self._clock()) else None

    async def is_held(self) -> bool:
        """Tell whether anybody holds a thread."""
        now = self._clock()
        return any(one.is_held(now) for one in self._leases.values())

    async def clear(self, lease: Lease, honoured: Request | None) -> None:
        """Forget what was asked of the run, where that is still the request that its holder honoured."""
        self._check(lease)
        if self._requests.get(lease.thread_id) == honoured:
            self._requests.pop(lease.thread_id, None)

    async def request(self, thread_id: str, request: Request) -> bool:
        """Ask a run to stop; tells whether the thread is known."""
        if thread_id not in self._leases:
            return False
        if self._requests.get(thread_id) != "cancel":
            self._requests[thread_id] = request
        return True

    async def timeline(self, thread_id: str) -> list[JsonObject]:
        """Return everything that is written down about a thread, oldest first."""
        found: list[JsonObject] = []
        for run_id, (thread, goal, at) in self._runs.items():
            if thread == thread_id:
                found.append({"at": at, "what": "run begun", "run_id": run_id, "goal": goal})
                plans = {number: kept for (one, number), kept in self._plans.items() if one == run_id}
                found += [plan_entry(number, plan, at) for number, (plan, at) in plans.items()]
                found += (intent_entry(run_id, one) for one in self._intents.get(run_id, ()))
                found += (answer_entry(one) for one in self._answers.values() if one.run_id == run_id)
                found += map(outcome_entry, self._outcomes.get(run_id, {}).values())
        return in_order(found)

    async def forget(self, lease: Lease, *within: str, checkpoints: bool = False) -> None:
        """Remove everything that is written down about a thread and those within."""
        self._check(lease)
        thread_ids = (lease.thread_id, *within)
        gone = {run_id for run_id, run in self._runs.items() if run[0] in thread_ids}
        for kept in (self._runs, self._entries, self._intents, self._outcomes):
            for run_id in gone & kept.keys():
                del kept[run_id]
        self._plans = {key: plan for key, plan in self._plans.items() if key[0] not in gone}
        self._answers = {one: row for one, row in self._answers.items() if row.run_id not in gone}
        for thread_id in thread_ids:
            self._leases.pop(thread_id, None)
            self._requests.pop(thread_id, None)
        if checkpoints and self._saver is not None:
            self._saver.delete_thread(lease.thread_id)

    async def sweep(self) -> None:
        """Remove nothing: here no run shares anything with another one."""

    async def threads(self) -> list[str]:
        """Return every thread that was ever held, the one touched last first."""
        return list(reversed(self._leases))

    def _check(self, lease: Lease) -> None:
        held = self._leases.get(lease.thread_id)
        if held is None or (held.owner, held.token) != (lease.owner, lease.token):
            raise LeaseLostError(lease.thread_id, name_of(held.owner) if held else "")


def _now() -> str:
    return datetime.now(UTC).isoformat()
