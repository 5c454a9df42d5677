"""The real server on loopback, driven as Studio drives it."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

from agentic_workflows import Limits, RunError, ScriptedAgent, build_graph
from agentic_workflows.graph.build import Schemas
from agentic_workflows.graph.studio import StudioContext, _checked, _given, _graph_of, _shape
from agentic_workflows.graph.values import JsonObject
from agentic_workflows.policies.files import BUILT_IN
from agentic_workflows.testing import RecordingAction

CONFIGURATION = Path(__file__).parents[2] / "langgraph.json"
GRAPH = "agentic-workflow"
STARTUP_SECONDS = 60
REPLACE = {
    "goal": "Bring the note up to date.",
    "steps": [
        {"name": "read", "action": "read_file", "inputs": {"path": "note.txt"}, "outputs": ["text"]},
        {
            "name": "replace",
            "action": "write_file",
            "inputs": {"path": "note.txt", "text": "${text}, and new", "overwrite": True},
        },
    ],
}
QUESTION = "Step replace calls write_file. It may overwrite something that exists."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with nothing in it but what the server needs."""
    folder = tmp_path_factory.mktemp("studio")
    shutil.copy(CONFIGURATION, folder)
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    """Start a server and stop it, with all that it started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LANG", "OPENAI_", "OTEL_"))}
    command = [Path(sys.executable).with_name("langgraph"), "dev", "--no-browser", "--no-reload", "--port", str(port)]
    environment = {**kept, "LANGGRAPH_CLI_NO_ANALYTICS": "1"}
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            wait_for(f"http://127.0.0.1:{port}", server, folder / "server.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def wait_for(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + STARTUP_SECONDS
    while server.poll() is None and time.monotonic() < end:
        try:
            if httpx.get(f"{url}/ok", timeout=1).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    pytest.fail(f"The server did not start:\n{log.read_text()}")


@pytest.fixture
async def client(url: str) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=url, api_key=None) as client:
        yield client


@pytest.fixture
def workspace(folder: Path, request: pytest.FixtureRequest) -> Path:
    workspace = folder / str(request.node.name)
    workspace.mkdir()
    (workspace / "note.txt").write_text("old")
    return workspace


async def assistant_of(client: LangGraphClient, folder: Path, **context: Any) -> str:
    made = await client.assistants.create(GRAPH, context={"workspace": folder.name, **context})
    return str(made["assistant_id"])


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def new_thread(client: LangGraphClient) -> str:
    return str((await client.threads.create())["thread_id"])


async def result(client: LangGraphClient, thread: str, assistant: str, **given: Any) -> Any:
    return await client.runs.wait(thread, assistant, raise_error=False, **given)


async def test_forms_have_descriptions_defaults_and_bounds(client: LangGraphClient) -> None:
    assistant = (await client.assistants.search(graph_id=GRAPH))[0]
    schemas: Any = await client.assistants.get_schemas(assistant["assistant_id"])
    fields = {**schemas["input_schema"]["properties"], **schemas["context_schema"]["properties"]}

    assert list(schemas["input_schema"]["properties"]) == ["goal", "given_plan"]
    assert {"status", "steps", "history", "reason"} <= schemas["state_schema"]["properties"].keys()
    assert {"status", "steps", "history", "reason"} <= schemas["output_schema"]["properties"].keys()
    assert [name for name, field in fields.items() if not field.get("description") or "default" not in field] == []
    assert [name for name in BUILT_IN if name not in fields["policies"]["description"]] == []
    bounds = {
        name: (field["minimum"], field["default"], field["maximum"])
        for name, field in fields.items()
        if "maximum" in field
    }
    assert bounds == {
        "max_iterations": (1, 50, 10_000),
        "max_replans": (0, 2, 20),
        "max_tokens": (1, 1_000_000, 100_000_000),
        "max_seconds": (1, 3_600, 86_400),
        "max_parallel": (1, 8, 64),
        "review_seconds": (1, 604_800, 31_536_000),
        "grant_seconds": (1, 86_400, 31_536_000),
    }


async def test_run_is_reviewed_and_completes(client: LangGraphClient, workspace: Path) -> None:
    assistant, thread = await assistant_of(client, workspace), await new_thread(client)

    streamed = client.runs.stream(thread, assistant, input={"given_plan": REPLACE}, stream_mode="custom")
    events = [part.data["event"] async for part in streamed if part.event == "custom"]
    assert [event for event in events if event != "StateEntered"] == [
        "RunStarted",
        "PlanProposed",
        "PlanAccepted",
        "StepStarted",
        "StepSucceeded",
        "StepAsked",
    ]

    interrupts: Any = (await client.threads.get_state(thread))["interrupts"]
    (asked,) = interrupts
    (question,) = asked["value"]["action_requests"]
    assert question["name"] == "write_file"
    assert question["args"] == {"path": "note.txt", "text": "old, and new", "overwrite": True}
    assert question["description"].startswith(f"{QUESTION} Answer by ")
    allowed = ["approve", "edit", "reject", "respond"]
    assert asked["value"]["review_configs"] == [{"action_name": "write_file", "allowed_decisions": allowed}]
    decisions = asked["response_schema"]["properties"]["decisions"]
    assert (decisions["minItems"], decisions["maxItems"]) == (1, 1)
    assert decisions["items"]["properties"]["type"] == {"enum": allowed}

    refused = await result(client, thread, assistant, command={"resume": "yes, please"})
    assert refused["status"] == "REVIEWING"
    assert "'yes, please'; give {'decisions'" in refused["findings"][0]["problem"]
    problem = refused["findings"][0]["problem"]
    assert refused["__interrupt__"][0]["value"] == {**asked["value"], "problem": problem}
    assert (workspace / "note.txt").read_text() == "old"

    done = await result(client, thread, assistant, command={"resume": {"decisions": [{"type": "approve"}]}})
    assert (done["status"], done["reason"], done["goal"]) == ("COMPLETE", None, REPLACE["goal"])
    assert [(entry["step"], entry["result"]) for entry in done["history"]] == [("read", "old"), ("replace", "note.txt")]
    assert (workspace / "note.txt").read_text() == "old, and new"

    states: Any = await client.threads.get_history(thread, limit=20)
    past = [state["values"].get("status") for state in states]
    assert [now for now, before in zip(past, [*past[1:], ""], strict=True) if now != before] == [
        "COMPLETE",
        "EXECUTING",
        "REVIEWING",
        "EXECUTING",
        "PLANNING",
        None,
    ]
    assert (await client.threads.get(thread))["status"] == "idle"


@pytest.mark.parametrize(
    "context, problem",
    [
        (
            {"max_parallel": 65, "max_iterations": 0},
            "max_iterations: Input should be greater than or equal to 1; max_parallel: Input should be less than or ",
        ),
        ({"workspace": "nowhere"}, "nowhere cannot be used: No such file or directory. Create the folder"),
        ({"policies": ["missing.cedar"]}, "There is no policy file missing.cedar."),
        ({"annotations": ["missing.yaml"]}, "The annotations in missing.yaml cannot be used:"),
    ],
    ids=["bounds", "workspace", "policies", "annotations"],
)
async def test_context_that_cannot_be_used_is_one_clear_error(
    client: LangGraphClient, workspace: Path, context: dict[str, Any], problem: str
) -> None:
    assistant, thread = await assistant_of(client, workspace, **context), await new_thread(client)

    ended = await result(client, thread, assistant, input={"given_plan": REPLACE})

    assert problem in ended["__error__"]["message"]
    assert (workspace / "note.txt").read_text() == "old"


async def test_a_run_goes_on_with_nothing_else_than_what_it_was_begun_with_unless_that_is_said(
    client: LangGraphClient, workspace: Path, folder: Path
) -> None:
    (assistants,) = [one["assistant_id"] for one in await client.assistants.search(graph_id=GRAPH, name=GRAPH)]
    assistant, thread = str(assistants), await new_thread(client)
    other, context = folder / "examples" / "workspace", {"workspace": workspace.name}
    other.mkdir(parents=True)
    (other / "note.txt").write_text("of another")
    approve = {"resume": {"decisions": [{"type": "approve"}]}}

    await result(client, thread, assistant, input={"given_plan": REPLACE}, context=context)
    refused = await result(client, thread, assistant, command=approve)
    assert f'was begun with the workspace "{workspace}", which' in refused["__error__"]["message"]
    assert [(one / "note.txt").read_text() for one in (workspace, other)] == ["old", "of another"]
    there, here = f"{folder / '.agentic' / 'agentic.db'}", folder / "examples"
    review = [
        sys.executable,
        "-m",
        "agentic_workflows",
        "review",
        thread,
        "--approve",
        "all",
        "--database",
        there,
    ]
    done = await asyncio.to_thread(subprocess.run, review, cwd=here, capture_output=True, text=True)
    assert (done.returncode, (workspace / "note.txt").read_text()) == (0, "old, and new"), done.stderr
    begun = await result(client, thread, assistant, input={"given_plan": {**REPLACE, "goal": "Another."}})
    assert (begun["status"], begun["setting"]["workspace"]) == ("REVIEWING", str(other))


async def test_a_goal_that_comes_while_an_effect_is_in_doubt_lets_the_run_go_on_nowhere_else(tmp_path: Path) -> None:
    def graph(workspace: str) -> Any:
        setting: JsonObject = {"workspace": workspace}
        told = Schemas(setting=setting, check_setting=lambda begun: "" if begun in ({}, setting) else "not here")
        lost = RecordingAction("lost", error=ConnectionError(), read_only=False, destructive=False, open_world=False)
        steps = {"steps": [{"name": "lost", "action": "lost"}]}
        return build_graph(ScriptedAgent([steps]), actions=[lost], schemas=told, checkpointer=saver, database=database)

    saver, database = InMemorySaver(), tmp_path / "x.db"
    thread: Any = {"configurable": {"thread_id": "t"}}
    assert (await graph("one").ainvoke({"goal": "g"}, thread))["status"] == "REVIEWING"
    for given in (None, {"goal": "another"}):
        with pytest.raises(RunError, match="not here"):
            await graph("other").ainvoke(given, thread)
    waits = await graph("one").ainvoke({"goal": "another"}, thread)
    assert (waits["status"], waits["goal"], waits["setting"]) == ("REVIEWING", "g", {"workspace": "one"})


async def test_input_that_cannot_be_used_fails_with_its_reason(client: LangGraphClient, workspace: Path) -> None:
    assistant, thread = await assistant_of(client, workspace), await new_thread(client)

    long = await result(client, thread, assistant, input={"goal": "x" * 10_001, "given_plan": "steps"})
    reason = (
        "The input cannot be used. goal: String should have at most 10000 characters; "
        "given_plan: Input should be a valid dictionary."
    )
    assert (long["status"], long["reason"], long["history"]) == ("FAILED", reason, [])

    empty = await result(client, thread, assistant, input={"goal": " "})
    assert (empty["status"], empty["reason"]) == ("FAILED", "There is no goal. Give one, or a plan.")


async def test_a_plan_does_not_change_what_the_server_runs_by(
    client: LangGraphClient, folder: Path, workspace: Path
) -> None:
    rules = f"{workspace.name}/mine.cedar"
    (folder / rules).write_text('@id("x") forbid(principal, action == Action::"delete_file", resource);')
    assistant = await assistant_of(client, folder, workspace=".", policies=["default", rules])
    for path in ("langgraph.json", "own.py", rules):
        plan = {"steps": [{"name": "s", "action": "append_file", "inputs": {"path": path, "text": "x"}}]}
        ended = await result(client, await new_thread(client), assistant, input={"goal": "g", "given_plan": plan})
        assert (ended["status"], f"The path '{path}' is reserved" in ended["reason"]) == ("FAILED", True), ended


async def test_assistants_keep_to_their_own_workspaces_and_limits(client: LangGraphClient, workspace: Path) -> None:
    other = workspace / "inner"
    other.mkdir()
    plan = {
        "steps": [
            {"name": f"write {at}", "action": "write_file", "inputs": {"path": f"{at}.txt", "text": "t"}} for at in "ab"
        ]
    }
    outer = await assistant_of(client, workspace)
    inner = await assistant_of(client, workspace, workspace=f"{workspace.name}/inner", max_iterations=2)
    thread = await new_thread(client)

    done = await result(client, thread, outer, input={"given_plan": plan})
    cut = await result(client, thread, inner, input={"given_plan": plan, "goal": "Write less."})

    assert (done["status"], cut["status"]) == ("COMPLETE", "FAILED")
    assert "exceed the limit of 2" in cut["reason"]
    assert names_in(workspace) == ["a.txt", "b.txt", "inner", "note.txt"]
    assert names_in(other) == []


@pytest.mark.model
async def test_embedded_model_plans_on_the_server(client: LangGraphClient, workspace: Path) -> None:
    assistant, thread = await assistant_of(client, workspace, model="local"), await new_thread(client)

    done = await result(client, thread, assistant, input={"goal": "Count the words in note.txt"})

    assert (done["status"], done["history"][-1]["result"]) == ("COMPLETE", 1)
    assert done["tokens"] > 0


async def test_goal_inherits_neither_plan_nor_limits_of_the_one_before() -> None:
    noted = RecordingAction("note")
    agent = ScriptedAgent([{"steps": [{"name": "planned", "action": "note"}]}])
    graph = build_graph(agent, actions=[noted], limits=Limits(max_iterations=9), checkpointer=InMemorySaver())
    plan: Any = {"steps": [{"name": "given", "action": "note"}]}
    config: Any = {"configurable": {"thread_id": "t"}}

    first = await graph.ainvoke({"goal": "First.", "given_plan": plan, "given_limits": {"max_iterations": 5}}, config)
    second = await graph.ainvoke({"goal": "Second."}, config)

    assert (list(first["steps"]), first["limits"]["max_iterations"]) == (["given"], 5)
    assert (list(second["steps"]), second["limits"]["max_iterations"]) == (["planned"], 9)
    assert agent.goals == ["Second."]


def test_a_context_with_an_unknown_key_is_refused() -> None:
    with pytest.raises(RunError, match="max_iteration: Extra inputs are not permitted"):
        _checked(StudioContext, {"max_iteration": 3}, "context")


def test_names_that_a_server_puts_into_a_context_do_not_count() -> None:
    of_the_server = {"cron_id": "1", "langgraph_auth_user": None, "__event_streaming_v2": True, "thread_id": "t"}
    assert _checked(StudioContext, _given({**of_the_server, "max_replans": 3}), "context").max_replans == 3


async def test_goal_inherits_nothing_that_was_given_to_one_that_did_not_begin() -> None:
    noted = RecordingAction("note")
    agent = ScriptedAgent([{"steps": [{"name": "planned", "action": "note"}]}])
    graph = build_graph(agent, actions=[noted], checkpointer=InMemorySaver())
    plan: Any = {"steps": [{"name": "given", "action": "note"}]}
    for goal, steps, iterations in (("First.", ["given"], 5), ("Second.", ["planned"], 10)):
        config: Any = {"configurable": {"thread_id": goal}}
        first: Any = {"goal": "First.", "given_plan": plan, "given_limits": {"max_iterations": 5}}
        await graph.ainvoke(first, config, interrupt_before=["plan"])
        ended = await graph.ainvoke(None if goal == "First." else {"goal": goal}, config)
        assert (ended["goal"], list(ended["steps"]), ended["limits"]["max_iterations"]) == (goal, steps, iterations)


async def test_what_was_given_stays_given_where_somebody_changes_the_state_before_it_is_begun() -> None:
    noted = RecordingAction("note")
    graph = build_graph(ScriptedAgent([]), actions=[noted], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    given: Any = {"goal": "First.", "given_plan": {"steps": [{"name": "given", "action": "note"}]}}
    await graph.ainvoke(given, config, interrupt_before=["plan"])
    await graph.aupdate_state(config, {"given_limits": {"max_iterations": 7}})
    ended = await graph.ainvoke(None, config)
    assert (ended["status"], list(ended["steps"]), ended["limits"]["max_iterations"]) == ("COMPLETE", ["given"], 7)


@pytest.mark.parametrize("refused", [{"goal": ""}, {"goal": "Again.", "given_limits": {"max_seconds": 0}}])
async def test_a_goal_given_again_after_one_that_could_not_begin_is_a_run_of_its_own(refused: Any) -> None:
    noted = RecordingAction("note")
    agent = ScriptedAgent([{"steps": [{"name": "s", "action": "note"}]}] * 2)
    graph = build_graph(agent, actions=[noted], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    given: Any = {"goal": "Again."}
    ended = [(await graph.ainvoke(one, config))["status"] for one in (given, refused, given)]
    assert (ended, len(noted.calls)) == (["COMPLETE", "FAILED", "COMPLETE"], 2)


async def test_a_plan_that_comes_after_another_goal_has_its_own() -> None:
    graph = build_graph(ScriptedAgent([]), actions=[RecordingAction("note")], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    goals = []
    for goal in ("First.", "Second."):
        plan: Any = {"steps": [{"name": "s", "action": "note"}], "goal": goal}
        given: Any = {"goal": "First.", "given_plan": plan} if goal == "First." else {"given_plan": plan}
        goals.append((await graph.ainvoke(given, config))["goal"])
    assert goals == ["First.", "Second."]


def test_graph_has_one_shape_whatever_the_context(tmp_path: Path) -> None:
    run = _graph_of(StudioContext(workspace=str(tmp_path), policies=["article"], max_replans=0))

    assert run.get_graph().to_json() == _shape().get_graph().to_json()
    assert run.checkpointer is None
