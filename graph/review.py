"""Questions to a person, and their answers, in LangChain's human-in-the-loop form.

A review is one interrupt that asks everything that is open:
`{"action_requests": [{"name", "args", "description", "id", "step", ...}], "review_configs": [...]}`. It is answered by
`{"decisions": [{"type": "approve" | "edit" | "reject" | "respond", ...}]}`: one a question in their order, or each with
the `id` of its question, in any number and order. Where the last answer did not count, its `problem` says why.

Without an id an answer is for what is open when it comes, which may be another question than its giver saw: a form that
is sent twice answers the next one. Where more than one person or process answers, give the id; inside another graph it
is needed, or that of the interrupt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, cast

from agentic_workflows.errors import ReviewError
from agentic_workflows.graph.values import JsonObject, JsonValue, as_json, digest, writable

ALLOWED = ("approve", "edit", "reject", "respond")


@dataclass(frozen=True, kw_only=True)
class Question:
    """One action call that waits for a person."""

    id: str
    """Deterministic: the same call under the same plan and policy is the same question."""
    step: str
    action: str
    inputs: JsonObject
    """Resolved: exactly what would be executed."""
    reason: str
    rules: tuple[str, ...] = ()
    item: int | None = None
    plan: str = ""
    """The plan under which its call is asked about; later ones that only leave steps out are asked under the same."""
    provenance: JsonObject = field(default_factory=dict)
    """By argument, the outputs of other actions that it comes from, and whether each is trusted."""
    in_doubt: list[JsonValue] | None = None
    """Of a call that was begun before and may have had its effect: plan, step, item and attempt of its intent."""
    begun: bool = False
    """Whether it was begun before with these inputs, which nobody can edit then."""
    replaced: bool = False
    """Of one in doubt: whether its plan is over, so that nothing does it again and nobody can approve it."""
    expires: str | None = None
    """ISO 8601: nobody's answer by then is a rejection. A question without it stays open."""

    def to_json(self) -> JsonObject:
        """Return the question as an action request with our own keys beside LangChain's."""
        where = step_of({"step": self.step, "item": self.item})
        by = answer_by({"expires": self.expires})
        until = f" Answer by {by}; then it counts as rejected." if by else ""
        return {
            "name": self.action,
            "args": self.inputs,
            "description": f"Step {where} calls {self.action}. {self.reason}{until}",
            "id": self.id,
            "step": self.step,
            "item": self.item,
            "plan": self.plan,
            "reason": self.reason,
            "rules": list(self.rules),
            "provenance": self.provenance,
            "in_doubt": self.in_doubt,
            "begun": self.begun,
            "replaced": self.replaced,
            "expires": self.expires,
        }


def review_id(run_id: str, policy: str, place: tuple[str, str, int], inputs: JsonObject) -> str:
    """Return the id of a question about the call at a place (plan, step, item) with these resolved inputs."""
    return digest([run_id, policy, *place, inputs])[:16]


def asked_again(review_id: str) -> str:
    """Return the id of the same question, asked again because its answer does not count any more."""
    return digest([review_id, "again"])[:16]


@dataclass(frozen=True, kw_only=True)
class Approve:
    """Run it with exactly these inputs."""

    id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Edit:
    """Run it with other inputs; they are checked and decided on again."""

    inputs: JsonObject
    id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Reject:
    """Do not run it; plan again with the feedback."""

    feedback: str
    id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Respond:
    """Do not run it; take the message as its result."""

    message: JsonValue
    id: str | None = None


Answer: TypeAlias = Approve | Edit | Reject | Respond
Answers: TypeAlias = Answer | Sequence[Answer] | Mapping[str, Answer]
"""One, several, or by the id of their question."""


def approve(id: str | None = None) -> Approve:  # noqa: A002 - the field's name in the answer
    """Answer that the call may run.

    Without an id it counts for the only open question, whichever that is by then: where more than one person or process
    answers, give the id of the question that was shown.
    """
    return Approve(id=id)


