"""The original article, line by line: an agent of two coroutines and plain dicts, and nothing else."""

# ruff: noqa: ARG002 - fakes have the parameters of what they stand for

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from agentic_workflows import (
    ActionError,
    AgenticWorkflow,
    DatabaseError,
    Limits,
    Plan,
    ReviewError,
    RunError,
    ScriptedAgent,
    WorkflowState,
    WorkflowStep,
    approve,
    edit,
    reject,
    respond,
)
from agentic_workflows.errors import ExpiredError
from agentic_workflows.graph.events import Event, PlanAccepted, RunStarted, StateEntered, StepStarted, StepSucceeded
from agentic_workflows.testing import RecordingAction


class ArticleAgent:
    """What the article tells its reader to write."""

    def __init__(self, *plans: Any, results: Mapping[str, Any] | None = None) -> None:
        self.plans, self.results = list(plans), dict(results or {})
        self.histories: list[list[dict[str, Any]]] = []
        self.executed: list[WorkflowStep] = []

    async def create_plan(self, goal: str, history: Sequence[dict[str, Any]]) -> Any:
        self.histories.append(list(history))
        return self.plans[min(len(self.histories), len(self.plans)) - 1]

    async def execute_step(self, step: WorkflowStep) -> Any:
        self.executed.append(step)
        result = self.results.get(step.name, f"result of {step.name}")
        return result(step) if callable(result) else result

    @property
    def did(self) -> list[str]:
        return [step.name for step in self.executed]


def step(name: str, action: str = "research", **fields: Any) -> dict[str, Any]:
    return {"name": name, "action": action, "inputs": {}, "outputs": [], **fields}


def plan(*steps: Any) -> dict[str, Any]:
    return {"steps": list(steps)}


REVIEWED = plan(step("draft", outputs=["text"]), step("send", inputs={"text": "${text}"}, human_review_required=True))
TWO_REVIEWS = plan(step("one", human_review_required=True), step("two", human_review_required=True))


def start(*plans: Any, max_iterations: int = 10, **results: Any) -> tuple[AgenticWorkflow, ArticleAgent]:
    agent = ArticleAgent(*plans, results=results)
    return AgenticWorkflow(agent, max_iterations=max_iterations), agent


# From a plan to a result.


@pytest.mark.parametrize(
    "steps",
    [
        [step("find", outputs=["found"]), step("write", "write", inputs={"about": "${found}"}, outputs=["text"])],
        [
            WorkflowStep("find", "research", {}, ["found"]),
            WorkflowStep("write", "write", {"about": "${found}"}, ["text"]),
        ],
        [step("find", outputs=["found"]), WorkflowStep("write", "write", {"about": "${found}"}, ["text"])],
    ],
    ids=["dicts", "steps", "both"],
)
async def test_a_goal_is_planned_executed_and_complete(steps: list[Any]) -> None:
    workflow, agent = start({"steps": steps})
    result = await workflow.run("Write about whales.")
    assert (result["state"], result["goal"], result["reason"]) == ("COMPLETE", "Write about whales.", None)
    assert result["outputs"] == {"found": "result of find", "text": "result of write"}
    assert [(entry["step"], entry["result"]) for entry in result["history"]] == [
        ("find", "result of find"), ("write", "result of write"),
    ]  # fmt: skip
    assert agent.executed[1].inputs == {"about": "result of find"}
    assert (result["iterations"], workflow.state) == (3, WorkflowState.COMPLETE)


async def test_the_result_has_the_keys_that_people_rely_on() -> None:
    workflow, _ = start(plan(step("a")))
    result = await workflow.run("g")
    assert {"thread_id", "goal", "state", "outputs", "history", "iterations", "reason", "reviews"} <= result.keys()
    assert all({"step", "result"} <= entry.keys() for entry in result["history"])
    assert (result, workflow.history) == (workflow.get_results(), result["history"])
    assert workflow.current_plan is not None
    assert [one["name"] for one in workflow.current_plan["steps"]] == ["a"]  # type: ignore[index, union-attr, call-overload]


def test_a_workflow_that_never_ran_is_planning_and_empty() -> None:
    workflow, _ = start(plan(step("a")))
    assert (workflow.state, workflow.history, workflow.current_plan) == (WorkflowState.PLANNING, [], None)
    assert (workflow.get_results()["state"], workflow.get_next_step()) == ("PLANNING", None)


