"""Print what durability costs: `python benchmarks/durability.py [--quick]`.

The same chains and fan-outs are run by this project, by plain LangGraph (a node a step, its SQLite saver) and, as the
yardstick, by bare asyncio with one SQLite row and one fsynced commit a step; in one process tree, interleaved, medians.
SQLite is in WAL mode with `synchronous=FULL` wherever an intent must be on disk; LangGraph's saver uses the same.
"""

import argparse
import asyncio
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, TypedDict

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

PURE = Annotations(read_only=True, open_world=False)
EFFECT = Annotations(destructive=False, open_world=False)
Work = Callable[[Path, int], Awaitable[None]]


class ChainState(TypedDict, total=False):
    """Of the plain graph: what the step before gave."""

    value: int


async def nothing(call: ActionCall) -> str:
    """Do nothing."""
    return call.step.name


async def nap(_: ActionCall) -> str:
    """Sleep 50 ms."""
    await asyncio.sleep(0.05)
    return "rested"


READ = Action(name="read", annotations=PURE, run=nothing, resources=lambda _: ())
WRITE = Action(name="write", annotations=EFFECT, run=nothing, resources=lambda _: ("shelf",))
NAP = Action(name="nap", annotations=EFFECT, run=nap, resources=lambda _: ())


def chain(action: str, size: int) -> Plan:
    """Return a plan of steps that each use the one before."""
    inputs = [{} if at == 0 else {"before": f"${{o{at - 1}}}"} for at in range(size)]
    return Plan(goal="chain", steps=[WorkflowStep(f"s{at}", action, inputs[at], [f"o{at}"]) for at in range(size)])


async def ours(plan: Plan, action: Action, database: str | Path, *, parallel: int = 8, thread: str = "t") -> None:
    """Run a plan with this project."""
    size = len(plan.steps)
    workflow = AgenticWorkflow(
        ScriptedAgent([plan]),
        size + 10,
        actions=[action],
        database=database,
        limits=Limits(max_parallel=parallel, max_steps=max(size, 1_000)),
    )
    result = await workflow.run(plan.goal, thread_id=thread)
    if result["state"] != "COMPLETE":
        raise SystemExit(f"The run did not complete: {result['reason']}")


def ours_chain(action: Action) -> Work:
    """Return the chain as this project runs it."""
    return lambda path, size: ours(chain(action.name, size), action, path)


async def bare_chain(path: Path, size: int) -> None:
    """Run the chain with nothing but a committed row a step."""
    with sqlite3.connect(path, isolation_level=None) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE steps (name TEXT PRIMARY KEY, result TEXT)")
        for at in range(size):
            await asyncio.sleep(0)
            database.execute("INSERT INTO steps VALUES (?, ?)", (f"s{at}", f"s{at}"))
    database.close()


async def plain_chain(path: Path, size: int) -> None:
    """Run the chain as a plain graph, a node a step, with a checkpoint a step."""
    builder = StateGraph(ChainState)
    for at in range(size):
        builder.add_node(f"s{at}", lambda state: {"value": state.get("value", 0) + 1})
        builder.add_edge(START if at == 0 else f"s{at - 1}", f"s{at}")
    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        config: Any = {"configurable": {"thread_id": "t"}, "recursion_limit": size + 10}
        await builder.compile(checkpointer=saver).ainvoke({"value": 0}, config, durability="sync")


