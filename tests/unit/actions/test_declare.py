import asyncio
import functools
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from math import nan
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from agentic_workflows.actions.action import Action, ActionCall
from agentic_workflows.actions.declare import action
from agentic_workflows.errors import ActionError
from agentic_workflows.graph.catalogue import Annotations
from agentic_workflows.graph.plan import WorkflowStep
from agentic_workflows.graph.values import JsonValue
from agentic_workflows.under_way import is_under_way


async def call(action: Action, **inputs: JsonValue) -> object:
    step = WorkflowStep("step", action.name, inputs)
    return await action.run(ActionCall(action=action.name, inputs=inputs, step=step, run_id="run"))


@dataclass
class Point:
    x: int
    y: int = 0


class Order(BaseModel):
    item: str
    count: int = 1


class Kept(BaseModel):
    what: Any


async def test_signature_becomes_schemas() -> None:
    @action
    def send(  # noqa: D417 - the body is described where it is typed
        to: str, body: Annotated[str, Field(description="What it says.")], *, copies: int = 1
    ) -> list[str]:
        """Send a letter to somebody.

        It takes a day.

        Args:
            to: who gets it,
                by name
            copies (int): how many

        Raises:
            Nothing: ever.
        """
        return [f"{to}: {body}"] * copies

    assert send.name == "send"
    assert send.description == "Send a letter to somebody."
    assert send.input_schema == {
        "type": "object",
        "additionalProperties": False,
        "required": ["to", "body"],
        "properties": {
            "to": {"type": "string", "description": "who gets it, by name"},
            "body": {"type": "string", "description": "What it says."},
            "copies": {"type": "integer", "default": 1, "description": "how many"},
        },
    }
    assert send.output_schema == {"type": "array", "items": {"type": "string"}}
    assert await call(send, to="Ada", body="hello", copies=2) == ["Ada: hello", "Ada: hello"]


def test_what_is_not_said_is_taken_as_the_worst() -> None:
    @action
    def act() -> None: ...

    assert act.annotations == Annotations()
    assert act.resources is None
    assert (act.annotations.read_only, act.annotations.destructive) == (False, True)
    assert (act.annotations.idempotent, act.annotations.open_world, act.annotations.trusted) == (False, True, False)


def test_what_is_said_is_kept() -> None:
    @action(
        name="mail.read",
        description="Read mail.",
        read_only=True,
        destructive=False,
        idempotent=True,
        open_world=False,
        arguments={"box": "target"},
        trusted=True,
        trusted_fields=("id",),
        resources=lambda inputs: {f"box:{inputs['box']}"},
    )
    async def read(box: str) -> str:
        return box

    assert (read.name, read.description) == ("mail.read", "Read mail.")
    assert read.annotations == Annotations(
        read_only=True,
        destructive=False,
        idempotent=True,
        open_world=False,
        arguments={"box": "target"},
        trusted=True,
        trusted_fields=("id",),
    )
    assert read.resources is not None
    assert read.resources({"box": "a"}) == {"box:a"}


@pytest.mark.parametrize(
    "notes, said",
    [
        ({"read_only": "no"}, r"wipe\(\) is declared wrongly: read_only is 'no'; give True or False\."),
        ({"idempotent": 1}, r"wipe\(\) is declared wrongly: idempotent is 1; give True or False\."),
        ({"open_world": None}, r"open_world is None; give True or False\."),
        ({"trusted_fields": "id"}, r"trusted_fields is 'id'; give a tuple of dotted names, such as \("),
        ({"secret_fields": [1]}, r"secret_fields is \[1\]; give a tuple of dotted names"),
        ({"arguments": "path"}, r"arguments is 'path'; give a mapping of arguments to their classes"),
        ({"readonly": True}, r"wipe\(\) is declared wrongly: there is no 'readonly'. Did you mean 'read_only'\?"),
        ({"color": "red"}, r"there is no 'color'. There are: arguments, destructive, .*verbatim\."),
    ],
)
def test_an_annotation_that_is_none_is_refused_and_counts_as_nothing(notes: Any, said: str) -> None:
    def wipe(path: str) -> None: ...

    with pytest.raises(ActionError, match=said):
        action(**notes)(wipe)


@pytest.mark.parametrize(
    "notes, said",
    [
        ({"run": None}, "run is None, no function. Give one of the call."),
        ({"reconcile": 3}, "reconcile is 3, no function. Give one of the call."),
        ({"resources": "mail/{x}"}, "resources is 'mail/{x}', no function. Give one of its inputs."),
        ({"resources": []}, "resources is [], no function. Give one of its inputs."),
    ],
)
def test_what_is_given_as_a_function_and_is_none_is_refused(notes: Any, said: str) -> None:
    async def wipe(_: ActionCall) -> None: ...

    with pytest.raises(ActionError) as refused:
        Action(**{"name": "wipe", "run": wipe, **notes})
    assert str(refused.value) == f"The action 'wipe' is declared wrongly: {said}"


