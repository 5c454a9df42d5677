"""The log of a run: what was done before counts, and what is written down is on disk in order."""

import asyncio
import gc
from datetime import datetime
from typing import Any

import pytest

from agentic_workflows.errors import DatabaseError, ExpiredError
from agentic_workflows.graph.outcome import Outcome, OutcomeStatus
from agentic_workflows.journal.entries import Answered, Intent, Lease, Past, Place, Recorded
from agentic_workflows.journal.lease import Held
from agentic_workflows.journal.memory_journal import MemoryJournal
from agentic_workflows.journal.run_log import RunLog

DONE = Outcome(status=OutcomeStatus.SUCCEEDED, result="done", attempts=1)
FAILED = Outcome(status=OutcomeStatus.FAILED, reason="no", attempts=1)
HERE, THERE = Place("1:p", "a"), Place("2:q", "b")


class Slow(MemoryJournal):
    """Notes every write, takes its time, and fails on request."""

    def __init__(self, lease: Lease) -> None:
        super().__init__(leases=[lease])
        self.writes: list[tuple[list[str], list[str], list[str]]] = []
        self.fails: list[bool] = []
        self.seconds = 0.0

    async def write(
        self,
        lease: Lease,
        run_id: str,
        *,
        intents: Any = (),
        outcomes: Any = (),
        used: Any = (),
        until: datetime | None = None,
    ) -> Any:
        fails = bool(self.fails and self.fails.pop(0))
        await asyncio.sleep(self.seconds)
        if fails:
            raise DatabaseError("The disk is full.")
        written = ([one.place.step for one in intents], [one.intent.place.step for one in outcomes], list(used))
        request = await super().write(lease, run_id, intents=intents, outcomes=outcomes, until=until)
        self.writes.append(written)
        return request


LEASE = Lease(thread_id="t", owner="me", token=1, expires=1e12)


def log_after(*, outcomes: tuple[Recorded, ...] = (), in_doubt: tuple[Intent, ...] = ()) -> tuple[RunLog, Slow]:
    journal = Slow(LEASE)
    past = Past(outcomes=outcomes, in_doubt=in_doubt)
    return RunLog(Held(journal, LEASE), "r", past), journal


def recorded(place: Place, outcome: Outcome = DONE, *, attempt: int = 0, occurrence: int = 0) -> Recorded:
    return Recorded(intent=begun(place, attempt=attempt, occurrence=occurrence), outcome=outcome)


def begun(place: Place, *, attempt: int = 0, occurrence: int = 0) -> Intent:
    return Intent(place=place, attempt=attempt, action="act", key="k", occurrence=occurrence, at="then")


@pytest.mark.parametrize("fails", [True, False])
async def test_a_doubt_stays_in_doubt_where_nothing_takes_its_place(fails: bool) -> None:  # noqa: FBT001
    doubt = begun(HERE)
    log, journal = log_after(in_doubt=(doubt,))
    journal.fails = [fails]
    with pytest.raises(DatabaseError if fails else ExpiredError):
        await log.intend(HERE, "act", "k", again=doubt, until=None if fails else journal.now())
    await log.flush()
    assert (log.effects.claim_doubt(HERE, "k"), journal.writes) == (doubt, [])


async def test_an_effect_gets_a_key_of_its_own_after_an_intent_that_was_refused() -> None:
    log, journal = log_after()
    with pytest.raises(ExpiredError):
        await log.intend(HERE, "act", "k", until=journal.now())
    written = await log.intend(THERE, "act", "k")
    later, _ = log_after(outcomes=(Recorded(intent=written, outcome=DONE),))
    assert (await later.intend(Place("2:q", "c"), "act", "k")).occurrence != written.occurrence


REFUSED = Outcome(status=OutcomeStatus.FAILED, reason="no JSON", attempts=1, took_place=True)


@pytest.mark.parametrize("again", [True, False])
async def test_a_refused_effect_of_an_earlier_plan_is_that_of_one_call_of_a_later_one(again: bool) -> None:  # noqa: FBT001
    log, _ = log_after(outcomes=(recorded(HERE, REFUSED), recorded(Place("1:p", "b"), REFUSED, occurrence=1)))
    calls = [Place("2:q", name) for name in "xyz"]
    found: list[int | None] = []
    for place in calls:
        doubt = log.effects.claim_doubt(place, "k")
        found.append(None if doubt is None else doubt.occurrence)
        if again:
            await log.intend(place, "act", "k", again=doubt)
        else:  # a person says what came of it
            log.record(place, DONE, doubt)
    assert found == [0, 1, None]
    assert log.effects.claim_doubt(Place("3:r", "x"), "k") is not None


async def test_a_refused_effect_is_still_that_of_its_call_after_the_intent_to_do_it_again_was_refused() -> None:
    log, journal = log_after(outcomes=(recorded(HERE, REFUSED),))
    doubt = log.effects.claim_doubt(THERE, "k")
    with pytest.raises(ExpiredError):
        await log.intend(THERE, "act", "k", again=doubt, until=journal.now())
    assert (log.effects.claim_doubt(THERE, "k"), log.effects.claim_doubt(Place("2:q", "c"), "k")) == (doubt, None)


