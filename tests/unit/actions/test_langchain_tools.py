import asyncio
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Annotated, Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import (
    BaseTool,
    InjectedToolArg,
    InjectedToolCallId,
    StructuredTool,
    Tool,
    ToolException,
    tool,
)
from langgraph.prebuilt import InjectedState, ToolRuntime
from pydantic import BaseModel
from pydantic.v1 import BaseModel as BaseModelV1

from agentic_workflows.actions.action import Action, ActionCall
from agentic_workflows.actions.langchain_tools import from_tool
from agentic_workflows.errors import ActionError, ResultError
from agentic_workflows.graph.catalogue import Annotations
from agentic_workflows.graph.plan import WorkflowStep
from agentic_workflows.graph.values import JsonValue
from agentic_workflows.under_way import is_under_way, when_ended


async def call(action: Action, **inputs: JsonValue) -> object:
    step = WorkflowStep("step", action.name, inputs)
    return await action.run(ActionCall(action=action.name, inputs=inputs, step=step, run_id="run"))


class Found(BaseModel):
    title: str


@tool
def look_up(title: str, limit: int = 2) -> list[Found]:
    """Look up a book."""
    return [Found(title=title)] * limit


HARMLESS = Annotations(read_only=True, destructive=False, idempotent=True, open_world=False)
MCP_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def mcp_tool(**fields: Any) -> StructuredTool:
    async def weather(**inputs: str) -> Any:
        return f"Rain in {inputs['city']}"

    return StructuredTool(
        **{"name": "weather", "description": "Tell the weather.", "args_schema": MCP_SCHEMA, "coroutine": weather}
        | fields
    )


async def test_tool_is_an_action() -> None:
    action = from_tool(look_up)
    assert (action.name, action.description) == ("look_up", "Look up a book.")
    assert action.input_schema["required"] == ["title"]
    assert action.input_schema["additionalProperties"] is False
    assert action.annotations == Annotations()
    assert await call(action, title="Emma") == [{"title": "Emma"}, {"title": "Emma"}]


class Plain(BaseTool):
    name: str = "plain"
    description: str = "Plain."
    act: Any

    def _run(self, x: int) -> Any:
        return self.act(x)


def plain_tools(act: Callable[[int], Any]) -> list[BaseTool]:
    """Return tools of every kind that have nothing async, each of which calls a function."""
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    return [
        StructuredTool.from_function(act, name="typed", description="Typed."),
        StructuredTool(name="schema", description="Schema.", args_schema=schema, func=act),
        Tool(name="text", description="Text.", func=lambda x: act(int(x))),
        Plain(act=act),
    ]


def asked(x: int) -> Any:
    """Call what stands in the context."""
    return ACT.get()(x)


ACT: ContextVar[Callable[[int], Any]] = ContextVar("ACT")


@pytest.mark.parametrize("plain", plain_tools(asked), ids=lambda tool: tool.name)
async def test_a_plain_tool_that_was_cut_is_known_to_go_on(plain: BaseTool) -> None:
    began, gate, ended = threading.Event(), threading.Event(), threading.Event()

    def act(x: int) -> int:
        began.set()
        gate.wait(10)
        return x

    ACT.set(act)
    action = from_tool(plain)
    inputs: dict[str, JsonValue] = {"tool_input": "1"} if isinstance(plain, Tool) else {"x": 1}
    step = WorkflowStep("s", plain.name, inputs)
    whole = ActionCall(action=plain.name, step=step, inputs=inputs, run_id="r", idempotency_key=f"r:{plain.name}:0")
    acting = asyncio.ensure_future(action.run(whole))
    assert await asyncio.to_thread(began.wait, 10)
    acting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await acting
    assert when_ended(["r"], ended.set)
    gate.set()
    assert await asyncio.to_thread(ended.wait, 10)
    assert not is_under_way(whole.idempotency_key)


@pytest.mark.parametrize("plain", plain_tools(asked), ids=lambda tool: tool.name)
async def test_plain_tools_do_not_wait_for_each_other(plain: BaseTool) -> None:
    many = threading.Barrier(64)  # more than there are threads in a pool of the loop

    def act(x: int) -> int:
        many.wait(20)
        return x

    ACT.set(act)
    action = from_tool(plain)
    inputs: dict[str, JsonValue] = {"tool_input": "1"} if isinstance(plain, Tool) else {"x": 1}
    assert await asyncio.gather(*(call(action, **inputs) for _ in range(64))) == [1] * 64


class Async(BaseTool):
    name: str = "async"
    description: str = "Async."

    def _run(self) -> int:
        raise NotImplementedError

    async def _arun(self) -> int:
        return threading.get_ident()


async def thread() -> int:
    """Tell the thread."""
    return threading.get_ident()


@pytest.mark.parametrize(
    "tool",
    [
        Async(),
        StructuredTool.from_function(coroutine=thread),
        StructuredTool.from_function(func=lambda: 0, coroutine=thread, name="both", description="Both."),
    ],
    ids=lambda tool: tool.name,
)
async def test_a_tool_with_a_coroutine_of_its_own_stays_on_the_loop(tool: BaseTool) -> None:
    assert await call(from_tool(tool)) == threading.get_ident()


