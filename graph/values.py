"""JSON values: the only thing that crosses from a step to the next, and that is ever stored."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from typing_extensions import TypeAliasType

from agentic_workflows.errors import ActionError

# Not a plain alias: pydantic cannot follow one that names itself, and LangGraph's schemas of the state need it to.
JsonValue = TypeAliasType("JsonValue", "None | bool | int | float | str | list[JsonValue] | dict[str, JsonValue]")
JsonObject: TypeAlias = dict[str, JsonValue]

MAX_DEPTH = 100
"""Nesting beyond this is refused: every later reader of the value recurses."""


def as_json(value: object, *, where: str = "value", depth: int = 0) -> JsonValue:
    """Return value as plain JSON, tuples as lists.

    Raises:
        ActionError: a part of the value is not JSON; the message says which.

    """
    if depth > MAX_DEPTH:
        raise ActionError(f"{where} is nested more than {MAX_DEPTH} levels deep.")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _plain_number(value, where)
    if isinstance(value, str):
        return _plain_text(value, where)
    if isinstance(value, Mapping):
        return {_key(k, where): as_json(v, where=f"{where}.{k}", depth=depth + 1) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [as_json(v, where=f"{where}[{i}]", depth=depth + 1) for i, v in enumerate(value)]
    raise ActionError(f"{where} is a {type(value).__name__}, which is not JSON.")


def canonical(value: object) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: object) -> str:
    """Return the SHA-256 of a value's canonical text, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value).encode("utf-8", "surrogatepass")).hexdigest()


def _plain_number(number: float, where: str) -> float:
    """Return a number as a plain `int` or `float`, whatever class of its own it has."""
    if isinstance(number, int):
        if not -(2**63) <= number < 2**64:
            raise ActionError(f"{where} is a whole number of more than 64 bits, which cannot be stored.")
        return int(number)
    if not math.isfinite(number):
        raise ActionError(f"{where} is {number}, which JSON does not have.")
    return float(number)


def _key(key: object, where: str) -> str:
    if not isinstance(key, str):
        raise ActionError(f"{where} has the key {key!r}, and a JSON key is a string.")
    return _plain_text(key, f"A key of {where}")


def _plain_text(text: str, where: str) -> str:
    """Return a text as a plain `str`, whatever class of its own it has."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ActionError(f"{where} is text that is no Unicode: it cannot be written as UTF-8.") from None
    return text[:]
