"""The graph as a part of another LangGraph graph."""

import asyncio
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import Command, RetryPolicy, Send, interrupt

from agentic_workflows import (
    ActionError,
    AgenticWorkflow,
    Limits,
    RunError,
    ScriptedAgent,
    approve,
    build_graph,
    respond,
)
from agentic_workflows.actions.action import Action, ActionCall
from agentic_workflows.graph.catalogue import Annotations
from agentic_workflows.graph.values import JsonObject
from agentic_workflows.journal.database import Database
from agentic_workflows.testing import RecordingAction

THREAD: Any = {"configurable": {"thread_id": "t"}}


class Outer(TypedDict):
    goal: str
    status: str


def last(_: str, new: str) -> str:
    return new


class Both(TypedDict):
    goal: Annotated[str, last]
    status: Annotated[str, last]


def plan(*names: str, **fields: Any) -> dict[str, Any]:
    return {"steps": [{"name": name, "action": name, **fields} for name in names]}


def outside(inner: Any, saver: Any, *, more: Any = None) -> Any:
    builder = StateGraph(Outer)
    builder.add_node("agent", inner)
    builder.add_edge(START, "agent")
    if more is not None:
        builder.add_node("other", more)
        builder.add_edge("agent", "other")
    return builder.compile(checkpointer=saver)


def approved(asked: Mapping[str, Any]) -> Command[Any]:
    """Return the approval of the one question that a graph has come to."""
    (question,) = asked["__interrupt__"][0].value["action_requests"]
    return Command(resume={"decisions": [{"type": "approve", "id": question["id"]}]})


def called(inner: Any) -> Any:
    async def node(state: Outer) -> Outer:
        ended = await inner.ainvoke({"goal": state["goal"]})
        return {"goal": state["goal"], "status": ended["status"]}

    return node


@pytest.mark.parametrize("how", [lambda inner: inner, called])
async def test_each_call_on_a_thread_is_a_run_of_its_own(how: Any) -> None:
    act = RecordingAction("act", result=1)
    graph = outside(how(build_graph(ScriptedAgent([plan("act")] * 2), actions=[act])), InMemorySaver())
    ended = [await graph.ainvoke({"goal": goal}, THREAD) for goal in ("one", "two")]
    assert ([each["status"] for each in ended], len(act.calls)) == (["COMPLETE", "COMPLETE"], 2)


def failing(inner: Any, *, attempts: int) -> Any:
    """Return a node that calls a graph of others and then ours, twice, and fails before, between and after them."""
    others, left = outside(lambda _: {}, None), iter(range(attempts))

    async def node(state: Outer) -> Outer:
        attempt = next(left, None)
        await others.ainvoke({"goal": "of others"})
        if attempt == 0:
            raise ConnectionError("before any")
        await inner.ainvoke({"goal": state["goal"]})
        if attempt == 1:
            raise ConnectionError("between")
        ended = await inner.ainvoke({"goal": state["goal"]})
        if attempt is not None:
            raise ConnectionError("after both")
        return {"goal": state["goal"], "status": ended["status"]}

    return node


def retried(node: Any) -> Any:
    """Return a graph with a node that LangGraph begins again where it fails."""
    builder = StateGraph(Outer)
    builder.add_node("agent", node, retry_policy=RetryPolicy(max_attempts=5, initial_interval=0.01, jitter=False))
    builder.add_edge(START, "agent")
    return builder.compile(checkpointer=InMemorySaver())


def retried_task(node: Any) -> Any:
    """Return an entrypoint with such a task."""
    policy = RetryPolicy(max_attempts=5, initial_interval=0.01, jitter=False)
    work: Any = task(node, name="work", retry_policy=policy)

    @entrypoint(checkpointer=InMemorySaver())
    async def around(state: Any) -> Any:
        return await work(state)

    return around


@pytest.mark.parametrize("kind", [retried, retried_task])
async def test_a_node_that_fails_and_is_begun_again_goes_on_with_the_runs_that_it_has_called(kind: Any) -> None:
    act = RecordingAction("act", result=1)
    inner = build_graph(ScriptedAgent([plan("act")] * 4), actions=[act])
    ended = await kind(failing(inner, attempts=4)).ainvoke({"goal": "g"}, THREAD)
    assert (ended["status"], len(act.calls)) == ("COMPLETE", 2)


async def test_a_node_that_is_begun_again_asks_nobody_what_was_answered() -> None:
    act = RecordingAction("act", result=1)
    steps = plan("act", human_review_required=True)
    graph = retried(failing(build_graph(ScriptedAgent([steps] * 4), actions=[act]), attempts=4))
    asked = 0
    ended = await graph.ainvoke({"goal": "g"}, THREAD)
    while "__interrupt__" in ended:
        asked += 1
        ended = await graph.ainvoke(approved(ended), THREAD)
    assert (ended["status"], len(act.calls), asked) == ("COMPLETE", 2, 2)


