"""An approval covers exactly one call, for a while, once; every way around that is a test here."""

# ruff: noqa: ARG001 - fakes have the parameters of what they stand for

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.types import Command

from agentic_workflows import (
    AgenticWorkflow,
    Limits,
    ReviewError,
    RunError,
    ScriptedAgent,
    approve,
    edit,
    reject,
    respond,
)
from agentic_workflows.actions.action import Action, ActionCall
from agentic_workflows.errors import ActionError
from agentic_workflows.graph.catalogue import Annotations
from agentic_workflows.graph.plan import from_json, plan_name
from agentic_workflows.graph.review import review_id
from agentic_workflows.journal.database import Database
from agentic_workflows.journal.entries import Answered
from agentic_workflows.journal.sql_journal import SqlJournal
from agentic_workflows.policies.decision import ActionRequest, Decision, PolicyEngine

HOUR, DAY = 3_600.0, 86_400.0
TO = {"type": "object", "properties": {"to": {"type": "string", "maxLength": 8}}, "required": ["to"]}


def step(name: str, to: Any, **fields: Any) -> dict[str, Any]:
    return {"name": name, "action": "send", "inputs": {"to": to}, "human_review_required": True, **fields}


def plan(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"goal": "g", "steps": list(steps)}


class House:
    """One database, what was sent, and as many workflows over it as there are processes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "runs.db"
        self.now = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
        self.sent: list[str] = []
        self.histories: list[Any] = []
        self.annotations: dict[str, Any] = {}
        self.schema: Any = TO
        self.output: Any = None
        self.fails: set[str] = set()
        self.rules = ""

    def open(self, *plans: Any, **limits: Any) -> AgenticWorkflow:
        agent = ScriptedAgent(plans)
        self.histories.append(agent.histories)
        rules = self.folder / "rules.cedar"
        rules.write_text(self.rules)
        return AgenticWorkflow(
            agent,
            actions=[self._send(), self._look()],
            policies=["default", *([rules] if self.rules else [])],
            database=Database(self.path, clock=lambda: self.now),
            limits=Limits(max_iterations=30, **limits),
        )

    async def run(self, *plans: Any, thread: str = "t", **limits: Any) -> dict[str, Any]:
        return await self.open(*plans, **limits).run("g", thread_id=thread)

    async def resume(self, answers: Any = None, *plans: Any, thread: str = "t") -> dict[str, Any]:
        return await self.open(*plans).resume(answers, thread_id=thread)

    async def write(self, asked: dict[str, Any], one: str, kind: str = "approve") -> None:
        """Write an answer into the journal behind everybody's back."""
        at = datetime.fromtimestamp(self.now, UTC).isoformat()
        row = Answered(review_id=one, run_id=asked["run_id"], answer={"type": kind}, reviewer="mallory", at=at)
        assert await Database(self.path).journal.answer(row)

    def _send(self) -> Action:
        async def run(call: ActionCall) -> str:
            self.sent.append(str(call.inputs["to"]))
            if call.inputs["to"] in self.fails:
                raise ActionError("No such mailbox.")
            return "sent"

        notes = {"destructive": False, "open_world": False, "trusted": True, **self.annotations}
        schemas = {"input_schema": self.schema, "output_schema": self.output}
        return Action(name="send", annotations=Annotations(**notes), run=run, **schemas)

    def _look(self) -> Action:
        async def run(call: ActionCall) -> list[str]:
            return ["ada", "bob"]

        notes = Annotations(read_only=True, open_world=False, trusted=True)
        return Action(name="look", annotations=notes, run=run)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def ids(result: dict[str, Any]) -> list[str]:
    return [one["id"] for one in result["reviews"]]


def approved(result: dict[str, Any]) -> dict[str, Any]:
    return {one: approve() for one in ids(result)}


ONE = plan(step("mail", "ada"))


# What exactly was approved.


async def test_an_approval_lets_exactly_this_call_through_once(house: House) -> None:
    asked = await house.run(ONE)
    assert ((await house.resume(approved(asked)))["state"], house.sent) == ("COMPLETE", ["ada"])


async def commanded(house: House, decision: dict[str, Any], **server: Any) -> dict[str, Any]:
    """Answer as Studio does."""
    workflow = house.open()
    async with workflow.database.checkpointer() as saver:
        config: RunnableConfig = {"configurable": {"thread_id": "t", **server}}
        await workflow._assemble(saver).ainvoke(Command(resume={"decisions": [decision]}), config)
    return await workflow.result("t")


async def test_an_edit_cannot_make_another_action_of_it(house: House) -> None:
    asked = await house.run(ONE)
    other = {"type": "edit", "edited_action": {"name": "delete_all", "args": {"to": "ada"}}}
    result = await commanded(house, other)
    assert (result["state"], ids(result), house.sent) == ("REVIEWING", ids(asked), [])


async def test_an_edit_runs_what_was_edited_and_not_what_was_planned(house: House) -> None:
    asked = await house.run(ONE)
    await house.resume({ids(asked)[0]: edit({"to": "bob"})})
    assert house.sent == ["bob"]


