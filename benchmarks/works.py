"""The same work for each partner of the comparison: this project, plain LangGraph, bare asyncio with SQLite."""

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, StateGraph

from agentic_workflows import (
    Action,
    ActionCall,
    AgenticWorkflow,
    Annotations,
    Limits,
    Plan,
    ScriptedAgent,
    WorkflowStep,
)
from agentic_workflows.graph.catalogue import ArgumentClass
from agentic_workflows.graph.values import JsonObject

CONTENT: dict[str, ArgumentClass] = dict.fromkeys(("before", "needs", "of", "a", "b"), "content")
"""What steps hand on is untrusted, as outputs are unless somebody vouches for them; as content it steers nothing."""
TAKES: JsonObject = {"type": "object", "properties": {name: {} for name in (*CONTENT, "seconds")}}
EFFECT = Annotations(destructive=False, open_world=False, arguments=CONTENT)
PURE = Annotations(read_only=True, open_world=False, arguments=CONTENT)
Work = Callable[[Path, int], Awaitable[None]]
Serve = Callable[[], Awaitable[None]]
Served = Callable[[Path], AbstractAsyncContextManager[Serve]]
"""A work of a service that is up: its database is open, and what is made once is made."""
Nodes = Mapping[str, tuple[float, Sequence[str]]]
"""For each node of a plain graph how long it sleeps, and what it waits for."""


async def nothing(call: ActionCall) -> str:
    """Do nothing."""
    return call.step.name


async def nap(call: ActionCall) -> str:
    """Sleep for the given seconds."""
    await asyncio.sleep(float(str(call.inputs["seconds"])))
    return call.step.name


async def put(name: str, inputs: Mapping[str, Any]) -> str:
    """Take an instant, and tell a call by its name and inputs."""
    await asyncio.sleep(random.uniform(0.005, 0.03))
    return f"{name}({','.join(f'{key}={value}' for key, value in sorted(inputs.items()))})"


async def many(call: ActionCall) -> list[int]:
    """Return a list of the given length."""
    return list(range(int(str(call.inputs["of"]))))


READ = Action(name="read", input_schema=TAKES, annotations=PURE, run=nothing, resources=lambda _: ())
WRITE = Action(name="write", input_schema=TAKES, annotations=EFFECT, run=nothing, resources=lambda _: ("shelf",))
NAP = Action(name="nap", input_schema=TAKES, annotations=EFFECT, run=nap, resources=lambda _: ())
MANY = Action(
    name="many", input_schema=TAKES, annotations=replace(PURE, trusted=True), run=many, resources=lambda _: ()
)


def chain(action: str, size: int) -> Plan:
    """Return a plan of steps that each use the one before."""
    inputs = [{} if at == 0 else {"before": f"${{o{at - 1}}}"} for at in range(size)]
    return Plan(goal="chain", steps=[WorkflowStep(f"s{at}", action, inputs[at], [f"o{at}"]) for at in range(size)])


def naps(nodes: Nodes) -> Plan:
    """Return the plan of a plain graph."""
    steps = [
        WorkflowStep(name, "nap", {"seconds": seconds, "needs": [f"${{o_{one}}}" for one in needed]}, [f"o_{name}"])
        for name, (seconds, needed) in nodes.items()
    ]
    return Plan(goal="naps", steps=steps)


def random_nodes(seed: int, size: int = 30) -> tuple[Nodes, float]:
    """Return a random graph of naps, and its critical path in seconds."""
    dice = random.Random(seed)
    nodes: dict[str, tuple[float, Sequence[str]]] = {}
    ends: list[float] = []
    for at in range(size):
        seconds = round(dice.uniform(0.02, 0.3), 3)
        needed = dice.sample(range(at), k=min(at, dice.randint(0, 3)))
        nodes[f"s{at}"] = seconds, [f"s{one}" for one in needed]
        ends.append(seconds + max((ends[one] for one in needed), default=0.0))
    return nodes, max(ends)


