"""What is written down about a thread, told as entries with a time."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from agentic_workflows.graph.outcome import Outcome
from agentic_workflows.graph.values import JsonObject
from agentic_workflows.journal.entries import WHOLE, Answered, Intent, Place, Recorded, idempotency_key


def plan_entry(number: int, plan: JsonObject, at: str) -> JsonObject:
    """Return an entry for a plan: its number and steps."""
    return {"at": at, "what": "plan", "number": number, "plan": plan}


def intent_entry(run_id: str, intent: Intent) -> JsonObject:
    """Return an entry for an effect that was about to happen."""
    return {
        "at": intent.at,
        "what": "intent",
        **_where(intent.place),
        "attempt": intent.attempt,
        "action": intent.action,
        "idempotency_key": idempotency_key(run_id, intent.key, intent.occurrence),
        "rules": list(intent.rules),
    }


def outcome_entry(recorded: Recorded) -> JsonObject:
    """Return an entry for what became of a call; the rules that allowed an effect are in the entry of its intent."""
    intent, outcome = recorded.intent, recorded.outcome
    return {
        "at": _ended(outcome),
        "what": "outcome",
        **_where(intent.place),
        "attempt": intent.attempt,
        "action": intent.action,
        "rules": [] if intent.key else list(intent.rules),
        "status": str(outcome.status),
        "reason": outcome.reason,
        "attempts": outcome.attempts,
        "seconds": outcome.seconds,
        "result": outcome.result,
        "settlement": outcome.settlement and str(outcome.settlement),
    }


def answer_entry(answered: Answered) -> JsonObject:
    """Return an entry for what a person answered."""
    return {
        "at": answered.at,
        "what": "answer",
        "review_id": answered.review_id,
        "step": answered.answer.get("step"),
        "item": answered.answer.get("item"),
        "reviewer": answered.reviewer,
        "answer": answered.answer,
    }


def is_settled(entry: Mapping[str, object]) -> bool:
    """Tell whether an entry is of an effect in doubt, and says what was found out or said about it later."""
    return bool(entry.get("settlement"))


def in_order(entries: Sequence[JsonObject]) -> list[JsonObject]:
    """Return entries by their time; what has none, a step that was skipped, comes with what is before it."""
    latest, timed = "", []
    for at, entry in enumerate(_timed(entries)):
        latest = str(entry["at"]) or latest
        timed.append((latest, at, entry))
    return [entry for _, _, entry in sorted(timed, key=lambda one: one[:2])]


def _timed(entries: Sequence[JsonObject]) -> Iterator[JsonObject]:
    """Yield entries; one of a settled doubt has only the time of its intent, and gets that of what settled it."""
    causes: dict[object, list[str]] = {}
    for one in entries:
        if one["what"] in {"answer", "intent"}:
            causes.setdefault((one["step"], one["item"]), []).append(str(one["at"]))
    for entry in entries:
        since = str(entry["at"])
        later = (at for at in causes.get((entry["step"], entry["item"]), ()) if at > since) if is_settled(entry) else ()
        yield {**entry, "at": min(later, default=since)}


def _ended(outcome: Outcome) -> str:
    if not outcome.started:
        return ""
    return (datetime.fromisoformat(outcome.started) + timedelta(seconds=outcome.seconds)).isoformat()


def _where(place: Place) -> JsonObject:
    return {"plan": place.plan, "step": place.step, "item": None if place.item == WHOLE else place.item}
