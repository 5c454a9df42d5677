import time
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic_workflows.graph.schedule import Footprint, Schedule

READ, WRITE = Footprint(has_effect=False), Footprint(has_effect=True)


def read(*names: str) -> Footprint:
    return Footprint(has_effect=False, resources=frozenset(names))


def write(*names: str) -> Footprint:
    return Footprint(has_effect=True, resources=frozenset(names))


PATHS = ("x", "x/y", "x/y/z", "x/z", "y", "y/x", "", "/x")
footprints = st.builds(
    Footprint, has_effect=st.booleans(), resources=st.none() | st.frozensets(st.sampled_from(PATHS), max_size=2)
)


def waits(one: Footprint, other: Footprint) -> bool:
    """Tell whether a call must not start while an earlier one runs."""
    touched = [one, other]
    schedule = Schedule([0, 1], {}, footprint=touched.__getitem__, worst=touched.__getitem__)
    return (schedule.take(), schedule.take()) == (0, None)


def conflict(one: Footprint, other: Footprint) -> bool:
    """Tell whether somebody could observe two calls in the other order, as the definition has it."""

    def takes_in(outer: str, inner: str) -> bool:
        return f"{inner}/".startswith(f"{outer}/")

    if one.resources is None or other.resources is None:
        meet = one.resources != frozenset() and other.resources != frozenset()
    else:
        meet = any(takes_in(a, b) or takes_in(b, a) for a in one.resources for b in other.resources)
    return meet and (one.has_effect or other.has_effect)


@pytest.mark.parametrize(
    "one, other, is_observed",
    [
        (READ, READ, False),
        (READ, WRITE, True),
        (WRITE, WRITE, True),
        (read("x"), write("x"), True),
        (read("x"), write("y"), False),
        (write("x", "y"), write("y"), True),
        (write("x"), WRITE, True),
        (read("x"), WRITE, True),
        (write(), WRITE, False),
        (read(), WRITE, False),
    ],
)
def test_two_calls_conflict_where_their_order_can_be_observed(
    one: Footprint, other: Footprint, *, is_observed: bool
) -> None:
    assert (waits(one, other), waits(other, one)) == (is_observed, is_observed)


@given(footprints, footprints)
def test_resources_conflict_where_one_is_the_other_or_takes_it_in(one: Footprint, other: Footprint) -> None:
    assert waits(one, other) == conflict(one, other)


@dataclass
class Simulation:
    """Runs a schedule with completions in any order, and notes what ran beside what."""

    schedule: Schedule[int]
    order: list[int] = field(default_factory=list)
    running: list[int] = field(default_factory=list)
    settled: set[int] = field(default_factory=set)
    before: dict[int, set[int]] = field(default_factory=dict)
    """For each key, what was settled when it started."""

    def start(self) -> None:
        while (key := self.schedule.take()) is not None:
            assert key not in self.before, "a key is handed out once"
            self.order.append(key)
            self.running.append(key)
            self.before[key] = set(self.settled)

    def settle(self, key: int) -> None:
        self.running.remove(key)
        self.settled.add(key)
        self.schedule.settle(key)


@st.composite
def programs(draw: st.DrawFn) -> tuple[dict[int, Footprint], dict[int, set[int]]]:
    size = draw(st.integers(1, 9))
    touched = {at: draw(footprints) for at in range(size)}
    needed = {at: draw(st.sets(st.integers(0, at - 1), max_size=2)) if at else set() for at in range(size)}
    return touched, needed


def simulation(touched: Mapping[int, Footprint], needed: Mapping[int, set[int]]) -> Simulation:
    worst = {at: Footprint(has_effect=one.has_effect) for at, one in touched.items()}
    schedule = Schedule(list(touched), needed, footprint=touched.__getitem__, worst=worst.__getitem__)
    return Simulation(schedule)


