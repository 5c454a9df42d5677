"""Rows of the journal's tables: what is written in them, and how that is read again."""

import hashlib
import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache, wraps
from operator import index
from sys import intern
from typing import Any, Final, TypeAlias, TypeVar

from agentic_workflows.errors import CorruptError
from agentic_workflows.graph.labels import Label, label_from_json
from agentic_workflows.graph.outcome import Outcome, OutcomeStatus, is_usual, usual
from agentic_workflows.graph.outcome import from_json as outcome_from_json
from agentic_workflows.graph.review import from_json as answer_from_json
from agentic_workflows.graph.values import JsonObject, JsonValue, canonical
from agentic_workflows.journal.entries import Answered, Begun, Intent, Lease, Place, Recorded
from agentic_workflows.journal.faults import CORRUPT, corrupt
from agentic_workflows.journal.owner import is_owner

Read = TypeVar("Read")
Row: TypeAlias = tuple[Any, ...]
RUNS, PLANS, CALLS, ANSWERS = "agentic_runs", "agentic_plans", "agentic_calls", "agentic_answers"
BODIES, LABELS, LEASES = "agentic_bodies", "agentic_labels", "agentic_leases"
SAVED: Final = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
"""What LangGraph's saver keeps of a thread."""
PLACE, ATTEMPT, KEY, OUTCOME = slice(1, 4), 4, 6, 11
"""Places of columns in a row of the calls."""
LARGE: Final = 65_536
"""Characters of a result beyond which it is stored by itself, once."""
LONG: Final = 4_096
"""Characters of a plan beyond which it is stored compressed; a shorter one can be read in any SQL shell."""
_NOTHING_SAID = Outcome(status=OutcomeStatus.SUCCEEDED).to_json()
"""What an outcome says that has nothing to say; it is not written down."""
_USED = (0, 1)


def plan_text(plan: JsonObject) -> str:
    """Return how a plan is written."""
    text = canonical(plan)
    return text if len(text) <= LONG else b64encode(zlib.compress(text.encode())).decode()


def call_columns(run_id: str, one: Intent) -> dict[str, object]:
    """Return what names a call, by column."""
    return {
        "run_id": run_id,
        **one.place._asdict(),
        "attempt": one.attempt,
        "action": one.action,
        "key": one.key,
        "occurrence": one.occurrence,
        "at": one.at,
        "token": one.token,
        "rules": _rules_text(one.rules),
    }


@lru_cache(maxsize=1024)
def _rules_text(rules: tuple[str, ...]) -> str | None:
    return canonical(rules) if rules else None


def outcome_columns(outcome: Outcome) -> tuple[dict[str, object], dict[str, str]]:
    """Return what a call came to, by column, and the text of a large result by its digest."""
    text = _outcome_text(outcome, outcome.result)
    if len(text) <= LARGE:
        return {"outcome": text, "body": None}, {}
    whole = canonical(outcome.result)
    body = hashlib.sha256(whole.encode()).hexdigest()
    return {"outcome": _outcome_text(outcome, None), "body": body}, {body: whole}


def _outcome_text(outcome: Outcome, result: JsonValue) -> str:
    """Return how an outcome with this result is written, most as a list; when it started, the intent says."""
    if is_usual(outcome):
        return canonical([result, outcome.seconds])
    told = {key: value for key, value in outcome.to_json().items() if key == "status" or value != _NOTHING_SAID[key]}
    told.pop("started", None)
    return canonical(told | {"result": result})


@lru_cache(maxsize=1024)
def sources_text(label: Label | None) -> str | None:
    """Return how the label of a result is written."""
    return None if label is None else canonical(sorted((source.to_json() for source in label), key=canonical))


def _reads(table: str, name: str) -> Callable[[Callable[[Row], Read]], Callable[[Row], Read]]:
    """Have a function that reads a row raise a `CorruptError` that names it, where somebody else has changed it."""

    def reading(read: Callable[[Row], Read]) -> Callable[[Row], Read]:
        @wraps(read)
        def checked(row: Row) -> Read:
            try:
                return read(row)
            except CorruptError:
                raise
            except CORRUPT as error:
                raise corrupt("journal", f"the row of {name.format(row)} in {table}", error) from error

        return checked

    return reading


