"""The JSON Schema of a plan that a model may write: one branch for each action of the catalogue.

It keeps to the subset that strict structured output knows everywhere: every property is required, an optional one may
be null, and what cannot be said in that subset (a free-form object) can only be a reference to an earlier output.
"""

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import TypeAlias, cast

from agentic_workflows.graph.catalogue import ActionSpec, Catalogue
from agentic_workflows.graph.json_schema import part_at
from agentic_workflows.graph.values import JsonObject, JsonValue

Schema: TypeAlias = "JsonObject | bool"
"""`true` allows anything, `false` nothing."""

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


def without_nulls(inputs: JsonValue, schema: Schema) -> JsonValue:
    """Return inputs without the nulls that stand for an optional argument not given."""
    if not isinstance(inputs, Mapping) or isinstance(schema, bool):
        return inputs
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return inputs
    required = cast("list[str]", schema.get("required") or [])
    return {
        name: without_nulls(value, cast("Schema", properties.get(name, True)))
        for name, value in inputs.items()
        if value is not None or name in required
    }


def flat(schema: JsonObject) -> JsonObject:
    """Return a schema with every `$ref` and `allOf` written out; where it holds itself, nothing is allowed."""
    root = {key: value for key, value in schema.items() if key not in ("$defs", "definitions")}
    return cast("JsonObject", _written_out(root, schema, frozenset()))


def _written_out(node: JsonValue, whole: JsonObject, inside: frozenset[str]) -> JsonValue:
    if isinstance(node, list):
        return [_written_out(one, whole, inside) for one in node]
    if not isinstance(node, dict):
        return node
    rest, parts = dict(node), list[JsonValue]()
    # Arguments may have these names, and then they are schemas.
    if isinstance(reference := rest.get("$ref"), str):
        if reference in inside:
            return False
        del rest["$ref"]
        parts.append(_written_out(part_at(reference.removeprefix("#"), whole), whole, inside | {reference}))
    if isinstance(every := rest.get("allOf"), list):
        del rest["allOf"]
        parts += [_written_out(one, whole, inside) for one in every]
    written = {key: _written_out(value, whole, inside) for key, value in rest.items()}
    return reduce(_both, [*(part for part in parts if isinstance(part, dict)), written])


def _both(one: JsonObject, other: JsonObject) -> JsonObject:
    """Return a schema of what two schemas allow, as far as that can be told; the second one has the last word."""
    both = one | other
    for key in ("properties", "required"):
        first, second = one.get(key), other.get(key)
        if isinstance(first, dict) and isinstance(second, dict):
            both[key] = first | second
        elif isinstance(first, list) and isinstance(second, list):
            both[key] = [*first, *(name for name in second if name not in first)]
    return both


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
    properties = cast("dict[str, Schema]", schema.get("properties") or {})
    required = cast("list[str]", schema.get("required") or [])
    return _closed({name: _argument(inner, optional=name not in required) for name, inner in properties.items()})


def _argument(schema: Schema, *, optional: bool) -> JsonObject:
    choices = list(_kinds(schema))
    if {"type": "string"} not in choices:
        choices.append(REFERENCE)
    if optional and {"type": "null"} not in choices:
        choices.append({"type": "null"})
    return choices[0] if len(choices) == 1 else {"anyOf": cast("list[JsonValue]", choices)}


def _kinds(schema: Schema) -> Iterable[JsonObject]:
    """Yield what a value may be, as far as a strict schema can say it."""
    if isinstance(schema, bool):  # anything, or nothing
        yield from _kinds({}) if schema else ()
        return
    if "enum" in schema or "const" in schema:
        yield {"enum": schema.get("enum") or [schema.get("const")]}
        return
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            rest = {key: value for key, value in schema.items() if key != keyword}
            for choice in cast("list[Schema]", schema[keyword]):
                yield from _kinds(choice if isinstance(choice, bool) else _both(rest, choice))
            return
    meant = [kind for key, kind in (("properties", "object"), ("items", "array")) if key in schema]
    named = schema.get("type") or meant or _SCALARS
    for kind in cast("list[str]", [named] if isinstance(named, str) else named):
        yield from _kind(kind, schema)


def _kind(kind: str, schema: JsonObject) -> Iterable[JsonObject]:
    if kind == "array":
        given = cast("Schema | list[Schema]", schema.get("items", True))  # a list of them, in old schemas
        items = [kind for one in (given if isinstance(given, list) else [given]) for kind in _kinds(one)]
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