async def test_two_agents_share_a_database_and_a_run_of_the_server(tmp_path: Path) -> None:
    first, second = RecordingAction("first", result=1), RecordingAction("second", result=1)
    database = Database(tmp_path / "x.db")
    one, other = (
        build_graph(ScriptedAgent([plan(act.name)]), actions=[act], database=database) for act in (first, second)
    )
    graph = outside(one, InMemorySaver(), more=other)
    ended = await graph.ainvoke({"goal": "g"}, {**THREAD, "metadata": {"run_id": "of the server"}})
    assert (ended["status"], len(first.calls), len(second.calls)) == ("COMPLETE", 1, 1)


async def test_one_that_was_stopped_goes_on_from_the_journal_alone(tmp_path: Path) -> None:
    saver, database = InMemorySaver(), Database(tmp_path / "x.db")
    act = RecordingAction("act", result=1, read_only=False, destructive=False)

    def graph(late: RecordingAction) -> Any:
        steps = {"steps": [*plan("act")["steps"], *plan("late", after=["act"])["steps"]]}
        return outside(build_graph(ScriptedAgent([steps]), actions=[act, late], database=database), saver)

    stuck = RecordingAction("late", delay=60)
    first = asyncio.create_task(graph(stuck).ainvoke({"goal": "g"}, THREAD, durability="exit"))
    while not stuck.calls:
        await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.wait({first})
    ended = await graph(RecordingAction("late", result=1)).ainvoke(None, THREAD)
    assert (ended["status"], len(act.calls)) == ("COMPLETE", 1)


async def test_its_questions_interrupt_the_outer_graph() -> None:
    act = RecordingAction("act", result=1)
    steps = plan("act", human_review_required=True)
    graph = outside(build_graph(ScriptedAgent([steps]), actions=[act]), InMemorySaver())
    asked = await graph.ainvoke({"goal": "g"}, THREAD)
    assert (len(asked["__interrupt__"]), len(act.calls)) == (1, 0)
    ended = await graph.ainvoke(approved(asked), THREAD)
    assert (ended["status"], len(act.calls)) == ("COMPLETE", 1)


async def test_an_answer_that_does_not_count_is_asked_again_with_what_is_wrong_with_it() -> None:
    act = RecordingAction("act", result=1)
    graph = outside(
        build_graph(ScriptedAgent([plan("act", human_review_required=True)]), actions=[act]), InMemorySaver()
    )
    waiting = await graph.ainvoke({"goal": "g"}, THREAD)
    asked = waiting["__interrupt__"][0].value
    for bad, said in (
        ("yes", r"The answer is 'yes'; give {'decisions': \[...\]} with at least one\. Open: \w+ \(step act, act\)\."),
        ({"decisions": [{"type": "approve", "id": "x"}]}, r"No open question has the id 'x'\. Open: "),
    ):
        again = (await graph.ainvoke(Command(resume=bad), THREAD))["__interrupt__"][0].value
        assert re.match(said, again["problem"])
        assert again == {**asked, "problem": again["problem"]}
    ended = await graph.ainvoke(approved(waiting), THREAD)
    assert (ended["status"], len(act.calls)) == ("COMPLETE", 1)


async def test_inside_another_graph_an_answer_needs_the_id_of_its_question() -> None:
    acts = [RecordingAction(name, result=1) for name in ("a", "b")]
    first, second = (plan(name, human_review_required=True)["steps"] for name in ("a", "b"))
    steps: Any = {"steps": [*first, {**second[0], "after": ["a"]}]}
    graph = outside(build_graph(ScriptedAgent([steps]), actions=acts), InMemorySaver())
    ended = await graph.ainvoke({"goal": "g"}, THREAD)
    for at in range(2):
        schema = ended["__interrupt__"][0].response_schema
        assert schema["properties"]["decisions"]["items"]["required"] == ["type", "id"]
        # As one that was for an earlier question, and comes again because its process was killed.
        ended = await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), THREAD)
        assert "an answer has the id of its question" in ended["__interrupt__"][0].value["problem"]
        assert sum(len(act.calls) for act in acts) == at
        ended = await graph.ainvoke(approved(ended), THREAD)
    assert (ended["status"], [len(act.calls) for act in acts]) == ("COMPLETE", [1, 1])


def in_a_row(*names: str) -> dict[str, Any]:
    """Return a plan of steps that are asked about, one after the other."""
    steps = [plan(name, human_review_required=True)["steps"][0] for name in names]
    return {"steps": [{**step, "after": list(names[max(at - 1, 0) : at])} for at, step in enumerate(steps)]}


def by_interrupt(ended: Mapping[str, Any], **answer: Any) -> Command[Any]:
    """Return one answer, without the id of its question, to each interrupt of a graph."""
    return Command(resume={one.id: {"decisions": [answer]} for one in ended["__interrupt__"]})


