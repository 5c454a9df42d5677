"""The state of a run: plain JSON, so that no move of a class is ever a migration."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from enum import StrEnum
from math import isfinite
from typing import Any, Final, Literal, TypeAlias, cast

# LangGraph makes JSON Schemas of these, for which pydantic wants this one before Python 3.12.
from typing_extensions import TypedDict

from agentic_workflows.errors import RunError
from agentic_workflows.graph.outcome import OutcomeStatus
from agentic_workflows.graph.plan import MAX_STEPS, plan_number, restore
from agentic_workflows.graph.values import JsonObject, JsonValue


class WorkflowState(StrEnum):
    """Where a run is; every edge of the graph is one look-up of it."""

    PLANNING = "PLANNING"
    EXECUTING = "EXECUTING"
    REVIEWING = "REVIEWING"
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"
    PAUSED = "PAUSED"


FINISHED: Final = (WorkflowState.COMPLETE, WorkflowState.FAILED)
"""States that a run does not leave by itself."""


MAX_WHOLE: Final = 2**63 - 1
"""The greatest whole number that a database can hold."""
MAX_SECONDS: Final = 100 * 365 * 86_400
"""A hundred years; what is added to a date must give a date."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a run may use; the first four, once used up, end it as FAILED, with the reason."""

    max_iterations: int = 10
    """Planner calls and step starts together; a `foreach` counts once, and so does a step that is begun again after a
    kill."""
    max_replans: int = 0
    """New plans after a failed step."""
    max_tokens: int = 1_000_000
    """Tokens of all planner calls together, in and out."""
    max_seconds: float = 3_600.0
    """Wall clock of the run's own work; waiting for people does not count.

    Of a process that was killed, only the time of calls whose end it wrote down counts: nobody knows how long it had
    been at the others, or at a planner call.
    """
    max_parallel: int = 8
    """Action calls at the same time."""
    max_steps: int = MAX_STEPS
    """Of one plan; a longer one is refused, and planned again."""
    step_timeout: float = 300.0
    """Seconds for one attempt of a step that says nothing else."""
    review_seconds: float = 7 * 86_400.0
    """A question that nobody answers within this time counts as rejected."""
    grant_seconds: float = 86_400.0
    """An approval that is not used within this time after it was given is asked for again."""

    def __post_init__(self) -> None:
        for limit in fields(self):
            value, kinds = getattr(self, limit.name), (int,) if limit.type is int else (int, float)
            lowest = 0 if limit.name in ("max_replans", "max_seconds", "step_timeout") else 1
            highest = MAX_WHOLE if kinds == (int,) else MAX_SECONDS
            if isinstance(value, bool) or not isinstance(value, kinds) or not lowest <= value <= highest:
                kind = "whole number" if kinds == (int,) else "number"
                raise RunError(f"{limit.name} is {value!r}; give a {kind} from {lowest} to {highest}.")

    @property
    def default_timeout(self) -> timedelta:
        """Return the time limit of one attempt of a step that says nothing else."""
        return timedelta(seconds=self.step_timeout)

    def to_json(self) -> JsonObject:
        """Return the limits as plain JSON."""
        return dict(vars(self))


def limits_from_json(data: JsonObject | None, *, default: Limits = Limits()) -> Limits:
    """Return default with what data says in its place.

    Raises:
        RunError: a limit has another name or no valid value.

    """
    if data is not None and not isinstance(data, Mapping):
        raise RunError(f"The limits are {data!r}; give a mapping of their names.")
    known = vars(default)
    if unknown := set(data or {}) - known.keys():
        raise RunError(f"Unknown limits: {', '.join(sorted(unknown))}. Known: {', '.join(sorted(known))}.")
    return Limits(**{**known, **(data or {})})


SETTING: Final = "agentic_setting"
"""Key of what was chosen for a server's run (`State.setting`), where it is told beside the run's metadata."""
Request: TypeAlias = Literal["pause", "cancel"]
"""What somebody may ask of a run that is under way."""


class Input(TypedDict, total=False):
    """What begins a run."""

    goal: str
    given_plan: JsonValue
    """A plan to run instead of asking the agent for one."""
    given_limits: JsonObject | None
    """Those of this run, where they differ from the graph's."""
    given_run_id: str | None
    """The run's name; a server has one of its own."""


