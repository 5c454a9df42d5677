"""AgentDojo's tools as actions over an environment that is swapped for every run."""

import csv
import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from agentdojo.functions_runtime import Function, FunctionCall, FunctionsRuntime
from pydantic import BaseModel

from agentic_workflows.actions.action import Action, ActionCall
from agentic_workflows.actions.overlay import Touched
from agentic_workflows.errors import ActionError
from agentic_workflows.graph.catalogue import Annotations, Resources
from agentic_workflows.graph.values import JsonObject, JsonValue

TABLE: Final = Path(__file__).with_name("annotations.tsv")
CLASSES: Final = ("target", "value", "secret", "param", "content")


@dataclass
class World:
    """The environment of the run that is under way, and the calls that were made in it."""

    env: Any = None
    calls: list[FunctionCall] = field(default_factory=list)

    def enter(self, env: Any) -> None:
        """Begin with another environment."""
        self.env, self.calls = env, []


def annotations() -> dict[str, Annotations]:
    """Return what the table says of every tool."""
    return {row["tool"]: _annotations(row) for row in _rows()}


def actions(tools: list[Function], world: World) -> dict[str, Action]:
    """Return a suite's tools as actions, and the two text steps of a model that holds no tools."""
    known = annotations()
    touched = {row["tool"]: Touched(names) if (names := _names(row["resources"])) else None for row in _rows()}
    runtime = FunctionsRuntime(tools)
    found = {tool.name: _action(tool, known[tool.name], touched[tool.name], runtime, world) for tool in tools}
    return found | {one.name: one for one in (_text_step("extract", verbatim=True), _text_step("write_text"))}


def plain(value: Any) -> JsonValue:
    """Return what a tool gives as JSON."""
    match value:
        case BaseModel():
            return value.model_dump(mode="json")
        case enum.Enum():
            return value.value  # type: ignore[no-any-return]
        case list() | tuple() | set():
            return [plain(inner) for inner in value]
        case dict():
            return {str(key): plain(inner) for key, inner in value.items()}
        case None | bool() | int() | float() | str():
            return value
    return str(value)


def _rows() -> Iterator[dict[str, str]]:
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    yield from csv.DictReader(lines, delimiter="\t")


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name for name in (text or "").split(",") if name)


def _annotations(row: Mapping[str, str]) -> Annotations:
    return Annotations(
        read_only=row["ro"] == "y",
        destructive=row["destr"] == "y",
        idempotent=row["idem"] == "y",
        open_world=row["open"] == "y",
        arguments={name: kind for kind in CLASSES for name in _names(row[kind])},
        trusted=row["out"] == "T",
        trusted_fields=_names(row["trusted_fields"]),
        directory_fields=_names(row["directory"]),
    )


def _action(
    tool: Function, notes: Annotations, touched: Resources | None, runtime: FunctionsRuntime, world: World
) -> Action:
    async def run(call: ActionCall) -> JsonValue:
        arguments: dict[str, Any] = dict(call.inputs)
        world.calls.append(FunctionCall(function=tool.name, args=arguments))
        result, error = runtime.run_function(world.env, tool.name, arguments)
        if error:
            raise ActionError(error)
        return plain(result)

    schema: JsonObject = tool.parameters.model_json_schema()
    return Action(
        name=tool.name,
        description=tool.description,
        input_schema=schema,
        annotations=notes,
        resources=touched,
        run=run,
    )


def _text_step(name: str, *, verbatim: bool = False) -> Action:
    """A text step that gives what the script says a model would have given; its label is that of its text."""

    async def run(call: ActionCall) -> JsonValue:
        return call.inputs["answer"]

    schema: JsonObject = {"type": "object", "properties": {"text": {}, "answer": {}}, "required": ["text", "answer"]}
    notes = Annotations(
        read_only=True,
        open_world=False,
        arguments={"text": "content", "answer": "param"},
        trusted=True,
        verbatim=verbatim,
    )
    return Action(name=name, input_schema=schema, annotations=notes, resources=lambda _: (), run=run)