@pytest.mark.parametrize(
    "outputs, result, given",
    [
        (["a"], 5, {"a": 5}),
        (["a"], {"a": 5, "more": 1}, {"a": 5}),
        (["a"], {"other": 5}, {"a": {"other": 5}}),
        (["a", "b"], {"a": 1, "b": 2}, {"a": 1, "b": 2}),
        ([], {"a": 1}, {}),
    ],
)
async def test_a_result_gives_outputs_by_key_or_as_the_bare_value(outputs: Any, result: Any, given: Any) -> None:
    workflow, _ = start(plan(step("s", outputs=outputs)), s=result)
    assert (await workflow.run("g"))["outputs"] == given


@pytest.mark.parametrize("result", [5, {"a": 1}, [1, 2], None])
async def test_a_result_of_any_other_shape_names_its_step(result: Any) -> None:
    workflow, agent = start(plan(step("s", outputs=["a", "b"])), s=result)
    ended = await workflow.run("g")
    assert (ended["state"], agent.did) == ("FAILED", ["s"])
    assert "s.outputs: The result is a" in ended["reason"]


# Plans that are no good.


@pytest.mark.parametrize(
    "bad, problem",
    [
        (plan(step("a", outputs=["x"]), step("a")), "2 steps have this name"),
        (plan(), "less than 1 item"),
        (plan(step("a", inputs={"x": "${nothing}"})), "refers to an output that no step gives"),
        (plan(step("a", after=["b"]), step("b", after=["a"])), "waits for itself"),
        (None, "not a mapping"),
        ("a plan", "not a mapping"),
        (Plan("g", []), "less than 1 item"),
        (plan(step("wipe", "delete_all")), "is denied by dangerous-action"),
    ],
)
async def test_an_invalid_plan_is_planned_again_with_the_findings(bad: Any, problem: str) -> None:
    workflow, agent = start(bad, plan(step("good")))
    result = await workflow.run("g")
    assert (result["state"], agent.did, len(agent.histories)) == ("COMPLETE", ["good"], 2)
    entry = agent.histories[1][0]
    assert (entry["step"], len(agent.histories[1])) == (None, 1)
    assert problem in str(entry["result"]["findings"])
    assert result["history"][0] == entry


@pytest.mark.parametrize("action", ["delete_all", "admin_action", "financial_transaction"])
@pytest.mark.parametrize("reviewed", [True, False])
async def test_a_dangerous_action_never_runs(action: str, *, reviewed: bool) -> None:
    workflow, agent = start(plan(step("a"), step("b", action, human_review_required=reviewed)))
    result = await workflow.run("g")
    assert (result["state"], agent.did, result["reviews"]) == ("FAILED", [], [])
    assert "never executed" in str(result["history"])


async def test_the_same_bad_plan_again_is_no_progress() -> None:
    workflow, agent = start(plan(step("a", inputs={"x": "${nothing}"})), max_iterations=4)
    result = await workflow.run("g")
    assert (result["state"], len(agent.histories)) == ("FAILED", 4)
    assert "refused already" in str(agent.histories[3])


# A person's review.


async def test_a_step_that_needs_review_waits_with_its_question() -> None:
    workflow, agent = start(REVIEWED)
    result = await workflow.run("g")
    assert (result["state"], agent.did, len(result["reviews"])) == ("REVIEWING", ["draft"], 1)
    asked = result["reviews"][0]
    assert {key: asked[key] for key in ("name", "args", "step", "reason")} == {
        "name": "research", "args": {"text": "result of draft"}, "step": "send",
        "reason": "The plan asks for a person's review of this step.",
    }  # fmt: skip


async def test_a_class_is_no_agent() -> None:
    with pytest.raises(ActionError, match=r"ScriptedAgent is a class. Give an agent, such as ScriptedAgent\(...\)."):
        AgenticWorkflow(ScriptedAgent)  # type: ignore[arg-type]


async def test_an_approved_step_runs_exactly_once() -> None:
    workflow, agent = start(REVIEWED)
    await workflow.run("g")
    result = await workflow.resume(approve())
    assert (result["state"], agent.did, result["reviews"]) == ("COMPLETE", ["draft", "send"], [])
    assert [entry["step"] for entry in result["history"]] == ["draft", "send"]
    with pytest.raises(RunError, match="COMPLETE and cannot be resumed"):
        await workflow.resume(approve())
    assert agent.did == ["draft", "send"]


async def test_a_rejection_plans_again_with_the_feedback() -> None:
    workflow, agent = start(REVIEWED, plan(step("shorter")))
    await workflow.run("g")
    result = await workflow.resume(reject("Make it shorter."))
    assert (result["state"], agent.did) == ("COMPLETE", ["draft", "shorter"])
    assert agent.histories[1][0]["step"] == "draft"
    assert agent.histories[1][-1] == {
        "step": None,
        "result": {"feedback": "A reviewer rejected step send (research): Make it shorter.", "rejected": "send"},
    }


