"""The name of a run: its thread, and inside another graph that graph's thread and the checkpoint namespace in it.

LangGraph writes the namespace as `agent:TASK` for a graph that the node `agent` calls, as `agent:TASK|1` for a further
call by the same node, as `agent` for a graph that keeps its state from call to call, and those of graphs inside each
other with `|` between them.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from langchain_core.runnables import RunnableConfig

from agentic_workflows.graph.state import NO_STATE, State

_CALLING: Final = {"plan", "validate", "execute"}
"""Our nodes that call code of others, an agent's or an action's, in which there may be another graph of ours."""


def thread_of(state: State, config: RunnableConfig) -> str:
    """Return the name of the thread that a run belongs to; without a thread it is the id of the run.

    Inside another graph it is `THREAD|NAMESPACE`: one for each call, or one for all calls of a graph that keeps its
    state.
    """
    thread = config.get("configurable", {}).get("thread_id")
    if not thread:
        return str(state.get("run_id") or "")
    return "|".join(filter(None, (str(thread), namespace_of(config))))


def run_of(config: RunnableConfig) -> str | None:
    """Return the run id that the caller of the graph has given it; None where it has given none.

    Inside another graph it is the name of the thread, where that stands for a single call: a call that is made again
    after a kill is the same run.
    """
    if not (namespace := namespace_of(config)):
        return config.get("metadata", {}).get("run_id")
    is_one_call = ":" in next((part for part in reversed(namespace.split("|")) if not part.isdecimal()), "")
    return (thread_of(NO_STATE, config) or None) if is_one_call else None


def outers_of(thread: str) -> Iterator[tuple[str, str]]:
    """Yield each thread of a graph that a run of this name may be inside of, with the namespace that it has there."""
    parts = thread.split("|")
    for at in range(1, len(parts)):
        yield "|".join(parts[:at]), "|".join(parts[at:])


def is_inside(thread: str, outer: str) -> bool:
    """Tell whether a run of this name would be inside a graph on the thread `outer`."""
    return thread.startswith(f"{outer}|")


def runs_inside(threads: Iterable[str]) -> Mapping[str, Sequence[str]]:
    """Return, for each thread of a run of ours, the threads whose names say that one of its nodes called their runs."""
    found = defaultdict[str, list[str]](list)
    for thread in threads:
        for outer, namespace in outers_of(thread):
            if namespace.partition("|")[0].partition(":")[0] in _CALLING:
                found[outer].append(thread)
    return found


def namespace_of(config: RunnableConfig) -> str:
    """Return the checkpoint namespace of a node's graph; empty for a graph that is not inside another one."""
    return str(config.get("configurable", {}).get("checkpoint_ns") or "").rpartition("|")[0]