def workflow(
    actions: Sequence[Action], database: str | Path, size: int, *, parallel: int = 8, plans: Sequence[Plan] = ()
) -> AgenticWorkflow:
    """Return a workflow for plans of a size, whose agent gives these."""
    limits = Limits(max_parallel=parallel, max_steps=max(size, 1_000))
    return AgenticWorkflow(ScriptedAgent(list(plans)), size + 10, actions=actions, database=database, limits=limits)


async def ours(plan: Plan, action: Action, database: str | Path) -> None:
    """Run a plan with this project."""
    house = workflow([action], database, len(plan.steps), plans=[plan])
    complete(await house.run(plan.goal))


def complete(result: Mapping[str, Any]) -> None:
    """End the benchmark if a run did not complete."""
    if result["state"] != "COMPLETE":
        raise SystemExit(f"The run is {result['state']}: {result['reason']}")


def ours_chain(action: Action) -> Work:
    """Return the chain as this project runs it."""
    return lambda path, size: ours(chain(action.name, size), action, path)


def served(plan: Plan, actions: Sequence[Action], *, parallel: int) -> Served:
    """Return a plan as a service runs it with this project: the workflow is made, and has run a step."""

    @asynccontextmanager
    async def serving(path: Path) -> AsyncIterator[Serve]:
        house = workflow(actions, path, len(plan.steps), parallel=parallel)
        complete(await house.run("first", plan=naps({"first": (0.0, ())})))

        async def serve() -> None:
            complete(await house.run("g", plan=plan))

        yield serve

    return serving


def fanned(width: int, seconds: float) -> Plan:
    """Return a plan that gives naps for a list, one an element, at once."""
    nap = WorkflowStep("each", "nap", {"seconds": seconds, "of": "${item}"}, ["o"], foreach="${many}")
    return Plan("each", [WorkflowStep("many", "many", {"of": width}, ["many"]), nap])


async def bare_chain(path: Path, size: int) -> None:
    """Run the chain with nothing but a committed row a step."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE steps (name TEXT PRIMARY KEY, result TEXT)")
        for at in range(size):
            await asyncio.sleep(0)
            database.execute("INSERT INTO steps VALUES (?, ?)", (f"s{at}", f"s{at}"))


def _last(_: str, new: str) -> str:
    return new


class PlainState(TypedDict, total=False):
    """Of a plain graph: what the last node gave."""

    value: Annotated[str, _last]


def plain_graph(nodes: Nodes) -> StateGraph[PlainState]:
    """Return a plain graph, a node a step."""
    builder = StateGraph(PlainState)
    for name, (seconds, needed) in nodes.items():

        async def node(_: PlainState, name: str = name, seconds: float = seconds) -> PlainState:
            if seconds:
                await asyncio.sleep(seconds)
            return {"value": name}

        builder.add_node(name, node)
        builder.add_edge(list(needed) or START, name)
    return builder


def chain_nodes(size: int) -> Nodes:
    """Return the chain as a plain graph."""
    return {f"s{at}": (0.0, [f"s{at - 1}"] if at else []) for at in range(size)}


async def plain(nodes: Nodes, saver: Any, thread: str = "t") -> None:
    """Run a plain graph with a checkpoint a superstep."""
    await _invoke(plain_graph(nodes).compile(checkpointer=saver), len(nodes), thread)


async def _invoke(graph: Any, size: int, thread: str) -> None:
    config: Any = {"configurable": {"thread_id": thread}, "recursion_limit": size + 10}
    await graph.ainvoke({"value": ""}, config, durability="sync")


def plain_served(nodes: Nodes) -> Served:
    """Return a plain graph as a service runs it: it is compiled, and its saver's tables are there."""

    @asynccontextmanager
    async def serving(path: Path) -> AsyncIterator[Serve]:
        async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
            await saver.setup()
            graph = plain_graph(nodes).compile(checkpointer=saver)
            yield lambda: _invoke(graph, len(nodes), "t")

    return serving


async def plain_chain(path: Path, size: int) -> None:
    """Run the chain as a plain graph over LangGraph's SQLite saver."""
    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        await plain(chain_nodes(size), saver)


async def plain_in_memory(size: int) -> None:
    """Run the chain as a plain graph over LangGraph's memory saver."""
    await plain(chain_nodes(size), InMemorySaver())
