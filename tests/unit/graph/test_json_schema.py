"""A schema is a program that a planner or a server wrote: it ends."""

from typing import Any

import pytest

from agentic_workflows.graph.json_schema import compiled
from agentic_workflows.graph.values import canonical

LEVELS = 45


def doubling(reference: str, **names: str) -> dict[str, Any]:
    """Return a schema each part of which refers twice to the next one; names may hold the number of a part."""
    parts = {
        f"a{at}": {key: name.format(at) for key, name in names.items()}
        | {"allOf": [{"$ref": reference.format(at + 1)}] * 2}
        for at in range(LEVELS)
    }
    last = {key: name.format(LEVELS) for key, name in names.items()} | {"type": "string"}
    return {"$defs": {**parts, f"a{LEVELS}": last}, "$ref": reference.format(0)}


@pytest.mark.parametrize(
    "schema",
    [doubling("#/$defs/a{}"), doubling("#/%24defs/a{}"), doubling("#x{}", **{"$anchor": "x{}"})],
    ids=["place", "escaped", "anchor"],
)
def test_a_schema_that_no_check_would_come_to_the_end_of_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="refers to its own parts more than 100,000 times"):
        compiled(canonical(schema))


@pytest.mark.parametrize(
    "schema",
    [
        doubling("x{}", **{"$id": "x{}"}),
        {"$schema": "http://json-schema.org/draft-04/schema#", **doubling("x{}", id="x{}")},
    ],
    ids=["now", "draft 4"],
)
def test_references_are_read_from_the_whole_schema_alone(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"it has an \$id inside"):
        compiled(canonical(schema))


def test_references_may_go_in_a_circle_and_be_many() -> None:
    tree: dict[str, Any] = {"type": "object", "properties": {side: {"$ref": "#"} for side in ("left", "right", "id")}}
    assert compiled(canonical(tree)).is_valid({"left": {"right": {}}})
    assert not compiled(canonical(tree)).is_valid({"left": {"right": 1}})
    table: dict[str, Any] = {
        "$defs": {"cell": {"type": "string"}},
        "properties": {f"c{at}": {"$ref": "#/$defs/cell"} for at in range(9000)},
    }
    assert compiled(canonical(table)).is_valid({"c1": "x", "id": "y"})
