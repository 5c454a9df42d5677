"""A run, opened: its graph, its lease, and the state that its thread is in."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias, cast
from uuid import uuid4

from langchain_core.runnables import RunnableConfig
from langgraph.types import Command, Durability

from agentic_workflows.errors import DatabaseError, ReviewError, RunError
from agentic_workflows.execution.answers import answered, answered_with, checked_answers, is_overdue
from agentic_workflows.graph.build import Graph
from agentic_workflows.graph.catalogue import Catalogue
from agentic_workflows.graph.checkpoint_order import come_after
from agentic_workflows.graph.checks import missing_actions, refuse_missing
from agentic_workflows.graph.events import Event, StateEntered
from agentic_workflows.graph.events import from_json as event_from_json
from agentic_workflows.graph.plan import restore
from agentic_workflows.graph.review import Answer, Answers, Reject, each_answer, listed
from agentic_workflows.graph.review import to_json as answer_to_json
from agentic_workflows.graph.state import FINISHED, NO_STATE, Input, State, WorkflowState, limits_from_json
from agentic_workflows.graph.values import JsonObject, JsonValue, copied
from agentic_workflows.journal.entries import Answered, Begun, Journal, Past
from agentic_workflows.journal.faults import CORRUPT, corrupt
from agentic_workflows.journal.lease import Held
from agentic_workflows.nodes.collaborators import OWNER, refuse_foreign
from agentic_workflows.nodes.execute import AT_MOST
from agentic_workflows.nodes.stopping import cancelled
from agentic_workflows.runs.results import as_result, open_questions
from agentic_workflows.runs.whereabouts import Whereabouts, as_input, as_state, find, id_of, last_begun

Entry: TypeAlias = Input | Command[Any] | None
"""What the graph is invoked with: a goal, what ends a pause, or nothing, to go on from the last checkpoint."""
_UNKNOWN: Final = {
    "state": "UNKNOWN",
    "reason": "This database has no checkpoint of it: a graph around it keeps them elsewhere, or they were deleted.",
}


@dataclass(kw_only=True)
class OpenRun:
    """One thread, opened by whoever holds its lease; without one it can only be looked at."""

    thread_id: str
    database: str
    """Its name, as it may be shown."""
    graph: Graph
    journal: Journal
    catalogue: Catalogue
    held: Held | None
    metadata: Mapping[str, JsonValue]
    values: State = field(default_factory=lambda: NO_STATE)
    kept: JsonObject = field(default_factory=dict)
    """What was kept with the run when it began."""
    touched: str = ""
    """When the state was written last, in ISO 8601."""
    checkpoint: str = ""
    """The id of the checkpoint that the state is from."""
    tell: Callable[[Event], object] = lambda _: None
    """Hears what happens while the run is taken from node to node."""
    is_cancelled: bool = False
    """Whether it ended when it was opened: that was asked while nobody ran it."""
    due: Sequence[str] = ()
    """Nodes of the graph that are due."""
    begun: Begun | None = None
    """The run, where no checkpoint of it is kept yet: it is begun again, and what the journal has of it counts."""
    where: Whereabouts = Whereabouts.HERE
    outer: str = ""
    """The thread of the graph that it is a part of, which goes on with it; empty where it has its own."""

    @property
    def state(self) -> WorkflowState:
        """Where the run is."""
        return WorkflowState(self.values.get("status", WorkflowState.PLANNING))

    @property
    def is_planning(self) -> bool:
        """Tell whether the run plans next; one whose goal has just come in has the status of the run before it."""
        return self.state == WorkflowState.PLANNING or (self.state in FINISHED and "plan" in self.due)

    @property
    def exists(self) -> bool:
        """Tell whether the thread has a run that can be gone on with."""
        return bool(self.values) and self.where is not Whereabouts.ELSEWHERE

    @property
    def is_over(self) -> bool:
        """Tell whether the run is finished, and no other one has come in on the thread."""
        return self.exists and self.state in FINISHED and not self.due

    async def load(self) -> None:
        """Read the state of the thread; what is begun and not kept in a checkpoint is told from the journal."""
        self.begun = await self.journal.begun(self.thread_id)
        with self._readable("the checkpoint"):
            found = await find(self.graph, self.journal, self.thread_id, is_begun=self.begun is not None)
        self.where, self.outer, snapshot = found
        self.due, self.checkpoint = snapshot.next, id_of(snapshot)
        come_after([self.checkpoint])  # also where it is of the run before: what goes on now goes on from it
        self.values, self.touched = cast("State", snapshot.values), snapshot.created_at or ""
        self.kept = cast("JsonObject", dict(snapshot.metadata or {}))
        if self.begun is not None:
            self.values, self.touched = as_state(self.begun), self.begun.at
            self.kept = cast("JsonObject", self.begun.entry.get("metadata") or {})
        elif self.where is Whereabouts.ELSEWHERE:
            last = last_begun(await self.journal.timeline(self.thread_id))
            self.values, self.touched = as_state(last), last.at

    @contextmanager
    def _readable(self, part: str) -> Iterator[None]:
        """Turn what reading raises of something that was changed into a `CorruptError` that names the part."""
        try:
            yield
        except DatabaseError:  # it cannot be read now, and nothing is wrong with it
            raise
        except CORRUPT as error:
            raise corrupt(f"database {self.database}", f"{part} of the thread {self.thread_id}", error) from error

    async def begin(self, goal: str, entry: JsonObject) -> Input:
        """Write down that a run begins on the thread, and return what the graph is invoked with."""
        run_id = str(uuid4())
        if self.held is not None:
            await self.journal.begin(self.held.lease, run_id, goal, {**entry, "metadata": dict(self.metadata)})
        self.begun, self.where = Begun(run_id=run_id, goal=goal, entry=entry, at=""), Whereabouts.HERE
        return as_input(self.begun)

    async def result(self) -> dict[str, Any]:
        """Return the run as a dict; keys as in `AgenticWorkflow.run`.

        Raises:
            DatabaseError: the journal cannot be read, or somebody else has changed what is kept of the run.

        """
        is_elsewhere, past = self.where is Whereabouts.ELSEWHERE, await self.past()
        is_kept = self.begun is None and not is_elsewhere
        with self._readable("the state"):
            result = as_result(self.thread_id, self.values, past, is_kept=is_kept, outer=self.outer)
        return result | (_UNKNOWN if is_elsewhere else {})

    async def past(self) -> Past:
        """Return what the journal knows of the run's calls."""
        run_id = self.values.get("run_id", "")
        return await self.journal.past(run_id, known=self.held.runs.get(run_id, {}) if self.held else {})

    async def advance(self, entry: Entry, *, at_most: int | None = None, **place: Any) -> AsyncGenerator[Event, None]:
        """Invoke the graph until it stops, or to a place as LangGraph names it, and yield its events."""
        async with self._invoked(entry) as given:
            stream = self.graph.astream(
                given, self._config(at_most), stream_mode="custom", durability=self._durability, **place
            )
            async with aclosing(cast("AsyncGenerator[JsonObject, None]", stream)) as told:
                async for raw in told:
                    yield event_from_json(copied(raw))  # its own: later steps use the same
        await self.load()

    async def finish(self, entry: Entry) -> None:
        """Invoke the graph until it stops."""
        async with self._invoked(entry) as given:
            last = await self.graph.ainvoke(given, self._config(), durability=self._durability)
        self.values = cast("State", {key: value for key, value in last.items() if key in State.__annotations__})

    async def advance_to(self, node: str, entry: Entry, *, at_most: int | None = None, before: bool = False) -> None:
        """Invoke the graph until it has left a node, or with `before` until it comes to it."""
        place = {"interrupt_before" if before else "interrupt_after": [node]}
        async with aclosing(self.advance(entry, at_most=at_most, **place)) as events:
            async for event in events:
                self.tell(event)

    @property
    def _durability(self) -> Durability:
        """How often a checkpoint is kept.

        A run that begins keeps the one where it stops, since the journal has what happened. One that is gone on with
        keeps more, or whoever looks at it would see it wait where it waited before.
        """
        return "async" if self.begun is None else "exit"

    @asynccontextmanager
    async def _invoked(self, entry: Entry) -> AsyncIterator[Entry]:
        """Give what the graph is invoked with, and note afterwards that it has left a checkpoint."""
        try:
            yield as_input(self.begun) if entry is None and self.begun else entry
            await self._keep()
        except BaseException:
            await self.load()
            raise

    async def _keep(self) -> None:
        if self.begun is not None and self.held is not None:
            await self.journal.keep(self.held.lease, self.begun.run_id)
        self.begun = None

    async def re_entry(self, answers: Answers | None, max_iterations: int | None) -> Command[Any] | None:
        """Return what the graph is invoked with to continue the run; answers are written down first.

        Raises:
            ReviewError: an answer fits no open question, or comes second; nothing is changed then.
            RunError: the run is finished, or actions of its plan are not here.

        """
        if self.is_cancelled:
            return None
        update = None if max_iterations is None else self._raised(max_iterations, (await self.result())["iterations"])
        if update is None and self.state in FINISHED:
            more = (
                " Begin a new run; it does again what this one has done." if self.state == WorkflowState.FAILED else ""
            )
            more = " Give it more with max_iterations (--max-iterations)." if self.values.get("left") else more
            raise RunError(f"The run {self.thread_id} is {self.state} and cannot be resumed.{more}")
        await self.refuse_missing(answers)
        if answers is not None:
            await self.answer(answers)
        if update is not None:
            await self._give_more(update)
        return Command(resume=True) if self.state == WorkflowState.PAUSED else None

    async def refuse_missing(self, answers: Answers | None) -> None:
        """Refuse to go on with a plan whose actions are not all here, before anything is written.

        Raises:
            RunError: some are missing, and the run would not go on to another plan.

        """
        asks, plan = self.values.get("asks", []), self.values.get("plan")
        stands = (self.values.get("left") or self.state) in (WorkflowState.EXECUTING, WorkflowState.REVIEWING)
        # One that is begun again is judged together with what is written down of it.
        if not (plan and stands and self.begun is None):
            return
        named = [str(step["action"]) for step in cast("list[JsonObject]", plan["steps"])]  # quicker than to restore it
        if not missing_actions(named, self.catalogue):
            return
        known, now = await self.journal.answers(self.values.get("run_id", "")), self.journal.now()
        was_rejected = bool(answered_with("reject", asks, known))
        is_rejected = was_rejected or any(isinstance(one, Reject) for one in each_answer(answers or ()))
        is_late = any(is_overdue(one, now) for one in asks if one["id"] not in known)  # which counts as a rejection
        if not (is_rejected or is_late or any(one.get("replaced") for one in asks)):
            refuse_missing(restore(plan), self.catalogue)

    async def _give_more(self, update: dict[str, Any]) -> None:
        if self.begun is None or self.held is None:
            await self._update(update)
            return
        entry = {**self.begun.entry, "given_limits": update["limits"]}  # it is begun again, with more
        await self.journal.amend(self.held.lease, self.begun.run_id, entry)
        self.begun = replace(self.begun, entry=entry)

    async def answer(self, answers: Answers) -> None:
        """Write down answers to open questions; the first one to a question counts.

        None need be given where every question has one already.

        Raises:
            ReviewError: an answer fits no open question, or comes second.

        """
        known = await self.journal.answers(self.values.get("run_id", ""))
        questions = open_questions(self.values, known)
        if not questions and answers in ((), [], {}):
            return
        chosen = each_answer(answers)
        _refuse_second(chosen, questions, known)
        if not questions:
            raise ReviewError(f"The run {self.thread_id} is {self.state} and asks nothing.")
        if any(answer.id is None for answer in chosen) and (len(questions), len(chosen)) != (1, 1):
            raise ReviewError(
                f"{len(questions)} questions are open; name the one each answer is for. {listed(questions)}"
            )
        raw = {"decisions": [answer_to_json(answer) for answer in chosen]}
        read = checked_answers(raw, questions, self.values, self.catalogue)
        run_id, now = self.values["run_id"], self.journal.now()
        await refuse_foreign(self.journal, self.values, self.thread_id)
        if late := [str(one["id"]) for one in questions if one["id"] in read and is_overdue(one, now)]:
            raise ReviewError(
                f"It is too late to answer {', '.join(late)}: nobody did in time, which counts as a rejection. "
                f"Resume the run without an answer."
            )
        for question in (one for one in questions if one["id"] in read):
            answer = read[str(question["id"])]
            row = answered(run_id, question, answer, reviewer=_reviewer(), at=now, after=len(known))
            if not await self.journal.answer(row):
                known = await self.journal.answers(run_id)
                with self._readable(f"the answer to {row.review_id}"):
                    first = known[row.review_id]
                raise _second(first)

    async def heed(self) -> None:
        """Honour what was asked while nobody ran it: one that was cancelled ends, and whoever goes on ends a pause."""
        if self.held is None or self.held.request is None:
            return
        if self.held.request == "cancel" and self.state not in FINISHED:
            await self.cancel()
            self.is_cancelled = True
        await self.held.clear()

    async def cancel(self) -> None:
        """End a run that nobody is running.

        Raises:
            RunError: it is finished.

        """
        if self.state in FINISHED:
            raise RunError(f"The run {self.thread_id} is {self.state} already.")
        await self.fail(cancelled(await self.past()))

    async def fail(self, reason: str) -> None:
        """End the run as FAILED."""
        await self._update({"status": WorkflowState.FAILED.value, "left": "", "reason": reason, "asks": []})
        self.tell(StateEntered(state=self.state.value, reason=reason))

    def _raised(self, max_iterations: int, used: int) -> dict[str, Any]:
        """Return the update that gives the run more iterations than it has used."""
        if isinstance(max_iterations, bool) or not isinstance(max_iterations, int):
            raise RunError(f"max_iterations is {max_iterations!r}; give a whole number.")
        left = self.values.get("left")
        if self.state == WorkflowState.COMPLETE or (self.state == WorkflowState.FAILED and not left):
            raise RunError(
                f"The run {self.thread_id} is {self.state}, and not for want of iterations; start a new one."
            )
        if max_iterations <= used:
            raise RunError(f"max_iterations={max_iterations} leaves nothing: the run has used {used} already.")
        limits = limits_from_json(self.values["limits"])
        if self.begun is not None and max_iterations < limits.max_iterations:  # its plan would be refused now
            raise RunError(
                f"max_iterations={max_iterations} is less than the {limits.max_iterations} that the run was begun "
                f"with; until it has stopped once, it can only be given more."
            )
        limits = replace(limits, max_iterations=max_iterations)
        update: dict[str, Any] = {"limits": limits.to_json()}
        return update | ({"status": left, "left": "", "reason": None} if self.state == WorkflowState.FAILED else {})

    async def _update(self, update: dict[str, Any]) -> None:
        if self.begun is not None:  # all that the journal tells becomes what the checkpoint knows
            told = await self.result()
            used = {"iteration": told["iterations"], "seconds": told["seconds"], "steps": told["steps"]}
            update = {**self.values, **used, **update}
        await self.graph.aupdate_state(self._config(), update, as_node="pause")
        await self._keep()
        await self.load()

    def _config(self, at_most: int | None = None) -> RunnableConfig:
        configurable: dict[str, Any] = {"thread_id": self.thread_id}
        if self.held is not None:
            configurable[OWNER] = self.held.lease.owner
        if at_most is not None:
            configurable[AT_MOST] = at_most
        # A name of its own: an equal one LangGraph takes for the same call once more, and drops what that brings.
        return {"configurable": configurable, "metadata": {**self.metadata, "run_id": str(uuid4())}}


def _refuse_second(chosen: Sequence[Answer], questions: Sequence[JsonObject], known: Mapping[str, Answered]) -> None:
    still_open = {str(one["id"]) for one in questions}
    for answer in chosen:
        if answer.id is not None and answer.id in known and answer.id not in still_open:
            raise _second(known[answer.id])


def _second(first: Answered) -> ReviewError:
    """Return the error of an answer to a question that has one."""
    who, what = first.reviewer or "somebody", first.answer["type"]
    return ReviewError(
        f"The question {first.review_id} was answered already, and that answer counts: {who} said {what} at {first.at}."
    )


def _reviewer() -> str:
    """Return who answers from this process: the name that the system knows."""
    import getpass  # noqa: PLC0415

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
