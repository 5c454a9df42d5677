"""The same work for the peers of the comparison: Burr and DBOS, of the extra `bench`.

Burr keeps its whole state after each step, by its own asynchronous SQLite persister. DBOS keeps the output of each step
of a workflow in an SQLite system database; for production it recommends Postgres. Neither chooses a journal mode, so
WAL is set for both. `synchronous=FULL` is set on Burr's connection; that of DBOS has it as SQLite's default. DBOS gets
one connection, for its steps wait for each other faster than for SQLite's lock. Both run asynchronously, as effects do
here.

Neither tells anybody: Burr has no telemetry since 0.43, and no tracker here; DBOS gets no key for its console, and its
traces and logs are off.
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from works import Nodes, Serve, Served, Work, put

try:
    from burr.core import ApplicationBuilder, ApplicationContext, State, action
    from burr.core.parallelism import MapStates, SubgraphType
    from burr.integrations.persisters.b_aiosqlite import AsyncSQLitePersister
    from dbos import DBOS, DBOSConfig, SetWorkflowID, StepReservation
except ModuleNotFoundError as missing:
    raise SystemExit(f"The peers are not installed ({missing}): pip install -e '.[bench]'") from missing


@action(reads=[], writes=["value"])
async def _value(state: State, name: str) -> State:
    return state.update(value=name)


async def _burr_run(size: int, persister: AsyncSQLitePersister | None, run: str = "t") -> None:
    """Run the chain with Burr, an action a step."""
    names = [f"s{at}" for at in range(size)]
    builder = (
        ApplicationBuilder()
        .with_actions(**{name: _value.bind(name=name) for name in names})
        .with_transitions(*pairwise(names))
        .with_entrypoint(names[0])
        .with_state(value="")
        .with_identifiers(app_id=run)
    )
    application = await (builder.with_state_persister(persister) if persister else builder).abuild()
    await application.arun(halt_after=[names[-1]])


@asynccontextmanager
async def _persister(path: Path) -> AsyncIterator[AsyncSQLitePersister]:
    async with AsyncSQLitePersister.from_values(str(path)) as persister:
        await persister.connection.execute("PRAGMA journal_mode = WAL")
        await persister.connection.execute("PRAGMA synchronous = FULL")
        await persister.initialize()
        yield persister


async def burr_chain(path: Path, size: int) -> None:
    """Run the chain with Burr, its state kept after each step."""
    async with _persister(path) as persister:
        await _burr_run(size, persister)


async def burr_in_memory(_: Path, size: int) -> None:
    """Run the chain with Burr, without a persister."""
    await _burr_run(size, None)


def burr_crowd(runs: int, size: int) -> Work:
    """Return runs of the chain at once with Burr, in one database."""

    async def work(path: Path, _: int) -> None:
        async with _persister(path) as persister:
            await asyncio.gather(*(_burr_run(size, persister, f"t{at}") for at in range(runs)))

    return work


@action(reads=["at", "seconds"], writes=["value"])
async def _burr_nap(state: State) -> State:
    await asyncio.sleep(state["seconds"])
    return state.update(value=state["at"])


class _FanOut(MapStates):
    """Naps at once, each kept as a run of its own."""

    @property
    def reads(self) -> list[str]:
        return ["width"]

    @property
    def writes(self) -> list[str]:
        return ["values"]

    def is_async(self) -> bool:
        return True

    def action(self, state: State, inputs: dict[str, Any]) -> SubgraphType:  # noqa: ARG002 - the signature is Burr's
        return _burr_nap

    def states(self, state: State, context: ApplicationContext, inputs: dict[str, Any]) -> Generator[State, None, None]:  # noqa: ARG002
        yield from (state.update(at=at) for at in range(state["width"]))

    async def reduce(self, state: State, results: AsyncIterator[State]) -> State:
        return state.update(values=[one["value"] async for one in results])


def burr_fan_out(width: int, seconds: float) -> Served:
    """Return naps that wait for nothing, as Burr runs them; its application is of one run."""

    @asynccontextmanager
    async def serving(path: Path) -> AsyncIterator[Serve]:
        async with _persister(path) as persister:

            async def serve() -> None:
                builder = (
                    ApplicationBuilder()
                    .with_actions(fan_out=_FanOut())
                    .with_entrypoint("fan_out")
                    .with_state(width=width, seconds=seconds)
                    .with_state_persister(persister)
                )
                await (await builder.abuild()).arun(halt_after=["fan_out"])

            yield serve

    return serving


@asynccontextmanager
async def launched(path: Path) -> AsyncIterator[None]:
    """Launch DBOS over a database, where it recovers what was under way, and shut it down."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")  # which the file keeps
    config = DBOSConfig(
        name="durability",
        system_database_url=f"sqlite:///{path}",
        sys_db_pool_size=1,
        application_version="1",
        enable_otlp=False,
        log_level="CRITICAL",
    )
    DBOS(config=config)
    DBOS.launch()
    try:
        yield
    finally:
        DBOS.destroy()
        # DBOS gave the loop its own threads, which are gone.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())


