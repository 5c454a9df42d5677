"""REVIEWING: ask a person everything that is open, in one interrupt."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias, cast

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphInterrupt
from langgraph.runtime import Runtime

from agentic_workflows.errors import ActionError, ReviewError
from agentic_workflows.execution.answers import answered, answered_with, checked_answers, is_overdue
from agentic_workflows.execution.replaced import MOST_NAMED
from agentic_workflows.graph.asking import asked, single_value
from agentic_workflows.graph.catalogue import Catalogue
from agentic_workflows.graph.events import AnswerRefused, ReviewAnswered
from agentic_workflows.graph.findings import Finding
from agentic_workflows.graph.history import NAMELESS, SAID, has_late, late_marks
from agentic_workflows.graph.outcome import Outcome, OutcomeStatus, Settlement, settled
from agentic_workflows.graph.plan import plan_name, restore
from agentic_workflows.graph.review import Answer, Reject, listed, named, request, response_schema, step_of
from agentic_workflows.graph.state import State, Update, WorkflowState
from agentic_workflows.graph.threads import namespace_of, thread_of
from agentic_workflows.graph.values import JsonObject, JsonValue, some_of
from agentic_workflows.journal.entries import WHOLE, Answered, Journal, Past, Place, Recorded, attempt_of
from agentic_workflows.journal.lease import Held, Leases
from agentic_workflows.nodes.collaborators import ANSWER, Node, holding, refuse_foreign, uncounted

DEADLINE: Final = "the deadline"
"""Stands for the reviewer where nobody answered in time."""

GIVEN_IN = "given_in"
"""Key of an answer: the server's run that it came with."""

_NEEDS_ID: Final = (
    'Inside another graph, an answer has the id of its question, {"type": "approve", "id": ...}, or comes by the id of '
    "the interrupt."
)


Read: TypeAlias = Callable[[object], dict[str, Answer]]
"""Reads what was given as answers, by the id of their question, or raises what keeps them from counting."""


