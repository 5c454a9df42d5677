"""Runs that outlive an object, a process or a thread's first goal."""

# ruff: noqa: ARG002 - fakes have the parameters of what they stand for

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any, cast

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from agentic_workflows import (
    AgenticWorkflow,
    Limits,
    Plan,
    ReviewError,
    RunError,
    ScriptedAgent,
    WorkflowState,
    WorkflowStep,
    approve,
    build_graph,
    edit,
    reject,
)
from agentic_workflows.actions.action import Action, ActionCall
from agentic_workflows.execution.answers import answered
from agentic_workflows.graph.catalogue import Annotations
from agentic_workflows.graph.events import StateEntered, StepStarted, StepSucceeded
from agentic_workflows.graph.state import Request
from agentic_workflows.journal.database import Database
from agentic_workflows.journal.entries import NOTHING_KNOWN, Known, Past
from agentic_workflows.journal.memory_journal import MemoryJournal
from agentic_workflows.testing import RecordingAction


def step(name: str, action: str = "act", **fields: Any) -> dict[str, Any]:
    return {"name": name, "action": action, **fields}


def plan(*steps: Mapping[str, Any]) -> dict[str, Any]:
    return {"goal": "g", "steps": list(steps)}


REVIEWED = plan(
    step("draft", outputs=["text"]), step("send", "send", inputs={"text": "${text}"}, human_review_required=True)
)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "agentic.db"


class House:
    """A catalogue of recording actions, and as many workflows over it as there are processes."""

    def __init__(self, database: Path | str | Database = "memory", *plans: Any, **limits: Any) -> None:
        self.act = RecordingAction("act", result="done", read_only=False, destructive=False)
        self.send = RecordingAction("send", result="sent", read_only=False, destructive=False)
        self.agent = ScriptedAgent(plans)
        self._database, self._limits = database, Limits(**limits)

    def open(self) -> AgenticWorkflow:
        return AgenticWorkflow(
            self.agent, 50, actions=[self.act, self.send], database=self._database, limits=self._limits
        )


# Another object, another process.


async def test_what_a_run_has_read_of_its_journal_is_not_read_again_for_its_result() -> None:
    known_of = list[list[str]]()

    class Noting(MemoryJournal):
        async def past(self, run_id: str, *, known: Known = NOTHING_KNOWN) -> Past:
            known_of.append([one.intent.place.step for one in known.values()])
            return await super().past(run_id, known=known)

    kept = Database()
    kept.leases.journal = Noting()
    house = House(kept, REVIEWED)
    asked = await house.open().run("g")
    result = await house.open().resume(approve(), thread_id=asked["thread_id"])
    assert (result["state"], known_of) == ("COMPLETE", [[], ["draft"], [], ["draft", "send"]])


async def test_a_run_waits_for_no_free_thread_of_its_event_loop(database: Path) -> None:
    loop, free = asyncio.get_running_loop(), Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    blocked = loop.run_in_executor(None, free.wait, 30)
    try:
        async with asyncio.timeout(20):
            result = await House(database, plan(step("s"))).open().run("g")
    finally:
        free.set()
        await blocked
    assert result["state"] == "COMPLETE"


async def test_a_review_is_answered_through_another_object(database: Path) -> None:
    house = House(database, REVIEWED)
    asked = await house.open().run("g")
    assert (asked["state"], len(house.act.calls), house.send.calls) == ("REVIEWING", 1, [])
    result = await house.open().resume(approve(), thread_id=asked["thread_id"])
    assert (result["state"], result["run_id"]) == ("COMPLETE", asked["run_id"])
    assert (len(house.act.calls), house.send.calls) == (1, [{"text": "done"}])


PROGRAM = """
import json, sys
from pathlib import Path
from agentic_workflows import AgenticWorkflow, Action, action, approve
from agentic_workflows import ScriptedAgent

@action(destructive=False, open_world=False)
def note(text: str) -> str:
    with Path(sys.argv[2]).open("a") as file:
        file.write(text + " ")
    return text

steps = [
    {"name": "a", "action": "note", "inputs": {"text": "one"}, "outputs": ["a"]},
    {"name": "b", "action": "note", "inputs": {"text": "${a}+two"}, "human_review_required": True},
]
workflow = AgenticWorkflow(ScriptedAgent([{"steps": steps}]), actions=[note], database=sys.argv[1])
if sys.argv[3] == "run":
    result = workflow.run_sync("g", thread_id="t")
else:
    result = workflow.resume_sync(approve(), thread_id="t")
print(json.dumps([result["state"], len(result["reviews"])]))
"""


