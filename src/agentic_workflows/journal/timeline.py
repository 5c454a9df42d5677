"""What is written down about a thread, told as entries with a time."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from agentic_workflows.graph.outcome import Outcome
from agentic_workflows.graph.values import JsonObject
from agentic_workflows.journal.entries import WHOLE, Answered, Intent, Place, Recorded


def told_plan(number: int, plan: JsonObject, at: str) -> JsonObject:
    """Return an entry for a plan: its number and steps."""
    return {"at": at, "what": "plan", "number": number, "plan": plan}


def told_intent(intent: Intent) -> JsonObject:
    """Return an entry for an effect that was about to happen."""
    return {
        "at": intent.at,
        "what": "intent",
        **_where(intent.place),
        "attempt": intent.attempt,
        "action": intent.action,
    }


def told_outcome(recorded: Recorded) -> JsonObject:
    """Return an entry for what became of a call."""
    outcome = recorded.outcome
    return {
        "at": _ended(outcome),
        "what": "outcome",
        **_where(recorded.place),
        "attempt": recorded.attempt,
        "action": recorded.action,
        "status": str(outcome.status),
        "reason": outcome.reason,
        "seconds": outcome.seconds,
        "result": outcome.result,
    }


def told_answer(answered: Answered) -> JsonObject:
    """Return an entry for what a person answered."""
    return {
        "at": answered.at,
        "what": "answer",
        "review_id": answered.review_id,
        "reviewer": answered.reviewer,
        "answer": answered.answer,
    }


def in_order(entries: Iterable[JsonObject]) -> list[JsonObject]:
    """Return entries by their time; what has none, a step that was skipped, comes with what is before it."""
    latest, timed = "", []
    for at, entry in enumerate(entries):
        latest = str(entry["at"]) or latest
        timed.append((latest, at, entry))
    return [entry for _, _, entry in sorted(timed, key=lambda one: one[:2])]


def _ended(outcome: Outcome) -> str:
    if not outcome.started:
        return ""
    return (datetime.fromisoformat(outcome.started) + timedelta(seconds=outcome.seconds)).isoformat()


def _where(place: Place) -> JsonObject:
    return {"plan": place.plan, "step": place.step, "item": None if place.item == WHOLE else place.item}
