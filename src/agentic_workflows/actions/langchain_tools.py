"""Any LangChain tool is an action, and so is any MCP tool, through LangChain's adapters."""

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, get_args
from uuid import uuid4

from agentic_workflows.actions.action import Action, ActionCall
from agentic_workflows.actions.declare import in_thread
from agentic_workflows.errors import ActionError, ResultError, said
from agentic_workflows.graph.catalogue import Annotations
from agentic_workflows.graph.values import JsonObject, JsonValue, as_json

_OF_LANGCHAIN = frozenset({"config", "run_manager", "runtime"})
"""Names that LangChain keeps for itself: a tool never gets the argument."""
_PAIR: Final = "content_and_artifact"
"""The response format of a tool that gives two things."""
_NO_PAIR: Final = f"Since response_format='{_PAIR}'"
"""What LangChain's own error begins with, after such a tool has done what it does and given something else."""

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool


def from_tool(tool: "BaseTool", *, annotations: Annotations | None = None) -> Action:
    """Return a LangChain tool as an action.

    A tool's server may hint at what it does (`readOnlyHint` and so on, in the metadata): hints only ever make it
    stricter than `annotations`. That a tool is harmless, whatever its server says, is said in an overlay.

    Raises:
        ActionError: this is no LangChain tool, it has no JSON Schema, or LangChain would not hand an argument on, or
            has none to hand on.

    """
    from langchain_core.tools import BaseTool  # noqa: PLC0415 - heavy

    if not isinstance(tool, BaseTool):
        raise ActionError(f"{tool!r} is neither an action nor a LangChain tool; decorate the function with @action.")
    schema = _input_schema(tool)
    if lacking := sorted(name for name in _injected(tool) if _is_lacking(tool, name)):
        raise ActionError(
            f"The tool {tool.name!r} needs the argument {lacking[0]!r}, which only an agent of LangChain's fills in. "
            f"Give it a default, or call what the tool calls from a function with @action."
        )
    return Action(
        name=tool.name,
        description=" ".join(tool.description.split()),
        input_schema=schema,
        annotations=_tightened(annotations or Annotations(), tool.metadata or {}),
        run=_runner(_raising(tool)),
    )


def _input_schema(tool: "BaseTool") -> JsonObject:
    from langchain_core.tools import Tool  # noqa: PLC0415 - heavy

    if isinstance(tool, Tool):  # of one text; what it tells of itself is the signature of its wrapper
        return {"type": "object", "additionalProperties": False, "properties": tool.args, "required": [*tool.args]}
    try:
        declared: Any = tool.tool_call_schema
        if not isinstance(declared, Mapping):  # a model of pydantic, or of its first version
            declared = declared.model_json_schema() if hasattr(declared, "model_json_schema") else declared.schema()
        schema: Any = as_json(declared, where=f"The input schema of {tool.name}")
    except ActionError:
        raise
    except Exception as error:
        raise ActionError(f"The tool {tool.name!r} has no JSON Schema of its arguments: {error}") from error
    if lost := sorted(_OF_LANGCHAIN & schema.get("properties", {}).keys()):
        raise ActionError(
            f"The tool {tool.name!r} has an argument named {lost[0]!r}, which LangChain takes for its own: the tool "
            f"would run without it. Leave the tool out, or call what it calls from a function with @action."
        )
    kept = {key: value for key, value in schema.items() if key not in ("title", "description")}
    # Arguments that nobody declared are arguments that no policy reads.
    return {"type": "object", "additionalProperties": False, **kept}


def _tightened(base: Annotations, hints: Mapping[str, Any]) -> Annotations:
    """Return base, with every hint that makes it stricter."""
    return replace(
        base,
        read_only=base.read_only and hints.get("readOnlyHint") is not False,
        destructive=base.destructive or hints.get("destructiveHint") is True,
        idempotent=base.idempotent and hints.get("idempotentHint") is not False,
        open_world=base.open_world or hints.get("openWorldHint") is True,
    )


def _raising(tool: "BaseTool") -> "BaseTool":
    """Return a tool that raises what went wrong; as text, it would pass for a result."""
    if not (tool.handle_tool_error or tool.handle_validation_error):
        return tool
    return tool.model_copy(update={"handle_tool_error": False, "handle_validation_error": False})