@_reads(CALLS, "step {0[2]}")
def intent_of(row: Row) -> Intent:
    """Return the intent of a call, whether it has an outcome or not."""
    _, plan, step, item, attempt, action, key, occurrence, at, token, rules = row[:OUTCOME]
    place = Place(intern(plan), intern(step), index(item))  # a `foreach` has very many of them
    return Intent(
        place=place,
        attempt=index(attempt),
        action=intern(action),
        key=key,
        occurrence=index(occurrence),
        at=at,
        token=index(token),
        rules=_rules(rules),
    )


@lru_cache(maxsize=1024)
def _rules(text: str | None) -> tuple[str, ...]:
    rules = [] if text is None else json.loads(text)
    if not isinstance(rules, list):
        raise TypeError(f"{rules!r} are no rules")
    return tuple(map(str, rules))


@_reads(CALLS, "step {0[2]}")
def recorded_of(row: Row) -> Recorded:
    """Return a call that has an outcome."""
    text, name, _, body, sources = row[OUTCOME:]
    intent, told, label = intent_of(row), json.loads(text), _label(sources)
    whole = {} if name is None else {"result": json.loads(body)}  # None where somebody removed it
    if isinstance(told, list):
        result, seconds = told
        outcome = usual(whole.get("result", result), started=intent.at, seconds=seconds, sources=label)
    else:
        outcome = outcome_from_json({"started": intent.at, **told, **whole, "sources": label})
    return Recorded(intent=intent, outcome=outcome)


@lru_cache(maxsize=1024)
def _label(sources: str | None) -> Label | None:
    return None if sources is None else label_from_json(json.loads(sources))


@_reads(RUNS, "the run {0[0]}")
def entry_of(run: Row) -> JsonObject:
    """Return what a run was begun with."""
    return dict(json.loads(run[4]))


@_reads(RUNS, "the run {0[0]}")
def run_entry(run: Row) -> JsonObject:
    """Return an entry for a run that was begun."""
    run_id, _, goal, at, _ = run
    if not all(isinstance(one, str) for one in (run_id, goal, at)):
        raise TypeError("its id, goal or time is no text")
    return {"at": at, "what": "run begun", "run_id": run_id, "goal": goal}


@_reads(RUNS, "the run {0[0]}")
def just_after(run: Row) -> str:
    """Return the time just after a run was begun."""
    return (datetime.fromisoformat(run[3]) + timedelta(microseconds=1)).isoformat()


def begun_of(run: Row, plans: Sequence[Row]) -> Begun:
    """Return a run of which no checkpoint is kept, with its last plan."""
    run_id, _, goal, at, _ = run
    plan, number = (plan_of(plans[0]), number_of(plans[0])) if plans else (None, 0)
    return Begun(run_id=run_id, goal=goal, entry=entry_of(run), at=at, plan=plan, number=number)


@_reads(ANSWERS, "question {0[0]}")
def answered_of(row: Row) -> Answered:
    """Return what a person answered."""
    review_id, run_id, answer, reviewer, at, used = row
    _USED.index(used)
    said = json.loads(answer)
    answer_from_json(said, id=review_id)
    datetime.fromisoformat(at)
    return Answered(review_id=review_id, run_id=run_id, answer=said, reviewer=reviewer, at=at, used=bool(used))


@_reads(PLANS, "plan {0[1]} of the run {0[0]}")
def plan_of(row: Row) -> JsonObject:
    """Return a plan."""
    _, _, text, _ = row
    return dict(json.loads(text if text.startswith("{") else zlib.decompress(b64decode(text))))


@_reads(PLANS, "plan {0[1]} of the run {0[0]}")
def number_of(row: Row) -> int:
    """Return which planner call gave a plan."""
    return index(row[1])


@_reads(LEASES, "the thread {0[0]}")
def lease_of(row: Row) -> Lease:
    """Return the lease of a thread; of one that was given back, the owner is what is left of it."""
    thread_id, owner, token, expires, _, request = row
    if not is_owner(owner):
        raise ValueError(f"{owner!r} is no owner")
    return Lease(thread_id=thread_id, owner=owner, token=index(token), expires=float(expires), request=request)