def test_annotations_are_kept_as_they_were_given() -> None:
    fields, arguments = ["id"], {"to": "target"}
    notes: Any = {"trusted_fields": fields, "arguments": arguments}
    kept = Annotations(**notes)
    fields.append("text")
    arguments["to"] = "content"
    assert kept == Annotations(trusted_fields=("id",), arguments={"to": "target"})


async def test_arguments_are_python_types_and_results_are_json() -> None:
    @action
    async def move(point: Point, order: Order, many: list[Point] | None = None) -> dict[str, Point | Order]:
        assert isinstance(point, Point)
        assert isinstance(order, Order)
        assert many == [Point(3)]
        return {"point": Point(point.y, point.x), "order": order}

    result = await call(move, point={"x": 1, "y": 2}, order={"item": "tea"}, many=[{"x": 3}])
    assert result == {"point": {"x": 2, "y": 1}, "order": {"item": "tea", "count": 1}}


@pytest.mark.parametrize("hint", [ActionCall, ActionCall | None, "ActionCall"])
async def test_a_parameter_for_the_call_gets_it_and_is_no_input(hint: Any) -> None:
    def pay(to: str, made: Any, copies: int = 1) -> str:
        return f"{to} {copies} {made.idempotency_key}"

    pay.__annotations__["made"] = hint
    declared = action(pay)
    assert declared.input_names == ("to", "copies")
    inputs = {"to": "Ada", "copies": 2}
    made = ActionCall(
        action="pay", inputs=inputs, step=WorkflowStep("s", "pay", inputs), run_id="run", idempotency_key="key"
    )
    assert await declared.run(made) == "Ada 2 key"
    with pytest.raises(ActionError, match="made: Extra inputs are not permitted"):
        await call(declared, to="Ada", made={})


@pytest.mark.parametrize("hint", [Annotated[ActionCall, "the call"], ActionCall | str, list[ActionCall]])
def test_no_plan_can_write_a_call(hint: Any) -> None:
    def pay(made: Any) -> str:
        return str(made)

    pay.__annotations__["made"] = hint
    with pytest.raises(
        ActionError, match=r"pay\(\): the parameter 'made' holds an ActionCall; a parameter gets the call"
    ):
        action(pay)


async def test_a_field_as_a_default_tells_what_the_parameter_is() -> None:
    @action
    def pay(
        to: str = Field(min_length=2, alias="whom"),
        amount: int = Field(10, le=100, description="In euros."),
        tags: list[str] = Field(default_factory=lambda: ["new"]),  # noqa: B008 - people write it so
        note: Annotated[str, Field(max_length=3)] = Field(default="", min_length=0),
    ) -> str:
        return f"{to} {amount} {tags} {note!r}"

    properties: Any = pay.input_schema["properties"]
    assert pay.input_schema["required"] == ["to"]
    assert properties["amount"] == {"default": 10, "description": "In euros.", "maximum": 100, "type": "integer"}
    assert await call(pay, to="Ada") == "Ada 10 ['new'] ''"
    assert await call(pay, to="Ada", amount=100, tags=[], note="abc") == "Ada 100 [] 'abc'"
    for wrong in ({"amount": 101}, {"to": "A"}, {"note": "abcd"}):
        with pytest.raises(ActionError, match="cannot be called with these inputs"):
            await call(pay, **({"to": "Ada"} | wrong))


async def test_a_plain_wrapper_around_an_async_function_is_awaited() -> None:
    def audited(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*arguments: Any, **named: Any) -> Any:
            return function(*arguments, **named)

        return wrapper

    @action
    @audited
    async def send(to: str) -> str:
        await asyncio.sleep(0)
        return f"Sent to {to}."

    assert await call(send, to="Ada") == "Sent to Ada."


async def test_plain_function_runs_in_a_thread() -> None:
    @action
    def thread() -> int:
        return threading.get_ident()

    assert await call(thread) != threading.get_ident()


