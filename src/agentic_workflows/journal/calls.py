"""How calls are written in one transaction: intents, outcomes with what they share, and answers that they use up."""

from collections.abc import Sequence

from agentic_workflows.errors import ReviewError
from agentic_workflows.journal.entries import Intent, Recorded
from agentic_workflows.journal.faults import recorded_twice
from agentic_workflows.journal.rows import call_columns, outcome_columns, sources_text
from agentic_workflows.journal.writer import RefusedError, Sent, Transaction


def write_calls(
    to: Transaction, run_id: str, intents: Sequence[Intent], outcomes: Sequence[Recorded], used: Sequence[str]
) -> list[Sent]:
    """Send intents, outcomes and the use of answers; returns what `refuse_recorded` looks at.

    What runs may share goes in one order, or two that write it would wait for each other.

    Raises:
        RefusedError: an answer was used before; nothing was sent.

    """
    _refuse_used(to, run_id, used)
    for text in sorted({text for one in outcomes if (text := sources_text(one.outcome.sources)) is not None}):
        to.send("label", text=text)
    for review_id in used:
        to.send("use", by_review_id=review_id)
    recorded = _record(to, run_id, outcomes)
    for intent in intents:
        to.send("intend", **call_columns(run_id, intent))
    return recorded


def refuse_recorded(run_id: str, outcomes: Sequence[Recorded], recorded: Sequence[Sent]) -> None:
    """Refuse to write an outcome over another one.

    Raises:
        DatabaseError: a call has one already; the transaction is taken back.

    """
    for one, written in zip(outcomes, recorded, strict=True):
        if not written.changed:
            raise recorded_twice(one.intent.place.step, run_id)


def _refuse_used(to: Transaction, run_id: str, used: Sequence[str]) -> None:
    """Look at all answers before one is used up: what is refused wrote nothing."""
    for review_id in used:
        if not to.send("unused", by_review_id=review_id, by_run_id=run_id).rows:
            raise RefusedError(ReviewError(f"The answer to {review_id} was used already."))


def _record(to: Transaction, run_id: str, outcomes: Sequence[Recorded]) -> list[Sent]:
    written = [(one, *outcome_columns(one.outcome)) for one in outcomes]
    for digest, whole in sorted({at: text for *_, large in written for at, text in large.items()}.items()):
        to.send("store", digest=digest, body=whole)
    return [
        to.send("record", **call_columns(run_id, one.intent), **columns, sources=sources_text(one.outcome.sources))
        for one, columns, _ in written
    ]
