"""Values into texts: what a small planner forgets, and the declared types say.

A reference that is the whole of an input keeps its value's type. Where the input must be text and the output is
declared to be something else, the reference is rewritten so that it gives text: a list line by line, anything else as
JSON. The plan shows it; nothing is converted behind anybody's back at run time.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from agentic_workflows.agents.planning_schema import flat
from agentic_workflows.graph.catalogue import ActionSpec, Catalogue
from agentic_workflows.graph.references import NAME
from agentic_workflows.graph.values import JsonObject, JsonValue

LINES = '${%s[*].to_string(@) | join(`"\\n"`, @)}'
TEXT = "${%s | to_string(@)}"


def with_texts(steps: Sequence[Any], catalogue: Catalogue) -> list[Any]:
    """Return steps whose text inputs refer to texts, as far as outputs declare what they are."""
    forms = {f"${{{output}}}": form % output for output, form in _forms(steps, catalogue)}
    return [_rewritten(step, forms, catalogue) for step in steps]


def _forms(steps: Sequence[Any], catalogue: Catalogue) -> list[tuple[str, str]]:
    """Return how each output that is no text becomes one."""
    found = []
    for step in steps:
        outputs = step.get("outputs") if isinstance(step, Mapping) else None
        action = _action(step, catalogue)
        if action is None or not isinstance(outputs, list) or len(outputs) != 1 or not NAME.fullmatch(str(outputs[0])):
            continue
        kinds = {"array"} if step.get("foreach") else _kinds(action.output_schema)
        if kinds and "string" not in kinds:
            found.append((str(outputs[0]), LINES if kinds == {"array"} else TEXT))
    return found


def _rewritten(step: Any, forms: Mapping[str, str], catalogue: Catalogue) -> Any:
    action = _action(step, catalogue)
    if action is None or not isinstance(step.get("inputs"), Mapping):
        return step
    properties = cast("dict[str, JsonObject]", flat(action.input_schema).get("properties") or {})
    inputs = {
        name: forms.get(value, value)
        if isinstance(value, str) and _kinds(properties.get(name)) == {"string"}
        else value
        for name, value in step["inputs"].items()
    }
    return {**step, "inputs": inputs}


def _action(step: Any, catalogue: Catalogue) -> ActionSpec | None:
    return catalogue.get(str(step.get("action"))) if isinstance(step, Mapping) else None


def _kinds(schema: JsonObject | None) -> set[str]:
    """Return the JSON types that a schema allows; none where it does not say."""
    whole = flat(schema) if isinstance(schema, Mapping) else None
    if not whole:
        return set()
    for keyword in ("anyOf", "oneOf"):
        if choices := cast("list[JsonObject]", whole.get(keyword) or []):
            each = [_kinds(choice) for choice in choices]
            return set().union(*each) if all(each) else set()
    named: JsonValue = whole.get("type")
    return {named} if isinstance(named, str) else {str(kind) for kind in cast("list[JsonValue]", named or [])}
