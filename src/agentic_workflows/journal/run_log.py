"""The log of one run: what its calls came to before, and what they write down now."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from agentic_workflows.errors import DatabaseError, take_error
from agentic_workflows.graph.outcome import GIVEN, Outcome, OutcomeStatus, Settlement
from agentic_workflows.journal.entries import WHOLE, Intent, Past, Place, Recorded, attempt_of
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
        self._in_doubt = {one.place: one for one in past.in_doubt}
        self._by_step: defaultdict[tuple[str, str], dict[int, Recorded]] = defaultdict(dict)
        """By the plan, step and item of a call, what it came to."""
        for place, ended in past.ended.items():
            self._by_step[place[:2]][place.item] = ended
        self._done: dict[str, list[Recorded]] = {}
        ended_calls = [one.intent for one in past.outcomes]
        calls = [*ended_calls, *past.in_doubt]
        self._claimed = {(one.place.plan, one.key, one.occurrence): one.place for one in calls}
        """By the plan and the effect, which of its calls that effect counts as."""
        for one in past.outcomes:
            if one.outcome.status == OutcomeStatus.SUCCEEDED and one.intent.key and one.outcome.reason != GIVEN:
                self._done.setdefault(one.intent.key, []).append(one)
        for each in self._done.values():  # the last word first: where a result did not fit, a person may have given two
            each.sort(key=lambda one: one.intent.place.plan_number, reverse=True)
        given = past.given
        self._given = {(one.key, one.occurrence) for one in ended_calls if given and str(attempt_of(one)) in given}
        """Effects of which a person gave the result."""
        refused = [one for one in past.outcomes if one.intent.key and _is_refused(one.outcome)]
        self._refused = {one.intent: one.outcome.reason for one in refused}
        self._given_up = {one.intent for one in refused if one.outcome.settlement is Settlement.ANSWERED}
        # Not how many there are, of both: an intent that was refused leaves a gap.
        self._occurrences = Counter[str]()
        for _, key, occurrence in self._claimed:
            self._occurrences[key] = max(self._occurrences[key], occurrence + 1)
        self._attempts = Counter[Place]()
        for call in calls:
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

    def claim_done(self, place: Place, key: str) -> Recorded | None:
        """Return an equal effect of an earlier plan that is done, and counts as this call from now on."""
        begun = self._in_doubt.get(place)
        if begun is not None and begun.key == key:  # by the call itself: a person wanted it done again
            return None
        return next((one for one in self._done.get(key, ()) if self._claim(place, one.intent)), None)

    def claim_doubt(self, place: Place, key: str) -> Intent | None:
        """Return the intent of an effect that may have happened, and counts as this call from now on.

        It is that of this call, or an equal one of an earlier plan. An effect that took place and whose result was
        refused is one of these: doing it again is for a person to say.
        """
        if place in self._in_doubt:
            return self._in_doubt[place]
        return next((one for one in self._unknown(key) if self._claim(place, one)), None)

    def is_known(self, place: Place, key: str) -> bool:
        """Tell whether `claim_done` or `claim_doubt` would find something; claim nothing."""
        equal = (*(one.intent for one in self._done.get(key, ())), *self._unknown(key))
        return place in self._in_doubt or any(self._is_free(one, place) for one in equal)

    def _unknown(self, key: str) -> Iterator[Intent]:
        return (one for one in (*self._in_doubt.values(), *self._refused) if one.key == key)

    def _claim(self, place: Place, one: Intent) -> bool:
        """Claim an effect for a call; False where it counts as another call of the same plan."""
        return self._claimed.setdefault((place.plan, one.key, one.occurrence), place) == place

    def _is_free(self, one: Intent, place: Place) -> bool:
        return self._claimed.get((place.plan, one.key, one.occurrence), place) == place

    def doubt_at(self, place: Place) -> Intent | None:
        """Return the intent of the call at this place, where it may have happened."""
        return self._in_doubt.get(place)

    def is_in_doubt(self, plan: str, step: str) -> bool:
        """Tell whether a step, or an item of it, was begun and may have happened."""
        return any((place.plan, place.step) == (plan, step) for place in self._in_doubt)

    def is_given(self, done: Recorded) -> bool:
        """Tell whether a person gave the result of an effect, also where it was done again since."""
        return (done.intent.key, done.intent.occurrence) in self._given

    def is_given_up(self, doubt: Intent) -> bool:
        """Tell whether a person gave up an effect that may have happened."""
        return doubt in self._given_up

    def refuse(self, doubt: Intent, why: str) -> None:
        """Note why nobody can use what is known of an effect, for whoever is asked about it."""
        self._refused[doubt] = why

    def told(self, doubt: Intent, *, heard: str = "") -> str:
        """Return in words what is known of an effect in doubt: why its result was refused, or what was heard last."""
        known = self._refused.get(doubt, heard).removesuffix(".")
        return f"this is known of it: {known}." if known else "nothing is known of its end."

    def may_still_happen(self, doubt: Intent) -> bool:
        """Tell whether who began an effect may only have been frozen, and do it yet."""
        return self._held.lease.may_still_happen(doubt)

    def lose(self, begun: Intent) -> None:
        """Note that an effect that this process has begun is in doubt, as after a kill."""
        self._in_doubt[begun.place] = begun

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
        is_same = again is not None and again.key == key
        following, attempt = self._occurrences.get(key, 0), self._attempts.get(place, 0)
        occurrence = again.occurrence if again is not None and is_same else following
        self._occurrences[key] = following + (not is_same)
        self._attempts[place] = attempt + 1
        at = datetime.now(UTC).isoformat()
        intent = Intent(
            place=place,
            attempt=attempt,
            action=action,
            key=key,
            occurrence=occurrence,
            at=at,
            token=self._held.lease.token,
            rules=rules,
        )
        self._claimed[place.plan, key, occurrence] = place
        doubt = None if again is None else self._in_doubt.pop(again.place, None)
        # In the transaction of what takes its place; where that has other inputs, this may have happened beside it.
        settled = (
            () if doubt is None else (Recorded(intent=doubt, outcome=replace(_SUPERSEDED, took_place=not is_same)),)
        )
        try:
            await self._write([intent], settled, used, until)
        except BaseException:
            if doubt is not None:  # nothing took its place
                self._in_doubt[doubt.place] = doubt
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
        if begun is not None and self._in_doubt.pop(begun.place, None) is not None and begun.place != place:
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


def _is_refused(outcome: Outcome) -> bool:
    """Tell whether a call failed although its effect took place, or may have; older rows tell it by their result."""
    return outcome.status.is_failure and (outcome.took_place or outcome.result is not None)
