"""A secret is named in a plan, reaches its action, and is nowhere else."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal, TypedDict

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tools import StructuredTool
from langchain_core.tracers.context import collect_runs
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from pydantic import BaseModel, SecretStr

from agentic_workflows import AgenticWorkflow, Limits, ScriptedAgent, action, approve, build_graph, edit, reject
from agentic_workflows.actions.action import Action, ActionCall, Found
from agentic_workflows.actions.files import file_actions
from agentic_workflows.actions.langchain_tools import from_tool
from agentic_workflows.actions.text import text_actions
from agentic_workflows.actions.workspace import Workspace
from agentic_workflows.errors import ActionError, ReviewError
from agentic_workflows.graph.catalogue import Annotations
from agentic_workflows.testing import RecordingAction

TOKEN = "tok-4711-very-secret"  # noqa: S105 - what must not be found
PLAN = {
    "steps": [
        {
            "name": "post",
            "action": "post",
            "inputs": {"text": "hello", "token": "${secrets.TOKEN}"},
            "human_review_required": True,
        }
    ]
}
SCHEMA: Any = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "token": {"type": "string"}},
    "required": ["text", "token"],
}


class Poster:
    """Posts with a token, and says too much about it."""

    def __init__(self, *, fails: bool = False) -> None:
        self.tokens: list[object] = []
        self._fails = fails

    @property
    def action(self) -> Action:
        """The action."""
        notes = Annotations(arguments={"text": "content", "token": "secret"}, destructive=False)
        return Action(name="post", input_schema=SCHEMA, annotations=notes, run=self._post, reconcile=self._look)

    async def _post(self, call: ActionCall) -> object:
        self.tokens.append(call.inputs["token"])
        if self._fails:
            raise ActionError(f"401: bad token {call.inputs['token']}")
        return {"sent": call.inputs["text"], "headers": [{"auth": f"Bearer {call.inputs['token']}"}]}

    async def _look(self, call: ActionCall) -> Found | None:
        return Found(result=call.inputs["token"])


def everything(path: Path) -> str:
    """Return all that the files of a database hold, as one text."""
    return "".join(file.read_bytes().decode("latin-1") for file in path.parent.glob(f"{path.name}*"))


@pytest.fixture
def house(tmp_path: Path) -> Callable[..., AgenticWorkflow]:
    def build(poster: Poster, plan: Any = PLAN, **secrets: str) -> AgenticWorkflow:
        agent = ScriptedAgent([plan])
        return AgenticWorkflow(agent, actions=[poster.action], database=tmp_path / "runs.db", secrets=secrets.get)

    return build


async def test_a_secret_reaches_its_action_and_nothing_else(house: Any, tmp_path: Path) -> None:
    poster = Poster()
    workflow = house(poster, TOKEN=TOKEN)
    told = [event.to_json() async for event in workflow.stream("g", thread_id="t")]
    (question,) = workflow.get_results()["reviews"]
    assert question["args"] == {"text": "hello", "token": "${secrets.TOKEN}"}
    told += [event.to_json() async for event in workflow.resume_stream(approve())]
    result = workflow.get_results()
    assert (result["state"], poster.tokens) == ("COMPLETE", [TOKEN])
    assert result["history"][0]["result"]["headers"] == [{"auth": "Bearer [secret TOKEN]"}]
    shown = json.dumps([told, result, await workflow.timeline("t")], default=str)
    assert (TOKEN in shown, TOKEN in everything(tmp_path / "runs.db")) == (False, False)


ACTIONS = """
from agentic_workflows import action

@action(destructive=False, arguments={"text": "content", "token": "secret"})
def post(text: str, token: str) -> str:
    \"\"\"Post a text, and say too much about it.\"\"\"
    return f"posted {text} with {token}"

