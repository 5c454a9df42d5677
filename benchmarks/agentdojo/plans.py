"""AgentDojo's ground truth as plans: a value that the goal does not state becomes a reference to where it stands.

The ground truth has literals. Where the goal states one, the plan does, too. One that is exactly what an earlier call
gave is a reference to it; one that stands inside a text that an earlier call gave is extracted from there by a text
step; one that stands nowhere is written by a text step that reads all that there was.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from agentdojo.functions_runtime import FunctionCall
from goals import in_text, is_in_goal, same
from tools import plain

from agentic_workflows.graph.catalogue import Annotations
from agentic_workflows.graph.values import JsonObject, JsonValue

Path = tuple[str | int, ...]
KEY: Final = "<key>"
"""Stands in a path for the keys of an object; the number of the key follows."""


@dataclass
class Leaf:
    """A value of one argument, and where the plan takes it from."""

    argument: str
    call: int | None = None
    path: Path = ()


@dataclass
class Planned:
    """The steps of one task, with what each call's values come from."""

    goal: str
    steps: list[list[JsonObject]] = field(default_factory=list)
    """One list a call: text steps first, the call itself last."""
    leaves: list[list[Leaf]] = field(default_factory=list)
    outputs: list[JsonValue] = field(default_factory=list)

    def plan(self, calls: range) -> JsonObject:
        """Return a plan of some of the calls."""
        return {"goal": self.goal, "steps": [step for at in calls for step in self.steps[at]]}


class Planner:
    """Turns the calls of one task into steps.

    Args:
        goal: what the user asked for.
        known: the annotations of the tools.
        first: outputs of earlier calls are not there for references: a new plan begins with this call.

    """

    def __init__(self, goal: str, known: dict[str, Annotations], *, first: int = 0) -> None:
        self.planned = Planned(goal)
        self._known, self._first = known, first

    def add(self, call: FunctionCall) -> None:
        """Add a call; its output follows with `gave`."""
        at = len(self.planned.steps)
        self._texts: list[JsonObject] = []
        self._leaves: list[Leaf] = []
        inputs = {name: self._value(name, name, plain(value), at) for name, value in call.args.items()}
        step: JsonObject = {"name": f"c{at}", "action": call.function, "inputs": inputs, "outputs": [f"o{at}"]}
        self.planned.steps.append([*self._texts, step])
        self.planned.leaves.append(self._leaves)

    def gave(self, output: JsonValue) -> None:
        """Say what the last call gave."""
        self.planned.outputs.append(output)

    def _value(self, argument: str, name: str, value: JsonValue, at: int) -> JsonValue:
        if isinstance(value, dict):
            return {key: self._value(argument, key, inner, at) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._value(argument, name, inner, at) for inner in value]
        if value is None or isinstance(value, bool) or name == "type":
            return value
        if is_in_goal(name, value, self.planned.goal):
            self._leaves.append(Leaf(argument))
            return _literal(value)
        return self._found(argument, name, value, at)

    def _found(self, argument: str, name: str, value: JsonValue, at: int) -> JsonValue:
        range_ = range(self._first if at >= self._first else 0, at)
        places = [(call, path, leaf) for call in range_ for path, leaf in leaves_of(self.planned.outputs[call])]
        whole = [(call, path) for call, path, leaf in places if same(value, leaf) and type(value) is type(leaf)]
        if whole:
            call, path = min(whole, key=lambda place: (not _is_kind(name, place[1]), -place[0]))
            self._leaves.append(Leaf(argument, call, path))
            return _reference(call, path)
        part = next(((call, path) for call, path, leaf in reversed(places) if in_text(value, leaf)), None)
        if part is not None:
            self._leaves.append(Leaf(argument, *part))
            return self._text_step("extract", [_reference(*part)], value, at)
        self._leaves.append(Leaf(argument))
        is_late = at >= self._first > 0
        if not range_ or is_late:
            return _literal(value)
        return self._text_step("write_text", [f"${{o{call}}}" for call in range_], value, at)

    def _text_step(self, action: str, texts: Sequence[str], value: JsonValue, at: int) -> str:
        name = f"t{at}_{len(self._texts)}"
        inputs: JsonObject = {"text": list(texts), "answer": _literal(value)}
        self._texts.append({"name": name, "action": action, "inputs": inputs, "outputs": [name]})
        return f"${{{name}}}"


def literal_plan(goal: str, calls: Sequence[FunctionCall]) -> JsonObject:
    """Return a plan with every value written out, as by a planner that has seen them all."""
    steps: list[JsonValue] = [
        {
            "name": f"c{at}",
            "action": call.function,
            "inputs": {name: _literal(plain(value)) for name, value in call.args.items()},
        }
        for at, call in enumerate(calls)
    ]
    return {"goal": goal, "steps": steps}


def leaves_of(value: JsonValue, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield every scalar in an output with its path, the keys of objects included."""
    if isinstance(value, dict):
        for number, (key, inner) in enumerate(value.items()):
            yield (*path, KEY, number), key
            yield from leaves_of(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from leaves_of(inner, (*path, number))
    elif value is not None and not isinstance(value, bool):
        yield path, value


def at_path(value: Any, path: Path) -> Any:
    """Return what stands at a path; None where the output has another shape."""
    for at, step in enumerate(path):
        if step == KEY:
            keys = list(value) if isinstance(value, dict) else []
            number = path[at + 1]
            return keys[number] if isinstance(number, int) and number < len(keys) else None
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _reference(call: int, path: Path) -> str:
    text = f"o{call}"
    for at, step in enumerate(path):
        if step == KEY:
            return f"${{{text} | keys(@)[{path[at + 1]}]}}"
        text += f"[{step}]" if isinstance(step, int) else f".{json.dumps(step)}"
    return f"${{{text}}}"


def _is_kind(name: str, path: Path) -> bool:
    names = [step for step in path if isinstance(step, str)]
    return bool(names) and _word(names[-1]) == _word(name)


def _word(name: str) -> str:
    return re.split("_", name.strip("_"))[-1].casefold().removesuffix("s")


def _literal(value: JsonValue) -> JsonValue:
    """Return a value as a plan writes it: text that looks like a reference is none."""
    if isinstance(value, dict):
        return {key: _literal(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_literal(inner) for inner in value]
    return value.replace("${", "$${") if isinstance(value, str) else value
