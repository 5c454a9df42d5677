"""An effect in doubt is settled before anything else is planned, and the planner is told how."""

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import tool
from pydantic import BaseModel, computed_field

from agentic_workflows import (
    ActionError,
    AgenticWorkflow,
    Limits,
    ReviewError,
    ScriptedAgent,
    WorkflowStep,
    action,
    approve,
    edit,
    reject,
    respond,
)
from agentic_workflows.actions.action import ActionCall, Found
from agentic_workflows.graph.events import ReviewAnswered
from agentic_workflows.journal.database import Database
from agentic_workflows.journal.timeline import is_settled
from agentic_workflows.testing import RecordingAction


def step(name: str, action: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "action": action, "inputs": {"text": name}, **fields}


def plan(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"goal": "g", "steps": list(steps)}


LOST, BROKEN, ASKED = step("mail", "lost"), step("broken", "broken"), step("asked", "fine", human_review_required=True)
OTHERWISE = plan(step("otherwise", "fine"))
CANCELLED = "Cancelled on request. Step mail may have happened; nobody knows."


class Slow:
    """An action that is cut, and goes on in a thread; what its `reconcile` says is right only afterwards."""

    def __init__(self) -> None:
        self.sent: list[str] = []

        @action(destructive=False, open_world=False, reconcile=self._find)
        def slow(text: str) -> str:
            """Send, slowly."""
            time.sleep(0.6)
            self.sent.append(text)
            return "sent"

        self.action = replace(slow, resources=lambda inputs: [str(inputs)])

    async def _find(self, call: ActionCall) -> Found | None:
        return Found(result="found") if call.inputs["text"] in self.sent else None