ACTIONS = [post]
"""


def test_a_secret_is_in_no_file_and_no_output_of_the_command(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(ACTIONS)
    (tmp_path / "plan.json").write_text(json.dumps({"goal": "g", **PLAN}))
    (tmp_path / "files").mkdir()
    environment = {**os.environ, "AGENTIC_SECRET_TOKEN": TOKEN, "LANGSMITH_TRACING": "false"}
    said = ""

    def agentic(*arguments: str, code: int = 0) -> None:
        nonlocal said
        command = [sys.executable, "-m", "agentic_workflows", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        said += done.stdout + done.stderr
        assert done.returncode == code, said

    agentic("run", "--plan", "plan.json", "--workspace", "files", "--actions", "mine:ACTIONS", "--thread", "t", code=3)
    agentic("review")
    agentic("review", "t", "--approve", "all")
    for command in (["show", "t"], ["show", "t", "--json"], ["export", "t"], ["runs", "--json"]):
        agentic(*command)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert [file.name for file in files if TOKEN.encode() in file.read_bytes()] == []
    assert (TOKEN in said, "posted hello with [secret TOKEN]" in said) == (False, True)


async def test_an_error_does_not_show_the_secret(house: Any) -> None:
    workflow = house(Poster(fails=True), TOKEN=TOKEN)
    await workflow.run("g")
    result = await workflow.resume(approve())
    assert (result["state"], "401: bad token [secret TOKEN]" in result["reason"]) == ("FAILED", True)


SECRETS = {"USER": "ada", "PASSWORD": "ada-hunter2", "WORD": "secret"}


@pytest.mark.parametrize("names", [("USER", "PASSWORD"), ("PASSWORD", "USER"), ("PASSWORD", "WORD")])
async def test_a_secret_is_hidden_as_a_whole_whatever_others_the_call_gets(names: tuple[str, str]) -> None:
    @action(read_only=True, open_world=False, arguments={"one": "secret", "other": "secret"})
    def join(one: str, other: str) -> str:
        """Say both."""
        return f"{one}, {other}"

    inputs = {"one": f"${{secrets.{names[0]}}}", "other": f"${{secrets.{names[1]}}}"}
    agent = ScriptedAgent([{"steps": [{"name": "join", "action": "join", "inputs": inputs}]}])
    result = await AgenticWorkflow(agent, actions=[join], secrets=SECRETS.get).run("g")
    assert result["history"][0]["result"] == f"[secret {names[0]}], [secret {names[1]}]"


@pytest.mark.parametrize("secret", ["TOPSECRET\n", "\r\n  TOPSECRET ", 'it\'s "TOPSECRET"\n'])
async def test_a_secret_is_hidden_without_the_space_around_it_as_well(secret: str) -> None:
    @action(read_only=True, open_world=False, arguments={"token": "secret"})
    def tell(token: str) -> list[str]:
        """Say what is sent."""
        return [f"Bearer {token.strip()}", token, json.dumps({"auth": token.strip()}), token.rstrip()]

    agent = ScriptedAgent([{"steps": [{"name": "tell", "action": "tell", "inputs": {"token": "${secrets.TOKEN}"}}]}])
    result = await AgenticWorkflow(agent, actions=[tell], secrets={"TOKEN": secret}).run("g")
    assert "TOPSECRET" not in json.dumps(result)
    assert result["history"][0]["result"][:2] == ["Bearer [secret TOKEN]", "[secret TOKEN]"]


@pytest.mark.parametrize("secret", ["471104", "471104\n"])
async def test_a_secret_is_hidden_as_a_number_as_well(secret: str) -> None:
    @action(read_only=True, open_world=False, arguments={"pin": "secret"})
    def tell(pin: str) -> dict[str, object]:
        """Say the number."""
        return {"pin": int(pin), "all": [float(pin), 1, True, 4711]}

    agent = ScriptedAgent([{"steps": [{"name": "tell", "action": "tell", "inputs": {"pin": "${secrets.PIN}"}}]}])
    result = await AgenticWorkflow(agent, actions=[tell], secrets={"PIN": secret}).run("g")
    assert result["history"][0]["result"] == {"pin": "[secret PIN]", "all": ["[secret PIN]", 1, True, 4711]}


@pytest.mark.parametrize("secret", [" ", "\n", "9" * 30])
async def test_a_secret_that_is_nothing_but_space_or_digits_hides_nothing_else(secret: str) -> None:
    @action(read_only=True, open_world=False, arguments={"token": "secret"})
    def tell(token: str) -> list[object]:
        """Say something else."""
        return ["ab", len(token), 0]

    agent = ScriptedAgent([{"steps": [{"name": "tell", "action": "tell", "inputs": {"token": "${secrets.TOKEN}"}}]}])
    result = await AgenticWorkflow(agent, actions=[tell], secrets={"TOKEN": secret}).run("g")
    assert result["history"][0]["result"] == ["ab", len(secret), 0]


@pytest.mark.parametrize("secret", ["0", "0000", "000000", "4711", "0471104"])
async def test_a_short_number_and_one_with_zeros_in_front_hide_no_other_number(secret: str) -> None:
    paid: list[str] = []

    @action(destructive=False, open_world=False, arguments={"pin": "secret"})
    def pay(pin: str) -> dict[str, int]:
        """Pay, and tell the balance."""
        paid.append(pin)
        return {"balance": int(pin)}

    agent = ScriptedAgent([{"steps": [{"name": "pay", "action": "pay", "inputs": {"pin": "${secrets.PIN}"}}]}])
    result = await AgenticWorkflow(agent, actions=[pay], secrets={"PIN": secret}).run("g")
    assert (result["state"], paid) == ("COMPLETE", [secret])
    assert result["history"][0]["result"] == {"balance": int(secret)}


HOWS = ["json", "text", "repr", "key", *(" in ".join(how) for how in product(["json", "text", "repr"], repeat=3))]


@pytest.mark.parametrize(
    "secret", ["back\\slash-47x11", "-----BEGIN-----\n47x11\n", 'it\'s "47x11"', '"47x11"', "it's 47x11", "ü-47x11"]
)
async def test_a_secret_is_hidden_however_python_or_json_writes_it(secret: str) -> None:
    @action(read_only=True, open_world=False, arguments={"token": "secret"})
    def tell(token: str, how: str) -> str:
        """Say too much."""
        if how == "key":
            raise KeyError(token)
        other = {"other": "'", "token": token}
        write = {"json": json.dumps, "text": partial(json.dumps, ensure_ascii=False), "repr": repr}
        said: Any = other
        for one in how.split(" in "):
            said = {"said": write[one](said)}
        return str(said["said"])

    steps = [
        {"name": f"s{at}", "action": "tell", "inputs": {"token": "${secrets.TOKEN}", "how": how}}
        for at, how in enumerate(HOWS)
    ]
    agent = ScriptedAgent([{"steps": steps}])
    result = await AgenticWorkflow(agent, 100, actions=[tell], secrets={"TOKEN": secret}.get).run("g")
    assert len(result["history"]) == len(HOWS)
    assert ("47x11" in str(result), "[secret TOKEN]" in str(result)) == (False, True)


GIVEN = "A secret NAME is what `secrets=` gives for NAME."


@pytest.mark.parametrize(
    "secrets, hint",
    [
        ({}, "A secret NAME is read from AGENTIC_SECRET_NAME."),
        ({"secrets": {"OTHER": TOKEN}}, GIVEN),
        ({"secrets": {"TOKEN": ""}}, GIVEN),
        ({"secrets": lambda _: None}, GIVEN),
    ],
    ids=["environment", "mapping", "empty", "function"],
)
async def test_a_secret_that_is_not_set_is_named_and_nothing_is_done(secrets: Any, hint: str) -> None:
    poster = Poster()
    result = await AgenticWorkflow(ScriptedAgent([PLAN]), actions=[poster.action], **secrets).run("g")
    assert (result["state"], poster.tokens) == ("FAILED", [])
    assert f"These secrets are not set: TOKEN. {hint}" in result["reason"]


@pytest.mark.parametrize("secrets", [{}, {"TOKEN": "too short"}], ids=["not set", "does not fit"])
async def test_nobody_is_asked_about_a_call_that_cannot_be_made_for_its_secret(secrets: Any) -> None:
    use, calls = picky({"minLength": 18})
    first = RecordingAction("first", read_only=False)
    steps = [
        {"name": "first", "action": "first", "human_review_required": True},
        {"name": "use", "action": "use", "inputs": {"token": "${secrets.TOKEN}"}, "human_review_required": True},
    ]
    workflow = AgenticWorkflow(ScriptedAgent([{"steps": steps}]), actions=[first, use], secrets=secrets)
    result = await workflow.run("g")
    assert [review["step"] for review in result["reviews"]] == ["first"]
    result = await workflow.resume(approve())
    assert (result["state"], first.calls, calls) == ("FAILED", [{}], [])
    assert "TOKEN" in result["reason"] or "use.inputs.token" in result["reason"]


def unreachable(name: str) -> str:
    raise ConnectionError(f"no vault for {name}, and {TOKEN}")


@pytest.mark.parametrize(
    "secrets, reason",
    [
        (lambda _: SecretStr(TOKEN), "The secret TOKEN is given as SecretStr; give it as str."),
        (lambda _: TOKEN.encode(), "The secret TOKEN is given as bytes; give it as str."),
        ({"TOKEN": 0}, "The secret TOKEN is given as int; give it as str."),
        (unreachable, "The secret TOKEN could not be read: ConnectionError."),
    ],
    ids=["SecretStr", "bytes", "int", "error"],
)
async def test_a_secret_that_is_no_text_is_named_and_nothing_is_done(secrets: Any, reason: str) -> None:
    poster = Poster()
    result = await AgenticWorkflow(ScriptedAgent([PLAN]), actions=[poster.action], secrets=secrets).run("g")
    assert (result["state"], poster.tokens, reason in result["reason"]) == ("FAILED", [], True)
    assert TOKEN not in str(result)


async def test_a_mapping_gives_secrets() -> None:
    poster = Poster()
    workflow = AgenticWorkflow(ScriptedAgent([PLAN]), actions=[poster.action], secrets={"TOKEN": TOKEN})
    await workflow.run("g")
    assert ((await workflow.resume(approve()))["state"], poster.tokens) == ("COMPLETE", [TOKEN])


async def test_the_environment_gives_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTIC_SECRET_TOKEN", TOKEN)
    poster = Poster()
    workflow = AgenticWorkflow(ScriptedAgent([PLAN]), actions=[poster.action])
    await workflow.run("g")
    assert ((await workflow.resume(approve()))["state"], poster.tokens) == ("COMPLETE", [TOKEN])


async def test_an_edit_keeps_the_secret_or_replaces_it(house: Any) -> None:
    poster = Poster()
    workflow = house(poster, TOKEN=TOKEN)
    await workflow.run("g", thread_id="kept")
    await workflow.resume(edit({"text": "bye", "token": "${secrets.TOKEN}"}))
    await workflow.run("g", plan=PLAN, thread_id="replaced")
    await workflow.resume(edit({"text": "bye", "token": "another"}))
    assert poster.tokens == [TOKEN, "another"]


HELD: Any = [
    {"pattern": "^tok-"},
    {"minLength": 18},
    {"maxLength": 25, "format": "regex", "enum": [TOKEN]},
]


def picky(token: Any, **more: Any) -> tuple[Action, list[Any]]:
    """Return an action whose schema says more of its token than that it is text, and what it is called with."""
    calls: list[Any] = []

    async def use(call: ActionCall) -> str:
        calls.append(call.inputs["token"])
        return "used"

    schema = {"type": "object", "properties": {"token": token, "n": {"type": "integer"}}, **more}
    notes = Annotations(destructive=False, arguments={"token": "secret", "n": "param"})
    return Action(name="use", input_schema=schema, annotations=notes, run=use), calls


def using(action: Action, **inputs: Any) -> AgenticWorkflow:
    steps = [{"name": "use", "action": "use", "inputs": {"token": "${secrets.TOKEN}", **inputs}}]
    return AgenticWorkflow(ScriptedAgent([{"steps": steps}]), actions=[action], secrets={"TOKEN": TOKEN})


@pytest.mark.parametrize("held", HELD)
async def test_the_schema_is_asked_about_a_secret_and_not_about_its_name(held: Any) -> None:
    use, calls = picky({"type": "string", **held})
    assert (await using(use, n=1).run("g"))["state"] == "COMPLETE"
    assert calls == [TOKEN]


@pytest.mark.parametrize("held", HELD)
async def test_the_schema_is_asked_about_a_secret_that_an_edit_keeps_and_about_what_it_puts_there(held: Any) -> None:
    use, calls = picky({"type": "string", **held})
    step = {"name": "use", "action": "use", "inputs": {"token": "${secrets.TOKEN}"}, "human_review_required": True}
    workflow = AgenticWorkflow(ScriptedAgent([{"steps": [step]}]), actions=[use], secrets={"TOKEN": TOKEN})
    await workflow.run("g")
    for inputs in ({"n": 1, "token": "mine"}, {"n": "x", "token": "${secrets.TOKEN}"}):
        with pytest.raises(ReviewError, match="does not fit"):
            await workflow.resume(edit(inputs))
    result = await workflow.resume(edit({"n": 1, "token": "${secrets.TOKEN}"}))
    assert (result["state"], calls) == ("COMPLETE", [TOKEN])


@pytest.mark.parametrize(
    "token, more, place",
    [
        ({"pattern": "^sk-"}, {}, "use.inputs.token"),
        ({"type": "string", "minLength": 100}, {}, "use.inputs.token"),
        ({"enum": ["other"]}, {}, "use.inputs.token"),
        ({}, {"not": {"properties": {"token": {"const": TOKEN}}}}, "use.inputs"),
    ],
    ids=["pattern", "minLength", "enum", "together"],
)
async def test_a_secret_that_does_not_fit_is_told_without_its_value(token: Any, more: Any, place: str) -> None:
    use, calls = picky(token, **more)
    result = await using(use, n=1).run("g")
    assert (result["state"], calls, TOKEN in str(result)) == ("FAILED", [], False)
    assert f"{place}: does not fit the schema with its secret in place." in result["reason"]


async def test_what_is_no_secret_is_checked_beside_one_before_anything_runs() -> None:
    use, _ = picky({"pattern": "^tok-"})
    findings = (
        using(use)
        .examine({"steps": [{"name": "use", "action": "use", "inputs": {"token": "${secrets.T}", "n": "x"}}]})
        .findings
    )
    assert [str(one) for one in findings] == [
        'use.inputs.n: "x" is not of type "integer". See the action\'s input schema.'
    ]


async def test_text_that_only_looks_like_a_secret_stays_text() -> None:
    poster = Poster()

    @action(read_only=True, open_world=False, trusted=True)
    def fetch() -> str:
        """Fetch what an attacker wrote."""
        return "${secrets.TOKEN}"

    steps = [
        {"name": "fetch", "action": "fetch", "outputs": ["found"]},
        {"name": "post", "action": "post", "inputs": {"text": "${found} $${secrets.TOKEN}", "token": "${found}"}},
    ]
    workflow = AgenticWorkflow(
        ScriptedAgent([{"steps": steps}]), actions=[poster.action, fetch], secrets={"TOKEN": TOKEN}.get
    )
    result = await workflow.run("g")
    assert poster.tokens == ["${secrets.TOKEN}"]
    assert result["history"][1]["result"]["sent"] == "${secrets.TOKEN} ${secrets.TOKEN}"


async def test_a_tool_that_gets_a_secret_is_not_traced() -> None:
    traced: list[str] = []

    class Tracer(BaseCallbackHandler):
        def on_tool_start(self, serialized: Any, input_str: str, **more: Any) -> None:  # noqa: ARG002
            traced.append(input_str)

    got: list[str] = []

    def use(token: str) -> str:
        """Use a token."""
        got.append(token)
        return "used"

    notes = Annotations(read_only=True, open_world=False, arguments={"token": "secret"})
    tool = from_tool(StructuredTool.from_function(use), annotations=notes)
    steps = [
        {"name": "one", "action": "use", "inputs": {"token": "${secrets.TOKEN}"}},
        {"name": "two", "action": "use", "inputs": {"token": "public"}},
    ]
    graph = build_graph(ScriptedAgent([{"steps": steps}]), actions=[tool], secrets={"TOKEN": TOKEN}.get)
    with collect_runs() as collected:
        await graph.ainvoke({"goal": "g"}, {"callbacks": [Tracer()]})
    assert sorted(got) == ["public", TOKEN]
    assert (len(traced), TOKEN in str(traced)) == (1, False)
    tools = [run.inputs for run in collected.traced_runs if run.run_type == "tool"]
    assert (len(tools), TOKEN in str(tools)) == (1, False)


class WithToken(TypedDict):
    token: str


async def test_a_graph_that_an_action_gives_a_secret_to_is_neither_streamed_nor_kept() -> None:
    builder = StateGraph(WithToken)
    builder.add_node("log_in", lambda state: state)
    builder.add_edge(START, "log_in")
    inner, got = builder.compile(), list[str]()

    @action(read_only=True, open_world=False, arguments={"token": "secret"})
    async def log_in(token: str) -> str:
        got.append((await inner.ainvoke({"token": token}))["token"])
        return "done"

    step = {"name": "one", "action": "log_in", "inputs": {"token": "${secrets.TOKEN}"}}
    saver, secrets = InMemorySaver(), {"TOKEN": TOKEN}
    graph = build_graph(ScriptedAgent([{"steps": [step]}]), actions=[log_in], secrets=secrets, checkpointer=saver)
    streamed = graph.astream(
        {"goal": "g"},
        {"configurable": {"thread_id": "t"}},
        stream_mode=["values", "updates", "debug"],
        subgraphs=True,
        durability="sync",
    )
    chunks = [chunk async for chunk in streamed]
    assert (got, TOKEN in str(chunks), list(saver.storage["t"])) == ([TOKEN], False, [""])


@pytest.mark.parametrize(
    "inputs, more, problem",
    [
        ({"text": "${secrets.TOKEN}", "token": "x"}, {}, "declares no argument 'text' that is one as a whole"),
        ({"text": "x", "token": "Bearer ${secrets.TOKEN}"}, {}, "declares no argument 'token' that is one as a whole"),
        ({"text": "x", "token": "${secrets.TOKEN}"}, {"when": "${secrets.TOKEN}"}, "only an action ever sees"),
        ({"text": "x", "token": "${secrets}"}, {}, "refers to an output that no step gives"),
        ({"text": "x", "token": "${secrets.TOKEN}"}, {"outputs": ["secrets"]}, "secrets"),
    ],
    ids=["content", "part", "condition", "all", "output"],
)
async def test_a_secret_stands_only_where_one_belongs(house: Any, inputs: Any, more: Any, problem: str) -> None:
    poster = Poster()
    plan = {"steps": [{"name": "post", "action": "post", "inputs": inputs, **more}]}
    result = await house(poster, plan, TOKEN=TOKEN).run("g", plan=plan)
    assert (result["state"], poster.tokens) == ("FAILED", [])
    assert problem in result["reason"]


@pytest.mark.parametrize("says", ["an error with words of its own", "a reconcile that gives something else"])
async def test_a_secret_shows_in_no_way_that_an_action_has_of_speaking(says: str) -> None:
    class ApiError(ActionError):
        def __init__(self, token: object) -> None:
            super().__init__("no")
            self.token = token

        def __str__(self) -> str:
            return f"The server said {self.token}"

    async def post(call: ActionCall) -> object:
        raise ApiError(call.inputs["token"]) if says.startswith("an error") else ConnectionError("lost")

    async def look(call: ActionCall) -> Any:
        return {"sent with": call.inputs["token"]}

    notes = Annotations(arguments={"text": "content", "token": "secret"}, destructive=False)
    act = Action(name="post", input_schema=SCHEMA, annotations=notes, run=post, reconcile=look)
    workflow = AgenticWorkflow(ScriptedAgent([PLAN]), actions=[act], secrets={"TOKEN": TOKEN})
    await workflow.run("g")
    assert TOKEN not in json.dumps(await workflow.resume(approve()))


class Login(BaseModel):
    code: int


def _as_number(key: str) -> int:
    return key  # type: ignore[return-value]


def _within(key: str) -> dict[str, int]:
    return {"key": key}  # type: ignore[dict-item]


def _as_word(key: str) -> Literal["a", "b"]:
    return key  # type: ignore[return-value]


def _read(key: str) -> Login:
    return Login(code=key)  # type: ignore[arg-type]


def _written(key: str) -> str:
    return Login.model_construct(code=key).model_dump_json(warnings="error")  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [70, 2_000])
@pytest.mark.parametrize("gives", [_as_number, _within, _as_word, _read, _written])
async def test_no_part_of_a_secret_shows_where_a_result_is_not_what_it_should_be(
    gives: Callable[[str], object], length: int
) -> None:
    secret = "".join(chr(65 + at % 26) + str(at) for at in range(length))[:length]
    act = action(read_only=True, name="give", arguments={"key": "secret"})(gives)
    plan = {"steps": [{"name": "give", "action": "give", "inputs": {"key": "${secrets.KEY}"}, "outputs": ["given"]}]}
    result = await AgenticWorkflow(ScriptedAgent([plan]), actions=[act], secrets={"KEY": secret}).run("g")
    told = json.dumps(result)
    assert (result["state"], [at for at in range(length - 6) if secret[at : at + 6] in told]) == ("FAILED", [])


def _fails_by_name(token: str) -> Found:
    raise OSError(f"no account with {token}")


@pytest.mark.parametrize(
    "finds, told",
    [
        (lambda token: Found(result=Login(code=token).code), "code: Input should be a valid integer"),
        (_fails_by_name, "OSError: no account with [secret TOKEN]."),
    ],
    ids=["by pydantic", "by name"],
)
async def test_no_part_of_a_secret_shows_where_a_reconcile_fails(finds: Callable[[Any], Found], told: str) -> None:
    secret = "-".join(map(str, range(100, 130)))

    async def post(_: ActionCall) -> object:
        raise ConnectionError("lost")

    async def look(call: ActionCall) -> Found:
        return finds(call.inputs["token"])

    notes = Annotations(arguments={"text": "content", "token": "secret"}, destructive=False)
    act = Action(name="post", input_schema=SCHEMA, annotations=notes, run=post, reconcile=look)
    workflow = AgenticWorkflow(ScriptedAgent([PLAN]), actions=[act], secrets={"TOKEN": secret})
    await workflow.run("g")
    (question,) = (await workflow.resume(approve()))["reviews"]
    assert told in question["reason"]
    assert [at for at in range(len(secret) - 6) if secret[at : at + 6] in question["reason"]] == []


async def test_what_a_replaced_plan_left_in_doubt_is_found_out_with_its_secret_that_shows_nowhere(
    tmp_path: Path,
) -> None:
    looked: list[object] = []

    async def post(_: ActionCall) -> object:
        raise ConnectionError("lost")

    async def look(call: ActionCall) -> Found:
        looked.append(call.inputs["token"])
        if len(looked) == 1:
            raise OSError("no route")
        return Found(result=f"posted with {call.inputs['token']}")

    inputs = {"text": "hello", "token": "${secrets.TOKEN}"}
    steps = [{"name": name, "action": "post", "inputs": inputs} for name in ("lost", "asked")]
    steps[1] |= {"human_review_required": True, "inputs": {**inputs, "text": "other"}}
    notes = Annotations(arguments={"text": "content", "token": "secret"}, destructive=False)
    act = Action(
        name="post",
        input_schema=SCHEMA,
        annotations=notes,
        run=post,
        reconcile=look,
        resources=lambda inputs: [str(inputs["text"])],
    )
    agent = ScriptedAgent([{"steps": steps}, {"steps": [{"name": "again", "action": "post", "inputs": inputs}]}])
    workflow = AgenticWorkflow(agent, actions=[act], database=tmp_path / "runs.db", secrets={"TOKEN": TOKEN})
    ids = {one["step"]: one["id"] for one in (await workflow.run("g"))["reviews"]}
    result = await workflow.resume({ids["lost"]: approve(), ids["asked"]: reject("Not this.")})
    assert (result["state"], result["reviews"], looked) == ("COMPLETE", [], [TOKEN, TOKEN])
    assert result["history"][-1]["result"] == "posted with [secret TOKEN]"
    assert TOKEN not in everything(tmp_path / "runs.db")


KEY: Any = {"type": "object", "properties": {"key": {"type": "string"}}}


@pytest.mark.parametrize("sees_outputs", [True, False])
@pytest.mark.parametrize("is_trusted", [True, False])
async def test_a_secret_that_an_action_gave_is_told_to_no_planner(*, sees_outputs: bool, is_trusted: bool) -> None:
    """Neither as a result, nor in what went wrong, nor to who reviews the progress."""
    seen: list[Any] = []

    class Planner(ScriptedAgent):
        async def review_progress(self, goal: str, history: Any) -> str:  # noqa: ARG002 - its shape
            seen.append(history)
            return ""

    login = {"name": "login", "action": "login", "outputs": ["session"]}
    use = {"name": "use", "action": "use", "inputs": {"key": "${session}"}}
    agent = Planner([{"steps": [login, use]}, {"steps": [login]}])
    agent.sees_outputs = sees_outputs  # type: ignore[attr-defined]  # an agent of one's own has it
    actions = [
        RecordingAction("login", result={"token": TOKEN}, trusted=is_trusted, secret_fields=("token",)),
        RecordingAction("use", input_schema=KEY, arguments={"key": "secret"}),
    ]
    result = await AgenticWorkflow(agent, 20, actions=actions, limits=Limits(max_replans=1)).run("g")
    assert (result["state"], len(agent.histories), len(seen)) == ("COMPLETE", 2, 1)
    assert [entry["status"] for entry in seen[0] if entry["step"]] == ["succeeded", "failed", "succeeded"]
    assert TOKEN not in json.dumps([agent.histories, seen])
    assert result["history"][0] == {"step": "login", "result": {"token": TOKEN}, "status": "succeeded"}


@pytest.mark.parametrize("sees_outputs", [True, False])
@pytest.mark.parametrize("how", ["when", "validation", "input", "order"])
async def test_no_planner_reads_a_secret_off_how_steps_ended(how: str, *, sees_outputs: bool) -> None:
    """One that asks of each letter whether the secret begins with it."""
    token = RecordingAction("get", result=TOKEN, trusted=True, secret_fields=("*",))
    look = RecordingAction("look", input_schema={"type": "object", "properties": {"a": {"type": "string"}}})
    fail = RecordingAction("fail", result="no number", trusted=True)

    def asks(letter: str) -> dict[str, Any]:
        begins = f"starts_with(@, '{letter}')"
        return {
            "when": {"action": "look", "when": f"${{token | {begins}}}"},
            "validation": {"action": "get", "validation": {"pattern": f"^{letter}"}},
            "input": {"action": "look", "inputs": {"a": f"${{token | {begins} && 'a' || `1`}}"}},
            "order": {"action": "look", "inputs": {"a": f"${{token | min([@, '{letter}'])}}"}},
        }[how]

    asked = [{"name": letter, **asks(letter)} for letter in "stu"]
    wrong = {"name": "wrong", "action": "fail", "validation": {"type": "integer"}, "after": ["get"]}
    agent = ScriptedAgent([{"steps": [{"name": "get", "action": "get", "outputs": ["token"]}, *asked, wrong]}] * 2)
    agent.sees_outputs = sees_outputs  # type: ignore[attr-defined]  # an agent of one's own has it
    workflow = AgenticWorkflow(agent, 20, actions=[token, look, fail], limits=Limits(max_replans=1))
    assert (await workflow.run("g"))["state"] == "FAILED"
    assert {entry["status"] for entry in agent.histories[1] if entry["step"] in {*"stu"}} == set()
    told: Any = agent.histories[1][-1]["result"]
    assert [finding["step"] for finding in told["findings"]] == [*"stu"]


@pytest.mark.parametrize(
    "asks",
    [
        {"action": "list_files", "inputs": {"folder": ".", "pattern": "[${token}]"}, "outputs": ["found"]},
        {"action": "read_file", "inputs": {"path": "${token}"}},
    ],
)
async def test_no_planner_reads_a_secret_off_which_files_there_are_unasked(asks: Any, tmp_path: Path) -> None:
    token = RecordingAction("get", result=TOKEN, trusted=True, secret_fields=("*",))
    first = {"name": "first", "action": "word_count", "inputs": {"text": "${found[0]}"}}
    steps = [{"name": "get", "action": "get", "outputs": ["token"]}, {"name": "ask", **asks}]
    steps += [first] if "outputs" in asks else []
    actions = [token, *file_actions(Workspace(tmp_path))]
    result = await AgenticWorkflow(ScriptedAgent([{"steps": steps}]), actions=actions).run("g")
    assert [(one["step"], one["rules"]) for one in result["reviews"]] == [("ask", ["secret-steers"])]


async def test_a_secret_that_an_action_gave_is_told_to_no_model_of_a_text_step() -> None:
    def model() -> Any:
        raise AssertionError

    token = RecordingAction("get", result={"user": "ada", "token": TOKEN}, trusted=True, secret_fields=("token",))
    text = "${account.user} ${account}"
    steps = [
        {"name": "get", "action": "get", "outputs": ["account"]},
        {"name": "sum", "action": "summarize", "inputs": {"text": text}},
    ]
    workflow = AgenticWorkflow(ScriptedAgent([{"steps": steps}]), actions=[token, *text_actions(model)])
    result = await workflow.run("g")
    assert (result["state"], "[secret-leaves" in result["reason"]) == ("FAILED", True)


async def test_a_secret_that_an_action_gave_goes_through_no_file_unasked(tmp_path: Path) -> None:
    """What is read back from there has no label any more."""
    sent: list[str] = []

    @action(read_only=True, open_world=False, trusted=True, secret_fields=("*",))
    def get_token() -> str:
        """Get the token."""
        return TOKEN

    @action(destructive=False, arguments={"body": "content"})
    def send_mail(to: str, body: str) -> str:  # noqa: ARG001 - whom a plan names
        """Send a mail."""
        sent.append(body)
        return "sent"

    steps = [
        {"name": "get", "action": "get_token", "outputs": ["token"]},
        {"name": "keep", "action": "write_file", "inputs": {"path": "a.txt", "text": "${token}"}},
        {"name": "read", "action": "read_file", "inputs": {"path": "a.txt"}, "outputs": ["text"], "after": ["keep"]},
        {"name": "mail", "action": "send_mail", "inputs": {"to": "ada@example.org", "body": "${text}"}},
    ]
    files = [one for one in file_actions(Workspace(tmp_path)) if one.name in {"write_file", "read_file"}]
    workflow = AgenticWorkflow(ScriptedAgent([{"steps": steps}]), actions=[get_token, send_mail, *files])
    (question,) = (await workflow.run("Mail it to ada@example.org"))["reviews"]
    assert (question["step"], question["rules"], sent) == ("keep", ["secret-kept"], [])
    assert (await workflow.resume(approve()))["state"] == "COMPLETE"
    assert sent == [TOKEN]