async def test_an_answer_by_the_id_of_its_interrupt_counts_also_after_a_single_one() -> None:
    acts = [RecordingAction(name, result=1) for name in ("a", "b", "c")]
    graph = outside(build_graph(ScriptedAgent([in_a_row("a", "b", "c")]), actions=acts), InMemorySaver())
    ended = await graph.ainvoke(approved(await graph.ainvoke({"goal": "g"}, THREAD)), THREAD)
    for at in (1, 2):
        assert [len(act.calls) for act in acts] == [1] * at + [0] * (3 - at)
        ended = await graph.ainvoke(by_interrupt(ended, type="approve"), THREAD)
    assert (ended["status"], [len(act.calls) for act in acts]) == ("COMPLETE", [1, 1, 1])


async def test_two_runs_at_once_in_a_node_are_each_answered_singly_as_they_are_shown() -> None:
    acts = [RecordingAction(name, result=1) for name in "abcd"]
    inner = [build_graph(ScriptedAgent([in_a_row(*names)]), actions=acts) for names in ("ab", "cd")]

    async def both(state: Outer) -> Outer:
        ended = await asyncio.gather(*(one.ainvoke({"goal": state["goal"]}) for one in inner))
        return {"goal": state["goal"], "status": " ".join(one["status"] for one in ended)}

    graph, answers = outside(both, InMemorySaver()), 0
    ended = await graph.ainvoke({"goal": "g"}, THREAD)
    while "__interrupt__" in ended:
        answers += 1
        assert answers <= len(acts)
        ended = await graph.ainvoke(approved(ended), THREAD)
    assert (ended["status"], [len(act.calls) for act in acts]) == ("COMPLETE COMPLETE", [1] * 4)


async def test_what_one_of_two_runs_at_once_was_answered_keeps_no_answer_from_the_other() -> None:
    acts = [RecordingAction(name, result=1) for name in ("a", "b", "c")]
    one, other = (build_graph(ScriptedAgent([in_a_row(*names)]), actions=acts) for names in ("ab", "c"))
    builder = StateGraph(Both)
    builder.add_node("one", called(one))
    attempts = iter((False, True))

    async def late(state: Any) -> Any:
        if not next(attempts, True):
            await asyncio.sleep(0.5)  # by then the first one has asked
            raise ConnectionError("not yet")
        return await called(other)(state)

    builder.add_node("other", late)
    for name in ("one", "other"):
        builder.add_edge(START, name)
    graph: Any = builder.compile(checkpointer=InMemorySaver())
    with pytest.raises(ConnectionError):
        await graph.ainvoke({"goal": "g"}, THREAD)
    waiting = (await graph.aget_state(THREAD)).interrupts
    ended = await graph.ainvoke(approved({"__interrupt__": waiting}), THREAD)
    assert len(ended["__interrupt__"]) == 2
    ended = await graph.ainvoke(by_interrupt(ended, type="approve"), THREAD)
    assert [len(act.calls) for act in acts] == [1, 1, 1]


async def test_no_answer_that_was_given_before_ends_a_pause(tmp_path: Path) -> None:
    database, saver = Database(tmp_path / "x.db"), InMemorySaver()
    acts = [RecordingAction(name, result=1) for name in ("a", "b")]
    steps = {"steps": [*in_a_row("a")["steps"], *plan("b", after=["a"])["steps"]]}
    graph = outside(build_graph(ScriptedAgent([steps]), actions=acts, database=database), saver)
    asked = await graph.ainvoke({"goal": "g"}, THREAD)
    (name,) = await database.journal.threads()
    await database.journal.request(name, "pause")
    paused = await graph.ainvoke(approved(asked), THREAD)
    for value in (None, Command(resume=True)):
        again = await graph.ainvoke(value, THREAD)
        assert [one.value for one in again["__interrupt__"]] == [one.value for one in paused["__interrupt__"]]
    ended = await graph.ainvoke(Command(resume=paused["__interrupt__"][0].value["resume_with"]), THREAD)
    assert (ended["status"], [len(act.calls) for act in acts]) == ("COMPLETE", [1, 1])


async def test_what_was_answered_once_answers_nothing_that_an_action_asks(tmp_path: Path) -> None:
    def ask(_: Any) -> Any:
        answered.append(interrupt("Really all of it?"))

    async def clean(call: ActionCall) -> object:
        return await outside(ask, None).ainvoke({"goal": call.action})

    answered = list[object]()
    hangs = RecordingAction("a", delay=60, idempotent=True, read_only=False, destructive=False)
    steps = {"steps": [*in_a_row("a")["steps"], *plan("clean", after=["a"])["steps"]]}
    cleans = Action(name="clean", run=clean, annotations=Annotations(destructive=False, open_world=False))
    saver, agent, database = InMemorySaver(), ScriptedAgent([steps]), Database(tmp_path / "x.db")
    one, other = (
        build_graph(agent, actions=[act, cleans], checkpointer=saver, database=database)
        for act in (hangs, RecordingAction("a", result=1, idempotent=True, read_only=False, destructive=False))
    )
    yes = approved(await one.ainvoke({"goal": "g"}, THREAD))
    cut = asyncio.create_task(one.ainvoke(yes, THREAD))
    while not hangs.calls:
        await asyncio.sleep(0.01)
    cut.cancel()
    await asyncio.wait({cut})
    ended = await other.ainvoke(yes, THREAD)  # as a server that was killed repeats it
    assert (ended["status"], [one["step"] for one in ended["asks"]], answered) == ("REVIEWING", ["clean"], [])