async def cost(work: Work, size: int) -> tuple[float, float, int]:
    """Return the CPU seconds, wall seconds and bytes on disk of one run."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.db"
        wall, cpu = perf_counter(), process_time()
        await work(path, size)
        used = process_time() - cpu, perf_counter() - wall
        return *used, _bytes_in(Path(folder))


def _bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


async def medians(works: dict[str, Work], size: int, rounds: int) -> dict[str, tuple[float, float, int]]:
    """Return the medians of each work's cost, run in turn."""
    costs: dict[str, list[tuple[float, float, int]]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            costs[name].append(await cost(work, size))
    return {
        name: (statistics.median(c[0] for c in each), statistics.median(c[1] for c in each), each[0][2])
        for name, each in costs.items()
    }


def row(figure: str, ours_: str, plain: str = "-", reach: str = "-") -> None:
    """Print a row of the table."""
    print(f"| {figure} | {ours_} | {plain} | {reach} |")


async def chains(size: int, rounds: int) -> None:
    """Print what a step of a chain costs."""
    works = {"bare": bare_chain, "effects": ours_chain(WRITE), "reads": ours_chain(READ)}
    large = await medians(works, size, rounds)
    small = await medians(works, size // 10, rounds)
    plain = await cost(plain_chain, size // 10)
    bare = large["bare"][0]
    row(
        f"chain of {size} effects: CPU over bare",
        f"{large['effects'][0] / bare:.1f}",
        f"{plain[0] * 10 / bare:.1f}",
        "<= 2.5",
    )
    row(f"chain of {size} steps without effects: CPU over bare", f"{large['reads'][0] / bare:.1f}", "-", "<= 1.5")
    growth = (large["effects"][0] - small["effects"][0]) / (size - size // 10) / (small["effects"][0] / (size // 10))
    row("marginal cost of a step at N over its cost at N/10", f"{growth:.2f}", "1.0", "<= 1.1")
    row(
        "disk over bare",
        f"{large['effects'][2] / large['bare'][2]:.1f}",
        f"{plain[2] * 10 / large['bare'][2]:.0f}",
        "<= 3",
    )


async def memory(size: int) -> None:
    """Print the CPU of a step in memory."""
    cpu = process_time()
    await ours(chain("write", size), WRITE, "memory")
    row("in memory: CPU ms a step", f"{(process_time() - cpu) / size * 1_000:.2f}", "1.1", "<= 0.25")


async def crowd(runs: int, size: int) -> None:
    """Print how many runs at once share a database."""
    bare = (await cost(bare_chain, runs * size))[1]

    async def together(path: Path, _: int) -> None:
        await asyncio.gather(*(ours(chain("write", size), WRITE, path, thread=f"t{at}") for at in range(runs)))

    took = (await cost(together, 0))[1]
    row(
        f"{runs} runs of {size} effects at once, whole: speed over bare commit-a-step",
        f"{bare / took:.2f}",
        "0.06",
        ">= 0.35",
    )


async def fan_out(width: int) -> None:
    """Print a fan-out's wall time over the ideal."""
    plan = Plan(goal="fan", steps=[WorkflowStep(f"s{at}", "nap") for at in range(width)])

    async def work(path: Path, _: int) -> None:
        await ours(plan, NAP, path, parallel=width)

    row(f"fan-out {width} x 50 ms: wall over ideal", f"{(await cost(work, 0))[1] / 0.05:.1f}", "5.9", "<= 1.5")


async def resume(size: int) -> None:
    """Print how long it takes to take up a run of many finished steps."""
    with tempfile.TemporaryDirectory() as folder:
        path, plan = Path(folder) / "runs.db", chain("read", size)
        limits = Limits(max_steps=size)
        workflow = AgenticWorkflow(ScriptedAgent([]), size + 10, actions=[READ], database=path, limits=limits)
        await workflow.run("g", plan=plan, thread_id="t")
        began = perf_counter()
        await AgenticWorkflow(ScriptedAgent([]), 10, actions=[READ], database=path).result("t")
        row(f"a run with {size} finished steps, looked up", f"{perf_counter() - began:.2f} s", "-", "<= 1 s")


def cold_start() -> None:
    """Print the CPU until a first step, over that of LangGraph's own."""
    first = "import asyncio; from benchmarks.durability import {0}; from pathlib import Path; import tempfile\n"
    first += "with tempfile.TemporaryDirectory() as f: asyncio.run({0}{1}(Path(f) / 'x.db', 1))"
    code = {"ours": first.format("ours_chain, READ", ""), "plain": first.format("plain_chain", "")}
    code["ours"] = code["ours"].replace("asyncio.run(ours_chain, READ(", "asyncio.run(ours_chain(READ)(")
    times = {}
    for name, text in code.items():
        before = perf_counter()
        subprocess.run([sys.executable, "-c", text], check=True, cwd=Path(__file__).parents[1])  # noqa: S603 - our own
        times[name] = perf_counter() - before
    row("cold start to first step over LangGraph's own", f"{times['ours'] / times['plain']:.2f}", "1", "<= 1.05")


async def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a tenth of the size, one round")
    quick = parser.parse_args().quick
    size, rounds = (100, 1) if quick else (1_000, 3)
    print("| figure | here | plain LangGraph | to reach |\n| --- | --- | --- | --- |")
    await cost(ours_chain(WRITE), 3)
    await chains(size, rounds)
    await memory(size)
    await crowd(20 if quick else 200, 20)
    await fan_out(100)
    await resume(size if quick else 10_000)
    cold_start()


if __name__ == "__main__":
    asyncio.run(main())
