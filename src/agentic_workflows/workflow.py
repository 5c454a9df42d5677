"""`AgenticWorkflow`: an agent, its actions and policies, and the runs it has made."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from uuid import uuid4

from agentic_workflows.actions.action import Action
from agentic_workflows.actions.overlay import Files
from agentic_workflows.errors import ActionError, DatabaseError, PlanError, PlanningError, RunError, said
from agentic_workflows.execution.contained import contained, log_failure
from agentic_workflows.execution.secrets import Secrets, secret_of_environment
from agentic_workflows.graph.build import Graph, Overrides, assemble, engine_of, registry_of
from agentic_workflows.graph.events import Event, StateEntered
from agentic_workflows.graph.findings import Finding
from agentic_workflows.graph.plan import Plan, WorkflowStep, plain, restore
from agentic_workflows.graph.plan import from_json as plan_from_json
from agentic_workflows.graph.review import Answers
from agentic_workflows.graph.state import FINISHED, Input, Limits, State, WorkflowState, ended_steps
from agentic_workflows.graph.values import JsonObject, JsonValue, as_json, writable
from agentic_workflows.journal.database import MEMORY, Database
from agentic_workflows.journal.entries import run_of_key
from agentic_workflows.nodes.beginning import refuse_forgotten
from agentic_workflows.nodes.collaborators import Agent, ask
from agentic_workflows.policies.files import Sources
from agentic_workflows.policies.report import Report, examine
from agentic_workflows.runs.base import refuse_nameless, run_in_own_loop
from agentic_workflows.runs.opened import Entry, OpenRun
from agentic_workflows.runs.results import without_plan
from agentic_workflows.runs.shown import Shown, ShowsRuns

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

_LONGEST_NAME: Final = 1_000
"""Bytes of a thread's name: no index of Postgres holds much more than twice as many."""
PlanLike: TypeAlias = Plan | Mapping[str, Any]