async def test_a_node_may_call_a_graph_on_threads_of_its_own_whatever_name_a_server_gives_its_run() -> None:
    act = RecordingAction("act", result=1)
    inner = build_graph(ScriptedAgent([plan("act")] * 2), actions=[act])

    async def node(state: Outer) -> Outer:
        for thread in ("one", "other"):
            ended = await inner.ainvoke({"goal": state["goal"]}, {"configurable": {"thread_id": thread}})
        return {"goal": state["goal"], "status": ended["status"]}

    named: Any = {**THREAD, "metadata": {"run_id": "the server's"}}
    ended = await outside(node, InMemorySaver()).ainvoke({"goal": "g"}, named)
    assert (ended["status"], len(act.calls)) == ("COMPLETE", 2)


async def test_an_action_may_call_a_graph_of_others_often_on_one_thread() -> None:
    remembering = outside(lambda state: seen.append(state["goal"]), InMemorySaver())

    async def talk(call: ActionCall) -> object:
        for word in ("one", "other"):
            await remembering.ainvoke({"goal": f"{call.step.name} {word}"}, THREAD)
        return call.step.name

    seen = list[str]()
    talks = Action(name="talk", run=talk, annotations=Annotations(destructive=False, open_world=False))
    steps = [{"name": name, "action": "talk"} for name in "ab"]
    workflow = AgenticWorkflow(ScriptedAgent([{"steps": steps}]), actions=[talks])
    assert (await workflow.run("g"))["state"] == "COMPLETE"
    assert seen == ["a one", "a other", "b one", "b other"]


async def test_a_node_may_give_a_workflow_one_goal_after_the_other_whatever_name_a_server_gives_its_run() -> None:
    act = RecordingAction("act", result=1)
    inner = AgenticWorkflow(ScriptedAgent([plan("act")] * 2), actions=[act])

    async def node(_: Outer) -> Outer:
        ended = [await inner.run(goal, thread_id="own") for goal in ("one", "other")]
        return {"goal": " ".join(one["goal"] for one in ended), "status": " ".join(one["state"] for one in ended)}

    named: Any = {**THREAD, "metadata": {"run_id": "the server's"}}
    ended = await outside(node, InMemorySaver()).ainvoke({"goal": "g"}, named)
    assert (ended["goal"], ended["status"], len(act.calls)) == ("one other", "COMPLETE COMPLETE", 2)


async def test_an_answer_that_names_its_question_counts_also_in_a_run_that_has_brought_one() -> None:
    acts = [RecordingAction(name, result=1) for name in ("a", "b")]
    named: Any = {**THREAD, "metadata": {"run_id": "r"}}
    first, second = (plan(name, human_review_required=True)["steps"] for name in ("a", "b"))
    steps: Any = {"steps": [*first, {**second[0], "after": ["a"]}]}
    graph = build_graph(ScriptedAgent([]), actions=acts, checkpointer=InMemorySaver())
    approve, asked = {"type": "approve"}, dict[str, Any]()
    await graph.ainvoke({"goal": "g", "given_plan": steps}, named)
    for _ in range(2):  # as a server that was killed repeats it
        asked = (await graph.ainvoke(Command(resume={"decisions": [approve]}), named))["__interrupt__"][0].value
    assert "has counted for an earlier question" in asked["problem"]
    answer = {**approve, "id": asked["action_requests"][0]["id"]}
    ended = await graph.ainvoke(Command(resume={"decisions": [answer]}), named)
    assert (ended["status"], [len(act.calls) for act in acts]) == ("COMPLETE", [1, 1])


async def test_a_graph_keeps_its_runs_in_a_database_that_is_named(tmp_path: Path) -> None:
    for at, named in enumerate((str(tmp_path / "x.db"), tmp_path / "x.db", Database(tmp_path / "x.db"))):
        graph = build_graph(ScriptedAgent([plan("act")]), actions=[RecordingAction("act", result=1)], database=named)
        ended = await graph.ainvoke({"goal": "g"}, {"configurable": {"thread_id": str(at)}})  # type: ignore[call-overload]
        assert ended["status"] == "COMPLETE"
    assert len(await Database(tmp_path / "x.db").journal.threads()) == 3


@pytest.mark.parametrize("keeps", [None, True])
async def test_a_graph_inside_another_goes_on_where_the_clock_was_set_back(
    keeps: bool | None,  # noqa: FBT001
    set_back: Callable[[], None],
) -> None:
    saver, act = InMemorySaver(), RecordingAction("act", result=1)
    inner = build_graph(ScriptedAgent([plan("act", human_review_required=True)] * 2), actions=[act])
    graph = outside(inner.copy({"checkpointer": keeps}), saver)
    for calls in (0, 1):
        asked = await graph.ainvoke({"goal": f"goal {calls}"}, THREAD)
        assert (await graph.aget_state(THREAD)).interrupts
        set_back()
        ended = await graph.ainvoke(approved(asked), THREAD)
        assert (ended["status"], (await graph.aget_state(THREAD)).next, len(act.calls)) == ("COMPLETE", (), calls + 1)