async def test_an_edit_into_what_policy_denies_never_runs(house: House) -> None:
    house.rules = (
        '@id("no-eve") forbid (principal, action == Action::"send", resource) when { context.inputs.to == "eve" };'
    )
    asked = await house.run(ONE)
    result = await house.resume({ids(asked)[0]: edit({"to": "eve"})})
    assert (result["state"], house.sent) == ("FAILED", [])
    assert "no-eve" in result["reason"]


@pytest.mark.parametrize("inputs", [{"to": "much too long"}, {}, {"to": 5}])
async def test_an_edit_that_does_not_fit_the_action_leaves_the_question_open(house: House, inputs: Any) -> None:
    asked = await house.run(ONE)
    with pytest.raises(ReviewError, match="does not fit"):
        await house.resume({ids(asked)[0]: edit(inputs)})
    assert (ids(await house.open().result("t")), house.sent) == (ids(asked), [])


async def test_a_response_that_the_action_could_not_give_leaves_the_question_open(house: House) -> None:
    house.output = {"type": "string"}
    asked = await house.run(ONE)
    with pytest.raises(ReviewError, match=r"is no result of send: .+: The result does not pass: 5 is not of"):
        await house.resume({ids(asked)[0]: respond(5)})
    told = await commanded(house, {"type": "respond", "message": 5})
    assert (told["state"], ids(told)) == ("REVIEWING", ids(asked))
    assert ((await house.resume({ids(asked)[0]: respond("sent")}))["state"], house.sent) == ("COMPLETE", [])


@pytest.mark.parametrize("typed, given", [("5", 5), ("five", None), ("NaN", None), ("[" * 100_000, None)])
async def test_what_a_person_types_is_a_result_of_the_actions_own_kind(house: House, typed: str, given: object) -> None:
    house.output = {"type": "integer"}
    asked = await house.run({"goal": "g", "steps": [{**ONE["steps"][0], "outputs": ["x"]}]})
    if given is None:
        with pytest.raises(ReviewError, match="is no result of send"):
            await house.resume({ids(asked)[0]: respond(typed)})
    else:
        told = await house.resume({ids(asked)[0]: respond(typed)})
        assert (told["state"], told["outputs"], house.sent) == ("COMPLETE", {"x": given}, [])


@pytest.mark.parametrize(
    "asks, typed, given, problem",
    [
        ({"outputs": ["a", "b"]}, '{"a": 1, "b": 2}', {"a": 1, "b": 2}, "does not have the outputs a, b by name"),
        ({"outputs": ["a"], "validation": {"type": "integer"}}, "5", {"a": 5}, 'is not of type "integer"'),
    ],
    ids=["outputs", "validation"],
)
async def test_a_response_is_what_the_step_asks_of_its_result_or_leaves_the_question_open(
    house: House, asks: dict[str, Any], typed: str, given: object, problem: str
) -> None:
    asked = await house.run({"goal": "g", "steps": [{**ONE["steps"][0], **asks}]})
    messages: list[Any] = ["sent", ["sent"]]
    for message in messages:
        with pytest.raises(ReviewError, match=f"is no result of send: .*{problem}"):
            await house.resume({ids(asked)[0]: respond(message)})
    assert ids(await commanded(house, {"type": "respond", "message": "sent"})) == ids(asked)
    told = await house.resume({ids(asked)[0]: respond(typed)})
    assert (told["state"], told["outputs"], house.sent) == ("COMPLETE", given, [])


async def test_an_edit_written_behind_the_journals_back_is_checked_where_it_runs(house: House) -> None:
    asked = await house.run(ONE)
    at = datetime.fromtimestamp(house.now, UTC).isoformat()
    answer = {"type": "edit", "edited_action": {"args": {"to": "much too long"}}}
    row = Answered(review_id=ids(asked)[0], run_id=asked["run_id"], answer=answer, reviewer="mallory", at=at)
    await Database(house.path).journal.answer(row)
    assert ((await house.resume())["state"], house.sent) == ("FAILED", [])


@pytest.mark.parametrize("guess", ["", "0" * 16, "all", "%", "*"])
async def test_a_guessed_id_answers_nothing(house: House, guess: str) -> None:
    asked = await house.run(ONE)
    with pytest.raises(ReviewError):
        await house.resume({guess: approve()})
    await house.write(asked, guess)
    again = await house.resume()
    assert (again["state"], ids(again), house.sent) == ("REVIEWING", ids(asked), [])


async def test_an_answer_with_an_id_is_for_what_was_shown_and_one_without_for_what_is_open_by_then(
    house: House,
) -> None:
    first = await house.run(plan(step("a", "ada"), step("b", "bob", after=["a"])))
    second = await house.resume(approve(ids(first)[0]))
    with pytest.raises(ReviewError, match="was answered already, and that answer counts"):
        await house.resume(approve(ids(first)[0]))
    assert (ids(second) != ids(first), house.sent) == (True, ["ada"])
    await house.resume(approve())
    assert house.sent == ["ada", "bob"]


async def test_a_truncated_id_answers_nothing(house: House) -> None:
    asked = await house.run(ONE)
    for length in (1, 8, 15):
        with pytest.raises(ReviewError):
            await house.resume({ids(asked)[0][:length]: approve()})
        await house.write(asked, ids(asked)[0][:length])
    assert ((await house.resume())["state"], house.sent) == ("REVIEWING", [])


