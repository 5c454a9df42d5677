"""Many calls at once: each is performed once and settled once, whatever happens meanwhile."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic_workflows.execution.dispatch import CUT, run_ready
from agentic_workflows.graph.outcome import Outcome, OutcomeStatus

DONE = Outcome(status=OutcomeStatus.SUCCEEDED, attempts=1)
KNOWN = Outcome(status=OutcomeStatus.SUCCEEDED)
"""What came from the journal, without an attempt."""


FACTORIES = [None, getattr(asyncio, "eager_task_factory", None)]
"""What makes the tasks of a loop; that of Python 3.12 begins each at once."""


class Crew:
    """Hands out keys as those settled before allow, and notes what became of each."""

    def __init__(self, turns: list[int], needs: dict[int, set[int]], *, breaks: int | None = None) -> None:
        self.turns, self.needs, self.breaks = turns, needs, breaks
        self.taken: list[int] = []
        self.settled: list[tuple[int, Outcome]] = []
        self.running: set[int] = set()
        self.most = 0

    def take(self) -> int | None:
        done = {key for key, _ in self.settled}
        free = (key for key in range(len(self.turns)) if key not in self.taken and self.needs.get(key, set()) <= done)
        key = next(free, None)
        if key is not None:
            self.taken.append(key)
        return key

    async def perform(self, key: int) -> Outcome:
        self.running.add(key)
        self.most = max(self.most, len(self.running))
        for _ in range(self.turns[key]):
            await asyncio.sleep(0)
        self.running.remove(key)
        if key == self.breaks:
            raise OSError("The database is gone.")
        return DONE if self.turns[key] else KNOWN

    def settle(self, key: int, outcome: Outcome) -> None:
        self.settled.append((key, outcome))

    async def run(self, limit: int = 4) -> None:
        await run_ready(self.take, self.perform, self.settle, limit=limit)

    @property
    def times(self) -> Counter[int]:
        return Counter(key for key, _ in self.settled)


@st.composite
def crews(draw: st.DrawFn) -> Crew:
    turns = draw(st.lists(st.integers(0, 4), min_size=1, max_size=12))
    needs = {at: draw(st.sets(st.integers(0, at - 1), max_size=3)) for at in range(1, len(turns))}
    return Crew(turns, needs)


@given(crews(), st.integers(1, 5), st.sampled_from(FACTORIES))
def test_each_key_is_performed_and_settled_once_and_no_more_run_than_may(crew: Crew, limit: int, factory: Any) -> None:
    async def work() -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        await crew.run(limit)

    asyncio.run(work())
    assert crew.times == Counter(range(len(crew.turns)))
    assert crew.most <= limit


@given(crews(), st.integers(1, 5), st.integers(0, 11))
def test_a_failure_ends_all_and_settles_what_ran_once(crew: Crew, limit: int, breaks: int) -> None:
    crew.breaks = breaks % len(crew.turns)
    with pytest.raises(OSError, match="gone"):
        asyncio.run(crew.run(limit))
    assert crew.times == Counter(crew.taken)
    assert (crew.breaks, CUT) in crew.settled


@given(crews(), st.integers(1, 5), st.integers(0, 12))
def test_cut_at_any_turn_what_ran_is_settled_once(crew: Crew, limit: int, turns: int) -> None:
    async def cut() -> None:
        running = asyncio.ensure_future(crew.run(limit))
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait({running})

    asyncio.run(cut())
    assert crew.times == Counter(crew.taken)


async def test_what_waits_for_nothing_lets_others_have_their_turn() -> None:
    crew, turns = Crew([0] * 200, {at: {at - 1} for at in range(1, 200)}), 0
    running = asyncio.ensure_future(crew.run())
    while not running.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > len(crew.turns)