async def test_a_rejection_comes_back_to_planning() -> None:
    workflow, _ = start(REVIEWED)
    await workflow.run("g")
    states = [event.state async for event in workflow.resume_stream(reject("no")) if isinstance(event, StateEntered)]
    assert states[0] == "PLANNING"


async def test_an_edit_runs_with_the_new_inputs() -> None:
    workflow, agent = start(REVIEWED)
    await workflow.run("g")
    result = await workflow.resume(edit({"text": "better ${text}"}))
    assert (result["state"], agent.executed[-1].inputs) == ("COMPLETE", {"text": "better ${text}"})


async def test_a_response_stands_for_the_result() -> None:
    workflow, agent = start(plan(step("ask", outputs=["answer"], human_review_required=True)))
    await workflow.run("g")
    result = await workflow.resume(respond({"answer": 42}))
    assert (result["state"], result["outputs"], agent.did) == ("COMPLETE", {"answer": 42}, [])


def by_list(ids: list[str]) -> Any:
    return [approve(ids[1]), approve(ids[0])]


def by_dict(ids: list[str]) -> Any:
    return {one: approve() for one in ids}


@pytest.mark.parametrize("form", [by_list, by_dict])
async def test_several_questions_are_asked_at_once_and_answered_together(form: Callable[[list[str]], Any]) -> None:
    workflow, agent = start(TWO_REVIEWS)
    asked = (await workflow.run("g"))["reviews"]
    result = await workflow.resume(form([one["id"] for one in asked]))
    assert ([one["step"] for one in asked], result["state"]) == (["one", "two"], "COMPLETE")
    assert agent.did == ["one", "two"]


@pytest.mark.parametrize("none", [[], (), {}])
async def test_no_answers_are_as_good_as_none_where_all_are_in(none: Any) -> None:
    workflow, agent = start(TWO_REVIEWS)
    asked = (await workflow.run("g", thread_id="t"))["reviews"]
    with pytest.raises(ReviewError, match="with at least one"):
        await workflow.resume(none)
    async with workflow._opened("t") as run:  # by a process that ends before it goes on
        await run.answer([approve(one["id"]) for one in asked])
    assert ((await workflow.resume(none))["state"], agent.did) == ("COMPLETE", ["one", "two"])


async def test_questions_may_be_answered_one_after_another() -> None:
    workflow, agent = start(TWO_REVIEWS)
    first, second = (await workflow.run("g"))["reviews"]
    between = await workflow.resume(approve(second["id"]))
    assert (between["state"], [one["id"] for one in between["reviews"]]) == ("REVIEWING", [first["id"]])
    with pytest.raises(ReviewError, match="was answered already, and that answer counts"):
        await workflow.resume(approve(second["id"]))
    assert (await workflow.resume(approve()))["state"] == "COMPLETE"
    assert agent.did == ["one", "two"]


@pytest.mark.parametrize("answer", [approve(), [approve(), approve()], [approve()]])
async def test_an_answer_without_id_is_refused_where_several_questions_are_open(answer: Any) -> None:
    workflow, agent = start(TWO_REVIEWS)
    first, second = (await workflow.run("g"))["reviews"]
    with pytest.raises(ReviewError) as caught:
        await workflow.resume(answer)
    assert all(one["id"] in str(caught.value) for one in (first, second))
    assert (workflow.state, agent.did) == (WorkflowState.REVIEWING, [])


async def test_one_rejection_among_answers_runs_none_of_them() -> None:
    workflow, agent = start(TWO_REVIEWS, plan(step("other")))
    first, second = (await workflow.run("g"))["reviews"]
    result = await workflow.resume({first["id"]: approve(), second["id"]: reject("no")})
    assert (result["state"], agent.did) == ("COMPLETE", ["other"])
    feedback = str(result["history"][0]["result"]["feedback"])
    assert feedback.endswith(f"({first['step']}) still counts if a plan only leaves steps out.")


# What goes wrong.


async def test_a_result_that_fails_its_validation_ends_the_run_and_is_not_done_again() -> None:
    checked = step("draft", validation={"type": "object", "required": ["title"]})
    workflow, agent = start(plan(checked, step("send", after=["draft"])), draft={"text": "x"})
    result = await workflow.run("g")
    assert (result["state"], agent.did, len(agent.histories)) == ("FAILED", ["draft"], 1)
    assert result["reason"].startswith("Step draft failed: draft.validation: The result does not pass")
    for limit in (None, 50):
        with pytest.raises(RunError):
            await workflow.resume(max_iterations=limit)
    assert agent.did == ["draft"]


async def test_a_step_that_raises_ends_the_run_with_its_reason() -> None:
    def broken(_: WorkflowStep) -> None:
        raise ValueError("no such whale")

    workflow, _ = start(plan(step("find")), find=broken)
    result = await workflow.run("g")
    assert (result["state"], result["reason"]) == (
        "FAILED", "Step find failed: research raised ValueError: no such whale",
    )  # fmt: skip


