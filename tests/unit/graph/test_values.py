import enum
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic_workflows.errors import ActionError
from agentic_workflows.graph.values import MAX_DEPTH, MAX_PARTS, JsonValue, as_json, canonical, copied, digest

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Level(enum.IntEnum):
    HIGH = 3


class Colour(enum.StrEnum):
    RED = "red"


@given(json_values)
def test_json_is_returned_as_it_is(value: object) -> None:
    assert as_json(value) == value


@given(json_values)
def test_a_copy_is_equal_and_shares_nothing_that_can_change(value: JsonValue) -> None:
    copy, before = copied(value), canonical(value)
    assert copy == value
    for part in _changeable(copy):
        part.clear()
    assert canonical(value) == before


def _changeable(value: JsonValue) -> list[Any]:
    if not isinstance(value, dict | list):
        return []
    inside = value.values() if isinstance(value, dict) else value
    return [*(part for inner in inside for part in _changeable(inner)), value]


@given(json_values)
def test_canonical_text_is_the_value(value: object) -> None:
    assert json.loads(canonical(value)) == value


@given(st.dictionaries(st.text(), json_values, max_size=6))
def test_the_order_of_keys_changes_no_digest(value: dict[str, object]) -> None:
    assert digest(value) == digest(dict(reversed(value.items())))


def test_tuples_become_lists() -> None:
    assert as_json({"a": (1, (2,))}) == {"a": [1, [2]]}


@pytest.mark.parametrize(
    "value, problem",
    [
        (b"x", "value is a bytes"),
        ({1, 2}, "value is a set"),
        (float("nan"), "value is nan"),
        (float("-inf"), "value is -inf"),
        ({1: "x"}, "has the key 1"),
        ({"a": [object()]}, r"value\.a\[0\] is a object"),
    ],
)
def test_what_is_not_json_is_refused_with_its_place(value: object, problem: str) -> None:
    with pytest.raises(ActionError, match=problem):
        as_json(value)


def test_deep_and_endless_values_are_refused() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(ActionError, match=f"more than {MAX_DEPTH} levels"):
        as_json(endless)


def test_a_small_value_that_would_be_written_as_a_very_large_one_is_refused() -> None:
    shared: object = 0
    for _ in range(MAX_DEPTH):
        shared = (shared, shared)
    for value in (shared, {"a": [[0] * MAX_PARTS]}):
        with pytest.raises(ActionError, match=r"is in a value of more than 2,000,000 parts"):
            as_json(value)


@pytest.mark.parametrize("value, plain", [(Level.HIGH, int), (Colour.RED, str)])
def test_no_type_of_a_caller_survives(value: object, plain: type) -> None:
    assert type(as_json(value)) is plain


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 10**5000], ids=["big", "low", "huge"])
def test_a_number_that_a_checkpoint_cannot_hold_is_refused(value: int) -> None:
    with pytest.raises(ActionError):
        as_json(value)


def test_text_that_is_no_unicode_is_refused() -> None:
    """A file name of other bytes comes as lone surrogates, which neither schemas nor checkpoints can hold."""
    with pytest.raises(ActionError):
        as_json({"name": "caf\udce9"})
