"""Grants: what people answered. Each answer counts for one call, once, and an approval only for a while."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property

from agentic_workflows.graph.review import Answer, Approve, Edit, Reject, Respond, asked_again
from agentic_workflows.graph.state import Limits
from agentic_workflows.graph.values import JsonObject, JsonValue, digest
from agentic_workflows.journal.entries import Answered, Past


@dataclass(kw_only=True)
class Grants:
    """The answers of a run, and which of them count now.

    An answer is spent once a call has used it, once its approval has expired, or once a later question about the same
    call was answered, as under other policies, or one about its effect in doubt: the last word counts. A call whose
    answer is spent is asked about again, under an id of its own: so the first answer to a question stays the one that
    counts.
    """

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    lasts: timedelta = timedelta(days=1)
    """How long after it was given an approval may be used."""
    rows: Mapping[str, Answered] = field(default_factory=dict)
    """By the id of the question, used or not."""
    _used: set[str] = field(default_factory=set)
    """Used in this pass."""

    def current(self, first: str) -> str:
        """Return the id under which a question stands now, from the id that it had first."""
        for row in self._spent(first):
            first = asked_again(row.review_id)
        return first

    def answer(self, review_id: str) -> Answer | None:
        """Return what a person said, where it still counts."""
        row = self.rows.get(review_id)
        return None if row is None or self._is_spent(row) else row.said

    def edited(self, first: str) -> JsonObject | None:
        """Return the inputs that a person put in place of a call's own; they hold also after the answer was used."""
        inputs = None
        for row in filter(self.is_used, self._spent(first)):
            if isinstance(row.said, Edit):
                inputs = row.said.inputs
        return inputs

    def covered_until(self, first: str) -> datetime | None:
        """Return when the approval, or edit, expires that a call was begun under; None where none counts any more."""
        used = filter(self.is_used, self._spent(first))
        return max((end for row in used if (end := self._end(row)) and self.now() < end), default=None)

    def edits(self) -> Iterator[JsonObject]:
        """Yield the inputs of every edit that was used, whatever it was an answer to."""
        for row in filter(self.is_used, self.rows.values()):
            if isinstance(row.said, Edit):
                yield row.said.inputs

    def expired(self, first: str) -> Answered | None:
        """Return the last answer to a question where it expired."""
        last = None
        for row in self._spent(first):
            last = row
        return None if last is None or self.is_outdated(last) or not self._is_expired(last) else last

    def unused(self, step: str, item: int | None, in_doubt: Sequence[object] | None = None) -> Answered | None:
        """Return the last answer about a call, or its effect in doubt, where it was never used, also an expired one.

        It may be to another question about that: under another plan, other policies or actions, or with other inputs.
        """
        row = self._last.get((step, item, str(in_doubt)))
        return None if row is None or self.is_used(row) or self.is_outdated(row) else row

    def ending_id(self, step: str, item: int | None, in_doubt: Sequence[object]) -> str | None:
        """Return the id of the unused answer that ends the doubt about an effect: with its result, or giving it up."""
        row = self.unused(step, item, in_doubt)
        return row.review_id if row is not None and isinstance(row.said, Respond | Reject) else None

    def changed(self, step: str, item: int | None) -> Answered | None:
        """Return the last answer about a call, where that is an edit and was used: what was done had other inputs."""
        row = self._last.get((step, item, str(None)))
        return row if row is not None and isinstance(row.said, Edit) and self.is_used(row) else None

    def of_equal(self, action: str, inputs: Mapping[str, JsonValue]) -> Sequence[Answered]:
        """Return the answers about calls of an action with these inputs, of any plan, the last word first.

        Not what was said of one in doubt, which is known by its effect.
        """
        return self._by_call.get(digest([action, inputs]), ())

    def is_used(self, row: Answered) -> bool:
        """Tell whether an answer has counted for a call, also in this pass."""
        return row.used or row.review_id in self._used

    def is_outdated(self, row: Answered) -> bool:
        """Tell whether something else was said of the call since, or of its effect in doubt."""
        return row.after < self._latest[row.about]

    def take(self, review_id: str) -> bool:
        """Use an answer up for this pass; False where there is none, or it was used.

        One that expired since it was read is taken, too: then `until` makes the transaction of its intent refuse it.
        """
        row = self.rows.get(review_id)
        if row is None or self.is_used(row):
            return False
        self._used.add(review_id)
        return True

    def give_back(self, taken: Sequence[str]) -> None:
        """Undo `take`: nothing was done with these."""
        self._used -= set(taken)

    def until(self, taken: Sequence[str]) -> datetime | None:
        """Return when the first of these answers expires; None where none does."""
        return min((end for one in taken if (end := self._end(self.rows[one]))), default=None)

    def _spent(self, first: str) -> Iterator[Answered]:
        """Yield the answers to a question that do not count any more, the oldest first."""
        while (row := self.rows.get(first)) and self._is_spent(row):
            yield row
            first = asked_again(row.review_id)

    def _is_spent(self, row: Answered) -> bool:
        return self.is_used(row) or self.is_outdated(row) or self._is_expired(row)

    def _is_expired(self, row: Answered) -> bool:
        end = self._end(row)
        return end is not None and self.now() >= end

    @cached_property
    def _last(self) -> Mapping[tuple[object, object, str], Answered]:
        return {row.about: row for row in sorted(self.rows.values(), key=lambda row: row.after)}

    @cached_property
    def _by_call(self) -> Mapping[object, Sequence[Answered]]:
        """By what was shown, what was answered about it, the last word first."""
        found: defaultdict[object, list[Answered]] = defaultdict(list)
        for row in sorted(self.rows.values(), key=lambda row: row.after, reverse=True):
            if row.answer.get("in_doubt") is None:
                found[row.shown].append(row)
        return found

    @cached_property
    def _latest(self) -> Mapping[tuple[object, object, str], int]:
        """By what answers are about, when the last word was given; what is said of a doubt is said of its call, too."""
        latest: dict[tuple[object, object, str], int] = {}
        for row in self.rows.values():
            for about in (row.about, (*row.about[:2], str(None))):
                latest[about] = max(latest.get(about, 0), row.after)
        return latest

    def _end(self, row: Answered) -> datetime | None:
        """Return when an approval or an edit expires; None for a rejection or a result, which never do."""
        lets = isinstance(row.said, Approve | Edit)
        return datetime.fromisoformat(row.at).astimezone() + self.lasts if lets else None


def grants_of(past: Past, limits: Limits, now: Callable[[], datetime]) -> Grants:
    """Return what people answered before in a run."""
    return Grants(now=now, lasts=timedelta(seconds=limits.grant_seconds), rows=past.answers)