class Saver(InMemorySaver):
    """A saver that keeps the checkpoints of one graph only once it may."""

    def __init__(self, holds: str | None = None) -> None:
        super().__init__()
        self.holds, self.may_keep, self.read = holds, asyncio.Event(), list[str]()

    async def aput(self, *given: Any, **more: Any) -> Any:
        namespace = given[0]["configurable"]["checkpoint_ns"]
        if self.holds is not None and re.sub(":[-0-9a-f]+", "", namespace) == self.holds:
            await self.may_keep.wait()
        return await super().aput(*given, **more)

    async def aget_tuple(self, config: Any) -> Any:
        if config["configurable"].get("checkpoint_id"):
            self.read.append(config["configurable"]["checkpoint_ns"])
        return await super().aget_tuple(config)


class LastOnly(Saver):
    """A saver that has only the last checkpoint of each graph, and gives that, whatever is asked for."""

    async def aget_tuple(self, config: Any) -> Any:
        named = {key: value for key, value in config["configurable"].items() if key != "checkpoint_id"}
        return await super().aget_tuple({"configurable": named})


class Many(TypedDict):
    goal: Annotated[str, lambda _, new: new]
    status: Annotated[str, lambda _, new: new]


def sent(inner: Any, saver: Any) -> Any:
    builder = StateGraph(Many)
    builder.add_node("agent", inner)
    builder.add_conditional_edges(START, lambda _: [Send("agent", {"goal": goal}) for goal in ("one", "two")])
    return builder.compile(checkpointer=saver)


AROUND: dict[str, tuple[Any, str, int]] = {
    "a node": (outside, "", 1),
    "called by a node": (lambda inner, saver: outside(called(inner), saver), "", 1),
    "one that keeps its state": (lambda inner, saver: outside(inner.copy({"checkpointer": True}), saver), "", 1),
    "one that keeps nothing": (lambda inner, saver: outside(inner.copy({"checkpointer": False}), saver), "", 1),
    "two deep": (lambda inner, saver: outside(outside(inner, None), saver), "", 1),
    "two deep, the inner checkpoint": (lambda inner, saver: outside(outside(inner, None), saver), "agent", 1),
    "two at once": (sent, "", 2),
}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("kind", [Saver, LastOnly])
async def test_nothing_is_done_inside_before_the_checkpoint_that_leads_into_it_is_kept(around: str, kind: Any) -> None:
    make, holds, calls = AROUND[around]
    saver, act, agent = kind(holds), RecordingAction("act", result=1), ScriptedAgent([plan("act")] * 2)
    graph = make(build_graph(agent, actions=[act]), saver)
    run = asyncio.create_task(graph.ainvoke({"goal": "g"}, THREAD))
    while len(agent.goals) < calls:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert (act.calls, run.done()) == ([], False)
    saver.may_keep.set()
    await run
    assert len(act.calls) == calls


class Forgetful(Saver):
    """A saver that keeps no checkpoint of the outermost graph."""

    async def aput(self, *given: Any, **more: Any) -> Any:
        return await super().aput(*given, **more) if given[0]["configurable"]["checkpoint_ns"] else given[0]


@pytest.mark.parametrize("loses", ["a checkpoint", "a level"])
async def test_a_run_inside_a_graph_that_does_not_keep_its_checkpoint_ends_before_anything_is_done(loses: str) -> None:
    act, database = RecordingAction("act", result=1, read_only=False), Database(lease_seconds=0.3)
    inner = build_graph(ScriptedAgent([plan("act")]), actions=[act], database=database)
    if loses == "a level":
        inner = outside(inner, False)  # which is to keep nothing
    with pytest.raises(RunError, match=r"not kept the checkpoint from which it was called, for 0\.3 s.*Nothing was d"):
        await outside(inner, Forgetful() if loses == "a checkpoint" else Saver()).ainvoke({"goal": "g"}, THREAD)
    assert act.calls == []


@pytest.mark.parametrize(
    "make, durability, reads",
    [
        (outside, "sync", [""]),
        (outside, "exit", []),
        (lambda inner, saver: outside(outside(inner, None), saver), "sync", ["", "agent"]),
        (lambda inner, saver: inner.copy({"checkpointer": saver}), "async", []),
    ],
)
async def test_a_run_inside_looks_for_each_checkpoint_around_it_once_and_any_other_for_none(
    make: Any, durability: Any, reads: list[str]
) -> None:
    act, saver = RecordingAction("act", result=1), Saver()
    graph = make(build_graph(ScriptedAgent([plan("act")]), actions=[act]), saver)
    ended = await graph.ainvoke({"goal": "g"}, THREAD, durability=durability)
    assert (ended["status"], [one.partition(":")[0] for one in saver.read]) == ("COMPLETE", reads)