@DBOS.step()
async def _name(name: str) -> str:
    return name


@DBOS.workflow()
async def _dbos_chain(size: int) -> str:
    last = ""
    for at in range(size):
        last = await _name(f"s{at}")
    return last


async def dbos_chain(_: Path, size: int) -> None:
    """Run the chain with DBOS, which is launched, as a workflow of a step each."""
    await _dbos_chain(size)


def dbos_crowd(runs: int, size: int) -> Work:
    """Return runs of the chain at once with DBOS, which is launched."""

    async def work(_: Path, __: int) -> None:
        handles = [await DBOS.start_workflow_async(_dbos_chain, size) for _ in range(runs)]
        await asyncio.gather(*(handle.get_result() for handle in handles))

    return work


async def _nap(name: str, seconds: float) -> str:
    await asyncio.sleep(seconds)
    return name


@DBOS.workflow()
async def _dbos_naps(nodes: Nodes) -> None:
    tasks: dict[str, asyncio.Task[str]] = {}

    async def node(step: StepReservation, name: str) -> str:
        seconds, needed = nodes[name]
        for one in needed:
            await tasks[one]
        return await step.run_async({"name": "nap"}, _nap, name, seconds)

    for name in nodes:
        # A recovery finds a step by its id, which must not depend on what is done first.
        tasks[name] = asyncio.create_task(node(DBOS.reserve_step(), name))
    await asyncio.gather(*tasks.values())


def dbos_naps(nodes: Nodes) -> Served:
    """Return a graph of naps as DBOS runs it once it is launched: a task a node, each with its step reserved."""

    @asynccontextmanager
    async def serving(path: Path) -> AsyncIterator[Serve]:
        async with launched(path):
            yield lambda: _dbos_naps(nodes)

    return serving


Put = Callable[[str, dict[str, str]], Awaitable[str]]
_put = DBOS.step(name="put")(put)


async def _branch(name: str, steps: Sequence[Put]) -> str:
    last = await steps[0](f"{name}0", {})
    for at, step in enumerate(steps[1:], start=1):
        last = await step(f"{name}{at}", {"before": last})
    return last


async def _branches(steps: Sequence[Put]) -> str:
    a, b = await asyncio.gather(_branch("a", steps[:3]), _branch("b", steps[3:]))
    return await _put("join", {"a": a, "b": b})


@DBOS.workflow()
async def dbos_gathered() -> str:
    """Run two branches of three steps, and one that joins them; a step has the id that is free when it starts."""
    return await _branches([_put] * 6)


@DBOS.workflow()
async def dbos_reserved() -> str:
    """Run the same branches, with the ids of their steps reserved before they start."""
    return await _branches([partial(DBOS.reserve_step().run_async, {"name": "put"}, put) for _ in range(6)])


Branches = Callable[[], Coroutine[Any, Any, str]]


async def dbos_branches(path: Path, branches: Branches, begin: Callable[[], None]) -> None:
    """Tell that the branches begin, run them, and end the process, for to shut DBOS down is no part of a run."""
    async with launched(path):
        begin()
        with SetWorkflowID("t"):
            await branches()
        os._exit(0)


async def dbos_recovered(path: Path) -> str | None:
    """Return what the branches of a process that was killed give, None where it was killed before them."""
    async with launched(path):
        if await DBOS.get_workflow_status_async("t") is None:
            return None
        handle = await DBOS.retrieve_workflow_async("t")
        return str(await handle.get_result(polling_interval_sec=0.05))
