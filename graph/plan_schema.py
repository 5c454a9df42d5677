"""The published JSON Schema of a plan file, and what a value breaks of it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, cast

import jsonschema_rs

from agentic_workflows.errors import ActionError
from agentic_workflows.graph.findings import MOST_FINDINGS, Finding, did_you_mean
from agentic_workflows.graph.plan import ITEM, VERSION
from agentic_workflows.graph.references import SECRETS
from agentic_workflows.graph.values import JsonObject, as_json, beginning, canonical

MAX_BYTES = 5_000_000
"""Of a plan's canonical JSON text."""

_NAME: JsonObject = {
    "type": "string",
    "minLength": 1,
    "maxLength": 200,
    # No database keeps a NUL, and after a line break the rest of a name could pass for words of ours.
    "pattern": r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$",
}
_OUTPUT: JsonObject = {**_NAME, "pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "not": {"enum": [ITEM, SECRETS]}}

STEP_SCHEMA: JsonObject = {
    "type": "object",
    "required": ["name", "action"],
    "additionalProperties": False,
    "properties": {
        "name": {**_NAME, "description": "Unique in the plan; without line breaks and other control characters."},
        "action": {**_NAME, "description": "What is called."},
        "inputs": {
            "type": "object",
            "default": {},
            "description": "A mapping of arguments by name. ${output} or ${output.path[0]} (a JMESPath) uses an "
            "earlier result.",
        },
        "outputs": {
            "type": "array",
            "items": _OUTPUT,
            "uniqueItems": True,
            "default": [],
            "description": "A list of names for the values that the step gives: of letters, digits and _, and neither "
            "item nor secrets.",
        },
        "validation": {
            "type": ["object", "null"],
            "description": "A JSON Schema (2020-12) that the result must satisfy.",
        },
        "human_review_required": {
            "type": "boolean",
            "default": False,
            "description": "Asks a person before the step runs, as the built-in policies have it; false takes no "
            "question of theirs away.",
        },
        "foreach": {"type": ["string", "null"], "description": "A reference to a list; ${item} is its element."},
        "when": {"type": ["string", "boolean", "null"], "description": "A reference to true or false."},
        "timeout": {
            "type": ["number", "null"],
            "minimum": 0.000_001,  # of which a timedelta can hold a multiple
            "maximum": 86_400,
            "description": "Seconds for one attempt, up to a day.",
        },
        "retries": {
            "type": "integer",
            "minimum": 0,
            "maximum": 10,
            "default": 0,
            "description": "Further attempts after one that failed or took too long, of read-only and idempotent "
            "actions only. A result that fails its validation is not tried again.",
        },
        "after": {
            "type": "array",
            "items": _NAME,
            "default": [],
            "description": "A list of names of steps to wait for.",
        },
    },
}

PLAN_SCHEMA: JsonObject = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Plan",
    "description": "A typed dataflow program of named steps; it reads from top to bottom.",
    "type": "object",
    "required": ["steps"],
    "additionalProperties": False,
    "properties": {
        "version": {"const": VERSION, "description": f"The version of this format, {VERSION}."},
        "goal": {"type": "string", "maxLength": 100_000, "description": "What is wanted, in a sentence."},
        "steps": {
            "type": "array",
            "minItems": 1,
            "items": {"$ref": "#/$defs/step"},
            "description": "A list of mappings, each with a name and an action.",
        },
        "saw_untrusted": {"type": "boolean", "default": False, "description": "Made after untrusted output was seen."},
    },
    "$defs": {"step": STEP_SCHEMA},
}

_VALIDATOR = jsonschema_rs.validator_for(PLAN_SCHEMA)
_IS_NAME = jsonschema_rs.validator_for(_NAME).is_valid


def plan_findings(data: object, *, max_steps: int) -> list[Finding]:
    """Return everything that keeps a value from being a plan, all at once."""
    if not isinstance(data, Mapping):
        problem = f"is a {type(data).__name__}, not a mapping."
        return [Finding(problem=f"A plan {problem}", remedy="Write a mapping with the key steps.")]
    try:
        plain = as_json(data, where="plan")
        size = len(canonical(plain).encode("utf-8", "surrogatepass"))
    except ActionError as error:
        return [Finding(problem=str(error), remedy="Use only JSON values.")]
    if size > MAX_BYTES:
        problem = f"The plan has {size:,} bytes, and the limit is {MAX_BYTES:,}."
        return [Finding(problem=problem, remedy="Put large texts into files and read them.")]
    steps = plain.get("steps") if isinstance(plain, dict) else None
    if isinstance(steps, list) and len(steps) > max_steps:
        problem = f"The plan has {len(steps):,} steps, and the limit is {max_steps:,}."
        return [Finding(field="steps", problem=problem, remedy="Split it, use foreach, or raise max_steps.")]
    findings = [finding for error in _VALIDATOR.iter_errors(plain) for finding in _misfits(error, plain)]
    return findings or list(_duplicates(plain["steps"]))  # type: ignore[index, call-overload, arg-type]  # it is a plan


def _misfits(error: Any, plain: Any) -> Iterator[Finding]:
    """Yield what one error of the validator says: of keys that are not known, each by itself."""
    path = list(error.instance_path)
    step, what, known = None, "plan", cast("JsonObject", PLAN_SCHEMA["properties"])
    if len(path) >= 2 and path[0] == "steps":  # noqa: PLR2004 - ["steps", index, ...]
        at, path = path[1], path[2:]
        what, known = "step", cast("JsonObject", STEP_SCHEMA["properties"])
        named = plain["steps"][at]
        name = named.get("name") if isinstance(named, dict) else None
        step = name if _IS_NAME(name) else f"step {at + 1}"
    if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.AdditionalProperties):
        for key in error.kind.unexpected[:MOST_FINDINGS]:
            remedy = did_you_mean(key, known, title="There are")
            yield Finding(step=step, problem=f"{beginning(repr(key), 300)} is no key of a {what}.", remedy=remedy)
        return
    if path:
        remedy = str(cast("JsonObject", known[path[0]])["description"])
    else:
        remedy = "Add it." if "required" in error.schema_path else "Write a mapping with a name and an action."
    field = ".".join(map(str, path)) or None
    yield Finding(step=step, field=field, problem=f"{beginning(error.message, 300)}.", remedy=remedy)


def _duplicates(steps: list[JsonObject]) -> Iterator[Finding]:
    names = Counter(str(step["name"]) for step in steps)
    for name, count in names.items():
        if count > 1:
            problem = f"{count} steps have this name."
            yield Finding(step=name, field="name", problem=problem, remedy="Rename all but one.")
    outputs = Counter(str(output) for step in steps for output in step.get("outputs") or [])  # type: ignore[union-attr]  # a list
    for output, count in outputs.items():
        if count > 1:
            problem = f"{count} steps give the output {output!r}."
            yield Finding(field="outputs", problem=problem, remedy="Give each output its own name.")
