"""The plan: a typed dataflow program of named steps.

A plan reads as a sequential program. `outputs` name values, `inputs` use them by reference
(`graph/references.py`); what may run at the same time follows from that (`graph/schedule.py`).
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush
from typing import Any, cast

from agentic_workflows.collector import collector_off
from agentic_workflows.errors import ActionError, PlanError, UnresolvedReferenceError
from agentic_workflows.graph.findings import Finding
from agentic_workflows.graph.references import Reference, references_in
from agentic_workflows.graph.values import JsonObject, JsonValue, as_json, copied, digest

VERSION = 1
ITEM = "item"
"""The name of the current element inside a `foreach` step."""
MAX_STEPS = 1_000


@dataclass(frozen=True)
class WorkflowStep:
    """One action call, fed by the outputs of other steps."""

    name: str
    action: str
    inputs: Mapping[str, JsonValue] = field(default_factory=dict)
    outputs: Sequence[str] = ()
    validation: Mapping[str, JsonValue] | None = None
    """A JSON Schema (2020-12) that the result must satisfy."""
    human_review_required: bool = False
    foreach: str | None = None
    """A reference to a list; the step is one call per element, `${item}` inside."""
    when: str | bool | None = None
    """A reference to true or false; where it is false, the step and its dependents are skipped."""
    timeout: timedelta | None = None
    """Wall-clock limit of one attempt, not of all retries."""
    retries: int = 0
    """Further attempts after a failed one; only for read-only and idempotent actions."""
    after: Sequence[str] = ()
    """Names of steps to wait for although no value of theirs is used."""

    def __post_init__(self) -> None:
        for name in ("name", "action"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise PlanError([Finding(field=name, problem=f"is {value!r}.", remedy="Give a text.")], source="A step")
        for name in ("outputs", "after"):
            value = getattr(self, name)
            if value == ():
                continue
            if isinstance(value, str) or not all(isinstance(item, str) for item in value):
                finding = Finding(step=self.name, field=name, problem="is no list of names.", remedy="Write a list.")
                raise PlanError([finding], source="A step")
            object.__setattr__(self, name, tuple(value))
        if self.timeout is not None and not isinstance(self.timeout, timedelta):
            remedy = "Give a timedelta of up to a day."
            finding = Finding(step=self.name, field="timeout", problem=f"is {self.timeout!r}.", remedy=remedy)
            raise PlanError([finding], source="A step")

    def copied(self) -> "WorkflowStep":
        """Return an equal step that shares nothing with this one that can change."""
        step = object.__new__(type(self))  # not `copy`, which costs three times as much, at every call
        vars(step).update(vars(self), inputs=copied(dict(self.inputs)), validation=copied(self.validation))
        return step

    @cached_property
    def references(self) -> Sequence[tuple[str, Reference]]:
        """Return each reference with the field that it stands in.

        Raises:
            UnresolvedReferenceError: one cannot be read.

        """
        return [(name, found) for name, value in self.referring.items() for found in references_in(value)]

    @property
    def referring(self) -> dict[str, JsonValue]:
        """Return the fields that references may stand in, and what stands there."""
        fields: dict[str, JsonValue] = {f"inputs.{name}": value for name, value in self.inputs.items()}
        if self.foreach is not None:
            fields["foreach"] = self.foreach
        if self.when is not None:
            fields["when"] = self.when
        return fields

    def to_json(self) -> JsonObject:
        """Return the step as plain JSON; what has its default is left out."""
        data: JsonObject = {"name": self.name, "action": self.action}
        data |= {"inputs": as_json(self.inputs), "outputs": list(self.outputs)}
        optional: dict[str, object] = {
            "validation": self.validation,
            "human_review_required": self.human_review_required or None,
            "foreach": self.foreach,
            "when": self.when,
            "timeout": None if self.timeout is None else self.timeout.total_seconds(),
            "retries": self.retries or None,
            "after": list(self.after) or None,
        }
        return data | {key: as_json(value) for key, value in optional.items() if value is not None}


@dataclass(frozen=True)
class Plan:
    """A goal and the steps that reach it, in the order in which they read."""

    goal: str
    steps: Sequence[WorkflowStep]
    saw_untrusted: bool = False
    """Whether it was made after untrusted output was seen; then what it says is untrusted, too."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))

    def to_json(self) -> JsonObject:
        """Return the plan as versioned plain JSON; the same object each time, not to be changed."""
        return self._json

    @cached_property
    def _json(self) -> JsonObject:
        data: JsonObject = {"version": VERSION, "goal": self.goal, "steps": [step.to_json() for step in self.steps]}
        return data | {"saw_untrusted": True} if self.saw_untrusted else data

    @cached_property
    def digest(self) -> str:
        """Identify the plan by all that it says."""
        return digest(self.to_json())

    @cached_property
    def producers(self) -> Mapping[str, str]:
        """Map each output to the step that gives it."""
        return {output: step.name for step in self.steps for output in step.outputs}

    @cached_property
    def by_name(self) -> Mapping[str, WorkflowStep]:
        """Map each name to its step."""
        return {step.name: step for step in self.steps}

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Name the steps in topological order, as listed where the data leaves a choice; none in or after a cycle."""
        if (listed := self._listed_in_order()) is not None:
            return listed
        position = {step.name: at for at, step in enumerate(self.steps)}
        sorter = TopologicalSorter(self._dependencies)
        with suppress(CycleError):  # what is neither in a cycle nor after one is sorted all the same
            sorter.prepare()
        free: list[int] = []
        order: list[str] = []
        while sorter.is_active():
            for name in sorter.get_ready():
                heappush(free, position[name])
            order.append(self.steps[heappop(free)].name)
            sorter.done(order[-1])
        return tuple(order)

    def _listed_in_order(self) -> tuple[str, ...] | None:
        """Name the steps as listed, where each comes after all that it waits for, as is usual."""
        before: set[str] = set()
        for step in self.steps:
            if step.name in before or not self._dependencies[step.name] <= before:
                return None
            before.add(step.name)
        return tuple(step.name for step in self.steps)

    def narrows(self, earlier: "Plan") -> bool:
        """Tell whether this plan is an earlier one with nothing changed but steps left out."""
        mine, theirs = self.to_json(), earlier.to_json()
        left = iter(cast("list[JsonObject]", theirs["steps"]))
        is_in_order = all(step in left for step in cast("list[JsonObject]", mine["steps"]))
        return is_in_order and {**mine, "steps": []} == {**theirs, "steps": []}

    def dependencies(self, step: WorkflowStep) -> frozenset[str]:
        """Return the names of the steps that a step waits for, by reference or `after`."""
        return self._dependencies[step.name]

    @cached_property
    def _dependencies(self) -> Mapping[str, frozenset[str]]:
        found: dict[str, frozenset[str]] = {}
        for step in self.steps:
            names = {self.producers[ref.name] for _, ref in step.references if ref.name in self.producers}
            names.update([name for name in step.after if name in self.by_name])
            found[step.name] = frozenset(names)
        return found


@collector_off()
def from_json(data: object, *, goal: str = "", source: str = "The plan", max_steps: int = MAX_STEPS) -> Plan:
    """Return the plan that a mapping describes; steps may be `WorkflowStep`s.

    Args:
        data: a mapping with `steps`, or a `Plan`.
        goal: the goal of a plan that names none.
        source: what the plan is called in an error.
        max_steps: more steps than this are refused.

    Raises:
        PlanError: with every structural finding at once.

    """
    from agentic_workflows.graph.plan_schema import plan_findings  # noqa: PLC0415 - the validator is slow to import

    try:
        found = plain(data)
    except ActionError as error:
        raise PlanError([Finding(problem=str(error), remedy="Use only JSON values.")], source=source) from error
    if findings := plan_findings(found, max_steps=max_steps):
        raise PlanError(findings, source=source)
    if isinstance(data, Plan) and data.goal:
        return data
    plan = _parsed(cast("JsonObject", found))
    return plan if plan.goal else replace(plan, goal=goal)


_restored: deque[tuple[JsonObject, Plan]] = deque(maxlen=16)
"""The plans that were read last, each with the JSON object it was read from: a run's nodes hand on one and the same."""