def edit(inputs: Mapping[str, JsonValue], id: str | None = None) -> Edit:  # noqa: A002
    """Answer that the call may run with these inputs in place of its own; for the id, see `approve`."""
    return Edit(inputs=cast("JsonObject", as_json(inputs, where="inputs")), id=id)


def reject(feedback: str = "", id: str | None = None) -> Reject:  # noqa: A002
    """Answer that the call must not run, and why; for the id, see `approve`."""
    return Reject(feedback=writable(feedback), id=id)


def respond(message: JsonValue, id: str | None = None) -> Respond:  # noqa: A002
    """Answer with the result itself; the action is not called. For the id, see `approve`."""
    return Respond(message=as_json(message, where="message"), id=id)


def each_answer(answers: object) -> list[Answer]:
    """Return answers as a list, each with the id that a mapping gives it.

    Raises:
        ReviewError: something in there is no answer.

    """
    if isinstance(answers, Mapping):
        given = list(answers.values())
    else:
        given = [*answers] if isinstance(answers, Sequence) and not isinstance(answers, str) else [answers]
    for one in given:
        if not isinstance(one, Approve | Edit | Reject | Respond):
            raise ReviewError(f"{one!r} is no answer. Use approve(), edit(inputs), reject(feedback), respond(message).")
    if isinstance(answers, Mapping):
        for key, one in answers.items():
            if one.id not in (None, key):
                raise ReviewError(f"The answer under {key} says that it is for {one.id}. Give each its own, or no id.")
        return [replace(one, id=str(key)) for key, one in answers.items()]
    return [one for one in given if isinstance(one, Approve | Edit | Reject | Respond)]


def to_json(answer: Answer) -> JsonObject:
    """Return an answer as one decision in LangChain's form, its id beside it."""
    named: JsonObject = {} if answer.id is None else {"id": answer.id}
    match answer:
        case Approve():
            return {"type": "approve", **named}
        case Edit():
            return {"type": "edit", "edited_action": {"args": answer.inputs}, **named}
        case Reject():
            return {"type": "reject", "message": answer.feedback, **named}
        case Respond():
            return {"type": "respond", "message": answer.message, **named}


def from_json(data: object, *, id: str) -> Answer:  # noqa: A002
    """Return the answer that one decision gives to the question with this id.

    Raises:
        ReviewError: it is not one of the four.

    """
    if not isinstance(data, Mapping):
        raise ReviewError(f"The answer to {id} is {data!r}; give a mapping with a type of {', '.join(ALLOWED)}.")
    match data:
        case {"type": "approve"}:
            return Approve(id=id)
        case {"type": "edit", "edited_action": {"args": Mapping() as inputs}}:
            return edit(inputs, id)
        case {"type": "reject", "message": str() as feedback}:
            return reject(feedback, id)
        case {"type": "reject"} if data.get("message") is None:
            return Reject(feedback="", id=id)
        case {"type": "respond", "message": message}:
            return respond(message, id)
    raise ReviewError(
        f"The answer to {id} is {dict(data)!r}. Give approve; edit with edited_action.args; reject with a message; "
        f"or respond with a message."
    )


def answer_by(question: Mapping[str, JsonValue]) -> str:
    """Return the minute by which a question must be answered, as people read it; empty where it stays open."""
    return str(question["expires"])[:16].replace("T", " ") + " UTC" if question.get("expires") else ""


def step_of(question: Mapping[str, Any]) -> str:
    """Return the step that a question is about, and the item of a `foreach`, counted from 1 as everywhere."""
    item = question.get("item")
    return str(question["step"]) if item is None else f"{question['step']}, item {item + 1}"


def request(questions: Sequence[Mapping[str, JsonValue]], problem: str = "") -> JsonObject:
    """Return what the review interrupt shows: every open question at once, and why the last answer did not count."""
    configs = [{"action_name": question["name"], "allowed_decisions": _allowed(question)} for question in questions]
    asked: JsonObject = {"problem": problem} if problem else {}
    asked["action_requests"] = [dict(question) for question in questions]
    return asked | {"review_configs": cast("JsonValue", configs)}


