"""Bad input: one clear error, nothing lost, nothing half done."""

# ruff: noqa: ARG002 - fakes have the parameters of what they stand for

import asyncio
import enum
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, Send

from agentic_workflows import (
    Action,
    ActionError,
    AgenticWorkflow,
    DatabaseError,
    Limits,
    ModelError,
    PlanError,
    PlanFileAgent,
    PlanningError,
    PolicyError,
    ReviewError,
    RunError,
    ScriptedAgent,
    WorkflowError,
    approve,
    build_graph,
    load_plan,
    reject,
)
from agentic_workflows.graph.events import StepSucceeded
from agentic_workflows.graph.state import MAX_SECONDS, MAX_WHOLE
from agentic_workflows.graph.values import MAX_DEPTH
from agentic_workflows.testing import RecordingAction


def step(name: str, action: str = "act", **fields: Any) -> dict[str, Any]:
    return {"name": name, "action": action, **fields}


def plan(*steps: Any) -> dict[str, Any]:
    return {"steps": list(steps)}


GOOD = plan(step("a"))
DEEP_PATH = "${o" + " | @" * 500 + "}"
REVIEWED = plan(step("a", human_review_required=True))


def start(*plans: Any, **options: Any) -> tuple[AgenticWorkflow, RecordingAction]:
    act = RecordingAction("act", result=1)
    return AgenticWorkflow(ScriptedAgent(plans or [GOOD]), actions=[act], **options), act


# Goals, threads and plans.


@pytest.mark.parametrize("goal", ["", "  \n", None, 5, ["a"]])
async def test_without_a_goal_nothing_begins(goal: Any) -> None:
    workflow, act = start()
    with pytest.raises(RunError, match=r"There is no goal\. Say in one sentence what is wanted\."):
        await workflow.run(goal)
    assert (await workflow.runs(), act.calls) == ([], [])


@pytest.mark.parametrize("goal", [5, ["a"], {"goal": "g"}])
async def test_a_goal_that_is_no_text_is_refused_beside_a_plan_too(goal: Any) -> None:
    workflow, act = start()
    with pytest.raises(WorkflowError):
        await workflow.run(goal, plan=GOOD)
    assert act.calls == []


@pytest.mark.parametrize(
    "given", [{}, [], "steps", 5, {"steps": []}, [step("a")], {"steps": [{"name": object()}]}, {"goal": "g"}]
)
async def test_a_given_plan_that_is_none_is_never_replaced_by_the_agents(given: Any) -> None:
    workflow, act = start()
    with suppress(WorkflowError):
        result = await workflow.run("g", plan=given)
        assert (result["state"], bool(result["reason"])) == ("FAILED", True)
    assert (workflow.agent.goals, act.calls) == ([], [])  # type: ignore[attr-defined]  # a ScriptedAgent


@pytest.mark.parametrize(
    "given, problem",
    [
        (plan(*(step(f"s{at}") for at in range(1_001))), "1,001 steps, and the limit is 1,000"),
        (plan(step("a", inputs={"x": "x" * 10_000_000})), "bytes, and the limit is"),
        (plan(step("a"), step("a")), "2 steps have this name"),
        (plan(step("a", after=["b"]), step("b", after=["a"])), "waits for itself"),
        (plan(step("a", inputs={"x": "${nothing}"})), "refers to an output that no step gives"),
        (plan(step("a", outputs=["o"]), step("b", inputs={"x": DEEP_PATH})), "b.inputs.x: ${o | @ | @"),
        (plan(step("a", oops=1)), "oops"),
        (plan(step("a", "nope")), "'nope' is not a known action"),
    ],
    ids=["steps", "bytes", "names", "cycle", "reference", "path", "key", "action"],
)
async def test_a_given_plan_with_a_fault_runs_nothing_and_says_what(given: Any, problem: str) -> None:
    workflow, act = start(limits=Limits(), max_iterations=2_000)
    result = await workflow.run("g", plan=given)
    assert (result["state"], act.calls) == ("FAILED", [])
    assert problem in result["reason"]
    assert len(result["reason"]) < 2_000