def id_of(house: House, result: dict[str, Any], inputs: dict[str, Any], **place: Any) -> str:
    """Return the id of a question about a step of the result's plan, made as the journal's owner could make it."""
    name = plan_name(1, from_json(result["plan"]))
    where = (name, place.get("step", "mail"), place.get("item", -1))
    return review_id(result["run_id"], place.get("policy") or house.open().engine.digest, where, inputs)


async def test_an_answer_for_other_inputs_than_the_resolved_ones_does_not_count(house: House) -> None:
    looked = {"name": "look", "action": "look", "outputs": ["people"]}
    asked = await house.run(plan(looked, step("mail", "${people[0]}")))
    assert ids(asked) == [id_of(house, asked, {"to": "ada"})]
    for inputs in ({"to": "bob"}, {"to": "${people[0]}"}, {"to": "ada", "cc": "eve"}):
        await house.write(asked, id_of(house, asked, inputs))
    again = await house.resume()
    assert (again["state"], ids(again), house.sent) == ("REVIEWING", ids(asked), [])


async def test_an_approval_of_one_item_is_none_of_another(house: House) -> None:
    looked = {"name": "look", "action": "look", "outputs": ["people"]}
    asked = await house.run(plan(looked, step("mail", "${item}", foreach="${people}")))
    first, second = ids(asked)
    again = await house.resume({second: approve()})
    assert (ids(again), house.sent) == ([first], [])
    assert ((await house.resume({first: approve()}))["state"], house.sent) == ("COMPLETE", ["ada", "bob"])


async def test_equal_calls_of_two_steps_are_two_questions(house: House) -> None:
    asked = await house.run(plan(step("one", "ada"), step("two", "ada")))
    one, two = ids(asked)
    assert one != two
    result = await house.resume({one: approve(), two: respond("sent by hand")})
    assert (result["state"], house.sent) == ("COMPLETE", ["ada"])


# Under which policy, over which actions.


async def test_an_approval_under_another_policy_is_asked_for_again(house: House) -> None:
    asked = await house.run(ONE)
    house.rules = '@id("mail") forbid (principal, action == Action::"send", resource) unless { context.approved };'
    again = await house.resume(approved(asked))
    assert (again["state"], len(again["reviews"]), house.sent) == ("REVIEWING", 1, [])
    assert ids(again) != ids(asked)
    assert re.search(r"approved this step at .* under another plan, other policies", again["reviews"][0]["reason"])
    assert ((await house.resume(approved(again)))["state"], house.sent) == ("COMPLETE", ["ada"])


async def test_an_approval_does_not_pass_a_policy_that_denies_by_now(house: House) -> None:
    asked = await house.run(ONE)
    house.rules = '@id("no-mail") forbid (principal, action == Action::"send", resource);'
    await house.write(asked, id_of(house, asked, {"to": "ada"}))
    result = await house.resume(approved(asked))
    assert (result["state"], house.sent) == ("FAILED", [])
    assert "no-mail" in result["reason"]


async def test_an_approval_does_not_pass_a_limit_that_is_reached_by_now(house: House) -> None:
    house.rules = '@id("one-mail") forbid (principal, action == Action::"send", resource) when { context.count >= 1 };'
    asked = await house.run(plan(step("one", "ada"), step("two", "bob")))
    result = await house.resume(approved(asked))
    assert (result["state"], house.sent) == ("FAILED", ["ada"])
    assert "one-mail" in result["reason"]


NO_EVE = '@id("no-eve") forbid (principal, action == Action::"send", resource) when { context.inputs.to == "eve" };'
BOTH = plan(step("a", "ada"), step("b", "bob"))


@pytest.mark.parametrize("set_back", [0.0, HOUR])
@pytest.mark.parametrize("word", [reject("Not her."), edit({"to": "eva"})])
async def test_an_older_approval_that_was_not_used_does_not_count_against_the_last_word(
    house: House, word: Any, set_back: float
) -> None:
    one, two = ids(await house.run(BOTH))
    await house.resume({one: approve()})
    house.rules = NO_EVE  # other policies, as of another program, which ask about both again
    again = await house.resume({two: approve()})
    assert ([each["step"] for each in again["reviews"]], house.sent) == (["a", "b"], [])
    async with house.open()._opened("t") as run:
        house.now -= set_back
        await run.answer({ids(again)[0]: word, ids(again)[1]: approve()})
    house.rules = ""
    last = await house.resume(None, BOTH)
    assert ([each["step"] for each in last["reviews"]], house.sent) == (["a", "b"], [])
    assert ((await house.resume(approved(last)))["state"], sorted(house.sent)) == ("COMPLETE", ["ada", "bob"])


async def test_an_older_approval_that_was_not_used_does_not_count_against_silence(house: House) -> None:
    one, two = ids(await house.run(BOTH, review_seconds=HOUR))
    await house.resume({one: approve()})
    house.rules = NO_EVE
    again = await house.resume({two: approve()})
    assert [each["step"] for each in again["reviews"]] == ["a", "b"]
    house.now += HOUR + 1
    house.rules = ""
    last = await house.resume(None, BOTH)
    assert ([each["step"] for each in last["reviews"]], house.sent) == (["a", "b"], [])