def restore(data: JsonObject) -> Plan:
    """Return the plan that `Plan.to_json` wrote, without checking it again."""
    for known, plan in tuple(_restored):
        if known is data:
            return plan
    plan = _parsed(data)
    plan.__dict__["_json"] = data  # what it would write again
    _restored.append((data, plan))
    return plan


@collector_off()
def _parsed(data: Mapping[str, JsonValue]) -> Plan:
    steps = cast("list[JsonObject]", data["steps"])
    goal, saw_untrusted = str(data.get("goal") or ""), bool(data.get("saw_untrusted"))
    return Plan(goal=goal, steps=[step_from_json(step) for step in steps], saw_untrusted=saw_untrusted)


def step_from_json(data: Mapping[str, JsonValue]) -> WorkflowStep:
    """Return the step that a mapping describes, one that `plan_findings` passed."""
    fields: dict[str, Any] = {key: value for key, value in data.items() if value is not None}
    if "timeout" in fields:
        fields["timeout"] = timedelta(seconds=float(fields["timeout"]))
    return WorkflowStep(**fields)


def unparsable_references(step: WorkflowStep) -> Iterator[Finding]:
    """Yield a finding for each field whose references cannot be read."""
    with suppress(UnresolvedReferenceError):
        if step.references is not None:  # they can, as is usual, and are remembered
            return
    for name, value in step.referring.items():
        try:
            references_in(value)
        except UnresolvedReferenceError as error:
            yield Finding(step=step.name, field=name, problem=str(error))


def plain(data: object) -> object:
    """Return data with plans and the article's `WorkflowStep` objects turned into mappings."""
    if isinstance(data, Plan):
        return data.to_json()
    if not isinstance(data, Mapping):
        return data
    steps = data.get("steps")
    if isinstance(steps, list | tuple):
        return {**data, "steps": [step.to_json() if isinstance(step, WorkflowStep) else step for step in steps]}
    return data


def plan_name(number: int, plan: Plan) -> str:
    """Return the name of a plan among those of its run."""
    return f"{number}:{plan.digest[:16]}"


def plan_number(name: str) -> int:
    """Return which planner call of the run gave the plan of this name; 0 where it is no plan's."""
    number = name.partition(":")[0]
    return int(number) if number.isdecimal() else 0
