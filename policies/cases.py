"""Unit tests of policies: a small file of cases, each a call and the decision that is expected on it.

::

    - name: a mail to an address that a stranger wrote is asked about
      action: send_mail
      inputs: {to: eve@example.com, text: Hello}
      untrusted: [to]                      # arguments that hold data from an untrusted source
      expect: Ask                          # Allow, Ask or Deny
      rule: untrusted-steers               # a rule that must have made the decision

Optional besides: `untrusted_control` (`foreach`: an untrusted list says how often the call is made; `when`: an
untrusted condition says whether), `secret` (arguments that hold a secret which an action gave), `from` (`{to:
"search_inbox.sender"}`: the argument is exactly that field of what the action gives, trusted as its declaration says;
of several, in a list, it is made), `human_review_required`, `count` (calls of the action before this one) and
`after_untrusted` (the plan was made after untrusted output was seen). All else comes from the plan. The engine itself
decides each case.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import jsonschema_rs
from jmespath.exceptions import JMESPathError

from agentic_workflows.errors import PolicyError
from agentic_workflows.graph.catalogue import ActionSpec, Catalogue
from agentic_workflows.graph.checks import input_findings
from agentic_workflows.graph.document import UnreadableError, read_document
from agentic_workflows.graph.findings import Finding, did_you_mean
from agentic_workflows.graph.labels import LATE_PLAN, PLAN, UNKNOWN, Label, Origin, Source, joined
from agentic_workflows.graph.values import JsonObject, JsonValue
from agentic_workflows.policies.decision import ActionRequest, Decision, PolicyEngine, to_json
from agentic_workflows.policies.policy import Policy
from agentic_workflows.policies.provenance import FOREACH, WHEN, Flow, Provenance, narrowed
from agentic_workflows.policies.schema import Record, inputs_shape, known_actions
from agentic_workflows.policies.trust import is_about_trust

MAX_BYTES: Final = 1_000_000
_ARGUMENTS: Final[JsonObject] = {"type": "array", "items": {"type": "string"}, "description": "List arguments by name."}
_BOOL: Final[JsonObject] = {"type": "boolean", "description": "Write true or false."}
_TEXT: Final[JsonObject] = {"type": "string", "minLength": 1, "description": "Write a text."}
_SOURCE: Final[JsonObject] = {"type": ["string", "array"], "items": {"type": "string"}, "minItems": 1}
_FIELDS: Final[dict[str, JsonObject]] = {
    "name": _TEXT,
    "action": _TEXT,
    "inputs": {"type": "object", "description": "Give the arguments by name."},
    "untrusted": _ARGUMENTS,
    "untrusted_control": {
        "type": "array",
        "items": {"enum": [FOREACH, WHEN]},
        "description": "List foreach, when or both.",
    },
    "secret": _ARGUMENTS,
    "from": {
        "type": "object",
        "additionalProperties": _SOURCE,
        "description": "Name a source for each argument, such as {to: search_inbox.sender}.",
    },
    "human_review_required": _BOOL,
    "after_untrusted": _BOOL,
    "count": {
        "type": "integer",
        "minimum": 0,
        "maximum": 2**63 - 1,
        "description": "Write a whole number of 0 or more.",
    },
    "expect": {"enum": ["Allow", "Ask", "Deny"], "description": "Write Allow, Ask or Deny."},
    "rule": _TEXT,
}
_VALIDATOR = jsonschema_rs.validator_for(
    {"type": "object", "required": ["action", "expect"], "properties": cast("JsonValue", _FIELDS)}
)
_SECRET: Final[Label] = frozenset({Source("output", traits=frozenset({"trusted", "secret"}))})


@dataclass(frozen=True, kw_only=True)
class PolicyCase:
    """A call, and what is expected of it."""

    name: str
    request: ActionRequest
    expect: str
    rule: str | None
    """The rule that must have made the decision, alone or with others."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a case."""

    case: PolicyCase
    decision: Decision

    @property
    def is_as_expected(self) -> bool:
        """Tell whether the decision is the expected one, made by the expected rule."""
        case = self.case
        return self.decision.name == case.expect and (case.rule is None or case.rule in self._rules)

    @property
    def _rules(self) -> list[str]:
        return [rule.id for rule in self.decision.rules]

    def __str__(self) -> str:
        """Say what was expected and what came, by which rule and why."""
        told = cast("dict[str, Any]", to_json(self.decision))
        why = told["reason"] or " ".join(rule["reason"] for rule in told["rules"])
        wanted = f" by {self.case.rule}" if self.case.rule else ""
        by = f" by {', '.join(self._rules)}" if self._rules else ""
        return f"{self.case.name}: expected {self.case.expect}{wanted}, and it is {self.decision.name}{by}: {why}"

    def to_json(self) -> JsonObject:
        """Return the result as plain JSON, for displays."""
        expected: JsonObject = {"name": self.case.name, "expect": self.case.expect, "rule": self.case.rule}
        return {**expected, "as_expected": self.is_as_expected, **to_json(self.decision)}