class House:
    """One database, and as many workflows over it as there are processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.agent = ScriptedAgent([])
        self.kind = AgenticWorkflow
        self.slow = Slow()
        self.lost = self.action("lost", error=ConnectionError("gateway"))
        self.fine, self.broken = self.action("fine", result="done"), self.action("broken", error=ValueError("no"))

    @staticmethod
    def action(name: str, **fields: Any) -> RecordingAction:
        return RecordingAction(
            name, resources=lambda inputs: [str(inputs)], read_only=False, destructive=False, trusted=True, **fields
        )

    def open(self, *plans: Any, policies: Any = None, **limits: Any) -> AgenticWorkflow:
        self.agent = ScriptedAgent(plans)
        return self.kind(
            self.agent,
            actions=[self.lost, self.fine, self.broken, self.slow.action],
            database=self.path,
            policies=policies,
            limits=Limits(**{"max_replans": 1, "max_iterations": 30, **limits}),
        )

    async def resume(self, answers: Any, *plans: Any, **fields: Any) -> dict[str, Any]:
        return await self.open(*plans, **fields).resume(answers, thread_id="t")

    @property
    def sent(self) -> list[Any]:
        return [call["text"] for call in (*self.lost.calls, *self.fine.calls)]

    @property
    def told(self) -> list[tuple[Any, Any]]:
        """What the planner was told of each step at last, and every word to it beside."""
        entries = self.agent.histories[-1]
        return [(one["step"], one["status"] if one["step"] else one["result"]) for one in entries]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "runs.db")


def open_steps(result: dict[str, Any]) -> list[str]:
    return [question["step"] for question in result["reviews"]]


@pytest.mark.parametrize(
    "lost, schema", [(LOST, {"type": "string"}), ({**LOST, "outputs": ["a", "b"]}, None)], ids=["action", "step"]
)
async def test_a_result_that_nobody_can_use_settles_no_doubt(
    house: House, lost: dict[str, Any], schema: dict[str, Any] | None
) -> None:
    """Written down as what happened, it would fail every later plan that does the same."""
    house.lost = house.action("lost", error=ConnectionError("gateway"), output_schema=schema)
    asked = await house.open(plan(lost, ASKED)).run("g", thread_id="t")
    doubt, other = (one["id"] for one in sorted(asked["reviews"], key=lambda one: one["name"] != "lost"))
    with pytest.raises(ReviewError, match="is no result of lost"):
        await house.resume({doubt: respond(5), other: reject()})
    assert sorted(open_steps(await house.open().result("t"))) == ["asked", "mail"]


@pytest.mark.parametrize(
    "answer, sent, status",
    [
        (respond("sent"), ["mail", "otherwise"], "succeeded"),
        (reject("Leave it."), ["mail", "otherwise"], None),
    ],
)
async def test_a_failure_beside_an_effect_in_doubt_waits_until_that_is_settled(
    house: House, answer: Any, sent: list[str], status: str | None
) -> None:
    asked = await house.open(plan(LOST, BROKEN), OTHERWISE).run("g", thread_id="t")
    assert (asked["state"], open_steps(asked), len(house.agent.histories)) == ("REVIEWING", ["mail"], 1)
    done = await house.resume(answer, OTHERWISE)
    assert (done["state"], done["replans"], house.sent) == ("COMPLETE", 1, sent)
    told = dict(house.told)
    assert told["broken"] == "failed"
    assert told.get("mail") == (status or "failed")
    assert status or "gave up step mail (lost), which may have happened: Leave it." in str(house.told)


@pytest.mark.parametrize("most", [0, 1])
async def test_a_failed_item_beside_one_in_doubt_waits_until_that_is_settled(house: House, most: int) -> None:
    def pays(inputs: dict[str, Any]) -> str:
        raise ConnectionError("gone") if inputs["text"] == "lost" else ValueError("no such account")

    house.fine, house.lost = house.action("fine", result=["lost", "broken"]), house.action("lost", result=pays)
    items = step("pay", "lost", foreach="${names}", inputs={"text": "${item}"})
    first = plan(step("names", "fine", outputs=["names"]), items)
    asked = await house.open(first, OTHERWISE, max_replans=most).run("g", thread_id="t")
    assert (asked["state"], open_steps(asked), len(house.agent.histories)) == ("REVIEWING", ["pay"], 1)
    done = await house.resume(respond("sent"), OTHERWISE, max_replans=most)
    assert done["state"] == ("COMPLETE" if most else "FAILED")
    assert [call["text"] for call in house.lost.calls] == ["lost", "broken"]
    assert "1 of 2 items failed. item 2: lost raised ValueError: no such account" in str(done)


async def test_an_effect_in_doubt_is_done_again_where_somebody_says_so_although_its_plan_failed(house: House) -> None:
    await house.open(plan(LOST, BROKEN)).run("g", thread_id="t")
    house.lost = house.action("lost", result="sent")
    done = await house.resume(approve(), OTHERWISE)
    assert (done["state"], house.sent) == ("COMPLETE", ["mail", "otherwise"])
    assert dict(house.told)["mail"] == "succeeded"


async def test_a_planner_is_promised_nothing_of_what_was_to_be_done_again_beside_a_rejection(house: House) -> None:
    asked = await house.open(plan(LOST, ASKED, {**ASKED, "name": "kept"})).run("g", thread_id="t")
    ids = {question["step"]: question["id"] for question in asked["reviews"]}
    answers = {ids["mail"]: approve(), ids["kept"]: approve(), ids["asked"]: reject("no")}
    doubtful = await house.resume(answers, OTHERWISE)
    assert [bool(one["replaced"]) for one in doubtful["reviews"]] == [True]  # so the approval counts no more
    done = await house.resume(respond("sent"), OTHERWISE)
    assert (done["state"], "(kept) still counts" in str(house.told)) == ("COMPLETE", True)


async def test_what_was_to_be_done_again_is_not_where_somebody_gave_it_up_since(house: House, tmp_path: Path) -> None:
    asked = await house.open(plan(LOST, ASKED)).run("g", thread_id="t")
    ids = {question["step"]: question["id"] for question in asked["reviews"]}
    await house.resume({ids["mail"]: approve()})
    other = tmp_path / "other.cedar"
    other.write_text('@id("no-slow") forbid (principal, action == Action::"slow", resource);')
    again = await house.resume({ids["asked"]: approve()}, policies=["default", other])
    assert sorted(open_steps(again)) == ["asked", "mail"]
    doubt = next(question["id"] for question in again["reviews"] if question["in_doubt"])
    last = await house.resume({doubt: reject("It did arrive.")}, plan(LOST))
    assert (last["state"], open_steps(last), house.sent) == ("REVIEWING", ["mail"], ["mail"])


@pytest.mark.parametrize("answer, state", [(respond("sent"), "COMPLETE"), (approve(), "REVIEWING")])
async def test_that_an_effect_happened_counts_under_any_policies_and_that_it_is_to_be_done_again_does_not(
    house: House, tmp_path: Path, answer: Any, state: str
) -> None:
    await house.open(plan(LOST)).run("g", thread_id="t")
    other = tmp_path / "other.cedar"
    other.write_text('@id("mail") forbid (principal, action == Action::"lost", resource) unless { context.approved };')
    result = await house.resume(answer, policies=["default", other])
    assert (result["state"], house.sent) == (state, ["mail"])
    assert all("approved this step at" in one["reason"] for one in result["reviews"])
    past = await Database(house.path).journal.past(result["run_id"])
    assert [row.used for row in past.answers.values()] == [state == "COMPLETE"]


async def test_an_answer_about_a_call_takes_nothing_from_what_was_said_of_its_effect_in_doubt(house: House) -> None:
    await house.open(plan({**LOST, "human_review_required": True})).run("g", thread_id="t")
    await house.resume(approve())
    house.lost = RecordingAction("lost", result="sent", read_only=True, trusted=True)  # it has no effect by now
    doubtful = await house.resume(approve())  # it was asked under what was declared before, and is asked again
    assert [bool(one["in_doubt"]) for one in doubtful["reviews"]] == [True]
    again = await house.resume(approve())
    assert [bool(one["in_doubt"]) for one in again["reviews"]] == [False]
    assert ((await house.resume(approve()))["state"], house.sent) == ("COMPLETE", ["mail"])


async def test_a_run_that_fails_for_good_says_what_may_have_happened(house: House) -> None:
    done = await house.open(plan(LOST, BROKEN), max_replans=0).run("g", thread_id="t")
    assert done["state"] == "FAILED"
    assert done["reason"].endswith("Step mail may have happened; nobody knows.")


@pytest.mark.parametrize("is_asked", [True, False])
async def test_a_run_that_is_cancelled_says_what_may_have_happened(
    house: House,
    is_asked: bool,  # noqa: FBT001
) -> None:
    await house.open(plan(LOST, ASKED)).run("g", thread_id="t")
    if is_asked:  # and whoever goes on with it honours that
        house.open().request("t", "cancel")
    done = await (house.open().resume(None, thread_id="t") if is_asked else house.open().cancel("t"))
    assert (done["state"], done["reason"]) == ("FAILED", CANCELLED)


async def test_a_run_that_ended_with_an_effect_in_doubt_keeps_no_other_one_from_its_thread(house: House) -> None:
    await house.open(plan(LOST, BROKEN), max_replans=0).run("g", thread_id="t")
    other = await house.open(OTHERWISE).run("another", thread_id="t")
    assert (other["state"], other["goal"], house.sent) == ("COMPLETE", "another", ["mail", "otherwise"])


async def test_a_run_that_is_cancelled_does_not_say_that_nobody_knows_what_somebody_said(house: House) -> None:
    asked = await house.open(plan(LOST, step("other", "lost"))).run("g", thread_id="t")
    other = next(question["id"] for question in asked["reviews"] if question["step"] == "other")
    assert open_steps(await house.resume(respond("sent", other))) == ["mail"]
    assert (await house.open().cancel("t"))["reason"] == CANCELLED


async def test_a_run_that_is_cancelled_while_it_runs_says_what_may_have_happened(house: House) -> None:
    def asks(inputs: dict[str, Any]) -> str:
        workflow.database.leases.ask("t", "cancel")
        raise ConnectionError(f"gateway, after {inputs}")

    house.lost = house.action("lost", result=asks)
    workflow = house.open(plan(LOST, step("later", "fine", after=["mail"])))
    done = await workflow.run("g", thread_id="t")
    assert (done["state"], done["reason"]) == ("FAILED", CANCELLED)


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("answer, word", [(respond("sent"), "happened"), (reject("No."), "gave up step mail")])
async def test_a_rejection_beside_an_effect_in_doubt_waits_until_that_is_settled(
    house: House,
    at_once: bool,  # noqa: FBT001
    answer: Any,
    word: str,
) -> None:
    asked = await house.open(plan(LOST, ASKED, step("too", "fine", human_review_required=True))).run("g", thread_id="t")
    ids = {question["step"]: question["id"] for question in asked["reviews"]}
    assert set(ids) == {"mail", "asked", "too"}
    answers = {ids["asked"]: reject("Not this."), **({ids["mail"]: answer} if at_once else {})}
    result = await house.resume(answers, OTHERWISE)
    if not at_once:
        assert (result["state"], open_steps(result), house.agent.histories) == ("REVIEWING", ["mail"], [])
        result = await house.resume(answer, OTHERWISE)
    assert (result["state"], house.sent) == ("COMPLETE", ["mail", "otherwise"])
    assert word in str(house.told)
    assert "rejected step asked" in str(house.told)


async def test_what_was_said_of_a_doubt_counts_although_another_one_stayed_open_after_a_rejection(house: House) -> None:
    too = step("too", "fine", human_review_required=True)
    asked = await house.open(plan(LOST, step("also", "lost"), ASKED, too)).run("g", thread_id="t")
    ids, told = {question["step"]: question["id"] for question in asked["reviews"]}, list[str]()
    for name, answer in [("mail", respond("sent")), ("asked", reject("Not this.")), ("also", respond("sent, too"))]:
        assert name in open_steps(await house.open().result("t"))
        async for event in house.open(OTHERWISE).resume_stream({ids[name]: answer}, thread_id="t"):
            told += [event.step] if isinstance(event, ReviewAnswered) else []
    done = await house.open().result("t")
    assert (done["state"], house.sent) == ("COMPLETE", ["mail", "also", "otherwise"])
    assert sorted(told) == ["also", "asked", "mail"]
    said = [one["result"]["feedback"] for one in done["history"] if one["step"] is None]
    assert said == [
        "A reviewer rejected step asked (fine): Not this.",
        "A reviewer says that step mail (lost) happened, which was in doubt.",
        "A reviewer says that step also (lost) happened, which was in doubt.",
    ]


@pytest.mark.parametrize("reconciles", [False, True])
async def test_what_was_said_of_a_doubt_counts_although_its_plan_failed_before_it_came_to_that(
    house: House,
    reconciles: bool,  # noqa: FBT001
) -> None:
    def fails(inputs: dict[str, Any]) -> str:
        return "done" if inputs["text"] == "otherwise" else str(1 / 0)

    heard = iter([OSError("no route")])

    async def finds(_: ActionCall) -> None:  # nothing: what a person said counts all the same
        if error := next(heard, None):
            raise error

    house.fine = house.action("fine", result=fails)
    object.__setattr__(house.lost, "reconcile", finds if reconciles else None)
    asked = await house.open(plan(ASKED, LOST)).run("g", thread_id="t")
    ids = {question["step"]: question["id"] for question in asked["reviews"]}
    answers = {ids["mail"]: respond("sent"), ids["asked"]: edit({"text": "mail"})}  # now it comes before the mail
    done = await house.resume(answers, OTHERWISE)
    assert (done["state"], open_steps(done), [call["text"] for call in house.lost.calls]) == ("COMPLETE", [], ["mail"])
    assert "A reviewer says that step mail (lost) happened, which was in doubt." in str(house.told)


NAMES = step("names", "fine", outputs=["names"])
EACH = step("pay", "lost", foreach="${names}", inputs={"text": "${item}"})


@pytest.mark.parametrize(
    "failing, told", [(1, "item 1 failed, "), (22, f"items {', '.join(map(str, range(1, 21)))} and 2 more failed, ")]
)
async def test_a_given_plan_that_ends_with_an_item_given_up_says_what_the_others_came_to(
    house: House, failing: int, told: str
) -> None:
    def pays(inputs: dict[str, Any]) -> str:
        raise ConnectionError("gone") if inputs["text"] == "lost" else ValueError("no such account")

    names: list[object] = [*map(str, range(failing)), "lost"]
    house.fine, house.lost = house.action("fine", result=names), house.action("lost", result=pays)
    await house.open().run("g", plan=plan(NAMES, EACH), thread_id="t")
    done = await house.resume(reject("Leave it."))
    assert done["reason"] == (
        f"The given plan cannot be planned again. A reviewer gave up step pay, item {failing + 1} (lost), which may "
        f"have happened: Leave it. Step pay (lost) of plan 1 had not ended: {told}item {failing + 1} may have happened."
    )


async def test_what_happened_as_somebody_said_is_not_done_again_by_the_next_plan(house: House) -> None:
    asked = await house.open(plan(LOST, ASKED)).run("g", thread_id="t")
    ids = {question["step"]: question["id"] for question in asked["reviews"]}
    await house.resume({ids["asked"]: reject("Not this."), ids["mail"]: respond("sent")}, plan(LOST, BROKEN))
    assert house.sent == ["mail"]


async def test_what_happened_as_somebody_said_of_a_refused_effect_is_not_asked_about_again(house: House) -> None:
    house.lost = house.action("lost", result=object())
    again = [step(name, "lost", inputs={"text": "mail"}) for name in ("again", "once more")]
    asked = await house.open(plan(LOST), plan(again[0], ASKED), max_replans=2).run("g", thread_id="t")
    ids = {question["step"]: question["id"] for question in asked["reviews"]}
    answers = {ids["again"]: respond("sent"), ids["asked"]: reject("Not this.")}
    done = await house.resume(answers, plan(again[1]), max_replans=2)
    assert (done["state"], done["history"][-1]["result"], house.sent) == ("COMPLETE", "sent", ["mail"])


@pytest.mark.parametrize("by", ["found", "answered"])
async def test_the_timeline_tells_how_and_when_an_effect_in_doubt_was_settled(by: str) -> None:
    async def find(_: ActionCall) -> Found | None:
        return Found(result="sent")

    @action(destructive=False, open_world=False, reconcile=find if by == "found" else None)
    async def send(text: str) -> str:
        """Send it."""
        raise ConnectionError(text)

    workflow = AgenticWorkflow(ScriptedAgent([plan(step("mail", "send"))]), actions=[send])
    await workflow.run("g", thread_id="t")
    if by == "answered":
        await workflow.resume(respond("sent"), thread_id="t")
    *told, last = [one for one in await workflow.timeline("t") if one["what"] in {"intent", "answer", "outcome"}]
    assert [one["what"] for one in told] == ["intent"] + ["answer"] * (by == "answered")
    assert (last["what"], last["status"], last["result"], last["settlement"]) == ("outcome", "succeeded", "sent", by)
    assert str(last["at"]) >= str(told[-1]["at"])


def in_a_circle() -> dict[str, Any]:
    """Return what has no end as JSON."""
    circle: dict[str, Any] = {}
    circle["self"] = circle
    return circle


class Halfway(BaseModel):
    """Raises as it is written."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def last(self) -> int:
        """Raise."""
        raise KeyError("last")