@pytest.mark.parametrize("notes", [{"destructive": True}, {"open_world": True}, {"arguments": {"to": "content"}}])
async def test_an_approval_of_an_action_declared_otherwise_is_asked_for_again(house: House, notes: Any) -> None:
    asked = await house.run(ONE)
    house.annotations = notes
    again = await house.resume(approved(asked))
    assert (again["state"], house.sent) == ("REVIEWING", [])
    assert ids(again) != ids(asked)


async def test_an_approved_call_that_does_not_fit_its_action_any_more_never_runs(house: House) -> None:
    asked = await house.run(ONE)
    house.schema = {**TO, "properties": {"to": {"type": "string", "maxLength": 2}}}
    assert ((await house.resume(approved(asked)))["state"], house.sent) != ("COMPLETE", ["ada"])
    assert house.sent == []


# In which run.


async def test_an_answer_of_one_thread_is_none_of_another(house: House) -> None:
    mine, other = await house.run(ONE, thread="t"), await house.run(ONE, thread="other")
    with pytest.raises(ReviewError):
        await house.resume(approved(mine), thread="other")
    await house.resume(approved(mine), thread="t")
    again = await house.resume(thread="other")
    assert (again["state"], ids(again), house.sent) == ("REVIEWING", ids(other), ["ada"])


async def test_an_answer_row_that_names_another_run_does_not_count(house: House) -> None:
    mine, other = await house.run(ONE, thread="t"), await house.run(ONE, thread="other")
    await house.write({"run_id": mine["run_id"]}, ids(other)[0])
    assert ((await house.resume(thread="other"))["state"], house.sent) == ("REVIEWING", [])


async def test_an_answer_on_a_copied_thread_counts_nowhere(house: House) -> None:
    asked = await house.run(ONE)
    workflow = house.open()
    async with workflow.database.checkpointer() as saver:
        found = await saver.aget_tuple({"configurable": {"thread_id": "t", "checkpoint_ns": ""}})
        assert found
        copy: RunnableConfig = {"configurable": {"thread_id": "copy", "checkpoint_ns": ""}}
        await saver.aput(copy, found.checkpoint, found.metadata, found.checkpoint["channel_versions"])  # type: ignore[arg-type]
    with pytest.raises(RunError, match="is a copy"):
        await house.resume(approved(asked), thread="copy")
    with pytest.raises(RunError, match="is a copy"):
        await commanded(house, {"type": "approve"}, thread_id="copy")
    assert (ids(await house.resume()), house.sent) == (ids(asked), [])


async def test_an_answer_to_one_goal_is_none_to_the_next_on_the_same_thread(house: House) -> None:
    asked = await house.run(ONE)
    await house.resume(approved(asked))
    again = await house.run(ONE)
    assert (again["state"], house.sent) == ("REVIEWING", ["ada"])
    assert ids(again) != ids(asked)


# Once, by whichever process.


