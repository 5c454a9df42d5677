"""The command on runs of other programs: inside other graphs, which it leaves alone, and in folders of their own."""

import asyncio
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph

from agentic_workflows import ScriptedAgent, build_graph
from agentic_workflows.actions.files import file_actions
from agentic_workflows.actions.workspace import Workspace
from agentic_workflows.journal.database import Database
from agentic_workflows.testing import RecordingAction

COMPLETE, BAD_INPUT, WAITING = 0, 2, 3
ASKS = {"steps": [{"name": "send", "action": "send", "inputs": {"to": "you"}, "human_review_required": True}]}


class Outer(TypedDict):
    goal: str
    status: str


def inside(inner: Any, saver: Any = None) -> Any:
    builder = StateGraph(Outer)
    builder.add_node("agent", inner)
    builder.add_edge(START, "agent")
    return builder.compile(checkpointer=saver)


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_here: Call) -> Call:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return run_here


async def ask_inside(*, deep: bool = False, elsewhere: bool = False) -> None:
    """Let a graph of ours ask something inside another one, whose thread is `a b`."""
    database, send = Database(".agentic/agentic.db"), RecordingAction("send", read_only=False)
    inner = build_graph(ScriptedAgent([ASKS]), actions=[send], database=database)
    async with database.checkpointer() as saver:
        graph = inside(inside(inner) if deep else inner, InMemorySaver() if elsewhere else saver)
        await graph.ainvoke({"goal": "Write to you."}, {"configurable": {"thread_id": "a b"}})


def named(listed: str) -> list[str]:
    """Return the names that rows begin with, each as a shell reads it."""
    rows = [line for line in listed.splitlines()[1:] if line[0] != " "]
    return [shlex.split(row[: row.index("  ")])[0] for row in rows]


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("deep", [False, True])
def test_a_run_inside_another_graph_is_listed_by_a_name_to_type(call: Call, *, deep: bool, elsewhere: bool) -> None:
    asyncio.run(ask_inside(deep=deep, elsewhere=elsewhere))
    (name,) = named(call("runs")[1])
    assert (name.startswith("a b|agent:"), name.count("|")) == (True, 1 + deep)
    assert [one["thread_id"] for one in json.loads(call("runs", "--json")[1])] == [name]
    code, shown, _ = call("show", name)
    assert (code, f"Thread: {name}\n" in shown, "Goal:   Write to you.\n" in shown) == (COMPLETE, True, True)
    assert "UNKNOWN" in shown if elsewhere else "It is a part of the thread a b, and goes on with that one." in shown
    exported = [json.loads(line)["what"] for line in call("export", name)[1].splitlines()]
    assert exported == ["run begun", "plan"]


def test_a_question_inside_another_graph_is_listed_and_answered_there(call: Call) -> None:
    asyncio.run(ask_inside())
    (name,) = named(call("review")[1])
    for command in (["review", name, "--approve", "all"], ["resume", name], ["cancel", name]):
        code, _, error = call(*command)
        assert (code, error) == (
            BAD_INPUT,
            f"Error: The run {name} is a part of the thread a b; go on with that one.\n",
        )
    assert "REVIEWING already and runs nothing" in call("pause", name)[1]
    for command in (["show", "a b"], ["resume", "a b"], ["cancel", "a b"], ["review", "a b"]):
        assert (call(*command)[0], "There is no run 'a b'" in call(*command)[2]) == (BAD_INPUT, True)
    assert call("runs", "prune", "--older-than", "0m", "--orphans")[1] == "0 finished runs removed.\n"
    assert named(call("review")[1]) == [name]


def test_a_run_whose_graph_is_kept_elsewhere_is_asked_to_stop_and_removed_only_on_demand(call: Call) -> None:
    asyncio.run(ask_inside(elsewhere=True))
    (name,) = named(call("runs")[1])
    for request in ("pause", "cancel"):
        code, told, _ = call(request, name)
        assert (code, told.startswith(f"The run {name} was asked to {request};")) == (COMPLETE, True)
    assert "No checkpoint of the run" in call("resume", name)[2]
    assert json.loads(call("runs", "prune", "--older-than", "0m", "--json")[1]) == {"removed": []}
    assert json.loads(call("runs", "prune", "--older-than", "1d", "--orphans", "--json")[1]) == {"removed": []}
    assert json.loads(call("runs", "prune", "--older-than", "0m", "--orphans", "--json")[1]) == {"removed": [name]}
    assert call("runs")[1] == "There are no runs yet.\n"


def test_a_run_of_another_program_goes_on_only_where_it_is_said_to(call: Call, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    logs = [{"name": one, "action": "append_file", "inputs": {"path": "log.txt", "text": one}} for one in ("a", "b")]
    steps = {"steps": [logs[0], {**logs[1], "after": ["a"], "human_review_required": True}]}

    async def ask() -> None:
        database, actions = Database(".agentic/agentic.db"), file_actions(Workspace(home))
        async with database.checkpointer() as saver:
            graph = build_graph(ScriptedAgent([steps]), actions=actions, database=database, checkpointer=saver)
            await graph.ainvoke({"goal": "g"}, {"configurable": {"thread_id": "t"}})

    asyncio.run(ask())
    for command in (["review", "t", "--approve", "all"], ["resume", "t"]):
        code, _, error = call(*command)
        assert (code, "was begun by another program" in error, "--workspace" in error) == (BAD_INPUT, True, True)
    assert "Written:\n  log.txt\n" in call("show", "t")[1]
    # What was approved was decided on with other actions; from here on the command knows what the run works on.
    approve = ["review", "t", "--approve", "all"]
    assert [call(*approve, "--workspace", home)[0], call(*approve)[0]] == [WAITING, COMPLETE]
    assert ((home / "log.txt").read_text(), (tmp_path / "log.txt").exists()) == ("ab", False)
    assert "is COMPLETE" in call("resume", "t")[2]
