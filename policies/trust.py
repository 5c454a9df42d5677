"""What a call carries: which of its arguments hold untrusted data or a secret, and what an operator vouches for.

A rule vouches when its scope is `action == Action::"trust"`. It is asked about one source of one value at a time, and
says whether this source may steer this call although it is not trusted. Whatever is not a clean yes is a no. Its
context::

    argument: String     the argument that the value stands in
    class: String        target, value, secret, param or content
    value: String        the text that would be passed; of a list, each text in it is asked about
    whole: Bool          the value is what the source gave, or was copied from it word for word: nothing was added,
                         and nothing else made of it
    alone: Bool          no output of any other action has a part in it
    same_kind: Bool      field and argument have the same last word: `id_` and `email_id`, `amount` and `amount`
    source: { action, field: String, assigned, directory, created, behind: Bool }
    called: { action: String, read_only, destructive, open_world: Bool }
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import chain, islice
from typing import Final

import cedarpy

from agentic_workflows.errors import PolicyError
from agentic_workflows.graph.catalogue import TRUST, ActionSpec
from agentic_workflows.graph.labels import UNKNOWN, Label, Source, Trait, holds_secret
from agentic_workflows.graph.values import JsonObject, JsonValue, canonical
from agentic_workflows.policies.policy import MEMO, MEMO_TEXT, Policy, part_of, policy_set
from agentic_workflows.policies.provenance import FOREACH, WHEN, Flow, Provenance
from agentic_workflows.policies.schema import PRINCIPAL, RESOURCE, action_type

MOST_TEXTS: Final = 200
"""A value with more texts is vouched for by nobody."""
CARRIED: Final = frozenset({"untrusted", "untrusted_classes", "untrusted_control", "secret", "secret_classes"})
"""The attributes of the context that say what a call carries, and what decides on it."""

_TRAITS: Final[tuple[Trait, ...]] = ("assigned", "directory", "created", "behind")
_BOOL: Final[JsonObject] = {"type": "Boolean"}
_TEXT: Final[JsonObject] = {"type": "String"}
_CONTEXT: Final[JsonObject] = {
    **dict.fromkeys(("argument", "class", "value"), _TEXT),
    **dict.fromkeys(("whole", "alone", "same_kind"), _BOOL),
    "source": {
        "type": "Record",
        "attributes": {"action": _TEXT, "field": _TEXT, **dict.fromkeys(_TRAITS, _BOOL)},
    },
    "called": {
        "type": "Record",
        "attributes": {"action": _TEXT, "read_only": _BOOL, "destructive": _BOOL, "open_world": _BOOL},
    },
}
_VALUE: Final[frozenset[tuple[str, ...]]] = frozenset({("value",), ()})
"""What a rule reads that reads the value, or may do so."""
_UNKNOWN_CONTROL: Final = tuple(Flow(name, (name,), UNKNOWN) for name in (FOREACH, WHEN))
_NOTHING: Final[JsonObject] = {name: [] for name in sorted(CARRIED)}


@dataclass(frozen=True)
class Carried:
    """What the arguments of one call carry, as the context of a decision has it."""

    context: JsonObject
    unknown: frozenset[str] = frozenset()
    """Attributes that only the run can tell."""


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A question about one source of one value; equal to another one where all that rules can read of both is."""

    readable: str
    is_early: bool
    """Whether the value does not exist yet."""
    context: JsonObject = field(compare=False)