def process(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    program = Path(__file__).with_name("grant_run.py")
    return subprocess.Popen([sys.executable, program, folder, *arguments], stdout=subprocess.PIPE, text=True)


def ended(process: "subprocess.Popen[str]") -> dict[str, Any]:
    said: dict[str, Any] = json.loads(process.communicate(timeout=120)[0])
    return said


def sent_in(folder: Path) -> list[str]:
    sent = folder / "sent.txt"
    return sent.read_text().split() if sent.exists() else []


def test_an_approval_given_in_one_process_lets_another_one_act_once(tmp_path: Path) -> None:
    asked = ended(process(tmp_path, "run"))
    answered = ended(process(tmp_path, "answer", *ids(asked)))
    assert (answered["state"], answered["reviews"], sent_in(tmp_path)) == ("REVIEWING", [], [])
    assert (ended(process(tmp_path, "resume"))["state"], sent_in(tmp_path)) == ("COMPLETE", ["ada"])
    assert ended(process(tmp_path, "resume"))["error"] == "RunError"
    assert sent_in(tmp_path) == ["ada"]


def test_of_processes_that_approve_at_once_one_acts(tmp_path: Path) -> None:
    asked = ended(process(tmp_path, "run"))
    both = [process(tmp_path, "approve", *ids(asked)) for _ in range(2)]
    told = [ended(one) for one in both]
    assert sorted(bool(one.get("error")) for one in told) == [False, True]
    assert sent_in(tmp_path) == ["ada"]


async def test_a_used_approval_lets_no_second_call_through(house: House) -> None:
    house.fails = {"ada"}
    asked = await house.run(ONE, ONE, max_replans=1)
    again = await house.resume(approved(asked), ONE)
    assert (again["state"], house.sent) == ("REVIEWING", ["ada"])
    assert ids(again) != ids(asked)
    assert "expired" not in again["reviews"][0]["reason"]


async def test_an_approval_is_not_given_twice(house: House) -> None:
    asked = await house.run(plan(step("one", "ada"), step("two", "bob")))
    first, _ = ids(asked)
    await house.resume({first: approve()})
    with pytest.raises(ReviewError):
        await house.resume({first: reject("I changed my mind.")})


# For a while.


async def test_an_approval_that_expired_is_asked_for_again_and_says_so(house: House) -> None:
    asked = await house.run(plan(step("one", "ada"), step("two", "bob")))
    first, second = ids(asked)
    await house.resume({first: approve()})
    house.now += DAY + 1
    again = await house.resume({second: approve()})
    assert (again["state"], [one["step"] for one in again["reviews"]], house.sent) == ("REVIEWING", ["one"], [])
    assert ids(again)[0] not in {first, second}
    assert "approved it at 2026-01-01T00:00:00+00:00, and that expired" in again["reviews"][0]["reason"]
    assert ((await house.resume(approved(again)))["state"], house.sent) == ("COMPLETE", ["ada", "bob"])


@pytest.mark.parametrize("seconds, state", [(HOUR - 1, "COMPLETE"), (HOUR, "REVIEWING"), (30 * DAY, "REVIEWING")])
async def test_the_limit_of_the_run_says_how_long_an_approval_lasts(house: House, seconds: float, state: str) -> None:
    asked = await house.run(ONE, grant_seconds=HOUR)
    await house.write(asked, ids(asked)[0])
    house.now += seconds
    assert (await house.resume())["state"] == state
    assert house.sent == (["ada"] if state == "COMPLETE" else [])


@pytest.mark.parametrize("times", [1, 3])
async def test_an_edit_that_expired_is_no_edit_any_more(house: House, times: int) -> None:
    asked = await house.run(ONE)
    for _ in range(times):
        async with house.open()._opened("t") as run:
            await run.answer(edit({"to": "bob"}))
        house.now += DAY
        asked = await house.resume()
        assert (asked["reviews"][0]["args"], house.sent) == ({"to": "ada"}, [])
    assert ((await house.resume(approved(asked)))["state"], house.sent) == ("COMPLETE", ["ada"])


async def test_a_result_that_a_person_gave_does_not_expire(house: House) -> None:
    asked = await house.run(ONE)
    async with house.open()._opened("t") as run:
        await run.answer(respond("sent by hand", ids(asked)[0]))
    house.now += 100 * DAY
    assert ((await house.resume())["state"], house.sent) == ("COMPLETE", [])


class Late(SqlJournal):
    """A journal that is so slow that an approval expires between the decision and its transaction."""

    def __init__(self, of: SqlJournal, house: House) -> None:
        super().__init__(of._writer, clock=lambda: house.now)
        self._house = house

    async def write(self, *args: Any, until: datetime | None = None, **values: Any) -> Any:
        if until is not None:
            self._house.now = until.timestamp()
        return await super().write(*args, until=until, **values)


def slow(workflow: AgenticWorkflow, house: House) -> AgenticWorkflow:
    journal = workflow.database.journal
    assert isinstance(journal, SqlJournal)
    workflow.database.leases.journal = Late(journal, house)
    return workflow


async def test_an_approval_that_expires_before_its_intent_is_written_is_asked_for_again(house: House) -> None:
    asked = await house.run(plan(step("one", "ada"), step("two", "ada", human_review_required=False)))
    again = await slow(house.open(), house).resume(approved(asked), thread_id="t")
    assert (again["state"], [one["step"] for one in again["reviews"]], house.sent) == ("REVIEWING", ["one"], [])
    assert ((await house.resume(approved(again)))["state"], house.sent) == ("COMPLETE", ["ada", "ada"])
    past = await Database(house.path).journal.past(asked["run_id"])
    acts = [(one.intent.place.step, one.intent.occurrence) for one in past.outcomes]
    assert len(set(acts)) == 2, "each act has a key of its own"


class Pensive:
    """A policy engine that takes a day for every decision."""

    def __init__(self, engine: PolicyEngine, house: House) -> None:
        self._engine, self._house = engine, house

    def decide(self, request: ActionRequest, *, approved: bool = False) -> Decision:
        self._house.now += DAY
        return self._engine.decide(request, approved=approved)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


async def test_an_approval_that_expires_while_it_is_decided_on_is_asked_for_again(house: House) -> None:
    asked = await house.run(ONE)
    workflow = house.open()
    workflow.engine = Pensive(workflow.engine, house)  # type: ignore[assignment]  # it decides as the other one does
    again = await workflow.resume(approved(asked), thread_id="t")
    assert (again["state"], house.sent) == ("REVIEWING", [])
    assert ids(again) != ids(asked)


async def test_the_timeline_tells_which_rules_asked_about_a_call_that_was_approved(house: House) -> None:
    house.rules = '@id("board") forbid (principal, action == Action::"send", resource) unless { context.approved };'
    asked = await house.run(plan(step("a", "bob", human_review_required=False)))
    assert (await house.resume(approve()))["state"] == "COMPLETE", asked
    told = {one["step"]: one["rules"] for one in await house.open().timeline("t") if one["what"] == "intent"}
    assert told == {"a": ["board"]}


# By when an answer must come.


async def test_a_question_says_by_when_it_must_be_answered(house: House) -> None:
    asked = await house.run(ONE, review_seconds=HOUR)
    assert asked["reviews"][0]["expires"] == "2026-01-01T01:00:00+00:00"
    house.now += HOUR / 2
    assert (await house.resume())["reviews"] == asked["reviews"]


async def test_silence_until_the_deadline_is_a_rejection_when_the_run_is_next_touched(house: House) -> None:
    asked = await house.run(ONE, review_seconds=HOUR)
    house.now += HOUR
    assert (await house.open().result("t"))["state"] == "REVIEWING"
    result = await house.resume(None, plan(step("other", "bob", human_review_required=False)))
    assert (result["state"], house.sent) == ("COMPLETE", ["bob"])
    told = result["history"][0]["result"]["feedback"]
    assert told == "The deadline rejected step mail (send): Nobody answered by 2026-01-01T01:00:00+00:00."
    entry = next(one for one in await house.open().timeline("t") if one["what"] == "answer")
    assert (entry["reviewer"], entry["review_id"], entry["answer"]["type"]) == ("the deadline", ids(asked)[0], "reject")  # type: ignore[call-overload, index]  # a mapping


@pytest.mark.parametrize("answer", [approve(), edit({"to": "bob"}), respond("sent")])
async def test_an_answer_after_the_deadline_is_refused(house: House, answer: Any) -> None:
    await house.run(ONE, review_seconds=HOUR)
    house.now += HOUR
    with pytest.raises(ReviewError, match="too late"):
        await house.resume(answer)
    assert ((await house.resume())["state"], house.sent) == ("FAILED", [])


async def test_an_answer_by_command_after_the_deadline_does_not_count(house: House) -> None:
    await house.run(ONE, review_seconds=HOUR)
    house.now += HOUR
    result = await commanded(house, {"type": "approve"})
    assert (result["state"], house.sent) == ("FAILED", [])
    assert "Nobody answered by" in str(result["history"])


async def test_an_answer_before_the_deadline_counts_after_it(house: House) -> None:
    asked = await house.run(ONE, review_seconds=HOUR)
    await house.write(asked, ids(asked)[0])
    house.now += 2 * HOUR
    assert ((await house.resume())["state"], house.sent) == ("COMPLETE", ["ada"])


async def test_one_question_that_nobody_answered_rejects_the_plan_and_not_what_was_approved(house: House) -> None:
    one, two = step("one", "ada"), step("two", "bob")
    asked = await house.run(plan(one, two), review_seconds=HOUR)
    await house.resume({ids(asked)[0]: approve()})
    house.now += HOUR
    result = await house.resume(None, plan(one))
    assert (result["state"], house.sent) == ("COMPLETE", ["ada"])


async def test_silence_about_an_effect_in_doubt_decides_nothing(house: House) -> None:
    asked = await house.run(plan(step("mail", "ada", timeout=0.05)), review_seconds=HOUR)
    workflow = house.open()

    async def hanging(call: ActionCall) -> str:
        house.sent.append("perhaps")
        raise ConnectionError("lost")

    lost = AgenticWorkflow(
        workflow.agent,
        actions=[
            Action(name="send", input_schema=TO, annotations=house._send().annotations, run=hanging),
            house._look(),
        ],
        database=workflow.database,
    )
    doubtful = await lost.resume(approved(asked), thread_id="t")
    assert (doubtful["state"], doubtful["reviews"][0]["expires"]) == ("REVIEWING", None)
    house.now += 1_000 * DAY
    again = await house.resume()
    assert (again["state"], ids(again), house.sent) == ("REVIEWING", ids(doubtful), ["perhaps"])
    assert ((await house.resume(respond("sent")))["state"], house.sent) == ("COMPLETE", ["perhaps"])


# What a person said of a call, and an equal one of the next plan.


def unmarked(name: str, to: str) -> dict[str, Any]:
    return step(name, to, human_review_required=False)


@pytest.mark.parametrize("name", ["mail", "other"])
@pytest.mark.parametrize("by", ["a person", "silence"])
async def test_a_call_that_was_rejected_is_not_done_by_the_next_plan_unasked(house: House, by: str, name: str) -> None:
    asked = await house.run(ONE)
    if by == "silence":
        house.now += 8 * DAY
    again = await house.resume(reject("No.") if by == "a person" else None, plan(unmarked(name, "ada")))
    assert (again["state"], house.sent) == ("REVIEWING", [])
    assert re.search(r"last said something else of it\. .* rejected a call equal to it \(step mail\) at ", str(again))
    assert ids(again) != ids(asked)
    assert ((await house.resume(approved(again)))["state"], house.sent) == ("COMPLETE", ["ada"])


async def test_a_rejection_holds_for_every_later_plan_until_somebody_approves_an_equal_call(house: House) -> None:
    await house.run(ONE)
    again = await house.resume(reject("No."), plan(unmarked("mail", "ada")))
    third = plan(unmarked("bob", "bob"), unmarked("mail", "ada"))
    again = await house.resume(reject("No!"), third)
    assert (again["state"], [one["step"] for one in again["reviews"]], house.sent) == ("REVIEWING", ["mail"], ["bob"])
    twice = plan(step("first", "ada"), unmarked("mail", "ada"))
    again = await house.resume(reject("No!!"), twice)
    assert [one["step"] for one in again["reviews"]] == ["first", "mail"]


async def test_a_rejection_holds_for_a_plan_that_only_leaves_steps_out_under_policies_that_allow_the_call_by_now(
    house: House,
) -> None:
    house.rules = (
        '@id("ada") forbid (principal, action == Action::"send", resource) when { context.inputs.to == "ada" } '
        "unless { context.approved };"
    )
    await house.run(plan(unmarked("one", "bob"), unmarked("mail", "ada")))
    house.rules = ""
    again = await house.resume(reject("No."), plan(unmarked("mail", "ada")))
    assert (again["state"], house.sent) == ("REVIEWING", ["bob"])
    assert ((await house.resume(approved(again)))["state"], house.sent) == ("COMPLETE", ["bob", "ada"])


async def test_a_call_that_was_rejected_keeps_no_other_one_from_being_done(house: House) -> None:
    await house.run(ONE)
    done = await house.resume(reject("Not her."), plan(unmarked("mail", "bob")))
    assert (done["state"], house.sent) == ("COMPLETE", ["bob"])


@pytest.mark.parametrize(
    "answer, did, sent",
    [(edit({"to": "bob"}), "gave it other inputs at", ["bob"]), (respond("sent by hand"), "gave a result to", [])],
)
async def test_a_call_that_was_edited_or_answered_is_not_done_as_it_was_by_the_next_plan_unasked(
    house: House, answer: Any, did: str, sent: list[str]
) -> None:
    fails = {"name": "fails", "action": "look", "validation": {"type": "null"}, "after": ["mail"]}
    await house.run(plan(step("mail", "ada"), fails), max_replans=1)
    again = await house.resume(answer, plan(unmarked("mail", "ada")))
    assert (again["state"], house.sent, did in str(again["reviews"])) == ("REVIEWING", sent, True)
    rejected = await house.resume(reject("No."), plan(unmarked("mail", "bob")))
    assert (rejected["state"], house.sent[:1]) == ("COMPLETE", ["bob"])
    assert len(house.sent) == 1  # what the edit did counts as the equal call of the last plan


# What the next planner is told.


async def test_a_planner_is_told_which_items_were_done_of_a_step_that_has_not_ended(house: House) -> None:
    house.rules = (
        '@id("bob") forbid (principal, action == Action::"send", resource) when { context.inputs.to == "bob" } '
        "unless { context.approved };"
    )
    looked = {"name": "look", "action": "look", "outputs": ["people"]}
    asked = await house.run(plan(looked, step("mail", "${item}", foreach="${people}", human_review_required=False)))
    other = plan(step("other", "cyd", human_review_required=False))
    result = await house.resume({ids(asked)[0]: reject("Not him.")}, other)
    assert (result["state"], house.sent) == ("COMPLETE", ["ada", "cyd"])
    assert [one["result"]["feedback"] for one in house.histories[-1][-1] if one["step"] is None] == [
        "A reviewer rejected step mail, item 2 (send): Not him.",
        "Step mail (send) of plan 1 had not ended: item 1 succeeded.",
    ]


async def test_who_plans_and_who_is_asked_next_hear_that_a_step_was_given_other_inputs(house: House) -> None:
    fails = {"name": "fails", "action": "look", "validation": {"type": "null"}, "after": ["mail"]}
    await house.run(plan(step("mail", "ada"), fails), max_replans=1)
    again = await house.resume(edit({"to": "bob"}), plan(step("mail", "ada"), step("other", "cyd")))
    assert house.histories[-1][-1][-1]["result"] == {
        "feedback": "A reviewer gave step mail other inputs than its plan did."
    }
    first, second = (one["reason"] for one in again["reviews"])
    assert first.endswith(" gave it other inputs at 2026-01-01T00:00:00+00:00, and that answer was used.")
    assert ("other inputs" in second, house.sent) == (False, ["bob"])


async def test_a_planner_hears_of_the_items_that_were_given_other_inputs_in_one_sentence(house: House) -> None:
    looked = {"name": "look", "action": "look", "outputs": ["people"]}
    fails = {"name": "fails", "action": "look", "validation": {"type": "null"}, "after": ["mail"]}
    asked = await house.run(plan(looked, step("mail", "${item}", foreach="${people}"), fails), max_replans=1)
    edits = {one: edit({"to": f"other{number}"}) for number, one in enumerate(ids(asked))}
    result = await house.resume(edits, plan(step("other", "cyd", human_review_required=False)))
    assert (result["state"], sorted(house.sent)) == ("COMPLETE", ["cyd", "other0", "other1"])
    told = [one["result"].get("feedback") for one in house.histories[-1][-1] if one["step"] is None]
    assert [one for one in told if one] == ["A reviewer gave items 1, 2 of step mail other inputs than its plan did."]


async def test_a_planner_hears_each_time_that_a_step_of_one_name_was_given_other_inputs(house: House) -> None:
    fails = {"name": "fails", "action": "look", "validation": {"type": "null"}, "after": ["mail"]}
    await house.run(plan(step("mail", "ada"), fails), max_replans=2)
    await house.resume(edit({"to": "bob"}), plan(step("mail", "cyd"), fails))
    last = plan(step("other", "dan", human_review_required=False))
    result = await house.resume(edit({"to": "eve"}), last)
    assert (result["state"], house.sent) == ("COMPLETE", ["bob", "eve", "dan"])
    told = [one["result"].get("feedback") for one in house.histories[-1][-1] if one["step"] is None]
    assert [one for one in told if one] == [
        "A reviewer gave step mail other inputs than its plan did.",
        "A reviewer gave step mail other inputs than its plan did, 2 times.",
    ]


# What was approved of a plan that was replaced.

A, B, C = step("a", "ada"), step("b", "bob"), step("c", "cyd")


async def rejected(house: House, earlier: Sequence[Any], later: Sequence[Any], no: str) -> dict[str, Any]:
    """Approve all of a plan but one step, which is rejected, and go on with another plan."""
    asked = await house.run(plan(*earlier))
    answers = {one["id"]: reject("no") if one["step"] == no else approve() for one in asked["reviews"]}
    return await house.resume(answers, plan(*later))


@pytest.mark.parametrize("later", [[A, B], [A], [B]])
async def test_a_plan_that_only_leaves_steps_out_asks_nothing_again(house: House, later: Sequence[Any]) -> None:
    result = await rejected(house, [A, B, C], later, no="c")
    assert (result["state"], house.sent) == ("COMPLETE", [one["inputs"]["to"] for one in later])


@pytest.mark.parametrize(
    "later",
    [
        [A, B, step("d", "dan")],
        [A, step("b", "eve")],
        [{**A, "name": "a2"}, B],
        [A, {**B, "outputs": ["b"]}],
        [A, {**B, "after": ["a"]}],
        [A, {**B, "timeout": 5}],
        [B, A],
        [A, B, B | {"name": "b2"}],
    ],
    ids=["one more", "other inputs", "another name", "outputs", "after", "timeout", "another order", "twice"],
)
async def test_a_plan_with_anything_else_asks_all_of_it_again(house: House, later: Sequence[Any]) -> None:
    result = await rejected(house, [A, B, C], later, no="c")
    askable = [one["name"] for one in later if "after" not in one]
    assert ([one["step"] for one in result["reviews"]], house.sent) == (askable, [])


async def test_a_rejected_step_that_comes_back_is_asked_about_again(house: House) -> None:
    result = await rejected(house, [A, C], [A, C], no="c")
    assert ([one["step"] for one in result["reviews"]], house.sent) == (["c"], ["ada"])


async def test_a_step_that_came_back_makes_the_plan_wider(house: House) -> None:
    first = await house.run(plan(A, B, C))
    second = await house.resume({ids(first)[2]: reject("no")}, plan(A, B))
    third = await house.resume({ids(second)[1]: reject("no"), ids(second)[0]: approve()}, plan(A, C))
    assert ([one["step"] for one in third["reviews"]], house.sent) == (["a", "c"], [])


async def test_after_a_failed_step_what_was_approved_and_not_used_still_counts(house: House) -> None:
    house.fails = {"ada"}
    asked = await house.run(plan(A, B), max_replans=1)
    result = await house.resume(approved(asked), plan(B))
    assert (result["state"], house.sent) == ("COMPLETE", ["ada", "bob"])


async def test_a_plan_made_after_untrusted_output_is_another_plan(house: House) -> None:
    asked = await house.run(plan(A, B))
    later = from_json(plan(A))
    object.__setattr__(later, "saw_untrusted", True)
    result = await house.resume({ids(asked)[1]: reject("no"), ids(asked)[0]: approve()}, later)
    assert (result["state"], len(result["reviews"]), house.sent) == ("REVIEWING", 1, [])


async def test_what_was_approved_of_an_earlier_plan_expires_like_everything(house: House) -> None:
    asked = await house.run(plan(A, B))
    one, two = ids(asked)
    await house.resume({one: approve()})
    house.now += 2 * DAY
    result = await house.resume({two: reject("no")}, plan(A))
    assert (result["state"], [each["step"] for each in result["reviews"]], house.sent) == ("REVIEWING", ["a"], [])


async def test_a_refused_plan_between_two_plans_widens_nothing(house: House) -> None:
    asked = await house.run(plan(A, B))
    refused, kept = plan(A, {"name": "x", "action": "unknown"}), plan(A)
    result = await house.resume({ids(asked)[1]: reject("no"), ids(asked)[0]: approve()}, refused, kept)
    assert (result["state"], house.sent) == ("COMPLETE", ["ada"])


# Who, and when.


@pytest.mark.parametrize(
    "user, reviewer", [(SimpleNamespace(identity="ada@example.org"), "ada@example.org"), (None, "")]
)
async def test_an_answer_on_a_server_names_the_user_that_the_server_knows(
    house: House, user: object, reviewer: str
) -> None:
    asked = await house.run(ONE)
    await commanded(house, {"type": "approve"}, langgraph_auth_user=user)
    past = await Database(house.path).journal.past(asked["run_id"])
    assert (past.answers[ids(asked)[0]].reviewer, house.sent) == (reviewer, ["ada"])


async def test_the_timeline_says_who_answered_and_when(house: House) -> None:
    asked = await house.run(ONE)
    house.now += HOUR
    await house.resume(approved(asked))
    (entry,) = [one for one in await house.open().timeline("t") if one["what"] == "answer"]
    assert (entry["at"], bool(entry["reviewer"])) == ("2026-01-01T01:00:00+00:00", True)
