"""Effects in doubt: an intent is written down, and no outcome. The effect may have happened.

Never silently twice: the action's own `reconcile` finds out; an idempotent action is called again under the same
idempotency key; otherwise a person says whether it happened, may be done again, or is given up.
"""

from dataclasses import dataclass
from typing import TypeAlias

from agentic_workflows.actions.action import Found
from agentic_workflows.execution.attempt import without_values
from agentic_workflows.execution.case import Case
from agentic_workflows.execution.contained import contained
from agentic_workflows.execution.secrets import hidden, kept_from_traces
from agentic_workflows.graph.review import Approve, Question, Reject, Respond
from agentic_workflows.graph.values import JsonValue, as_json, digest
from agentic_workflows.journal.entries import Intent, attempt_of
from agentic_workflows.under_way import is_under_way


@dataclass(frozen=True, kw_only=True)
class Said:
    """A person says that the effect took place; where this result does not fit, a person can give another one."""

    result: JsonValue


@dataclass(frozen=True, kw_only=True)
class Again:
    """The effect is to be done, under the key of the intent that is there."""


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """Whether the effect took place could not be found out."""

    why: str


_NOT_YET = (
    "Its action finds that it did not happen so far, but nobody knows that the process which began it has ended: it "
    "may do it yet."
)
Resolution: TypeAlias = Found | Said | Again | Question


async def settle_doubt(case: Case, doubt: Intent) -> Resolution:
    """Return what to do about an effect in doubt; a question where a person must say."""
    if (answered := _answered(case, doubt)) is not None:
        return answered
    if case.done is not None and not case.is_wanted_again:  # as a person said, who alone takes that back
        return ask_about(case, doubt)
    is_given_up = case.run.log.effects.is_given_up(doubt)
    is_safe = case.is_begun and case.action.annotations.idempotent and not is_given_up
    found = await find_out(case, doubt)
    if found is None and is_given_up:
        found = Unknown(why="Its action finds that it did not happen.")
    match found:
        case Found():
            return found
        case None:
            return Again()
        case Unknown() if is_safe:  # under the same key it happens once, whatever is known of it
            case.is_unsure = True
            return Again()
        case Unknown(why=why):
            return ask_about(case, doubt, why)


def _answered(case: Case, doubt: Intent) -> Said | Again | Question | None:
    """Return what a person said of an effect in doubt, used up; a rejection as its question, which review settles."""
    asked = _answer_id(case, doubt) or case.run.grants.current(doubt_id(case, doubt))
    match case.run.grants.answer(asked):
        case Respond(message=message):
            case.use(asked)
            return Said(result=message)
        case Approve():
            case.use(asked)
            case.is_wanted_again = True
            return Again()
        case Reject():
            return ask_about(case, doubt, first_id=asked)
    return None


def _answer_id(case: Case, doubt: Intent) -> str | None:
    """Return the id of the answer that ends the doubt about exactly this effect, whatever policies say by now."""
    if not case.is_begun:
        return None
    return case.run.grants.ending_id(case.call.step.name, case.call.item, attempt_of(doubt))


async def find_out(case: Case, doubt: Intent) -> Found | Unknown | None:
    """Ask the action itself whether the effect took place; None is no."""
    reconcile = case.action.reconcile
    if reconcile is None or not case.is_begun:
        return Unknown(why=_changed(case))
    limit = case.call.step.timeout or case.run.limits.default_timeout
    try:
        call = case.handed(doubt)
        if is_under_way(call.idempotency_key):
            return Unknown(why="It was cut, and goes on all the same in this process.")
        with kept_from_traces(case.secrets):
            found = await contained(reconcile(call), limit.total_seconds())
        if found is None:
            return Unknown(why=_NOT_YET) if case.run.log.may_still_happen(doubt) else None
        if not isinstance(found, Found):
            kind = type(found).__name__  # not the value, which may hold a secret
            return Unknown(why=f"Its reconcile gave a {kind}, which is neither Found nor None.")
        result = as_json(found.result, where=f"What reconcile of {case.call.action} found")
        return Found(result=hidden(result, case.secrets))
    except Exception as error:  # noqa: BLE001 - an action's own code; then a person must say
        why = hidden(f"{type(error).__name__}: {without_values(error)}", case.secrets)
        return Unknown(why=f"It could not be found out: {why}.")


def _changed(case: Case) -> str:
    """Return what has changed since the effect was begun; empty where nothing has."""
    if case.is_begun:
        return ""
    return "It was begun with other inputs." if case.key else "Its action is declared to have no effect by now."


def doubt_id(case: Case, doubt: Intent) -> str:
    """Return the first id of the question about an effect in doubt; each attempt has its own."""
    return digest([case.first_id, "in doubt", *attempt_of(doubt)])[:16]


def ask_about(case: Case, doubt: Intent, why: str = "", *, first_id: str = "") -> Question:
    """Return the question about an effect in doubt, with all that is known of it."""
    known = f"{case.run.log.effects.told(doubt, heard=case.heard)} {why}".strip()
    reason = (
        f"It was begun at {doubt.at} and may have happened; {known} Respond with its result if it happened, approve to "
        f"do it again, reject to give it up."
    )
    return case.question(reason, first_id=first_id or doubt_id(case, doubt), in_doubt=doubt)
