"""JSON Schema (2020-12): each is compiled once, fetches nothing, and checks a value in limited time."""

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

import jsonschema_rs

MOST_PARTS: Final = 100_000
"""Schemas in a schema, each counted as often as it is referred to: a check may visit all of them, and cannot be cut."""


@lru_cache(maxsize=2048)
def compiled(schema: str) -> Any:
    """Return the validator of a schema given as its canonical text.

    Raises:
        ValueError: it is no schema, refers to something outside, or to its own parts too often.

    """
    raw = json.loads(schema)
    if '"$ref"' in schema or '"$dynamicRef"' in schema:
        _Parts(raw).refuse_too_many()
    return jsonschema_rs.validator_for(raw, retriever=_fetch_nothing)


def _fetch_nothing(uri: str) -> Any:
    """Refuse to read what a schema refers to: a planner chooses it, and this machine may reach secrets."""
    raise ValueError(f"{uri} is outside the schema, and nothing is fetched")


class _Parts:
    """Counts the parts of a schema with its references written out; a reference to what it stands in adds one part."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._counts: dict[int, int] = {}
        self._anchors = {name: one for one in objects_in(schema) for name in _anchors(one)}

    def refuse_too_many(self) -> None:
        is_old = isinstance(self._schema, dict) and "draft-04" in str(self._schema.get("$schema"))
        for one in objects_in(self._schema):
            if one is not self._schema and isinstance(one.get("id" if is_old else "$id"), str):
                raise ValueError("it has an $id inside, below which references mean something else; use $defs alone")
        try:
            is_too_much = self._count(self._schema) > MOST_PARTS
        except RecursionError:
            is_too_much = True
        if is_too_much:
            raise ValueError(f"it refers to its own parts more than {MOST_PARTS:,} times; write fewer references")

    def _count(self, node: Any) -> int:
        if not isinstance(node, dict | list):
            return 0
        if id(node) not in self._counts:
            self._counts[id(node)] = 1  # while it is being counted
            inside = node.values() if isinstance(node, dict) else node
            found = 1 + sum(map(self._count, inside))
            if isinstance(node, dict):
                found += sum(self._count(self._target(node.get(one))) for one in ("$ref", "$dynamicRef"))
            self._counts[id(node)] = found
        return self._counts[id(node)]

    def _target(self, reference: Any) -> Any:
        """Return what a reference is to; nothing where that is not in here."""
        if not isinstance(reference, str):
            return None
        _, _, fragment = reference.partition("#")  # of what is not in here the compiler says so
        if fragment and not fragment.startswith("/"):
            return self._anchors.get(fragment)
        return part_at(fragment, self._schema)


def part_at(pointer: str, schema: Any) -> Any:
    """Return what a JSON Pointer, as a reference writes it, points to; nothing where that is not in the schema."""
    found = schema if pointer[:1] in ("", "/") else None
    for step in map(_unescaped, pointer.split("/")[1:]):
        if isinstance(found, dict):
            found = found.get(step)
        elif isinstance(found, list) and step.isdigit() and int(step) < len(found):
            found = found[int(step)]
        else:
            return None
    return found


def _unescaped(step: str) -> str:
    return unquote(step).replace("~1", "/").replace("~0", "~")


def objects_in(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every object in a JSON value, itself included."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def _anchors(node: dict[str, Any]) -> Iterator[str]:
    return (name for key in ("$anchor", "$dynamicAnchor") if isinstance(name := node.get(key), str))
