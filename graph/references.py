"""References: `${emails[0].subject}` is the output `emails` and a JMESPath (jmespath.org) on that one value.

A text that is one reference as a whole keeps the value's type; one inside other text is written into it. `$${` is a
literal `${`. Resolved text is never looked at again, and nothing here evaluates code.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import jmespath
from jmespath.exceptions import JMESPathError

from agentic_workflows.errors import UnresolvedReferenceError
from agentic_workflows.graph.budget import Budget, search
from agentic_workflows.graph.values import MAX_DEPTH, JsonObject, JsonValue, as_json, beginning, canonical

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SECRETS = "secrets"
"""No output has this name: `${secrets.TOKEN}` is a secret, which stays as it is written until an action gets it."""
_SECRET = re.compile(r"\$\{secrets\.([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET_INSIDE = re.compile(r"(?<!\$)" + _SECRET.pattern)
_MARK = re.compile(r"\$\$\{|\$\{")
_OUTSIDE = re.compile(r"""[{}'"`]""")
_QUOTED = {quote: re.compile(rf"(?:[^{quote}\\]++|\\.)*+{quote}", re.DOTALL) for quote in "'\"`"}
"""The rest of a quoted part of a JMESPath, in which braces do not count."""
_SIMPLE = frozenset({"current", "field", "index", "subexpression", "index_expression"})


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One `${name path}`."""

    name: str
    path: str
    """JMESPath on the value; empty for the whole of it."""

    def __str__(self) -> str:
        return "${" + self.name + self.path + "}"


Template: TypeAlias = tuple[str | Reference, ...]


@lru_cache(maxsize=16_384)
def parse(text: str) -> Template:
    """Split a text into literal parts and references.

    Raises:
        UnresolvedReferenceError: a `${` is not closed, or what it holds is no reference.

    """
    parts: list[str | Reference] = []
    literal, at = "", 0
    while mark := _MARK.search(text, at):
        literal += text[at : mark.start()]
        if mark.group() == "$${":
            literal, at = literal + "${", mark.end()
            continue
        if secret := _SECRET.match(text, mark.start()):
            literal, at = literal + secret.group(), secret.end()
            continue
        end = _closing(text, mark.end())
        if literal:
            parts.append(literal)
        parts.append(_reference(text[mark.end() : end]))
        literal, at = "", end + 1
    literal += text[at:]
    if literal or not parts:
        parts.append(literal)
    return tuple(parts)


def secret_name(value: JsonValue) -> str | None:
    """Return the name of the secret that a value as a whole is; None for any other value."""
    found = _SECRET.fullmatch(value) if isinstance(value, str) else None
    return found.group(1) if found else None


def has_secret(value: JsonValue) -> bool:
    """Tell whether a value names a secret anywhere inside."""
    if isinstance(value, str):
        return bool(_SECRET_INSIDE.search(value))
    return any(has_secret(one) for one in _inside(value))


def references_in(value: JsonValue) -> list[Reference]:
    """Return every reference anywhere inside a value, in order.

    Raises:
        UnresolvedReferenceError: one cannot be read.

    """
    if isinstance(value, str):
        return [part for part in parse(value) if isinstance(part, Reference)] if "${" in value else []
    return [found for inner in _inside(value) for found in references_in(inner)]


def _inside(value: JsonValue) -> Iterable[JsonValue]:
    """Return what stands in a value; nothing in one that has no parts."""
    if value is None or isinstance(value, bool | int | float):  # whether something is a mapping takes longer to tell
        return ()
    if isinstance(value, dict | Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def is_literal(value: JsonValue) -> bool:
    """Tell whether a value holds no reference."""
    return not references_in(value)


def resolve(value: JsonValue, scope: Mapping[str, JsonValue]) -> JsonValue:
    """Return value with every reference replaced by what it refers to in scope.

    Raises:
        UnresolvedReferenceError: a name is not in scope, a path gives nothing, or it is more than a call may be given.

    """
    return _resolved(value, scope, Budget())


def resolve_inputs(inputs: Mapping[str, JsonValue], scope: Mapping[str, JsonValue]) -> JsonObject:
    """Return a step's inputs resolved; errors as in `resolve`."""
    budget = Budget()
    return {key: _resolved(value, scope, budget) for key, value in inputs.items()}


def _resolved(value: JsonValue, scope: Mapping[str, JsonValue], budget: Budget, depth: int = 0) -> JsonValue:
    if isinstance(value, str):
        return _resolve_text(value, scope, budget, depth) if "${" in value else value
    if isinstance(value, Mapping):
        return {key: _resolved(inner, scope, budget, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_resolved(inner, scope, budget, depth + 1) for inner in value]
    return value


def _resolve_text(text: str, scope: Mapping[str, JsonValue], budget: Budget, depth: int) -> JsonValue:
    template = parse(text)
    if len(template) == 1 and isinstance(template[0], Reference):
        return _counted(template[0], scope, budget, depth)
    parts = (part if isinstance(part, str) else _as_text(_counted(part, scope, budget, depth)) for part in template)
    return "".join(parts)


def _counted(reference: Reference, scope: Mapping[str, JsonValue], budget: Budget, depth: int) -> JsonValue:
    value = _look_up(reference, scope, budget)
    try:
        budget.take_value(value, depth)
    except UnresolvedReferenceError as error:
        raise UnresolvedReferenceError(f"{beginning(str(reference), 80)} cannot be given: {error}") from None
    return value


def _as_text(value: JsonValue) -> str:
    return value if isinstance(value, str) else canonical(value)


def _look_up(reference: Reference, scope: Mapping[str, JsonValue], budget: Budget) -> JsonValue:
    if reference.name not in scope:
        raise UnresolvedReferenceError(f"{reference} refers to {reference.name!r}, which no finished step gave.")
    value = scope[reference.name]
    if not reference.path:
        return value
    return _walk(_compile(reference.path).parsed, value, reference, budget)


def _walk(node: dict[str, Any], value: JsonValue, reference: Reference, budget: Budget) -> JsonValue:
    """Follow a path by hand as far as it is fields and indexes, so that what is missing differs from null."""
    if node["type"] not in _SIMPLE:
        return _search(reference, value, budget)
    match node["type"]:
        case "current":
            return value
        case "field" if isinstance(value, dict) and node["value"] in value:
            return value[str(node["value"])]
        case "index" if isinstance(value, list) and -len(value) <= node["value"] < len(value):
            return value[int(node["value"])]
        case "subexpression" | "index_expression":
            if any(child["type"] not in _SIMPLE for child in node["children"]):
                return _search(reference, value, budget)
            for child in node["children"]:
                value = _walk(child, value, reference, budget)
            return value
    raise UnresolvedReferenceError(f"{reference} gives nothing: {node['value']!r} is not there.")


def _search(reference: Reference, value: JsonValue, budget: Budget) -> JsonValue:
    try:
        found = as_json(search(_compile(reference.path).parsed, value, budget), where=str(reference))
    except Exception as error:  # the library lets many kinds out, on data that nobody here chose
        raise UnresolvedReferenceError(f"{reference} cannot be evaluated: {error}") from error
    if found is None:
        raise UnresolvedReferenceError(f"{reference} gives nothing.")
    return found


@lru_cache(maxsize=4096)
def _compile(path: str) -> Any:
    return jmespath.compile("@" + path)


def _reference(inside: str) -> Reference:
    name = NAME.match(inside)
    if not name:
        raise UnresolvedReferenceError(f"${{{inside}}} does not begin with the name of an output; write $${{ for text.")
    path = inside[name.end() :].rstrip()
    if path and path.lstrip()[0] not in ".[|":
        raise UnresolvedReferenceError(f"${{{inside}}} is no reference: after the name comes .field or [0].")
    try:
        tree = _compile(path).parsed
    except (JMESPathError, RecursionError, ValueError) as error:
        raise UnresolvedReferenceError(f"${{{inside[:80]}}} holds no JMESPath: {error}") from error
    if _is_deep(tree):
        problem = f"has a path of more than {MAX_DEPTH} parts inside one another; write a shorter one."
        raise UnresolvedReferenceError(f"${{{inside[:80]}}} {problem}")
    return Reference(name=name.group(), path=path)


def _is_deep(tree: dict[str, Any]) -> bool:
    """Tell whether a parsed path is nested deeper than a value may be: whoever reads it recurses."""
    level, depth = [tree], 0
    while level and depth <= MAX_DEPTH:
        level = [part for node in level for part in node["children"] if isinstance(part, dict)]  # numbers in a slice
        depth += 1
    return bool(level)


def _closing(text: str, at: int) -> int:
    """Return where the `}` is that closes a reference, past quotes and nested braces."""
    depth = 0
    while found := _OUTSIDE.search(text, at):
        char, at = found.group(), found.end()
        if char in _QUOTED:
            quoted = _QUOTED[char].match(text, at)
            if quoted is None:
                break
            at = quoted.end()
        elif char == "}" and depth == 0:
            return found.start()
        else:
            depth += 1 if char == "{" else -1
    raise UnresolvedReferenceError(f"A reference is not closed with }}: {text[:80]!r}. Write $${{ for the text ${{.")
