"""`AgenticWorkflow`: an agent, its actions and policies, and the runs it has made."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import uuid4

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.types import Command

from agentic_workflows.actions.action import Action
from agentic_workflows.errors import ReviewError, RunError
from agentic_workflows.graph.build import Graph, Overrides, assemble, engine_of, registry_of
from agentic_workflows.graph.events import Event
from agentic_workflows.graph.events import from_json as event_from_json
from agentic_workflows.graph.findings import Finding
from agentic_workflows.graph.outcome import from_json as outcome_from_json
from agentic_workflows.graph.outcome import outputs_of
from agentic_workflows.graph.plan import Plan, WorkflowStep, restore
from agentic_workflows.graph.plan import from_json as plan_from_json
from agentic_workflows.graph.review import Answer, listed, read_answers
from agentic_workflows.graph.review import to_json as answer_to_json
from agentic_workflows.graph.state import Input, Limits, Request, State, WorkflowState, limits_from_json
from agentic_workflows.graph.values import JsonObject, JsonValue
from agentic_workflows.journal.database import MEMORY, Database
from agentic_workflows.nodes.collaborators import Agent
from agentic_workflows.nodes.execute import AT_MOST
from agentic_workflows.policies.report import Report, examine

Answers = Answer | Sequence[Answer] | Mapping[str, Answer]
Result = TypeVar("Result")
_FINISHED = (WorkflowState.COMPLETE, WorkflowState.FAILED)


class AgenticWorkflow:
    """Runs goals: plans, checks, executes, asks where policy says so, and can be continued by another process.

    Args:
        agent: plans; one without declared actions also executes, as in the article.
        max_iterations: planner calls and step starts together.
        actions: what plans may call; by default the agent's own `actions`.
        policies: Cedar files, or the names `default` and `article`.
        database: `memory`, or the path of a SQLite file.
        limits: the other limits of a run.
        metadata: kept with every run, for whoever continues it.

    Raises:
        ActionError: actions are declared wrongly.
        PolicyError: a policy does not load.
        DatabaseError: the database cannot be used.

    """

    def __init__(
        self,
        agent: Agent,
        max_iterations: int = 10,
        *,
        actions: Iterable[Action | BaseTool] | None = None,
        policies: Sequence[str | Path] | None = None,
        database: str | Path = MEMORY,
        limits: Limits | None = None,
        metadata: Mapping[str, JsonValue] | None = None,
    ) -> None:
        self.agent = agent
        self.limits = replace(limits or Limits(), max_iterations=max_iterations)
        self.registry = registry_of(agent, actions)
        self.engine = engine_of(self.registry, policies)
        self.database = Database(database)
        self._metadata = dict(metadata or {})
        self._thread = ""
        self._values = State()

    # What the article's reader knows.

    @property
    def state(self) -> WorkflowState:
        """Where the last run is."""
        return WorkflowState(self._values.get("status", WorkflowState.PLANNING))

    @property
    def history(self) -> list[JsonObject]:
        """What happened in the last run, oldest first; entries that are no step have `step: None`."""
        return cast("list[JsonObject]", self._values.get("history", []))

    @property
    def current_plan(self) -> JsonObject | None:
        """The plan of the last run."""
        return self._values.get("plan")

    async def run(
        self, goal: str, *, plan: Plan | JsonObject | None = None, thread_id: str | None = None
    ) -> dict[str, Any]:
        """Run a goal until it is complete, has failed, or waits for a person.

        Args:
            goal: what is wanted.
            plan: a plan to run instead of asking the agent for one.
            thread_id: the name of the run; by default a new one.

        Returns:
            A dict with `thread_id, run_id, goal, state, outputs, history, iterations, reason, reviews` and more.

        Raises:
            RunError: there is no goal, or the thread has a run that is not finished.

        """
        if self._is_stepwise():
            return await self._run_stepwise(goal, plan, thread_id)
        return await _last(self.stream(goal, plan=plan, thread_id=thread_id), self.get_results)

    def run_sync(
        self, goal: str, *, plan: Plan | JsonObject | None = None, thread_id: str | None = None
    ) -> dict[str, Any]:
        """Do what `run` does, for callers without an event loop; works inside a notebook's, too."""
        return run_in_own_loop(self.run(goal, plan=plan, thread_id=thread_id))

    async def stream(
        self, goal: str, *, plan: Plan | JsonObject | None = None, thread_id: str | None = None
    ) -> AsyncIterator[Event]:
        """Run a goal as `run` does, and yield what happens as it happens."""
        self._begin(goal, plan, thread_id)
        async with self._graph() as graph:
            await self._refuse_unfinished(graph)
            self.database.control.clear(self._thread)
            async for event in self._advance(graph, self._input(goal, plan)):
                yield event

    async def resume(
        self, answers: Answers | None = None, *, thread_id: str | None = None, max_iterations: int | None = None
    ) -> dict[str, Any]:
        """Continue a run that waits: answer its questions, end its pause, or give it more iterations.

        Args:
            answers: one answer, a list, or a dict of review id -> answer.
            thread_id: which run; by default the last one of this object.
            max_iterations: the new limit, for a run that failed because the old one was used up.

        Raises:
            ReviewError: an answer fits no open question; nothing is changed then.
            RunError: there is no such run, or it is finished.

        """
        streamed = self.resume_stream(answers, thread_id=thread_id, max_iterations=max_iterations)
        return await _last(streamed, self.get_results)

    def resume_sync(
        self, answers: Answers | None = None, *, thread_id: str | None = None, max_iterations: int | None = None
    ) -> dict[str, Any]:
        """Do what `resume` does, for callers without an event loop."""
        return run_in_own_loop(self.resume(answers, thread_id=thread_id, max_iterations=max_iterations))

    async def resume_stream(
        self, answers: Answers | None = None, *, thread_id: str | None = None, max_iterations: int | None = None
    ) -> AsyncIterator[Event]:
        """Continue a run as `resume` does, and yield what happens as it happens."""
        async with self._graph() as graph:
            await self._load(graph, thread_id or self._thread)
            self.database.control.clear(self._thread)
            entry = await self._re_enter(graph, answers, max_iterations)
            async for event in self._advance(graph, entry):
                yield event

    def get_results(self) -> dict[str, Any]:
        """Return the last run as a dict."""
        return as_result(self._thread, self._values)

    def validate_plan(self, plan: Plan | JsonObject) -> bool:
        """Tell whether a plan would be accepted; `examine` says why not."""
        return not self.examine(plan).findings

    def validate_result(self, step: WorkflowStep, result: JsonValue) -> bool:  # noqa: ARG002 - for a subclass
        """Tell whether a result is good, beyond what the step's `validation` says; a subclass may say no."""
        return True

    def get_next_step(self) -> WorkflowStep | None:
        """Return the first step, in plan order, that has not ended; a subclass may pick another one."""
        if self.current_plan is None:
            return None
        ended = self._values.get("outcomes", {})
        return next((step for step in restore(self.current_plan).steps if step.name not in ended), None)

    async def plan(self, goal: str | None = None) -> JsonObject | None:
        """Advance a run by one plan and its checks; a goal begins a new run. Returns the plan, if it was accepted."""
        if goal is not None:
            self._begin(goal, None, None)
        async with self._graph() as graph:
            await self._once(graph, None if goal is None else self._input(goal, None), after="validate")
        return self.current_plan

    async def execute_next_step(self) -> JsonObject | None:
        """Execute at most one step; returns its entry in the history, or None where no step could run."""
        before = len(self.history)
        async with self._graph() as graph:
            await self._once(graph, None, after="validate", at_most=1)
        steps = [entry for entry in self.history[before:] if entry["step"] is not None]
        return steps[0] if steps else None

    async def review_progress(self, answers: Answers | None = None) -> dict[str, Any]:
        """Answer the open questions, or without answers return them under `reviews`."""
        async with self._graph() as graph:
            await self._once(graph, None if answers is None else self._answered(answers), after="review")
        return self.get_results()

    # What came since.

    def examine(self, plan: Plan | JsonObject) -> Report:
        """Check a plan and decide its steps as far as that is possible before a run; runs nothing.

        Raises:
            PlanError: it is no plan at all.

        """
        return examine(plan_from_json(plan), catalogue=self.registry, engine=self.engine)

    async def create_plan(self, goal: str) -> Report:
        """Ask the agent for a plan and examine it; runs nothing and keeps nothing."""
        raw = await self.agent.create_plan(goal, [])
        return self.examine(plan_from_json(raw, goal=goal, max_steps=self.limits.max_steps))

    async def result(self, thread_id: str) -> dict[str, Any]:
        """Return a run as a dict, without touching it.

        Raises:
            RunError: there is no such run.

        """
        async with self._graph() as graph:
            await self._load(graph, thread_id)
        return self.get_results()

    async def runs(self) -> list[dict[str, Any]]:
        """Return every run of the database, the one touched last first."""
        async with self.database.open() as connection:
            graph = self._assemble(connection.checkpointer)
            snapshots = [(one, await graph.aget_state(_config(one))) for one in connection.threads]
        return [as_result(one, cast("State", snapshot.values)) for one, snapshot in snapshots]

    async def metadata_of(self, thread_id: str) -> JsonObject:
        """Return what was kept with a run when it began."""
        async with self._graph() as graph:
            snapshot = await graph.aget_state(_config(thread_id))
        return cast("JsonObject", dict(snapshot.metadata or {}))

    def request(self, thread_id: str, request: Request) -> None:
        """Ask a run that is under way, in whichever process, to stop at its next step boundary."""
        self.database.control.request(thread_id, request)

    async def cancel(self, thread_id: str) -> dict[str, Any]:
        """End a run that waits for a person, is paused, or was left behind by a process that died.

        Raises:
            RunError: there is no such run, or it is finished.

        """
        async with self._graph() as graph:
            await self._load(graph, thread_id)
            if self.state in _FINISHED:
                raise RunError(f"The run {thread_id} is {self.state} already.")
            update = {"status": WorkflowState.FAILED.value, "left": "", "reason": "Cancelled on request.", "asks": []}
            await graph.aupdate_state(_config(thread_id, self._metadata), update, as_node="pause")
            await self._load(graph, thread_id)
        return self.get_results()

    # How it is done.

    @asynccontextmanager
    async def _graph(self) -> AsyncIterator[Graph]:
        async with self.database.open() as connection:
            yield self._assemble(connection.checkpointer)

    def _assemble(self, checkpointer: Any) -> Graph:
        return assemble(
            self.agent,
            self.registry,
            self.engine,
            limits=self.limits,
            control=self.database.control,
            checkpointer=checkpointer,
            overrides=Overrides(
                check_plan=self._check_plan if self._overrides("validate_plan") else None,
                check_result=self._check_result if self._overrides("validate_result") else None,
                choose=self._choose if self._overrides("get_next_step") else None,
            ),
        )

    def _overrides(self, method: str) -> bool:
        return getattr(type(self), method) is not getattr(AgenticWorkflow, method)

    def _check_plan(self, plan: Plan) -> Sequence[Finding]:
        accepted = self.validate_plan(plan.to_json())
        return () if accepted else (Finding(problem="validate_plan refused the plan."),)

    def _check_result(self, step: WorkflowStep, result: JsonValue) -> Sequence[Finding]:
        accepted = self.validate_result(step, result)
        return () if accepted else (Finding(step=step.name, problem="validate_result refused the result."),)

    def _choose(self, state: State) -> WorkflowStep | None:
        self._values = state
        return self.get_next_step()

    def _begin(self, goal: str, plan: Plan | JsonObject | None, thread_id: str | None) -> None:
        if plan is None and not (isinstance(goal, str) and goal.strip()):
            raise RunError("There is no goal. Say in one sentence what is wanted.")
        self._thread, self._values = thread_id or str(uuid4()), State()

    def _input(self, goal: str, plan: Plan | JsonObject | None) -> Input:
        given = plan.to_json() if isinstance(plan, Plan) else plan
        return Input(goal=goal, given_plan=given, given_limits=self.limits.to_json())

    async def _refuse_unfinished(self, graph: Graph) -> None:
        values = (await graph.aget_state(_config(self._thread))).values
        if values and WorkflowState(values["status"]) not in _FINISHED:
            raise RunError(f"The thread {self._thread} has a run that is {values['status']}. Resume or cancel it.")

    async def _load(self, graph: Graph, thread_id: str) -> None:
        values = (await graph.aget_state(_config(thread_id))).values if thread_id else {}
        if not values:
            raise RunError(f"There is no run {thread_id!r} in the database {self.database.url}.")
        self._thread, self._values = thread_id, cast("State", values)

    async def _re_enter(self, graph: Graph, answers: Answers | None, max_iterations: int | None) -> Any:
        """Return what the graph is invoked with to continue the loaded run."""
        if max_iterations is not None:
            await self._raise_limit(graph, max_iterations)
        elif self.state in _FINISHED:
            more = " Give it more with max_iterations." if self._values.get("left") else ""
            raise RunError(f"The run {self._thread} is {self.state} and cannot be resumed.{more}")
        if answers is not None:
            return self._answered(answers)
        return Command(resume=True) if self.state == WorkflowState.PAUSED else None

    async def _raise_limit(self, graph: Graph, max_iterations: int) -> None:
        used, left = self._values["iteration"], self._values.get("left")
        if self.state == WorkflowState.COMPLETE or (self.state == WorkflowState.FAILED and not left):
            raise RunError(f"The run {self._thread} is {self.state}, and not for want of iterations; start a new one.")
        if max_iterations <= used:
            raise RunError(f"max_iterations={max_iterations} leaves nothing: the run has used {used} already.")
        limits = replace(limits_from_json(self._values["limits"], default=Limits()), max_iterations=max_iterations)
        update: dict[str, Any] = {"limits": limits.to_json()}
        if self.state == WorkflowState.FAILED:
            update |= {"status": left, "left": "", "reason": None}
        await graph.aupdate_state(_config(self._thread, self._metadata), update, as_node="pause")
        await self._load(graph, self._thread)

    def _answered(self, answers: Answers) -> Any:
        """Return the command that answers the open review.

        Raises:
            ReviewError: an answer fits no open question.

        """
        questions = cast("list[JsonObject]", self._values.get("asks", []))
        if self.state != WorkflowState.REVIEWING or not questions:
            raise ReviewError(f"The run {self._thread} is {self.state} and asks nothing.")
        if isinstance(answers, Mapping):
            chosen = [replace(answer, id=one) for one, answer in answers.items()]
        else:
            chosen = [*answers] if isinstance(answers, Sequence) else [answers]
        if any(answer.id is None for answer in chosen) and (len(questions), len(chosen)) != (1, 1):
            raise ReviewError(
                f"{len(questions)} questions are open; name the one each answer is for. {listed(questions)}"
            )
        raw = {"decisions": [answer_to_json(answer) for answer in chosen]}
        read_answers(raw, questions)
        return Command(resume=raw)

    async def _advance(self, graph: Graph, entry: Any) -> AsyncIterator[Event]:
        """Invoke the graph, yield its events, and take over the state that it came to."""
        config = _config(self._thread, self._metadata)
        try:
            async for raw in graph.astream(entry, config, stream_mode="custom", durability="sync"):
                yield event_from_json(raw)
        finally:
            await self._load(graph, self._thread)

    async def _once(self, graph: Graph, entry: Any, *, after: str, at_most: int | None = None) -> None:
        config = _config(self._thread, self._metadata, at_most)
        await graph.ainvoke(entry, config, interrupt_after=[after], durability="sync")
        await self._load(graph, self._thread)

    def _is_stepwise(self) -> bool:
        return any(self._overrides(method) for method in ("plan", "execute_next_step", "review_progress"))

    async def _run_stepwise(self, goal: str, plan: Plan | JsonObject | None, thread_id: str | None) -> dict[str, Any]:
        """Run as the article does, a transition at a time, because a subclass has put its own in place of one."""
        self._begin(goal, plan, thread_id)
        async with self._graph() as graph:
            await self._refuse_unfinished(graph)
            config = _config(self._thread, self._metadata)
            await graph.ainvoke(self._input(goal, plan), config, interrupt_before=["plan"], durability="sync")
            await self._load(graph, self._thread)
        transitions: dict[WorkflowState, Callable[[], Awaitable[object]]] = {
            WorkflowState.PLANNING: self.plan,
            WorkflowState.EXECUTING: self.execute_next_step,
            WorkflowState.REVIEWING: self.review_progress,
        }
        while self.state in transitions:
            before = dict(self._values)
            await transitions[self.state]()
            if before == self._values:
                break
        return self.get_results()