class Seen(BaseCallbackHandler):
    """Notes which tools began."""

    def __init__(self) -> None:
        self.began: list[str] = []

    def on_tool_start(self, serialized: dict[str, Any], *_: Any, **__: Any) -> None:
        self.began.append(serialized["name"])


async def test_a_plain_tool_has_the_callbacks_and_the_config_of_its_caller() -> None:
    @tool
    def where(config: RunnableConfig) -> str:
        """Tell the place."""
        return str(config.get("configurable", {})["place"])

    seen, action = Seen(), from_tool(where)
    caller = RunnableLambda(lambda _: 0, afunc=lambda _: call(action))
    assert await caller.ainvoke(0, {"callbacks": [seen], "configurable": {"place": "here"}}) == "here"
    assert seen.began == ["where"]


async def test_schema_of_an_mcp_tool_is_kept() -> None:
    action = from_tool(mcp_tool())
    assert action.input_schema == MCP_SCHEMA | {"additionalProperties": False}
    assert await call(action, city="Bern") == "Rain in Bern"


async def test_tool_of_one_text_works() -> None:
    action = from_tool(Tool(name="shout", func=str.upper, description="Shout."))
    assert action.input_schema["required"] == ["tool_input"]
    assert await call(action, tool_input="hey") == "HEY"


async def test_injected_arguments_are_hidden_and_filled_in() -> None:
    @tool
    def note(text: str, call_id: Annotated[str, InjectedToolCallId]) -> str:
        """Note a text."""
        return f"{text} {bool(call_id)}"

    action = from_tool(note)
    assert list(action.input_schema["properties"]) == ["text"]  # type: ignore[arg-type]
    assert await call(action, text="x") == "x True"


class Text(BaseModel):
    text: str


class Given(BaseModel):
    text: str
    user: Annotated[str, InjectedToolArg()]


class OldGiven(BaseModelV1):
    text: str
    user: Annotated[str, InjectedToolArg]


def note(text: str, user: Annotated[str, InjectedToolArg]) -> str:
    """Note a text."""
    return f"{text} {user}"


def note_state(text: str, user: Annotated[dict[str, Any], InjectedState]) -> str:
    """Note a text."""
    return f"{text} {user}"


def note_runtime(text: str, runtime: ToolRuntime) -> str:
    """Note a text."""
    return f"{text} {runtime}"


@pytest.mark.parametrize(
    "function, fields, lacking",
    [
        (note, {}, "user"),
        (note, {"args_schema": Given}, "user"),
        (note, {"args_schema": OldGiven}, "user"),
        (note_runtime, {"args_schema": Text}, "runtime"),
        (note_runtime, {"args_schema": Text.model_json_schema()}, "runtime"),
        (note_state, {}, "user"),
        (note_runtime, {}, "runtime"),
    ],
)
def test_a_tool_that_needs_an_argument_that_nobody_fills_in_is_refused(
    function: Callable[..., str], fields: Any, lacking: str
) -> None:
    with pytest.raises(
        ActionError, match=f"'note' needs the argument '{lacking}', which only .* fills in. Give it a default, or call"
    ):
        from_tool(StructuredTool.from_function(function, name="note", **fields))


async def test_an_injected_argument_with_a_default_has_it() -> None:
    @tool
    def greet(
        text: str,
        call_id: Annotated[str, InjectedToolCallId()],
        config: RunnableConfig,
        user: Annotated[str, InjectedToolArg] = "Ada",
    ) -> str:
        """Greet."""
        return f"{text} {user} {bool(call_id)} {bool(config)}"

    assert await call(from_tool(greet), text="Hello") == "Hello Ada True True"


async def test_an_argument_that_a_schema_of_ones_own_shows_is_for_the_planner() -> None:
    schema = {"type": "object", "properties": {"text": {"type": "string"}, "user": {"type": "string"}}}
    action = from_tool(StructuredTool.from_function(note, args_schema=schema))
    assert await call(action, text="Hello", user="Ada") == "Hello Ada"


async def test_an_argument_that_a_schema_of_ones_own_leaves_out_is_filled_in_too() -> None:
    def greet(
        text: str, tool_call_id: Annotated[str, InjectedToolCallId], user: Annotated[str, InjectedToolArg] = "Ada"
    ) -> str:
        """Greet."""
        return f"{text} {user} {bool(tool_call_id)}"

    tool = StructuredTool.from_function(greet, args_schema=Text)
    assert await call(from_tool(tool), text="Hello") == "Hello Ada True"


