"""The JSON Schema of a plan that a model may write: one branch for each action of the catalogue.

It keeps to the subset that strict structured output knows everywhere: every property is required, an optional one may
be null, and what cannot be said in that subset (a free-form object) can only be a reference to an earlier output.
"""

from collections.abc import Iterable, Mapping
from typing import cast

from langchain_core.utils.json_schema import dereference_refs

from agentic_workflows.graph.catalogue import ActionSpec, Catalogue
from agentic_workflows.graph.values import JsonObject, JsonValue

MAX_MODEL_STEPS = 12
REFERENCE: JsonObject = {"type": "string", "pattern": r"^\$\{[^{}]+\}$"}

_NAME: JsonObject = {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,40}$"}
_SCALARS = ("string", "number", "integer", "boolean")


def plan_schema(catalogue: Catalogue) -> JsonObject:
    """Return the schema of an answer, named so that it serves as a response format."""
    branches: list[JsonValue] = [branch for action in catalogue.values() for branch in _branches(action)]
    steps: JsonObject = {"type": "array", "minItems": 1, "maxItems": MAX_MODEL_STEPS, "items": {"anyOf": branches}}
    return {
        "title": "plan",
        "description": "A plan: steps that use only known actions.",
        **_closed({"steps": steps}),
    }


def without_nulls(inputs: JsonValue, schema: JsonObject) -> JsonValue:
    """Return inputs without the nulls that stand for an optional argument not given."""
    properties = schema.get("properties")
    if not isinstance(inputs, Mapping) or not isinstance(properties, Mapping):
        return inputs
    required = cast("list[str]", schema.get("required") or [])
    return {
        name: without_nulls(value, cast("JsonObject", properties.get(name) or {}))
        for name, value in inputs.items()
        if value is not None or name in required
    }


def flat(schema: JsonObject) -> JsonObject:
    """Return a schema with every `$ref` replaced by what it refers to."""
    return dereference_refs(schema, skip_keys=[]) if "$defs" in schema else schema


def _branches(action: ActionSpec) -> Iterable[JsonObject]:
    """Yield a step with the action, and where it has arguments one that calls it for each element of a list."""
    step = _step(action)
    yield _closed(step)
    if flat(action.input_schema).get("properties"):
        yield _closed({"name": step["name"], "foreach": REFERENCE, **step})


def _step(action: ActionSpec) -> dict[str, JsonObject]:
    return {
        "name": _NAME,
        "action": {"type": "string", "const": action.name},
        "inputs": _arguments(flat(action.input_schema)),
        "outputs": {"type": "array", "maxItems": 1, "items": _NAME},
    }


def _arguments(schema: JsonObject) -> JsonObject:
    properties = cast("dict[str, JsonObject]", schema.get("properties") or {})
    required = cast("list[str]", schema.get("required") or [])
    return _closed({name: _argument(inner, optional=name not in required) for name, inner in properties.items()})


def _argument(schema: JsonObject, *, optional: bool) -> JsonObject:
    choices = list(_kinds(schema))
    if {"type": "string"} not in choices:
        choices.append(REFERENCE)
    if optional and {"type": "null"} not in choices:
        choices.append({"type": "null"})
    return choices[0] if len(choices) == 1 else {"anyOf": cast("list[JsonValue]", choices)}


def _kinds(schema: JsonObject) -> Iterable[JsonObject]:
    """Yield what a value may be, as far as a strict schema can say it."""
    if "enum" in schema or "const" in schema:
        yield {"enum": schema.get("enum") or [schema.get("const")]}
        return
    for keyword in ("anyOf", "oneOf"):
        for choice in cast("list[JsonObject]", schema.get(keyword) or []):
            yield from _kinds(choice)
        if keyword in schema:
            return
    named = schema.get("type", list(_SCALARS))
    for kind in cast("list[str]", [named] if isinstance(named, str) else named):
        yield from _kind(kind, schema)


def _kind(kind: str, schema: JsonObject) -> Iterable[JsonObject]:
    if kind == "array":
        items = list(_kinds(cast("JsonObject", schema.get("items") or {})))
        if items:
            limits: JsonObject = {name: schema[name] for name in ("minItems", "maxItems") if name in schema}
            yield {"type": "array", "items": {"anyOf": cast("list[JsonValue]", items)}, **limits}
    elif kind == "object":
        if schema.get("properties"):
            yield _arguments(schema)
    else:
        yield {"type": kind}


def _closed(properties: Mapping[str, JsonObject]) -> JsonObject:
    return {
        "type": "object",
        "properties": cast("JsonObject", dict(properties)),
        "required": cast("list[JsonValue]", list(properties)),
        "additionalProperties": False,
    }