@pytest.mark.parametrize("kind", [action, tool])
@pytest.mark.parametrize(
    "annotation, result",
    [(bytes, b"\xff"), (dict[str, Any], in_a_circle()), (Halfway, Halfway()), (Any, object()), (float, nan)],
    ids=["bytes", "a circle", "a model that raises", "no JSON", "no number"],
)
async def test_an_effect_whose_result_cannot_be_written_is_not_done_again_unasked(
    annotation: Any, result: Any, kind: Any
) -> None:
    def send(text: str) -> Any:
        """Send it."""
        done.append(text)
        return result

    send.__annotations__["return"] = annotation
    done, plans = list[str](), [plan(step("mail", "send")), plan(step("again", "send", inputs={"text": "mail"}))]
    workflow = AgenticWorkflow(ScriptedAgent(plans), actions=[kind(send)], limits=Limits(max_replans=2))
    await workflow.run("g", thread_id="t")
    ended = await workflow.resume(approve(), thread_id="t")
    (question,) = ended["reviews"]
    assert (done, question["step"], "may have happened" in question["reason"]) == (["mail"], "again", True)


class Checked(AgenticWorkflow):
    """Has a use for one result only, which no plan says."""

    def validate_result(self, step: WorkflowStep, result: object) -> bool:  # noqa: ARG002 - its shape
        return result != "sent"