@given(programs(), st.randoms(use_true_random=False))
def test_nobody_can_tell_the_schedule_from_plan_order(program: tuple[dict, dict], chance: object) -> None:
    touched, needed = program
    run = simulation(touched, needed)
    run.start()
    while run.running:
        run.settle(chance.choice(run.running))  # type: ignore[attr-defined]  # a Random
        run.start()
    assert run.settled == set(touched), "every step runs in the end"
    for key, done in run.before.items():
        assert needed[key] <= done
        for other in touched:
            if other != key and conflict(touched[other], touched[key]):
                assert (other in done) == (other < key)


@given(programs(), st.randoms(use_true_random=False))
def test_a_step_starts_the_moment_that_it_may(program: tuple[dict, dict], chance: object) -> None:
    """No barrier: what is not running waits for a value, for a conflict, or for one whose inputs do not exist yet."""
    touched, needed = program
    run = simulation(touched, needed)
    run.start()
    while run.running:
        for key in set(touched) - run.before.keys():
            now = {
                at: touched[at] if needed[at] <= run.settled else Footprint(has_effect=touched[at].has_effect)
                for at in touched
            }
            earlier = [at for at in range(key) if at not in run.settled and conflict(now[at], now[key])]
            assert earlier or not needed[key] <= run.settled
        run.settle(chance.choice(run.running))  # type: ignore[attr-defined]  # a Random
        run.start()


@given(programs(), st.randoms(use_true_random=False))
def test_what_is_settled_without_being_started_is_never_handed_out(program: tuple[dict, dict], chance: object) -> None:
    """In any order; where a subclass chooses no further step, all the others are skipped without being started."""
    touched, needed = program
    run = simulation(touched, needed)
    run.start()
    while left := set(touched) - run.settled:
        key = chance.choice(sorted(left))  # type: ignore[attr-defined]  # a Random
        if key in run.running:
            run.settle(key)
        else:
            run.settled.add(key)
            run.before[key] = set()
            run.schedule.settle(key)
        run.start()


@dataclass
class Fed(Simulation):
    """A simulation whose schedule gets the next keys only as those before are taken."""

    touched: Mapping[int, Footprint] = field(default_factory=dict)
    look_ahead: int = 1
    added: int = 0

    def start(self) -> None:
        while True:
            while self.added < len(self.touched) and self.added - len(self.before) < self.look_ahead:
                self.schedule.add(self.added)
                self.added += 1
            taken = len(self.before)
            super().start()
            if len(self.before) == taken:
                return


def fed(touched: Mapping[int, Footprint], look_ahead: int) -> Fed:
    schedule = Schedule[int]((), {}, footprint=touched.__getitem__, worst=touched.__getitem__)
    return Fed(schedule, touched=touched, look_ahead=look_ahead)


@given(st.lists(footprints, min_size=1, max_size=9), st.integers(1, 4), st.randoms(use_true_random=False))
def test_nobody_can_tell_a_schedule_that_is_fed_from_the_order_of_its_keys(
    listed: list[Footprint], look_ahead: int, chance: object
) -> None:
    touched = dict(enumerate(listed))
    run = fed(touched, look_ahead)
    run.start()
    while run.running:
        for key in set(range(run.added)) - run.before.keys():
            earlier = [at for at in range(key) if at not in run.settled and conflict(touched[at], touched[key])]
            assert earlier, "what was added starts the moment that it may"
        run.settle(chance.choice(run.running))  # type: ignore[attr-defined]  # a Random
        run.start()
    assert run.settled == set(touched), "all of them run in the end"
    for key, done in run.before.items():
        for other, one in touched.items():
            if other != key and conflict(one, touched[key]):
                assert (other in done) == (other < key)


