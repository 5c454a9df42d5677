"""What people answered: which of it counts now, and until when."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from agentic_workflows.actions.action import ActionCall
from agentic_workflows.execution.case import Case, make_case
from agentic_workflows.execution.grants import Grants
from agentic_workflows.execution.run_pass import RunPass
from agentic_workflows.graph.plan import WorkflowStep
from agentic_workflows.graph.review import Answer, approve, asked_again, edit, reject
from agentic_workflows.graph.state import Limits
from agentic_workflows.journal.entries import Answered
from agentic_workflows.testing import RecordingAction, answer_rows, memory_log

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def given(answer: Answer, at: datetime) -> dict[str, Answered]:
    return {one: replace(row, at=at.isoformat()) for one, row in answer_rows([answer]).items()}


def test_of_several_answers_that_are_used_the_first_to_expire_counts() -> None:
    rows = given(approve("a"), NOON) | given(approve("b"), NOON - timedelta(hours=1))
    assert Grants(now=lambda: NOON, rows=rows).until(["a", "b"]) == NOON + timedelta(hours=23)


def test_of_the_answers_about_a_call_the_last_word_counts_whatever_the_clock_said() -> None:
    about = {"step": "s", "item": None, "in_doubt": None}
    earlier, later = given(approve("a"), NOON)["a"], given(reject("no", "b"), NOON - timedelta(hours=1))["b"]
    rows = [replace(row, answer={**row.answer, **about, "after": at}) for at, row in enumerate((earlier, later))]
    grants = Grants(now=lambda: NOON, rows={row.review_id: row for row in rows})
    assert (grants.answer("a"), grants.answer("b")) == (None, reject("no", "b"))
    assert Grants(now=lambda: NOON + timedelta(days=1), rows=grants.rows).expired("a") is None


def test_an_answer_is_taken_once_until_it_is_given_back() -> None:
    grants = Grants(now=lambda: NOON, rows=given(approve("a"), NOON))
    assert [grants.take(one) for one in ("none", "a", "a")] == [False, True, False]
    grants.give_back(["a"])
    assert grants.take("a")


def test_an_approval_that_was_given_to_another_question_is_told_until_it_is_used() -> None:
    row = given(approve("a"), NOON - timedelta(days=1))["a"]
    row = replace(row, answer={**row.answer, "step": "s"})
    grants = Grants(now=lambda: NOON, rows={"a": row})
    assert grants.unused("s", None) == row
    assert grants.take("a")
    assert grants.unused("s", None) is None


def test_of_several_edits_of_a_call_the_last_one_holds_and_each_only_once_it_was_used() -> None:
    again = asked_again("a")
    rows = given(edit({"to": "bob"}, "a"), NOON) | given(edit({"to": "eve"}, again), NOON)
    rows = {one: replace(row, answer={**row.answer, "step": "s"}) for one, row in rows.items()}
    grants = Grants(now=lambda: NOON, rows=rows)
    assert (grants.edited("a"), grants.changed("s", None)) == (None, None)
    assert grants.take("a")
    assert grants.edited("a") == {"to": "bob"}
    assert grants.take(again)
    assert (grants.edited("a"), grants.changed("s", None)) == ({"to": "eve"}, rows[again])


def test_a_word_about_an_effect_in_doubt_is_one_about_its_call_and_not_the_other_way_round() -> None:
    for doubt_is_later in (True, False):
        call, doubt = given(approve("a"), NOON)["a"], given(reject("no", "b"), NOON)["b"]
        rows = [
            replace(row, answer={**row.answer, "step": "s", "item": None, "in_doubt": in_doubt, "after": after})
            for row, in_doubt, after in ((call, None, not doubt_is_later), (doubt, ["1:p", "s", -1, 0], doubt_is_later))
        ]
        grants = Grants(now=lambda: NOON, rows={row.review_id: row for row in rows})
        assert (grants.answer("a") is None, grants.answer("b")) == (doubt_is_later, reject("no", "b"))


def test_what_expired_before_it_was_used_has_approved_and_changed_nothing() -> None:
    grants = Grants(now=lambda: NOON, rows=given(edit({"to": "bob"}, "a"), NOON - timedelta(days=1)))
    assert (grants.covered_until("a"), grants.edited("a")) == (None, None)
    assert grants.take("a")
    assert grants.edited("a") == {"to": "bob"}


def test_what_an_approval_was_used_for_is_begun_again_under_it_until_it_expires() -> None:
    now = NOON
    grants = Grants(now=lambda: now, rows=given(approve("a"), NOON))
    assert grants.covered_until("a") is None
    assert grants.take("a")
    now += timedelta(days=1)
    assert grants.covered_until("a") is None
    now -= timedelta(seconds=1)
    assert grants.covered_until("a") == NOON + timedelta(days=1)


def test_a_call_that_was_approved_again_is_covered_until_the_last_of_its_approvals_expires() -> None:
    again, earlier = asked_again("a"), NOON - timedelta(hours=1)
    grants = Grants(now=lambda: NOON, rows=given(approve("a"), earlier) | given(edit({}, again), NOON))
    assert (grants.take("a"), grants.covered_until("a")) == (True, NOON + timedelta(hours=23))
    assert (grants.take(again), grants.covered_until("a")) == (True, NOON + timedelta(days=1))


def sending() -> Case:
    """Return the case of a call that nobody has answered anything about."""
    step = WorkflowStep("s", "send", {"to": "ada"})
    run = RunPass(
        run_id="r", plan="1:p", asked_under="1:p", policy="", limits=Limits(), emit=lambda _: None, log=memory_log()
    )
    call = ActionCall(action="send", inputs=step.inputs, step=step, run_id="r")
    return make_case(call, RecordingAction("send", read_only=False), run)


def test_a_question_tells_of_no_expired_approval_that_was_used_for_what_has_ended() -> None:
    case, began = sending(), NOON - timedelta(days=2)
    rows = given(approve(case.review_id), began)
    for is_used, tells in ((False, True), (True, False)):
        case.run.grants = Grants(now=lambda: NOON, rows={one: replace(row, used=is_used) for one, row in rows.items()})
        assert ("expired" in case.question("It sends.").reason) == tells


def test_a_call_whose_edit_expired_is_the_planned_one_in_everything() -> None:
    now, case = NOON, sending()
    planned = seen(case)
    case.run.grants = Grants(now=lambda: now, rows=given(edit({"to": "bob"}, case.review_id), NOON))
    case = case.anew()
    edited = seen(case)
    assert [one == other for one, other in zip(edited, planned, strict=True)] == [True, False, False, False]
    case.use_answer()
    case.is_wanted_again = case.is_unsure = True
    now += timedelta(days=1)
    case = case.anew()
    review_id, *rest = seen(case)
    assert (review_id != planned[0], rest, case.used) == (True, planned[1:], [])
    assert (case.is_wanted_again, case.is_unsure) == (False, False)


def seen(case: Case) -> list[object]:
    return [case.review_id, case.answer, case.call.inputs, case.key]
