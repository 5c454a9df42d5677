"""How a run is called: by its thread, and inside another graph by the thread of that one and where in there it stands.

LangGraph writes such a place as `agent:TASK`, as `agent:TASK|1` for a further call of the same node, as `agent` for a
graph that keeps its state, and one inside the other with `|` between them.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from langchain_core.runnables import RunnableConfig

from agentic_workflows.graph.state import NO_STATE, State

_CALLING: Final = {"plan", "validate", "execute"}
"""Our nodes that call code of others, an agent's or an action's, in which there may be another graph of ours."""


def thread_of(state: State, config: RunnableConfig) -> str:
    """Return the thread of a run; one without a thread stands for itself.

    A graph inside another one has a thread there for each call of it, or one for all where it keeps its state.
    """
    thread = config.get("configurable", {}).get("thread_id")
    if not thread:
        return str(state.get("run_id") or "")
    return "|".join(filter(None, (str(thread), place_of(config))))


def run_of(config: RunnableConfig) -> str | None:
    """Return the id of the run that whoever calls the graph has chosen.

    One call of a graph inside another one is one run, also where it is begun again after a kill.
    """
    if not (outside := place_of(config)):
        return config.get("metadata", {}).get("run_id")
    is_one_call = ":" in next((part for part in reversed(outside.split("|")) if not part.isdecimal()), "")
    return (thread_of(NO_STATE, config) or None) if is_one_call else None


def places_of(thread: str) -> Iterator[tuple[str, str]]:
    """Yield where a run of this name would stand inside another graph: the thread of that one, and where in there."""
    parts = thread.split("|")
    for at in range(1, len(parts)):
        yield "|".join(parts[:at]), "|".join(parts[at:])


def is_inside(thread: str, outer: str) -> bool:
    """Tell whether a run of this name would stand inside a graph that has the other thread."""
    return thread.startswith(f"{outer}|")


def inside(threads: Iterable[str]) -> Mapping[str, Sequence[str]]:
    """Return by the name of a thread those that runs inside of a run of ours there would have."""
    found = defaultdict[str, list[str]](list)
    for thread in threads:
        for outer, within in places_of(thread):
            if within.partition("|")[0].partition(":")[0] in _CALLING:
                found[outer].append(thread)
    return found


def place_of(config: RunnableConfig) -> str:
    """Return where a node's graph stands in others; empty where it stands in none."""
    return str(config.get("configurable", {}).get("checkpoint_ns") or "").rpartition("|")[0]
