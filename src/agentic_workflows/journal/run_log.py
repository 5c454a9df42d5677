"""The log of one run: what its calls came to before, and what they write down now."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from agentic_workflows.errors import DatabaseError, take_error
from agentic_workflows.graph.outcome import Outcome, OutcomeStatus, Settlement
from agentic_workflows.journal.effects import Effects
from agentic_workflows.journal.entries import WHOLE, Intent, Past, Place, Recorded
from agentic_workflows.journal.lease import Held

FLUSH_SECONDS = 0.005
"""An outcome waits this long for a commit that it can share."""


class RunLog:
    """Finds what was done, and writes down what is about to be done and what came of it.

    Args:
        held: the lease that every write needs, and where it is kept.
        run_id: the run.
        past: what the journal knows of it.

    """

    def __init__(self, held: Held, run_id: str, past: Past) -> None:
        self._held, self._run_id = held, run_id
        self._known = held.runs[run_id] = {(one.intent.place, one.intent.attempt): one for one in past.outcomes}
        self.effects: Final = Effects(past)
        self._by_step: defaultdict[tuple[str, str], dict[int, Recorded]] = defaultdict(dict)
        """By the plan, step and item of a call, what it came to."""
        for place, ended in past.ended.items():
            self._by_step[place[:2]][place.item] = ended
        self._attempts = Counter[Place]()
        for call in past.calls:
            self._attempts[call.place] = max(self._attempts[call.place], call.attempt + 1)
        self._waiting: list[Recorded] = []
        self._used: list[str] = []
        self._is_unsure = False
        """Whether what waits may be in the journal already: its writer was cut, or lost the connection."""
        self._due = 0.0
        """When what waits is written, in the event loop's time."""
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None

    def outcomes_of(self, plan: str) -> dict[Place, Outcome]:
        """Return what the calls of a plan came to, by their places."""
        calls = (one for (of, _), each in self._by_step.items() if of == plan for one in each.values())
        return {one.intent.place: one.outcome for one in calls}

    def items_of(self, plan: str, step: str) -> dict[int, Outcome]:
        """Return what became of the items of a `foreach` that ended."""
        return {at: one.outcome for at, one in self._by_step[plan, step].items() if at != WHOLE}

    def may_still_happen(self, doubt: Intent) -> bool:
        """Tell whether who began an effect may only have been frozen, and do it yet."""
        return self._held.lease.may_still_happen(doubt)

    async def confirm(self, until: datetime | None) -> None:
        """Return if the run is still ours, having heard what was asked of it.

        Raises:
            LeaseLostError: another process has it.
            ExpiredError: `until` has passed, when an approval expires.
            DatabaseError: the journal could not be asked.

        """
        await self._held.write(self._run_id, until=until)

    async def intend(
        self,
        place: Place,
        action: str,
        key: str,
        *,
        rules: tuple[str, ...] = (),
        again: Intent | None = None,
        used: Sequence[str] = (),
        until: datetime | None = None,
    ) -> Intent:
        """Write down that an effect is about to happen, with every outcome it may derive from; then it is durable.

        An effect that is begun again keeps its occurrence: it is the same act, under the same idempotency key.

        Raises:
            ExpiredError: `until` has passed, when an approval among the used answers expires; nothing is written.

        """
        attempt = self._attempts.get(place, 0)
        self._attempts[place] = attempt + 1
        at = datetime.now(UTC).isoformat()
        intent = Intent(
            place=place,
            attempt=attempt,
            action=action,
            key=key,
            occurrence=self.effects.begin(place, key, again),
            at=at,
            token=self._held.lease.token,
            rules=rules,
        )
        doubt = None if again is None else self.effects.settle(again)
        # In the transaction of what takes its place; where that has other inputs, this may have happened beside it.
        is_other = again is not None and again.key != key
        settled = () if doubt is None else (Recorded(intent=doubt, outcome=replace(_SUPERSEDED, took_place=is_other)),)
        try:
            await self._write([intent], settled, used, until)
        except BaseException:
            if doubt is not None:  # nothing took its place
                self.effects.lose(doubt)
            raise
        return intent

    def record(
        self,
        place: Place,
        outcome: Outcome,
        begun: Intent | None = None,
        *,
        done: Recorded | None = None,
        action: str = "",
        rules: tuple[str, ...] = (),
        used: Sequence[str] = (),
    ) -> None:
        """Write down what became of a call, soon: with the next intent, or by itself after a moment.

        It settles `begun`, the intent of the call itself or of an equal effect of an earlier plan; `done` is such an
        effect that has ended, and counts as this call.
        """
        if place.item in self._by_step[place[:2]] and begun is None:
            return
        if begun is not None and self.effects.settle(begun) is not None and begun.place != place:
            self._waiting.append(Recorded(intent=begun, outcome=outcome))  # settled where it stands
        effect = begun or (done and done.intent)
        key, occurrence = (effect.key, effect.occurrence) if effect else ("", 0)
        if begun is None or begun.place != place:
            attempt, at = self._attempts.get(place, 0), outcome.started
            begun = Intent(
                place=place, attempt=attempt, action=action, key=key, occurrence=occurrence, at=at, rules=rules
            )
        recorded = Recorded(intent=begun, outcome=outcome)
        self._by_step[place[:2]][place.item] = recorded
        loop = asyncio.get_running_loop()
        if not self._waiting:
            self._due = loop.time() + FLUSH_SECONDS
        self._waiting.append(recorded)
        self._used += used
        if self._timer is None:
            self._timer = loop.call_at(self._due, self._flush_due)

    async def flush(self) -> None:
        """Write what still waits, and wait for what is on its way."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting or self._flushing is not None:
            await self._write()

    def _flush_due(self) -> None:
        """Write what waits, if it did not go with an intent; what came since then waits for its own time."""
        loop, self._timer = asyncio.get_running_loop(), None
        if self._waiting and loop.time() < self._due:
            self._timer = loop.call_at(self._due, self._flush_due)
        elif self._waiting:
            self._flush_soon()

    def _flush_soon(self) -> None:
        """Write what waits, after what is on its way; whoever writes an intent waits for it."""
        self._flushing = asyncio.ensure_future(self._write_after(self._flushing))
        self._flushing.add_done_callback(take_error)  # a run that was cut flushes no more

    async def _write_after(self, earlier: "asyncio.Task[None] | None") -> None:
        """Write what waits after what is on its way, so that a failure of that is heard of."""
        if earlier is not None:
            await earlier
        await self._write_waiting()

    async def _write(
        self,
        intents: Sequence[Intent] = (),
        settled: Sequence[Recorded] = (),
        used: Sequence[str] = (),
        until: datetime | None = None,
    ) -> None:
        """Write intents after all that came before them, what is on its way included."""
        await self._landed()
        await self._write_waiting(intents, settled, used, until)
        await self._landed()

    async def _landed(self) -> None:
        """Wait for what is on its way, also where others wait for it; raises what went wrong with it."""
        while (flushing := self._flushing) is not None:
            try:
                await asyncio.shield(flushing)  # it goes on where one of those who wait is cut
            finally:
                if flushing.done() and self._flushing is flushing:
                    self._flushing = None

    async def _write_waiting(
        self,
        intents: Sequence[Intent] = (),
        settled: Sequence[Recorded] = (),
        used: Sequence[str] = (),
        until: datetime | None = None,
    ) -> None:
        if self._is_unsure:
            await self._forget_written()
        outcomes, self._waiting = self._waiting, []
        answers, self._used = self._used, []
        if not (intents or outcomes):
            return
        try:
            await self._held.write(
                self._run_id,
                intents=intents,
                outcomes=[*outcomes, *settled],
                used=[*answers, *used],
                until=until,
            )
        except BaseException as error:
            self._waiting, self._used = [*outcomes, *self._waiting], [*answers, *self._used]
            is_cut = isinstance(error, asyncio.CancelledError)  # it may be on its way all the same
            self._is_unsure |= is_cut or isinstance(error, DatabaseError)
            if intents and outcomes and not is_cut:
                self._flush_soon()  # an intent beside this one may derive from them
            raise
        self._known.update(((one.intent.place, one.intent.attempt), one) for one in (*outcomes, *settled))

    async def _forget_written(self) -> None:
        """Drop from what waits to be written what the journal has already."""
        past = await self._held.journal.past(self._run_id, known=self._known)
        written = {(one.intent.place, one.intent.attempt) for one in past.outcomes}
        used = {one.review_id for one in past.answers.values() if one.used}
        self._waiting = [one for one in self._waiting if (one.intent.place, one.intent.attempt) not in written]
        self._used = [one for one in self._used if one not in used]
        self._is_unsure = False


_SUPERSEDED = Outcome(
    status=OutcomeStatus.FAILED,
    reason="It was in doubt, and is done again.",
    attempts=1,
    settlement=Settlement.AGAIN,
)
