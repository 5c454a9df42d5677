"""The Cedar schema: what a policy may say about an action call, generated from the catalogue.

Every action is a Cedar action that `Agent::"agent"` does to `Run::"run"`, in the groups of its annotations
(`read_only`, `effect`, `destructive`, `open_world`, `undeclared`). The groups can stand wherever an action can, so a
rule about a group loads under every catalogue. The three dangerous names are always there. The context of a call::

    approved: Bool                 a person has approved this very call
    human_review_required: Bool    the plan asks for a review of this step
    count: Long                    calls of this action that the run started before this one
    overwrites: Bool               the call has an argument `overwrite` that is not false, given or by default
    untrusted: Set<String>         arguments that carry untrusted data which no rule vouches for
    untrusted_classes: Set<String> the classes of these arguments: target, value, secret, param, content
    untrusted_control: Set<String> "foreach", "when": what says how often the call is made, or whether, is untrusted
    secret: Set<String>            arguments that carry a secret
    secret_classes: Set<String>    the classes of these
    after_untrusted: Bool          the plan was made after untrusted output was seen
    inputs: { ... }                the arguments, typed by the action's JSON Schema:

    =======================================  ===========================================================
    JSON Schema                              Cedar
    =======================================  ===========================================================
    string                                   String
    integer                                  Long; a number beyond 64 bits is no valid request
    boolean                                  Bool
    array of T                               Set<T>; order and repetition are lost
    object with properties                   Record; what is not `required` must be guarded with `has`
    T or null                                an optional T; null is as if the argument were not there
    a `content` argument                     { size: Long, digest: String }: bytes of its UTF-8 text, and
                                             their SHA-256 (of its canonical JSON where it is no string)
    all else (number, null, other unions,    String: the canonical JSON text (sorted keys, no spaces)
    objects without a closed set of
    properties, schemas that hold themselves)
    inputs that are no such Record as a      { json: String }: all arguments as one canonical JSON text
    whole, and those of undeclared actions
    =======================================  ===========================================================

An argument that the schema does not name is no valid request: no policy could read it. One that is left out is there
with the default that its schema declares, unless that is null or does not fit.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from agentic_workflows.errors import PolicyError
from agentic_workflows.graph.catalogue import DANGEROUS, GROUPS, TRUST, ActionSpec, Catalogue, remembered
from agentic_workflows.graph.values import JsonObject, JsonValue, canonical

PRINCIPAL: Final = {"type": "Agent", "id": "agent"}
RESOURCE: Final = {"type": "Run", "id": "run"}
_NAMES: Final[JsonObject] = {"type": "Set", "element": {"type": "String"}}
CONTEXT: Final[Mapping[str, JsonObject]] = {
    "approved": {"type": "Boolean"},
    "human_review_required": {"type": "Boolean"},
    "count": {"type": "Long"},
    "overwrites": {"type": "Boolean"},
    "untrusted": _NAMES,
    "untrusted_classes": _NAMES,
    "untrusted_control": _NAMES,
    "secret": _NAMES,
    "secret_classes": _NAMES,
    "after_untrusted": {"type": "Boolean"},
}
"""The attributes that every action has beside `inputs`."""
MAX_DEPTH = 16
"""A schema that nests deeper, references included, is JSON text from there on."""
MAX_PARTS = 1_000
"""A schema that unfolds to more parts is JSON text from there on."""

_LONG = range(-(2**63), 2**63)


class Shape(Protocol):
    """How one JSON value looks in Cedar."""

    def cedar_type(self) -> JsonObject:
        """Return the type, as Cedar's JSON schema format writes it."""
        ...

    def cedar_value(self, value: JsonValue, where: str) -> JsonValue:
        """Return the value; a PolicyError where it has another shape."""
        ...


@dataclass(frozen=True)
class Primitive:
    """A string, whole number or truth value as it is."""

    name: str

    def cedar_type(self) -> JsonObject:
        """Return the type's name."""
        return {"type": self.name}

    def cedar_value(self, value: JsonValue, where: str) -> JsonValue:
        """Return the value itself; JSON Schema takes 1.0 for an integer, and so does this."""
        if self.name == "Long" and isinstance(value, float) and value.is_integer():
            value = int(value)
        match self.name, value:
            case ("String", str()) | ("Boolean", bool()):
                return value
            case "Long", int() if not isinstance(value, bool) and value in _LONG:
                return value
        raise _misfit(where, self.name)


@dataclass(frozen=True)
class JsonText:
    """Any JSON value as its canonical text."""

    def cedar_type(self) -> JsonObject:
        """Return String."""
        return {"type": "String"}

    def cedar_value(self, value: JsonValue, where: str) -> JsonValue:  # noqa: ARG002 - any value fits
        """Return the text."""
        return canonical(value)


