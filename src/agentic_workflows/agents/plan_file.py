"""A plan that a person wrote: a YAML or JSON file, read with suspicion."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import yaml

from agentic_workflows.agents.faults import faults_in
from agentic_workflows.errors import PlanError, PlanningError
from agentic_workflows.graph.findings import Finding
from agentic_workflows.graph.plan import MAX_STEPS, Plan
from agentic_workflows.graph.plan import from_json as plan_from_json
from agentic_workflows.graph.plan_schema import MAX_BYTES

MAX_NODES = 200_000
"""Values in a YAML file once its aliases are written out."""
MAX_NESTING = 100

_QUOTE = "Quote it."
_TAG = "tag:yaml.org,2002:"
_PLAIN = frozenset(_TAG + kind for kind in ("str", "int", "float", "bool", "null", "seq", "map", "merge"))
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class PlanFileAgent:
    """Gives the plan of a file, once: a file cannot learn from what went wrong.

    Raises:
        PlanError: the file is no plan; every finding at once.

    """

    def __init__(self, path: Path | str, *, max_steps: int = MAX_STEPS) -> None:
        self.path = Path(path)
        self.plan = load_plan(self.path, max_steps=max_steps)

    async def create_plan(self, goal: str, history: Sequence[Mapping[str, object]]) -> Plan:
        """Return the plan of the file.

        Raises:
            PlanningError: something went wrong with it already; the message lists what.

        """
        if history:
            faults = "".join(f"\n  - {fault}" for fault in faults_in(history))
            raise PlanningError(f"The plan file {self.path} cannot be planned again. Change it:{faults}")
        return replace(self.plan, goal=self.plan.goal or goal)


def load_plan(path: Path | str, *, max_steps: int = MAX_STEPS) -> Plan:
    """Return the plan in a YAML or JSON file.

    Raises:
        PlanError: the file cannot be read or is no plan; every finding at once.

    """
    source = f"The plan file {path}"
    try:
        text = _read(Path(path))
        data = _from_json(text) if Path(path).suffix.lower() == ".json" else _from_yaml(text)
        if data is None:
            raise _unreadable("It is empty.", "Write a mapping with the key steps.")
    except _UnreadableError as error:
        raise PlanError(error.findings, source=source) from error
    return plan_from_json(data, source=source, max_steps=max_steps)


class _UnreadableError(Exception):
    """The text of a file gives no value; becomes a `PlanError` that names the file."""

    def __init__(self, *findings: Finding) -> None:
        self.findings = findings


def _unreadable(problem: str, remedy: str = "") -> _UnreadableError:
    return _UnreadableError(Finding(problem=problem, remedy=remedy))


def _read(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _unreadable(f"It cannot be read: {reason}.", "Give the path of a YAML or JSON file.") from error
    if len(content) > MAX_BYTES:
        problem = f"It has more than {MAX_BYTES:,} bytes."
        raise _unreadable(problem, "Put large texts into files and read them.")
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
                raise _UnreadableError(*findings)
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