def test_a_review_outlives_its_process(database: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"

    def process(what: str) -> Any:
        command = [sys.executable, "-c", PROGRAM, str(database), str(notes), what]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert (process("run"), notes.read_text()) == (["REVIEWING", 1], "one ")
    assert (process("resume"), notes.read_text()) == (["COMPLETE", 0], "one one+two ")


async def test_a_pause_asked_for_elsewhere_stops_at_the_next_step_and_goes_on_elsewhere(database: Path) -> None:
    house = House(database, plan(*(step(f"s{at}") for at in range(20))))
    object.__setattr__(house.act, "run", _slow(house.act))
    here, there = house.open(), house.open()
    running = asyncio.create_task(here.run("g", thread_id="t"))
    await called(house.act, 2)
    there.request("t", "pause")
    paused = await asyncio.wait_for(running, 10)
    done = len(house.act.calls)
    assert (paused["state"], paused["reason"], 2 <= done < 20) == ("PAUSED", "Paused on request.", True)
    result = await there.resume(thread_id="t")
    assert (result["state"], len(house.act.calls), len(result["history"])) == ("COMPLETE", 20, 20)


async def called(action: RecordingAction, times: int) -> None:
    """Wait until an action was called so often."""
    while len(action.calls) < times:
        await asyncio.sleep(0.01)


def _slow(action: RecordingAction) -> Any:
    async def run(call: Any) -> str:
        action.calls.append(dict(call.inputs))
        await asyncio.sleep(0.05)
        return "done"

    return run


async def test_a_cancel_asked_for_elsewhere_ends_the_run(database: Path) -> None:
    house = House(database, plan(*(step(f"s{at}") for at in range(20))))
    object.__setattr__(house.act, "run", _slow(house.act))
    running = asyncio.create_task(house.open().run("g", thread_id="t"))
    await called(house.act, 1)
    house.open().request("t", "cancel")
    result = await asyncio.wait_for(running, 10)
    assert (result["state"], result["reason"]) == ("FAILED", "Cancelled on request.")
    with pytest.raises(RunError):
        await house.open().resume(thread_id="t")


@pytest.mark.parametrize("notes", [{"read_only": True}, {"idempotent": True, "destructive": False}])
@pytest.mark.parametrize("request_", ["pause", "cancel"])
async def test_no_further_attempt_is_made_when_the_run_is_to_stop_and_a_paused_one_goes_on_as_it_was_approved(
    database: Path, request_: Request, notes: dict[str, Any]
) -> None:
    keys = list[str]()

    async def flaky(call: ActionCall) -> str:
        keys.append(call.idempotency_key)
        if len(keys) == 1:
            here.request("t", request_)
            raise ValueError("not yet")
        return "done"

    act = Action(name="act", run=flaky, annotations=Annotations(open_world=False, **notes))
    here, there = (AgenticWorkflow(ScriptedAgent([]), actions=[act], database=database) for _ in range(2))
    await here.run("g", plan=plan(step("a", retries=10, human_review_required=True)), thread_id="t")
    stopped = await here.resume(approve())
    assert (len(keys), stopped["history"], stopped["reviews"]) == (1, [], [])
    if request_ == "cancel":
        doubt = " Step a may have happened; nobody knows." if act.has_effect else ""
        assert (stopped["state"], stopped["reason"]) == ("FAILED", f"Cancelled on request.{doubt}")
    else:
        assert stopped["state"] == "PAUSED"
        done = await there.resume(thread_id="t")
        assert (done["state"], [one["result"] for one in done["history"]]) == ("COMPLETE", ["done"])
        assert (len(keys), len(set(keys))) == (2, 1)


class SlowJudge(ScriptedAgent):
    """Reviews the progress: for a minute at first, then at once."""

    reviewed = 0

    async def review_progress(self, goal: str, history: Sequence[Any]) -> None:
        self.reviewed += 1
        await asyncio.sleep(60 if self.reviewed == 1 else 0)


@pytest.mark.parametrize("request_, state", [("pause", WorkflowState.PAUSED), ("cancel", WorkflowState.FAILED)])
async def test_a_review_of_the_progress_is_cut_when_the_run_is_to_stop_and_a_paused_run_asks_again(
    database: Path, request_: Request, state: WorkflowState
) -> None:
    house = House(database)
    house.agent = judge = SlowJudge([plan(step("a"))])
    there, running = house.open(), asyncio.create_task(house.open().run("g", thread_id="t"))
    while not judge.reviewed:
        await asyncio.sleep(0.01)
    there.request("t", request_)
    stopped = await asyncio.wait_for(running, 10)
    assert (stopped["state"], "on request." in stopped["reason"]) == (state, True)
    if request_ == "pause":
        result = await there.resume(thread_id="t")
        assert (result["state"], judge.reviewed, len(house.act.calls)) == ("COMPLETE", 2, 1)
        assert len(result["history"]) == 1


@pytest.mark.parametrize("answers", [None, approve()])
async def test_a_paused_run_goes_on_where_it_was(answers: Any) -> None:
    house = House("memory", plan(step("a"), step("b")))
    workflow = house.open()

    async def pausing(call: Any) -> None:
        house.act.calls.append(dict(call.inputs))
        if len(house.act.calls) == 1:
            workflow.request("t", "pause")

    object.__setattr__(house.act, "run", pausing)
    await workflow.run("g", thread_id="t")
    assert (workflow.state, len(house.act.calls)) == (WorkflowState.PAUSED, 1)
    if answers is None:
        assert ((await workflow.resume())["state"], len(house.act.calls)) == ("COMPLETE", 2)
    else:
        with pytest.raises(ReviewError, match="PAUSED and asks nothing"):
            await workflow.resume(answers)
        assert workflow.state == WorkflowState.PAUSED


@pytest.mark.parametrize("size", [1, 2_000])
async def test_who_changes_a_result_changes_nothing_of_the_run(size: int) -> None:
    given = {"name": "draft", "action": "act", "outputs": ["words"]}
    asked = {"name": "send", "action": "send", "inputs": {"text": "${words}"}, "human_review_required": True}
    house = House("memory", plan(given, asked))
    house.act = RecordingAction("act", result=["word"] * size, read_only=False, destructive=False)
    workflow = house.open()
    result = await workflow.run("g")
    for words in (result["history"][0]["result"], result["outputs"]["words"], result["reviews"][0]["args"]["text"]):
        words.append("mine")
    assert ((await workflow.resume(approve()))["state"], house.send.calls) == ("COMPLETE", [{"text": ["word"] * size}])


async def test_more_iterations_may_be_given_while_a_question_is_open() -> None:
    workflow = House("memory", REVIEWED).open()
    asked = await workflow.run("g")
    still = await workflow.resume(max_iterations=60)
    assert (still["state"], still["reviews"]) == ("REVIEWING", asked["reviews"])
    assert (await workflow.resume(approve(), max_iterations=70))["state"] == "COMPLETE"


async def test_waiting_for_a_person_costs_no_time_of_the_run(database: Path) -> None:
    workflow = House(database, REVIEWED, max_seconds=0.4).open()
    await workflow.run("g")
    await asyncio.sleep(0.5)
    result = await workflow.resume(approve())
    assert (result["state"], result["seconds"] < 0.4) == ("COMPLETE", True)


# Threads and goals.


async def test_two_goals_on_one_thread_are_two_runs(database: Path) -> None:
    workflow = House(database, plan(step("a")), plan(step("b"))).open()
    first = await workflow.run("one", thread_id="t")
    second = await workflow.run("two", thread_id="t")
    assert (first["thread_id"], second["thread_id"]) == ("t", "t")
    assert first["run_id"] != second["run_id"]
    assert [(one["goal"], one["iterations"], list(one["steps"])) for one in (first, second)] == [
        ("one", 2, ["a"]), ("two", 2, ["b"]),
    ]  # fmt: skip
    assert [entry["step"] for entry in second["history"]] == ["b"]


async def test_a_thread_that_waits_takes_no_other_goal(database: Path) -> None:
    house = House(database, REVIEWED, plan(step("a")))
    asked = await house.open().run("g", thread_id="t")
    with pytest.raises(RunError, match=r"The thread t has a run that is REVIEWING\. Resume or cancel it\."):
        await house.open().run("other", thread_id="t")
    assert await house.open().result("t") == asked


async def test_runs_at_the_same_time_on_one_object_are_their_own(database: Path) -> None:
    house = House(database, *(plan(step(f"s{at}")) for at in range(3)))
    workflow = house.open()
    results = await asyncio.gather(*(workflow.run(f"goal {at}") for at in range(3)))
    assert [one["goal"] for one in results] == ["goal 0", "goal 1", "goal 2"]
    assert {one["state"] for one in results} == {"COMPLETE"}
    assert len({one["thread_id"] for one in results}) == 3


async def test_a_finished_run_is_not_resumed() -> None:
    workflow = House("memory", plan(step("a"))).open()
    await workflow.run("g")
    for options in ({}, {"answers": approve()}, {"max_iterations": 99}):
        with pytest.raises(RunError, match="COMPLETE"):
            await workflow.resume(**options)  # type: ignore[arg-type]  # one by one


async def test_a_run_can_be_cancelled_while_it_waits(database: Path) -> None:
    house = House(database, REVIEWED, plan(step("a")))
    await house.open().run("g", thread_id="t")
    result = await house.open().cancel("t")
    assert (result["state"], result["reason"], result["reviews"]) == ("FAILED", "Cancelled on request.", [])
    for refused in (house.open().cancel("t"), house.open().resume(approve(), thread_id="t")):
        with pytest.raises(RunError):
            await refused
    assert house.send.calls == []
    assert (await house.open().run("again", thread_id="t"))["state"] == "COMPLETE"


async def test_runs_are_listed_the_last_first(database: Path) -> None:
    house = House(database, REVIEWED, plan(step("a")))
    await house.open().run("one", thread_id="t1")
    await house.open().run("two", thread_id="t2")
    listed = await house.open().runs()
    assert [(one["thread_id"], one["goal"], one["state"]) for one in listed] == [
        ("t2", "two", "COMPLETE"), ("t1", "one", "REVIEWING"),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_the_run_touched_last_comes_first(kind: str, database: Path) -> None:
    house = House("memory" if kind == "memory" else database, REVIEWED, plan(step("a")))
    workflow = house.open()
    await workflow.run("one", thread_id="t1")
    await workflow.run("two", thread_id="t2")
    await workflow.resume(approve(), thread_id="t1")
    assert [one["thread_id"] for one in await workflow.runs()] == ["t1", "t2"]


async def test_metadata_is_kept_with_a_run(database: Path) -> None:
    house = House(database, plan(step("a")))
    workflow = AgenticWorkflow(house.agent, actions=[house.act], database=database, metadata={"workspace": "notes"})
    result = await workflow.run("g")
    assert (await house.open().metadata_of(result["thread_id"]))["workspace"] == "notes"


# What is begun and not finished.


class Sleeper:
    """An agent whose process is ended while it plans."""

    def __init__(self) -> None:
        self.is_asked = asyncio.Event()

    async def create_plan(self, goal: str, history: object) -> Any:
        self.is_asked.set()
        await asyncio.sleep(3_600)


async def cut_while_planning(database: Path) -> None:
    agent = Sleeper()
    running = asyncio.create_task(AgenticWorkflow(agent, actions=[], database=database).run("g", thread_id="t"))
    await agent.is_asked.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_run_that_was_cut_while_planning_can_be_resumed(database: Path) -> None:
    await cut_while_planning(database)
    house = House(database, plan(step("a")))
    result = await house.open().resume(thread_id="t")
    assert (result["state"], result["goal"], len(house.act.calls)) == ("COMPLETE", "g", 1)


class Walked(AgenticWorkflow):
    """Takes its runs a transition at a time."""

    async def execute_next_step(self) -> Any:
        return await super().execute_next_step()


@pytest.mark.parametrize("kind", [AgenticWorkflow, Walked])
async def test_a_run_that_was_cut_is_the_last_one_of_its_object(database: Path, kind: type[AgenticWorkflow]) -> None:
    act = RecordingAction("act", idempotent=True)
    workflow = kind(ScriptedAgent([plan(step("a"), step("b"))]), actions=[act], database=database)
    with pytest.raises(RunError, match=r"There is no run yet\. Begin one, name one with thread_id"):
        await workflow.resume()
    whole = act.run
    object.__setattr__(act, "run", _slow(act))
    running = asyncio.create_task(workflow.run("g"))
    await called(act, 1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    object.__setattr__(act, "run", whole)
    assert (workflow.state, workflow.get_results()["goal"]) == ("EXECUTING", "g")
    assert (await workflow.resume())["state"] == "COMPLETE"


async def test_a_run_that_was_cut_while_planning_is_listed_and_keeps_its_thread(database: Path) -> None:
    await cut_while_planning(database)
    workflow = House(database, plan(step("a"))).open()
    assert [(one["thread_id"], one["goal"], one["state"]) for one in await workflow.runs()] == [("t", "g", "PLANNING")]
    with pytest.raises(RunError, match="Resume or cancel it"):
        await workflow.run("other", thread_id="t")
    assert (await workflow.cancel("t"))["state"] == "FAILED"


async def test_a_stream_that_is_left_leaves_nothing_running() -> None:
    house = House("memory", plan(step("a"), step("b")))
    object.__setattr__(house.act, "run", _slow(house.act))
    workflow = house.open()
    stream = workflow.stream("g", thread_id="t")
    async for event in stream:
        if isinstance(event, StepStarted):
            break
    await stream.aclose()
    await asyncio.sleep(0.1)
    assert (len(house.act.calls), asyncio.all_tasks()) == (1, {asyncio.current_task()})


async def test_cancelling_the_caller_leaves_nothing_running(database: Path) -> None:
    house = House(database, plan(step("a"), step("b")))
    await left_behind(house)
    assert (len(house.act.calls), asyncio.all_tasks()) == (1, {asyncio.current_task()})


@pytest.mark.parametrize("kind", ["memory", "file"])
@pytest.mark.parametrize("asked", ["pause", "cancel"])
async def test_a_finished_run_can_be_asked_nothing(asked: Any, kind: str, database: Path) -> None:
    workflow = House("memory" if kind == "memory" else database, *[plan(step("a"))] * 3).open()
    for goal in ("one", "two"):
        assert (await workflow.run(goal, thread_id="t"))["state"] == "COMPLETE"
        with pytest.raises(RunError, match=f"COMPLETE already; there is nothing to {asked}"):
            workflow.request("t", asked)
    await workflow.database.journal.request("t", asked)  # as one that comes at the very end
    assert (await workflow.run("three", thread_id="t"))["state"] == "COMPLETE"


async def test_a_request_is_for_the_run_it_was_made_for_on_a_server(database: Path) -> None:
    house = House(database, *[plan(*(step(f"s{at}") for at in range(3)))] * 2)
    runs = Database(database)
    graph = build_graph(house.agent, actions=[house.act], database=runs, checkpointer=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "t"}}
    await graph.ainvoke({"goal": "one"}, thread)
    house.open().request("t", "cancel")  # nobody but the server can tell that it is finished
    ended = await graph.ainvoke({"goal": "two"}, thread)
    assert (ended["status"], len(house.act.calls)) == ("COMPLETE", 6)


CANCELLED = "Cancelled on request. Step b may have happened; nobody knows."


async def left_behind(house: House) -> None:
    """Have a run of two steps be cut in the first one."""
    object.__setattr__(house.act, "run", _slow(house.act))
    running = asyncio.create_task(house.open().run("g", thread_id="t"))
    await called(house.act, 1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize("how", ["resume", "stream", "steps"])
async def test_a_run_that_was_cancelled_while_nobody_ran_it_does_nothing_more(how: str, database: Path) -> None:
    house = House(database, plan(step("a", "look"), step("b"), step("c", after=["b"])))
    house.send = RecordingAction("look", result=1)
    await left_behind(house)
    house.open().request("t", "cancel")
    later = house.open()
    if how == "stream":
        told = [event async for event in later.resume_stream(thread_id="t")]
        assert [(event.state, event.reason) for event in told if isinstance(event, StateEntered)] == [
            (WorkflowState.FAILED, CANCELLED)
        ]
    elif how == "steps":
        await later.result("t")
        assert await later.execute_next_step() is None
    else:
        await later.resume(thread_id="t")
    result = await house.open().result("t")
    assert (result["state"], result["reason"], len(house.act.calls)) == ("FAILED", CANCELLED, 1)
    with pytest.raises(RunError, match="FAILED"):
        await house.open().resume(thread_id="t")
    with pytest.raises(RunError, match="FAILED already"):
        await house.open().cancel("t")


@pytest.mark.parametrize("request_", ["pause", "cancel"])
async def test_what_is_asked_of_a_run_while_its_last_step_runs_comes_too_late(database: Path, request_: Any) -> None:
    house = House(database, plan(step("act")))
    house.act = RecordingAction("act", result=lambda _: workflow.database.leases.ask("t", request_), destructive=False)
    workflow = house.open()
    assert (await workflow.run("g", thread_id="t"))["state"] == "COMPLETE"


async def test_a_pause_that_nobody_honoured_is_over_when_somebody_goes_on(database: Path) -> None:
    house = House(database, plan(step("a"), step("b", after=["a"])))
    object.__setattr__(house.act, "annotations", replace(house.act.annotations, idempotent=True))
    await left_behind(house)
    house.open().request("t", "pause")
    assert (await house.open().resume(thread_id="t"))["state"] == "COMPLETE"


async def test_a_run_that_was_asked_to_stop_is_cancelled_again_without_a_complaint(database: Path) -> None:
    house = House(database, plan(step("a"), step("b", after=["a"])), plan(step("a")))
    await left_behind(house)
    house.open().request("t", "cancel")
    assert (await house.open().cancel("t"))["reason"] == CANCELLED.replace("Step b", "Step a")
    assert (await house.open().run("again", thread_id="t"))["state"] == "COMPLETE"


@pytest.mark.parametrize("entry", [None, Command(resume=True)])
async def test_a_run_of_a_server_that_was_cancelled_while_nobody_ran_it_does_nothing_more(
    entry: Any, database: Path
) -> None:
    house = House(database, plan(*(step(f"s{at}") for at in range(3))))
    runs, other = Database(database), house.open()
    graph = build_graph(house.agent, actions=[house.act], database=runs, checkpointer=InMemorySaver())

    async def pausing(call: Any) -> str:
        house.act.calls.append(dict(call.inputs))
        runs.leases.ask("t", "pause")
        if entry is None:
            asyncio.get_running_loop().call_soon(running.cancel)
            await asyncio.sleep(5)
        return "done"

    object.__setattr__(house.act, "run", pausing)
    thread: Any = {"configurable": {"thread_id": "t"}}
    running = asyncio.ensure_future(graph.ainvoke({"goal": "g"}, thread))
    with suppress(asyncio.CancelledError):
        await running
    done = len(house.act.calls)
    other.request("t", "cancel")
    ended = await graph.ainvoke(entry, thread)
    reason = "Cancelled on request." if entry else CANCELLED.replace("Step b", "Step s0")
    assert (ended["status"], ended["reason"], len(house.act.calls)) == ("FAILED", reason, done)


# What is stored.


async def test_a_checkpoint_holds_plain_json_only(database: Path) -> None:
    house = House(database, Plan("g", [WorkflowStep("a", "act", outputs=["x"])]))
    await house.open().run("g", thread_id="t", plan=REVIEWED)
    async with Database(database).checkpointer() as saver:
        config: Any = {"configurable": {"thread_id": "t"}}
        seen = [one.checkpoint["channel_values"] async for one in saver.alist(config)]
    assert seen
    for values in seen:
        ours = {key: value for key, value in values.items() if not key.startswith(("__", "branch:"))}
        assert json.loads(json.dumps(ours)) == ours
        assert _types(ours) <= {dict, list, str, int, float, bool, type(None)}


def _types(value: object) -> set[type]:
    inner: Sequence[object] = []
    if isinstance(value, dict):
        inner = [*value.keys(), *value.values()]
    elif isinstance(value, list):
        inner = value
    return {type(value)}.union(*(_types(one) for one in inner))


async def test_a_plan_of_steps_may_be_given_to_a_run() -> None:
    house = House("memory")
    for given in (Plan("g", [WorkflowStep("a", "act")]), {"steps": [WorkflowStep("a", "act")]}, plan(step("a"))):
        result = await house.open().run("g", plan=given)  # type: ignore[arg-type]  # also what the article writes
        assert result["state"] == "COMPLETE"
    assert house.agent.goals == []


async def test_a_given_plan_brings_its_own_goal() -> None:
    result = await House("memory").open().run("", plan=plan(step("a")))
    assert (result["state"], result["goal"]) == ("COMPLETE", "g")


# Before anything runs.


async def test_examining_and_planning_run_nothing_and_keep_nothing(database: Path) -> None:
    house = House(database, plan(step("wipe", "act"), step("ask", "send", human_review_required=True)))
    workflow = house.open()
    report = await workflow.create_plan("g")
    assert (report.order, report.is_accepted) == (("wipe", "ask"), True)
    decided = {name: decision.name for name, decision in report.decisions.items()}
    assert decided == {"wipe": "Allow", "ask": "Ask"}
    assert workflow.validate_plan(report.plan)
    assert not workflow.validate_plan(plan(step("a", "nope")))
    assert (house.act.calls, await workflow.runs()) == ([], [])


async def test_with_declared_actions_an_unknown_one_is_a_finding() -> None:
    house = House("memory", plan(step("a", "sned")), plan(step("a")))
    result = await house.open().run("g")
    assert result["state"] == "COMPLETE"
    assert "Did you mean 'send'?" in str(house.agent.histories[1])


@pytest.mark.parametrize("name", ["delete_all", "admin_action", "financial_transaction"])
async def test_a_declared_dangerous_action_never_runs_either(name: str) -> None:
    action = RecordingAction(name)
    workflow = AgenticWorkflow(ScriptedAgent([plan(step("a", name))]), actions=[action])
    assert ((await workflow.run("g"))["state"], action.calls) == ("FAILED", [])


async def test_a_dangerous_action_never_runs_under_a_policy_that_permits_it(tmp_path: Path) -> None:
    policy = tmp_path / "mine.cedar"
    policy.write_text("permit (principal, action, resource);")
    action = RecordingAction("delete_all")
    agent = ScriptedAgent([plan(step("a", "delete_all"))])
    result = await AgenticWorkflow(agent, actions=[action], policies=[policy]).run("g")
    assert (result["state"], action.calls) == ("FAILED", [])


async def test_a_teams_own_policy_is_in_force(tmp_path: Path) -> None:
    policy = tmp_path / "mine.cedar"
    policy.write_text(
        'permit (principal, action, resource);\n@id("small") @reason("Too many.")\n'
        'forbid (principal, action == Action::"act", resource) when { context.count >= 2 };\n'
    )
    act = RecordingAction("act", result=1)
    agent = ScriptedAgent([plan(*(step(f"s{at}", after=[f"s{at - 1}"] if at else []) for at in range(4)))])
    result = await AgenticWorkflow(agent, actions=[act], policies=[policy]).run("g")
    assert (result["state"], len(act.calls), result["steps"]["s2"]["status"]) == ("FAILED", 2, "denied")
    assert "Too many. [small" in result["reason"]


def test_one_policy_needs_no_list(tmp_path: Path) -> None:
    policy = tmp_path / "mine.cedar"
    policy.write_text("permit (principal, action, resource);")
    for one in ("default", policy, str(policy)):
        alone, listed = (
            AgenticWorkflow(ScriptedAgent([]), actions=[RecordingAction("act")], policies=policies).engine
            for policies in (one, [one])
        )
        assert (alone.digest, len(alone.policies) == 1) == (listed.digest, one != "default")


async def test_a_foreach_counts_as_one_iteration() -> None:
    numbers = RecordingAction("numbers", result=list(range(30)))
    act = RecordingAction("act", result=1)
    steps = plan(step("n", "numbers", outputs=["n"]), step("each", inputs={"i": "${item}"}, foreach="${n}"))
    result = await AgenticWorkflow(ScriptedAgent([steps]), 3, actions=[numbers, act]).run("g")
    assert (result["state"], result["iterations"], len(act.calls)) == ("COMPLETE", 3, 30)


async def test_a_failed_step_is_planned_again_while_replans_are_left() -> None:
    bad = RecordingAction("bad", error=ValueError("no"))
    act = RecordingAction("act", result=1)
    agent = ScriptedAgent([plan(step("a"), step("b", "bad")), plan(step("c"))])
    result = await AgenticWorkflow(agent, actions=[bad, act], limits=Limits(max_replans=1)).run("g")
    assert (result["state"], result["replans"], [entry["step"] for entry in result["history"]]) == (
        "COMPLETE", 1, ["a", "b", None, "c"],
    )  # fmt: skip


async def test_a_given_plan_that_failed_is_not_planned_again() -> None:
    bad, agent = RecordingAction("bad", error=ValueError("no")), ScriptedAgent([plan(step("c", "bad"))])
    workflow = AgenticWorkflow(agent, actions=[bad], limits=Limits(max_replans=1))
    result = await workflow.run("g", plan=plan(step("a", "bad")))
    assert (result["state"], [entry["step"] for entry in result["history"]]) == ("FAILED", ["a", None])
    assert result["reason"].startswith("The given plan cannot be planned again. a: failed: bad raised ValueError: no")


async def test_an_edit_that_breaks_the_schema_asks_again() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    act = RecordingAction("act", input_schema=schema)
    agent = ScriptedAgent([plan(step("a", inputs={"n": 1}, human_review_required=True))])
    workflow = AgenticWorkflow(agent, actions=[act])
    await workflow.run("g")
    try:
        result = await workflow.resume(edit({"n": "many"}))
        assert result["state"] == "REVIEWING"
    except ReviewError:
        assert workflow.state == WorkflowState.REVIEWING
    assert ((await workflow.resume(edit({"n": 2})))["state"], act.calls) == ("COMPLETE", [{"n": 2}])


async def test_an_edit_to_what_policy_denies_does_not_run(tmp_path: Path) -> None:
    policy = tmp_path / "mine.cedar"
    policy.write_text(
        "permit (principal, action, resource);\n"
        "forbid (principal, action, resource) unless { context.approved };\n"
        'forbid (principal, action == Action::"act", resource) when { context.inputs.path == "/etc" };\n'
    )
    schema = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
    act = RecordingAction("act", input_schema=schema)
    agent = ScriptedAgent([plan(step("a", inputs={"path": "notes"}))])
    workflow = AgenticWorkflow(agent, actions=[act], policies=[policy])
    assert (await workflow.run("g"))["state"] == "REVIEWING"
    result = await workflow.resume(edit({"path": "/etc"}))
    assert (result["state"], result["steps"]["a"]["status"], act.calls) == ("FAILED", "denied", [])


# The graph on its own, as a server has it.


async def test_the_graph_alone_asks_refuses_a_bad_answer_and_goes_on() -> None:
    house = House("memory", REVIEWED)
    graph = build_graph(house.agent, actions=[house.act, house.send], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    asked = (await graph.ainvoke({"goal": "g"}, config))["__interrupt__"][0].value
    assert [one["step"] for one in asked["action_requests"]] == ["send"]
    for bad in (
        {"decisions": [{"type": "approve", "id": "nope"}]},
        {"decisions": []},
        {"decisions": [{"type": "yes"}]},
    ):
        # LangGraph itself refuses what breaks the published schema; then nothing of it may be stored.
        with suppress(ValueError):
            again = await graph.ainvoke(Command(resume=bad), config)
            assert (again["status"], bool(again["findings"])) == ("REVIEWING", True)
    ended = await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), config)
    assert (ended["status"], house.send.calls) == ("COMPLETE", [{"text": "done"}])


@pytest.mark.parametrize("most", [1, 0, -1, "1", None])
async def test_the_graph_alone_ends_whatever_its_configuration_says_of_the_steps_of_a_pass(most: object) -> None:
    house = House("memory", plan(step("a"), step("b", after=["a"])))
    graph = build_graph(house.agent, actions=[house.act], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t", "at_most_steps": most}, "recursion_limit": 25}
    ended = await graph.ainvoke({"goal": "g"}, config)
    assert (ended["status"], len(house.act.calls)) == ("COMPLETE", 2)


async def test_the_graph_alone_takes_a_plan_once() -> None:
    house = House("memory", plan(step("new")))
    graph = build_graph(house.agent, actions=[house.act, house.send], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    await graph.ainvoke({"goal": "one", "given_plan": plan(step("old"))}, config)
    ended = await graph.ainvoke({"goal": "two"}, config)
    assert ([one["name"] for one in ended["plan"]["steps"]], ended["goal"]) == (["new"], "two")


async def test_a_rejection_through_the_graph_plans_again() -> None:
    house = House("memory", REVIEWED, plan(step("other")))
    graph = build_graph(house.agent, actions=[house.act, house.send], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    await graph.ainvoke({"goal": "g"}, config)
    ended = await graph.ainvoke(Command(resume={"decisions": [{"type": "reject", "message": "no"}]}), config)
    assert (ended["status"], house.send.calls, len(house.agent.histories)) == ("COMPLETE", [], 2)
    assert reject("no").feedback in str(house.agent.histories[1])


async def test_events_of_a_resumed_run_tell_of_the_answer_and_the_step() -> None:
    workflow = House("memory", REVIEWED).open()
    await workflow.run("g")
    events = [event async for event in workflow.resume_stream(approve())]
    assert [event.step for event in events if isinstance(event, StepSucceeded)] == ["send"]


async def test_the_states_that_a_stream_tells_are_plain_text() -> None:
    events = [event async for event in House("memory", REVIEWED).open().stream("g")]
    states = [event.state for event in events if isinstance(event, StateEntered)]
    assert (states, {type(one) for one in states}) == (["PLANNING", "EXECUTING", "REVIEWING"], {str})


@pytest.mark.parametrize("database", [None, "runs.db"])
async def test_who_changes_what_they_are_given_changes_no_run(database: str | None, tmp_path: Path) -> None:
    rows, send = RecordingAction("rows", result=["ada", "bob"]), RecordingAction("send", result="ok")
    steps = step("r", "rows", outputs=["to"]), step("s", "send", inputs={"to": "${to}"}, human_review_required=True)
    kept = "memory" if database is None else tmp_path / database
    workflow = AgenticWorkflow(ScriptedAgent([plan(*steps)]), actions=[rows, send], database=kept)
    async for event in workflow.stream("g"):
        if isinstance(event, StepSucceeded):
            cast("list[object]", event.result).clear()
    workflow.get_results()["outputs"]["to"].clear()
    await workflow.resume(approve())
    assert send.calls == [{"to": ["ada", "bob"]}]


@pytest.mark.parametrize("how", ["resume", "review_progress", "more"])
async def test_a_resume_with_the_wrong_actions_changes_nothing(how: str, tmp_path: Path) -> None:
    one, two = RecordingAction("one"), RecordingAction("two")
    given = {"steps": [step("a", "one", human_review_required=True), step("b", "two", after=["a"])]}

    def opened(*actions: RecordingAction, who: str = "right") -> AgenticWorkflow:
        agent, database = ScriptedAgent([given]), tmp_path / "runs.db"
        return AgenticWorkflow(agent, actions=actions, database=database, metadata={"who": who})

    asked = await opened(one, two).run("g", thread_id="t")
    wrong = opened(one, who="wrong")
    await wrong.result("t")
    tries = {
        "resume": lambda: wrong.resume(approve(), thread_id="t"),
        "review_progress": lambda: wrong.review_progress(approve()),
        "more": lambda: wrong.resume(max_iterations=50, thread_id="t"),
    }
    with pytest.raises(RunError, match=r"not registered here: two\. Resume the run with the actions"):
        await tries[how]()
    assert (one.calls, two.calls, await opened(one, two).result("t")) == ([], [], asked)
    assert (await wrong.metadata_of("t"))["who"] == "right"
    assert (await opened(one, two).resume(approve(), thread_id="t"))["state"] == "COMPLETE"


@pytest.mark.parametrize("how", ["now", "by a process that was killed", "by the deadline"])
async def test_a_rejection_goes_on_to_another_plan_also_without_the_actions_of_this_one(
    how: str, tmp_path: Path
) -> None:
    one, two, database = RecordingAction("one"), RecordingAction("two"), tmp_path / "runs.db"
    given = {"steps": [step("a", "one", human_review_required=True)]}
    asked = await AgenticWorkflow(ScriptedAgent([given]), actions=[one], database=database).run("g", thread_id="t")
    later = Database(database, clock=lambda: time.time() + (10**9 if how == "by the deadline" else 0))
    other = AgenticWorkflow(ScriptedAgent([{"steps": [step("b", "two")]}]), actions=[two], database=later)
    if how == "by a process that was killed":
        said = answered(asked["run_id"], asked["reviews"][0], reject(), reviewer="me", at=datetime.now(UTC), after=0)
        await later.journal.answer(said)
    result = await other.resume(reject("it is gone") if how == "now" else None, thread_id="t")
    assert (result["state"], one.calls, len(two.calls)) == ("COMPLETE", [], 1)


MISSHAPEN: list[dict[str, Any]] = [
    {"plan": 5},
    {"plan": {"x": 1}},
    {"plan": {"steps": [5]}},
    {"plan": {"steps": [{"name": "a", "action": "act", "oops": 1}]}},
    {"plan": None, "status": "EXECUTING"},
    {"steps": {"a": 5}},
    {"history": "abc"},
    {"history": [5]},
    {"history": [{"step": "a"}]},
    {"asks": [5]},
    {"findings": [5]},
    {"seconds": "many"},
    {"plan_number": "two"},
    {"lineage": ["first"]},
    {"limits": 5},
]


@pytest.mark.parametrize("change", MISSHAPEN)
async def test_a_state_that_somebody_changed_to_none_is_one_clear_error(change: dict[str, Any]) -> None:
    act = RecordingAction("act")
    agent = ScriptedAgent([{"steps": [step("a", human_review_required=True)]}])
    graph = build_graph(agent, actions=[act], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    await graph.ainvoke({"goal": "g"}, config)  # type: ignore[call-overload]  # a part of a state
    await graph.aupdate_state(config, {"status": "EXECUTING", **change}, as_node="review")
    with pytest.raises(RunError, match=r"was changed to something that is none \(.+\)\. Change it back, or go on from"):
        await graph.ainvoke(None, config)
    assert act.calls == []


FORKED = """
import asyncio, os, sys
from agentic_workflows import AgenticWorkflow, ScriptedAgent
from agentic_workflows.testing import RecordingAction

act = RecordingAction("act", result=1)
plan = {"steps": [{"name": "a", "action": "act"}]}
workflow = AgenticWorkflow(ScriptedAgent([plan, plan]), actions=[act], database=sys.argv[1])
assert workflow.run_sync("g")["state"] == "COMPLETE"
child = os.fork()
if child == 0:
    os._exit(0 if workflow.run_sync("g")["state"] == "COMPLETE" else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_runs_goals(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", FORKED, str(tmp_path / "runs.db")], check=True, timeout=60)


POOL = """
import multiprocessing, sqlite3, sys
from collections import Counter
from contextlib import closing
from agentic_workflows import AgenticWorkflow, ScriptedAgent
from agentic_workflows.journal import writer
from agentic_workflows.testing import RecordingAction

writer.IDLE_SECONDS = 0.1  # after which the parent closes the file that its children write into
act = RecordingAction("act", result=1)
plan = {"steps": [{"name": name, "action": "act"} for name in "abcd"]}
workflow = AgenticWorkflow(ScriptedAgent([]), actions=[act], database=sys.argv[1])

def run(at):
    try:
        return workflow.run_sync("g", plan=plan, thread_id=str(at))["state"]
    except Exception as error:
        return str(error)

run("first")
with multiprocessing.get_context("fork").Pool(4) as pool:
    found = Counter(pool.map(run, range(80), chunksize=1))
assert found == {"COMPLETE": 80}, found
assert run("last") == "COMPLETE"
with closing(sqlite3.connect(sys.argv[1])) as file:
    assert file.execute("SELECT count(*) FROM agentic_calls").fetchone() == (82 * 4,)
"""


def test_a_pool_that_is_forked_right_after_a_run_loses_nothing(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", POOL, str(tmp_path / "runs.db")], check=True, timeout=120)


FORKED_MEANWHILE = """
import asyncio, os, sys
from agentic_workflows import AgenticWorkflow, DatabaseError, ScriptedAgent, action

found = []

@action(read_only=True, open_world=False, trusted=True)
def fork() -> int:
    child = os.fork()  # in a thread of its own, as any synchronous action
    if child == 0:
        other = AgenticWorkflow(ScriptedAgent([]), actions=[], database=sys.argv[2])
        try:
            other.run_sync("g", plan={"steps": []})
            asyncio.run(workflow.runs())
            os._exit(1)
        except DatabaseError as error:
            os._exit(0 if sys.argv[1] in str(error) and "was forked" in str(error) else 2)
        finally:
            os._exit(3)
    found.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    return 1

plan = {"steps": [{"name": "a", "action": "fork"}, {"name": "b", "action": "fork", "after": ["a"]}]}
workflow = AgenticWorkflow(ScriptedAgent([]), actions=[fork], database=sys.argv[1])
assert workflow.run_sync("g", plan=plan)["state"] == "COMPLETE"
assert found == [0, 0], found
"""


def test_a_process_forked_in_the_middle_of_a_run_is_refused_its_database_and_no_other(tmp_path: Path) -> None:
    databases = [str(tmp_path / "runs.db"), str(tmp_path / "others.db")]
    subprocess.run([sys.executable, "-c", FORKED_MEANWHILE, *databases], check=True, timeout=60)


async def test_a_stream_that_is_left_ends_its_run_before_its_database(tmp_path: Path) -> None:
    slow = RecordingAction("slow", result=1, delay=0.2)
    steps = [step(f"s{at}", "slow", after=[f"s{at - 1}"] if at else []) for at in range(4)]
    workflow = AgenticWorkflow(ScriptedAgent([plan(*steps)]), actions=[slow], database=tmp_path / "runs.db")
    trouble: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
    async with aclosing(workflow.stream("g", thread_id="t")) as events:
        async for event in events:
            if isinstance(event, StepStarted):
                break
    begun = len(slow.calls)
    await asyncio.sleep(0.5)
    assert (len(slow.calls), trouble) == (begun, [])
    assert (await workflow.resume(thread_id="t"))["state"] == "COMPLETE"


ASKED_TWICE = plan(
    step("first", human_review_required=True), step("second", after=["first"], human_review_required=True)
)


@pytest.mark.parametrize(
    "answer, state",
    [
        (approve(), WorkflowState.EXECUTING),
        (approve(), WorkflowState.REVIEWING),
        (reject("no"), WorkflowState.PLANNING),
        (reject("no"), WorkflowState.EXECUTING),
    ],
    ids=["approved", "asked again", "rejected", "planned again"],
)
async def test_a_run_goes_on_that_was_left_as_it_came_into_a_state(answer: Any, state: str, database: Path) -> None:
    house = House(database, ASKED_TWICE, ASKED_TWICE, max_replans=1)
    await house.open().run("g", thread_id="t")
    async with aclosing(house.open().resume_stream(answer, thread_id="t")) as events:
        async for event in events:
            if isinstance(event, StateEntered) and event.state == state:
                break
    for _ in range(4):
        if (left := await house.open().result("t"))["state"] != "COMPLETE":
            await house.open().resume([approve(one["id"]) for one in left["reviews"]] or None, thread_id="t")
    assert ((await house.open().result("t"))["state"], len(house.act.calls)) == ("COMPLETE", 2)


async def test_a_run_of_a_server_that_is_cancelled_between_two_nodes_does_nothing_more(database: Path) -> None:
    class Judge(ScriptedAgent):
        async def review_progress(self, goal: str, history: Sequence[Any]) -> str:
            return "the second half"

    kept, act = Database(database), RecordingAction("act", read_only=False, destructive=False)
    plans, limits = [plan(step("a")), plan(step("b"))], Limits(max_replans=1)
    config: RunnableConfig = {"configurable": {"thread_id": "t"}}
    async with kept.checkpointer() as saver:
        graph = build_graph(Judge(plans), actions=[act], database=kept, checkpointer=saver, limits=limits)
        workflow = AgenticWorkflow(ScriptedAgent([]), actions=[act], database=kept)
        async for done in graph.astream({"goal": "g"}, config, stream_mode="updates"):
            if "execute" in done:
                assert (await workflow.cancel("t"))["state"] == "FAILED"
        ended = (await graph.aget_state(config)).values
    assert (ended["status"], ended["reason"], len(act.calls)) == ("FAILED", "Cancelled on request.", 1)
    assert (await AgenticWorkflow(ScriptedAgent([plans[1]]), actions=[act], database=kept).run("g", thread_id="t"))[
        "state"
    ] == "COMPLETE"


# Its own limits.

ENDLESS = """
import asyncio
from typing_extensions import TypedDict
from langgraph.graph import START, StateGraph
from agentic_workflows import AgenticWorkflow, Limits, build_graph
from agentic_workflows.testing import RecordingAction

class Agent:
    async def create_plan(self, goal, history):
        return {}

class State(TypedDict):
    goal: str
    reason: str

async def main():
    workflow = AgenticWorkflow(Agent(), 30, actions=[RecordingAction("act")])
    graph = build_graph(Agent(), actions=[RecordingAction("act")], limits=Limits(max_iterations=30))
    around = StateGraph(State).add_node("agent", graph).add_edge(START, "agent").compile()
    print((await workflow.run("g"))["reason"])
    for one in (graph, around):
        print((await one.ainvoke({"goal": "g"}))["reason"])

asyncio.run(main())
"""


def test_a_run_ends_by_its_own_limit_however_many_steps_langgraph_would_give_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDLESS],
        env={**os.environ, "LANGGRAPH_DEFAULT_RECURSION_LIMIT": "20"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert [line.partition(" Last:")[0] for line in done.stdout.splitlines()] == [
        "max_iterations=30 is exhausted."
    ] * 3, done.stderr
