"""REVIEWING: ask a person everything that is open, in one interrupt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphInterrupt
from langgraph.runtime import Runtime
from langgraph.types import interrupt

from agentic_workflows.errors import ActionError, ReviewError
from agentic_workflows.graph.catalogue import Catalogue
from agentic_workflows.graph.checks import input_findings
from agentic_workflows.graph.events import AnswerRefused, ReviewAnswered
from agentic_workflows.graph.outcome import Outcome, OutcomeStatus
from agentic_workflows.graph.review import Answer, Edit, read_answers, request, response_schema, to_json
from agentic_workflows.graph.state import State, Update, WorkflowState
from agentic_workflows.graph.values import JsonObject
from agentic_workflows.journal.entries import Answered, Journal
from agentic_workflows.journal.lease import Held, Leases
from agentic_workflows.nodes.collaborators import Node, held, refuse_foreign, thread_of


def make_review(leases: Leases, catalogue: Catalogue) -> Node:
    """Return the review node."""

    async def review(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> Update:
        """Read the answers that are written down, and interrupt for the rest; a bad answer leaves them open."""
        questions = cast("list[JsonObject]", state.get("asks") or [])
        await refuse_foreign(leases.journal, state, thread_of(state, config))
        # Used ones, too: the checkpoint of what was done with an answer may be lost.
        known = (await leases.journal.past(state["run_id"])).answers
        unanswered = [question for question in questions if question["id"] not in known]
        if unanswered:
            raw = _ask(unanswered)
            try:
                answers = checked_answers(raw, unanswered, catalogue)
            except (ReviewError, ActionError) as error:
                runtime.stream_writer(AnswerRefused(problem=str(error)).to_json())
                return {"status": WorkflowState.REVIEWING.value, "findings": [{"problem": str(error)}]}
            for answer in answers.values():
                await leases.journal.answer(answered(state["run_id"], answer, reviewer=""))
            known = (await leases.journal.past(state["run_id"])).answers
        async with held(leases, state, config) as lease:
            return await _update(state, questions, known, _Pen(leases.journal, lease, runtime))

    return review


def checked_answers(raw: object, questions: Sequence[JsonObject], catalogue: Catalogue) -> dict[str, Answer]:
    """Return the answers in a resume value, by the id of their question.

    Raises:
        ReviewError: they fit no open question, or an edit does not fit its action; then no answer of it counts.

    """
    answers = read_answers(raw, questions)
    by_id = {str(question["id"]): question for question in questions}
    for one, answer in answers.items():
        if isinstance(answer, Edit):
            question = by_id[one]
            action = catalogue.get(str(question["name"]))
            if action is None:
                raise ReviewError(f"The action {question['name']} of {one} is not there any more; reject it.")
            findings = list(input_findings(str(question["step"]), answer.inputs, action))
            if findings:
                raise ReviewError(f"The edit of {one} does not fit: {' '.join(map(str, findings))}")
            if question.get("in_doubt"):
                raise ReviewError(f"The call of {one} was begun with its inputs; approve, respond or reject it.")
    return answers


def answered(run_id: str, answer: Answer, *, reviewer: str) -> Answered:
    """Return the row of an answer."""
    at = datetime.now(UTC).isoformat()
    return Answered(review_id=str(answer.id), run_id=run_id, answer=to_json(answer), reviewer=reviewer, at=at)


class _Waiting(GraphInterrupt):
    """An interrupt that does not spell out its questions: a trace shows an error's text even where it hides inputs."""

    def __repr__(self) -> str:
        return "It waits for a person."

    __str__ = __repr__


def _ask(questions: list[JsonObject]) -> object:
    try:
        return cast("object", interrupt(request(questions), response_schema=response_schema(questions)))
    except GraphInterrupt as waiting:
        raise _Waiting(waiting.args[0]) from None


@dataclass(frozen=True)
class _Pen:
    journal: Journal
    lease: Held
    runtime: Runtime[Any]


async def _update(state: State, questions: list[JsonObject], known: Mapping[str, JsonObject], pen: _Pen) -> Update:
    """A rejection plans again at once; otherwise go on, or ask for what is not answered yet."""
    rejected = []
    for question in (one for one in questions if one["id"] in known):
        answer = known[str(question["id"])]
        kind = str(answer["type"])
        pen.runtime.stream_writer(
            ReviewAnswered(id=str(question["id"]), step=str(question["step"]), answer=kind).to_json()
        )
        if kind == "reject":
            rejected.append(question)
    if rejected:
        await _give_up(state["run_id"], rejected, pen)
        dropped = sorted({str(one["step"]) for one in questions if one not in rejected and one["id"] in known})
        entries = [_feedback(question, known[str(question["id"])], dropped) for question in rejected]
        return {
            "status": WorkflowState.PLANNING.value,
            "asks": [],
            "findings": [],
            "history": [*(state.get("history") or []), *entries],
        }
    left = [question for question in questions if question["id"] not in known]
    status = WorkflowState.REVIEWING if left else WorkflowState.EXECUTING
    return {"status": status.value, "asks": left, "findings": []}


async def _give_up(run_id: str, rejected: list[JsonObject], pen: _Pen) -> None:
    """Use up the rejections, and settle the effects in doubt that they give up."""
    past, unused = await pen.journal.past(run_id), await pen.journal.answers(run_id)
    given_up = [one["in_doubt"] for one in rejected if one.get("in_doubt")]
    outcome = Outcome(status=OutcomeStatus.FAILED, reason="It was in doubt, and a reviewer gave it up.", attempts=1)
    outcomes = [one.ended(outcome) for one in past.in_doubt if [*one.place, one.attempt] in given_up]
    used = [one for one in (str(question["id"]) for question in rejected) if one in unused]
    await pen.journal.write(pen.lease.lease, run_id, outcomes=outcomes, used=used)


def _feedback(question: JsonObject, answer: JsonObject, dropped: Sequence[str]) -> JsonObject:
    said = answer.get("message") or "no reason given"
    feedback = f"A reviewer rejected step {question['step']} ({question['name']}): {said}"
    if dropped:
        feedback += f" With it fell what was answered beside it: {', '.join(dropped)}."
    return {"step": None, "result": {"feedback": feedback, "rejected": question["step"]}}
