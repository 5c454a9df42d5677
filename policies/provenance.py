"""Provenance: where each argument of a call comes from, known from the plan's dataflow before and during a run.

The goal is trusted, and so is what the plan itself says, unless it was made after untrusted output was seen: then
whatever it writes, puts together or makes of a value is its own word. What an action gives derives from all that
determined the call, and from the field of its output that is used.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Final, NamedTuple, TypeAlias

from agentic_workflows.graph.catalogue import ActionSpec, Catalogue, remembered
from agentic_workflows.graph.labels import (
    GOAL,
    LATE_PLAN,
    NOTHING,
    PLAN,
    UNKNOWN,
    Label,
    Origin,
    Source,
    entrusted,
    is_plain,
    joined,
    reworked,
)
from agentic_workflows.graph.paths import only_selects
from agentic_workflows.graph.plan import ITEM, Plan, WorkflowStep
from agentic_workflows.graph.references import Reference, is_literal, parse
from agentic_workflows.graph.values import JsonObject, JsonValue, some_of
from agentic_workflows.policies.goal import is_said

Origins: TypeAlias = Mapping[str, Origin]
"""Those of the outputs that a reference may name."""

FOREACH: Final = "foreach"
WHEN: Final = "when"
_NOBODY = Origin(None, UNKNOWN)
_MOST_SHOWN = 3
"""Sources of one argument that a sentence names."""
_MOST_TOLD = 20
"""Sources of one argument that a report lists."""


class Flow(NamedTuple):
    """What one value inside an argument derives from."""

    argument: str
    path: tuple[str | int, ...]
    """Where the value stands in the inputs; the argument itself comes first."""
    label: Label
    is_whole: bool = False
    """Whether the value is exactly one reference, with nothing added to it and nothing made of it."""
    is_certain: bool = True
    """Whether the label is as small as the run can make it."""


@dataclass(frozen=True)
class Provenance:
    """Where the arguments of one call come from."""

    flows: tuple[Flow, ...]
    control: tuple[Flow, ...] = ()
    """What `foreach` and `when` derive from: they decide whether the call is made, and how often."""
    needed: Label = NOTHING
    """Sources of the `when` of steps before: where one of those is skipped, this step is skipped, too."""
    after_untrusted: bool = False
    """Whether the plan was made after untrusted output was seen."""
    is_certain: bool = True
    """Whether every label here is as small as the run can make it."""

    @cached_property
    def label(self) -> Label:
        """All that determined the call."""
        return joined(flow.label for flow in (*self.control, *self.flows))

    def content(self, action: ActionSpec) -> Label:
        """All that the call is given as content."""
        return joined(_handed(flow, action) for flow in self.flows if action.class_of(flow.argument) == "content")

    def steering(self, action: ActionSpec) -> Label:
        """All that determined the call, but what is only its content."""
        others = (flow for flow in self.flows if action.class_of(flow.argument) != "content")
        return joined([*(flow.label for flow in self.control), *(_handed(flow, action) for flow in others)])

    @cached_property
    def is_plain(self) -> bool:
        """Tell whether nothing untrusted and no secret is in it, and nothing untrusted decides on it."""
        return all(is_plain(flow.label) for flow in self.flows) and not self.untrusted_control

    @cached_property
    def condition(self) -> Label:
        """All that decides whether the call is made."""
        return joined([self.needed, *(flow.label for flow in self.control if flow.argument == WHEN)])

    @cached_property
    def untrusted_control(self) -> Mapping[str, Label]:
        """What says how often the call is made (`foreach`), and whether (`when`), where that is untrusted."""
        number = joined(flow.label for flow in self.control if flow.argument == FOREACH)
        known = {FOREACH: number, WHEN: self.condition}
        return {name: label for name, label in known.items() if not all(one.is_trusted for one in label)}

    def to_json(self) -> JsonObject:
        """Return the sources of each argument that derives from an output, as plain JSON for displays."""
        shown: dict[str, Label] = {}
        for flow in self.flows:
            shown[flow.argument] = shown.get(flow.argument, NOTHING) | flow.label
        return {argument: told for argument, label in shown.items() if (told := _as_json(label))}

    def sentences(self, arguments: Iterable[str], secrets: Iterable[str]) -> list[str]:
        """Return a sentence for each of these arguments that says which untrusted sources or secrets are in it."""
        found = [f"This `{argument}` comes from {_untrusted(self._label(argument))}." for argument in arguments]
        for argument in secrets:
            names = _names(self._label(argument), lambda one: one.is_secret)
            found.append(f"This `{argument}` holds a secret from {some_of(names, _MOST_SHOWN)}.")
        return found

    def control_sentences(self) -> list[str]:
        """Return a sentence for each of `foreach` and `when` that says which untrusted sources are in it."""
        return [f"Its `{name}` comes from {_untrusted(label)}." for name, label in self.untrusted_control.items()]

    def _label(self, argument: str) -> Label:
        return joined(flow.label for flow in self.flows if flow.argument == argument)


_provenance = lru_cache(maxsize=256)(Provenance)
"""Gives one object for all that are equal: what follows from a provenance is asked for again and again."""


def _handed(flow: Flow, action: ActionSpec) -> Label:
    """Return the label of what an action is given; what it copies from a text may hold what stands around a value."""
    label = reworked(flow.label) if action.annotations.verbatim and not flow.is_whole else flow.label
    return entrusted(label) if action.class_of(flow.argument) == "secret" else label


def _untrusted(label: Label) -> str:
    names = _names(label, lambda one: not one.is_trusted)
    return f"{some_of(names, _MOST_SHOWN)}, which {'is' if len(names) == 1 else 'are'} untrusted"


def _names(label: Label, is_meant: Callable[[Source], bool]) -> list[str]:
    meant = sorted((one for one in label if is_meant(one)), key=lambda one: one.shown)
    return list(dict.fromkeys(f"`{one.shown}`" if one.action else one.shown for one in meant))


def trace(plan: Plan, catalogue: Catalogue) -> dict[str, Provenance]:
    """Return the provenance of every step as far as the plan alone tells; a run can make no label larger.

    The plan must have no cycle, and only references that can be read.
    """
    scope: dict[str, Origin] = {}
    found: dict[str, Provenance] = {}
    for name in plan.order:
        step = plan.by_name[name]
        found[name] = provenance_of(step, plan, scope, found)
        scope |= planned_origins(step, catalogue.get(step.action), found[name])
    return found


def provenance_of(step: WorkflowStep, plan: Plan, scope: Origins, before: Mapping[str, Provenance]) -> Provenance:
    """Return the provenance of a step's calls, given the origins of the outputs that it refers to.

    Args:
        step: of the plan.
        plan: the plan.
        scope: at least the outputs that the step refers to.
        before: the provenance of at least the steps that it waits for.

    """
    named = ((FOREACH, step.foreach), (WHEN, step.when))
    control = tuple([_flow(text, (name,), plan, scope) for name, text in named if isinstance(text, str)])
    conditional = [one for name in plan.dependencies(step) if (one := before[name]).condition]
    scope = scope_inside(step, plan, scope)
    flows = [flow for name, value in step.inputs.items() for flow in _flows(value, (name,), plan, scope)]
    needed = joined([one.condition for one in conditional])
    is_certain = all(flow.is_certain for flow in (*flows, *control)) and all(one.is_certain for one in conditional)
    return _provenance(tuple(flows), control, needed, plan.saw_untrusted, is_certain)


def scope_inside(step: WorkflowStep, plan: Plan, scope: Origins) -> Origins:
    """Return the origin of all that the inputs of a step may name; of a foreach, its item, too."""
    if step.foreach is None:
        return scope
    elements = parse(step.foreach)[0]
    return {**scope, ITEM: origin_of(elements, plan, scope) if isinstance(elements, Reference) else _NOBODY}


def planned_origins(step: WorkflowStep, action: ActionSpec | None, call: Provenance) -> dict[str, Origin]:
    """Return the origins of a step's outputs before it ran."""
    return _origins(step, action, call, {False} if _gives_no_object(action) else {True, False})


