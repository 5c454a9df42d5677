"""REVIEWING: ask a person everything that is open, in one interrupt."""

from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphInterrupt
from langgraph.runtime import Runtime
from langgraph.types import interrupt

from agentic_workflows.errors import ActionError, ReviewError
from agentic_workflows.graph.events import AnswerRefused, ReviewAnswered
from agentic_workflows.graph.review import Answer, Reject, read_answers, request, response_schema, to_json
from agentic_workflows.graph.state import State, Update, WorkflowState
from agentic_workflows.graph.values import JsonObject
from agentic_workflows.nodes.collaborators import Node


def make_review() -> Node:
    """Return the review node."""

    async def review(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> Update:  # noqa: ARG001 - a node's shape
        """Interrupt with the open questions; a bad answer leaves them open."""
        questions = cast("list[JsonObject]", state.get("asks") or [])
        if not questions:
            return {"status": WorkflowState.EXECUTING.value}
        raw = _ask(questions)
        try:
            answers = read_answers(raw, questions)
        except (ReviewError, ActionError) as error:
            runtime.stream_writer(AnswerRefused(problem=str(error)).to_json())
            return {"status": WorkflowState.REVIEWING.value, "findings": [{"problem": str(error)}]}
        by_id = {str(question["id"]): question for question in questions}
        for one, answer in answers.items():
            step, kind = str(by_id[one]["step"]), str(to_json(answer)["type"])
            runtime.stream_writer(ReviewAnswered(id=one, step=step, answer=kind).to_json())
        return _update(state, by_id, answers)

    return review


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


def _update(state: State, by_id: dict[str, JsonObject], answers: dict[str, Answer]) -> Update:
    """A rejection plans again at once; otherwise go on, or ask for what is not answered yet."""
    rejected = {one: answer for one, answer in answers.items() if isinstance(answer, Reject)}
    kept = {**(state.get("answers") or {}), **{one: to_json(answer) for one, answer in answers.items()}}
    if rejected:
        entries = [_feedback(by_id[one], answer) for one, answer in rejected.items()]
        return {
            "status": WorkflowState.PLANNING.value,
            "asks": [],
            "answers": {},
            "findings": [],
            "history": [*(state.get("history") or []), *entries],
        }
    left = [question for one, question in by_id.items() if one not in kept]
    status = WorkflowState.REVIEWING if left else WorkflowState.EXECUTING
    return {"status": status.value, "asks": left, "answers": kept, "findings": []}


def _feedback(question: JsonObject, answer: Reject) -> JsonObject:
    said = answer.feedback or "no reason given"
    feedback = f"A reviewer rejected step {question['step']} ({question['name']}): {said}"
    return {"step": None, "result": {"feedback": feedback, "rejected": question["step"]}}