PAIR = {**LOST, "outputs": ["a", "b"]}
NUMBER = {**LOST, "validation": {"type": "integer"}}


async def given(house: House, by: str, *plans: Any) -> dict[str, Any]:
    """Return the run with the next plans, once a person gave a result of an effect that was in doubt: `sent`."""
    if by == "after its result was refused":
        house.lost = house.action("lost", result=object())
        asked = await house.open(plan(LOST), plan(LOST, ASKED), max_replans=9).run("g", thread_id="t")
    elif by == "of its own plan":
        await house.open(plan(LOST, {**BROKEN, "after": ["mail"]}), max_replans=9).run("g", thread_id="t")
        return await house.resume(respond("sent"), *plans)
    else:
        asked = await house.open(plan(LOST, ASKED), max_replans=9).run("g", thread_id="t")
    ids = {question["step"]: question["id"] for question in asked["reviews"]}
    if by == "of a replaced plan":
        await house.resume({ids["mail"]: approve(), ids["asked"]: reject("Not this.")})
        return await house.resume(respond("sent"), *plans)
    return await house.resume({ids["mail"]: respond("sent"), ids["asked"]: reject("Not this.")}, *plans)


GIVEN = ["of a replaced plan", "of its own plan", "beside a rejection", "after its result was refused"]


