"""A graph inside another one: its run is found again by its name alone, so that must be the same after a kill.

LangGraph names what a node calls by the task of that, which follows from the id of the checkpoint that the node goes on
from; and makes new ids for whatever it has not kept.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
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

from agentic_workflows.errors import RunError
from agentic_workflows.graph.checkpoint_order import SAVER, checkpoints_before
from agentic_workflows.graph.state import MAX_WHOLE
from agentic_workflows.graph.threads import place_of

_DURABILITY: Final = "__pregel_durability"
"""Key of the configuration of a node: how often the checkpoints of its graph are kept."""
NO_LIMIT: Final = MAX_WHOLE
"""LangGraph's limit of steps, as good as none: a run has limits of its own, and says which of them was used up."""
COUNTS: Final = "__pregel_scratchpad"
"""Key of the configuration of a node: what counts the graphs that it calls, and gives answers to its interrupts."""
_PLACE: Final = ("thread_id", "checkpoint_ns", "checkpoint_id", "checkpoint_map")
"""Keys of the configuration with which whoever calls a graph gives it a place of its own."""
_FIRST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.25


async def wait_until_kept(config: RunnableConfig, *, seconds: float) -> None:
    """Wait until the checkpoints are kept from which the graphs around a node's graph have come to call it.

    LangGraph keeps them while it goes on already. Where there is no saver, or one that is given nothing before the end
    (the durability `exit`), nothing of those graphs outlives a kill, and there is nothing to wait for.

    Raises:
        RunError: one is not kept within the seconds.

    """
    given = config.get("configurable", {})
    saver, here, until = given.get(SAVER), place_of(config), monotonic() + seconds
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
    """Tell whether a saver has a checkpoint; one that has only the last of each graph gives that, whatever is asked."""
    found = await saver.aget_tuple({"configurable": place})
    return found is not None and found.checkpoint["id"] == place["checkpoint_id"]


class _OfOneAttempt:
    """Counts the graphs that one attempt at a call of our nodes calls; the next attempt has another one."""

    def __init__(self) -> None:
        self._numbers = count()

    def __call__(self) -> int:
        return next(self._numbers)


def named_by(key: str) -> AbstractContextManager[None]:
    """Have graphs that are called inside, by code of others in a node of ours, be named by a key and not by the task.

    Our graph may have kept no checkpoint yet, and is begun again after a kill; then the task is another one. Nobody can
    be asked there: what was answered is for a question of ours. Nor do they get the name of our run: LangGraph takes
    calls on a thread that have one name for one, and drops all but the first.
    """
    config = var_child_runnable_config.get()
    given = config.get("configurable", {}) if config else {}
    if config is None or COUNTS not in given:
        return nullcontext()
    around, _, task = str(given["checkpoint_ns"]).rpartition("|")
    name = f"{task.partition(':')[0]}:{sha256(key.encode()).hexdigest()[:32]}"
    own = {
        "checkpoint_ns": f"{around}|{name}" if around else name,
        "checkpoint_map": {place: one for place, one in checkpoints_before(config).items() if place != around},
        COUNTS: unanswered(given[COUNTS], subgraph_counter=_OfOneAttempt(), resume=[]),
    }
    return configured(own, metadata={key: one for key, one in config.get("metadata", {}).items() if key != "run_id"})


def unanswered(counts: Any, **more: Any) -> Any:
    """Return what counts for a node, without the single answer that LangGraph has kept for whatever is asked."""
    return replace(counts, get_null_resume=lambda _=False: None, **more)


@contextmanager
def configured(own: Mapping[str, object], **more: Any) -> Iterator[None]:
    """Have a node, and what it calls, be configured otherwise."""
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
    """How the calls of our graphs by one task are numbered, which each attempt at it makes in the same order.

    LangGraph's number is that where it has counted no graph of others; else it would be another one in each attempt.
    """

    def __init__(self) -> None:
        self._numbers: list[int | str] = []
        self._made = defaultdict[int, int](int)

    def number(self, attempt: int, following: Callable[[], int]) -> int | str:
        """Return the number of the next call of an attempt; LangGraph gives none that begins with a zero."""
        at = self._made[attempt]
        self._made[attempt] += 1
        if at == len(self._numbers):
            self._numbers.append(at if following() == at else f"0{at}")
        return self._numbers[at]


_calls = WeakKeyDictionary[Callable[..., Any], _Calls]()
"""By what LangGraph makes for a task once, for all attempts at it."""


def as_in_each_attempt(*configs: RunnableConfig | None) -> RunnableConfig | None:
    """Return the configuration to call a graph with, so that a node that fails and is begun again calls the same run.

    LangGraph numbers the graphs that a task calls, and counts on where its `RetryPolicy` begins the task again.

    Args:
        configs: the graph's own, and the one that it is called with.

    """
    last, around = configs[-1] or {}, (var_child_runnable_config.get() or {}).get("configurable", {})
    own = {key: one for each in configs for key, one in (each or {}).get("configurable", {}).items()}
    counts = (own if any(own.get(key) for key in _PLACE) else around).get(COUNTS)
    if counts is None or COUNTS not in around or isinstance(counts.subgraph_counter, _OfOneAttempt):
        return configs[-1]
    info = get_runtime().execution_info
    calls = _calls.setdefault(counts.get_null_resume, _Calls())
    number = calls.number(info.node_attempt if info else 1, counts.subgraph_counter)
    named = {COUNTS: replace(counts, subgraph_counter=lambda: number)}
    return {**last, "configurable": {**last.get("configurable", {}), **named}}
