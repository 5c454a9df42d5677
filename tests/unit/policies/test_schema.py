import hashlib
import json
from enum import StrEnum
from typing import Any, Literal, cast

import cedarpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from agentic_workflows.errors import PolicyError
from agentic_workflows.graph.catalogue import DANGEROUS, GROUPS, ActionSpec, Annotations
from agentic_workflows.graph.values import JsonObject, JsonValue, canonical
from agentic_workflows.policies.schema import (
    MAX_DEPTH,
    PRINCIPAL,
    RESOURCE,
    Free,
    cedar_schema,
    inputs_shape,
    is_overwriting,
    with_defaults,
)


def spec_of(properties: JsonObject, required: list[str] | None = None, **notes: object) -> ActionSpec:
    schema: JsonObject = {"type": "object", "properties": properties, "required": list(required or [])}
    return ActionSpec(name="act", input_schema=schema, annotations=Annotations(**notes))  # type: ignore[arg-type]


def cedar_inputs(spec: ActionSpec, inputs: JsonObject) -> JsonObject:
    """Resolved inputs as policies read them."""
    return cast("JsonObject", inputs_shape(spec).cedar_value(inputs, "inputs"))


def attributes_of(spec: ActionSpec) -> dict[str, Any]:
    """The Cedar types of an action's arguments."""
    attributes: dict[str, Any] = cast("Any", inputs_shape(spec).cedar_type())["attributes"]
    return attributes


def argument_type(schema: JsonValue, root: JsonObject | None = None) -> JsonObject:
    """The Cedar type of an optional argument with this schema."""
    spec = ActionSpec(name="act", input_schema={"type": "object", "properties": {"x": schema}, **(root or {})})
    attribute: JsonObject = attributes_of(spec)["x"]
    assert attribute.pop("required") is False
    return attribute


def actions_of(*specs: ActionSpec) -> dict[str, Any]:
    """The actions of a generated schema."""
    actions: dict[str, Any] = cast("Any", cedar_schema({spec.name: spec for spec in specs}))[""]["actions"]
    return actions


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    city: str
    zip: str | None = None


class Tree(BaseModel):
    children: list["Tree"] = []


class Arguments(BaseModel):
    to: str
    count: int = 1
    colour: Colour = Colour.RED
    mode: Literal["a", "b"] = "a"
    home: Address
    others: list[Address] = []
    labels: dict[str, str] = {}
    tree: Tree | None = None
    share: float = 0.5
    nick: str | None = None


STRING = {"type": "String"}


def test_arguments_of_a_pydantic_model_are_typed() -> None:
    spec = ActionSpec(name="send", input_schema=Arguments.model_json_schema())
    address = {
        "type": "Record",
        "attributes": {"city": STRING | {"required": True}, "zip": STRING | {"required": False}},
    }
    tree = {"type": "Set", "element": STRING}
    assert inputs_shape(spec).cedar_type() == {
        "type": "Record",
        "attributes": {
            "to": STRING | {"required": True},
            "count": {"type": "Long", "required": False},
            "colour": STRING | {"required": False},
            "mode": STRING | {"required": False},
            "home": address | {"required": True},
            "others": {"type": "Set", "element": address, "required": False},
            "labels": STRING | {"required": False},
            "tree": {"type": "Record", "attributes": {"children": tree | {"required": False}}, "required": False},
            "share": STRING | {"required": False},
            "nick": STRING | {"required": False},
        },
    }


