"""Print what durability costs: `python benchmarks/durability.py [--quick]`.

The same work is done by this project, by plain LangGraph (a node a step, its own saver, `sync`), by Burr and DBOS
(`peers.py` says how) and, as the yardstick, by bare asyncio with one SQLite row and one fsynced commit a step; in one
process tree, interleaved, medians. SQLite is in WAL mode with `synchronous=FULL` for all of them. Of the graphs and the
fan-out both is told: a run of a service that is up, its database open and its graph made, and all of it. In the other
rows DBOS is launched before the clock starts and shut down after it stops, the others open their database in between.
"""

import argparse
import asyncio
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from kills import wrong_here, wrong_in_dbos
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from peers import (
    burr_chain,
    burr_crowd,
    burr_fan_out,
    burr_in_memory,
    dbos_chain,
    dbos_crowd,
    dbos_gathered,
    dbos_naps,
    dbos_reserved,
    launched,
)
from works import (
    MANY,
    NAP,
    PURE,
    READ,
    TAKES,
    WRITE,
    Served,
    Work,
    bare_chain,
    chain,
    chain_nodes,
    complete,
    fanned,
    naps,
    ours,
    ours_chain,
    plain,
    plain_chain,
    plain_in_memory,
    plain_served,
    random_nodes,
    served,
    workflow,
)

from agentic_workflows import Action, ActionCall, Plan, WorkflowStep, approve
from agentic_workflows.journal.writer import IDLE_SECONDS

Cost = tuple[float, float]
"""CPU and wall seconds."""
Around = Callable[[Path], AbstractAsyncContextManager[Any]]
"""What is open around a work, and not measured."""
SERVED = "", ", with opening, a first step here, and closing"
"""What the two wall times of a work are called: of the run alone, as in a service, and with all that is made for it."""


def row(figure: str, here: str, plain_: str = "-", burr: str = "-", dbos: str = "-", *, reach: str = "-") -> None:
    """Print a row of the table."""
    print(f"| {figure} | {here} | {plain_} | {burr} | {dbos} | {reach} |", flush=True)


async def cost(work: Work, size: int, around: Around = nullcontext) -> Cost:
    """Return what one run costs, in a database of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.db"
        async with around(path):
            cpu, wall = process_time(), perf_counter()
            await work(path, size)
            return process_time() - cpu, perf_counter() - wall


async def medians(works: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, Cost]:
    """Return the median cost of each work, done in turn."""
    costs: dict[str, list[Cost]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            costs[name].append(await work())
    return {
        name: (statistics.median(one[0] for one in each), statistics.median(one[1] for one in each))
        for name, each in costs.items()
    }


async def chains(size: int, rounds: int) -> None:
    """Print what a step of a chain costs; plain LangGraph runs a tenth of it, for its cost of a step does not grow."""
    small = size // 10
    works = {"bare": bare_chain, "effects": ours_chain(WRITE), "reads": ours_chain(READ), "burr": burr_chain}
    figures: dict[str, Callable[[], Any]] = {name: lambda work=work: cost(work, size) for name, work in works.items()}
    figures |= {"small": lambda: cost(works["effects"], small), "plain": lambda: cost(plain_chain, small)}
    figures["dbos"] = lambda: cost(dbos_chain, size, launched)
    cpu = {name: each[0] for name, each in (await medians(figures, rounds)).items()}
    cpu["plain"] *= 10
    over = {name: f"{each / cpu['bare']:.1f}" for name, each in cpu.items()}
    peers = [over[name] for name in ("plain", "burr", "dbos")]
    row(f"chain of {size} effects, durable: CPU over bare", over["effects"], *peers, reach="<= 2.5")
    row(f"chain of {size} steps without effects: CPU over bare", over["reads"], *peers, reach="<= 1.5")
    growth = (cpu["effects"] - cpu["small"]) / (size - small) / (cpu["small"] / small)
    row(f"cost of a step from {small} to {size}, over its cost up to {small}", f"{growth:.2f}", reach="<= 1.1")


async def disk(size: int) -> None:
    """Print the bytes of a chain's database, once it is closed and its write-ahead log is gone."""
    kept = {}
    works = {"bare": bare_chain, "ours": ours_chain(WRITE), "empty": ours_chain(READ)}
    works |= {"plain": plain_chain, "burr": burr_chain, "dbos": dbos_chain}
    for name, work in works.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "runs.db"
            async with launched(path) if name == "dbos" else nullcontext():
                await work(path, 1 if name == "empty" else size)
            await asyncio.sleep(IDLE_SECONDS * 1.5 if name in ("ours", "empty") else 0)
            kept[name] = _megabytes(Path(folder))
    over = {name: f"{each / kept['bare']:.0f}" for name, each in kept.items()}
    told = f"{over['ours']} ({kept['ours']:.2f} MB, of which {kept['empty']:.2f} MB for a run of one step)"
    figure = f"disk of {size} effects over bare ({kept['bare']:.2f} MB)"
    row(figure, told, over["plain"], over["burr"], over["dbos"], reach="<= 3")


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.iterdir()) / 1e6


