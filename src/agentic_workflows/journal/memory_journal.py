"""The journal of one process, gone with it."""

import time
from collections.abc import Callable, Iterable, Sequence

from agentic_workflows.errors import LeaseLostError, ReviewError, RunBusyError
from agentic_workflows.graph.state import Request
from agentic_workflows.graph.values import JsonObject
from agentic_workflows.journal.entries import Answered, Intent, Lease, Past, Recorded
from agentic_workflows.journal.owner import is_dead


class MemoryJournal:
    """A `Journal` in dicts."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        leases: Iterable[Lease] = (),
        answers: Iterable[Answered] = (),
    ) -> None:
        self._clock = clock
        self._threads: dict[str, str] = {}
        self._plans: dict[tuple[str, int], JsonObject] = {}
        self._intents: dict[str, list[Intent]] = {}
        self._outcomes: dict[str, list[Recorded]] = {}
        self._answers = {one.review_id: one for one in answers}
        self._used: set[str] = set()
        self._leases = {lease.thread_id: lease for lease in leases}
        self._requests: dict[str, Request] = {}

    async def begin(self, lease: Lease, run_id: str, goal: str) -> None:  # noqa: ARG002 - a process knows its goals
        """Write down that a run began; again is no change."""
        self._check(lease)
        self._threads.setdefault(run_id, lease.thread_id)

    async def thread_of(self, run_id: str) -> str | None:
        """Return the thread that a run belongs to, where the run is known."""
        return self._threads.get(run_id)

    async def propose(self, lease: Lease, run_id: str, number: int, plan: JsonObject) -> JsonObject:
        """Write down the plan of a planner call, and return the one that is written there."""
        self._check(lease)
        return self._plans.setdefault((run_id, number), plan)

    async def proposed(self, run_id: str, number: int) -> JsonObject | None:
        """Return the plan of a planner call, where it is written down."""
        return self._plans.get((run_id, number))

    async def past(self, run_id: str) -> Past:
        """Return what is known of a run's calls."""
        outcomes = tuple(self._outcomes.get(run_id, ()))
        ended = {(one.place, one.attempt) for one in outcomes}
        intents = self._intents.get(run_id, ())
        return Past(
            outcomes=outcomes,
            in_doubt=tuple(one for one in intents if (one.place, one.attempt) not in ended),
            answered=frozenset(one.review_id for one in self._answers.values() if one.run_id == run_id),
        )

    async def write(
        self,
        lease: Lease,
        run_id: str,
        *,
        intents: Sequence[Intent] = (),
        outcomes: Sequence[Recorded] = (),
        used: Sequence[str] = (),
    ) -> Request | None:
        """Write intents and outcomes and use up answers; returns what somebody asked of the run."""
        self._check(lease)
        for review_id in used:
            if review_id in self._used or review_id not in self._answers:
                raise ReviewError(f"The answer to {review_id} was used already.")
        self._used.update(used)
        self._outcomes.setdefault(run_id, []).extend(outcomes)
        self._intents.setdefault(run_id, []).extend(intents)
        return self._requests.get(lease.thread_id)

    async def answer(self, answered: Answered) -> bool:
        """Write an answer; False where the question has one already, which then stays."""
        return self._answers.setdefault(answered.review_id, answered) is answered

    async def answers(self, run_id: str) -> dict[str, JsonObject]:
        """Return a run's answers that are not used yet, by review id."""
        mine = (one for one in self._answers.values() if one.run_id == run_id)
        return {one.review_id: one.answer for one in mine if one.review_id not in self._used}

    async def acquire(self, thread_id: str, owner: str, seconds: float) -> Lease:
        """Take the lease of a thread."""
        now, held = self._clock(), self._leases.get(thread_id)
        if held and held.owner and held.expires > now and not is_dead(held.owner):
            raise RunBusyError(thread_id, held.owner, held.expires)
        token = held.token + 1 if held else 1
        self._leases.pop(thread_id, None)
        self._leases[thread_id] = Lease(thread_id=thread_id, owner=owner, token=token, expires=now + seconds)
        return self._leases[thread_id]

    async def renew(self, lease: Lease, seconds: float) -> Request | None:
        """Keep the lease for longer, and return what somebody asked of the run."""
        self._check(lease)
        self._leases[lease.thread_id] = Lease(**{**lease.__dict__, "expires": self._clock() + seconds})
        return self._requests.get(lease.thread_id)

    async def release(self, lease: Lease) -> None:
        """Give the lease back; its token stays used."""
        if self._leases[lease.thread_id].token == lease.token:
            self._leases[lease.thread_id] = Lease(**{**lease.__dict__, "owner": "", "expires": 0.0})

    async def request(self, thread_id: str, request: Request | None) -> None:
        """Ask a run to stop, or with None forget that somebody did."""
        if request is None:
            self._requests.pop(thread_id, None)
        else:
            self._requests[thread_id] = request

    async def threads(self) -> list[str]:
        """Return every thread that was ever held, the one touched last first."""
        return list(reversed(self._leases))

    def _check(self, lease: Lease) -> None:
        held = self._leases.get(lease.thread_id)
        if held is None or held.token != lease.token:
            raise LeaseLostError(lease.thread_id, held.owner if held else "")
