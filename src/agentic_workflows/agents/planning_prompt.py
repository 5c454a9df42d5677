"""What a planning model is told: the actions, how to write a plan, and examples of plans over the same actions.

Everything up to the goal is the same for every goal, and comes first: a model server keeps it in its prompt cache. The
model sees the goal and what was wrong with earlier plans, never a result.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from agentic_workflows.agents.planning_schema import flat
from agentic_workflows.graph.catalogue import ActionSpec, Catalogue
from agentic_workflows.graph.history import faults_in
from agentic_workflows.graph.values import JsonObject, JsonValue, beginning

SYSTEM = """\
You are a planner. Turn the goal into a JSON plan that uses only these actions:
{actions}
A step's outputs names its result; a later step uses it as "${{name}}". An optional argument that is not needed is null.
A step with foreach is done for each element of a list; "${{item}}" is the element, and its output is a list.
Copy file names and values from the goal. Use as few steps as possible."""

_ORDER = ("name", "foreach", "action", "inputs", "outputs")
"""In which a model writes the fields of a step."""
_MAX_TEXT = 500
"""Characters of one finding, error or piece of feedback."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A goal and the steps that a good plan for it has."""

    goal: str
    steps: Sequence[Mapping[str, JsonValue]]

    def fits(self, catalogue: Catalogue) -> bool:
        """Tell whether the example uses nothing but actions of the catalogue, with arguments that they have."""
        return all(
            (action := catalogue.get(str(step.get("action")))) is not None
            and set(cast("JsonObject", step.get("inputs") or {})) <= set(_properties(action))
            for step in self.steps
        )


def planning_messages(
    goal: str, history: Sequence[Mapping[str, object]], catalogue: Catalogue, examples: Iterable[Example]
) -> list[BaseMessage]:
    """Return the messages that ask for a plan; examples that do not fit the catalogue are left out."""
    actions = "\n".join(signature(action) for action in catalogue.values())
    messages: list[BaseMessage] = [SystemMessage(SYSTEM.format(actions=actions))]
    for example in examples:
        if example.fits(catalogue):
            messages += [HumanMessage(example.goal), AIMessage(_answer(example, catalogue))]
    faults = [beginning(fault, _MAX_TEXT) for fault in faults_in(history)]
    if faults:
        listed = "\n".join(f"- {fault}" for fault in faults)
        goal = f"{goal}\n\nAn earlier plan did not work:\n{listed}\nWrite another plan for the goal that avoids this."
    return [*messages, HumanMessage(goal)]


def signature(action: ActionSpec) -> str:
    """Return an action as one line: `read_file(path) -> text: read one file; gives its text`."""
    required = cast("list[str]", flat(action.input_schema).get("required") or [])
    names = ", ".join(name if name in required else f"{name}?" for name in _properties(action))
    gives = f" -> {_kind(action.output_schema)}" if action.output_schema else ""
    summary = " ".join(action.description.strip().partition("\n")[0].split())
    line = f"{action.name}({names}){gives}: {summary}"
    # A server may have written it: no name begins a line of its own, nor hides anything.
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in line)


def _properties(action: ActionSpec) -> JsonObject:
    return cast("JsonObject", flat(action.input_schema).get("properties") or {})


def _kind(schema: JsonObject) -> str:
    kind = flat(schema).get("type")
    return {"string": "text", "array": "list"}.get(kind, kind) if isinstance(kind, str) else "value"


def _answer(example: Example, catalogue: Catalogue) -> str:
    """Return the example's plan as the schema makes the model write it: every argument, in order."""
    steps = []
    for step in example.steps:
        inputs = cast("JsonObject", step.get("inputs") or {})
        given = {name: inputs.get(name) for name in _properties(catalogue[str(step["action"])])}
        whole = {**step, "inputs": given, "outputs": step.get("outputs") or []}
        steps.append({key: whole[key] for key in _ORDER if key in whole})
    return json.dumps({"steps": steps}, ensure_ascii=False)
