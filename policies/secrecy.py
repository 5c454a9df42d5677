"""What a plan may do with a secret that an action gave: hand it on as it is.

Planners are told how each step ended. So nothing that a plan writes may depend on what a secret holds: no `when` on it,
no path that computes, no `validation` of a result that has one in it. Each would tell a planner a part of it, and many
tell all.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from agentic_workflows.graph.catalogue import Catalogue
from agentic_workflows.graph.findings import Finding
from agentic_workflows.graph.labels import Origin, holds_secret
from agentic_workflows.graph.paths import is_computed
from agentic_workflows.graph.plan import Plan, WorkflowStep
from agentic_workflows.policies.provenance import (
    WHEN,
    Origins,
    Provenance,
    origin_of,
    planned_origins,
    result_origin,
    scope_inside,
)

_DECIDE: Final = "Decide by a field that is no secret, as `[*].user` may be, or leave the step out."
_HAND_ON: Final = "Hand the secret on as it is, or compute with fields that are none, as `[*].user | length(@)` may do."


def secrecy_findings(plan: Plan, catalogue: Catalogue, traced: Mapping[str, Provenance]) -> Iterator[Finding]:
    """Yield where how a step ends would tell of a secret, given the provenance of every step."""
    called = [catalogue.get(step.action) for step in plan.steps]
    if not any(action and action.annotations.secret_fields for action in called):
        return
    scope: dict[str, Origin] = {}
    for step, action in zip(plan.steps, called, strict=True):
        scope |= planned_origins(step, action, traced[step.name])
    for step, action in zip(plan.steps, called, strict=True):
        yield from _references(step, plan, scope)
        if step.validation is not None and action and holds_secret(result_origin(action, traced[step.name]).label):
            problem = "looks into a result that holds a secret, and planners are told what it comes to."
            yield Finding(step=step.name, field="validation", problem=problem, remedy="Leave it out.")


def _references(step: WorkflowStep, plan: Plan, scope: Origins) -> Iterator[Finding]:
    inside = scope_inside(step, plan, scope)
    for field, reference in step.references:
        whole = inside.get(reference.name)
        if whole is None or not holds_secret(whole.label):  # nor does any part of it
            continue
        origin = origin_of(reference, plan, inside)
        if field == WHEN and holds_secret(origin.label):
            problem = f"{reference} holds a secret, and planners are told whether the step ran."
            yield Finding(step=step.name, field=field, problem=problem, remedy=_DECIDE)
        elif _computes_with_secret(origin):
            problem = f"{reference} computes with a secret, and planners are told whether that fails."
            yield Finding(step=step.name, field=field, problem=problem, remedy=_HAND_ON)


def _computes_with_secret(origin: Origin) -> bool:
    computed = frozenset(filter(is_computed, origin.parts | origin.choosing))
    return bool(computed) and holds_secret(replace(origin, parts=computed, choosing=frozenset()).label)