def test_inputs_are_mapped_to_their_types() -> None:
    spec = ActionSpec(name="send", input_schema=Arguments.model_json_schema())
    inputs: JsonObject = {
        "to": "a@b",
        "count": 2.0,
        "home": {"city": "Rome", "zip": None},
        "others": [],
        "labels": {"b": "2", "a": "1"},
        "tree": {"children": [{"children": []}]},
        "share": 0.25,
        "nick": None,
    }
    assert cedar_inputs(spec, inputs) == {
        "to": "a@b",
        "count": 2,
        "home": {"city": "Rome"},
        "others": [],
        "labels": '{"a":"1","b":"2"}',
        "tree": {"children": ['{"children":[]}']},
        "share": "0.25",
    }


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        {"type": "number"},
        {"type": "null"},
        {"type": ["string", "integer"]},
        {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        {"type": "object"},
        {"type": "object", "properties": {"a": {}}, "additionalProperties": True},
        {"type": "object", "properties": {"a": {}}, "patternProperties": {"x": {}}},
        {"type": "object", "properties": {"__entity": {}}},
        {"type": "array", "prefixItems": [{"type": "string"}]},
        {"$ref": "#/$defs/nowhere"},
        {"$ref": "https://example.org/schema"},
        {"properties": {}, "anyOf": [{"type": "object"}]},
    ],
)
def test_what_cedar_lacks_is_json_text(schema: JsonValue) -> None:
    assert argument_type(schema) == STRING


@pytest.mark.parametrize(
    "schema",
    [
        {"type": ["string", "null"]},
        {"anyOf": [{"type": "null"}, {"type": "string"}]},
        {"allOf": [{"$ref": "#/$defs/a~1b"}]},
        {"$ref": "#/$defs/a~1b"},
    ],
)
def test_one_type_or_null_is_that_type(schema: JsonObject) -> None:
    assert argument_type(schema, {"$defs": {"a/b": {"type": "string"}}}) == STRING


def test_a_list_whose_elements_may_be_null_holds_json_text() -> None:
    spec = spec_of({"x": {"type": "array", "items": {"type": ["integer", "null"]}}})
    assert cedar_inputs(spec, {"x": [1, None]}) == {"x": ["1", "null"]}


def test_a_required_argument_that_may_be_null_is_optional() -> None:
    spec = spec_of({"x": {"type": ["string", "null"]}}, ["x"])
    assert inputs_shape(spec).cedar_type() == {"type": "Record", "attributes": {"x": STRING | {"required": False}}}
    assert cedar_inputs(spec, {"x": None}) == {}


def test_content_is_size_and_digest() -> None:
    spec = spec_of(
        {"text": {"type": "string"}, "rows": {"type": "array"}}, arguments={"text": "content", "rows": "content"}
    )
    assert cedar_inputs(spec, {"text": "é", "rows": [1]}) == {
        "text": {"size": 2, "digest": hashlib.sha256("é".encode()).hexdigest()},
        "rows": {"size": 3, "digest": hashlib.sha256(b"[1]").hexdigest()},
    }
    record = {"type": "Record", "attributes": {"size": {"type": "Long"}, "digest": STRING}}
    assert attributes_of(spec)["text"] == record | {"required": False}


@pytest.mark.parametrize(
    "spec",
    [
        ActionSpec(name="act"),
        ActionSpec(
            name="act", undeclared=True, input_schema={"type": "object", "properties": {"x": {"type": "string"}}}
        ),
        ActionSpec(name="act", input_schema={"type": "object", "additionalProperties": {"type": "string"}}),
    ],
)
def test_inputs_of_which_nothing_is_known_are_one_json_text(spec: ActionSpec) -> None:
    assert inputs_shape(spec) == Free()
    assert cedar_inputs(spec, {"x": 1, "a": None}) == {"json": '{"a":null,"x":1}'}


def test_an_action_without_arguments_has_an_empty_record() -> None:
    schemas: list[JsonObject] = [{"properties": {}}, {"type": "object", "additionalProperties": False}]
    for schema in schemas:
        assert cedar_inputs(ActionSpec(name="act", input_schema=schema), {}) == {}