async def test_a_run_inside_a_graph_that_nobody_keeps_waits_for_nothing() -> None:
    act = RecordingAction("act", result=1)
    ended = await outside(build_graph(ScriptedAgent([plan("act")]), actions=[act]), None).ainvoke({"goal": "g"})
    assert (ended["status"], len(act.calls)) == ("COMPLETE", 1)


async def test_a_run_inside_a_graph_that_lost_what_it_had_kept_is_another_run() -> None:
    act, database = RecordingAction("act", result=1, read_only=False, destructive=False), Database()
    inner = build_graph(ScriptedAgent([plan("act")] * 2), actions=[act], database=database)
    for _ in range(2):  # a limit that the README tells of
        await outside(inner, InMemorySaver()).ainvoke({"goal": "g"}, THREAD)
    assert len(act.calls) == 2


# Inside a run of ours.


def delegating(
    inner: Any,
    *,
    times: int = 1,
    fails: int = 0,
    database: Database,
    agent: Any = None,
    max_replans: int = 0,
    **annotations: Any,
) -> tuple[AgenticWorkflow, list[str]]:
    """Return a workflow whose action calls a graph, and fails afterwards, and what it was told each time."""
    told = list[str]()

    async def delegate(_: Any) -> str:
        told.extend([str((await inner.ainvoke({"goal": "g"}))["status"]) for _ in range(times)])
        if len(told) <= fails * times:
            raise ActionError("It failed afterwards.")
        return told[-1]

    known = Annotations(destructive=False, open_world=False, **annotations)
    actions = [Action(name="delegate", run=delegate, annotations=known), RecordingAction("look")]
    planner = agent or ScriptedAgent([plan("delegate", retries=2)])
    limits = Limits(max_iterations=50, max_replans=max_replans)
    return AgenticWorkflow(planner, actions=actions, database=database, limits=limits), told


@pytest.mark.parametrize("annotations", [{"idempotent": True}, {"read_only": True}])
@pytest.mark.parametrize("times", [1, 2])
async def test_every_attempt_at_a_call_goes_on_with_the_runs_inside_it(
    times: int, annotations: dict[str, bool]
) -> None:
    act, database = RecordingAction("act", result=1, read_only=False, destructive=False), Database()
    inner = build_graph(ScriptedAgent([plan("act")] * 9), actions=[act], database=database)
    workflow, told = delegating(inner, times=times, fails=2, database=database, **annotations)
    assert (await workflow.run("g", thread_id="t"))["state"] == "COMPLETE"
    assert (told, len(act.calls)) == (["COMPLETE"] * 3 * times, times)
    first, *others = sorted(set(await database.journal.threads()) - {"t"})
    assert re.fullmatch(r"t\|execute:[0-9a-f]{32}", first)
    assert others == [f"{first}|1"][: times - 1]


@pytest.mark.parametrize("cuts", [0, 1])
async def test_a_run_inside_a_call_is_shown_as_it_ended_also_where_it_was_cut_before(cuts: int) -> None:
    database, left, callers = Database(), iter(range(cuts)), list[Any]()

    async def act(_: Any) -> int:
        if next(left, None) is not None:
            callers[-1].cancel()
            await asyncio.sleep(60)
        return 1

    async def called(given: Any) -> Any:
        callers.append(asyncio.current_task())
        return await inner.ainvoke(given)

    known = Annotations(destructive=False, open_world=False, idempotent=True)
    inner = build_graph(
        ScriptedAgent([plan("act")] * 2),
        actions=[Action(name="act", run=act, annotations=known)],
        database=database,
    )
    agent = ScriptedAgent([plan("delegate", retries=cuts)])
    workflow, told = delegating(SimpleNamespace(ainvoke=called), database=database, agent=agent, idempotent=True)
    await workflow.run("g", thread_id="t")
    (shown,) = [one for one in await workflow.runs() if "|" in one["thread_id"]]
    assert (told, len(callers)) == (["COMPLETE"], 1 + cuts)
    assert (shown["state"], shown["outer"], shown["steps"]["act"]["status"]) == ("COMPLETE", "t", "succeeded")


async def test_a_run_inside_a_call_of_a_graph_that_nobody_keeps_keeps_nothing() -> None:
    act, saver = RecordingAction("act", result=1), InMemorySaver()
    workflow, told = delegating(build_graph(ScriptedAgent([plan("act")]), actions=[act]), database=Database())
    graph = build_graph(ScriptedAgent([plan("delegate")]), actions=workflow.registry.values())
    await outside(graph, saver).ainvoke({"goal": "g"}, THREAD, durability="exit")
    kept = [namespace for one in saver.storage.values() for namespace, checkpoints in one.items() if checkpoints]
    assert (told, kept) == (["COMPLETE"], [""])