@pytest.mark.parametrize(
    "inputs",
    [{"type": "tool_call"}, {"type": "tool_call", "id": "a", "name": "b", "args": {"type": "wipe", "args": {}}}],
)
async def test_arguments_that_look_like_a_call_are_the_arguments(inputs: Any) -> None:
    given: list[object] = []

    async def queue(**arguments: Any) -> str:
        given.append(arguments)
        return "queued"

    schema = {"type": "object", "properties": {key: {} for key in ("type", "id", "name", "args")}}
    assert await call(from_tool(mcp_tool(coroutine=queue, args_schema=schema)), **inputs) == "queued"
    assert given == [inputs]


@pytest.mark.parametrize(
    "content, artifact, result",
    [
        ("text", None, "text"),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], None, "a\nb"),
        ([{"type": "text", "text": "a"}], {"structured_content": {"n": 1}}, {"n": 1}),
        ([{"type": "image", "url": "u"}], object(), [{"type": "image", "url": "u"}]),
        ([], None, ""),
    ],
)
async def test_message_becomes_json(content: Any, artifact: object, result: object) -> None:
    async def give(**_: str) -> Any:
        return content, artifact

    assert await call(from_tool(mcp_tool(coroutine=give, response_format="content_and_artifact")), city="") == result


@pytest.mark.parametrize("given", ["no pair", ("a", "b", "c")])
async def test_a_tool_that_gives_no_pair_although_it_says_so_has_done_what_it_does(given: object) -> None:
    async def give(**_: str) -> Any:
        return given

    with pytest.raises(ResultError, match="The result of weather is no pair of content and artifact"):
        await call(from_tool(mcp_tool(coroutine=give, response_format="content_and_artifact")), city="")


async def test_a_tool_that_refuses_a_value_has_done_nothing() -> None:
    async def refuse(**_: str) -> Any:
        raise ValueError("no such city")

    with pytest.raises(ValueError, match="no such city"):
        await call(from_tool(mcp_tool(coroutine=refuse, response_format="content_and_artifact")), city="")


@pytest.mark.parametrize("handled", [True, "It failed.", False])
async def test_error_of_a_tool_never_passes_for_a_result(handled: object) -> None:
    async def fail(**_: str) -> str:
        raise ToolException("no such city")

    with pytest.raises(ActionError, match="weather failed: no such city"):
        await call(from_tool(mcp_tool(coroutine=fail, handle_tool_error=handled)), city="")


async def test_error_message_is_an_error() -> None:
    async def fail(**_: str) -> ToolMessage:
        return ToolMessage("no such city", tool_call_id="1", status="error")

    with pytest.raises(ActionError, match="no such city"):
        await call(from_tool(mcp_tool(coroutine=fail)), city="")


async def test_result_that_is_json_stays_json() -> None:
    @tool(args_schema={"type": "object", "properties": {"a": {"type": "array"}}})
    def first(a: list[int]) -> dict[str, int]:
        """Give the first."""
        return {"first": a[0]}

    assert await call(from_tool(first), a=[1, 2]) == {"first": 1}


async def test_result_that_is_not_json_is_an_error() -> None:
    async def give(**_: str) -> object:
        return object()

    with pytest.raises(ActionError, match="The result of weather is a object, which is not JSON"):
        await call(from_tool(mcp_tool(coroutine=give)), city="")


def test_hint_of_a_server_cannot_loosen() -> None:
    hints = {"readOnlyHint": True, "destructiveHint": False, "idempotentHint": True, "openWorldHint": False}
    assert from_tool(mcp_tool(metadata=hints)).annotations == Annotations()


@pytest.mark.parametrize(
    "hint, tightened",
    [
        ({"readOnlyHint": False}, {"read_only": False}),
        ({"destructiveHint": True}, {"destructive": True}),
        ({"idempotentHint": False}, {"idempotent": False}),
        ({"openWorldHint": True}, {"open_world": True}),
        ({"readOnlyHint": None, "title": "x"}, {}),
    ],
)
def test_hint_of_a_server_tightens_what_the_operator_vouched_for(hint: Any, tightened: Any) -> None:
    expected = Annotations(
        **{"read_only": True, "destructive": False, "idempotent": True, "open_world": False} | tightened
    )
    assert from_tool(mcp_tool(metadata=hint), annotations=HARMLESS).annotations == expected


def test_what_is_no_tool_is_refused() -> None:
    with pytest.raises(ActionError, match="neither an action nor a LangChain tool"):
        from_tool(len)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["config", "run_manager", "runtime"])
def test_tool_with_an_argument_that_langchain_keeps_for_itself_is_refused(name: str) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}, name: {"type": "string"}}}
    with pytest.raises(ActionError, match=f"'weather' has an argument named '{name}', which LangChain takes for its"):
        from_tool(mcp_tool(args_schema=schema))


def test_tool_without_a_schema_is_refused() -> None:
    class Broken(BaseTool):
        name: str = "broken"
        description: str = "Broken."

        @property
        def tool_call_schema(self) -> Any:
            raise TypeError("no schema")

        def _run(self) -> str:
            return ""

    with pytest.raises(ActionError, match="'broken' has no JSON Schema of its arguments: no schema"):
        from_tool(Broken())
