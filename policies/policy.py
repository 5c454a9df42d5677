"""One Cedar policy, and what can be known of it without running it."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import cedarpy

from agentic_workflows.graph.json_schema import objects_in
from agentic_workflows.graph.values import JsonObject, JsonValue
from agentic_workflows.policies.decision import Rule
from agentic_workflows.policies.schema import CONTEXT

EVERYTHING = frozenset({*CONTEXT, "inputs"})
"""Every attribute of the context."""

_LOOKS_FOR = frozenset({"contains", "containsAny", "containsAll"})

MEMO = 4_096
"""Answers of Cedar kept."""
MEMO_TEXT = 4_096
"""A question of which policies can read more characters is asked anew each time."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """One `permit` or `forbid`."""

    rule: Rule
    text: str
    cedar: Mapping[str, Any]
    """Cedar's own JSON form of it."""
    is_built_in: bool = False
    """Whether it stands in a file of this package."""

    @property
    def is_permit(self) -> bool:
        """Tell whether it permits; otherwise it forbids."""
        return bool(self.cedar["effect"] == "permit")

    @property
    def replaces(self) -> str | None:
        """Return the `@id` of the rule that it takes the place of."""
        replaced = self.cedar.get("annotations", {}).get("replaces")
        return None if replaced is None else str(replaced)

    @cached_property
    def actions(self) -> frozenset[str] | None:
        """Return the actions and groups that its scope names; None is all."""
        scope = self.cedar["action"]
        named = [scope["entity"]] if "entity" in scope else scope.get("entities")
        return None if named is None else frozenset(str(entity["id"]) for entity in named)

    @cached_property
    def paths(self) -> frozenset[tuple[str, ...]]:
        """Return every path into the context that it reads: `context.inputs.path` is ("inputs", "path")."""
        return frozenset(_paths(self.cedar["conditions"]))

    @property
    def reads(self) -> frozenset[str]:
        """Return the attributes of the context that it reads; an access that is unclear reads all."""
        return EVERYTHING if () in self.paths else frozenset(path[0] for path in self.paths)

    @cached_property
    def sought(self) -> frozenset[tuple[str, str]]:
        """Return what it looks for in sets of the context: `context.secret.contains("to")` is ("secret", "to")."""
        return frozenset(_sought(self.cedar["conditions"]))

    def covers(self, names: Collection[str]) -> bool:
        """Tell whether its scope takes in an action, given by its name and groups."""
        return self.actions is None or not self.actions.isdisjoint(names)

    def unconditional(self) -> "Policy":
        """Return it with its scope alone."""
        return replace(self, cedar={**self.cedar, "conditions": []})


def policy_set(
    policies: Mapping[int, Policy], *, reads_unknown: Callable[[Policy], object] = lambda _: False
) -> cedarpy.PolicySet:
    """Return policies, parsed; where one reads the unknown, a permit permits all its scope and a forbid has no say."""
    static: dict[str, object] = {}
    for at, policy in policies.items():
        if not reads_unknown(policy):
            static[str(at)] = policy.cedar
        elif policy.is_permit:
            static[str(at)] = policy.unconditional().cedar
    return cedarpy.PolicySet.from_json_str(json.dumps({"staticPolicies": static, "templates": {}, "templateLinks": []}))


def part_of(context: JsonObject, path: Sequence[str]) -> JsonValue:
    """Return what stands at a path; no value of a context is null, so that is what stands where nothing does."""
    part: JsonValue = context
    for name in path:
        part = part.get(name) if isinstance(part, dict) else None
    return part


def _paths(node: object) -> Iterator[tuple[str, ...]]:
    waiting = [node]
    while waiting:
        node = waiting.pop()
        path = _path(node)
        if path is not None:
            yield path
        elif isinstance(node, Mapping):
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _path(node: object) -> tuple[str, ...] | None:
    """Return the path if an expression is `context`, or an attribute of such a path, or asks whether it has one."""
    names: list[str] = []
    while isinstance(node, Mapping) and len(node) == 1:
        if node.get("Var") == "context":
            return tuple(reversed(names))
        access = node.get(".", node.get("has"))
        if not isinstance(access, Mapping) or "left" not in access:
            return None
        names.append(str(access["attr"]))
        node = access["left"]
    return None


def _sought(conditions: object) -> Iterator[tuple[str, str]]:
    for node in objects_in(conditions):
        for operator in _LOOKS_FOR & node.keys():
            left, right = node[operator]["left"], node[operator]["right"]
            for where, what in ((left, right), (right, left)) if operator == "containsAny" else ((left, right),):
                path = _path(where)
                if path and len(path) == 1:
                    yield from ((path[0], one["Value"]) for one in what.get("Set", [what]) if "Value" in one)