async def test_used_up_iterations_end_the_run_and_more_of_them_go_on() -> None:
    workflow, agent = start({"steps": []}, {}, None, plan(step("a")), max_iterations=3)
    failed = await workflow.run("g")
    assert (failed["state"], failed["iterations"], agent.did) == ("FAILED", 3, [])
    assert failed["reason"].startswith("max_iterations=3 is exhausted.")
    result = await workflow.resume(max_iterations=5)
    assert (result["state"], result["iterations"], agent.did) == ("COMPLETE", 5, ["a"])


async def test_a_plan_that_was_too_long_for_the_budget_runs_under_a_larger_one() -> None:
    """The agent cannot know the budget: it gives the same plan again, and now there is room for it."""
    workflow, agent = start(plan(*(step(f"s{at}") for at in range(12))))
    failed = await workflow.run("g")
    assert (failed["state"], agent.did) == ("FAILED", [])
    assert failed["reason"].startswith("max_iterations=10 is exhausted.")
    result = await workflow.resume(max_iterations=30)
    assert (result["state"], len(agent.did)) == ("COMPLETE", 12)


async def test_a_given_plan_that_was_too_long_for_the_budget_runs_under_a_larger_one() -> None:
    workflow, agent = start({})
    failed = await workflow.run("g", plan=plan(*(step(f"s{at}") for at in range(12))))
    assert (failed["state"], agent.did) == ("FAILED", [])
    result = await workflow.resume(max_iterations=30)
    assert (result["state"], len(agent.did)) == ("COMPLETE", 12)


@pytest.mark.parametrize("limit", [0, -1, 3, "50", None, True, 4.5])
async def test_a_limit_that_leaves_nothing_is_refused_and_changes_nothing(limit: Any) -> None:
    workflow, _ = start({}, max_iterations=3)
    failed = await workflow.run("g")
    with pytest.raises(RunError):
        await workflow.resume(max_iterations=limit)
    assert await workflow.result(failed["thread_id"]) == failed


# Around the run.


def test_without_a_loop_there_is_run_sync() -> None:
    workflow, agent = start(REVIEWED)
    assert workflow.run_sync("g")["state"] == "REVIEWING"
    assert (workflow.resume_sync(approve())["state"], agent.did) == ("COMPLETE", ["draft", "send"])


async def test_run_sync_works_inside_a_running_loop_too() -> None:
    workflow, _ = start(plan(step("a")))
    assert workflow.run_sync("g")["state"] == "COMPLETE"


class Interrupted(ArticleAgent):
    """An agent whose user presses Ctrl-C while it does step b."""

    async def execute_step(self, step: WorkflowStep) -> Any:
        if step.name == "b":
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            await asyncio.sleep(0.3)
        return await super().execute_step(step)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Have Ctrl-C raise in the main thread, as in a notebook, also where it is ignored in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_cuts_run_sync_also_inside_a_running_loop() -> None:
    agent = Interrupted(plan(step("a"), step("b", after=["a"]), step("c", after=["b"])))

    async def cell() -> None:
        with pytest.raises(KeyboardInterrupt):
            AgenticWorkflow(agent).run_sync("g")

    with closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(cell())
    assert agent.did == ["a"]


async def test_a_stream_yields_what_happens_as_typed_events() -> None:
    workflow, _ = start(plan(step("a", outputs=["x"])))
    events = [event async for event in workflow.stream("g")]
    assert all(isinstance(event, Event) for event in events)
    assert [type(event).__name__ for event in events if not isinstance(event, StateEntered)] == [
        "RunStarted", "PlanProposed", "PlanAccepted", "StepStarted", "StepSucceeded",
    ]  # fmt: skip
    succeeded = next(event for event in events if isinstance(event, StepSucceeded))
    assert (succeeded.step, succeeded.result) == ("a", "result of a")
    assert [event.state for event in events if isinstance(event, StateEntered)] == ["PLANNING", "EXECUTING", "COMPLETE"]


async def test_events_come_as_they_happen() -> None:
    gate = asyncio.Event()

    class Waiting(ArticleAgent):
        async def execute_step(self, step: WorkflowStep) -> Any:
            await gate.wait()
            return await super().execute_step(step)

    workflow, seen = AgenticWorkflow(Waiting(plan(step("a")))), []
    async for event in workflow.stream("g"):
        seen.append(type(event))
        if isinstance(event, StepStarted):
            assert PlanAccepted in seen
            gate.set()
    assert workflow.state == WorkflowState.COMPLETE


