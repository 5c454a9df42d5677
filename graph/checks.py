"""Checks: all that can be known wrong with a plan before anything runs, and what inputs or a result of a call break."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import islice

from agentic_workflows.errors import RunError
from agentic_workflows.graph.catalogue import DANGEROUS, ActionSpec, Catalogue
from agentic_workflows.graph.findings import MOST_FINDINGS, Finding, did_you_mean
from agentic_workflows.graph.json_schema import compiled
from agentic_workflows.graph.outcome import named_outputs
from agentic_workflows.graph.plan import ITEM, Plan, WorkflowStep, unparsable_references
from agentic_workflows.graph.references import Reference, has_secret, is_literal, parse, secret_name
from agentic_workflows.graph.values import JsonObject, JsonValue, canonical


def missing_actions(named: Iterable[str], catalogue: Catalogue) -> list[str]:
    """Return those of the actions that a plan names that are not here."""
    return sorted({name for name in named if name not in catalogue})


def refuse_missing(plan: Plan, catalogue: Catalogue) -> None:
    """Refuse a plan whose actions are not all here, such as one of a program that has others.

    Raises:
        RunError: nothing is changed, so the run goes on once they are.

    """
    if missing := missing_actions((step.action for step in plan.steps), catalogue):
        raise RunError(
            f"These actions of the plan are not registered here: {', '.join(missing)}. Resume the run with the actions "
            f"that it was begun with; nothing was changed."
        )


def static_findings(plan: Plan, catalogue: Catalogue) -> list[Finding]:
    """Return every finding about a plan; an empty list is a plan that may be decided on."""
    unreadable = [finding for step in plan.steps for finding in unparsable_references(step)]
    if unreadable:
        return unreadable
    findings = list(_cycles(plan))
    for step in plan.steps:
        findings += _references(step, plan)
        findings += _schemas(step)
        action = catalogue.get(step.action)
        if action is None:
            findings.append(_unknown(step, catalogue))
        else:
            findings += _inputs(step, action)
            findings += _secrets(step, action)
            findings += _retries(step, action)
    return findings


def input_findings(
    step: str, inputs: Mapping[str, JsonValue], action: ActionSpec, *, unknown: Collection[str] = ()
) -> Iterator[Finding]:
    """Yield what inputs break of an action's input schema; of arguments that are unknown yet, what no value mends."""
    return islice(_misfits(step, dict(inputs), action, unknown), MOST_FINDINGS)


def _misfits(step: str, given: JsonObject, action: ActionSpec, unknown: Collection[str]) -> Iterator[Finding]:
    for error in () if action.input_validator.is_valid(given) else action.input_validator.iter_errors(given):
        path, rule = list(error.instance_path), list(error.schema_path)
        is_known = path[0] not in unknown if path else not unknown or rule[0] in _ABOUT_NAMES
        if is_known or (rule[-1] == "type" and not _is_reference(error.instance) and _DEPENDS.isdisjoint(rule)):
            field = ".".join(map(str, ["inputs", *path]))
            yield Finding(step=step, field=field, problem=f"{error.message[:300]}.", remedy=_remedy(action, rule))


def _remedy(action: ActionSpec, rule: Sequence[str | int]) -> str:
    """Say what to write: where a pattern is not met, what is said of the argument, which is easier to read."""
    declared: JsonValue = action.input_schema
    for part in rule[:-1]:
        declared = declared.get(str(part)) if isinstance(declared, dict) else None
    said = declared.get("description") if isinstance(declared, dict) and rule[-1] == "pattern" else None
    return " ".join(said.split())[:300] if isinstance(said, str) and said.strip() else _SEE_SCHEMA


def secret_findings(step: str, inputs: Mapping[str, JsonValue], action: ActionSpec) -> Iterator[Finding]:
    """Yield what inputs break once their secrets are among them; never what they hold, so never how."""
    given = dict(inputs)
    if not action.input_validator.is_valid(given):
        errors = action.input_validator.iter_errors(given)
        for field in sorted({".".join(["inputs", *map(str, error.instance_path)]) for error in errors}):
            problem = "does not fit the schema with its secret in place."
            yield Finding(step=step, field=field, problem=problem, remedy=_SEE_SCHEMA)


def result_findings(step: WorkflowStep, action: ActionSpec | None, result: JsonValue) -> Iterator[Finding]:
    """Yield everything that a result breaks of what is asked of it; of an action that is not there, by its step."""
    declared = action.output_validator if action else None
    validation = None if step.validation is None else compiled(canonical(step.validation))
    for name, validator in (("output schema", declared), ("validation", validation)):
        errors = validator.iter_errors(result) if validator and not validator.is_valid(result) else ()
        for error in islice(errors, MOST_FINDINGS):
            yield Finding(step=step.name, field=name, problem=f"The result does not pass: {error.message[:300]}.")
    if named_outputs(step, result) is None:
        names, shape = ", ".join(step.outputs), type(result).__name__
        problem = f"The result is a {shape} that does not have the outputs {names} by name."
        yield Finding(step=step.name, field="outputs", problem=problem)


