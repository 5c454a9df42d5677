# ruff: noqa: ARG001 - fakes have the parameters of what they stand for

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from langchain_core.runnables import RunnableConfig

from agentic_workflows.errors import LeaseLostError
from agentic_workflows.graph.findings import Finding
from agentic_workflows.graph.history import is_untrusted
from agentic_workflows.graph.outcome import Outcome, OutcomeStatus
from agentic_workflows.graph.plan import Plan, WorkflowStep
from agentic_workflows.graph.state import Limits, Request, State
from agentic_workflows.journal.lease import Leases
from agentic_workflows.journal.memory_journal import MemoryJournal
from agentic_workflows.journal.owner import new_owner
from agentic_workflows.nodes.validate import make_validate
from agentic_workflows.policies.report import Report

CONFIG: RunnableConfig = {"configurable": {"thread_id": "t"}}
PLAN = Plan("g", [WorkflowStep("a", "act"), WorkflowStep("b", "act")])
DONE = Outcome(status=OutcomeStatus.SUCCEEDED, result=1).to_json()
BAD = Outcome(status=OutcomeStatus.FAILED, reason="It broke.").to_json()


def state(status: str, **more: Any) -> dict[str, Any]:
    return {
        "goal": "g", "status": status, "plan": PLAN.to_json(), "limits": Limits(max_seconds=0.2).to_json(),
        "steps": {}, "asks": [], "history": [], "refused": [], "findings": [], "replans": 0, "seconds": 0.0,
        "iteration": 1, "left": "", "run_id": "r", "plan_number": 1, **more,
    }  # fmt: skip


async def judged(
    before: dict[str, Any],
    findings: Sequence[Finding] = (),
    review: Any = None,
    *,
    sees_outputs: bool = True,
    journal: MemoryJournal | None = None,
) -> dict[str, Any]:
    def examine(plan: Plan, _: State) -> Report:
        return Report(plan=plan, findings=tuple(findings), refusal="this plan")

    agent = SimpleNamespace(review_progress=review, sees_outputs=sees_outputs)
    leases = Leases(journal or MemoryJournal())
    async with leases.hold("t") as held:
        await held.journal.begin(held.lease, "r", "g")
    node = make_validate(examine, agent, leases, {})
    runtime = cast("Any", SimpleNamespace(stream_writer=lambda _: None))
    return {**before, **await node(cast("State", before), CONFIG, runtime)}


async def test_a_plan_without_findings_is_executed() -> None:
    after = await judged(state("PLANNING"))
    assert (after["status"], after["findings"], after["history"]) == ("EXECUTING", [], [])


async def test_a_given_plan_that_is_accepted_is_kept_once() -> None:
    assert (await judged(state("PLANNING")))["run_plan"] is None
    after = await judged(state("PLANNING", run_plan=PLAN.to_json()))
    assert (after["run_plan"], after["plan"]) == (PLAN.digest, PLAN.to_json())


async def test_a_plan_with_findings_is_planned_again_and_remembered() -> None:
    finding = Finding(step="a", field="action", problem="no.")
    after = await judged(state("PLANNING"), [finding])
    assert (after["status"], after["plan"], after["refused"]) == ("PLANNING", None, ["this plan"])
    assert after["history"] == [{"step": None, "result": {"findings": [finding.to_json()]}}]


async def test_what_was_no_plan_is_planned_again() -> None:
    finding = Finding(problem="It is no plan.").to_json()
    after = await judged(state("PLANNING", plan=None, findings=[finding]))
    assert (after["status"], after["history"]) == ("PLANNING", [{"step": None, "result": {"findings": [finding]}}])


@pytest.mark.parametrize("status", ["FAILED", "PAUSED", "REVIEWING", "COMPLETE"])
async def test_any_other_state_passes(status: str) -> None:
    assert await judged(state(status)) == state(status)


async def test_all_steps_done_is_complete() -> None:
    assert (await judged(state("EXECUTING", steps={"a": DONE, "b": DONE})))["status"] == "COMPLETE"


async def test_a_step_to_do_goes_on_executing() -> None:
    assert (await judged(state("EXECUTING", steps={"a": DONE})))["status"] == "EXECUTING"


async def test_an_open_question_is_reviewed() -> None:
    assert (await judged(state("EXECUTING", asks=[{"id": "q"}])))["status"] == "REVIEWING"


async def test_a_failed_step_ends_the_run_with_its_reason() -> None:
    after = await judged(state("EXECUTING", steps={"a": BAD, "b": DONE}, asks=[{"id": "q"}]))
    assert (after["status"], after["reason"], after["asks"]) == ("FAILED", "Step a failed: It broke.", [])


async def test_a_failed_step_is_planned_again_while_replans_are_left() -> None:
    limits = Limits(max_replans=1).to_json()
    after = await judged(state("EXECUTING", steps={"a": BAD}, limits=limits))
    assert (after["status"], after["replans"], len(after["history"])) == ("PLANNING", 1, 1)
    again = await judged({**after, "status": "EXECUTING", "steps": {"a": BAD}})
    assert (again["status"], again["reason"]) == ("FAILED", "Step a failed: It broke. max_replans=1 is used up.")
    bare = {**BAD, "reason": "no full stop"}
    again = await judged({**after, "status": "EXECUTING", "steps": {"a": bare}})
    assert again["reason"] == "Step a failed: no full stop. max_replans=1 is used up."


