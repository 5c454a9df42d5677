"""What the journal holds, and what a journal is.

An effect is written down before it happens (`Intent`) and what became of it afterwards (`Recorded`). A call is known by
its place (plan, step, item) and by its content: `key` is a digest of action and resolved inputs, `occurrence` counts
equal calls of a run, so that an equal effect in a new plan is recognised.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Final, NamedTuple, Protocol, TypeAlias

from agentic_workflows.errors import LeaseLostError
from agentic_workflows.graph.outcome import Outcome
from agentic_workflows.graph.plan import plan_number
from agentic_workflows.graph.review import Answer, Respond, from_json
from agentic_workflows.graph.state import Request
from agentic_workflows.graph.values import JsonObject, JsonValue
from agentic_workflows.journal.owner import is_dead, unsure_token

WHOLE = -1
"""The item of a step that is no `foreach`."""
_IDEMPOTENCY_KEY: Final = re.compile(r"(.+):[0-9a-f]{64}:\d+", re.DOTALL)


def idempotency_key(run_id: str, key: str, occurrence: int) -> str:
    """Return the key under which an effect is done, however often it is begun."""
    return f"{run_id}:{key}:{occurrence}"


def run_of_key(name: str) -> str | None:
    """Return the run of the effect whose idempotency key a name is, where it is one by its looks."""
    found = _IDEMPOTENCY_KEY.fullmatch(name)
    return found[1] if found else None


class Place(NamedTuple):
    """Where a call stands in a run."""

    plan: str
    """Names the plan among those of the run: its number and digest."""
    step: str
    item: int = WHOLE

    @property
    def plan_number(self) -> int:
        """Return which planner call of the run gave the plan."""
        return plan_number(self.plan)


@dataclass(frozen=True, kw_only=True, slots=True)
class Intent:
    """A call that is about to be made; where it has an effect, that is written down first."""

    place: Place
    attempt: int
    action: str = ""
    key: str = ""
    """Digest of the content; empty where nothing has an effect."""
    occurrence: int = 0
    at: str = ""
    """ISO 8601, UTC."""
    token: int = 0
    """Of the lease under which an effect was begun; older rows lack it."""
    rules: tuple[str, ...] = ()
    """Ids of the policy rules under which it was allowed; where a person approved it, of those that asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """What became of a call."""

    intent: Intent
    outcome: Outcome


Known: TypeAlias = dict[tuple[tuple[str, str, int], int], Recorded]
"""What became of calls, by their places and attempts."""
NOTHING_KNOWN: Final[Known] = {}


def attempt_of(one: Intent) -> list[JsonValue]:
    """Return plan, step, item and attempt of an intent: how a question names the effect that it is about."""
    return [*one.place, one.attempt]