class Vouching:
    """Says what a call carries, under the rules that vouch.

    Raises:
        PolicyError: a rule does not fit what it is asked about.

    """

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._policies = tuple(policy for policy in policies if is_about_trust(policy))
        self._schema = _schema()
        for policy in self._policies:
            for error in cedarpy.validate_policies(policy.text, self._schema).errors:
                raise PolicyError(
                    f"{policy.rule.place}: the rule {policy.rule.id!r} does not fit what it is asked about: "
                    f"{error.error}. What a rule that vouches may read is said in policies/trust.py."
                )
        self._entities = cedarpy.Entities.from_json_str("[]", self._schema)
        self._paths = sorted({path for policy in self._policies for path in policy.paths})
        self._set = lru_cache(maxsize=2)(self._make_set)
        self._reads_value = not _VALUE.isdisjoint(self._paths)
        self._memo = lru_cache(maxsize=MEMO)(self._ask)
        self._remembered = lru_cache(maxsize=MEMO)(self._carried)

    def carried(
        self, spec: ActionSpec, inputs: Mapping[str, JsonValue] | None, provenance: Provenance | None
    ) -> Carried:
        """Return what a call carries; without inputs, what is certain before they exist."""
        if provenance is None:
            flows = tuple(Flow(name, (name,), UNKNOWN) for name in inputs or ())
            provenance = Provenance(flows, _UNKNOWN_CONTROL, after_untrusted=True)
        # Without rules that vouch, the values themselves make no difference.
        return self._carried(spec, inputs, provenance) if self._policies else self._remembered(spec, None, provenance)

    def _carried(self, spec: ActionSpec, inputs: Mapping[str, JsonValue] | None, provenance: Provenance) -> Carried:
        late: JsonObject = {"after_untrusted": provenance.after_untrusted}
        if provenance.is_plain:
            return Carried(_NOTHING | late)
        suspect = [(flow, self._is_steered(spec, inputs, flow)) for flow in provenance.flows]
        untrusted = [flow for flow, is_steered in suspect if is_steered]
        secret = [flow for flow in provenance.flows if holds_secret(flow.label)]
        context = _named(spec, "untrusted", untrusted) | _named(spec, "secret", secret) | late
        context["untrusted_control"] = list(provenance.untrusted_control)
        is_unsure = any(not flow.is_certain for flow in (*untrusted, *secret))
        is_unsure |= bool(provenance.untrusted_control) and not provenance.is_certain
        return Carried(context, CARRIED if inputs is None and is_unsure else frozenset())

    def _is_steered(self, spec: ActionSpec, inputs: Mapping[str, JsonValue] | None, flow: Flow) -> bool:
        """Tell whether an untrusted source that nobody vouches for has a part in a value."""
        # One that steers is enough, and a label may hold a thousand: no list is made of them.
        sources = (one for one in flow.label if not one.is_trusted)
        first = next(sources, None)
        if first is None or not self._policies:
            return first is not None
        texts = None if inputs is None else list(_texts(_at(inputs, flow.path))) or [""]
        if texts is not None and len(texts) > MOST_TEXTS:
            return True
        return not all(self._vouches(spec, flow, source, texts) for source in chain([first], sources))

    def _vouches(self, spec: ActionSpec, flow: Flow, source: Source, texts: Sequence[str] | None) -> bool:
        if source.kind != "output":  # a planner that was talked into something is nobody's to vouch for
            return False
        notes = spec.annotations
        about: JsonObject = {
            "argument": flow.argument,
            "class": spec.class_of(flow.argument),
            "whole": flow.is_whole and "reworked" not in source.traits,
            "alone": _has_one_output(flow.label),
            "same_kind": _last_word(source.field) == _last_word(_name(flow)),
            "source": {
                "action": source.action,
                "field": source.field,
                **{trait: trait in source.traits for trait in _TRAITS},
            },
            "called": {
                "action": spec.name,
                "read_only": notes.read_only,
                "destructive": notes.destructive and not notes.read_only,
                "open_world": notes.open_world,
            },
        }
        is_early = texts is None
        values = set(texts) if texts and self._reads_value else {""}
        return all(self._allows({**about, "value": text}, is_early=is_early) for text in values)

    def _allows(self, about: JsonObject, *, is_early: bool) -> bool:
        """Ask the rules, or return the remembered answer to a question that no rule can tell from this one."""
        readable = canonical([part_of(about, path) for path in self._paths])
        asked = _Asked(readable=readable, is_early=is_early, context=about)
        return self._memo(asked) if len(readable) <= MEMO_TEXT else self._ask(asked)

    def _ask(self, asked: _Asked) -> bool:
        action, context = {"type": "Action", "id": TRUST}, canonical(asked.context)
        request = {"principal": PRINCIPAL, "action": action, "resource": RESOURCE, "context": context}
        answer = cedarpy.is_authorized(request, self._set(is_early=asked.is_early), self._entities, self._schema)
        return answer.allowed and not answer.diagnostics.errors

    def _make_set(self, *, is_early: bool) -> cedarpy.PolicySet:
        """Return the rules; before a value exists, as if it were one that satisfies each of them."""
        numbered = dict(enumerate(self._policies))
        return policy_set(numbered, reads_unknown=lambda policy: is_early and policy.paths & _VALUE)


def is_about_trust(policy: Policy) -> bool:
    """Tell whether a rule vouches.

    Raises:
        PolicyError: its scope names other actions as well.

    """
    named = policy.actions or frozenset()
    if TRUST in named and len(named) > 1:
        raise PolicyError(
            f'{policy.rule.place}: the rule {policy.rule.id!r} names Action::"trust" beside others. Write two rules.'
        )
    return named == {TRUST}


def _has_one_output(label: Label) -> bool:
    return len(list(islice((one for one in label if one.kind == "output"), 2))) == 1


def _named(spec: ActionSpec, attribute: str, flows: Iterable[Flow]) -> JsonObject:
    arguments = sorted({flow.argument for flow in flows})
    classes = sorted({spec.class_of(argument) for argument in arguments})
    return {attribute: list(arguments), f"{attribute}_classes": list(classes)}


@cache
def _schema() -> cedarpy.Schema:
    actions: JsonObject = {TRUST: action_type(_CONTEXT)}
    return cedarpy.Schema.from_json_str(json.dumps({"": {"entityTypes": {"Agent": {}, "Run": {}}, "actions": actions}}))


def _at(value: JsonValue | Mapping[str, JsonValue], path: Sequence[str | int]) -> JsonValue:
    """Return what stands at a path; None where a person's edit took it away."""
    for step in path:
        if isinstance(value, Mapping) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value if not isinstance(value, Mapping) else dict(value)


def _texts(value: JsonValue) -> Iterator[str]:
    """Yield every text in a value; a number is the text of it."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield key
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif value is not None:
        yield value if isinstance(value, str) else canonical(value)


def _name(flow: Flow) -> str:
    """Return the innermost name that a value stands under."""
    return next(str(step) for step in reversed(flow.path) if isinstance(step, str))


def _last_word(name: str) -> str:
    return name.rpartition(".")[2].strip("_").rpartition("_")[2].casefold().removesuffix("s")