def check_cases(cases: Sequence[PolicyCase], engine: PolicyEngine) -> tuple[Result, ...]:
    """Return the decision on every case."""
    return tuple(Result(case=case, decision=engine.decide(case.request)) for case in cases)


def load_cases(path: Path, *, catalogue: Catalogue, policies: Sequence[Policy]) -> tuple[PolicyCase, ...]:
    """Return the cases of a YAML or JSON file.

    Args:
        path: the file.
        catalogue: every action that there is.
        policies: the ones in force, of which a case may name a rule.

    Raises:
        PolicyError: it cannot be read or holds something that is no case; everything that is wrong, at once.

    """
    specs = known_actions(catalogue)
    rules = [policy.rule.id for policy in policies if not is_about_trust(policy)]
    findings: list[Finding] = []
    data: object = ()
    try:
        data = read_document(path, max_bytes=MAX_BYTES)
    except UnreadableError as error:
        findings += error.findings
    if not findings and not (isinstance(data, list) and data):
        findings.append(Finding(problem="It holds no list of cases.", remedy="Begin each case with - action: NAME."))
    given = [] if findings else cast("list[object]", data)
    for at, one in enumerate(given, start=1):
        findings += _Reader(_name(one, at), specs, rules).findings(one)
    if findings:
        listed = "".join(f"\n  - {finding}" for finding in findings)
        raise PolicyError(f"The cases in {path} cannot be used:{listed}")
    return tuple(_case(_name(one, at), cast("dict[str, Any]", one), specs) for at, one in enumerate(given, start=1))


def _name(data: object, at: int) -> str:
    name = data.get("name") if isinstance(data, Mapping) else None
    return name if isinstance(name, str) and name else f"case {at}"


