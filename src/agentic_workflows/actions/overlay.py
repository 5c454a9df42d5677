"""Annotations from an operator's file, for tools that one does not own: each says what it wants to change, no more.

::

    send_email: {destructive: false, arguments: {to: target, body: content}, resources: ["mail/{to}"]}
    search_inbox: {read_only: true, trusted_fields: [messages.id]}

A field that is named takes the place of the declared one; `arguments` are joined by name. It is the operator's word: it
may loosen what a server's hint made stricter, and tighten anything. Output fields are named as the action gives them:
many MCP servers wrap a list, so that the id of its elements is `result.id`.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeAlias, cast, get_args

from agentic_workflows.actions.action import Action, Registry
from agentic_workflows.errors import ActionError
from agentic_workflows.graph.catalogue import Annotations, ArgumentClass, Catalogue
from agentic_workflows.graph.findings import Finding, did_you_mean
from agentic_workflows.graph.json_schema import compiled
from agentic_workflows.graph.values import JsonObject, JsonValue, as_json, canonical

MAX_BYTES: Final = 1_000_000

_INPUT: Final = re.compile(r"\{([^{}]+)\}")
_FLAG: Final[JsonObject] = {"type": "boolean", "description": "Write true or false."}
_FIELDS: Final[JsonObject] = {
    "type": "array",
    # A name with an index would match nothing, and so hide a secret.
    "items": {"type": "string", "pattern": r"^[^.\[\]]+(\.[^.\[\]]+)*$"},
    "description": "Write a list of dotted names without indexes, `*` for any one name, such as [messages.id].",
}
_ARGUMENTS: Final[JsonObject] = {
    "type": "object",
    "additionalProperties": {"enum": [*get_args(ArgumentClass)]},
    "description": "Write the class of each argument, such as {to: target, body: content}.",
}
_RESOURCES: Final[JsonObject] = {
    "type": ["array", "null"],
    "items": {"type": "string"},
    "description": "Write a list of all that a call touches, with its own arguments in braces, such as "
    '["mail/{to}", calendar]; null is everything.',
}
_MAPPING: Final = "Write a mapping, such as `send_email: {destructive: false}`."
_SHAPES: Final = {bool: _FLAG, tuple[str, ...]: _FIELDS, Mapping[str, ArgumentClass]: _ARGUMENTS}
_PROPERTIES: Final[JsonObject] = {
    **{one.name: _SHAPES[cast("type", one.type)] for one in fields(Annotations)},
    "resources": _RESOURCES,
}

Files: TypeAlias = str | Path | Sequence[str | Path]
"""One or several."""


def annotated(actions: Registry, files: Files) -> Registry:
    """Return the actions under the annotations of files, one laid over the other in their order.

    Raises:
        ActionError: a file cannot be read, or does not fit the actions; with everything that is wrong.

    """
    faults: list[str] = []
    for file in [files] if isinstance(files, str | Path) else files:
        source = f"The annotations in {file}"
        try:
            actions = overlaid(actions, _read(Path(file), source), source=source)
        except ActionError as error:
            faults.append(str(error))
    if faults:
        raise ActionError("\n".join(faults))
    return actions


def _read(file: Path, source: str) -> JsonValue:
    from agentic_workflows.graph.document import UnreadableError, read_document  # noqa: PLC0415 - YAML is slow to import

    try:
        return as_json(read_document(file, max_bytes=MAX_BYTES), where=source)
    except UnreadableError as error:
        raise ActionError(_complaint(source, error.findings)) from error


def overlaid(actions: Registry, notes: JsonValue, *, source: str = "The annotations") -> Registry:
    """Return the actions under annotations by action name; what is not named stays as it is declared.

    Raises:
        ActionError: they do not fit the actions; with everything that is wrong.

    """
    validator = compiled(canonical(overlay_schema(actions)))
    if findings := [_finding(error) for error in validator.iter_errors(notes)]:
        raise ActionError(_complaint(source, findings))
    changed = {name: _over(actions[name], said) for name, said in cast("Mapping[str, Any]", notes).items()}
    return MappingProxyType({**actions, **changed}) if changed else actions


def overlay_schema(actions: Catalogue) -> JsonObject:
    """Return the JSON Schema of annotations for these actions."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Annotations",
        "description": "What actions do to the world, in the operator's words; laid over what they declare.",
        "type": "object",
        "propertyNames": {"enum": [*sorted(actions)]},
        "properties": {name: _notes_schema(actions[name].input_names) for name in sorted(actions)},
        "$defs": {
            "annotations": {
                "type": "object",
                "propertyNames": {"enum": [*_PROPERTIES]},
                "properties": _PROPERTIES,
            }
        },
    }


def _notes_schema(inputs: Collection[str]) -> JsonObject:
    """Return the schema of one action's annotations, in which arguments and resources name only these inputs."""
    names = "|".join(map(re.escape, inputs)) or "(?!)"
    return {
        "$ref": "#/$defs/annotations",
        "properties": {
            "arguments": {"propertyNames": {"enum": [*inputs]}},
            "resources": {"items": {"pattern": rf"^([^{{}}]|\{{({names})\}})+$"}},
        },
    }


@dataclass(frozen=True)
class Touched:
    """The resources of a call, from templates over the names of its inputs; they are compared as texts."""

    templates: tuple[str, ...]

    def __call__(self, inputs: Mapping[str, JsonValue]) -> Collection[str]:
        """Return their names.

        Raises:
            ActionError: an input is missing or could go by another name, and so the call may touch everything.

        """
        return {_INPUT.sub(lambda found: _part(inputs.get(found[1]), found[1]), one) for one in self.templates}


def _part(value: JsonValue, name: str) -> str:
    if not isinstance(value, str | int) or {"", ".", ".."} & set(str(value).split("/")):
        raise ActionError(f"The input {name!r} names no one resource.")
    return str(value)


def _over(action: Action, said: Mapping[str, Any]) -> Action:
    notes: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in said.items()}
    resources = notes.pop("resources", action.resources)
    arguments = {**action.annotations.arguments, **notes.pop("arguments", {})}
    changed = copy(action)  # not `replace`: a subclass may have a constructor of its own
    object.__setattr__(changed, "annotations", replace(action.annotations, **notes, arguments=arguments))
    object.__setattr__(changed, "resources", Touched(resources) if isinstance(resources, tuple) else resources)
    return changed


def _finding(error: Any) -> Finding:
    path, inner = [str(one) for one in error.instance_path], error
    about = _PROPERTIES.get(path[1]) if len(path) > 1 else None
    remedy = str(about["description"]) if isinstance(about, dict) else _MAPPING
    problem = f"{error.message[:300]}."
    if error.kind.name == "propertyNames":
        what, inner = ("action", "annotation", "argument")[len(path)], error.kind.error
        path, problem = [*path, inner.instance], f"There is no such {what}."
    elif error.kind.name in {"enum", "pattern"}:
        problem = f"{error.instance!r} cannot stand here."
    if inner.kind.name == "enum":
        remedy = did_you_mean(str(inner.instance), inner.kind.options, title="There are")
    return Finding(field=".".join(path) or None, problem=problem, remedy=remedy)


def _complaint(source: str, findings: Sequence[Finding]) -> str:
    return "\n".join([f"{source} cannot be used:", *(f"  - {finding}" for finding in findings)])