def as_result(thread_id: str, values: State) -> dict[str, Any]:
    """Return the state of a run as the dict that `run` gives."""
    plan = restore(values["plan"] or {"steps": []}) if values.get("plan") else None
    outcomes = {name: outcome_from_json(cast("JsonObject", one)) for name, one in values.get("outcomes", {}).items()}
    outputs: JsonObject = {}
    for step in plan.steps if plan else ():
        if step.name in outcomes and outcomes[step.name].status == "succeeded":
            outputs |= outputs_of(step, outcomes[step.name])
    status = values.get("status", WorkflowState.PLANNING.value)
    return {
        "thread_id": thread_id,
        "run_id": values.get("run_id"),
        "goal": values.get("goal"),
        "state": status,
        "outputs": outputs,
        "history": values.get("history", []),
        "iterations": values.get("iteration", 0),
        "reason": values.get("reason"),
        "reviews": values.get("asks", []) if status == WorkflowState.REVIEWING else [],
        "plan": values.get("plan"),
        "report": values.get("report"),
        "steps": {name: _shown(outcome.to_json()) for name, outcome in outcomes.items()},
        "replans": values.get("replans", 0),
        "tokens": values.get("tokens", 0),
        "seconds": values.get("seconds", 0.0),
    }


def run_in_own_loop(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end on a loop of its own, also where a loop is running already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, work).result()


def _shown(outcome: JsonObject) -> JsonObject:
    return {key: outcome[key] for key in ("status", "reason", "attempts", "started", "seconds")}


def _config(
    thread_id: str, metadata: Mapping[str, JsonValue] | None = None, at_most: int | None = None
) -> RunnableConfig:
    configurable: dict[str, Any] = {"thread_id": thread_id}
    if at_most is not None:
        configurable[AT_MOST] = at_most
    return {"configurable": configurable, "metadata": dict(metadata or {})}


async def _last(events: AsyncIterator[Event], result: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    async for _ in events:
        pass
    return result()
