"""JSON values: the only thing that crosses from a step to the next, and that is ever stored."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar, cast

from typing_extensions import TypeAliasType

from agentic_workflows.errors import ActionError

# Not a plain alias: pydantic cannot follow one that names itself, and LangGraph's schemas of the state need it to.
JsonValue = TypeAliasType("JsonValue", "None | bool | int | float | str | list[JsonValue] | dict[str, JsonValue]")
JsonObject: TypeAlias = dict[str, JsonValue]
Json = TypeVar("Json")
"""A type of plain JSON."""

MAX_DEPTH = 100
"""Nesting beyond this is refused: every later reader of the value recurses."""
MAX_PARTS = 2_000_000
"""Parts beyond this are refused: each reader of the value holds up everything else in the process."""
_TOO_MANY = f"is in a value of more than {MAX_PARTS:,} parts; give less of it."


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


class _NotJsonError(Exception):
    """A part of a value is not JSON; `path` grows from the part outwards."""

    def __init__(self, problem: str) -> None:
        self.problem, self.path = problem, ""
        super().__init__(problem)


def as_json(value: object, *, where: str = "value") -> JsonValue:
    """Return value as plain JSON, tuples as lists.

    Raises:
        ActionError: a part of the value is not JSON; the message says which.

    """
    try:
        return _plain(value, 0, [MAX_PARTS])
    except _NotJsonError as error:
        raise ActionError(f"{where}{error.path} {error.problem}") from None


def copied(value: Json) -> Json:
    """Return a copy of plain JSON that shares nothing that can change; it is not checked again."""
    again: Any = value
    if isinstance(value, dict):
        again = {key: copied(inner) for key, inner in value.items()}
    elif isinstance(value, list):
        again = [copied(inner) for inner in value]
    return cast("Json", again)


def canonical(value: object) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces."""
    return _ENCODER.encode(value)


def writable(text: str) -> str:
    """Return a text as every database can hold it: NUL and lone surrogates are written out as escapes."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def beginning(text: str, most: int) -> str:
    """Return a text, or where it is longer its first `most` characters and `...`."""
    return text if len(text) <= most else f"{text[:most]}..."


def some_of(names: Sequence[str], most: int, separator: str = ", ") -> str:
    """Return names as one text: the first `most` of them, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{separator.join(names[:most])}{more}"


def digest(value: object) -> str:
    """Return the SHA-256 of a value's canonical text, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value).encode("utf-8", "surrogatepass")).hexdigest()


def _plain(value: object, depth: int, left: list[int]) -> JsonValue:
    """Return a value as plain JSON; `left` holds how many parts all of it may still have."""
    if type(value) is str and value.isascii():  # as nearly all are: a call more costs as much as the rest
        return value
    if isinstance(value, str):
        return _plain_text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _plain_number(value)
    if depth >= MAX_DEPTH:
        raise _NotJsonError(f"is nested more than {MAX_DEPTH} levels deep.")
    if isinstance(value, dict | Mapping):  # a dict first: whether something is any other mapping takes long to tell
        return _plain_mapping(value, depth + 1, left)
    if isinstance(value, list | Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return _plain_list(value, depth + 1, left)
    raise _NotJsonError(f"is a {type(value).__name__}, which is not JSON.")


def _plain_mapping(value: Mapping[object, object], depth: int, left: list[int]) -> JsonObject:
    left[0] -= len(value)
    if left[0] < 0:
        raise _NotJsonError(_TOO_MANY)
    found: JsonObject = {}
    for key, inner in value.items():
        name = key if type(key) is str and key.isascii() else _key(key)
        if type(inner) is str and inner.isascii():
            found[name] = inner
            continue
        try:
            found[name] = _plain(inner, depth, left)
        except _NotJsonError as error:
            error.path = f".{key}{error.path}"
            raise
    return found


def _plain_list(value: Sequence[object], depth: int, left: list[int]) -> list[JsonValue]:
    left[0] -= len(value)
    if left[0] < 0:
        raise _NotJsonError(_TOO_MANY)
    found: list[JsonValue] = []
    for at, inner in enumerate(value):
        try:
            found.append(_plain(inner, depth, left))
        except _NotJsonError as error:
            error.path = f"[{at}]{error.path}"
            raise
    return found


def _plain_number(number: float) -> float:
    """Return a number as a plain `int` or `float`, whatever class of its own it has."""
    if isinstance(number, int):
        if not -(2**63) <= number < 2**64:
            raise _NotJsonError("is a whole number of more than 64 bits, which cannot be stored.")
        return int(number)
    if not math.isfinite(number):
        raise _NotJsonError(f"is {number}, which JSON does not have.")
    return float(number)


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise _NotJsonError(f"has the key {key!r}, and a JSON key is a string.")
    return _plain_text(key)


def _plain_text(text: str) -> str:
    """Return a text as a plain `str`, whatever class of its own it has."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _NotJsonError("is text that is no Unicode: it cannot be written as UTF-8.") from None
    return text[:]