async def test_independent_steps_run_at_the_same_time_and_effects_in_order() -> None:
    """Nobody knows what an undeclared action does, so each keeps its place."""
    workflow, agent = start(plan(*(step(f"s{at}") for at in range(5))))
    await workflow.run("g")
    assert agent.did == ["s0", "s1", "s2", "s3", "s4"]


async def test_an_agent_may_review_the_progress() -> None:
    class Reviewing(ArticleAgent):
        async def review_progress(self, goal: str, history: Sequence[dict[str, Any]]) -> Any:
            return None if any(entry["step"] == "more" for entry in history) else "There must be more."

    agent = Reviewing(plan(step("a")), plan(step("more")))
    result = await AgenticWorkflow(agent, limits=Limits(max_replans=1)).run("g")
    assert (result["state"], agent.did) == ("COMPLETE", ["a", "more"])
    assert "There must be more." in str(agent.histories[1])
    failed = await AgenticWorkflow(Reviewing(plan(step("a")))).run("g")
    assert (failed["state"], failed["reason"]) == ("FAILED", "The goal is not reached: There must be more.")


# A transition at a time.


async def test_the_three_methods_advance_one_transition_each() -> None:
    workflow, agent = start(REVIEWED)
    planned = await workflow.plan("g")
    assert planned is not None
    assert (workflow.state, agent.did) == (WorkflowState.EXECUTING, [])
    assert await workflow.execute_next_step() == {"step": "draft", "result": "result of draft", "status": "succeeded"}
    assert (workflow.state, agent.did) == (WorkflowState.EXECUTING, ["draft"])
    assert (await workflow.execute_next_step(), workflow.state) == (None, WorkflowState.REVIEWING)
    assert len((await workflow.review_progress())["reviews"]) == 1
    await workflow.review_progress(approve())
    assert (workflow.state, agent.did) == (WorkflowState.EXECUTING, ["draft"])
    entry = await workflow.execute_next_step()
    assert entry is not None
    assert (entry["step"], workflow.state, agent.did) == ("send", WorkflowState.COMPLETE, ["draft", "send"])
    assert await workflow.execute_next_step() is None


async def test_plan_makes_one_attempt_at_a_time() -> None:
    workflow, agent = start({}, plan(step("a")))
    assert (await workflow.plan("g"), workflow.state) == (None, WorkflowState.PLANNING)
    assert await workflow.plan() is not None
    assert (workflow.state, len(agent.histories), agent.did) == (WorkflowState.EXECUTING, 2, [])


@pytest.mark.parametrize("method", ["plan", "review_progress"])
async def test_a_method_for_another_state_executes_nothing(method: str) -> None:
    workflow, agent = start(plan(step("a"), step("b")))
    await workflow.plan("g")
    with suppress(RunError):
        await getattr(workflow, method)()
    assert (workflow.state, agent.did) == (WorkflowState.EXECUTING, [])


async def test_execute_next_step_never_plans() -> None:
    workflow, agent = start({}, plan(step("a")))
    await workflow.plan("g")
    with suppress(RunError):
        assert await workflow.execute_next_step() is None
    assert (workflow.state, len(agent.histories)) == (WorkflowState.PLANNING, 1)


@pytest.mark.parametrize("method", ["plan", "execute_next_step", "review_progress", "resume"])
async def test_a_method_without_a_run_says_so(method: str) -> None:
    workflow, _ = start(plan(step("a")))
    with pytest.raises(RunError):
        await getattr(workflow, method)()


async def test_the_next_step_is_the_first_that_has_not_ended() -> None:
    workflow, _ = start(REVIEWED)
    await workflow.plan("g")
    names = []
    for _ in range(3):
        following = workflow.get_next_step()
        names.append(following.name if following else None)
        await workflow.execute_next_step()
    assert names == ["draft", "send", "send"], "a step that waits for a person has not ended"


# A reader's own subclass.


async def test_an_overridden_validate_plan_is_asked() -> None:
    class Strict(AgenticWorkflow):
        def validate_plan(self, plan: Any) -> bool:
            return super().validate_plan(plan) and len(plan["steps"]) == 1

    agent = ArticleAgent(plan(step("a"), step("b")), plan(step("c")))
    result = await Strict(agent).run("g")
    assert (result["state"], agent.did) == ("COMPLETE", ["c"])
    assert "validate_plan refused the plan." in str(agent.histories[1])


async def test_an_overridden_validate_result_is_asked() -> None:
    class Strict(AgenticWorkflow):
        def validate_result(self, step: WorkflowStep, result: Any) -> bool:
            return step.name != "b"

    agent = ArticleAgent(plan(step("a"), step("b"), step("c")))
    result = await Strict(agent).run("g")
    assert (result["state"], agent.did) == ("FAILED", ["a", "b"])
    assert result["reason"] == "Step b failed: b: validate_result refused the result."


