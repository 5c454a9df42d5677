"""The registry: every action of a run by its name, each checked when it is added."""

from collections.abc import Iterable
from types import MappingProxyType
from typing import TYPE_CHECKING, get_args

from agentic_workflows.actions.action import Action, Registry
from agentic_workflows.actions.langchain_tools import from_tool
from agentic_workflows.errors import ActionError
from agentic_workflows.graph.catalogue import GROUPS, TRUST, ArgumentClass
from agentic_workflows.graph.json_schema import compiled, objects_in
from agentic_workflows.graph.values import JsonObject, canonical

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

MAX_NAME = 200


def make_registry(actions: "Iterable[Action | BaseTool]") -> Registry:
    """Return the actions by name; nothing can be added later.

    Raises:
        ActionError: a name is taken or cannot be one, or a declaration is no JSON Schema.

    """
    known: dict[str, Action] = {}
    for one in actions:
        action = one if isinstance(one, Action) else from_tool(one)
        _check_name(action.name)
        if action.name in known:
            raise ActionError(f"Two actions are called {action.name!r}; give one of them another name.")
        _check_schema(action.name, "input", action.input_schema)
        if action.input_schema.get("type") != "object":
            raise ActionError(f'The input schema of {action.name!r} is not of "type": "object"; inputs have names.')
        if action.output_schema is not None:
            _check_schema(action.name, "output", action.output_schema)
        _check_arguments(action)
        known[action.name] = action
    return MappingProxyType(known)


def _check_name(name: str) -> None:
    if not name or len(name) > MAX_NAME or not name.isprintable() or name != name.strip():
        raise ActionError(
            f"{name[:MAX_NAME]!r} cannot be the name of an action; use up to {MAX_NAME} printable characters."
        )
    if name in {*GROUPS, TRUST}:
        raise ActionError(f"{name!r} is the name of a group in policies; give the action another name.")


def _check_schema(name: str, kind: str, schema: JsonObject) -> None:
    if not isinstance(schema, dict):
        raise ActionError(f"The {kind} schema of {name!r} is a {type(schema).__name__}, not a JSON Schema object.")
    # Told in words of its own; compiling would fetch nothing, either.
    references = (one.get(key) for one in objects_in(schema) for key in ("$ref", "$dynamicRef"))
    if remote := next((one for one in references if isinstance(one, str) and not one.startswith("#")), None):
        raise ActionError(f"The {kind} schema of {name!r} refers to {remote!r}; a schema must hold all that it needs.")
    try:
        compiled(canonical(schema))
    except (ValueError, TypeError) as error:
        raise ActionError(f"The {kind} schema of {name!r} is no JSON Schema: {error}.") from None


def _check_arguments(action: Action) -> None:
    known = action.input_names
    for argument, kind in action.annotations.arguments.items():
        if argument not in known:
            raise ActionError(f"{action.name!r} has no argument {argument!r}; it has {', '.join(known) or 'none'}.")
        if kind not in get_args(ArgumentClass):
            allowed = ", ".join(get_args(ArgumentClass))
            raise ActionError(
                f"The argument {argument!r} of {action.name!r} is a {kind!r}, which is none of {allowed}."
            )
