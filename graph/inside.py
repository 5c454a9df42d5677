"""A graph inside another one: its run is found again by its name alone, so that must be the same after a kill.

LangGraph names a graph that a node calls by the node's task. The id of a task follows from the id of the checkpoint
that the node goes on from, and a checkpoint that was not kept has another id when it is made again.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from hashlib import sha256
from itertools import count
from time import monotonic
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.runtime import get_runtime
from langgraph.types import Durability

from agentic_workflows.errors import RunError
from agentic_workflows.graph.checkpoint_order import SAVER, checkpoints_before
from agentic_workflows.graph.state import MAX_WHOLE
from agentic_workflows.graph.threads import namespace_of

_DURABILITY: Final = "__pregel_durability"
"""Key of the configuration of a node: how often the checkpoints of its graph are kept."""
NO_LIMIT: Final = MAX_WHOLE
"""LangGraph's limit of steps, as good as none: a run has limits of its own, and says which of them was used up."""
SCRATCHPAD: Final = "__pregel_scratchpad"
"""Key of the configuration of a node: it counts the graphs that the node calls, and gives answers to its interrupts."""
_PLACE: Final = ("thread_id", "checkpoint_ns", "checkpoint_id", "checkpoint_map")
"""Keys of the configuration by which a caller says itself where a graph keeps its checkpoints."""
APART: Final = "agentic_apart"
"""Key of the configuration where what is called is no part of the run around it."""
_FIRST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.25


async def wait_until_kept(config: RunnableConfig, *, seconds: float) -> None:
    """Wait until each graph around a node's graph has kept the checkpoint from which it came to call that.

    LangGraph writes checkpoints while the graph already goes on. Without a saver, or with one that is given nothing
    before the end (the durability `exit`), nothing of those graphs outlives a kill, and there is nothing to wait for.

    Raises:
        RunError: one is not kept within so many seconds.

    """
    given = config.get("configurable", {})
    saver, here, until = given.get(SAVER), namespace_of(config), monotonic() + seconds
    if saver is None or not here or given.get(_DURABILITY) == "exit":
        return
    kept = set[str]()
    for namespace, checkpoint_id in checkpoints_before(config).items():
        if namespace == here or checkpoint_id in kept:  # a task has the checkpoint of the graph that it is in
            continue
        place = {"thread_id": str(given["thread_id"]), "checkpoint_ns": namespace, "checkpoint_id": checkpoint_id}
        pause = _FIRST_PAUSE
        while not await _has(saver, place):
            if monotonic() >= until:
                raise RunError(
                    f"The graph around this one has not kept the checkpoint from which it was called, for {seconds:g} "
                    f"s: after a kill it would call this one as another run, which would do everything again. Nothing "
                    f"was done. Its saver fails, or a graph between has checkpointer=False."
                )
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        kept.add(checkpoint_id)


async def _has(saver: BaseCheckpointSaver[Any], place: dict[str, str]) -> bool:
    """Tell whether a saver has exactly this checkpoint: one that keeps only the last of each graph gives that one."""
    found = await saver.aget_tuple({"configurable": place})
    return found is not None and found.checkpoint["id"] == place["checkpoint_id"]


class _AttemptCounter:
    """Numbers the graphs that an agent or an action calls in one attempt; the next attempt begins at 0 again."""

    def __init__(self) -> None:
        self._numbers = count()

    def __call__(self) -> int:
        return next(self._numbers)


def named_by(key: str) -> AbstractContextManager[None]:
    """Have the graphs that an agent or an action calls meanwhile be named by a key, and not by the task of our node.

    Our graph may have kept no checkpoint yet. After a kill it is begun again and the task is another one; the key is
    the same, and so finds the same runs. These graphs get no answers, for what was answered is for a question of ours.
    Nor do they get the id of our run: LangGraph takes calls on one thread with one run id for the same call, and drops
    all but the first.
    """
    config = var_child_runnable_config.get()
    given = config.get("configurable", {}) if config else {}
    if config is None or SCRATCHPAD not in given:
        return nullcontext()
    around, _, task = str(given["checkpoint_ns"]).rpartition("|")
    name = f"{task.partition(':')[0]}:{sha256(key.encode()).hexdigest()[:32]}"
    own = {
        "checkpoint_ns": f"{around}|{name}" if around else name,
        "checkpoint_map": {place: one for place, one in checkpoints_before(config).items() if place != around},
        SCRATCHPAD: unanswered(given[SCRATCHPAD], subgraph_counter=_AttemptCounter(), resume=[]),
    }
    return configured(own, metadata={key: one for key, one in config.get("metadata", {}).items() if key != "run_id"})


def unanswered(scratchpad: Any, **changes: Any) -> Any:
    """Return a node's scratchpad, changed, and without the single answer that is kept for whatever is asked next."""
    return replace(scratchpad, get_null_resume=lambda _=False: None, **changes)