@dataclass(frozen=True)
class Content:
    """A large value by size and digest."""

    def cedar_type(self) -> JsonObject:
        """Return the record of both."""
        return _record({"size": {"type": "Long"}, "digest": {"type": "String"}})

    def cedar_value(self, value: JsonValue, where: str) -> JsonValue:  # noqa: ARG002 - any value fits
        """Return both."""
        text = value if isinstance(value, str) else canonical(value)
        data = text.encode("utf-8", "surrogatepass")
        return {"size": len(data), "digest": hashlib.sha256(data).hexdigest()}


@dataclass(frozen=True)
class SetOf:
    """A list as the set of its elements."""

    element: Shape

    def cedar_type(self) -> JsonObject:
        """Return the set's type."""
        return {"type": "Set", "element": self.element.cedar_type()}

    def cedar_value(self, value: JsonValue, where: str) -> JsonValue:
        """Return the elements."""
        if not isinstance(value, list | tuple):
            raise _misfit(where, "Set")
        return [self.element.cedar_value(item, f"{where}[{at}]") for at, item in enumerate(value)]


@dataclass(frozen=True)
class Attribute:
    """One named value of a record."""

    shape: Shape
    required: bool
    nullable: bool

    def cedar_type(self) -> JsonObject:
        """Return the attribute's type, and whether it is always there."""
        return self.shape.cedar_type() | {"required": self.required}


@dataclass(frozen=True)
class Record:
    """An object whose names are all known."""

    attributes: Mapping[str, Attribute]

    def cedar_type(self) -> JsonObject:
        """Return the record's type."""
        return _record({name: attribute.cedar_type() for name, attribute in self.attributes.items()})

    def cedar_value(self, value: JsonValue, where: str) -> JsonValue:
        """Return the object without what is null where it may be."""
        if not isinstance(value, Mapping):
            raise _misfit(where, "Record")
        for name in value:
            if name not in self.attributes:
                # The plan names its arguments; what stands inside of one may be named by a stranger.
                what = f"{where}.{name} is" if where == "inputs" else f"{where} has a name that is"
                raise PolicyError(f"{what} not in the action's input schema, so no policy can read it.")
        for name, attribute in self.attributes.items():
            if attribute.required and name not in value:
                raise PolicyError(f"{where}.{name} is missing, and the action's input schema requires it.")
        return {
            name: self.attributes[name].shape.cedar_value(inner, f"{where}.{name}")
            for name, inner in value.items()
            if not (inner is None and self.attributes[name].nullable)
        }


@dataclass(frozen=True)
class Free:
    """Inputs of which nothing is known: a record that holds them as one JSON text."""

    def cedar_type(self) -> JsonObject:
        """Return the record of the text."""
        return _record({"json": {"type": "String"}})

    def cedar_value(self, value: JsonValue, where: str) -> JsonValue:  # noqa: ARG002 - any value fits
        """Return the record."""
        return {"json": canonical(value)}


Inputs: TypeAlias = Record | Free


def cedar_schema(catalogue: Catalogue) -> JsonObject:
    """Return the schema of a catalogue, in Cedar's JSON schema format.

    Raises:
        PolicyError: an action has the name of a group.

    """
    actions: JsonObject = {group: _action(Free() if group == "undeclared" else Record({}), ()) for group in GROUPS}
    for spec in known_actions(catalogue).values():
        actions[spec.name] = _action(inputs_shape(spec), spec.groups)
    return {"": {"entityTypes": {"Agent": {}, "Run": {}}, "actions": actions}}


def known_actions(catalogue: Catalogue) -> Catalogue:
    """Return the catalogue with the dangerous names in it.

    Raises:
        PolicyError: an action has the name of a group.

    """
    if taken := sorted(set(catalogue) & {*GROUPS, TRUST}):
        groups = ", ".join(GROUPS)
        raise PolicyError(f"The action {taken[0]!r} has the name of a policy group. Rename it; groups: {groups}.")
    return {name: ActionSpec(name=name) for name in DANGEROUS} | dict(catalogue)


def inputs_shape(spec: ActionSpec) -> Inputs:
    """Return how the inputs of an action look in Cedar."""
    shape, _ = _Reader(spec.input_schema).read({"type": "object", **spec.input_schema})
    if spec.undeclared or not isinstance(shape, Record):
        return Free()
    classes = spec.annotations.arguments
    return Record(
        {
            name: Attribute(Content(), known.required, known.nullable) if classes.get(name) == "content" else known
            for name, known in shape.attributes.items()
        }
    )


def is_overwriting(spec: ActionSpec, inputs: Mapping[str, JsonValue]) -> bool:
    """Tell whether a call has an argument `overwrite` that is not false, given or by default."""
    return inputs.get("overwrite", _defaults(spec).get("overwrite")) not in (None, False)


def with_defaults(spec: ActionSpec, inputs: Mapping[str, JsonValue]) -> JsonObject:
    """Return inputs with the declared default of every argument that is left out, as far as it fits its type."""
    return {**_fitting_defaults(spec), **inputs}