@pytest.mark.parametrize("annotations", [{"idempotent": True}, {"read_only": True}])
async def test_each_of_equal_calls_has_a_run_of_its_own_inside_it(annotations: dict[str, bool]) -> None:
    act, database = RecordingAction("act", result=1, read_only=False, destructive=False), Database()
    inner = build_graph(ScriptedAgent([plan("act")] * 2), actions=[act], database=database)
    agent = ScriptedAgent([{"steps": [{"name": name, "action": "delegate"} for name in "ab"]}])
    workflow, told = delegating(inner, database=database, agent=agent, **annotations)
    assert (await workflow.run("g", thread_id="t"))["state"] == "COMPLETE"
    assert (told, len(act.calls)) == (["COMPLETE"] * 2, 2)


async def test_a_run_inside_a_call_that_has_failed_stays_so_for_every_attempt() -> None:
    act = RecordingAction("act", result=1, read_only=False, destructive=False)
    bad, database = RecordingAction("bad", error=ActionError("No."), read_only=False, destructive=False), Database()
    steps = {"steps": [*plan("act")["steps"], *plan("bad", after=["act"])["steps"]]}
    inner = build_graph(ScriptedAgent([steps] * 9), actions=[act, bad], database=database)
    workflow, told = delegating(inner, fails=2, database=database, idempotent=True)
    assert (await workflow.run("g", thread_id="t"))["outputs"] == {}
    assert (told, len(act.calls), len(bad.calls)) == (["FAILED"] * 3, 1, 1)


async def test_runs_inside_each_other_are_found_again_at_every_level() -> None:
    act, database = RecordingAction("act", result=1, read_only=False, destructive=False), Database()
    innermost = build_graph(ScriptedAgent([plan("act")] * 9), actions=[act], database=database)
    between, _ = delegating(innermost, fails=1, database=database, idempotent=True)
    known = between.registry.values()
    middle = build_graph(ScriptedAgent([plan("delegate", retries=2)] * 9), actions=known, database=database)
    workflow, told = delegating(middle, fails=1, database=database, idempotent=True)
    assert (await workflow.run("g", thread_id="t"))["state"] == "COMPLETE"
    _, two, three = sorted(await database.journal.threads(), key=len)
    assert (told, len(act.calls), three.startswith(f"{two}|execute:")) == (["COMPLETE"] * 2, 1, True)


@pytest.mark.parametrize(
    "entries, other",
    [
        ([{"goal": "ann"}, {"goal": "bob"}], "goal: 'ann'"),
        ([{"given_plan": plan("act")}, {"given_plan": plan("act", inputs={"to": "bob"})}], "plan"),
        ([{"goal": "ann", "given_plan": plan("act")}, {"goal": "ann", "given_plan": {"steps": []}}], "plan"),
    ],
)
async def test_a_call_that_comes_with_another_goal_or_plan_is_no_further_attempt_at_the_run_of_the_first(
    entries: list[Any], other: str
) -> None:
    act, database = RecordingAction("act", result=1, read_only=False, destructive=False), Database()
    inner = build_graph(ScriptedAgent([plan("act")] * 9), actions=[act], database=database)
    given = iter(entries)

    async def delegate(_: Any) -> str:
        await inner.ainvoke(next(given))
        raise ActionError("It failed afterwards.")

    known = Annotations(destructive=False, open_world=False, idempotent=True)
    calls = Action(name="delegate", run=delegate, annotations=known)
    workflow = AgenticWorkflow(ScriptedAgent([plan("delegate", retries=1)]), actions=[calls], database=database)
    ended = await workflow.run("g", thread_id="t")
    assert (ended["state"], len(act.calls)) == ("FAILED", 1)
    assert f"was begun with another {other}." in ended["reason"]


async def test_a_call_that_comes_with_the_same_plan_in_other_words_goes_on_with_the_run_of_the_first() -> None:
    act = RecordingAction("act", result=1)
    named: Any = {**THREAD, "metadata": {"run_id": "r"}}
    graph = build_graph(ScriptedAgent([]), actions=[act])
    for words in ({}, {"retries": 0, "after": []}):
        ended = await graph.ainvoke({"goal": "g", "given_plan": plan("act", **words)}, named)
        assert (ended["status"], len(act.calls)) == ("COMPLETE", 1)
    with pytest.raises(RunError, match="was begun with another plan"):
        await graph.ainvoke({"goal": "g", "given_plan": plan("act", inputs={"to": "bob"})}, named)


@pytest.mark.parametrize("by", ["action", "planner", "review"])
async def test_who_calls_a_graph_that_waits_for_a_person_does_what_it_has_done_no_second_time(by: str) -> None:
    act, database = RecordingAction("act", result=1, read_only=False, destructive=False), Database()
    ask = RecordingAction("ask", read_only=False, destructive=False)
    steps = {"steps": [*plan("act")["steps"], *plan("ask", after=["act"], human_review_required=True)["steps"]]}
    inner = build_graph(ScriptedAgent([steps] * 9), actions=[act, ask], database=database)

    class Planner:
        async def create_plan(self, *_: Any) -> Any:
            if by == "planner":
                await inner.ainvoke({"goal": "g"})
            return plan("look" if by == "review" else "delegate")

        async def review_progress(self, *_: Any) -> None:
            await inner.ainvoke({"goal": "g"})

    workflow, told = delegating(inner, database=database, agent=Planner(), max_replans=3)
    ended = await workflow.run("g", thread_id="t")
    assert ended["state"] == ("REVIEWING" if by == "action" else "FAILED")
    said = ended["reason"] or ended["reviews"][0]["reason"]
    assert ("may have happened" if by == "action" else "waits for a person, and cannot be answered") in said
    assert (told, len(act.calls), ask.calls) == ([], 1, [])