async def memory(size: int, rounds: int) -> None:
    """Print the CPU of a step in memory."""
    figures: dict[str, Callable[[], Any]] = {
        "ours": lambda: cost(lambda _, size: ours(chain("write", size), WRITE, "memory"), size),
        "plain": lambda: cost(lambda _, size: plain_in_memory(size), size // 10),
        "burr": lambda: cost(burr_in_memory, size),
    }
    cpu = {name: each[0] for name, each in (await medians(figures, rounds)).items()}
    cpu["plain"] *= 10
    each_step = [f"{each / size * 1_000:.2f}" for each in cpu.values()]
    row(f"chain of {size} effects in memory: CPU ms a step", *each_step, reach="<= 0.25")


async def crowd(runs: int, size: int, rounds: int) -> None:
    """Print how many runs at once share a database; the others do a tenth of them."""
    few = runs // 10
    inside: list[float] = []

    async def whole(path: Path, _: int) -> None:
        house, plan = workflow([WRITE], path, size), chain("write", size)
        for result in await asyncio.gather(*(house.run("g", plan=plan) for _ in range(runs))):
            complete(result)

    async def plain_whole(path: Path, _: int) -> None:
        async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
            await asyncio.gather(*(plain(chain_nodes(size), saver, f"t{at}") for at in range(few)))

    async def executing(path: Path, _: int) -> None:
        inside.append(await _inside(path, runs, size))

    figures = {
        "bare": lambda: cost(bare_chain, runs * size),
        "whole": lambda: cost(whole, 0),
        "plain": lambda: cost(plain_whole, 0),
        "inside": lambda: cost(executing, 0),
        "burr": lambda: cost(burr_crowd(few, size), 0),
        "dbos": lambda: cost(dbos_crowd(few, size), 0, launched),
    }
    wall = {name: each[1] for name, each in (await medians(figures, rounds)).items()}
    bare = wall["bare"]
    # The slower a disk is, the more is won by sharing a commit.
    each = f"a commit takes {bare / runs / size * 1_000:.2f} ms"
    named = f"{runs} runs of {size} effects at once, speed over bare commit-a-step ({each})"
    row(f"{named}: inside the execute node", f"{bare / statistics.median(inside):.2f}", reach=">= 3.0")
    peers = [f"{bare / runs * few / wall[name]:.2f}" for name in ("plain", "burr", "dbos")]
    row(f"{named}: whole runs, checkpoints included", f"{bare / wall['whole']:.2f}", *peers, reach=">= 0.35")


async def _inside(path: Path, runs: int, size: int) -> float:
    """Return the seconds from when every run has come to its first step, until the last one is through."""
    arrived, opened = 0, asyncio.Event()

    async def meet(_: ActionCall) -> str:
        nonlocal arrived, began
        arrived += 1
        if arrived == runs:
            began = perf_counter()
            opened.set()
        await opened.wait()
        return "met"

    async def last(_: ActionCall) -> str:
        nonlocal ended
        ended = perf_counter()
        return "done"

    began = ended = 0.0
    steps = [*chain("write", size).steps]
    steps[0] = WorkflowStep("s0", "write", {"before": "${met}"}, ["o0"])
    steps = [
        WorkflowStep("meet", "meet", {}, ["met"]),
        *steps,
        WorkflowStep("last", "last", {"of": f"${{o{size - 1}}}"}),
    ]
    others = [Action(name=run.__name__, input_schema=TAKES, annotations=PURE, run=run) for run in (meet, last)]
    house = workflow([WRITE, *others], path, len(steps))
    for result in await asyncio.gather(*(house.run("g", plan=Plan("g", steps)) for _ in range(runs))):
        complete(result)
    return ended - began


async def walls(works: Mapping[str, Served], rounds: int) -> dict[str, tuple[float, float]]:
    """Return the median wall seconds of each work, done in turn, without and with what is opened and made for it."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            spent[name].append(await _wall(work))
    return {name: _columns(statistics.median, each) for name, each in spent.items()}


async def _wall(work: Served) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        opening = perf_counter()
        async with work(Path(folder) / "runs.db") as serve:
            began = perf_counter()
            await serve()
            ran = perf_counter() - began
        return ran, perf_counter() - opening


def _columns(of: Callable[[list[float]], float], rows: Sequence[tuple[float, float]]) -> tuple[float, float]:
    first, second = map(list, zip(*rows, strict=True))
    return of(first), of(second)


async def makespan(plans: int) -> None:
    """Print what a random graph takes over its critical path, which no scheduler can beat."""
    ratios: dict[str, list[tuple[float, float]]] = {}
    for seed in range(plans):
        nodes, critical = random_nodes(seed)
        works = {
            "ours": served(naps(nodes), [NAP], parallel=len(nodes)),
            "plain": plain_served(nodes),
            "dbos": dbos_naps(nodes),
        }
        for name, each in (await walls(works, 1)).items():
            ratios.setdefault(name, []).append((each[0] / critical, each[1] / critical))
    mean, worst = ({name: _columns(of, each) for name, each in ratios.items()} for of in (statistics.mean, max))
    figure = f"{plans} random graphs of 30 steps, durable: makespan over critical path, mean / worst"
    for at, what in enumerate(SERVED):
        here, plain_, dbos = (f"{mean[name][at]:.2f} / {worst[name][at]:.2f}" for name in ratios)
        # Burr walks one action at a time and waits for a whole map of them: it has no such graph.
        row(f"{figure}{what}", here, plain_, "-", dbos, reach="<= 1.03 / 1.06")


async def fan_out(width: int, rounds: int) -> None:
    """Print a fan-out's wall time over the ideal."""
    nodes = {f"s{at}": (0.05, []) for at in range(width)}
    works = {
        "ours": served(naps(nodes), [NAP], parallel=width),
        "each": served(fanned(width, 0.05), [NAP, MANY], parallel=width),
        "plain": plain_served(nodes),
        "burr": burr_fan_out(width, 0.05),
        "dbos": dbos_naps(nodes),
    }
    found = await walls(works, rounds)
    for at, what in enumerate(SERVED):
        here, foreach, *peers = (f"{one[at] / 0.05:.1f}" for one in found.values())
        figure = f"fan-out {width} x 50 ms, durable: wall over ideal{what}"
        row(figure, f"{here} ({foreach} as one foreach)", *peers, reach="<= 1.5")


async def kills(times: int, times_there: int) -> None:
    """Print how often a run that was killed and resumed handed an output to the wrong step."""
    wrong, landed = await wrong_here(times)
    gathered = "{} of {} killed".format(*await wrong_in_dbos(dbos_gathered, times_there))
    reserved = "{} of {} with its steps' ids reserved".format(*await wrong_in_dbos(dbos_reserved, times_there))
    figure = f"kill -9 in a two-branch graph, resume: wrong outputs of {times} runs ({landed} killed under way)"
    row(figure, str(wrong), dbos=f"{gathered}, {reserved}", reach="0")


async def resume(size: int) -> None:
    """Print how long it takes to finish a run of many finished steps, in a database that nobody has open."""
    plan = chain("read", size)
    ask = WorkflowStep("ask", "write", {"of": f"${{o{size - 1}}}"}, human_review_required=True)
    plan = Plan("g", [*plan.steps, ask])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.db"
        asked = await workflow([READ, WRITE], path, size + 1).run("g", plan=plan)
        began = perf_counter()
        complete(await workflow([READ, WRITE], path, size + 1).resume(approve(), thread_id=asked["thread_id"]))
        seconds = perf_counter() - began
        row(f"resume of a run with {size} finished steps, beyond import", f"{seconds:.2f} s", reach="<= 1 s")


def cold_start(rounds: int) -> None:
    """Print the CPU of a process until it has run one step, over that of one that does so with LangGraph alone."""
    plain_code = (
        "from typing import TypedDict\nfrom langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver\n"
        "from langgraph.graph import START, StateGraph\nclass S(TypedDict):\n    value: int\n"
        "async def main(path):\n    builder = StateGraph(S)\n    builder.add_node('s', lambda s: {'value': 1})\n"
        "    builder.add_edge(START, 's')\n    async with AsyncSqliteSaver.from_conn_string(path) as saver:\n"
        "        config = {'configurable': {'thread_id': 't'}}\n"
        "        await builder.compile(checkpointer=saver).ainvoke({'value': 0}, config, durability='sync')\n"
    )
    our_code = (
        "from agentic_workflows import Action, AgenticWorkflow, Annotations, ScriptedAgent\n"
        "async def nothing(call):\n    return 1\n"
        "async def main(path):\n    read = Action(name='read', annotations=Annotations(read_only=True), run=nothing)\n"
        "    plan = {'goal': 'g', 'steps': [{'name': 's', 'action': 'read'}]}\n"
        "    await AgenticWorkflow(ScriptedAgent([plan]), actions=[read], database=path).run('g')\n"
    )
    times: dict[str, list[float]] = {our_code: [], plain_code: []}
    with tempfile.TemporaryDirectory() as cache:
        for code in times:
            _child(code, cache)  # an installed package is compiled already, a checkout need not be
        for _ in range(rounds):
            for code, each in times.items():
                each.append(_child(code, cache))
    here, there = (statistics.median(each) for each in times.values())
    figure = "cold start to first step, CPU over LangGraph's own"
    row(figure, f"{here / there:.2f}", f"1 ({there:.2f} s)", reach="<= 1.05")


def _child(code: str, cache: str) -> float:
    """Return the CPU seconds of a process of its own, with its compiled modules in a folder."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    given = {**os.environ, "PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
    with tempfile.TemporaryDirectory() as folder:
        text = f"{code}\nimport asyncio, os, sys\nasyncio.run(main(sys.argv[1]))\nos._exit(0)"
        subprocess.run([sys.executable, "-c", text, str(Path(folder) / "x.db")], check=True, env=given)  # noqa: S603 - our own
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


async def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds, runs, graphs and kills; the chains are whole"
    )
    quick = parser.parse_args(arguments).quick
    rounds = 1 if quick else 3
    print("| figure | here | plain LangGraph | Burr | DBOS | to reach |\n| --- | --- | --- | --- | --- | --- |")
    for work in (ours_chain(WRITE), plain_chain, burr_chain):
        await cost(work, 3)
    await cost(dbos_chain, 3, launched)
    await chains(1_000, rounds)
    await disk(1_000)
    await memory(1_000, rounds)
    await crowd(20 if quick else 200, 20, rounds)
    await makespan(3 if quick else 20)
    await fan_out(100, rounds)
    await kills(10 if quick else 200, 10 if quick else 20)
    cold_start(rounds * 5)  # a second each, and no two are alike
    await resume(10_000)


if __name__ == "__main__":
    asyncio.run(main())