def _cycles(plan: Plan) -> Iterator[Finding]:
    if len(plan.order) == len(plan.steps):
        return
    try:
        TopologicalSorter({step.name: plan.dependencies(step) for step in plan.steps}).prepare()
    except CycleError as error:
        path = " -> ".join(reversed(error.args[1]))
        problem = f"waits for itself: {path}."
        yield Finding(step=error.args[1][0], problem=problem, remedy="Remove one of these references.")


def _references(step: WorkflowStep, plan: Plan) -> Iterator[Finding]:
    for field, reference in step.references:
        if reference.name == ITEM:
            if step.foreach is None or not field.startswith("inputs."):
                problem = f"{reference} stands outside the inputs of a foreach step."
                yield Finding(step=step.name, field=field, problem=problem)
        elif reference.name not in plan.producers:
            remedy = f"Outputs of this plan: {', '.join(sorted(plan.producers)) or 'none'}; write $${{ for a literal."
            problem = f"{reference} refers to an output that no step gives."
            yield Finding(step=step.name, field=field, problem=problem, remedy=remedy)
    for name in step.after:
        if name not in plan.by_name:
            yield Finding(step=step.name, field="after", problem=f"waits for {name!r}, which is no step of this plan.")
    whole = {"foreach": step.foreach, "when": step.when}
    yield from (_whole(step, name) for name, of in whole.items() if isinstance(of, str) and not _is_reference(of))


def _is_reference(value: JsonValue) -> bool:
    template = parse(value) if isinstance(value, str) else []
    return len(template) == 1 and isinstance(template[0], Reference)


def _whole(step: WorkflowStep, field: str) -> Finding:
    return Finding(step=step.name, field=field, problem="is not one reference.", remedy="Write one ${output}.")


def _schemas(step: WorkflowStep) -> Iterator[Finding]:
    if step.validation is not None:
        try:
            compiled(canonical(step.validation))
        except ValueError as error:
            yield Finding(step=step.name, field="validation", problem=f"is no JSON Schema: {error}.")


def _unknown(step: WorkflowStep, catalogue: Collection[str]) -> Finding:
    if step.action in DANGEROUS:
        problem = f"{step.action!r} never runs, whoever approves it."
        return Finding(step=step.name, field="action", problem=problem, remedy="Reach the goal without it.")
    remedy = did_you_mean(step.action, sorted(catalogue), title="Known actions")
    return Finding(step=step.name, field="action", problem=f"{step.action!r} is not a known action.", remedy=remedy)


_ABOUT_NAMES = frozenset({"required", "additionalProperties", "propertyNames", "minProperties", "maxProperties"})
"""Rules on an object that do not look at its values."""
_DEPENDS = frozenset({"then", "else", "not", "anyOf", "oneOf", "dependentSchemas", "contains"})
"""Rules below which one holds or not, as other values say."""
_SEE_SCHEMA = "See the action's input schema."


def _inputs(step: WorkflowStep, action: ActionSpec) -> Iterator[Finding]:
    """Check what is certain; a value that does not exist yet, or is secret, is checked when it is there.

    A text around a reference is certainly a text, whatever comes into it.
    """
    if not action.input_validator.is_valid(dict(step.inputs)):
        unknown = [name for name, value in step.inputs.items() if secret_name(value) or not is_literal(value)]
        yield from input_findings(step.name, step.inputs, action, unknown=unknown)


def _secrets(step: WorkflowStep, action: ActionSpec) -> Iterator[Finding]:
    """A secret is the whole of an argument for one: anywhere else it could end in a message, a file or a condition."""
    for name, value in step.inputs.items():
        if has_secret(value) and not (secret_name(value) and action.annotations.arguments.get(name) == "secret"):
            problem = f"names a secret, and {action.name} declares no argument {name!r} that is one as a whole."
            yield Finding(step=step.name, field=f"inputs.{name}", problem=problem, remedy="Write $${ for the text ${.")
    for name in ("foreach", "when"):
        if has_secret(getattr(step, name)):
            yield Finding(step=step.name, field=name, problem="names a secret, which only an action ever sees.")


def _retries(step: WorkflowStep, action: ActionSpec) -> Iterator[Finding]:
    if step.retries and not action.annotations.is_retryable:
        problem = f"{action.name} is neither read-only nor idempotent, so a second attempt could act twice."
        yield Finding(step=step.name, field="retries", problem=problem, remedy="Remove retries.")