def make_review(leases: Leases, catalogue: Catalogue) -> Node:
    """Return the review node."""

    async def review(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> Update:
        """Read the answers that are written down, and interrupt for the rest; a bad answer leaves them open."""
        questions = state.get("asks") or []
        await refuse_foreign(leases.journal, state, thread_of(state, config))
        # Used ones, too: the checkpoint of what was done with an answer may be lost.
        known = await _known(state["run_id"], questions, leases.journal)
        unanswered = [question for question in questions if question["id"] not in known]
        if unanswered and unanswered == _open(questions, known):
            given_in = str(config.get("metadata", {}).get("run_id") or "")

            def read(raw: object) -> dict[str, Answer]:
                _refuse_repeated(raw, given_in, known)
                return checked_answers(raw, unanswered, state, catalogue)

            try:
                answers = _ask(unanswered, uncounted(state), config, known, read)
            except (ReviewError, ActionError) as error:
                runtime.stream_writer(AnswerRefused(problem=str(error)).to_json())
                finding = Finding(field=ANSWER, problem=str(error)).to_json()
                return {"status": WorkflowState.REVIEWING.value, "findings": [finding]}
            for question in (one for one in unanswered if one["id"] in answers):
                answer, who = answers[str(question["id"])], _identity(runtime)
                at, after = leases.journal.now(), len(known)
                row = answered(state["run_id"], question, answer, reviewer=who, at=at, after=after)
                await leases.journal.answer(replace(row, answer={**row.answer, GIVEN_IN: given_in}))
            known = await leases.journal.answers(state["run_id"])
        async with holding(leases, state, config) as held:
            return await _update(state, questions, known, held, runtime)

    return review


def _refuse_repeated(raw: object, given_in: str, known: Mapping[str, Answered]) -> None:
    """Refuse a value of `Command(resume=...)` that has counted, where it does not say which question it is for.

    Raises:
        ReviewError: a server that was killed does its last run again, whose answer was for an earlier question.

    """
    if not named(raw) and any(given_in and one.answer.get(GIVEN_IN) == given_in for one in known.values()):
        raise ReviewError("This answer has counted for an earlier question; answer this one by itself, or with its id.")


async def _known(run_id: str, questions: Sequence[JsonObject], journal: Journal) -> Mapping[str, Answered]:
    """Return the answers of a run, once questions that nobody answered in time are answered with a rejection."""
    known, now = await journal.answers(run_id), journal.now()
    overdue = [question for question in questions if question["id"] not in known and is_overdue(question, now)]
    for question in overdue:  # a row like every other: an answer that comes at the same moment counts, or this does
        silence = Reject(feedback=f"Nobody answered by {question['expires']}.", id=str(question["id"]))
        await journal.answer(answered(run_id, question, silence, reviewer=DEADLINE, at=now, after=len(known)))
    return await journal.answers(run_id) if overdue else known


def _open(questions: Sequence[JsonObject], known: Mapping[str, Answered]) -> list[JsonObject]:
    """Return what must be answered before the run goes on: once something is rejected, only what is in doubt."""
    is_rejected = bool(answered_with("reject", questions, known))
    return [one for one in questions if one["id"] not in known and (one.get("in_doubt") or not is_rejected)]


def _identity(runtime: Runtime[Any]) -> str:
    """Return who answers, where a server knows it."""
    user = runtime.server_info.user if runtime.server_info else None
    return user.identity if user else ""


class _Waiting(GraphInterrupt):
    """An interrupt that does not spell out its questions: a trace shows an error's text even where it hides inputs."""

    def __repr__(self) -> str:
        return "It waits for a person."

    __str__ = __repr__


def _ask(
    questions: list[JsonObject], problem: str, config: RunnableConfig, known: Mapping[str, Answered], read: Read
) -> dict[str, Answer]:
    """Return the answers to questions, or interrupt for them.

    Inside another graph, a single value may be for another question, beside these or before them, and nobody has seen
    yet what it would let happen here: it is taken where it names these.

    Raises:
        ReviewError, ActionError: what was given cannot count.

    """
    is_inside = bool(namespace_of(config))
    single = single_value(config) if is_inside else None
    if fault := _fault(single, questions, read):
        problem = problem if named(single) & known.keys() else fault
    schema = response_schema(questions, needs_id=is_inside)
    given = asked(request(questions, problem), config, takes_single=not fault, response_schema=schema)
    if not given.values:
        raise _Waiting(given.waiting.args[0]) from None
    answers = read(given.values[-1])
    if is_inside and not (given.is_meant or named(given.values[-1])):
        raise ReviewError(f"{_NEEDS_ID} {listed(questions)}")
    return answers


def _fault(single: object, questions: Sequence[JsonObject], read: Read) -> str:
    """Return what keeps a single value from being an answer inside another graph; nothing where there is none."""
    try:
        answers = {} if single is None else read(single)
    except (ReviewError, ActionError) as error:
        return str(error)
    return f"{_NEEDS_ID} {listed(questions)}" if answers and not named(single) else ""


async def _update(
    state: State, questions: list[JsonObject], known: Mapping[str, Answered], held: Held, runtime: Runtime[Any]
) -> Update:
    """Go on, or ask for what is not answered yet; a rejection plans again, once nothing is in doubt any more."""
    rejected, waits = answered_with("reject", questions, known), _open(questions, known)
    over = [one for one in questions if one["id"] in known]
    for question in (one for one in over if not one.get("told")):
        kind = str(known[str(question["id"])].answer["type"])
        item = cast("int | None", question["item"])
        event = ReviewAnswered(id=str(question["id"]), step=str(question["step"]), item=item, answer=kind)
        runtime.stream_writer(event.to_json())
    if waits:
        told: list[JsonValue] = [{**one, "told": True} for one in over]  # what was said of them counts at the end
        return {"status": WorkflowState.REVIEWING.value, "asks": [*told, *waits], "findings": []}
    if not rejected and not any(one.get("replaced") for one in questions):
        return {"status": WorkflowState.EXECUTING.value, "asks": [], "findings": []}
    # What failed beside an effect in doubt has waited for this; executing comes to it, and to a result that was given.
    has_failed = any(OutcomeStatus(str(one["status"])).is_failure for one in state["steps"].values())
    happened = [one for one in answered_with("respond", questions, known) if one.get("in_doubt")]
    closed = rejected if has_failed else [*rejected, *happened]
    await _settle(state, closed, known, held)
    # Nothing is promised of what is in doubt, which is settled before the next plan.
    beside = _beside([one for one in over if one not in closed and not one.get("in_doubt")], state)
    entries = [
        _feedback(question, known[str(question["id"])], beside, is_late=_is_late(question, state))
        for question in closed
    ]
    return {
        "status": WorkflowState.EXECUTING.value if has_failed else WorkflowState.PLANNING.value,
        "asks": [],
        "findings": [],
        "history": [*(state.get("history") or []), *entries],
    }


def _is_late(question: JsonObject, state: State) -> bool:
    """Tell whether what is said of a question holds words of a late plan."""
    return bool(state.get("late")) or (bool(question.get("replaced")) and has_late(state.get("history") or []))


async def _settle(state: State, closed: list[JsonObject], known: Mapping[str, Answered], held: Held) -> None:
    """Use up answers that no call will, and write down what they say of effects in doubt."""
    run_id = state["run_id"]
    past = await held.journal.past(run_id)
    said = [one for question in closed for one in _recorded(question, known[str(question["id"])], past, state)]
    written = {(one.intent.place, one.intent.attempt) for one in past.outcomes}  # by a process that was killed after it
    outcomes = [one for one in said if (one.intent.place, one.intent.attempt) not in written]
    used = [one for one in (str(question["id"]) for question in closed) if not past.answers[one].used]
    await held.write(run_id, outcomes=outcomes, used=used)


def _recorded(question: JsonObject, row: Answered, past: Past, state: State) -> Iterator[Recorded]:
    """Yield what an answer says of an effect that may have happened.

    An effect of an earlier plan that has an outcome keeps it; a result that is given now is that of this plan's call.
    """
    at, outcome = question["in_doubt"], _outcome_of(row)
    for doubt in (one for one in past.in_doubt if attempt_of(one) == at):
        yield Recorded(intent=doubt, outcome=replace(outcome, started=doubt.at))
    if outcome.status != OutcomeStatus.SUCCEEDED or question.get("replaced"):
        return
    plan, item = plan_name(state["plan_number"], restore(state["plan"] or {})), question["item"]
    here = Place(plan, str(question["step"]), WHOLE if item is None else cast("int", item))
    for one in (one.intent for one in past.outcomes):
        if attempt_of(one) == at and one.place.plan != plan:
            yield Recorded(
                intent=replace(one, place=here, attempt=0, rules=()), outcome=replace(outcome, started=one.at)
            )


def _outcome_of(row: Answered) -> Outcome:
    """Return what became of an effect in doubt, as a person says."""
    if row.answer["type"] == "reject":
        reason = "It was in doubt, and a reviewer gave it up."
        failed = Outcome(status=OutcomeStatus.FAILED, reason=reason, attempts=1, took_place=True)
        return replace(failed, quotes_output=False, sources=frozenset(), settlement=Settlement.ANSWERED)
    happened = Outcome(status=OutcomeStatus.SUCCEEDED, result=row.answer["message"], attempts=1)
    return settled(happened, Settlement.ANSWERED)


def _beside(kept: Sequence[JsonObject], state: State) -> str:
    """Return what becomes of answers beside a rejection, as a sentence; no other plan follows one that was given."""
    if not kept:
        return ""
    steps = some_of([step_of(one) for one in kept], MOST_NAMED, "; ")
    becomes = "is not done" if state.get("run_plan") else "still counts if a plan only leaves steps out"
    return f" What was answered beside it ({steps}) {becomes}."


def _feedback(question: JsonObject, row: Answered, beside: str, *, is_late: bool) -> JsonObject:
    feedback = _said(question, row, f"{step_of(question)} ({question['name']})")
    result: JsonObject = {"feedback": feedback}
    if row.answer["type"] != "respond":
        result = {"feedback": feedback + beside, "rejected": question["step"]}
    marks = {**late_marks(is_late=True), SAID: _said(question, row, NAMELESS)} if is_late else {}
    return {"step": None, "result": result, **marks}


def _said(question: JsonObject, row: Answered, step: str) -> str:
    """Return what was answered about a step, by what it is to be called."""
    who, doubt = "The deadline" if row.reviewer == DEADLINE else "A reviewer", question.get("in_doubt")
    if row.answer["type"] == "respond":
        return f"{who} says that step {step} happened, which was in doubt."
    did = f"gave up step {step}, which may have happened" if doubt else f"rejected step {step}"
    why = str(row.answer.get("message") or "").strip() or "no reason given"
    return f"{who} {did}: {why}{'' if why[-1] in '.!?' else '.'}"
