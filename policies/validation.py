"""Checks policies against the actions that there are: a rule that could never fire does not load."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Final, get_args

import cedarpy

from agentic_workflows.errors import PolicyError
from agentic_workflows.graph.catalogue import GROUPS, ArgumentClass
from agentic_workflows.graph.findings import did_you_mean
from agentic_workflows.policies.policy import EVERYTHING, Policy
from agentic_workflows.policies.provenance import FOREACH, WHEN
from agentic_workflows.policies.schema import Inputs, Record

_PREFIX = re.compile(r"^for policy `[^`]*`, ")
_FOLLOWS = "unable to find an applicable action"
"""What Cedar says besides, when a name in the scope is wrong."""
_CLASSES: Final = sorted(get_args(ArgumentClass))
_IN_SETS: Final[Mapping[str, Sequence[str]]] = {
    "untrusted_control": [FOREACH, WHEN],
    "untrusted_classes": _CLASSES,
    "secret_classes": _CLASSES,
}
"""What can be in a set of the context, whichever action it is about."""


def check_policies(policies: Sequence[Policy], *, schema: cedarpy.Schema, shapes: Mapping[str, Inputs]) -> None:
    """Check every policy.

    Raises:
        PolicyError: with everything that is wrong, each with file, line, rule and remedy.

    """
    is_sound = not _errors("\n".join(policy.text for policy in policies), schema)
    found = [[] if is_sound else _errors(policy.text, schema) for policy in policies]
    problems = [
        problem for policy, errors in zip(policies, found, strict=True) for problem in _problems(policy, errors, shapes)
    ]
    if problems:
        raise PolicyError("\n".join(problems))


def _errors(text: str, schema: cedarpy.Schema) -> list[str]:
    return [_PREFIX.sub("", error.error) for error in cedarpy.validate_policies(text, schema).errors]


def _problems(policy: Policy, found: Sequence[str], shapes: Mapping[str, Inputs]) -> Iterator[str]:
    messages = [message for message in found if _FOLLOWS not in message] or found
    # The same mistake is reported once for each action that the rule covers.
    unheard = chain(_unheard_of(policy, shapes), _never_found(policy, shapes))
    said = [(messages[0], _remedy(messages[0], shapes))] if messages else [*unheard]
    for message, remedy in said:
        yield f"{policy.rule.place}: the rule {policy.rule.id!r} does not fit the actions: {message}. {remedy}"


def _remedy(message: str, shapes: Mapping[str, Inputs]) -> str:
    if missing := re.search(r"unrecognized action `Action::\"(.*)\"`", message):
        return did_you_mean(missing.group(1), [*shapes, *GROUPS], title="Known actions and groups")
    argument = re.search(r"attribute `(?:(.*)\.)?(\w+)` in context", message)
    if argument and argument.group(1):
        asked = f"context.{argument.group(1)} has {argument.group(2)} && ..."
        return f"Ask for it first: {asked}, or name in the scope the actions that always have it."
    if argument:
        return f"The context has: {', '.join(sorted(EVERYTHING))}."
    return "What a rule may read is said at the top of default.cedar."


def _unheard_of(policy: Policy, shapes: Mapping[str, Inputs]) -> Iterator[tuple[str, str]]:
    """Yield what Cedar is silent about: `has` asks for a name that nothing the rule covers can have."""
    for path in sorted(policy.paths):
        if path and path[0] not in EVERYTHING:
            yield f"the context never has {path[0]!r}", did_you_mean(path[0], sorted(EVERYTHING), title="It has")
        if path[:1] == ("inputs",) and len(path) > 1 and policy.actions and policy.actions.isdisjoint(GROUPS):
            known = {name for action in policy.actions for name in _arguments(shapes[action])}
            if path[1] not in known:
                message = f"{', '.join(sorted(policy.actions))} never has an argument {path[1]!r}"
                yield message, did_you_mean(path[1], sorted(known), title="Known arguments")


def _never_found(policy: Policy, shapes: Mapping[str, Inputs]) -> Iterator[tuple[str, str]]:
    """Yield what Cedar is silent about as well: the rule looks in a set for a name that is never there."""
    known, named = dict(_IN_SETS), policy.actions or frozenset()
    if named and all(isinstance(shapes.get(action), Record) for action in named):
        arguments = sorted({name for action in named for name in _arguments(shapes[action])})
        known |= {"untrusted": arguments, "secret": arguments}
    for attribute, name in sorted(policy.sought):
        if name not in known.get(attribute, [name]):
            yield f"context.{attribute} never has {name!r}", did_you_mean(name, known[attribute], title="It has")


def _arguments(shape: Inputs) -> Sequence[str]:
    return [*shape.attributes] if isinstance(shape, Record) else ["json"]
