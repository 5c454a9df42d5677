"""What became of a step."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from math import isfinite
from operator import attrgetter
from typing import Any, Final

from agentic_workflows.graph.labels import Label
from agentic_workflows.graph.plan import WorkflowStep
from agentic_workflows.graph.values import JsonObject, JsonValue, writable

GIVEN: Final = "A reviewer gave its result; it was not done."
"""Reason of what succeeded with an answer in place of the call."""


class OutcomeStatus(StrEnum):
    """How a step ended, or that it waits for a person."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DENIED = "denied"
    SKIPPED = "skipped"
    ASKED = "asked"
    """Not ended: a person must answer first."""

    @property
    def is_settled(self) -> bool:
        """Tell whether steps that wait for this one may go on."""
        return self is OutcomeStatus.SUCCEEDED or self is OutcomeStatus.SKIPPED

    @property
    def is_failure(self) -> bool:
        """Tell whether this ended without a result that anyone may use."""
        return self is OutcomeStatus.FAILED or self is OutcomeStatus.DENIED


class Settlement(StrEnum):
    """How an effect in doubt, of which nobody knew whether it had happened, was settled later."""

    AGAIN = "again"
    """A later attempt does it again."""
    FOUND = "found"
    """The action's `reconcile` found that it had happened."""
    ANSWERED = "answered"
    """A person said what became of it."""
    REPLACED = "replaced"
    """Its plan was replaced, and no person had to say: the next planner is told."""


_SETTLED: Final = {
    Settlement.FOUND: "It was in doubt, and was found to have happened.",
    Settlement.ANSWERED: "It was in doubt, and a reviewer gave its result.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one step or of one item of it."""

    status: OutcomeStatus
    result: JsonValue = None
    """What the action gave; for a `foreach`, the list of what each item gave."""
    reason: str = ""
    """Often an error's text; characters that no database can hold are written out."""
    attempts: int = 0
    started: str = ""
    """ISO 8601, UTC."""
    seconds: float = 0.0
    items: tuple["Outcome", ...] = ()
    """Of a `foreach`, one an element."""
    ask: JsonObject | None = None
    """The question, where the status is ASKED."""
    quotes_output: bool = True
    """Of a failure: whether the reason may hold text from what the action read, not from its inputs alone."""
    quotes_inputs: bool = True
    """Of a denial: whether the reason may hold text of the inputs, and is not only what a rule or a reviewer says."""
    took_place: bool = False
    """Of a failure: whether the effect took place all the same, or may have; an equal one is not done unasked."""
    settlement: Settlement | None = None
    """Of an effect that was in doubt; older rows lack it. The reason alone does not tell: an error may say the same."""
    sources: Label | None = None
    """All that determined the call; None where nobody wrote it down, and then nothing of the result is trusted."""

    def __post_init__(self) -> None:
        if self.reason:
            object.__setattr__(self, "reason", writable(self.reason))

    @property
    def standing(self) -> JsonObject:
        """Return the outcome without its result, as the state of a run keeps it for each step."""
        return {
            "status": self.status.value,
            "reason": self.reason,
            "attempts": self.attempts,
            "started": self.started,
            "seconds": self.seconds,
        }

    @property
    def span(self) -> tuple[float, float]:
        """Return when it began and when it ended, in seconds since the epoch."""
        began = datetime.fromisoformat(self.started).timestamp() if self.started else 0.0
        return began, began + self.seconds

    def to_json(self) -> JsonObject:
        """Return the outcome as plain JSON; its sources are kept beside it."""
        told = {name: getattr(self, name) for name in self.__slots__}
        told |= {"status": str(self.status), "items": [item.to_json() for item in self.items]}
        told["settlement"] = self.settlement and str(self.settlement)
        del told["sources"]
        return told


def from_json(data: Mapping[str, Any]) -> Outcome:
    """Return the outcome that `to_json` wrote.

    Raises:
        ValueError, TypeError, LookupError: somebody else has changed it.

    """
    items, by = tuple(map(from_json, data.get("items", ()))), data.get("settlement")
    settlement = None if by is None else Settlement(by)
    told = {**data, "status": OutcomeStatus(data["status"]), "items": items, "settlement": settlement}
    return _checked(Outcome(**told))


_beside_result = attrgetter(
    *(name for name in Outcome.__slots__ if name not in {"result", "started", "seconds", "sources"})
)
_USUAL = _beside_result(Outcome(status=OutcomeStatus.SUCCEEDED, attempts=1))


def is_usual(outcome: Outcome) -> bool:
    """Tell whether an outcome is that of one attempt that succeeded, and says nothing else, as most do."""
    return bool(_beside_result(outcome) == _USUAL)


def usual(result: JsonValue, *, started: str, seconds: float, sources: Label | None) -> Outcome:
    """Return the outcome of one attempt that succeeded, as it is read back; errors as in `from_json`."""
    succeeded = OutcomeStatus.SUCCEEDED
    return _checked(
        Outcome(status=succeeded, result=result, attempts=1, started=started, seconds=seconds, sources=sources)
    )


def _checked(read: Outcome) -> Outcome:
    if not isfinite(read.span[1]):
        raise ValueError(f"{read.seconds} are no seconds")
    if not isinstance(read.attempts, int):
        raise TypeError(f"{read.attempts!r} is no number of attempts")
    return read


def settled(happened: Outcome, by: Settlement) -> Outcome:
    """Return what became of an effect in doubt that has happened after all."""
    return replace(happened, settlement=by, reason=_SETTLED[by])


def named_outputs(step: WorkflowStep, result: JsonValue) -> JsonObject | None:
    """Return a result by the step's output names; None where it does not have that shape.

    A mapping that has all the names gives them by key; a step with one output may give the bare value.
    """
    if isinstance(result, dict) and all(name in result for name in step.outputs):
        return {name: result[name] for name in step.outputs}
    if len(step.outputs) == 1:
        return {step.outputs[0]: result}
    return {} if not step.outputs else None


def outputs_of(step: WorkflowStep, outcome: Outcome) -> JsonObject:
    """Return the named outputs of a step that succeeded; of a `foreach`, each is a list over the items."""
    if step.foreach is None:
        return named_outputs(step, outcome.result) or {}
    each = [named_outputs(step, item.result) or {} for item in outcome.items]
    return {name: [outputs[name] for outputs in each] for name in step.outputs}
