"""`actions` and `schema`: what plans may call, and what a plan file looks like."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from agentic_workflows.cli.options import Actions, Json, Workspace, flags
from agentic_workflows.cli.output import COMPLETE

if TYPE_CHECKING:
    from agentic_workflows.graph.catalogue import ActionSpec
    from agentic_workflows.graph.values import JsonObject


def actions(ctx: typer.Context, *, workspace: Workspace = None, actions: Actions = None, _json: Json = False) -> int:
    """List the actions that plans may call, with what they do to the world."""
    from agentic_workflows.cli.build import build_actions, model_factory, setup_from  # noqa: PLC0415 - heavy
    from agentic_workflows.cli.tables import actions_table  # noqa: PLC0415

    setup = setup_from(flags(workspace=workspace, policies=None, model=None, actions=actions))
    found = list(build_actions(setup, model_factory(None)).values())
    ctx.obj.document([_described(one) for one in found])
    if not ctx.obj.is_json:
        ctx.obj.show(actions_table(found))
    return COMPLETE


def schema(ctx: typer.Context, *, _json: Json = False) -> int:
    """Print the JSON Schema of a plan file."""
    from agentic_workflows.graph.plan_schema import PLAN_SCHEMA  # noqa: PLC0415 - heavy

    ctx.obj.document(PLAN_SCHEMA)
    if not ctx.obj.is_json:
        ctx.obj.raw(json.dumps(PLAN_SCHEMA, indent=2) + "\n")
    return COMPLETE


def _described(spec: "ActionSpec") -> "JsonObject":
    return {
        "name": spec.name,
        "description": spec.description,
        "groups": list(spec.groups),
        "annotations": asdict(spec.annotations),
        "input_schema": spec.input_schema,
        "output_schema": spec.output_schema,
    }
