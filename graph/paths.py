"""Which fields of a value a path can lead to, known from the path alone.

The answer errs on one side only: a field that shows in what the path gives is always among those given, and one that
decides which part it gives is among those given or among those that choose.
"""

from functools import lru_cache
from typing import Any, Final, NamedTuple

import jmespath

_KEEPS_ELEMENTS: Final = frozenset({"sort_by", "sort", "reverse", "max_by", "min_by", "max", "min"})
"""Functions whose result is one of the elements of their first argument, or some order of them."""
# Kinds of nodes of a parsed JMESPath, by what they make of the fields that they are given.
_PASSES: Final = frozenset({"current", "identity", "index", "slice"})
_CHAINS: Final = frozenset(
    {"subexpression", "index_expression", "pipe", "projection", "flatten", "key_val_pair", "expref"}
)
_GATHERS: Final = frozenset({"multi_select_list", "or_expression", "literal"})
_CHOOSES: Final = frozenset({"value_projection", "filter_projection"})
_COMPUTES: Final = frozenset(
    {"function_expression", "comparator", "and_expression", "not_expression", "multi_select_dict"}
)
_COMPUTED: Final = "()"
"""Ends a field for what a function made of the rest, or a path gave names of its own: no name below it is a field's."""
_MOST: Final = 1_000
"""Fields that a path names on its way; one that names more, as `[a, b].[c, d]` on and on does, may give anything."""
_SELECTS: Final = _CHOOSES | {"field", "subexpression", "index_expression", "pipe", "projection", "flatten"}
_KEEPS_TEXTS: Final = _SELECTS | _GATHERS | {"multi_select_dict", "key_val_pair", "and_expression"}
_TAKES_TEXTS: Final = (_KEEPS_ELEMENTS - {"reverse"}) | {"keys", "values", "to_array", "not_null"}
"""Functions that make no text of their own; of a text, `reverse` does."""
_LISTS: Final = _CHOOSES | {"projection", "flatten", "multi_select_list"}


class Fields(NamedTuple):
    """The fields that a path reads, as dotted names without indexes."""

    given: frozenset[str]
    """What it gives is made of these."""
    choosing: frozenset[str]
    """These it only looks at, to choose what it gives."""


@lru_cache(maxsize=4096)
def fields_of(path: str, parts: frozenset[str]) -> Fields:
    """Return the fields that a JMESPath on these parts of a value may read."""
    read: set[str] = set()
    tree: Any = jmespath.compile("@" + path).parsed
    given = _walk(tree, parts, read)
    return Fields(given, frozenset(read) - given)


@lru_cache(maxsize=4096)
def only_selects(path: str) -> bool:
    """Tell whether all that a path can give stands in the value already; no text of the path itself is in it."""
    tree: Any = jmespath.compile("@" + path).parsed
    return _selects(tree)


def is_computed(field: str) -> bool:
    """Tell whether a path gives no field as it stands, but what a function made of it, or names of its own."""
    return field.endswith(_COMPUTED)


@lru_cache(maxsize=4096)
def keeps_texts(path: str) -> bool:
    """Tell whether every text that a path can give stands in the value as it is, or in the path itself."""
    tree: Any = jmespath.compile("@" + path).parsed
    return _keeps_texts(tree)


def is_below(field: str, declared: str) -> bool:
    """Tell whether a field is a declared one or a part of it; `*` in a declared one is any name, or all by itself."""
    if declared == "*":
        return True
    names, wanted = _names(field), _names(declared)
    return len(names) >= len(wanted) > 0 and all(
        name != _COMPUTED and want in ("*", name) for name, want in zip(names, wanted, strict=False)
    )


def may_hold(field: str, declared: str) -> bool:
    """Tell whether anything of a declared field may be in a field: it is a part of it, or has it as a part."""
    for name, want in zip(_names(field), _names(declared), strict=False):
        if name == _COMPUTED:
            break
        if name != want and "*" not in (name, want):
            return False
    return True


def _names(field: str) -> list[str]:
    return field.split(".") if field else []


def _below(parts: frozenset[str], name: str) -> frozenset[str]:
    # A dot inside a name must not look like a step down.
    name = name.replace(".", "\\")
    return frozenset(part if part.endswith(_COMPUTED) else f"{part}.{name}" if part else name for part in parts)


def _walk(node: dict[str, Any], parts: frozenset[str], read: set[str]) -> frozenset[str]:
    """Return what a node gives on parts; what it only looks at is added to `read`."""
    kind, inside = node["type"], node["children"]
    if kind == "field":
        return _below(parts, str(node["value"]))
    if kind in _PASSES:
        return parts
    if kind in _CHAINS:
        return _along(inside, parts, read)
    if kind in _GATHERS:
        return _each(inside, parts, read)
    if kind in _CHOOSES or (node.get("value") in _KEEPS_ELEMENTS and inside):  # without arguments it gives nothing
        return _chosen(kind, inside, parts, read)
    return _below(_each(inside, parts, read) if kind in _COMPUTES else parts, _COMPUTED)


def _chosen(kind: str, inside: list[dict[str, Any]], parts: frozenset[str], read: set[str]) -> frozenset[str]:
    """Return what a node gives that chooses or orders elements by their fields."""
    elements = _walk(inside[0], parts, read)
    if kind == "value_projection":
        return _along([inside[1]], _below(elements, "*"), read)
    if kind == "filter_projection":
        read |= _each(inside[2:], elements, read)
        return _along([inside[1]], elements, read)
    # Which element comes first tells of what is compared, and a text in reverse is another text.
    read |= _below(_each(inside[1:], elements, read) or elements, _COMPUTED)
    return elements


def _selects(node: dict[str, Any]) -> bool:
    kind = node["type"]
    return kind in _PASSES or (kind in _SELECTS and all(map(_selects, _shown(node))))


def _keeps_texts(node: dict[str, Any]) -> bool:
    kind = node["type"]
    if kind in _PASSES:
        return True
    if kind == "function_expression":
        keeps = node["value"] in _TAKES_TEXTS or (node["value"] == "reverse" and all(map(_is_list, node["children"])))
    else:
        keeps = kind in _KEEPS_TEXTS
    return keeps and all(map(_keeps_texts, _shown(node)))


def _is_list(node: dict[str, Any]) -> bool:
    """Tell whether a node can give nothing but a list."""
    return node["type"] in _LISTS or (node["type"] == "function_expression" and node["value"] in {"sort", "sort_by"})


def _shown(node: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the nodes inside a node that are in what it gives, and do not only say which elements."""
    inside: list[dict[str, Any]] = node["children"]
    return inside[:2] if node["type"] == "filter_projection" else [one for one in inside if one["type"] != "expref"]


def _along(nodes: list[dict[str, Any]], parts: frozenset[str], read: set[str]) -> frozenset[str]:
    for node in nodes:
        given = _walk(node, parts, read)
        if not given:  # a literal takes its place, if it can be had at all
            read |= parts
        parts = given if len(given) <= _MOST else frozenset({_COMPUTED})
    return parts


def _each(nodes: list[dict[str, Any]], parts: frozenset[str], read: set[str]) -> frozenset[str]:
    return frozenset[str]().union(*(_walk(node, parts, read) for node in nodes))