@pytest.mark.parametrize(
    "inputs, message",
    [
        ({}, "inputs.n is missing"),
        ({"n": 1, "extra": 1}, "inputs.extra is not in the action's input schema"),
        ({"n": True}, "inputs.n is not the Long that policies know it as"),
        ({"n": 2**63}, "is not the Long that policies know it as"),
        ({"n": 1.5}, "is not the Long that policies know it as"),
        ({"n": None}, "is not the Long that policies know it as"),
        ({"n": 1, "b": 1}, "is not the Boolean that policies know it as"),
        ({"n": 1, "s": 1}, "is not the String that policies know it as"),
        ({"n": 1, "l": "x"}, "is not the Set that policies know it as"),
        ({"n": 1, "l": [1]}, "inputs.l[0] is not the String"),
        ({"n": 1, "r": []}, "is not the Record that policies know it as"),
        ({"n": 1, "r": {}}, "inputs.r.a is missing"),
        ({"n": 1, "r": {"a": "", "Evil.": 1}}, "inputs.r has a name that is not in the action's input schema"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs: JsonObject, message: str) -> None:
    properties: JsonObject = {
        "n": {"type": "integer"},
        "b": {"type": "boolean"},
        "s": {"type": "string"},
        "l": {"type": "array", "items": {"type": "string"}},
        "r": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
    }
    with pytest.raises(PolicyError) as caught:
        cedar_inputs(spec_of(properties, ["n"]), inputs)
    assert message in str(caught.value)
    assert "Evil." not in str(caught.value)


NAMES: JsonObject = {"type": "Set", "element": {"type": "String"}}


def test_schema_has_groups_dangerous_names_and_actions() -> None:
    spec = ActionSpec(
        name="look", input_schema={"properties": {}}, annotations=Annotations(read_only=True, open_world=False)
    )
    actions = actions_of(spec)
    assert set(actions) == {*GROUPS, *DANGEROUS, "look"}
    assert actions["look"]["memberOf"] == [{"id": "read_only"}]
    for name in DANGEROUS:
        assert actions[name]["memberOf"] == [{"id": "effect"}, {"id": "destructive"}, {"id": "open_world"}]
    assert actions["look"]["appliesTo"] == {
        "principalTypes": ["Agent"],
        "resourceTypes": ["Run"],
        "context": {
            "type": "Record",
            "attributes": {
                "approved": {"type": "Boolean"},
                "human_review_required": {"type": "Boolean"},
                "count": {"type": "Long"},
                "overwrites": {"type": "Boolean"},
                **dict.fromkeys(("untrusted", "untrusted_classes", "untrusted_control"), NAMES),
                **dict.fromkeys(("secret", "secret_classes"), NAMES),
                "after_untrusted": {"type": "Boolean"},
                "inputs": {"type": "Record", "attributes": {}},
            },
        },
    }


def test_a_declared_dangerous_name_keeps_its_declaration() -> None:
    actions = actions_of(ActionSpec(name="delete_all", annotations=Annotations(open_world=False)))
    assert actions["delete_all"]["memberOf"] == [{"id": "effect"}, {"id": "destructive"}]


@pytest.mark.parametrize("name", GROUPS)
def test_an_action_may_not_have_the_name_of_a_group(name: str) -> None:
    with pytest.raises(PolicyError, match=f"'{name}' has the name of a policy group"):
        cedar_schema({name: ActionSpec(name=name)})


@pytest.mark.parametrize(
    "inputs, default, expected",
    [
        ({}, None, False),
        ({"overwrite": False}, None, False),
        ({"overwrite": None}, None, False),
        ({"overwrite": True}, None, True),
        ({"overwrite": "yes"}, None, True),
        ({}, True, True),
        ({"overwrite": False}, True, False),
        ({}, 1, True),
    ],
)
def test_overwriting_is_an_argument_that_is_not_false(
    inputs: JsonObject, *, default: JsonValue, expected: bool
) -> None:
    declared: JsonObject = {"type": "boolean"} if default is None else {"type": "boolean", "default": default}
    assert is_overwriting(spec_of({"overwrite": declared}), inputs) is expected


def test_an_argument_that_is_left_out_has_its_default_where_that_fits() -> None:
    properties: JsonObject = {
        "to": {"type": "string"},
        "amount": {"type": "integer", "default": 5000},
        "share": {"type": "number", "default": 0.5},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        "days": {"type": "integer", "default": "many"},
        "odd": True,
    }
    spec = spec_of(properties)
    assert with_defaults(spec, {"to": "bob"}) == {"to": "bob", "amount": 5000, "share": 0.5}
    assert with_defaults(spec, {"amount": None, "share": 1}) == {"amount": None, "share": 1}
    free = ActionSpec(name="act", input_schema={"properties": properties, "additionalProperties": True})
    assert with_defaults(free, {"to": "bob"}) == {"to": "bob", "amount": 5000, "share": 0.5, "days": "many"}


def test_a_deep_schema_ends_in_json_text() -> None:
    schema: JsonObject = {"type": "string"}
    for _ in range(MAX_DEPTH * 4):
        schema = {"type": "array", "items": schema}
    assert canonical(argument_type(schema)).count("Set") == MAX_DEPTH


def test_a_schema_that_unfolds_without_end_is_cut() -> None:
    branching: JsonObject = {
        f"n{at}": {"type": "object", "properties": {f"p{i}": {"$ref": f"#/$defs/n{at + 1}"} for i in range(10)}}
        for at in range(12)
    }
    assert len(canonical(argument_type({"$ref": "#/$defs/n0"}, {"$defs": branching}))) < 1_000_000


TEXTS = st.text(st.characters(codec="utf-8"), max_size=5)
LEAVES: st.SearchStrategy[tuple[JsonObject, JsonValue]] = st.one_of(
    TEXTS.map(lambda text: ({"type": "string"}, text)),
    st.integers(-(2**63), 2**63 - 1).map(lambda number: ({"type": "integer"}, number)),
    st.booleans().map(lambda truth: ({"type": "boolean"}, truth)),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda number: ({"type": "number"}, number)),
    TEXTS.map(lambda text: ({"type": ["string", "null"]}, text)),
    st.just(({"type": ["string", "null"]}, None)),
    st.dictionaries(TEXTS, st.integers(), max_size=2).map(lambda free: ({"type": "object"}, free)),
)


def objects(inner: st.SearchStrategy[tuple[JsonObject, JsonValue]]) -> st.SearchStrategy[tuple[JsonObject, JsonValue]]:
    def build(parts: dict[str, tuple[JsonObject, JsonValue]], needed: bool) -> tuple[JsonObject, JsonValue]:  # noqa: FBT001
        schema: JsonObject = {"type": "object", "properties": {name: part for name, (part, _) in parts.items()}}
        schema["required"] = list(parts) if needed else []
        return schema, {name: value for name, (_, value) in parts.items()}

    return st.builds(build, st.dictionaries(TEXTS, inner, max_size=4), st.booleans())


def lists(inner: st.SearchStrategy[tuple[JsonObject, JsonValue]]) -> st.SearchStrategy[tuple[JsonObject, JsonValue]]:
    return inner.map(lambda part: ({"type": "array", "items": part[0]}, [part[1]]))


@given(objects(st.recursive(LEAVES, lambda inner: objects(inner) | lists(inner), max_leaves=6)), TEXTS)
def test_every_call_that_fits_its_json_schema_fits_the_cedar_schema(
    call: tuple[JsonObject, JsonValue], name: str
) -> None:
    schema, inputs = call
    assert isinstance(inputs, dict)
    spec = ActionSpec(name=f"x{name}", input_schema=schema)
    words = cedarpy.Schema.from_json_str(json.dumps(cedar_schema({spec.name: spec})))
    context: JsonObject = {
        "approved": False,
        "human_review_required": False,
        "count": 0,
        "overwrites": False,
        "untrusted": [],
        "untrusted_classes": [],
        "untrusted_control": [],
        "secret": [],
        "secret_classes": [],
        "after_untrusted": False,
        "inputs": cedar_inputs(spec, inputs),
    }
    request = {"principal": PRINCIPAL, "resource": RESOURCE, "action": {"type": "Action", "id": spec.name}}
    entities = cedarpy.Entities.from_json_str("[]", words)
    request_with_context = request | {"context": canonical(context)}
    answer = cedarpy.is_authorized(request_with_context, "permit(principal, action, resource);", entities, words)
    assert (answer.decision, answer.diagnostics.errors) == (cedarpy.Decision.Allow, [])