async def test_an_overridden_get_next_step_chooses() -> None:
    class Backwards(AgenticWorkflow):
        def get_next_step(self) -> WorkflowStep | None:
            done = [entry["step"] for entry in self.history]
            return next((WorkflowStep(name, "research") for name in ("b", "a") if name not in done), None)

    agent = ArticleAgent(plan(step("a"), step("b"), step("c")))
    result = await Backwards(agent).run("g")
    assert (result["state"], agent.did) == ("COMPLETE", ["b", "a"])
    assert result["steps"]["c"]["status"] == "skipped"


async def test_an_overridden_get_next_step_that_ends_early_skips_the_rest_in_whatever_order_it_is_listed() -> None:
    class Ending(AgenticWorkflow):
        def get_next_step(self) -> WorkflowStep | None:
            return None

    listed = plan(step("uses", inputs={"text": "${text}"}), step("gives", outputs=["text"]))
    agent = ArticleAgent(listed)
    result = await Ending(agent).run("g")
    assert (result["state"], agent.did) == ("COMPLETE", [])
    assert {name: one["status"] for name, one in result["steps"].items()} == {"uses": "skipped", "gives": "skipped"}


@pytest.mark.parametrize("method", ["validate_plan", "validate_result", "get_next_step"])
@pytest.mark.parametrize("fault", ["raises", "gives nonsense"])
async def test_a_fault_in_an_overridden_method_ends_in_a_state_with_a_reason(
    method: str, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        if fault == "raises":
            raise RuntimeError("my own mistake")
        return 0 if method.startswith("validate") else {"name": "a"}

    agent = ArticleAgent(plan(step("a")))
    with caplog.at_level(logging.DEBUG, "agentic_workflows"):
        result = await type("Broken", (AgenticWorkflow,), {method: broken})(agent).run("g")
    assert (result["state"], bool(result["reason"])) == ("FAILED", True)
    assert ("in broken\n" in caplog.text) == (fault == "raises")
    assert method == "validate_result" or agent.did == []


@pytest.mark.parametrize(
    "error",
    [RunError("gone"), DatabaseError("gone"), ExpiredError(datetime.now(UTC)), KeyError("gone")],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_an_overridden_validate_result_raises_is_its_own_and_what_was_done_is_known(
    error: Exception,
) -> None:
    class Broken(AgenticWorkflow):
        def validate_result(self, step: WorkflowStep, result: Any) -> bool:
            raise error

    agent = ArticleAgent(plan(step("a")))
    result = await Broken(agent).run("g")
    assert (result["state"], result["reviews"], agent.did) == ("FAILED", [], ["a"])
    assert result["reason"] == f"Step a failed: a: validate_result raised {type(error).__name__}: {error}"


@pytest.mark.parametrize("chosen", ["a", "b", "c", "of another plan"])
async def test_an_overridden_get_next_step_that_chooses_what_cannot_start_is_told_so(chosen: str) -> None:
    class Stubborn(AgenticWorkflow):
        def get_next_step(self) -> WorkflowStep | None:
            return WorkflowStep(chosen if self.history else "a", "research")

    agent = ArticleAgent(plan(step("a"), step("b", after=["d"]), step("c", after=["b"]), step("d")))
    result = await Stubborn(agent).run("g")
    assert (result["state"], agent.did) == ("FAILED", ["a"])
    assert result["reason"].startswith("No step can start: get_next_step chose one that has ended or is not in")


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("method", ["validate_plan", "validate_result"])
@pytest.mark.parametrize("kind", ["a coroutine", "a generator", "a text"])
async def test_an_overridden_method_accepts_by_true_and_by_nothing_else(method: str, kind: str) -> None:
    async def later(*_: Any) -> bool:
        return False

    def stepwise(*_: Any) -> Any:
        yield False

    gives = {"a coroutine": later, "a generator": stepwise, "a text": lambda *_: "no"}[kind]
    agent = ArticleAgent(plan(step("a")))
    result = await type("Mistaken", (AgenticWorkflow,), {method: gives})(agent).run("g")
    assert (result["state"], method == "validate_result" or agent.did == []) == ("FAILED", True)
    assert f"{method} gave a {type(gives()).__name__}, which is neither True nor False." in str(result["history"])


def spoil(*values: Any) -> None:
    """Change whatever can be changed in these."""
    for value in values:
        if isinstance(value, dict | list):
            spoil(*(value.values() if isinstance(value, dict) else value))
        if isinstance(value, dict):
            value |= {"name": "spoilt", "text": "spoilt"}


class Spoiling(AgenticWorkflow):
    def validate_plan(self, plan: Any) -> bool:
        spoil(plan)
        return True

    def validate_result(self, step: WorkflowStep, result: Any) -> bool:
        spoil(step.inputs, result)
        return True

    def get_next_step(self) -> WorkflowStep | None:
        spoil(self.current_plan, self.history, self.get_results())
        following = super().get_next_step()
        spoil(following.inputs if following else None)
        return following


async def test_what_an_overridden_method_does_to_what_it_is_handed_reaches_nobody() -> None:
    act = RecordingAction("act", result=[{"said": "mine"}] * 2)
    steps = [
        step("a", "act", inputs={"text": "a"}, outputs=["many"]),
        step("b", "act", inputs={"text": "b"}, foreach="${many}"),
        step("c", "act", inputs={"text": "c"}),
    ]
    result = await Spoiling(ArticleAgent(plan(*steps)), actions=act).run("g")
    assert (result["state"], [call["text"] for call in act.calls]) == ("COMPLETE", ["a", "b", "b", "c"])
    assert "spoilt" not in str(result)


async def test_an_overridden_plan_with_the_articles_signature_is_called() -> None:
    goals = []

    class Noting(AgenticWorkflow):
        async def plan(self, goal: str) -> Any:  # type: ignore[override]  # the article's signature
            goals.append(goal)
            return await super().plan(goal)

    agent = ArticleAgent({}, plan(step("a")))
    result = await Noting(agent).run("g")
    assert (result["state"], goals, agent.did, len(agent.histories[1])) == ("COMPLETE", ["g", "g"], ["a"], 1)


async def test_an_overridden_execute_next_step_is_called_for_every_step() -> None:
    calls = []

    class Noting(AgenticWorkflow):
        async def execute_next_step(self) -> Any:
            calls.append(entry := await super().execute_next_step())
            return entry

    agent = ArticleAgent(TWO_REVIEWS)
    workflow = Noting(agent)
    asked = (await workflow.run("g"))["reviews"]
    assert (workflow.state, agent.did) == (WorkflowState.REVIEWING, [])
    result = await workflow.resume([approve(one["id"]) for one in asked])
    assert (result["state"], agent.did) == ("COMPLETE", ["one", "two"])
    assert [entry["step"] for entry in calls if entry] == ["one", "two"]


async def test_an_overridden_review_progress_that_only_looks_is_called_once_and_the_run_waits() -> None:
    class Looking(AgenticWorkflow):
        looks = 0

        async def review_progress(self, answers: Any = None) -> dict[str, Any]:
            self.looks += 1
            return {}

    workflow = Looking(ArticleAgent(REVIEWED))
    result = await workflow.run("g", thread_id="t")
    assert (result["state"], workflow.looks) == ("REVIEWING", 1)
    await workflow.resume(thread_id="t")
    assert workflow.looks == 2


async def test_an_overridden_review_progress_answers() -> None:
    class Trusting(AgenticWorkflow):
        async def review_progress(self, answers: Any = None) -> dict[str, Any]:
            open_ids = [one["id"] for one in self.get_results()["reviews"]]
            return await super().review_progress(answers or {one: approve() for one in open_ids})

    agent = ArticleAgent(TWO_REVIEWS)
    result = await Trusting(agent).run("g")
    assert (result["state"], agent.did) == ("COMPLETE", ["one", "two"])


class Walking(AgenticWorkflow):
    """Has a hand in every transition."""

    async def plan(self, goal: str | None = None) -> Any:
        return await super().plan(goal)

    async def execute_next_step(self) -> Any:
        return await super().execute_next_step()

    async def review_progress(self, answers: Any = None) -> dict[str, Any]:
        return await super().review_progress(answers)


@pytest.mark.parametrize("first_fails", [False, True])
async def test_a_second_goal_on_a_thread_is_a_run_of_its_own_in_a_subclass(*, first_fails: bool) -> None:
    def broken(_: WorkflowStep) -> Any:
        raise ValueError("broken")

    agent = ArticleAgent(plan(step("a")), plan(step("b")), results={"a": broken} if first_fails else {})
    workflow = Walking(agent)
    first = await workflow.run("first", thread_id="t")
    second = await workflow.run("second", thread_id="t")
    assert [one["goal"] for one in (first, second)] == ["first", "second"]
    assert (first["state"], second["state"], agent.did[-1]) == (
        "FAILED" if first_fails else "COMPLETE",
        "COMPLETE",
        "b",
    )
    assert first["run_id"] != second["run_id"]


async def test_a_stream_calls_what_a_subclass_overrides_and_yields_what_happens() -> None:
    class Refusing(Walking):
        async def execute_next_step(self) -> Any:
            if len(agent.did) == 1:
                raise PermissionError("not today")
            return await super().execute_next_step()

    agent, seen = ArticleAgent(plan(step("a"), step("b"))), list[Event]()
    workflow = Refusing(agent)

    async def follow() -> None:
        async for event in workflow.stream("g", thread_id="t"):
            seen.append(event)

    with pytest.raises(PermissionError, match="not today"):
        await follow()
    told = [type(event).__name__ for event in seen if not isinstance(event, StateEntered)]
    assert told == ["RunStarted", "PlanProposed", "PlanAccepted", "StepStarted", "StepSucceeded"]
    assert (workflow.state, agent.did) == (WorkflowState.EXECUTING, ["a"])


async def test_a_stream_of_a_subclass_goes_on_after_an_answer_and_tells_why_it_fails() -> None:
    class Idle(Walking):
        async def execute_next_step(self) -> Any:
            return None if self.history and agent.did else await super().execute_next_step()

    agent = ArticleAgent(plan(step("a", human_review_required=True), step("b")))
    workflow = Idle(agent)
    assert [type(event) async for event in workflow.stream("g")][:1] == [RunStarted]
    assert (workflow.state, agent.did) == (WorkflowState.REVIEWING, [])
    last = [event async for event in workflow.resume_stream(approve())][-1]
    assert isinstance(last, StateEntered)
    assert (last.state, last.reason) == ("FAILED", "The method for EXECUTING made no progress.")
    assert (workflow.state, agent.did) == (WorkflowState.FAILED, ["a"])


async def test_who_leaves_the_stream_of_a_subclass_has_ended_its_walk() -> None:
    agent = ArticleAgent(plan(step("a"), step("b")))
    workflow = Walking(agent)
    before = asyncio.all_tasks()
    async with aclosing(cast("AsyncGenerator[Event, None]", workflow.stream("g", thread_id="t"))) as events:
        async for event in events:
            if isinstance(event, StepStarted):
                break
    assert (asyncio.all_tasks(), await workflow.database.journal.is_held()) == (before, False)
    assert ((await workflow.resume())["state"], agent.did[-1]) == ("COMPLETE", "b")


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_one_object_of_a_subclass_runs_several_goals_at_once(*, is_streamed: bool) -> None:
    class Looking(Walking):
        async def execute_next_step(self) -> Any:
            await asyncio.sleep(0.01 * len(str(self.current_plan)) % 0.03)
            entry = await super().execute_next_step()
            goal, did = str((self.current_plan or {})["goal"]), [str(one["step"]) for one in self.history]
            assert all(name.startswith(goal) for name in did)
            looks.append(goal)
            return entry

    async def run(goal: str) -> dict[str, Any]:
        if not is_streamed:
            return await workflow.run(goal, thread_id=goal)
        seen = [event async for event in workflow.stream(goal, thread_id=goal)]
        started = [event.step for event in seen if isinstance(event, StepStarted)]
        assert all(name.startswith(goal) for name in started)
        return await workflow.result(goal)

    def planned(goal: str, history: object) -> Any:  # noqa: ARG001 - as agents are called
        names = [f"{goal}{at}" for at in range(3)]
        return {"goal": goal, "steps": [{"name": name, "action": "act", "inputs": {}} for name in names]}

    goals, looks = ["ada", "bob", "cleo"], list[str]()
    workflow = Looking(ScriptedAgent([planned] * 3), actions=[RecordingAction("act", result=1, delay=0.01)])
    results = await asyncio.gather(*map(run, goals))
    assert [(one["goal"], one["state"], one["iterations"]) for one in results] == [
        (goal, "COMPLETE", 4) for goal in goals
    ]
    assert {goal: looks.count(goal) for goal in goals} == dict.fromkeys(goals, looks.count("ada"))
    assert (len(await workflow.runs()), workflow.get_results()["thread_id"] in goals) == (3, True)


@pytest.mark.parametrize("error", [FileNotFoundError("no template"), ValueError("odd"), KeyError("x")])
async def test_an_error_of_a_subclass_is_its_own_and_none_of_the_database(error: Exception, tmp_path: Path) -> None:
    class Faulty(AgenticWorkflow):
        async def execute_next_step(self) -> Any:
            raise error

    with pytest.raises(type(error), match=str(error)):
        await Faulty(ArticleAgent(plan(step("a"))), database=tmp_path / "runs.db").run("g")


async def test_an_override_that_does_nothing_ends_with_a_reason() -> None:
    class Idle(AgenticWorkflow):
        async def execute_next_step(self) -> Any:
            return None

    result = await Idle(ArticleAgent(plan(step("a")))).run("g")
    assert (result["state"], bool(result["reason"])) == ("FAILED", True)
