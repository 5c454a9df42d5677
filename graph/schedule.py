"""The schedule: which step may start now.

A step waits for the steps whose values it uses. Beyond that, two steps keep plan order (topological, and stable: the
order in which they are listed wherever the data leaves a choice) unless neither has effects, or what they touch is
known and disjoint. So nobody can tell the run from one that goes through the plan top to bottom.

A waiting step watches one blocker at a time and looks again only when that one is settled; blockers already passed
cannot come back, so all looking together is at most one pass over earlier steps for each step.
"""

import heapq
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from agentic_workflows.graph.plan import Plan

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What a call may touch."""

    has_effect: bool
    resources: frozenset[str] | None = None
    """None is everything. Names are paths: `files/notes` takes in `files/notes/a.md`."""

    def conflicts_with(self, other: "Footprint") -> bool:
        """Tell whether somebody could observe the two calls in the other order."""
        if not (self.has_effect or other.has_effect):
            return False
        if self.resources is None or other.resources is None:
            return self.resources != frozenset() and other.resources != frozenset()
        return not (self.resources.isdisjoint(other.with_above) and other.resources.isdisjoint(self.with_above))

    @cached_property
    def with_above(self) -> frozenset[str]:
        """The resources, and all that take one of them in."""
        names = {name: name.split("/") for name in self.resources or ()}
        return frozenset("/".join(parts[:depth]) for parts in names.values() for depth in range(1, len(parts) + 1))


def stable_order(plan: Plan) -> list[str]:
    """Return the plan's step names in topological order, as listed where the data leaves a choice.

    The plan must have no cycle.
    """
    position = {step.name: at for at, step in enumerate(plan.steps)}
    waits = {step.name: set(plan.dependencies(step)) for step in plan.steps}
    dependents: dict[str, list[str]] = {name: [] for name in position}
    for name, needed in waits.items():
        for producer in needed:
            dependents[producer].append(name)
    free = [position[name] for name, needed in waits.items() if not needed]
    heapq.heapify(free)
    order: list[str] = []
    while free:
        name = plan.steps[heapq.heappop(free)].name
        order.append(name)
        for dependent in dependents[name]:
            waits[dependent].discard(name)
            if not waits[dependent]:
                heapq.heappush(free, position[dependent])
    return order


class Schedule(Generic[Key]):
    """Hands out keys in an order that nobody can tell from `order`.

    Args:
        order: every key, topologically sorted.
        dependencies: for each key, the keys whose values it uses.
        footprint: what a key touches; asked once, when its dependencies are settled.
        worst: what a key may touch at most; asked before.

    """

    def __init__(
        self,
        order: Sequence[Key],
        dependencies: Mapping[Key, Collection[Key]],
        *,
        footprint: Callable[[Key], Footprint],
        worst: Callable[[Key], Footprint],
    ) -> None:
        self._footprint_of = footprint
        self._position = {key: at for at, key in enumerate(order)}
        self._footprints = {key: worst(key) for key in order}
        self._missing = {key: set(dependencies.get(key, ())) for key in order}
        self._dependents: dict[Key, list[Key]] = {key: [] for key in order}
        for key, needed in self._missing.items():
            for producer in needed:
                self._dependents[producer].append(key)
        self._all = _Lane(list(order))
        self._effects = _Lane([key for key in order if self._footprints[key].has_effect])
        self._settled: set[Key] = set()
        self._cursor = dict.fromkeys(order, 0)
        self._watchers: dict[Key, list[Key]] = {}
        self._ready: list[int] = []
        free = [key for key in order if not self._missing[key]]
        for key in free:
            self._footprints[key] = footprint(key)
        for key in free:
            self._seek(key)

    def take(self) -> Key | None:
        """Return the earliest key that may start now, each key once; None where none may."""
        return self._all.keys[heapq.heappop(self._ready)] if self._ready else None

    def settle(self, key: Key) -> None:
        """Note that a key is done, and release what waited for it alone."""
        self._settled.add(key)
        self._all.advance(self._settled)
        self._effects.advance(self._settled)
        looking = self._watchers.pop(key, [])
        for dependent in self._dependents[key]:
            self._missing[dependent].discard(key)
            if not self._missing[dependent]:
                self._footprints[dependent] = self._footprint_of(dependent)
                looking += [*self._watchers.pop(dependent, ()), dependent]
        for waiting in looking:
            self._seek(waiting)

    def _seek(self, key: Key) -> None:
        """Make a key ready, or have it watch the first earlier key that it must not overtake."""
        mine = self._footprints[key]
        lane = self._all if mine.has_effect else self._effects
        at, end = max(self._cursor[key], lane.first), self._position[key]
        while at < len(lane.keys) and self._position[lane.keys[at]] < end:
            earlier = lane.keys[at]
            if earlier not in self._settled and self._footprints[earlier].conflicts_with(mine):
                self._cursor[key] = at
                self._watchers.setdefault(earlier, []).append(key)
                return
            at += 1
        heapq.heappush(self._ready, end)


class _Lane(Generic[Key]):
    """Keys in plan order, and where the first one is that is not settled."""

    def __init__(self, keys: list[Key]) -> None:
        self.keys = keys
        self.first = 0

    def advance(self, settled: Collection[Key]) -> None:
        while self.first < len(self.keys) and self.keys[self.first] in settled:
            self.first += 1
