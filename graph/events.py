"""Events: past-tense facts of a run. Every display is rendered from them."""

from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, ClassVar

from agentic_workflows.graph.values import JsonObject, JsonValue


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened."""

    known: ClassVar[dict[str, type["Event"]]] = {}

    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Event.known[cls.__name__] = cls

    def to_json(self) -> JsonObject:
        """Return the event as plain JSON, its name under `event`."""
        return {"event": type(self).__name__, **self.__dict__, "at": self.at.isoformat()}


@dataclass(frozen=True, kw_only=True)
class RunStarted(Event):
    """A goal began a run."""

    run_id: str
    goal: str


@dataclass(frozen=True, kw_only=True)
class StateEntered(Event):
    """The run came into a state."""

    state: str
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class PlanProposed(Event):
    """The agent gave a plan."""

    plan: JsonObject


@dataclass(frozen=True, kw_only=True)
class PlanRefused(Event):
    """The agent gave no plan, or one that did not pass the checks; nothing of it ran."""

    findings: list[JsonValue]


@dataclass(frozen=True, kw_only=True)
class PlanAccepted(Event):
    """A plan passed the checks and is what runs from here on."""

    report: JsonObject


@dataclass(frozen=True, kw_only=True)
class StepStarted(Event):
    """A step, or one item of a `foreach`, was handed to its action."""

    step: str
    action: str
    item: int | None = None


@dataclass(frozen=True, kw_only=True)
class AttemptFailed(Event):
    """An attempt failed and another one follows."""

    step: str
    attempt: int
    reason: str
    item: int | None = None


@dataclass(frozen=True, kw_only=True)
class StepSucceeded(Event):
    """A step gave a result that passed its validation."""

    step: str
    seconds: float
    result: JsonValue


@dataclass(frozen=True, kw_only=True)
class StepFailed(Event):
    """A step came to no valid result."""

    step: str
    seconds: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class StepDenied(Event):
    """Policy or a reviewer refused a step on its resolved inputs; it did not run."""

    step: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class StepSkipped(Event):
    """A step did not run, and that is no failure: the reason says why."""

    step: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class StepAsked(Event):
    """A step waits for a person: policy wants an approval, or nobody knows whether its effect took place."""

    step: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class ReviewAnswered(Event):
    """A person answered a question."""

    id: str
    step: str
    answer: str
    item: int | None = None


@dataclass(frozen=True, kw_only=True)
class AnswerRefused(Event):
    """An answer fits no open question; the review stays open."""

    problem: str


def from_json(data: JsonObject) -> Event:
    """Return the event that `to_json` wrote."""
    kind = Event.known[str(data["event"])]
    names = {item.name for item in fields(kind)}
    values: dict[str, Any] = {key: value for key, value in data.items() if key in names}
    return kind(**{**values, "at": datetime.fromisoformat(str(data["at"]))})