@remembered
def _fitting_defaults(spec: ActionSpec) -> JsonObject:
    shape = inputs_shape(spec)
    return {name: value for name, value in _defaults(spec).items() if value is not None and _fits(shape, name, value)}


@remembered
def _defaults(spec: ActionSpec) -> JsonObject:
    declared = {name: _mapping(one) for name, one in _mapping(spec.input_schema.get("properties")).items()}
    return {name: one["default"] for name, one in declared.items() if "default" in one}


def _fits(shape: Inputs, name: str, value: JsonValue) -> bool:
    if isinstance(shape, Free):
        return True
    try:
        shape.attributes[name].shape.cedar_value(value, name)
    except PolicyError:
        return False
    return True


class _Reader:
    """Reads the shapes of one JSON Schema; `read` returns a shape, and whether it may be null as well."""

    def __init__(self, root: JsonObject) -> None:
        self._root = root
        self._open: list[str] = []
        self._parts = 0

    def read(self, schema: JsonValue, depth: int = 0) -> tuple[Shape, bool]:
        known = _mapping(schema)
        self._parts += 1
        if depth > MAX_DEPTH or self._parts > MAX_PARTS:
            return JsonText(), False
        if isinstance(reference := known.get("$ref"), str):
            return self._refer(reference, depth)
        for key in ("anyOf", "oneOf", "allOf"):
            if isinstance(branches := known.get(key), list):
                return self._union(branches, depth) if "properties" not in known else (JsonText(), False)
        match known.get("type"):
            case [*names] if len(rest := [name for name in names if name != "null"]) == 1:
                return self._typed(rest[0], known, depth), len(rest) < len(names)
            case str() as name:
                return self._typed(name, known, depth), False
        return JsonText(), False

    def _typed(self, name: JsonValue, schema: Mapping[str, JsonValue], depth: int) -> Shape:
        match name:
            case "string":
                return Primitive("String")
            case "integer":
                return Primitive("Long")
            case "boolean":
                return Primitive("Boolean")
            case "array" if "prefixItems" not in schema:
                element, nullable = self.read(schema.get("items"), depth + 1)
                return SetOf(JsonText() if nullable else element)
            case "object" if _is_closed(schema):
                return self._object(schema, depth)
        return JsonText()

    def _object(self, schema: Mapping[str, JsonValue], depth: int) -> Shape:
        required = schema.get("required")
        needed = required if isinstance(required, list) else []
        attributes = {}
        for name, inner in _mapping(schema.get("properties")).items():
            shape, nullable = self.read(inner, depth + 1)
            attributes[name] = Attribute(shape, name in needed and not nullable, nullable)
        return Record(attributes)

    def _union(self, branches: list[JsonValue], depth: int) -> tuple[Shape, bool]:
        rest = [branch for branch in branches if _mapping(branch).get("type") != "null"]
        if len(rest) != 1:
            return JsonText(), False
        shape, nullable = self.read(rest[0], depth + 1)
        return shape, nullable or len(rest) < len(branches)

    def _refer(self, reference: str, depth: int) -> tuple[Shape, bool]:
        found: JsonValue = self._root
        for part in reference.removeprefix("#").split("/")[1:]:
            found = _mapping(found).get(part.replace("~1", "/").replace("~0", "~"))
        if reference in self._open or found is None or not reference.startswith("#"):
            return JsonText(), False
        self._open.append(reference)
        try:
            return self.read(found, depth + 1)
        finally:
            self._open.pop()


def _is_closed(schema: Mapping[str, JsonValue]) -> bool:
    """Tell whether an object has only the named properties; `__entity` and its like are Cedar's own."""
    if "patternProperties" in schema or schema.get("additionalProperties", False) is not False:
        return False
    names = schema.get("properties", {} if "additionalProperties" in schema else None)
    return isinstance(names, Mapping) and not any(name.startswith("__") for name in names)


def _action(inputs: Inputs, groups: tuple[str, ...]) -> JsonObject:
    return action_type({**CONTEXT, "inputs": inputs.cedar_type()}, groups)


def action_type(context: JsonObject, groups: tuple[str, ...] = ()) -> JsonObject:
    """Return the type of an action with this context, in these groups."""
    return {
        "memberOf": [{"id": group} for group in groups],
        "appliesTo": {"principalTypes": ["Agent"], "resourceTypes": ["Run"], "context": _record(context)},
    }


def _record(attributes: JsonObject) -> JsonObject:
    return {"type": "Record", "attributes": attributes}


def _mapping(value: JsonValue) -> Mapping[str, JsonValue]:
    return value if isinstance(value, Mapping) else {}


def _misfit(where: str, wanted: str) -> PolicyError:
    # The value is not shown: it may be a secret.
    return PolicyError(f"{where} is not the {wanted} that policies know it as.")
