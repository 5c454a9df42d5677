"""Holding a lease."""

import asyncio
import subprocess
import sys
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from threading import Event, Thread
from typing import Any

import pytest

from agentic_workflows.errors import DatabaseError, LeaseLostError, RunBusyError
from agentic_workflows.graph.state import Request
from agentic_workflows.journal.entries import Lease
from agentic_workflows.journal.lease import Leases
from agentic_workflows.journal.memory_journal import MemoryJournal
from agentic_workflows.journal.owner import new_owner, unsure_token
from agentic_workflows.under_way import under_way


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_held_thread_is_busy_and_free_afterwards() -> None:
    leases = Leases(MemoryJournal())
    async with leases.hold("t"):
        with pytest.raises(RunBusyError):
            async with leases.hold("t"):
                pass
        async with leases.hold("other"):
            pass
    async with leases.hold("t") as held:
        assert held.lease.token == 2


async def test_who_holds_it_already_gets_the_same_lease() -> None:
    leases = Leases(MemoryJournal())
    async with leases.hold("t") as outer:
        async with leases.hold("t", owner=outer.lease.owner) as inner:
            assert inner is outer
        async with leases.hold("other", owner=outer.lease.owner) as other:
            assert other.lease.thread_id == "other"
        await leases.journal.write(outer.lease, "r")
    with pytest.raises(RunBusyError):
        async with leases.hold("t"), leases.hold("t", owner="somebody"):
            pass


async def test_a_node_on_a_server_waits_for_a_lease_that_runs_out() -> None:
    leases = Leases(MemoryJournal(), seconds=0.2)
    await leases.journal.acquire("t", "elsewhere:1:1:x", 0.2)
    async with asyncio.timeout(5), leases.hold("t", wait=2) as held:
        assert held.lease.token == 2


async def test_a_lease_is_kept_while_it_is_held() -> None:
    leases = Leases(MemoryJournal(), seconds=0.2)
    async with leases.hold("t"):
        await asyncio.sleep(0.5)
        with pytest.raises(RunBusyError):
            await leases.journal.acquire("t", new_owner(), 30)


