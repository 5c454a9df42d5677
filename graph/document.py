"""A YAML or JSON file that a person wrote, read with suspicion."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, cast

import yaml

from agentic_workflows.graph.findings import Finding

MAX_NODES: Final = 200_000
"""Values in a YAML file once its aliases are written out."""
MAX_NESTING: Final = 100

_QUOTE = "Quote it."
_TAG = "tag:yaml.org,2002:"
_PLAIN = frozenset(_TAG + kind for kind in ("str", "int", "float", "bool", "null", "seq", "map", "merge"))
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class UnreadableError(Exception):
    """A file gives no value; whoever reads it says what the file was for."""

    def __init__(self, *findings: Finding) -> None:
        self.findings = findings


def read_document(path: Path, *, max_bytes: int) -> object:
    """Return the value in a file: JSON where its name ends in `.json`, else YAML.

    Raises:
        UnreadableError: it cannot be read, is empty, or holds what is no plain value.

    """
    text = _read(path, max_bytes)
    data = _from_json(text) if path.suffix.lower() == ".json" else _from_yaml(text)
    if data is None:
        raise _unreadable("It is empty.", "Write something into it, or give another file.")
    return data


def _unreadable(problem: str, remedy: str = "") -> UnreadableError:
    return UnreadableError(Finding(problem=problem, remedy=remedy))


def _read(path: Path, max_bytes: int) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _unreadable(f"It cannot be read: {reason}.", "Give the path of a YAML or JSON file.") from error
    if len(content) > max_bytes:
        problem = f"It has more than {max_bytes:,} bytes."
        raise _unreadable(problem, "Make it smaller; large texts belong into files of their own.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unreadable(f"It is not UTF-8 text: {error}.", "Save it as UTF-8.") from error


def _from_json(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except json.JSONDecodeError as error:
        problem = f"It is not JSON: {error.msg}, line {error.lineno}, column {error.colno}."
        raise _unreadable(problem, "Correct that place.") from error
    except (RecursionError, ValueError) as error:
        raise _unreadable(f"It is not JSON that can be read: {error}.") from error


def _object(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _unreadable(f"The key {twice!r} stands twice in one object.", "Keep one of them.")
    return found


def _constant(name: str) -> object:
    raise _unreadable(f"{name} is a number that JSON does not have.")


def _from_yaml(text: str) -> object:
    try:
        _refuse_deep(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            if findings := list(_Inspection().findings(node)):
                raise UnreadableError(*findings)
            return cast("object", loader.construct_document(node))
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise _unreadable(f"It is not YAML: {_complaint(error)}.", "Correct that place.") from error
    except ValueError as error:
        raise _unreadable(f"It holds a value that cannot be read: {error}.") from error


def _refuse_deep(text: str) -> None:
    """Refuse deep nesting in the stream of events: building nodes of it would end the process."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_NESTING:
            raise _unreadable(
                f"It is nested more than {MAX_NESTING} levels deep at {_place(event)}.", "Write it flatter."
            )


class _Inspection:
    """One look at every node of a YAML document before anything is built of it."""

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}
        self._open: set[int] = set()

    def findings(self, node: Any) -> Iterator[Finding]:
        """Yield what is wrong with a node and all below it."""
        if id(node) in self._open:
            raise _unreadable(f"The alias at {_place(node)} holds itself.", "Write the value out.")
        if id(node) in self._sizes:
            return
        self._open.add(id(node))
        yield from _tag_findings(node)
        if isinstance(node, yaml.MappingNode):
            yield from _key_findings(node)
        below = _children(node)
        for child in below:
            yield from self.findings(child)
        self._open.discard(id(node))
        size = self._sizes[id(node)] = 1 + sum(self._sizes[id(child)] for child in below)
        if size > MAX_NODES:
            raise _unreadable(f"It has more than {MAX_NODES:,} values once its aliases are written out.")


def _children(node: Any) -> list[Any]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _tag_findings(node: Any) -> Iterator[Finding]:
    if node.tag == _TAG + "timestamp":
        yield Finding(problem=f"{node.value} at {_place(node)} is a date, which JSON does not have.", remedy=_QUOTE)
    elif node.tag not in _PLAIN:
        tag = node.tag.removeprefix(_TAG)
        problem = f"The tag {tag!r} at {_place(node)} builds something that is not JSON."
        yield Finding(problem=problem, remedy="Remove the tag.")
    elif node.tag == _TAG + "int" and ":" in node.value:
        yield Finding(problem=f"{node.value} at {_place(node)} is a number to YAML, in base 60.", remedy=_QUOTE)


def _key_findings(node: Any) -> Iterator[Finding]:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.tag == _TAG + "merge":
            continue
        if key.tag != _TAG + "str":
            shown = key.value if isinstance(key, yaml.ScalarNode) else "A list or mapping"
            yield Finding(problem=f"{shown} at {_place(key)} is a key that is no text.", remedy=_QUOTE)
        elif key.value in seen:
            yield Finding(problem=f"The key {key.value!r} at {_place(key)} stands twice.", remedy="Keep one of them.")
        else:
            seen.add(key.value)


def _complaint(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        return f"{error.problem or error.context}{place}"
    return str(error).replace("\n", " ")


def _place(marked: Any) -> str:
    return f"line {marked.start_mark.line + 1}, column {marked.start_mark.column + 1}"