@pytest.mark.parametrize("by", GIVEN)
@pytest.mark.parametrize(
    "more, fits, problem",
    [
        (PAIR, {"a": 1, "b": 2}, "mail.outputs: The result is a str that does not have the outputs a, b by name."),
        (NUMBER, 5, "mail.validation: The result does not pass: "),
    ],
    ids=["outputs", "validation"],
)
async def test_a_result_that_a_person_gave_and_a_later_step_cannot_use_is_asked_for_again(
    house: House, by: str, more: dict[str, Any], fits: Any, problem: str
) -> None:
    asked = await given(house, by, plan(more))
    assert (asked["state"], open_steps(asked)) == ("REVIEWING", ["mail"])
    (question,) = asked["reviews"]
    assert re.match(r"It was begun at 20\S+ and may have happened; this is known of it: ", question["reason"])
    assert problem in question["reason"]
    assert (bool(question["in_doubt"]), question["expires"], question["replaced"]) == (True, None, False)
    with pytest.raises(ReviewError, match="is no result of lost"):
        await house.resume(respond("sent"))
    done = await house.resume(respond(fits))
    assert (done["state"], done["history"][-1]["result"]) == ("COMPLETE", fits)
    assert [call["text"] for call in house.lost.calls] == ["mail"]


async def test_a_result_that_a_person_gave_and_a_check_of_a_subclass_refuses_is_asked_for_again(house: House) -> None:
    house.kind = Checked
    asked = await given(house, "of a replaced plan", plan(LOST))
    for _ in range(2):  # what nobody can use is asked about as often as it is given
        assert (asked["state"], open_steps(asked)) == ("REVIEWING", ["mail"])
        assert "mail: validate_result refused the result." in asked["reviews"][0]["reason"]
        asked = await house.resume(respond("sent"))
    done = await house.resume(respond("by hand"))
    assert (done["state"], done["history"][-1]["result"], house.sent) == ("COMPLETE", "by hand", ["mail"])


async def test_a_result_of_a_doubt_that_a_subclass_refuses_ends_no_run_that_cannot_be_planned_again(
    house: House,
) -> None:
    house.kind = Checked
    await house.open().run("g", plan=plan(LOST), thread_id="t")
    asked = await house.resume(respond("sent"))
    assert "this is known of it: mail: validate_result refused the result." in asked["reviews"][0]["reason"]
    asked = await house.resume(None)  # nobody answers
    assert (asked["state"], open_steps(asked)) == ("REVIEWING", ["mail"])
    done = await house.resume(respond("by hand"))
    assert (done["state"], done["history"][-1]["result"], house.sent) == ("COMPLETE", "by hand", ["mail"])