def given_origins(
    step: WorkflowStep, action: ActionSpec, call: Provenance, results: Iterable[JsonValue]
) -> dict[str, Origin]:
    """Return the origins of a step's outputs once its results are there: one, or one an item."""
    is_by_name = {isinstance(result, dict) and all(name in result for name in step.outputs) for result in results}
    return _origins(step, action, call, is_by_name or {False})


def _origins(
    step: WorkflowStep, action: ActionSpec | None, call: Provenance, is_by_name: Iterable[bool]
) -> dict[str, Origin]:
    """Return the origins of outputs: several are fields of the result by name, one may be all of it."""
    whole = Origin(None, call.label) if action is None else result_origin(action, call)
    if len(step.outputs) != 1:
        return {name: replace(whole, parts=frozenset({name})) for name in step.outputs}
    (name,) = step.outputs
    if not whole.names_fields:
        return {name: whole}
    return {name: replace(whole, under=frozenset(name if by_name else "" for by_name in is_by_name))}


@remembered
def result_origin(action: ActionSpec, call: Provenance) -> Origin:
    """Return the origin of all that an action gives."""
    return Origin(action, call.steering(action), content=call.content(action), is_call_certain=call.is_certain)


def _gives_no_object(action: ActionSpec | None) -> bool:
    kind = action.output_schema.get("type") if action and action.output_schema else None
    return isinstance(kind, str) and kind != "object"