def _runner(tool: "BaseTool") -> Any:
    from langchain_core.tools import ToolException  # noqa: PLC0415 - heavy

    hidden, has_artifact, is_plain = _injected(tool), tool.response_format == _PAIR, _is_plain(tool)

    async def invoked(request: Any, key: str) -> object:
        if is_plain:  # LangChain would have it wait in a pool of the loop, unseen and hindering its end
            return await in_thread(tool.invoke, {"input": request}, key)
        return await tool.ainvoke(request)

    async def run(call: ActionCall) -> JsonValue:
        arguments = dict(call.inputs)
        request: Any = arguments
        if has_artifact or hidden or arguments.get("type") == "tool_call":
            # Only a whole tool call gives the artifact too, and has an id to inject. Arguments that look like one would
            # be taken for it, and the tool be given what stands in them. Not always: it makes a text of any result.
            request = {"type": "tool_call", "id": uuid4().hex, "name": tool.name, "args": arguments}
        try:
            return _result(await invoked(request, call.idempotency_key), f"The result of {tool.name}")
        except ToolException as error:
            raise ActionError(f"{tool.name} failed: {error}") from error
        except ValueError as error:
            if has_artifact and str(error).startswith(_NO_PAIR):
                raise ResultError(f"The result of {tool.name} is no pair of content and artifact.") from error
            raise

    return run


def _is_plain(tool: "BaseTool") -> bool:
    """Tell whether nothing of a tool is async."""
    from langchain_core.tools import BaseTool, StructuredTool, Tool  # noqa: PLC0415 - heavy

    theirs = [getattr(one, name) for one in (BaseTool, StructuredTool, Tool) for name in ("ainvoke", "arun", "_arun")]
    its_own = [getattr(type(tool), name) for name in ("ainvoke", "arun", "_arun")]
    return getattr(tool, "coroutine", None) is None and all(one in theirs for one in its_own)


def _injected(tool: "BaseTool") -> frozenset[str]:
    """Return the arguments that the planner never sees."""
    from langchain_core.tools import Tool  # noqa: PLC0415 - heavy

    if isinstance(tool, Tool):
        return frozenset()
    # A schema of one's own need not name them.
    of_function = frozenset[str](getattr(tool, "_injected_args_keys", ()))
    return (of_function | _fields(_schema(tool)).keys()) - _fields(tool.tool_call_schema).keys()


def _schema(tool: "BaseTool") -> Any:
    return tool.args_schema if isinstance(tool.args_schema, Mapping) else tool.get_input_schema()


def _fields(schema: Any) -> Mapping[str, Any]:
    from langchain_core.utils.pydantic import get_fields  # noqa: PLC0415 - heavy

    return schema.get("properties", {}) if isinstance(schema, Mapping) else get_fields(schema)


def _is_lacking(tool: "BaseTool", name: str) -> bool:
    """Tell whether a tool cannot be called without a hidden argument, and a call has no such thing."""
    from langchain_core.tools import InjectedToolCallId  # noqa: PLC0415 - heavy
    from langchain_core.tools.base import get_all_basemodel_annotations  # noqa: PLC0415 - heavy

    schema = _schema(tool)
    if (field := _fields(schema).get(name)) is None:
        functions = [getattr(tool, "func", None), getattr(tool, "coroutine", None), tool._run, tool._arun]  # noqa: SLF001
        parameters = [inspect.signature(one).parameters.get(name) for one in functions if one is not None]
        is_needed = any(one is not None and one.default is one.empty for one in parameters)
        return is_needed and name != "tool_call_id"
    notes = get_args(get_all_basemodel_annotations(schema).get(name))[1:]
    is_id = any(one is InjectedToolCallId or isinstance(one, InjectedToolCallId) for one in notes)
    # A model of pydantic's first version has no `is_required`.
    return not is_id and bool(field.is_required() if hasattr(field, "is_required") else field.required)


def _result(value: object, where: str) -> JsonValue:
    """Return what a tool gave as JSON: of a message its structured content, else its text, else its blocks."""
    from langchain_core.messages import ToolMessage  # noqa: PLC0415 - heavy
    from pydantic_core import to_jsonable_python  # noqa: PLC0415 - heavy

    if isinstance(value, ToolMessage):
        if value.status == "error":
            raise ActionError(f"{where} is an error: {value.text}")
        artifact = value.artifact
        if isinstance(artifact, Mapping) and artifact.get("structured_content") is not None:
            return _result(artifact["structured_content"], where)
        value = _without_blocks(value.content)
    try:
        return as_json(to_jsonable_python(value), where=where)
    except ActionError as error:
        raise ResultError(str(error)) from None
    except Exception as error:  # noqa: BLE001 - whatever it is: what the tool does is done
        raise ResultError(f"{where} is a {type(value).__name__}, which is not JSON: {said(error)}") from None


def _without_blocks(content: Any) -> object:
    """Return the text of a content that is nothing but blocks of text; any other content as it is."""
    if isinstance(content, str) or not all(isinstance(one, dict) and one.get("type") == "text" for one in content):
        return content
    return "\n".join(str(one.get("text", "")) for one in content)
