"""Answers to the open questions of a run: whether they fit, which row each becomes, and which are too late."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import cast

from agentic_workflows.errors import ActionError, ReviewError
from agentic_workflows.execution.secrets import named_secrets
from agentic_workflows.graph.catalogue import ActionSpec, Catalogue
from agentic_workflows.graph.checks import input_findings, result_findings
from agentic_workflows.graph.findings import Finding
from agentic_workflows.graph.plan import WorkflowStep, step_from_json
from agentic_workflows.graph.review import Answer, Approve, Edit, Respond, is_begun, read_answers, to_json
from agentic_workflows.graph.state import State
from agentic_workflows.graph.values import JsonObject, as_json, digest
from agentic_workflows.journal.entries import Answered


def checked_answers(
    raw: object, questions: Sequence[JsonObject], state: State, catalogue: Catalogue
) -> dict[str, Answer]:
    """Return the answers in a resume value, by the id of their question.

    Raises:
        ReviewError: they fit no open question, or an edit or a response does not fit its step; then no answer of it
            counts.

    """
    by_id = {str(question["id"]): question for question in questions}
    planned = {str(step["name"]): step for step in cast("list[JsonObject]", (state["plan"] or {"steps": []})["steps"])}
    steps = {one: _step_of(question, planned) for one, question in by_id.items()}
    actions = {one: catalogue.get(step.action) for one, step in steps.items()}
    answers = {one: _as_meant(answer, steps[one], actions[one]) for one, answer in read_answers(raw, questions).items()}
    for one, answer in answers.items():
        if misfit := _misfit(answer, by_id[one], steps[one], actions[one]):
            raise ReviewError(misfit)
    return answers


def _step_of(question: JsonObject, planned: Mapping[str, JsonObject]) -> WorkflowStep:
    """Return the step that a question is about; where its plan was replaced, no more than its name and action."""
    name = str(question["step"])
    if question.get("replaced") or name not in planned:
        return WorkflowStep(name, str(question["name"]))
    return step_from_json(planned[name])


def _as_meant(answer: Answer, step: WorkflowStep, action: ActionSpec | None) -> Answer:
    """Return an answer with the result that is meant: people type text, also for a step whose result is none."""
    if not isinstance(answer, Respond) or not isinstance(answer.message, str):
        return answer
    if any(result_findings(step, action, answer.message)):
        with suppress(ValueError, RecursionError, ActionError):
            return replace(answer, message=as_json(json.loads(answer.message)))
    return answer


def _misfit(answer: Answer, question: JsonObject, step: WorkflowStep, action: ActionSpec | None) -> str:
    """Return why an answer cannot count for its question; nothing where it can."""
    one = question["id"]
    match answer:
        case Approve() if question.get("replaced"):
            return f"The plan of {one} was replaced, so nothing does it again; respond or reject it."
        case Edit() if action is None:
            return f"The action {question['name']} of {one} is not there any more; reject it."
        case Edit() if action and (findings := _edit_findings(answer, step, action)):
            return f"The edit of {one} does not fit: {' '.join(map(str, findings))}"
        case Edit() if is_begun(question):
            return f"The call of {one} was begun with its inputs; approve, respond or reject it."
        case Respond() if findings := list(result_findings(step, action, answer.message)):
            return f"The response to {one} is no result of {question['name']}: {' '.join(map(str, findings))}"
    return ""


def _edit_findings(answer: Edit, step: WorkflowStep, action: ActionSpec) -> list[Finding]:
    """Return what an edit breaks; a secret that it leaves as planned is checked where it is there."""
    secrets = named_secrets(step, answer.inputs) if action.takes_secrets else ()
    return list(input_findings(step.name, answer.inputs, action, unknown=secrets))


def answered(run_id: str, question: JsonObject, answer: Answer, *, reviewer: str, at: datetime, after: int) -> Answered:
    """Return the row of an answer, which also says what it was about: nobody keeps a question that is answered."""
    about = {name: question.get(name) for name in ("step", "item", "in_doubt", "plan")}
    shown = digest([question.get("name"), question.get("args")])
    said, one = {**to_json(answer), **about, "shown": shown, "after": after}, str(question["id"])
    return Answered(review_id=one, run_id=run_id, answer=said, reviewer=reviewer, at=at.isoformat())


def is_overdue(question: JsonObject, now: datetime) -> bool:
    """Tell whether a question can be answered no more."""
    return bool(question.get("expires")) and now >= datetime.fromisoformat(str(question["expires"]))


def answered_with(kind: str, questions: Sequence[JsonObject], known: Mapping[str, Answered]) -> list[JsonObject]:
    """Return the questions that were answered in this way."""
    return [one for one in questions if one["id"] in known and known[str(one["id"])].answer["type"] == kind]