@given(programs(), st.lists(footprints, max_size=5), st.randoms(use_true_random=False))
def test_what_is_added_keeps_its_place_after_what_was_there(
    program: tuple[dict, dict], added: list[Footprint], chance: object
) -> None:
    touched, needed = program
    size = len(touched)
    run = simulation(touched, needed)
    while len(run.settled) < size + len(added):
        is_added_now = not run.running or chance.choice([True, False])  # type: ignore[attr-defined]  # a Random
        if is_added_now and len(touched) < size + len(added):
            touched[len(touched)] = added[len(touched) - size]
            run.schedule.add(len(touched) - 1)
        run.start()
        if run.running:
            run.settle(chance.choice(run.running))  # type: ignore[attr-defined]  # a Random
    for key, done in run.before.items():
        for other in range(key):
            assert other in done or not conflict(touched[other], touched[key])


def test_a_path_that_is_deeper_than_any_is_claimed_with_what_it_is_in() -> None:
    deep = "a/" * 100_000
    assert waits(write(f"{deep}b"), write(f"{deep}c"))
    assert len(write(deep).claims) < 100
    assert not waits(write(deep), write("b"))


def test_a_schedule_goes_on_where_an_earlier_pass_ended() -> None:
    run = simulation({0: WRITE, 1: WRITE, 2: WRITE}, {2: {0}})
    run.schedule.settle(0)
    run.schedule.settle(1)
    run.start()
    assert run.running[-1] == 2


def test_what_turns_out_to_touch_less_than_it_might_have_is_not_overtaken() -> None:
    paths = ["/".join("abcdefghijklmnopqrst"[:depth]) for depth in range(2, 21)]
    for path in paths:
        touched = [write(), write(path), write(paths[-1])]
        schedule = Schedule([0, 1, 2], {1: {0}}, footprint=touched.__getitem__, worst=lambda _: write("a"))
        assert (schedule.take(), schedule.take()) == (0, None)
        schedule.settle(0)
        assert (schedule.take(), schedule.take()) == (1, None)


def test_what_a_step_touches_is_asked_once_and_when_its_values_exist() -> None:
    asked: list[int] = []

    def footprint(at: int) -> Footprint:
        asked.append(at)
        return write()

    schedule = Schedule([0, 1], {1: {0}}, footprint=footprint, worst=lambda _: WRITE)
    assert (schedule.take(), asked) == (0, [0])
    schedule.settle(0)
    assert (schedule.take(), asked) == (1, [0, 1])


def test_a_step_may_be_settled_before_those_whose_values_it_uses() -> None:
    run = simulation({0: WRITE, 1: WRITE, 2: WRITE}, {1: {0}})
    run.schedule.settle(1)
    run.schedule.settle(0)
    run.start()
    assert run.order == [2]


MANY = 20_000


@pytest.mark.parametrize(
    "footprint",
    [
        pytest.param(lambda _: WRITE, id="nobody knows what they touch"),
        pytest.param(lambda _: write("x"), id="all touch the same"),
        pytest.param(lambda at: write(f"x/{at}"), id="each touches its own"),
        pytest.param(lambda _: write(), id="they touch nothing"),
        pytest.param(lambda at: (write if at % 2 else read)("x"), id="reads and writes"),
    ],
)
def test_very_many_take_no_time(footprint: Callable[[int], Footprint]) -> None:
    touched = [footprint(at) for at in range(MANY)]
    began = time.perf_counter()
    schedule = Schedule(range(MANY), {}, footprint=touched.__getitem__, worst=touched.__getitem__)
    running, order = list(iter(schedule.take, None)), list[int]()
    while running:
        order.append(running.pop())
        schedule.settle(order[-1])
        running += iter(schedule.take, None)
    assert sorted(order) == list(range(MANY))
    assert time.perf_counter() - began < 10  # where each looks at all before it, it is a minute


def test_a_schedule_that_is_fed_takes_the_memory_of_what_is_not_settled() -> None:
    schedule = Schedule[int]((), {}, footprint=lambda at: write(f"x/{at}"), worst=lambda _: WRITE)
    tracemalloc.start()
    try:
        for at in range(5_000):
            schedule.add(at)
            if at >= 10:
                schedule.settle(schedule.take() or 0)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 500_000  # some megabytes where it is all kept