async def test_an_agent_that_never_answers_is_cut_also_where_nothing_runs() -> None:
    class Silent(ScriptedAgent):
        async def create_plan(self, goal: str, history: object) -> Any:  # type: ignore[override]
            await asyncio.sleep(60)

    workflow = AgenticWorkflow(Silent([]), actions=[], limits=Limits(max_seconds=0.05))
    with pytest.raises(PlanningError, match=r"max_seconds is exhausted: no plan within 0\.05 s"):
        await workflow.create_plan("g")


@pytest.mark.parametrize("thread", ["nope", "", "../../etc/passwd", "\0"])
async def test_an_unknown_thread_is_named(thread: str, tmp_path: Path) -> None:
    workflow, _ = start(database=tmp_path / "runs.db")
    for call in (workflow.resume(thread_id=thread), workflow.cancel(thread), workflow.result(thread)):
        with pytest.raises(RunError, match="There is no run"):
            await call


def test_an_agent_that_can_do_nothing_is_refused() -> None:
    with pytest.raises(ActionError, match="Planner has neither actions nor execute_step"):
        AgenticWorkflow(type("Planner", (), {"create_plan": lambda *_: {}})())  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ActionError, match="str is no agent"):
        AgenticWorkflow("a text", actions=[])  # type: ignore[arg-type]  # that is the point


def test_limits_that_are_none_are_refused() -> None:
    with pytest.raises(RunError, match="Give Limits"):
        AgenticWorkflow(ScriptedAgent([]), limits={"max_steps": 3})  # type: ignore[arg-type]  # that is the point


async def test_an_agent_and_its_actions_need_no_more_than_a_function_and_one_action() -> None:
    class Plain:
        def create_plan(self, goal: str, history: object) -> Any:
            return {"steps": [{"name": "a", "action": "act"}]}

        def review_progress(self, goal: str, history: object) -> str:
            return ""

    act = RecordingAction("act", result=1)
    workflow = AgenticWorkflow(Plain(), actions=act)
    assert (await workflow.create_plan("g")).is_accepted
    assert ((await workflow.run("g"))["state"], len(act.calls)) == ("COMPLETE", 1)


class Folder(str, enum.Enum):  # noqa: UP042 - which writes itself otherwise
    """Texts that are written as `Folder.MAIL`."""

    MAIL = "mail"


@pytest.mark.parametrize("where", ["memory", "file"])
@pytest.mark.parametrize("thread", [5, 0, uuid4(), b"abc", Folder.MAIL], ids=type)
async def test_a_thread_that_is_no_text_is_refused_on_every_way_in(thread: Any, where: str, tmp_path: Path) -> None:
    workflow, act = start(database=where if where == "memory" else tmp_path / "runs.db")
    for attempt in (
        lambda: workflow.run("g", thread_id=thread),
        lambda: workflow.resume(thread_id=thread),
        lambda: workflow.result(thread),
        lambda: workflow.cancel(thread),
        lambda: workflow.timeline(thread),
        lambda: workflow.metadata_of(thread),
        lambda: asyncio.to_thread(workflow.request, thread, "pause"),
    ):
        with pytest.raises(RunError, match=r"thread_id is .*; give the name of a run as a text"):
            await attempt()
    assert (act.calls, await workflow.runs()) == ([], [])


@pytest.mark.parametrize("thread", ["", " \n"])
async def test_a_run_with_an_empty_name_is_refused(thread: str) -> None:
    workflow, act = start()
    with pytest.raises(RunError, match=r"thread_id is empty\. Give the run a name, or leave it out for a new one\."):
        await workflow.run("g", thread_id=thread)
    assert (act.calls, await workflow.runs()) == ([], [])


async def test_a_run_whose_name_not_every_database_can_hold_is_refused() -> None:
    workflow, _ = start()
    assert (await workflow.run("g", thread_id="x" * 1_000))["state"] == "COMPLETE"
    for name in ("x" * 1_001, "ä" * 501, "\ud800" * 1_001):
        with pytest.raises(RunError, match=r"thread_id has 1,00\d bytes; give the run a name of at most 1,000"):
            await workflow.run("g", thread_id=name)
    assert [len(run["thread_id"]) for run in await workflow.runs()] == [1_000]


async def test_nothing_but_a_pause_or_a_cancel_can_be_asked_of_a_run() -> None:
    workflow, _ = start(REVIEWED)
    await workflow.run("g", thread_id="t")
    bogus: Any = "bogus"
    with pytest.raises(RunError, match=r"'bogus' is nothing to ask of a run. It is one of pause, cancel\."):
        await asyncio.to_thread(workflow.request, "t", bogus)