async def test_an_effect_whose_given_result_fits_no_more_is_done_again_where_a_person_says_so(house: House) -> None:
    asked = await given(house, "of a replaced plan", plan(PAIR))
    before, house.lost = house.sent, house.action("lost", result={"a": 1, "b": 2})
    done = await house.resume(approve(asked["reviews"][0]["id"]))
    assert (done["state"], [*before, *house.sent]) == ("COMPLETE", ["mail", "mail"])
    told = await house.open().timeline("t")
    assert len({str(one["idempotency_key"]) for one in told if one["what"] == "intent"}) == 1


async def test_an_effect_whose_given_result_fits_no_more_stays_with_that_where_a_person_gives_it_up(
    house: House,
) -> None:
    await given(house, "of a replaced plan", plan(PAIR))
    again = await house.resume(reject("Leave it."), plan(PAIR))
    assert (again["state"], open_steps(again)) == ("REVIEWING", ["mail"])
    done = await house.resume(reject("Leave it."), plan(LOST))
    assert (done["state"], done["history"][-1]["result"], house.sent) == ("COMPLETE", "sent", ["mail"])


@pytest.mark.parametrize("beside", [True, False])
async def test_the_last_result_that_a_person_gave_of_an_effect_is_that_which_counts(
    house: House,
    beside: bool,  # noqa: FBT001
) -> None:
    other, last = (ASKED, "no") if beside else ({**BROKEN, "after": ["mail"]}, "")
    asked = await given(house, "of a replaced plan", plan(PAIR, other))
    ids = {question["step"]: question["id"] for question in asked["reviews"]}
    answers = {ids["mail"]: respond({"a": 1, "b": 2}), **({ids["asked"]: reject(last)} if beside else {})}
    done = await house.resume(answers, plan(PAIR))
    assert (done["state"], done["history"][-1]["result"], house.sent) == ("COMPLETE", {"a": 1, "b": 2}, ["mail"])


async def test_an_item_whose_given_result_fits_no_more_is_asked_about_by_itself(house: House) -> None:
    def pays(inputs: dict[str, Any]) -> str:
        raise ConnectionError("gone") if inputs["text"] == "lost" else ValueError("no such account")

    house.fine, house.lost = house.action("fine", result=["lost", "broken"]), house.action("lost", result=pays)
    await house.open(plan(NAMES, EACH), max_replans=9).run("g", thread_id="t")
    house.fine = house.action("fine", result=["lost"])
    names = {**NAMES, "inputs": {"text": "others"}}
    asked = await house.resume(respond("sent"), plan(names, {**EACH, "validation": {"type": "integer"}}))
    assert [(one["step"], one["item"]) for one in asked["reviews"]] == [("pay", 0)]
    done = await house.resume(respond("5"))
    assert (done["state"], done["history"][-1]["result"]) == ("COMPLETE", [5])
    assert [call["text"] for call in house.lost.calls] == ["lost", "broken"]


KILLED = """
import json, os, signal, sys
from pathlib import Path
from agentic_workflows import AgenticWorkflow, Limits, ScriptedAgent, action, approve, respond

folder, plans, answer = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])

@action(destructive=False, open_world=False)
def lost(text: str) -> object:
    with (folder / "sent").open("a") as lines:
        lines.write(text + " ")
    os.kill(os.getpid(), signal.SIGKILL)

@action(destructive=False, open_world=False)
def broken(text: str) -> str:
    raise ValueError("no")

workflow = AgenticWorkflow(
    ScriptedAgent(plans), actions=[lost, broken], database=folder / "x.db", limits=Limits(max_replans=9)
)
if answer is None:
    result = workflow.run_sync("g", thread_id="t") if plans else workflow.resume_sync(thread_id="t")
else:
    result = workflow.resume_sync(approve() if answer == "again" else respond(answer), thread_id="t")
print(json.dumps([result["state"], [one["in_doubt"][1:] for one in result["reviews"]], result["history"][-1:]]))
"""


def test_an_effect_whose_given_result_fits_no_more_outlives_every_kill(tmp_path: Path) -> None:
    def process(answer: Any, *plans: Any) -> Any:
        command = [sys.executable, "-c", KILLED, str(tmp_path), json.dumps(plans), json.dumps(answer)]
        ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert ended.returncode in {0, -signal.SIGKILL}, ended.stderr
        return json.loads(ended.stdout) if ended.returncode == 0 else "killed"

    assert process(None, plan(LOST, {**BROKEN, "after": ["mail"]})) == "killed"
    assert process(None)[:2] == ["REVIEWING", [["mail", -1, 0]]]
    assert process("sent", plan({**PAIR, "name": "again"}))[:2] == ["REVIEWING", [["mail", -1, 0]]]
    assert process("again") == "killed"
    assert process(None)[:2] == ["REVIEWING", [["again", -1, 0]]]
    state, _, (last,) = process({"a": 1, "b": 2})
    assert (state, last["step"], last["result"]) == ("COMPLETE", "again", {"a": 1, "b": 2})
    assert (tmp_path / "sent").read_text() == "mail mail "