async def test_an_idempotent_step_whose_graph_waits_for_a_person_is_in_doubt_and_not_tried_again() -> None:
    database, calls = Database(), list[str]()
    ask = RecordingAction("ask", read_only=False, destructive=False)
    inner = build_graph(ScriptedAgent([plan("ask", human_review_required=True)]), actions=[ask], database=database)

    async def delegate(call: ActionCall) -> str:
        calls.append(call.idempotency_key)
        return str((await inner.ainvoke({"goal": "g"}))["status"])

    known = Annotations(destructive=False, open_world=False, idempotent=True)
    action = Action(name="delegate", run=delegate, annotations=known)
    workflow = AgenticWorkflow(ScriptedAgent([plan("delegate", retries=3)]), actions=[action], database=database)
    asked = await workflow.run("g", thread_id="t")
    assert (asked["state"], asked["reason"]) == ("REVIEWING", None)
    (question,) = asked["reviews"]
    assert (bool(question["in_doubt"]), "It waits for a person." in question["reason"], len(calls)) == (True, True, 1)
    again = await workflow.resume(approve(), thread_id="t")
    assert (again["state"], len(calls), len(set(calls)), ask.calls) == ("REVIEWING", 2, 1, [])
    assert (await workflow.resume(respond("done"), thread_id="t"))["state"] == "COMPLETE"


@pytest.mark.parametrize("kept", ["on a thread", "in a graph on a thread", "nowhere"])
async def test_an_action_that_takes_a_secret_calls_a_graph_only_on_a_thread_of_its_own(kept: str) -> None:
    database, act = Database(), RecordingAction("act", result=1, read_only=False, destructive=False)
    saver, agent = InMemorySaver(), ScriptedAgent([plan("act")])
    inner: Any = build_graph(agent, actions=[act], database=database, checkpointer=None if "in a" in kept else saver)
    graph = outside(called(inner), saver) if "in a" in kept else inner

    async def delegate(call: ActionCall) -> str:
        named: Any = {"configurable": {"thread_id": call.idempotency_key}} if kept != "nowhere" else None
        return str((await graph.ainvoke({"goal": "g"}, named))["status"])

    known = Annotations(destructive=False, open_world=False, arguments={"token": "secret"})
    schema: JsonObject = {"type": "object", "properties": {"token": {"type": "string"}}}
    action = Action(name="delegate", run=delegate, annotations=known, input_schema=schema)
    agent = ScriptedAgent([plan("delegate", inputs={"token": "${secrets.TOKEN}"})])
    workflow = AgenticWorkflow(agent, actions=[action], database=database, secrets={"TOKEN": "open sesame"})
    ended = await workflow.run("g", thread_id="t")
    is_refused = kept == "nowhere"
    assert (ended["state"], len(act.calls)) == (("FAILED", 0) if is_refused else ("COMPLETE", 1)), ended["reason"]
    assert ("Give it a thread of its own" in str(ended["reason"])) == is_refused


@pytest.mark.parametrize("durability", ["async", "sync"])
async def test_a_graph_that_a_task_of_langgraph_calls_waits_for_no_checkpoint_of_the_task(durability: Any) -> None:
    act = RecordingAction("act", result=1, read_only=False, destructive=False)
    inner = build_graph(ScriptedAgent([plan("act")]), actions=[act], database=Database())

    @task
    async def work(goal: str) -> str:
        return str((await inner.ainvoke({"goal": goal}))["status"])

    @entrypoint(checkpointer=InMemorySaver())
    async def outer(goal: str) -> str:
        return await work(goal)

    began = monotonic()
    assert await outer.ainvoke("g", THREAD, durability=durability) == "COMPLETE"
    assert (monotonic() - began < 20, len(act.calls)) == (True, 1)


async def test_what_a_step_calls_has_the_limit_of_steps_that_langgraph_gives_it() -> None:
    async def node(_: Any, config: RunnableConfig) -> dict[str, str]:
        return {"status": str(config.get("recursion_limit"))}

    workflow, told = delegating(outside(node, None), database=Database(), read_only=True)
    await workflow.run("g")
    usual = (await outside(node, None).ainvoke({"goal": "g"}))["status"]
    graph = build_graph(ScriptedAgent([plan("delegate")]), actions=workflow.registry.values())
    await graph.ainvoke({"goal": "g"}, {"recursion_limit": 50})  # type: ignore[call-overload]
    assert told == [usual, "50"]