async def test_a_function_for_which_no_thread_is_to_be_had_does_not_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unstartable(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    @action
    def act() -> None: ...

    monkeypatch.setattr("agentic_workflows.actions.declare.Thread", Unstartable)
    step = WorkflowStep("s", "act")
    with pytest.raises(RuntimeError, match="can't start") as failed:
        await act.run(ActionCall(action="act", step=step, inputs={}, run_id="r", idempotency_key="r:act:0"))
    assert not is_under_way("r:act:0"), f"it ends only when nobody has {failed} any more"


async def test_blocking_function_does_not_block_the_loop() -> None:
    gate = threading.Event()

    @action
    def wait() -> bool:
        return gate.wait(5)

    waiting = asyncio.ensure_future(call(wait))
    await asyncio.sleep(0.01)
    gate.set()
    assert await waiting is True


@pytest.mark.parametrize("name", ["copy", "json", "schema", "model_config", "validate", "self_", "p0"])
async def test_any_parameter_name_works(name: str) -> None:
    scope: dict[str, Any] = {}
    exec(f"def echo({name}: str, p1: int = 1) -> str:\n    return {name}", scope)  # noqa: S102
    echo = action(scope["echo"])
    assert list(echo.input_schema["properties"]) == [name, "p1"]  # type: ignore[arg-type]
    assert await call(echo, **{name: "said"}) == "said"


async def test_undecorated_function_stays_reachable() -> None:
    @action
    def double(number: int) -> int:
        return number * 2

    assert double.run.__wrapped__(4) == 8  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "source, said",
    [
        ("def f(path) -> str: ...", r"parameter 'path' of f\(\) has no type. Annotate it, as in `path: str`."),
        (
            "def f(self, path: str) -> str: ...",
            r"'self' of f\(\) has no type. Declare the method of an object: `action\(",
        ),
        ("def f(path: str): ...", r"f\(\) does not say what it gives; annotate its result"),
        ("def f(*paths: str) -> str: ...", r"f\(\) has the variadic positional parameter `\*paths: str`"),
        ("def f(**more: str) -> str: ...", r"f\(\) has the variadic keyword parameter `\*\*more: str`"),
        ("def f(path: str, /) -> str: ...", r"f\(\) has the positional-only parameter `path: str`"),
        ("def f(lock: Lock) -> str: ...", r"f\(\): the type of the parameter 'lock' has no JSON form"),
        ("def f(call: Callable[[], int]) -> str: ...", r"f\(\): the type of the parameter 'call' has no JSON form"),
        ("def f() -> Lock: ...", r"f\(\): the type of its result has no JSON form"),
        ("def f(path: 'Missing') -> str: ...", r"An annotation of f\(\) cannot be read: name 'Missing'"),
        ("def f() -> list[int]: yield 1", r"f\(\) yields; an action returns one result. Collect what it yields in a"),
        ("async def f() -> list[int]: yield 1", r"f\(\) yields; an action returns one result\."),
        ("f = 'name'", r"'name' is no function. Declare a `def`; @action\(name=...\) names it."),
        ("f = int", r"<class 'int'> is no function"),
    ],
)
def test_signature_that_says_too_little_is_refused(source: str, said: str) -> None:
    scope: dict[str, Any] = {}
    exec("from collections.abc import Callable\nclass Lock: ...\n" + source, scope)  # noqa: S102
    with pytest.raises(ActionError, match=said):
        action(scope["f"])


async def test_wrong_inputs_are_refused_before_the_call() -> None:
    called = []

    @action
    def act(count: int) -> None:
        called.append(count)

    with pytest.raises(ActionError, match="count: Input should be a valid integer"):
        await call(act, count="many")
    with pytest.raises(ActionError, match="more: Extra inputs are not permitted"):
        await call(act, count=1, more=2)
    assert called == []


@pytest.mark.parametrize("result", ["text", None, 1.5, object(), float("nan")])
async def test_result_that_breaks_its_annotation_is_an_error(result: object) -> None:
    @action
    def act() -> int:
        return result  # type: ignore[return-value]

    with pytest.raises(ActionError, match=r"The result of .*act"):
        await call(act)


@pytest.mark.parametrize("hint", [Any, float, dict[str, Any], list[object], Kept])
async def test_a_number_that_json_does_not_have_is_an_error_and_not_null(hint: Any) -> None:
    def act() -> object:
        return {dict[str, Any]: {"at": nan}, list[object]: [nan], Kept: Kept(what=nan)}.get(hint, nan)

    act.__annotations__["return"] = hint
    with pytest.raises(ActionError, match="is nan, which JSON does not have"):
        await call(action(act))


async def test_result_that_is_not_json_is_an_error() -> None:
    @action
    def act() -> Any:
        return {"at": float("inf"), "what": [object()]}

    with pytest.raises(ActionError, match="The result of"):
        await call(act)


async def test_what_the_function_raises_passes() -> None:
    @action
    def act() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await call(act)


HANGING = """
import asyncio, time
from agentic_workflows import AgenticWorkflow, ScriptedAgent, action

@action(read_only=True)
def hang() -> str:
    time.sleep(60)
    return "never"

plan = {"steps": [{"name": "wait", "action": "hang", "timeout": 0.2}]}
result = asyncio.run(AgenticWorkflow(ScriptedAgent([plan]), actions=[hang]).run("wait"))
print(result["state"], result["reason"])
"""
AS_TOOL = """
from agentic_workflows import Annotations
from agentic_workflows.actions.langchain_tools import from_tool
from langchain_core.tools import StructuredTool

hang = StructuredTool.from_function(hang.run.__wrapped__, description="Hang.")
hang = from_tool(hang, annotations=Annotations(read_only=True))
plan ="""


@pytest.mark.parametrize("source", [HANGING, HANGING.replace("plan =", AS_TOOL)], ids=["action", "langchain"])
def test_hanging_plain_function_is_cut_and_does_not_keep_the_process_alive(source: str) -> None:
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout == "FAILED Step wait failed: hang did not finish within 0.2 s.\n"
    assert time.monotonic() - began < 30


async def test_a_plain_function_ends_no_process_by_the_error_of_ctrl_c() -> None:
    @action
    def impatient() -> str:
        raise KeyboardInterrupt

    with pytest.raises(ActionError, match="It raised KeyboardInterrupt"):
        await call(impatient)