async def test_a_result_of_the_action_itself_that_a_later_step_cannot_use_is_a_failure(house: House) -> None:
    """Nobody can give another one: it is a fact, and for the planner to do with."""
    house.lost = house.action("lost", result="sent")
    plans = [plan(LOST, {**BROKEN, "after": ["mail"]}), plan(PAIR), plan(PAIR), plan(LOST)]
    done = await house.open(*plans, max_replans=9).run("g", thread_id="t")
    status = [one["status"] for one in done["history"] if one["step"] == "mail"]
    assert (status, house.sent) == (["succeeded", "failed", "failed", "succeeded"], ["mail"])


@pytest.mark.parametrize("answer, word", [(respond("sent"), "happened"), (reject("Leave it."), "gave up step mail")])
async def test_what_a_replaced_plan_left_in_doubt_is_settled_before_the_next_plan(
    house: House, answer: Any, word: str
) -> None:
    asked = await house.open(plan(LOST, ASKED)).run("g", thread_id="t")
    ids = {question["step"]: question["id"] for question in asked["reviews"]}
    again = await house.resume({ids["mail"]: approve(), ids["asked"]: reject("Not this.")}, OTHERWISE)
    assert (again["state"], open_steps(again), house.agent.histories) == ("REVIEWING", ["mail"], [])
    with pytest.raises(ReviewError, match="was replaced, so nothing does it again"):
        await house.resume(approve(), OTHERWISE)
    done = await house.resume(answer, OTHERWISE)
    assert (done["state"], house.sent) == ("COMPLETE", ["mail", "otherwise"])
    assert word in str(house.told)


@pytest.mark.parametrize("goes_on", [True, False])
async def test_what_a_replaced_plan_left_in_doubt_is_asked_about_while_its_act_goes_on_and_found_out_afterwards(
    house: House,
    goes_on: bool,  # noqa: FBT001
) -> None:
    asked = await house.open(plan(step("slow", "slow", timeout=0.05), ASKED)).run("g", thread_id="t")
    assert "goes on all the same" in str(asked["reviews"])
    await asyncio.sleep(0 if goes_on else 0.8)
    ids = {question["step"]: question["id"] for question in asked["reviews"]}
    done = await house.resume({ids["slow"]: approve(), ids["asked"]: reject("Not this.")}, OTHERWISE)
    assert (done["state"], open_steps(done)) == (("REVIEWING", ["slow"]) if goes_on else ("COMPLETE", []))
    if goes_on:
        assert "It was cut, and goes on all the same in this process." in done["reviews"][0]["reason"]
        done = await house.resume(respond("sent"), OTHERWISE)
    assert (done["state"], house.sent) == ("COMPLETE", ["otherwise"])
    assert "happened" in str(house.told)
    await asyncio.sleep(0.7 if goes_on else 0)
    assert house.slow.sent == ["slow"]


PROGRAM = """
import asyncio, sys, time
from pathlib import Path
from agentic_workflows import AgenticWorkflow, Found, RunBusyError, ScriptedAgent, action

folder = Path(sys.argv[1])
sent = folder / "sent"

def find(call):
    return Found(result="found") if sent.exists() else None

@action(destructive=False, open_world=False, reconcile=find)
def slow(text: str) -> str:
    (folder / "begun").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    with sent.open("a") as lines:
        lines.write("sent ")
    return "sent"

workflow = AgenticWorkflow(ScriptedAgent([]), actions=[slow], database=folder / "x.db")
try:
    result = workflow.resume_sync(thread_id="t")
    print(result["state"], [one["reason"] for one in result["reviews"]])
except RunBusyError:
    print("busy")
"""


async def test_another_process_waits_for_an_act_that_was_cut_and_goes_on(tmp_path: Path) -> None:
    async def find(call: ActionCall) -> Found | None:  # noqa: ARG001 - a reconcile's shape
        return Found(result="found") if (tmp_path / "sent").exists() else None

    @action(destructive=False, open_world=False, reconcile=find)
    def slow(text: str) -> str:  # noqa: ARG001 - what it is declared with
        """Send, slowly."""
        (tmp_path / "begun").touch()
        while not (tmp_path / "go").exists():
            time.sleep(0.01)
        with (tmp_path / "sent").open("a") as lines:
            lines.write("sent ")
        return "sent"

    async def elsewhere() -> str:
        command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
        ended = await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, text=True, timeout=30)
        return ended.stdout.strip()

    workflow = AgenticWorkflow(ScriptedAgent([plan(step("a", "slow"))]), actions=[slow], database=tmp_path / "x.db")
    running = asyncio.create_task(workflow.run("g", thread_id="t"))
    async with asyncio.timeout(10):
        while not (tmp_path / "begun").exists():
            await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await elsewhere() == "busy"
    asked = await workflow.resume(thread_id="t")
    assert (asked["state"], "goes on all the same" in asked["reviews"][0]["reason"]) == ("REVIEWING", True)
    assert await elsewhere() == "busy"
    (tmp_path / "go").touch()
    async with asyncio.timeout(10):
        while await workflow.database.journal.is_held():
            await asyncio.sleep(0.01)
    assert (tmp_path / "sent").read_text() == "sent "
    assert (await elsewhere()).startswith("REVIEWING")
    assert (tmp_path / "sent").read_text() == "sent "