async def test_an_effect_that_was_refused_in_this_pass_is_that_of_its_own_call() -> None:
    log, _ = log_after()
    log.effects.refuse(await log.intend(HERE, "act", "k"), "no JSON")
    assert log.effects.claim_doubt(Place("1:p", "c"), "k") is None


async def test_what_is_noted_of_a_call_that_was_cut_leaves_its_effect_in_doubt() -> None:
    log, journal = log_after()
    written = await log.intend(HERE, "act", "k")
    log.record(HERE, FAILED)
    await log.flush()
    assert (await journal.past("r")).in_doubt == (written,)


async def test_an_attempt_gets_a_number_of_its_own_after_an_intent_that_was_refused() -> None:
    log, journal = log_after(in_doubt=(begun(HERE),))
    with pytest.raises(ExpiredError):
        await log.intend(HERE, "act", "k", again=begun(HERE), until=journal.now())
    written = await log.intend(HERE, "act", "k", again=begun(HERE))
    later, _ = log_after(outcomes=(recorded(HERE, FAILED),), in_doubt=(written,))
    assert (await later.intend(HERE, "act", "k", again=written)).attempt > written.attempt


async def test_a_doubt_may_still_have_happened_after_an_effect_with_other_inputs_took_its_place() -> None:
    log, journal = log_after(in_doubt=(begun(HERE),))
    log.record(HERE, DONE, await log.intend(HERE, "act", "other", again=begun(HERE)))
    await log.flush()
    later, _ = log_after(outcomes=(await journal.past("r")).outcomes)
    assert [later.effects.claim_doubt(THERE, key) for key in ("k", "other")] == [begun(HERE), None]


async def test_an_intent_is_written_with_all_outcomes_before_it_and_the_answers_it_uses() -> None:
    log, journal = log_after()
    for name in ("x", "y"):
        log.record(Place("1:p", name), DONE)
    await log.intend(HERE, "act", "k", used=["q"])
    assert journal.writes == [(["a"], ["x", "y"], ["q"])]


async def test_an_intent_has_every_outcome_before_it_where_the_one_that_took_them_along_was_refused() -> None:
    log, journal = log_after()
    journal.seconds = 0.01
    log.record(Place("1:p", "x"), DONE)
    refused = log.intend(HERE, "act", "k", until=journal.now())
    error, _ = await asyncio.gather(refused, log.intend(THERE, "act", "other"), return_exceptions=True)
    assert isinstance(error, ExpiredError)
    assert [steps for intents, outcomes, _ in journal.writes for steps in (*intents, *outcomes)] == ["b", "x"]


async def test_every_intent_waits_for_outcomes_on_their_way_and_hears_of_their_failure() -> None:
    log, journal = log_after()
    journal.seconds, journal.fails = 0.02, [True]
    log.record(Place("1:p", "x"), DONE)
    await asyncio.sleep(0.01)  # its write is on its way
    intents = log.intend(HERE, "act", "k"), log.intend(THERE, "act", "other")
    assert [type(one) for one in await asyncio.gather(*intents, return_exceptions=True)] == [DatabaseError] * 2
    assert journal.writes == []


async def test_outcomes_on_their_way_arrive_also_where_one_who_waits_for_them_is_cut() -> None:
    log, journal = log_after()
    journal.seconds = 0.02
    log.record(Place("1:p", "x"), DONE)
    await asyncio.sleep(0.01)  # its write is on its way
    cut, other = (asyncio.ensure_future(log.intend(at, "act", at.step)) for at in (HERE, THERE))
    await asyncio.sleep(0)
    cut.cancel()
    assert (await other).place == THERE
    assert journal.writes == [([], ["x"], []), (["b"], [], [])]


async def test_an_intent_waits_for_outcomes_that_came_while_it_waited_for_others() -> None:
    log, journal = log_after()
    journal.seconds, journal.fails = 0.03, [False, True]
    log.record(Place("1:p", "x"), DONE)
    await asyncio.sleep(0.01)  # its write is on its way
    intent = asyncio.ensure_future(log.intend(HERE, "act", "k"))
    await asyncio.sleep(0)
    log.record(Place("1:p", "y"), DONE)
    with pytest.raises(DatabaseError):
        await intent


@pytest.mark.parametrize("fails", [True, False])
async def test_outcomes_that_went_with_an_intent_that_was_cut_are_written_once(fails: bool) -> None:  # noqa: FBT001
    class Thread(Slow):
        """Goes on with what it writes where whoever waits for that is cut, as a writer thread does."""

        async def write(self, *args: Any, **more: Any) -> Any:
            return await asyncio.shield(asyncio.ensure_future(super().write(*args, **more)))

    journal = Thread(LEASE)
    log = RunLog(Held(journal, LEASE), "r", Past())
    log.record(HERE, DONE, await log.intend(HERE, "act", "k"))
    journal.fails, journal.seconds = [fails], 0.02
    intending = asyncio.ensure_future(log.intend(THERE, "act", "other"))
    await asyncio.sleep(0.01)
    intending.cancel()
    await asyncio.gather(intending, return_exceptions=True)
    await asyncio.sleep(0.03)
    await log.flush()
    past = await journal.past("r")
    assert [one.intent.place for one in past.outcomes] == [HERE]
    assert [one.place for one in past.in_doubt] == ([] if fails else [THERE])