def _flows(value: JsonValue, path: tuple[str | int, ...], plan: Plan, scope: Origins) -> Iterator[Flow]:
    if isinstance(value, str):
        yield _flow(value, path, plan, scope)
    elif is_literal(value) or not isinstance(value, Mapping | list | tuple):
        yield Flow(str(path[0]), path, LATE_PLAN if plan.saw_untrusted else PLAN)
    else:
        if plan.saw_untrusted and isinstance(value, Mapping):  # its names are text of the plan
            yield Flow(str(path[0]), path, LATE_PLAN)
        inside = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, inner in inside:
            yield from _flows(inner, (*path, key), plan, scope)


def _flow(text: str, path: tuple[str | int, ...], plan: Plan, scope: Origins) -> Flow:
    if "${" not in text:
        return Flow(str(path[0]), path, _literal(text, plan))
    parts = parse(text)
    origins = [origin_of(part, plan, scope) for part in parts if isinstance(part, Reference)]
    labels = [one.label for one in origins] + [_literal(part, plan) for part in parts if isinstance(part, str)]
    if plan.saw_untrusted and len(parts) > 1:  # of words that each are trusted, anything can be put together
        labels.append(LATE_PLAN)
    is_whole = len(parts) == len(origins) == 1 and origins[0].is_whole
    return Flow(str(path[0]), path, joined(labels), is_whole, all(one.is_certain for one in origins))


def origin_of(reference: Reference, plan: Plan, scope: Origins) -> Origin:
    """Return the origin of what a reference leads to."""
    known = scope.get(reference.name)
    if known is None:
        return _NOBODY
    return narrowed(known, reference.path, is_late=plan.saw_untrusted)


def narrowed(origin: Origin, path: str, *, is_late: bool) -> Origin:
    """Return the origin of what a plan's path leads to; text that a late plan's path makes is the plan's own word."""
    return origin.narrowed(path, LATE_PLAN if is_late and not only_selects(path) else NOTHING)


def _literal(text: str, plan: Plan) -> Label:
    if is_said(text, plan.goal):
        return GOAL
    return LATE_PLAN if plan.saw_untrusted else PLAN


def _as_json(label: Label) -> list[JsonValue]:
    """Return the outputs in a label; of very many, the untrusted ones first, and how many more there are."""
    return [{"source": source, "trusted": is_trusted} for source, is_trusted in _outputs(label)]


@lru_cache(maxsize=1024)
def _outputs(label: Label) -> tuple[tuple[str, bool], ...]:
    outputs = sorted({(one.shown, one.is_trusted) for one in label if one.kind == "output"})
    if len(outputs) > _MOST_TOLD:
        outputs.sort(key=lambda one: one[1])
        rest = outputs[_MOST_TOLD:]
        outputs = [*outputs[:_MOST_TOLD], (f"{len(rest):,} more", all(is_trusted for _, is_trusted in rest))]
    return tuple(outputs)