@pytest.mark.parametrize(
    "text",
    [
        "It was in doubt when its plan was replaced. Its action found that it happened.",
        "It was in doubt when its plan was replaced. Its action found that it did not happen.",
        "It was in doubt, and is done again.",
        "It was in doubt, and a reviewer gave its result.",
    ],
)
async def test_what_an_action_says_of_its_failure_is_never_taken_for_what_became_of_a_doubt(
    house: House, text: str
) -> None:
    house.broken = house.action("broken", error=ActionError(text))
    done = await house.open(plan(BROKEN), OTHERWISE).run("g", thread_id="t")
    assert (done["state"], house.sent) == ("COMPLETE", ["otherwise"])
    assert not [said for named, said in house.told if named is None and "feedback" in said]
    told = await house.open().timeline("t")
    assert [one["reason"] for one in told if one.get("step") == "broken" and one["what"] == "outcome"] == [text]
    assert not any(map(is_settled, told))


async def test_a_given_plan_that_cannot_be_planned_again_says_what_became_of_what_was_in_doubt(house: House) -> None:
    given = plan(step("slow", "slow", timeout=0.05), ASKED)
    asked = await house.open().run("g", plan=given, thread_id="t")
    await asyncio.sleep(0.8)
    ids = {question["step"]: question["id"] for question in asked["reviews"]}
    done = await house.resume({ids["slow"]: approve(), ids["asked"]: reject("Not this.")})
    assert done["state"] == "FAILED"
    assert "rejected step asked (fine): Not this." in done["reason"]
    assert "Step slow (slow) of plan 1: It was in doubt when its plan was replaced. Its" in done["reason"]


async def test_a_person_who_is_asked_of_a_replaced_plan_sees_what_was_done(house: House) -> None:
    name = step("name", "fine", outputs=["name"])
    asked = await house.open(plan(name, step("mail", "lost", inputs={"text": "Dear ${name}"}), ASKED)).run(
        "g", thread_id="t"
    )
    ids = {question["step"]: question["id"] for question in asked["reviews"]}
    again = await house.resume({ids["mail"]: approve(), ids["asked"]: reject("Not this.")}, OTHERWISE)
    assert [(one["step"], one["args"]) for one in again["reviews"]] == [("mail", {"text": "Dear done"})]


async def test_of_an_action_that_is_not_there_any_more_a_person_is_asked(house: House) -> None:
    asked = await house.open(plan(LOST, ASKED)).run("g", thread_id="t")
    ids = {question["step"]: question["id"] for question in asked["reviews"]}
    house.lost = house.action("other")
    again = await house.resume({ids["mail"]: approve(), ids["asked"]: reject("Not this.")}, OTHERWISE)
    assert (again["state"], open_steps(again)) == ("REVIEWING", ["mail"])
    assert "These actions of its plan are not registered here: lost." in again["reviews"][0]["reason"]
    done = await house.resume(reject("Leave it."), OTHERWISE)
    assert (done["state"], house.sent) == ("COMPLETE", ["otherwise"])


class Ending(AgenticWorkflow):
    """Chooses steps by their order until it has enough."""

    has_enough = False

    def get_next_step(self) -> WorkflowStep | None:
        return None if self.has_enough else super().get_next_step()


class Enough(Ending):
    """Has enough before it begins."""

    has_enough = True


@pytest.mark.parametrize(
    "answer, sent, history",
    [
        (respond("sent"), ["mail"], [("mail", "succeeded"), ("rest", "skipped")]),
        (approve(), ["mail", "mail"], [("mail", "succeeded"), ("rest", "skipped")]),
    ],
)
async def test_what_is_in_doubt_is_asked_about_also_where_a_subclass_chooses_no_further_step(
    house: House, answer: Any, sent: list[str], history: list[tuple[str, str]]
) -> None:
    house.kind = Ending
    await house.open(plan(LOST, step("rest", "fine"))).run("g", thread_id="t")
    before, house.kind, house.lost = house.sent, Enough, house.action("lost", result="sent")
    done = await house.resume(answer)
    assert (done["state"], [*before, *house.sent]) == ("COMPLETE", sent)
    assert [(one["step"], one["status"]) for one in done["history"]] == history
    assert not (await Database(house.path).journal.past(done["run_id"])).in_doubt