@contextmanager
def configured(own: Mapping[str, object], **more: Any) -> Iterator[None]:
    """Change the configuration of the node that runs, and of what it calls, for the code inside.

    Args:
        own: takes the place of what has these keys under `configurable`.
        **more: takes the place of other keys.

    """
    config = var_child_runnable_config.get() or {}
    changed = cast("RunnableConfig", {**config, "configurable": {**config.get("configurable", {}), **own}, **more})
    if changed.get("recursion_limit") == NO_LIMIT:  # which is not meant for what it calls
        del changed["recursion_limit"]
    token = var_child_runnable_config.set(changed)
    try:
        yield
    finally:
        var_child_runnable_config.reset(token)


class _Calls:
    """The numbers of the calls that one task makes to graphs of ours: each attempt at it makes them in the same order.

    They are LangGraph's own, unless the task calls graphs of others, too: these count on from attempt to attempt.
    """

    def __init__(self) -> None:
        self._numbers: list[int | str] = []
        self._made = defaultdict[int, int](int)

    def number(self, attempt: int, following: Callable[[], int]) -> int | str:
        """Return the number of an attempt's next call, given what LangGraph counts with.

        A number of ours begins with a zero, as none of LangGraph's does.
        """
        at = self._made[attempt]
        self._made[attempt] += 1
        if at == len(self._numbers):
            self._numbers.append(at if following() == at else f"0{at}")
        return self._numbers[at]


_calls = WeakKeyDictionary[Callable[..., Any], _Calls]()
"""By a function that LangGraph makes once for a task, and keeps for all attempts at it."""


def refuse_apart(*configs: RunnableConfig | None) -> None:
    """Refuse a call of a graph of ours by an action that takes a secret, but on a thread of its own.

    Args:
        configs: the graph's own, and last the one that it is called with.

    Raises:
        RunError: each attempt at the call would begin another run, and do all of it again.

    """
    if APART in _around() and not _has_place(_own(configs)):
        raise RunError(
            "An action that takes a secret calls this graph, and is kept apart from the run around it: after a kill, "
            "another run would do everything again. Nothing was done. Give it a thread of its own: "
            '{"configurable": {"thread_id": call.idempotency_key}}.'
        )


def durability_inside(*configs: RunnableConfig | None) -> Durability | None:
    """Return the durability of a graph that an agent or an action of a run of ours calls; None where it is as around.

    With `exit`, LangGraph keeps a checkpoint of a graph inside another one where it is cut, and none where it ends: its
    run would be shown as it was when it was cut, or not at all. Such a graph is found again by its key, also where
    nothing of those around it is kept; not so where our run is itself inside another graph that keeps nothing.

    Args:
        configs: the graph's own, and last the one that it is called with.

    """
    around, own = _around(), _own(configs)
    is_named = isinstance(getattr(around.get(SCRATCHPAD), "subgraph_counter", None), _AttemptCounter)
    is_inside = is_named and not _has_place(own) and "|" not in around["checkpoint_ns"]
    return "async" if is_inside and around.get(SAVER) and around.get(_DURABILITY) == "exit" else None


def as_in_each_attempt(*configs: RunnableConfig | None) -> RunnableConfig | None:
    """Return the configuration to call a graph of ours with, so that a node that is tried again calls the same run.

    LangGraph numbers the graphs that a task calls, and counts on where a `RetryPolicy` tries the task again.

    Args:
        configs: the graph's own, and last the one that it is called with.

    """
    last, around, own = configs[-1] or {}, _around(), _own(configs)
    scratchpad = (own if _has_place(own) else around).get(SCRATCHPAD)
    if scratchpad is None or SCRATCHPAD not in around or isinstance(scratchpad.subgraph_counter, _AttemptCounter):
        return configs[-1]
    info = get_runtime().execution_info
    calls = _calls.setdefault(scratchpad.get_null_resume, _Calls())
    number = calls.number(info.node_attempt if info else 1, scratchpad.subgraph_counter)
    named = {SCRATCHPAD: replace(scratchpad, subgraph_counter=lambda: number)}
    return {**last, "configurable": {**last.get("configurable", {}), **named}}


def _around() -> Mapping[str, Any]:
    """Return what the node that runs is configured with; nothing outside of one."""
    return (var_child_runnable_config.get() or {}).get("configurable", {})


def _own(configs: Iterable[RunnableConfig | None]) -> Mapping[str, Any]:
    """Return what a graph is called with, the last word of each key."""
    return {key: one for each in configs for key, one in (each or {}).get("configurable", {}).items()}


def _has_place(own: Mapping[str, Any]) -> bool:
    """Tell whether a caller says itself where a graph keeps its checkpoints."""
    return any(own.get(key) for key in _PLACE)