class Asked(MemoryJournal):
    """A journal that counts how often it is asked about leases, and about how many; it can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.is_away = list[int](), False

    async def renew_all(self, leases: Sequence[Lease], seconds: float) -> list[Request | LeaseLostError | None]:
        self.asked.append(len(leases))
        if self.is_away:
            raise DatabaseError("It is away.")
        return await super().renew_all(leases, seconds)


async def test_many_runs_at_once_are_looked_after_with_one_question() -> None:
    leases = Leases(journal := Asked(), seconds=0.3)
    async with AsyncExitStack() as stack:
        several = [await stack.enter_async_context(leases.hold(f"t{at}")) for at in range(100)]
        await journal.request("t99", "cancel")
        journal.asked.clear()  # taking them all may take long
        await asyncio.sleep(0.55)
        assert [held.request for held in several] == [*[None] * 99, "cancel"]
    assert journal.asked in ([100] * asked for asked in (3, 4, 5))


async def test_the_others_are_kept_when_the_first_one_ends_and_nothing_is_left_after_the_last() -> None:
    leases = Leases(journal := Asked(), seconds=0.2)
    async with AsyncExitStack() as later:
        async with leases.hold("first"):
            await later.enter_async_context(leases.hold("second"))
        await asyncio.sleep(0.5)
        with pytest.raises(RunBusyError):
            await journal.acquire("second", new_owner(), 30)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    journal.asked.clear()
    await asyncio.sleep(0.2)
    assert journal.asked == []


def test_leases_are_kept_on_each_event_loop_also_when_the_others_are_gone() -> None:
    leases = Leases(journal := Asked(), seconds=0.2)

    async def hold(thread_id: str, seconds: float) -> bool:
        async with leases.hold(thread_id) as held:
            await asyncio.sleep(seconds)
            return held.lost is None and journal._leases[thread_id].expires > journal._clock()

    with ThreadPoolExecutor() as threads:
        kept = [threads.submit(asyncio.run, hold(f"t{at}", seconds)) for at, seconds in enumerate((0.1, 0.3, 0.6))]
        assert [one.result() for one in kept] == [True, True, True]
    assert asyncio.run(hold("after", 0.3))


async def test_leases_are_kept_by_a_database_that_was_away_for_a_while() -> None:
    leases = Leases(journal := Asked(), seconds=0.6)
    async with leases.hold("t") as held:
        journal.is_away = True
        await asyncio.sleep(0.3)
        journal.is_away = False
        await journal.request("t", "pause")
        await asyncio.sleep(0.4)
        assert (held.request, held.lost) == ("pause", None)
        with pytest.raises(RunBusyError):
            await journal.acquire("t", new_owner(), 30)


async def test_a_lease_that_was_taken_is_noticed() -> None:
    clock = Clock()
    leases = Leases(MemoryJournal(clock=clock), seconds=0.2)
    async with leases.hold("t") as held:
        clock.now += 10
        await leases.journal.acquire("t", "elsewhere:1:1:x", 30)
        async with leases.hold("other") as other:
            await asyncio.sleep(0.2)
            assert (type(held.lost), other.lost) == (LeaseLostError, None)


async def test_a_request_is_heard_from_this_process_at_once_and_from_another_soon() -> None:
    leases = Leases(MemoryJournal(), seconds=0.2)
    async with leases.hold("t") as held:
        leases.ask("t", "pause")
        assert held.request == "pause"
        await held.clear()
        assert held.request is None
        await leases.journal.request("t", "cancel")
        await asyncio.sleep(0.3)
        assert held.request == "cancel"
        leases.ask("t", "pause")
        assert held.request == "cancel"


async def test_what_was_asked_in_this_process_stays_where_the_journal_knows_of_nothing() -> None:
    leases = Leases(MemoryJournal())
    async with leases.hold("t") as held:
        leases.ask("t", "pause")
        await held.write("r")
        assert held.request == "pause"


async def test_a_pause_is_forgotten_once_it_is_honoured_and_a_cancel_is_not() -> None:
    leases = Leases(journal := MemoryJournal())
    async with leases.hold("t") as held:
        for asked, stays in (("pause", None), ("cancel", "cancel")):
            await journal.request("t", asked)  # type: ignore[arg-type]  # one by one
            await held.write("r")
            assert await held.honour() == asked
            assert (held.request, await journal.renew_all([held.lease], 30)) == (stays, [stays])


async def test_what_was_honoured_is_forgotten_also_where_a_renewal_tells_it_once_more() -> None:
    class Slow(MemoryJournal):
        async def clear(self, lease: Lease, honoured: Request | None) -> None:
            held.hear("pause")  # of a renewal before it
            await super().clear(lease, honoured)

    leases = Leases(Slow())
    async with leases.hold("t") as held:
        leases.ask("t", "pause")
        await held.clear()
        assert held.request is None


@pytest.mark.parametrize("is_ours", [True, False])
async def test_what_is_asked_while_something_earlier_is_honoured_stays(*, is_ours: bool) -> None:
    class Slow(MemoryJournal):
        async def clear(self, lease: Lease, honoured: Request | None) -> None:
            await self.request("t", "cancel")
            if is_ours:
                leases.ask("t", "cancel")
            await super().clear(lease, honoured)

    leases = Leases(Slow())
    async with leases.hold("t") as held:
        leases.ask("t", "pause")
        await leases.journal.request("t", "pause")
        await held.clear()
        assert held.request == ("cancel" if is_ours else None)
    async with leases.hold("t") as held:
        assert held.request == "cancel"


async def test_a_lease_is_given_back_when_its_holder_fails() -> None:
    leases = Leases(MemoryJournal())
    with pytest.raises(ValueError, match="x"):
        async with leases.hold("t"):
            raise ValueError("x")
    async with leases.hold("t"):
        pass


async def test_with_a_lease_that_could_not_be_given_back_its_own_process_goes_on() -> None:
    class Locked(MemoryJournal):
        async def release(self, lease: Lease) -> None:  # noqa: ARG002 - the journal's own
            raise DatabaseError("database is locked")

    leases = Leases(Locked())
    async with leases.hold("t") as held:
        pass
    async with leases.hold("t") as again:
        assert again.lease.token == held.lease.token + 1


def run_and_cut(work: Coroutine[Any, Any, Any], turns: int) -> None:
    """Run work in an event loop that cuts it after a moment, and ends so many turns later."""

    async def cut() -> None:
        working = asyncio.create_task(work)
        await asyncio.sleep(0.01)
        working.cancel()
        for _ in range(turns):
            await asyncio.sleep(0)

    asyncio.run(cut())


@pytest.mark.parametrize("turns", range(6))
def test_a_lease_that_an_event_loop_cut_in_its_last_turns_is_taken_over_by_its_own_process(turns: int) -> None:
    async def hold(seconds: float) -> None:
        async with leases.hold("t"):
            await asyncio.sleep(seconds)

    leases = Leases(MemoryJournal())
    run_and_cut(hold(5), turns)
    asyncio.run(hold(0))
    assert leases._beats == {}


async def test_a_lease_that_an_act_could_not_give_back_is_taken_over_by_its_own_process() -> None:
    class Away(MemoryJournal):
        async def release(self, lease: Lease) -> None:  # noqa: ARG002 - the journal's own
            raise DatabaseError("It is away.")

    leases = Leases(Away())
    async with leases.hold("t") as held:
        held.runs["r"] = {}
        act = Act("r:a:0")
    act.end()
    async with asyncio.timeout(5), leases.hold("t", wait=2) as again:
        assert again.lease.token == 2


async def test_a_lease_of_which_nobody_heard_that_it_was_taken_is_taken_over_by_its_own_process() -> None:
    class Unheard(MemoryJournal):
        async def acquire(self, thread_id: str, owner: str, seconds: float) -> Lease:
            taken = await super().acquire(thread_id, owner, seconds)
            if taken.token == 1:
                raise DatabaseError("server closed the connection unexpectedly")
            return taken

    leases = Leases(Unheard())
    with pytest.raises(DatabaseError):
        async with leases.hold("t"):
            pass
    async with leases.hold("t") as held:
        assert held.lease.token == 2


@pytest.mark.parametrize("after", [0.01, 0.03, 0.05])
def test_a_lease_that_an_event_loop_cut_as_it_ended_is_taken_over_by_its_own_process(after: float) -> None:
    class Slow(MemoryJournal):
        async def acquire(self, thread_id: str, owner: str, seconds: float) -> Lease:
            taken = await super().acquire(thread_id, owner, seconds)
            await asyncio.sleep(0.02)
            return taken

        async def release(self, lease: Lease) -> None:
            await asyncio.sleep(0.02)
            await super().release(lease)

    async def hold(seconds: float) -> None:
        async with leases.hold("t"):
            await asyncio.sleep(seconds)

    async def cut() -> None:
        await asyncio.gather(hold(0.02), asyncio.wait_for(asyncio.Event().wait(), after))

    leases = Leases(Slow())
    with pytest.raises(TimeoutError):
        asyncio.run(cut())
    asyncio.run(hold(0))


async def test_a_lease_is_given_back_where_its_holder_is_cut_in_taking_it() -> None:
    class Slow(MemoryJournal):
        async def acquire(self, thread_id: str, owner: str, seconds: float) -> Lease:
            taken = await super().acquire(thread_id, owner, seconds)
            await asyncio.sleep(0.05)  # it is taken, and nobody has heard of it yet
            return taken

    async def hold() -> None:
        async with leases.hold("t"):
            pass

    leases = Leases(Slow())
    taking = asyncio.create_task(hold())
    await asyncio.sleep(0.01)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    await hold()


async def test_a_lease_that_is_cut_in_being_taken_and_cannot_be_given_back_is_taken_over_by_its_own_process() -> None:
    class Away(MemoryJournal):
        async def acquire(self, thread_id: str, owner: str, seconds: float) -> Lease:
            taken = await super().acquire(thread_id, owner, seconds)
            await asyncio.sleep(0.02)
            return taken

        async def release(self, lease: Lease) -> None:  # noqa: ARG002 - the journal's own
            raise DatabaseError("It is away.")

    async def hold() -> int:
        async with leases.hold("t") as held:
            return held.lease.token

    leases = Leases(Away())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(hold(), 0.01)
    assert await hold() == 2


@pytest.mark.parametrize("cuts", [1, 2, 3])
@pytest.mark.parametrize("where", ["taking", "holding"])
async def test_a_lease_is_given_back_however_often_its_holder_is_cut(where: str, cuts: int) -> None:
    class Slow(MemoryJournal):
        async def acquire(self, thread_id: str, owner: str, seconds: float) -> Lease:
            taken = await super().acquire(thread_id, owner, seconds)
            await asyncio.sleep(0.02 if where == "taking" else 0)
            return taken

        async def release(self, lease: Lease) -> None:
            await asyncio.sleep(0.02)
            await super().release(lease)

    async def hold() -> None:
        async with leases.hold("t"):
            await asyncio.sleep(5)

    leases = Leases(Slow())
    holding = asyncio.create_task(hold())
    for _ in range(cuts):
        await asyncio.sleep(0.01)
        holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holding
    if cuts > 2:  # it is not even waited for
        await asyncio.sleep(0.05)
    assert not await leases.journal.is_held()


class Act:
    """An effect that goes on in a thread until it is told to end."""

    def __init__(self, key: str) -> None:
        self._end, begun = Event(), Event()

        def act() -> None:
            with under_way(key):
                begun.set()
                self._end.wait(10)

        self._thread = Thread(target=act)
        self._thread.start()
        begun.wait(10)

    def end(self) -> None:
        self._end.set()
        self._thread.join(10)


async def test_a_lease_is_kept_from_others_until_the_last_act_of_its_run_has_ended() -> None:
    leases = Leases(MemoryJournal())
    async with leases.hold("t") as held:
        held.runs["r"] = {}
        acts = [Act("r:a:0"), Act("r:b:0"), Act("other:a:0")]
    for act in acts[:2]:
        assert await leases.journal.is_held()
        with pytest.raises(RunBusyError):
            await leases.journal.acquire("t", "elsewhere:1:1:x", 30)
        act.end()
    async with asyncio.timeout(5):
        while await leases.journal.is_held():
            await asyncio.sleep(0.01)
    assert (await leases.journal.acquire("t", "elsewhere:1:1:x", 30)).token == 2
    acts[2].end()


@pytest.mark.parametrize("turns", range(6))
def test_a_lease_that_an_event_loop_cut_in_its_last_turns_is_left_to_an_act_that_goes_on(turns: int) -> None:
    async def hold(seconds: float) -> int:
        async with leases.hold("t") as held:
            held.runs["r"] = {}
            await asyncio.sleep(seconds)
            return held.lease.token

    leases = Leases(MemoryJournal())
    act = Act("r:a:0")
    run_and_cut(hold(5), turns)
    assert asyncio.run(hold(0)) == 1
    act.end()


async def test_what_was_honoured_before_a_lease_was_left_to_an_act_is_not_heard_again() -> None:
    leases = Leases(journal := MemoryJournal())
    async with leases.hold("t"):
        await journal.request("t", "pause")
    async with leases.hold("t") as held:
        assert await held.honour() == "pause"
        held.runs["r"] = {}
        act = Act("r:a:0")
    async with leases.hold("t") as again:
        assert again.request is None
        act.end()


async def test_a_lease_stays_left_to_an_act_where_the_database_was_away_as_somebody_went_on_with_it() -> None:
    class Away(MemoryJournal):
        is_away = True

        async def renew_all(self, leases: Sequence[Lease], seconds: float) -> list[Request | LeaseLostError | None]:
            if self.is_away:
                raise DatabaseError("It is away.")
            return await super().renew_all(leases, seconds)

    leases = Leases(journal := Away())
    async with leases.hold("t") as held:
        held.runs["r"] = {}
        act = Act("r:a:0")
    with pytest.raises(DatabaseError):
        async with leases.hold("t"):
            pass
    journal.is_away = False
    async with leases.hold("t") as again:
        assert again.lease.token == 1
        act.end()


async def test_the_same_process_goes_on_while_an_act_of_its_run_goes_on() -> None:
    leases = Leases(journal := MemoryJournal())
    async with leases.hold("t") as held:
        held.runs["r"] = {}
        act = Act("r:a:0")
    await journal.request("t", "cancel")
    async with Leases(journal).hold("t") as again:  # as another object over the same database
        assert again.request == "cancel"
        with pytest.raises(RunBusyError):
            async with leases.hold("t"):
                pass
        await again.clear()
    assert await journal.is_held()
    async with leases.hold("t") as third:
        act.end()
        await asyncio.sleep(0.05)
        assert await journal.renew_all([third.lease], 30) == [None]
    assert not await journal.is_held()


async def test_a_lease_that_was_left_twice_is_kept_until_the_acts_of_the_second_time_have_ended() -> None:
    leases = Leases(journal := MemoryJournal())
    acts = []
    for run in ("first", "second"):
        async with leases.hold("t") as held:
            held.runs[run] = {}
            acts.append(Act(f"{run}:a:0"))
    acts[0].end()
    await asyncio.sleep(0.05)
    with pytest.raises(RunBusyError):
        await journal.acquire("t", "elsewhere:1:1:x", 30)
    acts[1].end()
    async with asyncio.timeout(5):
        while await journal.is_held():
            await asyncio.sleep(0.01)


async def test_a_lease_that_was_left_to_an_act_is_given_back_where_going_on_with_it_is_cut_as_the_act_ends() -> None:
    class Slow(MemoryJournal):
        async def renew_all(self, leases: Sequence[Lease], seconds: float) -> list[Request | LeaseLostError | None]:
            found = await super().renew_all(leases, seconds)
            act.end()
            await asyncio.sleep(5)
            return found

    async def hold() -> None:
        async with leases.hold("t"):
            pass

    leases = Leases(Slow())
    async with leases.hold("t") as held:
        held.runs["r"] = {}
        act = Act("r:a:0")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(hold(), 0.1)
    assert not await leases.journal.is_held()


async def test_a_lease_that_was_left_to_an_act_and_that_somebody_took_meanwhile_is_theirs() -> None:
    class Taken(MemoryJournal):
        async def renew_all(self, leases: Sequence[Lease], seconds: float) -> list[Request | LeaseLostError | None]:  # noqa: ARG002 - the journal's own
            return [LeaseLostError(lease.thread_id, "somebody") for lease in leases]

    leases = Leases(Taken())
    async with leases.hold("t") as held:
        held.runs["r"] = {}
        act = Act("r:a:0")
    with pytest.raises(RunBusyError):
        async with leases.hold("t"):
            pass
    act.end()


async def test_a_lease_that_is_on_its_way_back_from_an_act_is_waited_for() -> None:
    class Slow(MemoryJournal):
        async def release(self, lease: Lease) -> None:
            await asyncio.sleep(0.1)
            await super().release(lease)

    leases = Leases(Slow())
    async with leases.hold("t") as held:
        held.runs["r"] = {}
        act = Act("r:a:0")
    act.end()
    async with leases.hold("t") as again:
        assert again.lease.token == 2


async def test_a_lease_that_no_thread_can_give_back_from_an_act_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_: Thread) -> None:
        raise RuntimeError("can't start new thread")

    leases = Leases(MemoryJournal())
    async with leases.hold("t") as held:
        held.runs["r"] = {}
        act = Act("r:a:0")
    with monkeypatch.context() as patch:
        patch.setattr(Thread, "start", none_left)
        act.end()
    async with leases.hold("t") as again:
        assert again.lease.token == 2


async def test_a_lease_that_was_left_to_an_act_and_taken_by_another_process_is_busy() -> None:
    clock = Clock()
    leases = Leases(MemoryJournal(clock=clock))
    async with leases.hold("t") as held:
        held.runs["r"] = {}
        act = Act("r:a:0")
    clock.now += 31
    other = await leases.journal.acquire("t", "elsewhere:1:1:x", 30)
    with pytest.raises(RunBusyError):
        async with leases.hold("t"):
            pass
    act.end()
    await asyncio.sleep(0.05)
    assert await leases.journal.renew_all([other], 30) == [None]


async def test_the_same_process_goes_on_also_where_it_had_the_lease_from_one_that_may_be_frozen() -> None:
    clock = Clock()
    leases = Leases(MemoryJournal(clock=clock))
    await leases.journal.acquire("t", "elsewhere:1:1:x", 30)
    clock.now += 31
    async with leases.hold("t") as held:
        assert unsure_token(held.lease.owner) == 1
        held.runs["r"] = {}
        act = Act("r:a:0")
    async with leases.hold("t") as again:
        assert unsure_token(again.lease.owner) == 1
        act.end()
    assert not await leases.journal.is_held()


async def test_an_act_that_outlives_its_lease_is_unsure_also_after_its_own_process_took_it_and_gave_it_back() -> None:
    clock = Clock()
    leases = Leases(MemoryJournal(clock=clock))
    async with leases.hold("t") as held:
        held.runs["r"] = {}
        act = Act("r:a:0")
    clock.now += 31
    async with leases.hold("t"):
        pass
    assert unsure_token((await leases.journal.acquire("t", "elsewhere:1:1:x", 30)).owner) == 1
    act.end()


FORKED = """
import asyncio, os, signal, sys
from agentic_workflows import under_way as acts
from agentic_workflows.journal import lease
from agentic_workflows.errors import RunBusyError
from agentic_workflows.journal.lease import Leases
from agentic_workflows.journal.memory_journal import MemoryJournal

leases = Leases(MemoryJournal())

async def hold():
    async with leases.hold("t") as held:
        held.runs["r"] = {}

with acts.under_way("r:a:0"):
    asyncio.run(hold())
    with acts._lock, lease._lock:  # as another thread may have them, which does not go on in the child
        child = os.fork()
    if child == 0:
        signal.alarm(10)
        with acts.under_way("r:b:0"):
            pass
        try:
            asyncio.run(hold())
        except RunBusyError:
            os._exit(acts.is_under_way("r:a:0"))
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    asyncio.run(hold())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_a_forked_process_has_neither_the_acts_of_its_parent_nor_the_leases_that_are_left_to_them() -> None:
    subprocess.run([sys.executable, "-c", FORKED], check=True, timeout=60)