@pytest.mark.parametrize("limit", [0, -1, "3", None, True, 2.5, 2**63])
def test_a_limit_that_is_none_is_refused(limit: Any) -> None:
    with pytest.raises(RunError, match="max_iterations"):
        AgenticWorkflow(ScriptedAgent([]), limit)


@pytest.mark.parametrize("seconds", [1e10, 1e300, float("inf"), float("nan"), 10**400])
@pytest.mark.parametrize("name", ["max_seconds", "step_timeout", "review_seconds", "grant_seconds"])
def test_a_limit_that_no_clock_reaches_is_refused(name: str, seconds: Any) -> None:
    with pytest.raises(RunError, match=rf"{name} is .*; give a number from [01] to 3153600000\."):
        Limits(**{name: seconds})


async def test_the_highest_limits_work() -> None:
    most = {limit.name: MAX_WHOLE if limit.type is int else MAX_SECONDS for limit in fields(Limits)}
    workflow, act = start(REVIEWED, max_iterations=MAX_WHOLE, limits=Limits(**most))
    assert (await workflow.run("g"))["state"] == "REVIEWING"
    assert ((await workflow.resume(approve()))["state"], len(act.calls)) == ("COMPLETE", 1)


async def test_more_iterations_than_there_can_be_are_refused() -> None:
    workflow, _ = start(plan(step("a"), step("b")), max_iterations=1)
    await workflow.run("g", thread_id="t")
    with pytest.raises(RunError, match="max_iterations is 1000000000000000000000"):
        await workflow.resume(max_iterations=10**30)


async def test_what_no_run_can_be_as_old_as_is_refused() -> None:
    with pytest.raises(RunError, match="older_than is 9999999 days, 0:00:00; give at most a hundred years"):
        await start()[0].prune(timedelta(days=9_999_999))


# Plan files.