class _Reader:
    """Finds everything that is wrong with one case."""

    def __init__(self, name: str, specs: Catalogue, rules: Sequence[str]) -> None:
        self._name, self._specs, self._rules = name, specs, rules

    def findings(self, data: object) -> Iterator[Finding]:
        if not isinstance(data, Mapping):
            yield self._finding(None, "is no mapping of fields.", f"Fields: {', '.join(_FIELDS)}.")
            return
        shape = [*self._shape(data)]
        yield from shape
        yield from self._names(data)
        spec = self._specs.get(str(data.get("action")))
        if spec is not None and not shape:
            yield from self._inputs(data.get("inputs", {}), spec)
            yield from self._arguments(data)
            yield from self._sources(data)

    def _shape(self, data: Mapping[Any, Any]) -> Iterator[Finding]:
        for name in data:
            if name not in _FIELDS:
                yield self._finding(
                    str(name), "is no field of a case.", did_you_mean(str(name), [*_FIELDS], title="Fields")
                )
        for error in _VALIDATOR.iter_errors(dict(data)):
            path = [str(step) for step in error.instance_path]
            remedy = str(_FIELDS[path[0]]["description"]) if path else "Add it."
            yield self._finding(".".join(path) or None, f"{error.message[:300]}.", remedy)

    def _names(self, data: Mapping[Any, Any]) -> Iterator[Finding]:
        known = {"action": sorted(self._specs), "rule": self._rules}
        for field, names in known.items():
            name = data.get(field)
            if isinstance(name, str) and name and name not in names:
                remedy = did_you_mean(name, names, title=f"Known {field}s")
                yield self._finding(field, f"no {field} is called {name!r}.", remedy)

    def _inputs(self, inputs: Mapping[str, JsonValue], spec: ActionSpec) -> Iterator[Finding]:
        shape = inputs_shape(spec)
        unknown = [name for name in inputs if isinstance(shape, Record) and name not in shape.attributes]
        for name in unknown:
            known = sorted(cast("Record", shape).attributes)
            remedy = did_you_mean(name, known, title="Known arguments")
            yield self._finding(f"inputs.{name}", f"{spec.name} has no such argument.", remedy)
        yield from input_findings(self._name, {name: inputs[name] for name in inputs if name not in unknown}, spec)

    def _arguments(self, data: Mapping[str, Any]) -> Iterator[Finding]:
        given = list(data.get("inputs", {}))
        for field in ("untrusted", "secret", "from"):
            for name in data.get(field, ()):
                if name not in given:
                    remedy = did_you_mean(name, given, title="Given")
                    yield self._finding(field, f"the inputs of the case have no {name!r}.", remedy)

    def _sources(self, data: Mapping[str, Any]) -> Iterator[Finding]:
        for argument, sources in data.get("from", {}).items():
            for source in _listed(sources):
                try:
                    origin = _origin(source, self._specs)
                except (JMESPathError, RecursionError, ValueError) as error:
                    problem = f"{source!r} holds no JMESPath: {str(error).splitlines()[0].rstrip(':')}."
                    yield self._finding(f"from.{argument}", problem, "Write it as in a plan: read_csv[0].name.")
                    continue
                if origin is None:
                    remedy = did_you_mean(source.partition(".")[0], sorted(self._specs), title="Known actions")
                    yield self._finding(f"from.{argument}", f"{source!r} begins with no known action.", remedy)

    def _finding(self, field: str | None, problem: str, remedy: str = "") -> Finding:
        return Finding(step=self._name, field=field, problem=problem, remedy=remedy)


def _case(name: str, data: Mapping[str, Any], specs: Catalogue) -> PolicyCase:
    after = bool(data.get("after_untrusted"))
    inputs = data.get("inputs", {})
    control = tuple(Flow(name, (name,), UNKNOWN) for name in data.get("untrusted_control", ()))
    flows = tuple(_flow(argument, data, specs) for argument in inputs)
    request = ActionRequest(
        action=specs[data["action"]],
        inputs=inputs,
        human_review_required=bool(data.get("human_review_required")),
        count=int(data.get("count", 0)),
        provenance=Provenance(flows, control, after_untrusted=after),
    )
    return PolicyCase(name=name, request=request, expect=data["expect"], rule=data.get("rule"))


def _flow(argument: str, data: Mapping[str, Any], specs: Catalogue) -> Flow:
    """Return what an argument derives from, as a step of a plan would say it."""
    after, sources = bool(data.get("after_untrusted")), _listed(data.get("from", {}).get(argument))
    origins = [origin for source in sources if (origin := _origin(source, specs, is_late=after))]
    marks = {"untrusted": UNKNOWN, "secret": _SECRET}
    labels = [label for field, label in marks.items() if argument in data.get(field, ())]
    labels += [origin.label for origin in origins]
    plan = LATE_PLAN if after else PLAN
    is_whole = len(origins) == len(labels) == 1 and origins[0].is_whole
    return Flow(argument, (argument,), joined(labels) if labels else plan, is_whole)


def _origin(source: str, specs: Catalogue, *, is_late: bool = False) -> Origin | None:
    """Return what `search_inbox[0].sender` is: a part of what an action gives."""
    named = [name for name in specs if source == name or source.startswith((f"{name}.", f"{name}["))]
    if not named:
        return None
    action = max(named, key=len)
    return narrowed(Origin(specs[action], PLAN), source.removeprefix(action), is_late=is_late)


def _listed(sources: str | list[str] | None) -> list[str]:
    return [sources] if isinstance(sources, str) else sources or []