def is_begun(question: Mapping[str, JsonValue]) -> bool:
    """Tell whether the call of a question was begun before, so that its inputs cannot be edited."""
    return bool(question.get("begun") or question.get("in_doubt"))


def _allowed(question: Mapping[str, JsonValue]) -> list[JsonValue]:
    """Return what a question may be answered with: what was begun is not edited, a plan that is over not done."""
    refused = {"edit": is_begun(question), "approve": question.get("replaced")}
    return [one for one in ALLOWED if not refused.get(one)]


def response_schema(questions: Sequence[Mapping[str, JsonValue]], *, needs_id: bool = False) -> dict[str, Any]:
    """Return the JSON Schema of an answer to exactly these questions; a form with one question has its id filled in."""
    ids: list[JsonValue] = [question["id"] for question in questions]
    without = "" if needs_id else "; without it, what is open by then"
    named: JsonObject = {"enum": ids, "description": f"Which question this answers{without}."}
    decision = {
        "type": "object",
        "required": ["type", "id"] if needs_id else ["type"],
        "properties": {
            "type": {"enum": list(ALLOWED)},
            "id": named if len(ids) > 1 else {**named, "default": ids[0]},
            "message": {"description": "Feedback of a reject; the result, of a respond."},
            "edited_action": {
                "type": "object",
                "required": ["args"],
                "properties": {"name": {"type": "string"}, "args": {"type": "object"}},
            },
        },
    }
    decisions = {"type": "array", "items": decision, "minItems": 1, "maxItems": len(questions)}
    return {"title": "Review", "type": "object", "required": ["decisions"], "properties": {"decisions": decisions}}


def read_answers(raw: object, questions: Sequence[Mapping[str, JsonValue]]) -> dict[str, Answer]:
    """Return the answers in a resume value, by the id of their question.

    Raises:
        ReviewError: the value is malformed, answers what was not asked, answers one question twice or changes the
            action; then no answer of it counts.

    """
    if not (decisions := _decisions(raw)):
        raise ReviewError(f"The answer is {raw!r}; give {{'decisions': [...]}} with at least one. {listed(questions)}")
    by_id = {str(question["id"]): question for question in questions}
    ids = _ids(decisions)
    if not named(raw):
        if len(decisions) != len(questions):
            raise ReviewError(f"{len(decisions)} answers for {len(questions)} questions. {listed(questions)}")
        ids = list(by_id)
    answers: dict[str, Answer] = {}
    for one, entry in zip(ids, decisions, strict=True):
        if not isinstance(one, str) or one not in by_id:
            raise ReviewError(f"No open question has the id {one!r}. {listed(questions)}")
        if one in answers:
            raise ReviewError(f"The question {one} is answered twice.")
        _refuse_other_action(entry, by_id[one])
        answers[one] = from_json(entry, id=one)
    return answers


def named(raw: object) -> set[str]:
    """Return the ids of the questions that a resume value is for; without any, it is for those that are open."""
    return {str(one) for one in _ids(_decisions(raw)) if one is not None}


def _decisions(raw: object) -> list[Any]:
    decisions = raw.get("decisions") if isinstance(raw, Mapping) else None
    return decisions if isinstance(decisions, list) else []


def _ids(decisions: list[Any]) -> list[Any]:
    return [entry.get("id") if isinstance(entry, Mapping) else None for entry in decisions]


def listed(questions: Sequence[Mapping[str, JsonValue]]) -> str:
    """Return the open questions as one sentence for an error."""
    if not questions:
        return "No question is open."
    return "Open: " + "; ".join(f"{one['id']} (step {step_of(one)}, {one['name']})" for one in questions) + "."


def _refuse_other_action(entry: Mapping[str, Any], question: Mapping[str, JsonValue]) -> None:
    edited = entry.get("edited_action") if isinstance(entry, Mapping) else None
    name = edited.get("name") if isinstance(edited, Mapping) else None
    if name is not None and name != question["name"]:
        raise ReviewError(
            f"The answer to {question['id']} changes the action from {question['name']} to {name}. "
            f"An edit changes inputs only; reject with feedback to have it planned again."
        )