class State(TypedDict):
    """Everything a node may read, and what a checkpoint holds; until a run has begun, most of it is not there yet."""

    goal: str
    given_plan: JsonValue
    given_limits: JsonObject | None
    given_run_id: str | None
    limits: JsonObject
    status: str
    """A `WorkflowState`."""
    left: str
    """The state to go back to: where the run was paused, or where its iterations were used up."""
    run_id: str
    setting: JsonObject
    """What the call that began this run had chosen on a server."""
    run_goal: str
    """The goal that this run was begun with."""
    run_plan: JsonValue
    """The plan that this run was begun with, once it is accepted only its digest."""
    plan: JsonObject | None
    report: JsonObject | None
    """Order and static decisions of the plan, for displays."""
    iteration: int
    replans: int
    tokens: int
    seconds: float
    late: bool
    """Whether the last planner call was shown untrusted output: then the words of what it gave are untrusted, too."""
    plan_number: int
    """Which planner call of the run gave the plan."""
    lineage: list[str]
    """Names of accepted plans, each of which only left steps out of the one before; approvals count for all of them."""
    steps: dict[str, JsonObject]
    """How each step stands; results are in the journal."""
    asks: list[JsonObject]
    """Open questions, as `review` asks them."""
    findings: list[JsonObject]
    refused: list[JsonValue]
    """Digests of plans that were refused, each with the policies that did."""
    history: list[JsonObject]
    reason: str | None


_KINDS: Final[Mapping[str, type | tuple[type, ...]]] = {
    **dict.fromkeys(("status", "left", "run_id"), str),
    **dict.fromkeys(("iteration", "replans", "tokens", "plan_number"), int),
    **dict.fromkeys(("lineage", "asks", "findings", "refused", "history"), list),
    **dict.fromkeys(("steps", "setting"), dict),
    "seconds": (int, float),
}


_ENTRIES: Final[Mapping[str, set[str]]] = {
    "asks": {"id", "name", "step"},
    "history": {"step", "result"},
    "findings": {"problem"},
}
"""Keys that each entry of a list in the state has."""


def refuse_misshapen(values: Mapping[str, Any]) -> None:
    """Refuse values that are no state: somebody else has changed them. As a run begins, keys may be missing.

    Raises:
        ValueError, TypeError, LookupError, RunError: a value has another shape than nodes write.

    """
    for name, kind in _KINDS.items():
        if name in values and not isinstance(values[name], kind):
            raise TypeError(f"{name} is {values[name]!r}")
    if not isfinite(values.get("seconds", 0)):
        raise ValueError(f"seconds are {values['seconds']}")
    WorkflowState(values.get("status", WorkflowState.PLANNING))
    limits_from_json(values.get("limits"))
    for status in {standing["status"] for standing in values.get("steps", {}).values()}:
        OutcomeStatus(status)
    _refuse_entries(values)
    if not all(step.keys() >= {"name", "action"} for step in (values.get("plan") or {"steps": ()})["steps"]):
        raise LookupError("a step of the plan has no name or action")


def _refuse_entries(values: Mapping[str, Any]) -> None:
    for name, keys in _ENTRIES.items():
        if not all(isinstance(entry, dict) and entry.keys() >= keys for entry in values.get(name, ())):
            raise LookupError(f"an entry of {name} lacks one of {', '.join(sorted(keys))}")
    if not all(isinstance(name, str) and plan_number(name) for name in values.get("lineage", ())):
        raise ValueError(f"lineage is {values['lineage']!r}")


def refuse_changed(values: Mapping[str, Any]) -> None:
    """Refuse a state that somebody has made unusable, in Studio or with `update_state`.

    Raises:
        RunError: what is wrong with it.

    """
    try:
        refuse_misshapen(values)
        if values.get("plan") is not None or values.get("status") == WorkflowState.EXECUTING:
            restore(values["plan"] or {})
    except (ValueError, TypeError, LookupError, AttributeError, RunError) as error:
        raise RunError(
            f"The state of this run was changed to something that is none ({type(error).__name__}: {error}). Change it "
            f"back, or go on from an earlier checkpoint of the thread."
        ) from error


def ended_steps(state: Mapping[str, Any]) -> set[str]:
    """Return the names of the steps that have ended as far as the state knows; those that are asked about have not."""
    steps = state.get("steps", {})
    return {name for name, standing in steps.items() if standing["status"] != OutcomeStatus.ASKED}


NO_STATE: Final = cast("State", {})
"""Of a thread that has no run."""
Update: TypeAlias = dict[str, Any]
"""What a node returns: values for some keys of `State`."""