@pytest.mark.parametrize(
    "text, problem",
    [
        ("steps: [", "It is not YAML"),
        ("", "It is empty"),
        ("- a\n- b", "not a mapping"),
        ("just text", "not a mapping"),
        ("steps:\n- {name: a, action: act, oops: 1}", "oops"),
        ("steps: !!python/object/apply:os.system ['true']", "builds something that is not JSON"),
        ("steps:\n- {name: a, action: !!python/name:os.system x}", "builds something that is not JSON"),
        ("a: &a [*a]", "holds itself"),
        ("steps: 2026-01-01", "is a date"),
        ("steps: []\nsteps: []", "stands twice"),
        ("steps:\n- {name: a, action: act}\n- {name: a, action: act}", "2 steps have this name"),
        ("x: " + "[" * 5_000, "nest"),
        ("a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
            f"{two}: &{two} [{','.join([f'*{one}'] * 9)}]\n" for one, two in zip("abcdefgh", "bcdefghi", strict=True)
        ), "once its aliases are written out"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)  # fmt: skip
def test_a_plan_file_with_a_fault_says_which(text: str, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    with pytest.raises(PlanError, match=r"The plan file .*plan\.yaml cannot be used") as caught:
        load_plan(file)
    assert problem in str(caught.value)


def test_a_plan_file_of_ten_megabytes_or_a_thousand_and_one_steps_is_refused(tmp_path: Path) -> None:
    (large := tmp_path / "large.yaml").write_text("goal: " + "x" * 10_000_000)
    (long := tmp_path / "long.yaml").write_text(
        "steps:\n" + "".join(f"- {{name: s{at}, action: act}}\n" for at in range(1_001))
    )
    for file, problem in ((large, "bytes"), (long, "1,001 steps")):
        with pytest.raises(PlanError, match=problem):
            PlanFileAgent(file)


@pytest.mark.parametrize("name", ["missing.yaml", ".", "nul\0.yaml"])
def test_a_plan_file_that_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="cannot be read"):
        load_plan(f"{tmp_path}/{name}")


# Models and actions.


@pytest.mark.parametrize("answer", [None, "no JSON", "", 5, ModelError("HTTP 500"), ConnectionError("refused")])
async def test_a_model_that_gives_no_plan_is_asked_again_and_told(answer: Any) -> None:
    workflow, act = start(answer, GOOD)
    result = await workflow.run("g")
    assert (result["state"], len(act.calls)) == ("COMPLETE", 1)
    assert result["history"][0]["result"]["findings"]


async def test_a_model_that_hangs_ends_the_run_with_the_reason() -> None:
    class Hanging(ScriptedAgent):
        async def create_plan(self, goal: str, history: object) -> Any:  # type: ignore[override]  # never gives one
            await asyncio.sleep(3_600)

    workflow = AgenticWorkflow(Hanging([]), actions=[], limits=Limits(max_seconds=0.1))
    result = await asyncio.wait_for(workflow.run("g"), 5)
    assert (result["state"], "max_seconds" in result["reason"]) == ("FAILED", True)


@pytest.mark.parametrize(
    "options, reason",
    [
        ({"error": ValueError("broken")}, "act raised ValueError: broken"),
        ({"result": object()}, "The result of act is a object, which is not JSON."),
        ({"result": float("nan")}, "The result of act is nan, which JSON does not have."),
        ({"delay": 60}, "act did not finish within 0.05 s."),
    ],
    ids=["raises", "object", "nan", "hangs"],
)
async def test_an_action_that_goes_wrong_fails_its_step_with_the_reason(options: Any, reason: str) -> None:
    act = RecordingAction("act", **options)
    workflow = AgenticWorkflow(ScriptedAgent([GOOD]), actions=[act], limits=Limits(step_timeout=0.05))
    result = await asyncio.wait_for(workflow.run("g"), 5)
    assert (result["state"], result["reason"], len(act.calls)) == ("FAILED", f"Step a failed: {reason}", 1)


@pytest.mark.parametrize("kind", ["memory", "file"])
@pytest.mark.parametrize("value", [2**70, "caf\udce9", {"deep": [2**70]}], ids=["number", "text", "deep"])
async def test_a_value_that_no_database_can_hold_ends_the_run_cleanly(kind: str, value: Any, tmp_path: Path) -> None:
    act = RecordingAction("act", result=value)
    database = "memory" if kind == "memory" else tmp_path / "runs.db"
    workflow = AgenticWorkflow(ScriptedAgent([plan(step("a", outputs=["x"]))]), actions=[act], database=database)
    result = await workflow.run("g")
    assert result["state"] == "FAILED" or result["outputs"] == {"x": value}, "kept as it is, or refused"
    assert await workflow.result(result["thread_id"]) == result


def nested(value: Any, levels: int) -> Any:
    for _ in range(levels):
        value = [value]
    return value


async def test_a_result_as_deep_as_may_be_is_told_whole_also_by_every_item(tmp_path: Path) -> None:
    deepest = nested("x", MAX_DEPTH)
    act, two = RecordingAction("act", result=deepest), RecordingAction("two", result=[1, 2])
    steps = plan(
        step("a", outputs=["x"]),
        step("b", "two", outputs=["y"]),
        step("c", foreach="${y}", inputs={"at": "${item}"}, outputs=["z"]),
        step("d", inputs={"x": "${x}"}, human_review_required=True),
    )
    workflow = AgenticWorkflow(ScriptedAgent([steps]), actions=[act, two], database=tmp_path / "runs.db")
    told = [event async for event in workflow.stream("g", thread_id="t")]
    assert [event.result for event in told if isinstance(event, StepSucceeded) and event.step == "a"] == [deepest]
    outputs = {"x": deepest, "y": [1, 2], "z": [deepest, deepest]}
    asked = await workflow.result("t")
    assert (asked["outputs"], asked["reviews"][0]["args"]) == (outputs, {"x": deepest})
    done = await workflow.resume(approve(), thread_id="t")
    assert (done["state"], done["outputs"], await workflow.runs()) == ("COMPLETE", outputs, [done])


@pytest.mark.parametrize(
    "given, reason",
    [
        ([[["${o}"]]], "${o} cannot be given: It would be nested more than 100 levels deep."),
        ("${o | length(@)" + " | [@, @]" * 40 + "}", "It would be more than 2,000,000 parts; give less of it."),
    ],
)
async def test_nobody_is_asked_about_inputs_that_no_action_can_be_given(given: Any, reason: str) -> None:
    give, act = RecordingAction("give", result=nested("x", MAX_DEPTH - 2)), RecordingAction("act")
    asks = step("b", inputs={"value": given}, human_review_required=True)
    workflow = AgenticWorkflow(ScriptedAgent([plan(step("a", "give", outputs=["o"]), asks)]), actions=[give, act])
    began = monotonic()
    result = await workflow.run("g")
    assert (result["state"], act.calls, reason in result["reason"]) == ("FAILED", [], True)
    assert monotonic() - began < 10


def test_two_actions_of_one_name_are_refused() -> None:
    twice = [RecordingAction("act"), RecordingAction("act")]
    with pytest.raises(ActionError, match="Two actions are called 'act'"):
        AgenticWorkflow(ScriptedAgent([]), actions=twice)


@pytest.mark.parametrize("name", ["", "effect", "read_only", "undeclared", " a", "x" * 201, "a\nb"])
def test_a_name_that_policies_could_not_use_is_refused(name: str) -> None:
    async def run(_: object) -> None:
        """Do nothing."""

    with pytest.raises(ActionError):
        AgenticWorkflow(ScriptedAgent([]), actions=[Action(name=name, run=run)])


# Policies.


@pytest.mark.parametrize(
    "text, problem",
    [
        ("permit (principal, action resource);", r"mine\.cedar"),
        ("", r"mine\.cedar"),
        ("// nothing here", r"mine\.cedar"),
        ('permit (principal, action == Action::"nope", resource);', r"mine\.cedar:1.*nope"),
        ("permit (principal, action, resource) when { context.nope };", r"mine\.cedar:1"),
        ('permit (principal, action == Action::"act", resource) when { context.inputs.x == 1 };', r"mine\.cedar:1"),
    ],
    ids=["syntax", "empty", "comment", "action", "context", "input"],
)
def test_a_policy_file_with_a_fault_does_not_load(text: str, problem: str, tmp_path: Path) -> None:
    (file := tmp_path / "mine.cedar").write_text(text)
    with pytest.raises(PolicyError, match=problem):
        start(policies=[file])


@pytest.mark.parametrize("policies", [["missing.cedar"], [], ["."], ["\0"]])
def test_without_a_policy_nothing_starts(policies: Any, tmp_path: Path) -> None:
    with pytest.raises(PolicyError):
        start(policies=[tmp_path / one for one in policies])


# Answers.


@pytest.mark.parametrize(
    "answer",
    ["yes", True, 5, object(), [None], ["approve"], {"x": "approve"}, {"x": None}, [], {}, approve("nope"),
     {"nope": approve()}, [approve(), approve()], [approve("nope"), approve()], {5: approve()}],
    ids=lambda answer: type(answer).__name__,
)  # fmt: skip
async def test_an_answer_that_fits_no_question_is_refused_and_the_question_stays_open(answer: Any) -> None:
    workflow, act = start(REVIEWED)
    asked = await workflow.run("g")
    with pytest.raises(ReviewError):
        await workflow.resume(answer)
    assert await workflow.result(asked["thread_id"]) == asked
    assert ((await workflow.resume(approve(asked["reviews"][0]["id"])))["state"], len(act.calls)) == ("COMPLETE", 1)


async def test_an_answer_given_already_is_refused_and_says_who_gave_it() -> None:
    workflow, act = start(plan(step("a", human_review_required=True), step("b", human_review_required=True)))
    first, second = (await workflow.run("g"))["reviews"]
    await workflow.resume(approve(first["id"]))
    who = rf"The question {first['id']} was answered already, and that answer counts: .+ said approve at 2"
    with pytest.raises(ReviewError, match=who):
        await workflow.resume(reject("no", first["id"]))
    with pytest.raises(ReviewError, match="answered twice"):
        await workflow.resume([approve(second["id"]), approve(second["id"])])
    assert act.calls == []


async def test_an_answer_to_a_run_that_failed_changes_nothing() -> None:
    workflow, _ = start({}, {}, GOOD, max_iterations=2)
    failed = await workflow.run("g")
    with pytest.raises(WorkflowError):
        await workflow.resume(approve(), max_iterations=9)
    assert await workflow.result(failed["thread_id"]) == failed


# Databases.

MODES = (0o000, 0o200, 0o444)


def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    (file := tmp_path / "notes.txt").write_text("Dear diary, " * 100)
    before = file.read_bytes()
    with pytest.raises(DatabaseError, match=r"notes\.txt cannot be used: file is not a database\. Give the path"):
        start(database=file)
    assert (file.read_bytes(), list(tmp_path.iterdir())) == (before, [file])


@pytest.mark.parametrize("place", ["", "file/runs.db", "nul\0.db"], ids=["folder", "below a file", "nul"])
def test_a_path_that_can_be_no_database_is_named(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseError, match="cannot be used"):
        start(database=f"{tmp_path}/{place}")


@pytest.mark.parametrize("url", ["sqlite:///runs.db", "http://x", "mysql://me@x/y"])
def test_an_url_that_this_version_does_not_know_is_refused(url: str) -> None:
    with pytest.raises(DatabaseError, match=f"^{re.escape(url)} is no database that this version knows"):
        start(database=url.replace("me@", "me:secret@"))


@pytest.mark.parametrize(
    "settings",
    [
        "host=x password=secret",
        "sslmode=off user = me password='secret'",
        "postgresql:me:secret@x",
        "postgres:/x",
        "sslmode=off\nconnect_timeout=3\nsslpassword=secret",
        "PGPASSWORD=secret",
    ],
)
def test_settings_of_postgres_are_not_taken_for_the_name_of_a_file(
    settings: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatabaseError, match=r"^Settings of Postgres are given as a URL: postgresql://") as refused:
        start(database=settings)
    assert ("secret" in str(refused.value), list(tmp_path.iterdir())) == (False, [])


async def test_sqlites_own_name_for_memory_works_or_is_refused() -> None:
    try:
        workflow, act = start(REVIEWED, database=":memory:")
    except DatabaseError:
        return
    assert (await workflow.run("g"))["state"] == "REVIEWING"
    assert ((await workflow.resume(approve()))["state"], len(act.calls)) == ("COMPLETE", 1)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder that any user may enter, and be an ordinary user where the tests run as root."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for mode in MODES:
            start(database=folder / f"{mode}.db")
            (folder / f"{mode}.db").chmod(mode)
        root = os.getuid() == 0
        if root:
            os.setresuid(65_534, 65_534, 0)
        try:
            yield folder
        finally:
            if root:
                os.setresuid(0, 0, 0)


@pytest.mark.parametrize("mode", MODES)
def test_a_database_that_may_not_be_read_or_written_is_named(mode: int, open_folder: Path) -> None:
    file = open_folder / f"{mode}.db"
    with pytest.raises(DatabaseError, match=r"\d\.db cannot be used: .*\. Give another database"):
        start(database=file)


def test_a_database_in_a_folder_that_may_not_be_written_is_named(open_folder: Path) -> None:
    with pytest.raises(DatabaseError, match="cannot be used"):
        start(database=open_folder / "new" / "runs.db")


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[tuple[Path, sqlite3.Connection]]:
    start(database=tmp_path / "runs.db")
    connection = sqlite3.connect(tmp_path / "runs.db", isolation_level=None)
    yield tmp_path / "runs.db", connection
    connection.close()


def test_a_locked_database_is_said_to_be_locked(locked: tuple[Path, sqlite3.Connection]) -> None:
    file, other = locked
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(DatabaseError, match=r"locked\. Another program holds it; end that one or wait\."):
        start(database=file)
    other.execute("ROLLBACK")
    start(database=file)


async def test_a_workflow_opens_while_another_run_writes(tmp_path: Path) -> None:
    workflow, _ = start(GOOD, database=tmp_path / "runs.db")
    await workflow.run("g")
    with closing(sqlite3.connect(tmp_path / "runs.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = monotonic()
        start(database=tmp_path / "runs.db")
        assert monotonic() - began < 1
        other.execute("ROLLBACK")


async def test_a_request_to_a_locked_database_is_a_database_error(locked: tuple[Path, sqlite3.Connection]) -> None:
    file, other = locked
    workflow, _ = start(database=file)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(DatabaseError, match="locked"):
        workflow.request("t", "pause")


@pytest.mark.parametrize("goes_on", [True, False])
async def test_all_runs_hear_together_of_a_database_that_stays_locked_and_none_of_a_short_lock(
    *, goes_on: bool, locked: tuple[Path, sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, other = locked
    monkeypatch.setattr("agentic_workflows.journal.waiting.LOCKED_SECONDS", 1.0)
    act = RecordingAction("act", delay=0.2, read_only=False, destructive=False, open_world=False)
    workflow = AgenticWorkflow(ScriptedAgent([]), actions=[act], database=file)
    names = [f"s{at}" for at in range(8)]
    steps = plan(*(step(name, inputs={"name": name}, after=names[:at]) for at, name in enumerate(names)))
    runs = [asyncio.create_task(workflow.run("g", plan=steps, thread_id=f"t{at}")) for at in range(6)]
    await asyncio.sleep(0.6)
    other.execute("BEGIN IMMEDIATE")
    began = monotonic()
    if goes_on:
        await asyncio.sleep(0.6)
        other.execute("ROLLBACK")
        assert [(await one)["state"] for one in runs] == ["COMPLETE"] * 6
    else:
        ended = await asyncio.gather(*runs, return_exceptions=True)
        assert [type(one) for one in ended] == [DatabaseError] * 6
        assert monotonic() - began < 3
        other.execute("ROLLBACK")
        assert {(await workflow.resume(thread_id=f"t{at}"))["state"] for at in range(6)} <= {"COMPLETE", "REVIEWING"}


def test_a_database_that_is_no_longer_one_is_a_database_error(tmp_path: Path) -> None:
    workflow, act = start(database=tmp_path / "runs.db")
    for file in tmp_path.iterdir():
        file.write_bytes(b"garbage " * 1_000)
    with pytest.raises(DatabaseError, match=r"runs\.db cannot be used"):
        workflow.run_sync("g")
    assert act.calls == []


async def test_an_error_that_cannot_say_what_it_is_ends_no_run() -> None:
    class SilentError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    class Silent(ScriptedAgent):
        async def review_progress(self, goal: str, history: object) -> str:
            raise SilentError

    act = RecordingAction("act", result=1)
    plan = {"steps": [{"name": "a", "action": "act"}]}
    result = await AgenticWorkflow(Silent([SilentError(), plan]), actions=[act]).run("g")
    assert (result["state"], len(act.calls)) == ("FAILED", 1)
    assert "could not review the progress: SilentError" in result["reason"]


@pytest.mark.parametrize("goto", ["execute", "plan", "pause", ["execute", "review"], Send("execute", {})])
@pytest.mark.parametrize("answer", [None, {"decisions": [{"type": "approve"}]}])
async def test_a_command_that_says_where_a_graph_goes_is_refused_and_changes_nothing(goto: Any, answer: Any) -> None:
    act = RecordingAction("act", result=1)
    thread: Any = {"configurable": {"thread_id": "t"}}
    graph = build_graph(ScriptedAgent([REVIEWED]), actions=[act], checkpointer=InMemorySaver())
    await graph.ainvoke({"goal": "g"}, thread)
    with pytest.raises(RunError, match="where it goes"):
        await graph.ainvoke(Command(goto=goto, resume=answer), thread)
    assert not act.calls
    ended = await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), thread)
    assert (ended["status"], len(act.calls)) == ("COMPLETE", 1)


def plain(x: str) -> str:
    """Say it."""
    return x


@pytest.mark.parametrize(
    "given, kind, told",
    [
        ({"actions": plain}, ActionError, "decorate the function with @action"),
        ({"actions": 3}, ActionError, "3 is neither an action nor a LangChain tool"),
        ({"database": 3}, DatabaseError, "The database is 3. Give a file path"),
        ({"policies": 3}, PolicyError, "policies is 3. Give names of files"),
        ({"policies": [3]}, PolicyError, r"policies is \[3\]. Give names of files"),
    ],
)
def test_what_a_workflow_cannot_be_made_of_is_one_clear_error(
    given: dict[str, Any], kind: type[WorkflowError], told: str
) -> None:
    with pytest.raises(kind, match=told):
        AgenticWorkflow(ScriptedAgent([]), **{"actions": [], **given})


async def test_one_tool_need_stand_in_no_list() -> None:
    house = AgenticWorkflow(ScriptedAgent([]), actions=tool(plain))
    given = plan(step("a", "plain", inputs={"x": "hi"}, outputs=["said"]))
    asked = await house.run("g", plan=given)
    done = await house.resume(approve(), thread_id=asked["thread_id"])
    assert done["outputs"] == {"said": "hi"}
