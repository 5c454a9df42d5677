"""Rules that never matter: those that can never apply, and those that another one takes in. And rules that deny all.

Said only where it is certain, for the actions that there are. Of a condition only what is literal in it is worked out.
One rule takes another in where it covers all actions of the other and has no condition that the other does not have:
then it applies whenever the other does. A rule that looks for an argument that no action has is told of as well. Rules
of built-in files are not.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agentic_workflows.graph.catalogue import DANGEROUS, TRUST, ActionSpec, Catalogue
from agentic_workflows.graph.findings import did_you_mean
from agentic_workflows.graph.json_schema import objects_in
from agentic_workflows.graph.values import canonical
from agentic_workflows.policies.policy import Policy
from agentic_workflows.policies.schema import (
    PRINCIPAL,
    RESOURCE,
    Free,
    Record,
    inputs_shape,
    known_actions,
    with_defaults,
)
from agentic_workflows.policies.trust import is_about_trust

_INPUTS: Final = {".": {"left": {"Var": "context"}, "attr": "inputs"}}
_CALCULATES = frozenset({"+", "-", "*", "neg"})
_ASK_LESS = 'No permit takes a question away: let a rule take the place of the one that asks, with @replaces("id").'


@dataclass(frozen=True)
class _Reach:
    """When a rule applies: to which actions, and under which conditions, all of which must hold."""

    policy: Policy
    actions: frozenset[str]
    conditions: frozenset[str]

    def takes_in(self, other: "_Reach") -> bool:
        return self.actions >= other.actions and self.conditions <= other.conditions


def idle_rules(policies: Sequence[Policy], catalogue: Catalogue) -> Iterator[str]:
    """Yield a sentence for each rule of own files that never matters, with file, line, reason and remedy."""
    reaches = [_reach(policy, catalogue) for policy in policies]
    for at, one in enumerate(reaches):
        if one.policy.is_built_in or _may_fail(one.policy):
            continue
        why = _never_applies(one, catalogue) or _waits_in_vain(one, catalogue) or _seeks_in_vain(one, catalogue)
        why = why or _taken_in(one, reaches[:at], reaches[at + 1 :])
        if why:
            yield f"{one.policy.rule.place}: the rule {one.policy.rule.id!r} {why}"


def denies_all(policies: Sequence[Policy]) -> Iterator[str]:
    """Yield a sentence for each reason for which every call is denied: that nothing is permitted, or all forbidden."""
    about_actions = [policy for policy in policies if not is_about_trust(policy)]
    if not any(policy.is_permit for policy in about_actions):
        yield "No rule permits anything, so every call is denied. Load these rules beside the default ones: default."
    for policy in about_actions:
        is_of_all = all(policy.cedar[kind]["op"] == "All" for kind in ("principal", "action", "resource"))
        if is_of_all and not policy.cedar["conditions"] and not policy.is_permit:
            yield f"{policy.rule.place}: the rule {policy.rule.id!r} forbids every call. Say of which, or when."


def _reach(policy: Policy, catalogue: Catalogue) -> _Reach:
    if is_about_trust(policy):
        actions = frozenset({TRUST})
    else:
        specs = known_actions(catalogue)
        actions = frozenset(name for name, spec in specs.items() if policy.covers({name, *spec.groups}))
    scopes = [{kind: policy.cedar[kind]} for kind in ("principal", "resource") if policy.cedar[kind]["op"] != "All"]
    conditions = [part for one in policy.cedar["conditions"] for part in _parts(one["body"], one["kind"])]
    return _Reach(policy, actions, frozenset(canonical(one) for one in (*scopes, *conditions)))


def _parts(body: Mapping[str, Any], kind: str) -> Iterator[object]:
    """Yield what must hold, one by one: `when { a && b }` is a and b, `unless { a || b }` is not a and not b."""
    pair = body.get("&&" if kind == "when" else "||")
    if pair:
        yield from _parts(pair["left"], kind)
        yield from _parts(pair["right"], kind)
    else:
        yield body if kind == "when" else {"!": {"arg": body}}


def _never_applies(one: _Reach, catalogue: Catalogue) -> str | None:
    policy = one.policy
    for kind, ours in (("principal", PRINCIPAL), ("resource", RESOURCE)):
        if policy.cedar[kind].get("entity", ours) != ours:
            return f'never applies: the {kind} is always {ours["type"]}::"{ours["id"]}". Write {kind} alone.'
    named = policy.actions or frozenset()
    # The dangerous names are in every group, and whoever names a group does not mean them.
    if named and not one.actions - (set(DANGEROUS) - set(catalogue) - named):
        return (
            f"never applies: no action that there is belongs to {', '.join(sorted(named))}. It waits for one that does."
        )
    if policy.is_permit and named and named <= {*DANGEROUS}:
        return f"permits what never runs, whatever policies say: {', '.join(sorted(named))}. Take it away."
    if any(_literal(condition["body"]) is (condition["kind"] == "unless") for condition in policy.cedar["conditions"]):
        return "never applies: its condition never holds. Correct the condition."
    return None


def _waits_in_vain(one: _Reach, catalogue: Catalogue) -> str | None:
    named = one.policy.actions or frozenset()
    if not named or not named <= catalogue.keys():
        return None
    for name in sorted(frozenset.intersection(*(_always_there(catalogue[action]) for action in named))):
        if canonical({"!": {"arg": {"has": {"left": _INPUTS, "attr": name}}}}) in one.conditions:
            return f"never applies: {name!r} is always there, given or by default. Ask what it is."
    return None


def _always_there(spec: ActionSpec) -> frozenset[str]:
    """Return the arguments that every call has, as policies see it."""
    shape, defaults = inputs_shape(spec), with_defaults(spec, {})
    known = shape.attributes if isinstance(shape, Record) else {}
    return frozenset(name for name, one in known.items() if one.required or (name in defaults and not one.nullable))


def _seeks_in_vain(one: _Reach, catalogue: Catalogue) -> str | None:
    specs = [spec for name, spec in catalogue.items() if name in one.actions]
    if not specs or any(isinstance(inputs_shape(spec), Free) for spec in specs):
        return None
    known = sorted({name for spec in specs for name in spec.input_names})
    for attribute, name in sorted(one.policy.sought):
        if attribute in ("untrusted", "secret") and name not in known:
            remedy = did_you_mean(name, known, title="Known arguments")
            return f"looks in context.{attribute} for {name!r}, and no action it covers has that argument. {remedy}"
    return None


def _literal(node: Any) -> object:
    """Return what an expression always is, wherever it has a value at all; None where that depends."""
    (operator, parts), *_ = node.items()
    if operator == "Value":
        return None if isinstance(parts, Mapping) else parts
    if operator == "!":
        inner = _literal(parts["arg"])
        return None if inner is None else not inner
    if operator not in ("&&", "||", "==", "!="):
        return None
    left, right = _literal(parts["left"]), _literal(parts["right"])
    if operator in ("&&", "||"):
        decides = operator == "||"
        return decides if decides in (left, right) else None if None in (left, right) else not decides
    return None if left is None or right is None else (left == right) is (operator == "==")


def _taken_in(one: _Reach, earlier: Sequence[_Reach], later: Sequence[_Reach]) -> str | None:
    policy = one.policy
    for other in sorted((*earlier, *later), key=lambda other: other.policy.is_permit):
        by = f"whenever it applies, {other.policy.rule.id!r} ({other.policy.rule.place})"
        if not other.takes_in(one) or (other.policy.is_permit and not policy.is_permit):
            continue
        if policy.is_permit and not other.policy.is_permit:
            return f"permits nothing: {by} forbids the same. Take one of them away."
        # Of two that say the same, the later one is told.
        if one.takes_in(other) and other in later:
            continue
        if policy.is_permit:
            return f"changes no decision: {by} permits the same. {_ASK_LESS}"
        return f"changes no decision: {by} forbids the same. Take it away, or narrow the other."
    return None


def _may_fail(policy: Policy) -> bool:
    """Tell whether a rule calculates: a number beyond 64 bits makes it fail, and then everything is denied."""
    return any(not _CALCULATES.isdisjoint(node) for node in objects_in(policy.cedar["conditions"]))