@dataclass(frozen=True, kw_only=True)
class Past:
    """Everything that the journal knows of a run's calls."""

    outcomes: tuple[Recorded, ...] = ()
    in_doubt: tuple[Intent, ...] = ()
    """Intents without outcome: the effect may have happened."""
    answers: Mapping[str, "Answered"] = field(default_factory=dict)
    """What people answered, used or not, by review id."""

    @property
    def calls(self) -> Iterator[Intent]:
        """Yield the intent of every attempt, those without outcome last."""
        return chain((one.intent for one in self.outcomes), self.in_doubt)

    @property
    def ended(self) -> "dict[Place, Recorded]":
        """Return what each call came to, by its last attempt; what is in doubt has come to nothing yet."""
        in_doubt = {one.place for one in self.in_doubt}
        by_attempt = sorted(self.outcomes, key=lambda one: one.intent.attempt)
        return {one.intent.place: one for one in by_attempt if one.intent.place not in in_doubt}

    @property
    def given(self) -> frozenset[str]:
        """Return the effects in doubt, each as the text of its `attempt_of`, of which a person gave the result."""
        return frozenset(row.about[-1] for row in self.answers.values() if isinstance(row.said, Respond))

    @property
    def counts(self) -> Counter[str]:
        """Return how many calls were started, by action; an effect counts once, however often it was begun."""
        effects = {(one.key, one.occurrence): one.action for one in self.calls if one.key}
        others = (one.intent.action for one in self.outcomes if one.outcome.attempts and not one.intent.key)
        return Counter([*effects.values(), *others])


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A run that was begun and of which no checkpoint is kept yet: all that is needed to begin it again."""

    run_id: str
    goal: str
    entry: JsonObject
    """What it was given beside the goal."""
    at: str
    plan: JsonObject | None = None
    """The last one that is written down."""
    number: int = 0
    """Which planner call gave that plan."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A person's answer, as a row that counts once."""

    review_id: str
    run_id: str
    answer: JsonObject
    reviewer: str
    at: str
    """ISO 8601, by the journal's clock."""
    used: bool = False
    """Whether it has counted for a call; it counts for no other then."""

    @property
    def said(self) -> Answer:
        """Return what the person said."""
        return from_json(self.answer, id=self.review_id)

    @property
    def about(self) -> tuple[object, object, str]:
        """Return what it was asked about: the call of a step or an item; of one in doubt, which attempt at it."""
        return self.answer.get("step"), self.answer.get("item"), str(self.answer.get("in_doubt"))

    @property
    def plan(self) -> object:
        """Return the plan under which it was asked; None in older rows."""
        return self.answer.get("plan")

    @property
    def shown(self) -> object:
        """Return the digest of the call that was shown, action and inputs; None in older rows."""
        return self.answer.get("shown")

    @property
    def after(self) -> int:
        """Return how many answers of its run came before it; the time does not tell, for a clock may be set back."""
        after = self.answer.get("after")
        return after if isinstance(after, int) else 0


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to write for a thread; whoever has an older token writes nothing any more."""

    thread_id: str
    owner: str
    token: int
    expires: float
    """Seconds since the epoch."""
    request: Request | None = None
    """What was asked of the run before the lease was taken."""

    def is_held(self, now: float) -> bool:
        """Tell whether it has not run out, and its owner is not known to be dead."""
        return self.expires > now and not is_dead(self.owner)

    def may_still_happen(self, one: Intent) -> bool:
        """Tell whether who began an effect may only have been frozen, and do it yet: it is not known to be dead."""
        token = unsure_token(self.owner)
        return token is not None and one.token <= token


class Journal(Protocol):
    """An append-only store of runs; every write is durable when it returns, and refused without the lease."""

    def now(self) -> datetime:
        """Return the time by which answers are given and expire."""
        ...

    async def begin(self, lease: Lease, run_id: str, goal: str, entry: JsonObject | None = None) -> None:
        """Write down that a run began, once; the runs before it on its thread are not begun again from now on.

        Args:
            lease: of its thread.
            run_id: the run.
            goal: what is wanted.
            entry: what it was given, where it must be begun with that again until a checkpoint is kept.

        """
        ...

    async def begun(self, thread_id: str) -> Begun | None:
        """Return the last run of a thread, where no checkpoint of it is kept and so it is to be begun again."""
        ...

    async def amend(self, lease: Lease, run_id: str, entry: JsonObject) -> None:
        """Change what a run is begun with again, where no checkpoint of it is kept."""
        ...

    async def keep(self, lease: Lease, run_id: str) -> None:
        """Note that a checkpoint of a run is kept, so that it is not begun again."""
        ...

    async def run_of(self, run_id: str) -> tuple[str, str] | None:
        """Return the thread that a run belongs to, and the goal that it was begun with, where the run is known."""
        ...

    async def runs(self, thread_id: str) -> dict[str, str]:
        """Return the runs that were begun on a thread, oldest first, with their goals."""
        ...

    async def propose(self, lease: Lease, run_id: str, number: int, plan: JsonObject) -> JsonObject:
        """Write down the plan of a planner call, and return the one that is written there: the first one counts."""
        ...

    async def proposed(self, run_id: str, number: int) -> JsonObject | None:
        """Return the plan of a planner call, where it is written down."""
        ...

    async def next_plan(self, run_id: str, number: int) -> tuple[int, JsonObject] | None:
        """Return the first plan that is written down of this planner call or a later one, and which call gave it."""
        ...

    async def past(self, run_id: str, *, known: Known = NOTHING_KNOWN) -> Past:
        """Return what is written down of a run's calls.

        Args:
            run_id: the run.
            known: what was read or written of it before: an outcome never changes, so these need no reading.

        """
        ...

    async def answers(self, run_id: str) -> "dict[str, Answered]":
        """Return what people answered, used or not, by review id."""
        ...

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
        """Write intents and outcomes and use up answers in one transaction; returns what somebody asked of the run.

        Raises:
            ReviewError: an answer was used before.
            ExpiredError: it is not before `until` any more, when an approval expires; nothing is written.

        """
        ...

    async def answer(self, answered: Answered) -> bool:
        """Write an answer; False where the question has one already, which then stays."""
        ...

    async def acquire(self, thread_id: str, owner: str, seconds: float) -> Lease:
        """Take the lease of a thread.

        Raises:
            RunBusyError: another owner has it, and is not known to be dead.

        """
        ...

    async def renew_all(self, leases: Sequence[Lease], seconds: float) -> list[Request | LeaseLostError | None]:
        """Keep leases for longer; returns of each what somebody asked of the run, or that another owner took it."""
        ...

    async def release(self, lease: Lease) -> None:
        """Give the lease back."""
        ...

    async def holder(self, thread_id: str) -> Lease | None:
        """Return the lease of a thread, where anybody holds it who is not known to be dead."""
        ...

    async def is_held(self) -> bool:
        """Tell whether anybody holds a thread, and so may be running it."""
        ...

    async def request(self, thread_id: str, request: Request) -> bool:
        """Ask a run to stop; tells whether the thread is known. A pause does not take the place of a cancel."""
        ...

    async def clear(self, lease: Lease, honoured: Request | None) -> None:
        """Forget what was asked of the run, where that is still the request that its holder honoured."""
        ...

    async def timeline(self, thread_id: str) -> list[JsonObject]:
        """Return everything that is written down about a thread, oldest first, each entry with `at` and `what`."""
        ...

    async def forget(self, lease: Lease, *within: str, checkpoints: bool = False) -> None:
        """Remove everything that is written down about a thread and those within, at once.

        Args:
            lease: of the thread.
            within: threads that have no other owner than that one.
            checkpoints: remove also those of the thread. LangGraph's saver would do so whoever has the lease by then.

        """
        ...

    async def sweep(self) -> None:
        """Remove what runs share with each other and none has any more, such as the large results of forgotten ones."""
        ...

    async def threads(self) -> list[str]:
        """Return every thread that was ever held, the one touched last first."""
        ...
