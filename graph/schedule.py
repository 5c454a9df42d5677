"""The schedule: which step may start now.

A step waits for the steps whose values it uses. Beyond that, two steps keep plan order (topological, and stable: the
order in which they are listed wherever the data leaves a choice) unless neither has effects, or what they touch is
known and disjoint. So nobody can tell the run from one that goes through the plan top to bottom.

It is multiple granularity locking (Gray and others, "Granularity of locks and degrees of consistency in a shared data
base", 1976), granted in plan order: a step claims what it touches, and a part of everything above it. All steps with
one claim stand in a lane. A step waits in one lane at a time, until nobody before it is in there, and then looks at the
next ones; so all of them together take little more time than it takes to sort them.
"""

import heapq
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain
from typing import Generic, NamedTuple, TypeVar

Key = TypeVar("Key", bound=Hashable)
_DEEPEST = 64
"""Parts of a path beyond which it counts as what it is in: whoever chooses a path chooses how much work it makes."""


class Claim(NamedTuple):
    """A resource that a call touches, as a whole or only something inside it."""

    name: str | None
    """None is everything."""
    is_whole: bool
    has_effect: bool

    @property
    def against(self) -> list["Claim"]:
        """The claims on the same resource that this one has to wait for: one is on all of it, and one has an effect."""
        parts = (True, False) if self.is_whole else (True,)
        effects = (True, False) if self.has_effect else (True,)
        return [Claim(self.name, is_whole, has_effect) for is_whole in parts for has_effect in effects]


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What a call may touch."""

    has_effect: bool
    resources: frozenset[str] | None = None
    """None is everything. Names are paths: `files/notes` takes in `files/notes/a.md`."""

    @cached_property
    def claims(self) -> Mapping[Claim, Sequence[Claim]]:
        """What is claimed of each resource and of all that take it in, and what each claim has to wait for.

        What takes others in stands before them.
        """
        return _claims(self.resources, has_effect=self.has_effect)


@lru_cache(maxsize=256)
def _claims(resources: frozenset[str] | None, *, has_effect: bool) -> Mapping[Claim, Sequence[Claim]]:
    split = [name.split("/")[:_DEEPEST] for name in resources or ()]
    above = {"/".join(parts[:depth]) for parts in split for depth in range(1, len(parts))}
    names = [None] if resources is None else ["/".join(parts) for parts in split]
    inside = [None, *sorted(above, key=len)] if split else []
    claims = [Claim(name, False, has_effect) for name in inside]
    claims += [Claim(name, True, has_effect) for name in names]
    return {claim: claim.against for claim in claims}


class Schedule(Generic[Key]):
    """Hands out keys in an order that nobody can tell from `order`.

    It forgets a key that is settled, so that however many are added, only those take memory that are not.

    Args:
        order: every key, topologically sorted; more may be added later.
        dependencies: for each key, the keys whose values it uses.
        footprint: what a key touches; asked once, when its dependencies are settled.
        worst: what a key may touch at most; asked while its dependencies are not settled.

    """

    def __init__(
        self,
        order: Sequence[Key],
        dependencies: Mapping[Key, Collection[Key]],
        *,
        footprint: Callable[[Key], Footprint],
        worst: Callable[[Key], Footprint],
    ) -> None:
        self._order, self._footprint_of = dict(enumerate(order)), footprint
        self._position = {key: at for at, key in self._order.items()}
        self._size = len(self._order)
        self._missing = {key: set(needed) for key in order if (needed := dependencies.get(key))}
        self._dependents: dict[Key, list[Key]] = {}
        for key, needed in self._missing.items():
            for producer in needed:
                self._dependents.setdefault(producer, []).append(key)
        self._footprints: dict[Key, Footprint] = {}
        """Of each key that is not settled."""
        self._ahead: dict[int, Iterator[Claim]] = {}
        """For each key that waits in a lane, which it has not looked at yet."""
        self._lanes: dict[Claim, _Lane] = {}
        self._ready: list[int] = []
        for key in order:
            self._enter(key, worst(key) if key in self._missing else footprint(key))
        for at, key in self._order.items():
            if key not in self._missing:
                self._seek(at)

    def add(self, key: Key) -> None:
        """Add a key after all there are; it uses no values, and may start before another one is added."""
        at = self._position[key] = self._size
        self._order[at] = key
        self._size += 1
        self._enter(key, self._footprint_of(key))
        self._seek(at)

    def take(self) -> Key | None:
        """Return the earliest key that may start now, each key once and none that is settled; None where none may."""
        while self._ready:
            at = heapq.heappop(self._ready)
            if at in self._order:
                return self._order[at]
        return None

    def settle(self, key: Key) -> None:
        """Note that a key is done, started or not, and release what waited for it alone."""
        looking = self._leave(key)
        del self._footprints[key], self._order[self._position.pop(key)]
        self._missing.pop(key, None)
        for dependent in self._dependents.pop(key, ()):
            missing = self._missing.get(dependent)
            if missing is None:  # settled without its values
                continue
            missing.discard(key)
            if not missing:
                del self._missing[dependent]
                looking += [*self._leave(dependent), self._position[dependent]]
                self._enter(dependent, self._footprint_of(dependent))
        for at in looking:
            self._seek(at)

    def _enter(self, key: Key, footprint: Footprint) -> None:
        self._footprints[key] = footprint
        for claim in footprint.claims:
            if claim not in self._lanes:
                self._lanes[claim] = _Lane()
            self._lanes[claim].enter(self._position[key])

    def _leave(self, key: Key) -> list[int]:
        """Take a key out of its lanes; returns the places of those that waited there and may look again."""
        looking: list[int] = []
        for claim in self._footprints[key].claims:
            lane = self._lanes[claim]
            looking += lane.leave(self._position[key])
            if not lane.inside:
                del self._lanes[claim]
        return looking

    def _seek(self, at: int) -> None:
        """Make a key ready, or have it wait in the first lane with another key that it must not overtake.

        It goes on at the lane where it waited, and need not look at earlier ones again: a key that enters a lane late
        was in it before, or in one that covers it.
        """
        ahead = self._ahead.pop(at, None)
        if at not in self._order:
            return
        ahead = ahead or chain.from_iterable(self._footprints[self._order[at]].claims.values())
        for claim in ahead:
            lane = self._lanes.get(claim)
            if lane is not None and lane.inside[0] < at:
                heapq.heappush(lane.waiting, at)
                self._ahead[at] = chain((claim,), ahead)
                return
        heapq.heappush(self._ready, at)


class _Lane:
    """The keys with one claim that are not settled, by their place in the order, the first one in front."""

    def __init__(self) -> None:
        self.inside: list[int] = []
        self._gone: set[int] = set()
        self.waiting: list[int] = []
        """Who must not overtake somebody in here."""

    def enter(self, at: int) -> None:
        if at in self._gone:  # and still in there
            self._gone.discard(at)
        else:
            heapq.heappush(self.inside, at)

    def leave(self, at: int) -> list[int]:
        """Take a key out; returns the places of those that waited and have nobody before them in here any more."""
        self._gone.add(at)
        while self.inside and self.inside[0] in self._gone:
            self._gone.discard(heapq.heappop(self.inside))
        looking: list[int] = []
        while self.waiting and (not self.inside or self.waiting[0] <= self.inside[0]):
            looking.append(heapq.heappop(self.waiting))
        return looking