async def test_before_a_failed_step_is_planned_again_only_what_is_in_doubt_is_asked_about() -> None:
    doubt = {"id": "d", "in_doubt": ["1:p", "b", -1, 0]}
    limits = Limits(max_replans=1).to_json()
    after = await judged(state("EXECUTING", steps={"a": BAD}, asks=[{"id": "q"}, doubt], limits=limits))
    assert (after["status"], after["asks"]) == ("REVIEWING", [doubt])


@pytest.mark.parametrize(
    "said, status",
    [(None, "COMPLETE"), (True, "COMPLETE"), ("", "COMPLETE"), ([], "COMPLETE"), ({}, "COMPLETE"), (False, "FAILED"),
     ("the mail", "FAILED"), (["the mail"], "FAILED")],
)  # fmt: skip
async def test_the_agent_says_what_is_missing_or_nothing(said: object, status: str) -> None:
    async def review(goal: str, history: object) -> object:
        return said

    after = await judged(state("EXECUTING", steps={"a": DONE, "b": DONE}), review=review)
    assert after["status"] == status
    assert status == "COMPLETE" or after["reason"].startswith("The goal is not reached: ")


async def test_what_is_missing_is_planned_for_while_replans_are_left() -> None:
    async def review(goal: str, history: object) -> str:
        return "the mail"

    ended = state("EXECUTING", steps={"a": DONE, "b": DONE}, limits=Limits(max_replans=1).to_json())
    after = await judged(ended, review=review)
    assert (after["status"], after["replans"]) == ("PLANNING", 1)
    assert after["history"] == [{"step": None, "result": {"feedback": "The goal is not reached yet: the mail"}}]


@pytest.mark.parametrize("sees_outputs", [True, False])
async def test_who_sees_no_outputs_reviews_without_them_and_what_it_says_stays_trusted(*, sees_outputs: bool) -> None:
    seen: list[Any] = []

    async def review(goal: str, history: object) -> str:
        seen.append(history)
        return "the mail"

    read = {"step": "a", "status": "succeeded", "result": "Evil.", "untrusted": True}
    done = state("EXECUTING", steps={"a": DONE, "b": DONE}, history=[read], limits=Limits(max_replans=1).to_json())
    after = await judged(done, review=review, sees_outputs=sees_outputs)
    assert ("Evil." in str(seen), is_untrusted(after["history"][-1])) == (sees_outputs, sees_outputs)


@pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError(), SystemExit(1)])
async def test_an_agent_that_cannot_review_has_not_confirmed_the_goal(error: BaseException) -> None:
    async def review(goal: str, history: object) -> object:
        raise error

    after = await judged(state("EXECUTING", steps={"a": DONE, "b": DONE}), review=review)
    assert (after["status"], type(error).__name__ in after["reason"]) == ("FAILED", True)


async def test_an_agent_that_hangs_in_its_review_is_cut() -> None:
    async def review(goal: str, history: object) -> object:
        await asyncio.sleep(60)
        return None

    ended = state("EXECUTING", steps={"a": DONE, "b": DONE})
    after = await asyncio.wait_for(judged(ended, review=review), 2)
    assert after["status"] == "FAILED"


REVIEWED = {**state("EXECUTING", steps={"a": DONE, "b": DONE}), "limits": Limits().to_json()}


@pytest.mark.parametrize(
    "request_, after",
    [("pause", ("PAUSED", "EXECUTING", "Paused on request.")), ("cancel", ("FAILED", "", "Cancelled on request."))],
)
async def test_a_request_to_stop_cuts_a_review(request_: Request, after: tuple[str, str, str]) -> None:
    journal, ends = MemoryJournal(), list[str]()

    async def review(goal: str, history: object) -> None:
        await journal.request("t", request_)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ends.append("cut")
            raise

    stopped = await asyncio.wait_for(judged(REVIEWED, review=review, journal=journal), 5)
    assert ((stopped["status"], stopped["left"], stopped["reason"]), ends) == (after, ["cut"])


async def test_a_run_that_is_to_stop_already_begins_no_review() -> None:
    journal, begun = MemoryJournal(), list[str]()

    async def review(goal: str, history: object) -> None:
        begun.append(goal)

    await journal.release(await journal.acquire("t", new_owner(), 30))
    await journal.request("t", "cancel")
    stopped = await judged(REVIEWED, review=review, journal=journal)
    assert (stopped["status"], stopped["reason"], begun) == ("FAILED", "Cancelled on request.", [])


async def test_a_review_is_cut_where_another_process_has_the_run() -> None:
    journal = MemoryJournal()

    async def review(goal: str, history: object) -> None:
        lease = await journal.holder("t")
        assert lease
        await journal.release(lease)
        await journal.acquire("t", "elsewhere:1:1:x", 30)
        await asyncio.sleep(60)

    with pytest.raises(LeaseLostError):
        await asyncio.wait_for(judged(REVIEWED, review=review, journal=journal), 5)


async def test_a_lease_that_a_run_inside_a_review_lost_is_not_that_of_the_run() -> None:
    async def review(goal: str, history: object) -> None:
        raise LeaseLostError("inner", "")

    after = await judged(REVIEWED, review=review)
    assert (after["status"], "could not review the progress: LeaseLostError" in after["reason"]) == ("FAILED", True)
