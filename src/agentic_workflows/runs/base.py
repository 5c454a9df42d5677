"""The runs of a database: looked at, asked to stop, removed, and opened for whoever takes them further."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from copy import copy
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar, get_args

from agentic_workflows.actions.action import Registry
from agentic_workflows.errors import CorruptError, DatabaseError, RunError
from agentic_workflows.graph.build import Graph
from agentic_workflows.graph.state import MAX_SECONDS, NO_STATE, SETTING, Request, WorkflowState
from agentic_workflows.graph.threads import runs_inside
from agentic_workflows.graph.values import JsonObject, JsonValue
from agentic_workflows.journal.database import Database
from agentic_workflows.journal.entries import Past
from agentic_workflows.journal.faults import without_password
from agentic_workflows.journal.lease import Held
from agentic_workflows.journal.savers import fenced
from agentic_workflows.runs.opened import OpenRun
from agentic_workflows.runs.prune import Pruning, Savers
from agentic_workflows.runs.results import as_result
from agentic_workflows.runs.whereabouts import Whereabouts

Result = TypeVar("Result")


class Runs(ABC):
    """The runs of a database, over the graph that they run on."""

    def __init__(self, database: Database, registry: Registry, metadata: Mapping[str, JsonValue]) -> None:
        self.database, self.registry, self._metadata = database, registry, dict(metadata)

    async def runs(self) -> list[dict[str, Any]]:
        """Return every run of the database, the one touched last first; one that cannot be read is CORRUPT."""
        found = []
        async with self.database.checkpointer() as saver:
            graph = self._assemble(saver)
            for thread_id in await self.database.journal.threads():
                run = self._run(thread_id, graph)
                try:
                    await run.load()
                    if run.values:
                        found.append(await run.result())
                except CorruptError as error:
                    unknown = as_result(thread_id, NO_STATE, Past())
                    found.append({**unknown, "state": "CORRUPT", "reason": str(error)})
        return found

    async def timeline(self, thread_id: str) -> list[JsonObject]:
        """Return everything that is written down about a run, oldest first: plans, intents, outcomes, answers.

        Raises:
            RunError: there is no such run.

        """
        refuse_nameless(thread_id)
        if told := await self.database.journal.timeline(thread_id):
            return told  # also where its checkpoints are not there any more
        async with self._looked_at(thread_id):
            return []

    async def prune(self, older_than: timedelta, *, savers: Savers | None = None) -> list[str]:
        """Remove finished runs that nobody has touched for this long, with their checkpoints; returns their threads.

        A run inside another one goes with that. One inside another graph stays as long as that graph's thread, which
        nobody knows to be gone where only the journal tells of the run.

        Args:
            older_than: how long nobody has touched them.
            savers: all that such graphs are compiled with, beside the one of this database; then runs also go whose
                thread is in none of them. Empty where they keep everything in this database.

        Raises:
            CorruptError: a run cannot be read and stays; raised when all others were looked at.
            RunError: nothing can be that old, or a saver is not asynchronous.

        """
        if abs(older_than.total_seconds()) > MAX_SECONDS:
            raise RunError(f"older_than is {older_than}; give at most a hundred years.")
        since = (datetime.now(UTC) - older_than).isoformat()
        gone, kept = dict[str, None](), list[CorruptError]()
        async with self.database.checkpointer() as saver:
            graph = self._assemble(saver)
            pruning = Pruning(
                database=self.database,
                saver=saver,
                open=lambda thread_id: self._run(thread_id, graph),
                since=since,
                others=savers,
            )
            threads = await self.database.journal.threads()
            inner = runs_inside(threads)
            for thread_id in threads:
                try:
                    if thread_id not in gone:
                        gone |= dict.fromkeys(await pruning.remove(thread_id, inner.get(thread_id, ())))
                except CorruptError as error:
                    kept.append(error)
        await self.database.journal.sweep()
        if gone:
            await self.database.shrink()
        if kept:
            raise CorruptError(f"Finished runs that were removed: {', '.join(gone) or 'none'}. One stays: {kept[0]}")
        return list(gone)

    async def metadata_of(self, thread_id: str) -> JsonObject:
        """Return what was kept with a run when it began; of a server's, also what was chosen for it.

        Raises:
            RunError: there is no such run.

        """
        async with self._looked_at(thread_id) as run:
            return {**run.kept, SETTING: run.values.get("setting") or {}}

    def request(self, thread_id: str, request: Request) -> None:
        """Ask a run that is under way, in whichever process, to stop before its next action call.

        One that nobody is running honours it when somebody goes on with it: a cancelled one ends before anything is
        done, and a pause is over then; a graph that a server drives, or your own code, stops once more.

        Raises:
            RunError: there is no such run, it is finished, or it cannot be asked that.

        """
        refuse_nameless(thread_id)
        if request not in get_args(Request):
            raise RunError(f"{request!r} is nothing to ask of a run. It is one of {', '.join(get_args(Request))}.")
        is_ours = self.database.leases.ask(thread_id, request)
        run_in_own_loop(self._request(thread_id, request, is_under_way=is_ours))

    async def _request(self, thread_id: str, request: Request, *, is_under_way: bool) -> None:
        if not is_under_way and (state := await self._finished(thread_id)):
            raise RunError(f"The run {thread_id} is {state} already; there is nothing to {request}.")
        if not await self.database.journal.request(thread_id, request):
            raise self._unknown(thread_id)

    async def _finished(self, thread_id: str) -> WorkflowState | None:
        """Return the state of a run that is finished, where that can be told: a server has its own checkpoints."""
        if not await self.database.journal.runs(thread_id):
            return None
        async with self.database.checkpointer() as saver:
            run = self._run(thread_id, self._assemble(saver))
            with suppress(DatabaseError):
                await run.load()
            return run.state if run.is_over else None

    @abstractmethod
    def _compiled(self) -> Graph:
        """Return the graph without a checkpointer."""

    @cached_property
    def _graph(self) -> Graph:
        return self._compiled()

    @asynccontextmanager
    async def _looked_at(self, thread_id: str) -> AsyncIterator[OpenRun]:
        refuse_nameless(thread_id)
        async with self.database.checkpointer() as saver:
            run = self._run(thread_id, self._assemble(saver))
            await run.load()
            if not run.values:
                raise self._unknown(thread_id)
            yield run

    def _missing(self, run: OpenRun) -> RunError:
        """Return why a run cannot be gone on with."""
        if run.where is not Whereabouts.ELSEWHERE:
            return self._unknown(run.thread_id)
        return RunError(
            f"No checkpoint of the run {run.thread_id} is in the database {run.database}. Go on with it where they are."
        )

    def _unknown(self, thread_id: str) -> RunError:
        return RunError(f"There is no run {thread_id!r} in the database {without_password(self.database.url)}.")

    @asynccontextmanager
    async def _held(self, thread_id: str, *, is_new: bool = False) -> AsyncIterator[OpenRun]:
        """Hold a thread for what is done inside: nobody else runs it then. Of a new one nothing is known yet."""
        refuse_nameless(thread_id)
        leases = self.database.leases
        async with leases.hold(thread_id) as held, self.database.checkpointer() as saver:
            run = self._run(thread_id, self._assemble(fenced(saver, leases, held)), held)
            if not is_new:
                await run.load()
                if run.outer:
                    raise RunError(f"The run {thread_id} is a part of the thread {run.outer}; go on with that one.")
                if run.where is Whereabouts.FOREIGN:
                    raise RunError(f"The thread {thread_id} belongs to another graph. Give another one.")
            yield run

    def _run(self, thread_id: str, graph: Graph, held: Held | None = None) -> OpenRun:
        return OpenRun(
            thread_id=thread_id,
            database=without_password(self.database.url),
            graph=graph,
            journal=self.database.journal,
            catalogue=self.registry,
            held=held,
            metadata=self._metadata,
        )

    def _assemble(self, checkpointer: Any) -> Graph:
        """Return the graph over a checkpointer; it is compiled once, and not checked again as its own `copy` would."""
        graph = copy(self._graph)
        graph.checkpointer = checkpointer
        return graph


def refuse_nameless(thread_id: object) -> None:
    """Refuse what cannot be the name of a thread.

    Raises:
        RunError: it is no text, or one that writes itself otherwise: LangGraph and the journal would take it for two.

    """
    if not isinstance(thread_id, str) or str(thread_id) != thread_id[:]:
        raise RunError(f"thread_id is {thread_id!r}; give the name of a run as a text.")


def run_in_own_loop(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end on a loop of its own, also where a loop is running already; Ctrl-C cuts it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    begun = Future[Callable[[], object]]()

    async def cuttable() -> Result:
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
        begun.set_result(lambda: loop.call_soon_threadsafe(task.cancel))
        return await task

    with ThreadPoolExecutor(1) as threads:  # which waits for what was cut
        result = threads.submit(asyncio.run, cuttable())
        try:
            return result.result()
        except BaseException:
            if not result.done():  # not its own error, but what a signal raises here
                with suppress(RuntimeError):  # the loop is closed: it has just ended by itself
                    begun.result()()
            raise