async def test_outcomes_share_a_write_soon_after() -> None:
    log, journal = log_after()
    for name in ("x", "y", "z"):
        log.record(Place("1:p", name), DONE)
    await asyncio.sleep(0.05)
    assert journal.writes == [([], ["x", "y", "z"], [])]
    await log.flush()
    assert len(journal.writes) == 1


async def test_an_outcome_is_written_soon_also_where_an_intent_took_along_the_one_before() -> None:
    log, journal = log_after()
    log.record(Place("1:p", "x"), DONE)
    await log.intend(HERE, "act", "k")
    log.record(Place("1:p", "y"), DONE)
    await asyncio.sleep(0.05)
    assert journal.writes == [(["a"], ["x"], []), ([], ["y"], [])]


async def test_flush_writes_everything_that_waits() -> None:
    log, journal = log_after()
    log.record(HERE, DONE, used=["q"])
    log.record(THERE, DONE, used=["r"])
    await log.flush()
    assert journal.writes == [([], ["a", "b"], ["q", "r"])]


async def test_flush_waits_for_what_is_on_its_way() -> None:
    log, journal = log_after()
    journal.seconds = 0.02
    log.record(HERE, DONE)
    await asyncio.sleep(0.01)
    await log.flush()
    assert journal.writes == [([], ["a"], [])]


async def test_a_write_that_fails_is_heard_of_although_a_later_one_went_well() -> None:
    log, journal = log_after()
    journal.seconds, journal.fails = 0.03, [True]
    log.record(HERE, DONE)
    await asyncio.sleep(0.01)  # the first is on its way
    log.record(THERE, DONE)
    await asyncio.sleep(0.01)  # and the second one's moment has come
    with pytest.raises(DatabaseError):
        await log.flush()


class Unheard(MemoryJournal):
    """Is lost before it tells that it has written something, once."""

    lost = True

    async def write(self, lease: Lease, run_id: str, **values: Any) -> Any:
        request = await super().write(lease, run_id, **values)
        if self.lost:
            self.lost = False
            raise DatabaseError("The connection is lost.")
        return request


async def test_what_a_write_left_of_which_nobody_heard_is_written_no_more() -> None:
    journal = Unheard(leases=[LEASE])
    log = RunLog(Held(journal, LEASE), "r", Past())
    for name in "qr":
        answer = {"review_id": name, "run_id": "r", "answer": {"type": "approve"}, "reviewer": "me", "at": "then"}
        await journal.answer(Answered(**answer))
    log.record(HERE, DONE, used=["q"])
    with pytest.raises(DatabaseError, match="lost"):
        await log.flush()
    log.record(THERE, DONE, used=["r"])
    await log.flush()
    past = await journal.past("r")
    assert [one.intent.place for one in past.outcomes] == [HERE, THERE]
    assert [one.used for one in past.answers.values()] == [True, True]


async def test_a_write_that_fails_after_its_run_was_cut_is_reported_by_nobody() -> None:
    trouble: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
    log, journal = log_after()
    journal.fails = [True]
    log.record(HERE, DONE)
    await asyncio.sleep(0.03)
    assert journal.fails == []
    del log
    gc.collect()
    assert trouble == []


async def test_equal_effects_of_a_run_are_told_apart_by_their_occurrence() -> None:
    log, _ = log_after()
    intents = [await log.intend(Place("1:p", name), "act", "k") for name in ("a", "b")]
    assert [one.occurrence for one in intents] == [0, 1]
    assert [one.attempt for one in intents] == [0, 0]


async def test_the_last_attempt_of_a_call_is_what_became_of_it() -> None:
    log, _ = log_after(outcomes=(recorded(HERE, DONE, attempt=1), recorded(HERE, FAILED)))
    assert log.outcomes_of("1:p") == {HERE: DONE}


async def test_an_attempt_in_doubt_outweighs_an_earlier_outcome() -> None:
    one = begun(HERE, attempt=1)
    log, _ = log_after(outcomes=(recorded(HERE, FAILED),), in_doubt=(one,))
    assert (log.outcomes_of("1:p"), log.effects.claim_doubt(HERE, "k")) == ({}, one)


async def test_an_effect_begun_again_keeps_its_occurrence_and_settles_the_doubt() -> None:
    one = begun(HERE, occurrence=3)
    log, journal = log_after(in_doubt=(one,))
    again = await log.intend(HERE, "act", "k", again=one)
    assert (again.occurrence, again.attempt) == (3, 1)
    log.record(HERE, DONE, again)
    await log.flush()
    past = await journal.past("r")
    assert [(one.intent.attempt, one.outcome.status) for one in past.outcomes] == [(0, "failed"), (1, "succeeded")]
    assert past.in_doubt == ()