class AgenticWorkflow(ShowsRuns):
    """Runs goals: plans, checks, executes, asks where policy says so, and can be continued by another process.

    Args:
        agent: plans; one without declared actions also executes, as in the article.
        max_iterations: planner calls and step starts together; any number but 10, the default, takes the place of that
            in `limits`.
        actions: what plans may call; by default the agent's own `actions`.
        annotations: a YAML file, or several, of what actions do to the world; laid over what they declare.
        policies: a Cedar file, or several, each a path or the name of a built-in one: `default` (by default, with
            declared actions), `article` (without), and beside the default the refinements `system_assigned`,
            `created_by_run`, `people_directories`, `looked_up`, `own_domains`, `verbatim_reads` and
            `destructive_as_planned`, with which fewer questions are asked.
        database: `memory`, the path of a SQLite file, `postgresql://...`, or a `Database`.
        limits: the other limits of a run.
        metadata: kept with every run, for whoever continues it.
        secrets: a mapping or a function from names to values; by default `AGENTIC_SECRET_<name>` of the environment.

    Raises:
        ActionError: actions are declared or annotated wrongly.
        PolicyError: a policy does not load.
        DatabaseError: the database cannot be used.
        RunError: a limit has no valid value.

    """

    def __init__(
        self,
        agent: Agent,
        max_iterations: int = 10,
        *,
        actions: "Iterable[Action | BaseTool] | Action | BaseTool | None" = None,
        annotations: Files = (),
        policies: Sources | None = None,
        database: str | Path | Database = MEMORY,
        limits: Limits | None = None,
        metadata: Mapping[str, JsonValue] | None = None,
        secrets: Secrets = secret_of_environment,
    ) -> None:
        self.agent = agent
        given = Limits() if limits is None else limits
        if not isinstance(given, Limits):
            raise RunError(f"limits is {given!r}. Give Limits(...).")
        is_usual = max_iterations == Limits().max_iterations
        self.limits = given if is_usual else replace(given, max_iterations=max_iterations)
        known = registry_of(agent, actions, annotations)
        self.engine = engine_of(known, policies)
        super().__init__(database if isinstance(database, Database) else Database(database), known, metadata or {})
        self._secrets = secrets

    # The methods of the original article.

    async def run(self, goal: str, *, plan: PlanLike | None = None, thread_id: str | None = None) -> dict[str, Any]:
        """Run a goal until it is complete, has failed, or waits for a person.

        Args:
            goal: what is wanted.
            plan: a plan to run instead of asking the agent for one.
            thread_id: the name of the run; by default a new one.

        Returns:
            A dict with `thread_id, run_id, goal, state, outputs, history, iterations, reason, reviews` and more.

        Raises:
            RunError: there is no goal, or the thread has a run that is not finished.
            RunBusyError: another process has the thread.

        """
        async with self._begun(goal, plan, thread_id) as (run, entry):
            return await self._finish(run, entry)

    def run_sync(self, goal: str, *, plan: PlanLike | None = None, thread_id: str | None = None) -> dict[str, Any]:
        """Do what `run` does, for callers without an event loop; works inside a notebook's, too."""
        return run_in_own_loop(self.run(goal, plan=plan, thread_id=thread_id))

    async def stream(
        self, goal: str, *, plan: PlanLike | None = None, thread_id: str | None = None
    ) -> AsyncGenerator[Event, None]:
        """Run a goal as `run` does, and yield what happens as it happens."""
        async with self._begun(goal, plan, thread_id) as (run, entry), aclosing(self._followed(run, entry)) as events:
            async for event in events:
                yield event

    async def resume(
        self, answers: Answers | None = None, *, thread_id: str | None = None, max_iterations: int | None = None
    ) -> dict[str, Any]:
        """Continue a run that waits: answer its questions, end its pause, or give it more iterations.

        Args:
            answers: one answer, a list, or a dict of review id -> answer. One without an id counts for the only open
                question, whichever that is by now; where others answer, too, give the id that was shown.
            thread_id: which run; by default the last one of this object.
            max_iterations: the new limit, for a run that failed because the old one was used up.

        Raises:
            ReviewError: an answer fits no open question, or came second; nothing is changed then.
            RunError: there is no such run, or it is finished.
            RunBusyError: another process has it.

        """
        async with self._opened(self._shown.thread_id if thread_id is None else thread_id) as run:
            return await self._finish(run, await run.re_entry(answers, max_iterations))

    def resume_sync(
        self, answers: Answers | None = None, *, thread_id: str | None = None, max_iterations: int | None = None
    ) -> dict[str, Any]:
        """Do what `resume` does, for callers without an event loop."""
        return run_in_own_loop(self.resume(answers, thread_id=thread_id, max_iterations=max_iterations))

    async def resume_stream(
        self, answers: Answers | None = None, *, thread_id: str | None = None, max_iterations: int | None = None
    ) -> AsyncGenerator[Event, None]:
        """Continue a run as `resume` does, and yield what happens as it happens."""
        async with self._opened(self._shown.thread_id if thread_id is None else thread_id) as run:
            entry = await run.re_entry(answers, max_iterations)
            async with aclosing(self._followed(run, entry)) as events:
                async for event in events:
                    yield event

    def validate_plan(self, plan: PlanLike) -> bool:
        """Tell whether a plan would be accepted; `examine` says why not."""
        return not self.examine(plan).findings

    def validate_result(self, step: WorkflowStep, result: JsonValue) -> bool:  # noqa: ARG002 - for a subclass
        """Tell whether a result is good, beyond what the step's `validation` says; a subclass may say no."""
        return True

    def get_next_step(self) -> WorkflowStep | None:
        """Return the first step, in plan order, that has not ended; a subclass may pick another one."""
        plan, ended = self._shown.values.get("plan"), ended_steps(self._shown.values)
        left = (step for step in restore(plan).steps if step.name not in ended) if plan else ()
        return deepcopy(next(iter(left), None))

    async def plan(self, goal: str | None = None) -> JsonObject | None:
        """Advance a run by one plan and its checks; a goal begins a new run. Returns the plan, if it was accepted.

        Raises:
            RunError: there is no run, or it is not PLANNING.

        """
        if goal is not None and self._shown.walked is None:
            async with self._begun(goal, None, None) as (run, entry):
                await run.advance_to("validate", entry)
                await self._show(run)
            return self.current_plan
        async with self._opened(self._shown.thread_id) as run:
            if not run.is_planning:
                raise RunError(f"The run {run.thread_id} is {run.state}, not PLANNING.")
            await run.advance_to("validate", None)
            await self._show(run)
        return self.current_plan

    async def execute_next_step(self) -> JsonObject | None:
        """Execute at most one step; returns its entry in the history, or None where no step could run."""
        async with self._opened(self._shown.thread_id) as run:
            before = len(run.values.get("history", []))
            if run.state == WorkflowState.EXECUTING:
                await run.advance_to("validate", None, at_most=1)
            await self._show(run)
        steps = [entry for entry in self.history[before:] if entry["step"] is not None]
        return steps[0] if steps else None

    async def review_progress(self, answers: Answers | None = None) -> dict[str, Any]:
        """Answer the open questions, or without answers return them under `reviews`."""
        async with self._opened(self._shown.thread_id) as run:
            if answers is not None:
                await run.refuse_missing(answers)
                await run.answer(answers)
            if run.state == WorkflowState.REVIEWING:
                await run.advance_to("review", None)
            return await self._show(run)

    # Further public methods.

    def examine(self, plan: PlanLike) -> Report:
        """Check a plan and decide its steps as far as that is possible before a run; runs nothing.

        Raises:
            PlanError: it is no plan at all.

        """
        return examine(plan_from_json(plan), catalogue=self.registry, engine=self.engine)

    async def create_plan(self, goal: str) -> Report:
        """Ask the agent for a plan and examine it; runs nothing and keeps nothing.

        Raises:
            PlanningError: the agent gives none, or not within `max_seconds`.
            PlanError: what it gives is no plan.

        """
        seconds = self.limits.max_seconds
        try:
            raw = await contained(ask(self.agent.create_plan, goal, []), seconds)
        except TimeoutError:
            raise PlanningError(f"max_seconds is exhausted: no plan within {seconds:g} s.") from None
        return self.examine(plan_from_json(raw, goal=goal, max_steps=self.limits.max_steps))

    async def result(self, thread_id: str) -> dict[str, Any]:
        """Return a run as a dict, without touching it.

        Raises:
            RunError: there is no such run.

        """
        async with self._looked_at(thread_id) as run:
            return await self._show(run)

    async def cancel(self, thread_id: str) -> dict[str, Any]:
        """End a run that waits for a person, is paused, or was left behind by a process that died.

        Raises:
            RunError: there is no such run, or it is finished.
            RunBusyError: a process is running it; `request` asks that one.

        """
        async with self._opened(thread_id, heeds=False) as run:
            await run.cancel()
            # A server that has come between two nodes, where nobody holds the run, hears of it at the next one.
            await self.database.journal.request(thread_id, "cancel")
            return await self._show(run)

    # How they are done.

    @asynccontextmanager
    async def _opened(self, thread_id: str, *, heeds: bool = True) -> AsyncIterator[OpenRun]:
        """Hold a run that is there, to take it further; with `heeds`, a cancel that came meanwhile ends it first."""
        walked = self._shown.walked
        if walked is not None and walked.thread_id == thread_id:
            yield walked
            return
        refuse_nameless(thread_id)
        if not thread_id:
            raise RunError("There is no run yet. Begin one, name one with thread_id, or close a stream that was left.")
        if not await self.database.journal.runs(thread_id):  # holding it would leave a trace
            async with self._looked_at(thread_id):
                pass
        async with self._held(thread_id) as run:
            if not run.exists:
                raise self._missing(run)
            if heeds:
                await run.heed()
            yield run

    @asynccontextmanager
    async def _begun(
        self, goal: str, plan: PlanLike | None, thread_id: str | None
    ) -> AsyncIterator[tuple[OpenRun, Input]]:
        """Hold the thread of a new run, write down that it begins, and give what the graph is invoked with."""
        if not isinstance(goal, str) or (plan is None and not goal.strip()):
            raise RunError("There is no goal. Say in one sentence what is wanted.")
        given = _plain(plan)
        name = str(uuid4()) if thread_id is None else thread_id
        refuse_nameless(name)
        if not name.strip():
            raise RunError("thread_id is empty. Give the run a name, or leave it out for a new one.")
        if (size := len(name.encode(errors="replace"))) > _LONGEST_NAME:
            raise RunError(f"thread_id has {size:,} bytes; give the run a name of at most {_LONGEST_NAME:,}.")
        async with self._held(name, is_new=thread_id is None) as run:
            if run.exists and run.state not in FINISHED:
                raise RunError(f"The thread {run.thread_id} has a run that is {run.state}. Resume or cancel it.")
            if run.exists and run_of_key(run.thread_id):
                raise RunError(
                    f"The thread {run.thread_id} has the name of a call and takes one goal, whose run is {run.state}. "
                    f"Take its result, or give another thread."
                )
            if thread_id is not None:
                known = run.values.get("run_id") if run.exists else None
                await refuse_forgotten(self.database.journal, thread_id, known, goal)
            if run.held is not None and thread_id is not None:
                await run.held.clear()  # it was asked of the run before, and came too late for that
            yield run, await run.begin(writable(goal), {"given_plan": given, "given_limits": self.limits.to_json()})

    def _compiled(self) -> Graph:
        return assemble(
            self.agent,
            self.registry,
            self.engine,
            limits=self.limits,
            leases=self.database.leases,
            checkpointer=None,
            overrides=Overrides(
                check_plan=self._check_plan if self._overrides("validate_plan") else None,
                check_result=self._check_result if self._overrides("validate_result") else None,
                choose=self._choose if self._overrides("get_next_step") else None,
            ),
            secrets=self._secrets,
        )

    async def _followed(self, run: OpenRun, entry: Entry) -> AsyncGenerator[Event, None]:
        """Take a run to where it stops, and yield what happens; then it is the last run of this object."""
        if run.is_cancelled:
            yield StateEntered(state=run.state.value, reason=run.values.get("reason"))
            await self._show(run)
            return
        try:
            async with aclosing(self._walked(run, entry) if self._walks else run.advance(entry)) as events:
                async for event in events:
                    yield event
        finally:
            await self._show(run)

    async def _walked(self, run: OpenRun, entry: Entry) -> AsyncGenerator[Event, None]:
        """Do as `_walk` does, and yield what happens meanwhile; who closes this waits until the walk has ended."""
        happened: asyncio.Queue[Event | None] = asyncio.Queue()
        run.tell = happened.put_nowait
        walk = asyncio.ensure_future(self._walk(run, entry))
        walk.add_done_callback(lambda _: happened.put_nowait(None))
        try:
            while (event := await happened.get()) is not None:
                yield event
            await walk
        finally:
            walk.cancel()
            await asyncio.gather(walk, return_exceptions=True)

    async def _finish(self, run: OpenRun, entry: Entry) -> dict[str, Any]:
        """Take a run to where it stops, and return it as a dict; cut or not, it is the last run of this object."""
        try:
            if self._walks and not run.is_cancelled:
                await self._walk(run, entry)
            elif not run.is_cancelled:
                await run.finish(entry)
        except BaseException:
            with suppress(DatabaseError):  # whoever is told what is wrong needs no more
                await self._show(run)
            raise
        result = await self._show(run)
        return self.get_results() if self._overrides("get_results") else result

    @property
    def _walks(self) -> bool:
        return any(self._overrides(method) for method in ("plan", "execute_next_step", "review_progress"))

    async def _walk(self, run: OpenRun, entry: Entry) -> None:
        """Run as the article does, a transition at a time, because a subclass has put its own in place of one."""
        if isinstance(entry, dict):
            await run.advance_to("plan", entry, before=True)
        elif entry is not None:
            await run.advance_to("pause", entry)
        with self._showing(Shown(walked=run)):
            await self._show(run)
            is_first = True
            while (transition := self._transition(run)) is not None:
                before, checkpoint = run.values, run.checkpoint
                await transition()
                # The first one may only have taken over what a process that was killed had written.
                if before == run.values and not (is_first and run.checkpoint != checkpoint):
                    break
                is_first = False
            if run.is_planning or run.state not in (*FINISHED, WorkflowState.REVIEWING, WorkflowState.PAUSED):
                await run.fail(f"The method for {run.state} made no progress.")

    def _transition(self, run: OpenRun) -> Callable[[], Awaitable[object]] | None:
        """Return what takes a run one transition further."""
        takes_goal = bool(inspect.signature(self.plan).parameters)
        transitions: dict[WorkflowState, Callable[[], Awaitable[object]]] = {
            WorkflowState.PLANNING: (lambda: self.plan(run.values.get("goal"))) if takes_goal else self.plan,
            WorkflowState.EXECUTING: self.execute_next_step,
            WorkflowState.REVIEWING: self.review_progress,
        }
        return transitions.get(WorkflowState.PLANNING if run.is_planning else run.state)

    def _overrides(self, method: str) -> bool:
        return getattr(type(self), method) is not getattr(AgenticWorkflow, method)

    def _check_plan(self, plan: Plan) -> Sequence[Finding]:
        problem = self._refusal("validate_plan", "the plan", plan.to_json())
        return (Finding(problem=problem),) if problem else ()

    def _check_result(self, step: WorkflowStep, result: JsonValue) -> Sequence[Finding]:
        problem = self._refusal("validate_result", "the result", step, result)
        return (Finding(step=step.name, problem=problem),) if problem else ()

    def _refusal(self, method: str, what: str, *given: object) -> str:
        """Return why a subclass's method does not accept something; nothing where it says yes in so many words."""
        try:
            accepted = getattr(self, method)(*deepcopy(given))
        except Exception as error:  # noqa: BLE001 - a subclass's own code, also a RunError of it
            log_failure(error)
            return f"{method} raised {type(error).__name__}: {said(error)}"
        if not isinstance(accepted, bool):  # a coroutine, say, is as good as true
            return f"{method} gave a {type(accepted).__name__}, which is neither True nor False."
        return "" if accepted else f"{method} refused {what}."

    def _choose(self, state: State) -> WorkflowStep | None:
        history = [without_plan(entry) for entry in state["history"]]
        with self._showing(Shown(values=state, result={**self._shown.result, "history": history})):
            return self.get_next_step()


def _plain(plan: PlanLike | None) -> JsonValue:
    """Return a given plan as plain JSON; whether it is a plan is for the checks to say.

    Raises:
        PlanError: it is no JSON.

    """
    try:
        return as_json(plain(plan), where="plan")
    except ActionError as error:
        raise PlanError([Finding(problem=str(error), remedy="Use only JSON values.")], source="The plan") from error
