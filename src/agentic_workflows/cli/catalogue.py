"""`actions` and `schema`: what plans may call, and what a file of a plan or of annotations looks like."""

import json
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer

from agentic_workflows.cli.options import Actions, Annotations, Flags, Json, Workspace
from agentic_workflows.cli.output import COMPLETE

if TYPE_CHECKING:
    from agentic_workflows.graph.catalogue import ActionSpec
    from agentic_workflows.graph.values import JsonObject, JsonValue

_UNSAID: Final = """
An argument without a class is a target. What is untrusted is asked about where it would steer an effect.
An --annotations FILE says what the tools of others do not say of themselves."""


class Kind(StrEnum):
    """A file that people write."""

    PLAN = "plan"
    ANNOTATIONS = "annotations"


def actions(
    ctx: typer.Context,
    *,
    workspace: Workspace = None,
    actions: Actions = None,
    annotations: Annotations = None,
    _json: Json = False,
) -> int:
    """List the actions that plans may call, with what they do to the world."""
    from agentic_workflows.cli.build import build_actions, setup_from  # noqa: PLC0415 - heavy
    from agentic_workflows.cli.tables import actions_table  # noqa: PLC0415

    setup = setup_from(Flags(workspace=workspace, actions=actions, annotations=annotations))
    found = list(build_actions(setup).values())
    ctx.obj.document([_described(one) for one in found])
    if not ctx.obj.is_json:
        ctx.obj.show(actions_table(found))
        ctx.obj.say(_UNSAID)
    return COMPLETE


def schema(
    ctx: typer.Context,
    *,
    kind: Annotated[Kind, typer.Argument(help="Of which file.")] = Kind.PLAN,
    actions: Actions = None,
    _json: Json = False,
) -> int:
    """Print the JSON Schema of a plan file, or of annotations for the actions that there are."""
    found = _plan_schema() if kind is Kind.PLAN else _annotations_schema(actions)
    ctx.obj.document(found)
    if not ctx.obj.is_json:
        ctx.obj.raw(json.dumps(found, indent=2) + "\n")
    return COMPLETE


def _plan_schema() -> "JsonObject":
    from agentic_workflows.graph.plan_schema import PLAN_SCHEMA  # noqa: PLC0415 - heavy

    return PLAN_SCHEMA


def _annotations_schema(actions: list[str] | None) -> "JsonObject":
    from agentic_workflows.actions.overlay import overlay_schema  # noqa: PLC0415 - heavy
    from agentic_workflows.cli.build import build_actions, setup_from  # noqa: PLC0415

    return overlay_schema(build_actions(setup_from(Flags(actions=actions))))


def _resources(spec: "ActionSpec") -> "JsonValue":
    """Return what a call touches: null is everything, and a function of the inputs is only said to be one."""
    templates = getattr(spec.resources, "templates", None)
    return list(templates) if templates is not None else "a function of the inputs" if spec.resources else None


def _described(spec: "ActionSpec") -> "JsonObject":
    return {
        "name": spec.name,
        "description": spec.description,
        "groups": list(spec.groups),
        "annotations": asdict(spec.annotations),
        "resources": _resources(spec),
        "input_schema": spec.input_schema,
        "output_schema": spec.output_schema,
    }
