# ruff: noqa: ARG001 - fakes have the parameters of what they stand for

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from traceback import format_exception
from typing import Any

import pytest
import tenacity
from langchain_core.tools import StructuredTool
from pydantic import BaseModel, TypeAdapter, ValidationError, field_validator

from agentic_workflows.actions.action import Action, ActionCall
from agentic_workflows.actions.langchain_tools import from_tool
from agentic_workflows.errors import ActionError, WorkspaceError
from agentic_workflows.execution.attempt import attempt_once
from agentic_workflows.execution.case import make_case
from agentic_workflows.execution.dispatch import CUT
from agentic_workflows.execution.grants import Grants
from agentic_workflows.execution.point import ExecutionPoint
from agentic_workflows.execution.run_pass import RunPass
from agentic_workflows.graph.catalogue import ActionSpec, Annotations
from agentic_workflows.graph.events import AttemptFailed, Event, StepStarted
from agentic_workflows.graph.findings import MOST_FINDINGS, Finding
from agentic_workflows.graph.outcome import Outcome, OutcomeStatus
from agentic_workflows.graph.plan import WorkflowStep
from agentic_workflows.graph.review import Answer, approve, edit, respond
from agentic_workflows.graph.state import Limits
from agentic_workflows.graph.values import JsonObject
from agentic_workflows.policies.decision import ActionRequest, Allow, Ask, Decision, Deny, Rule, StaticDecision
from agentic_workflows.policies.provenance import Provenance
from agentic_workflows.testing import RecordingAction, answer_rows, memory_log

NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


class Engine:
    """Decides by a function of the request, and notes each request."""

    digest = "policy"

    def __init__(self, decide: Callable[[ActionRequest], Decision] = lambda _: Allow()) -> None:
        self._decide = decide
        self.requests: list[ActionRequest] = []

    def decide(self, request: ActionRequest, *, approved: bool = False) -> Decision:
        self.requests.append(request)
        decision = self._decide(request)
        return Allow() if approved and isinstance(decision, Ask) else decision

    def decide_early(self, step: WorkflowStep, action: ActionSpec, provenance: Provenance | None) -> StaticDecision:
        return self._decide(ActionRequest(action=action, inputs=step.inputs, provenance=provenance))


class Bench:
    """An execution point, and one pass through it."""

    def __init__(self, engine: Engine | None = None, *, limits: Limits | None = None, check: Any = None) -> None:
        self.events: list[Event] = []
        self.point = ExecutionPoint(engine or Engine(), check_result=check)
        self.run = RunPass(
            run_id="r",
            plan="p",
            asked_under="p",
            policy=self.point.engine.digest,
            limits=limits or Limits(),
            emit=self.events.append,
            log=memory_log(),
        )

    def grant(self, answer: Answer) -> None:
        self.run.grants, self.run.log = Grants(rows=answer_rows([answer])), memory_log(answers=[answer])

    async def execute(self, action: Action, inputs: Mapping[str, Any] | None = None, **step: Any) -> Outcome:
        outcome = await self.point.execute(call(action, inputs, **step), action, self.run)
        await self.run.log.flush()
        return outcome


def call(action: Action, inputs: Mapping[str, Any] | None = None, **step: Any) -> ActionCall:
    given = dict(inputs or {})
    return ActionCall(action=action.name, inputs=given, step=WorkflowStep("s", action.name, given, **step), run_id="r")


def doing(run: Callable[[ActionCall], Awaitable[object]], **notes: Any) -> Action:
    return Action(name="act", run=run, annotations=Annotations(**notes))


def summary(outcome: Outcome) -> tuple[str, object, str]:
    return str(outcome.status), outcome.result, outcome.reason


async def test_a_call_that_is_allowed_runs_once_with_its_inputs() -> None:
    bench, action = Bench(), RecordingAction("act", result={"x": 1})
    outcome = await bench.execute(action, {"n": 1})
    assert (summary(outcome), outcome.attempts, action.calls) == (("succeeded", {"x": 1}, ""), 1, [{"n": 1}])
    assert [type(event) for event in bench.events] == [StepStarted]


async def test_a_denied_call_never_runs() -> None:
    rule = Rule(id="no-acts", place="mine.cedar:3")
    bench, action = Bench(Engine(lambda _: Deny(rules=(rule,), reason="Never."))), RecordingAction("act")
    assert summary(await bench.execute(action)) == (
        "denied", None, "Policy denies it: Never. [no-acts (mine.cedar:3)]",
    )  # fmt: skip
    assert (action.calls, bench.events) == ([], [])


async def test_a_call_that_asks_waits_with_its_question() -> None:
    bench, action = Bench(Engine(lambda _: Ask(reason="Why?"))), RecordingAction("act")
    outcome = await bench.execute(action, {"n": 1})
    assert (outcome.status, action.calls) == (OutcomeStatus.ASKED, [])
    assert outcome.ask is not None
    assert (outcome.ask["args"], outcome.ask["reason"], outcome.ask["step"]) == ({"n": 1}, "Why?", "s")


async def asked(bench: Bench, action: Action, inputs: Mapping[str, Any] | None = None) -> str:
    question = bench.point.question(call(action, inputs), action, bench.run)
    assert question is not None
    return question.id


async def test_an_approval_is_for_exactly_these_inputs_and_used_once() -> None:
    bench, action = Bench(Engine(lambda _: Ask(reason="Why?"))), RecordingAction("act")
    one = await asked(bench, action, {"n": 1})
    bench.grant(approve(one))
    assert (await bench.execute(action, {"n": 2})).status == OutcomeStatus.ASKED
    assert (await bench.execute(action, {"n": 1})).status == OutcomeStatus.SUCCEEDED
    assert (await bench.execute(action, {"n": 1})).status == OutcomeStatus.ASKED
    assert (action.calls, bench.run.grants.answer(one)) == ([{"n": 1}], None)


async def test_an_approval_overrules_no_denial() -> None:
    bench, action = Bench(Engine(lambda _: Deny(reason="Never."))), RecordingAction("act")
    key = make_case(call(action), action, bench.run).review_id
    bench.grant(approve(key))
    assert (await bench.execute(action)).status == OutcomeStatus.DENIED
    assert action.calls == []


async def test_an_edit_runs_with_its_inputs_after_they_are_decided_on() -> None:
    def by_inputs(request: ActionRequest) -> Decision:
        return Deny(reason="13.") if request.inputs.get("n") == 13 else Ask(reason="Why?")

    for given, status, calls in [(2, "succeeded", [{"n": 2}]), (13, "denied", []), ("x", "failed", [])]:
        bench, action = Bench(Engine(by_inputs)), RecordingAction("act", input_schema=NUMBER)
        one = await asked(bench, action, {"n": 1})
        bench.grant(edit({"n": given}, one))
        assert (await bench.execute(action, {"n": 1})).status == status
        assert (action.calls, bench.run.grants.answer(one)) == (calls, None)


async def test_a_response_is_the_result_and_is_checked_like_one() -> None:
    for message, status in [("fine", "succeeded"), (5, "failed")]:
        bench, action = Bench(Engine(lambda _: Ask(reason="Why?"))), RecordingAction("act")
        one = await asked(bench, action)
        bench.grant(respond(message, one))
        outcome = await bench.execute(action, validation={"type": "string"})
        assert (outcome.status, outcome.result, action.calls) == (status, message, [])


async def test_inputs_that_break_the_schema_reach_neither_policy_nor_action() -> None:
    engine, action = Engine(), RecordingAction("act", input_schema=NUMBER)
    outcome = await Bench(engine).execute(action, {"n": "x"})
    assert (outcome.status, action.calls, engine.requests) == (OutcomeStatus.FAILED, [], [])
    assert outcome.reason.startswith('s.inputs.n: "x" is not of type "integer".')


async def test_policy_sees_how_many_calls_of_the_action_started() -> None:
    engine, action = Engine(), RecordingAction("act")
    bench = Bench(engine)
    await asyncio.gather(*(bench.execute(action) for _ in range(3)))
    assert [request.count for request in engine.requests] == [0, 1, 2]
    assert bench.run.counts == {"act": 3}


async def test_a_limit_on_the_count_holds_among_calls_at_the_same_time() -> None:
    engine = Engine(lambda request: Allow() if request.count < 2 else Deny(reason="Enough."))
    bench, action = Bench(engine), RecordingAction("act", delay=0.01)
    outcomes = await asyncio.gather(*(bench.execute(action) for _ in range(5)))
    assert (len(action.calls), [one.status for one in outcomes].count(OutcomeStatus.DENIED)) == (2, 3)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("broken"), SystemExit(3), asyncio.CancelledError("gone"), TimeoutError("mine"),
        ActionError("broken"), ExceptionGroup("many", [ValueError("broken")]),
        BaseExceptionGroup("many", [SystemExit(3)]), RecursionError("deep"), StopIteration("end"),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
async def test_whatever_an_action_raises_fails_its_step_only(error: BaseException) -> None:
    async def raising(_: ActionCall) -> object:
        raise error

    outcome = await Bench().execute(doing(raising, read_only=True))
    assert (outcome.status, outcome.result, outcome.attempts) == (OutcomeStatus.FAILED, None, 1)
    assert outcome.reason


async def test_what_the_errors_of_a_group_say_is_told_without_the_values_that_pydantic_shows() -> None:
    async def raising(_: ActionCall) -> object:
        with pytest.raises(ValidationError) as unfit:
            TypeAdapter(int).validate_python("s3cret")
        inside = ExceptionGroup("inside", [OSError(str(at)) for at in range(5)])
        raise ExceptionGroup("unhandled errors in a TaskGroup", [inside, unfit.value])

    outcome = await Bench().execute(doing(raising, read_only=True))
    assert outcome.reason.startswith("act raised ExceptionGroup: unhandled errors in a TaskGroup (2 sub-exceptions): ")
    assert "(5 sub-exceptions): OSError: 0; OSError: 1; OSError: 2 and 2 more; ValidationError: " in outcome.reason
    assert "s3cret" not in outcome.reason


async def test_an_action_that_cancels_its_own_task_fails_its_step_only() -> None:
    async def cancelling(_: ActionCall) -> object:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(60)
        return None

    outcome = await asyncio.create_task(Bench().execute(doing(cancelling, read_only=True)))
    assert outcome.status == OutcomeStatus.FAILED


async def test_an_error_that_is_its_own_cause_fails_its_step_only() -> None:
    async def raising(_: ActionCall) -> object:
        error = ValueError("broken")
        raise error from error

    assert (await Bench().execute(doing(raising))).reason == "act raised ValueError: broken"


async def test_an_error_that_cannot_say_what_it_is_fails_its_step_only() -> None:
    class SilentError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    async def raising(_: ActionCall) -> object:
        raise SilentError

    assert (await Bench().execute(doing(raising))).reason == "act raised SilentError: "


@pytest.mark.parametrize("is_tool", [True, False])
async def test_what_an_action_was_given_stands_in_no_error_of_it(is_tool: bool) -> None:  # noqa: FBT001
    class Given(BaseModel):
        token: str

        @field_validator("token")
        @classmethod
        def refuse(cls, _: str) -> str:
            raise ValueError("wrong prefix")

    async def check(call: ActionCall) -> object:
        return Given.model_validate(call.inputs)

    tool = StructuredTool.from_function(lambda token: token, name="act", description="Act.", args_schema=Given)
    outcome = await Bench().execute(from_tool(tool) if is_tool else doing(check), {"token": "tok-4711"})
    assert outcome.reason == "act raised ValidationError: token: Value error, wrong prefix"


async def test_an_error_shows_no_secret_also_in_what_it_was_raised_from_and_still_says_if_it_quotes() -> None:
    async def fail(call: ActionCall) -> object:
        raise WorkspaceError(f"There is no {call.inputs['token']}.")

    secrets = {"token": "hunter2-hunter2"}
    call = ActionCall(action="act", inputs=secrets, step=WorkflowStep("s", "act", {}), run_id="r")
    with pytest.raises(ActionError, match="There is no") as raised:
        await attempt_once(call, Action(name="act", run=fail), Limits(), secrets)
    assert (secrets["token"] in "".join(format_exception(raised.value)), raised.value.quotes_output) == (False, False)


async def test_an_action_may_change_its_inputs_and_nobody_elses() -> None:
    async def changing(call: ActionCall) -> object:
        names: Any = call.inputs["names"]
        seen.append([*names])
        names.append("mallory")
        raise ActionError("broken")

    seen: list[list[str]] = []
    given = {"names": ["ada"]}
    await Bench().execute(doing(changing, read_only=True), given, retries=1)
    assert (seen, given) == ([["ada"], ["ada"]], {"names": ["ada"]})


async def test_an_action_may_change_its_step_and_nothing_of_the_plan() -> None:
    async def changing(call: ActionCall) -> object:
        step: Any = call.step
        seen.append(step.to_json())
        step.inputs["names"].append("mallory")
        step.validation["enum"].append(1)
        return 1

    seen: list[Any] = []
    action = doing(changing)
    made = call(action, {"names": ["ada"]}, validation={"enum": [2]}, outputs=["x"])
    bench = Bench()
    assert (await bench.point.execute(made, action, bench.run)).status == OutcomeStatus.FAILED
    planned = WorkflowStep("s", "act", {"names": ["ada"]}, ["x"], {"enum": [2]})
    assert (seen, made.step) == ([planned.to_json()], planned)


@pytest.mark.parametrize(
    "result",
    [object(), {1, 2}, float("nan"), {"a": b"x"}, {1: 2}, lambda: 1, 2**70, "\ud800", {"deep": object()}],
    ids=["object", "set", "nan", "bytes", "key", "function", "number", "text", "deep"],
)
@pytest.mark.parametrize("validation", [None, {"not": {"type": "null"}}])
async def test_a_result_that_is_no_json_fails_the_step(result: object, validation: Any) -> None:
    async def giving(_: ActionCall) -> object:
        return result

    outcome = await Bench().execute(doing(giving), validation=validation)
    assert (outcome.status, outcome.result) == (OutcomeStatus.FAILED, None)
    assert "act" in outcome.reason


@pytest.mark.parametrize("inputs", [{"n": "\ud800"}, {"n": float("nan")}, {"n": 2**70}], ids=["text", "nan", "number"])
async def test_inputs_that_are_no_json_fail_the_step(inputs: dict[str, Any]) -> None:
    bench = Bench(Engine(lambda _: Ask(reason="Why?")))
    outcome = await bench.execute(RecordingAction("act", input_schema={"type": "object", "minProperties": 1}), inputs)
    assert outcome.status in {OutcomeStatus.FAILED, OutcomeStatus.ASKED}


async def test_a_result_must_satisfy_output_schema_validation_and_outputs() -> None:
    cases: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        (
            {"output_schema": {"type": "string"}},
            {},
            's.output schema: The result does not pass: 5 is not of type "string".',
        ),
        (
            {},
            {"validation": {"minimum": 6}},
            "s.validation: The result does not pass: 5 is less than the minimum of 6.",
        ),
        ({}, {"outputs": ["a", "b"]}, "s.outputs: The result is a int that does not have the outputs a, b by name."),
    ]
    for action, step, reason in cases:
        assert summary(await Bench().execute(RecordingAction("act", result=5, **action), **step)) == (
            "failed", 5, reason,
        )  # fmt: skip


async def test_what_is_said_of_a_failure_has_an_end() -> None:
    each: JsonObject = {"items": {"type": "string"}}
    many = await Bench().execute(RecordingAction("act", result=[5] * 50_000), validation=each)
    assert (many.status, many.reason.count("s.validation")) == (OutcomeStatus.FAILED, MOST_FINDINGS)
    given = await Bench().execute(
        RecordingAction("act", input_schema={"properties": {"names": each}}), {"names": [5] * 50_000}
    )
    assert (given.status, given.reason.count("inputs.names")) == (OutcomeStatus.FAILED, MOST_FINDINGS)

    async def talkative(_: ActionCall) -> str:
        raise ActionError("no " * 1_000_000)

    told = await Bench().execute(doing(talkative))
    assert (told.status, len(told.reason) < 11_000) == (OutcomeStatus.FAILED, True)


async def test_a_failed_validation_makes_no_second_attempt() -> None:
    action = RecordingAction("act", result=5)
    outcome = await Bench().execute(action, validation={"type": "string"}, retries=3)
    assert (outcome.status, outcome.attempts, len(action.calls)) == (OutcomeStatus.FAILED, 1, 1)


async def test_a_check_of_a_subclass_comes_last_and_its_fault_fails_the_step() -> None:
    def refusing(step: WorkflowStep, result: object) -> list[Finding]:
        return [Finding(step=step.name, problem=f"{result} is not enough.")]

    def broken(step: WorkflowStep, result: object) -> list[Finding]:
        raise RuntimeError("the check is broken")

    assert summary(await Bench(check=refusing).execute(RecordingAction("act", result=5)))[::2] == (
        "failed", "s: 5 is not enough.",
    )  # fmt: skip
    assert (await Bench(check=broken).execute(RecordingAction("act"))).status == OutcomeStatus.FAILED
    content = await Bench(check=lambda *_: []).execute(RecordingAction("act", result=5), validation={"type": "string"})
    assert content.status == OutcomeStatus.FAILED, "it takes back nothing"
    effect = await Bench(check=broken).execute(RecordingAction("act", read_only=False))
    assert (effect.status, effect.took_place) == (OutcomeStatus.FAILED, True), "no other plan does it again in silence"


async def test_an_attempt_that_takes_too_long_is_cut() -> None:
    ended: list[str] = []

    async def hanging(_: ActionCall) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cut")

    for step, limits in [({"timeout": timedelta(milliseconds=20)}, Limits()), ({}, Limits(step_timeout=0.02))]:
        outcome = await Bench(limits=limits).execute(doing(hanging), **step)
        assert (outcome.status, outcome.reason) == (OutcomeStatus.ASKED, "act did not finish within 0.02 s.")
        assert outcome.ask is not None
        assert outcome.ask["in_doubt"]
    assert ended == ["cut", "cut"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize(
    "notes, attempts",
    [({"read_only": True}, 3), ({"idempotent": True}, 3), ({}, 1), ({"destructive": False, "open_world": False}, 1)],
)
async def test_only_what_may_be_repeated_is_tried_again(notes: dict[str, Any], attempts: int) -> None:
    async def failing(_: ActionCall) -> None:
        raise ConnectionError("lost")

    bench = Bench()
    outcome = await bench.execute(doing(failing, **notes), retries=2)
    assert outcome.status == (OutcomeStatus.FAILED if attempts > 1 else OutcomeStatus.ASKED), (
        "a lost effect is in doubt"
    )
    again = [event.attempt for event in bench.events if isinstance(event, AttemptFailed)]
    assert again == list(range(1, attempts))


async def test_a_second_attempt_may_succeed() -> None:
    left = [ValueError("first")]

    async def recovering(_: ActionCall) -> str:
        if left:
            raise left.pop()
        return "ok"

    outcome = await Bench().execute(doing(recovering, read_only=True), retries=1)
    assert (outcome.status, outcome.result, outcome.attempts) == (OutcomeStatus.SUCCEEDED, "ok", 2)


@pytest.mark.parametrize("notes", [{"read_only": True}, {"idempotent": True}])
async def test_a_request_to_stop_ends_the_wait_for_a_further_attempt_and_the_call_has_not_ended(
    notes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenacity, "wait_random_exponential", lambda **_: tenacity.wait_fixed(60))
    bench, act = Bench(), RecordingAction("act", error=ValueError("no"), **{"read_only": False, **notes})
    looks = iter([False])
    bench.run.is_stopped = lambda: next(looks, True)
    assert await asyncio.wait_for(bench.execute(act, retries=3), 5) is CUT
    assert (len(act.calls), bench.run.log.outcomes_of("p")) == (1, {})


async def test_no_more_calls_run_than_the_limit_says() -> None:
    now, most = 0, 0

    async def counting(_: ActionCall) -> None:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        await asyncio.sleep(0.005)
        now -= 1

    bench = Bench(limits=Limits(max_parallel=3))
    await asyncio.gather(*(bench.execute(doing(counting)) for _ in range(10)))
    assert most == 3


async def test_what_a_call_waits_for_before_its_effect_is_no_part_of_how_long_that_took() -> None:
    bench, mail = Bench(limits=Limits(max_parallel=1)), RecordingAction("send", read_only=False)
    async with bench.run.slots:
        waits = asyncio.ensure_future(bench.execute(mail))
        await asyncio.sleep(0.1)
    done = await waits
    assert (mail.has_effect, done.seconds < 0.1, done.span[1] <= time.time()) == (True, True, True)


async def test_cancelling_a_call_stops_the_action() -> None:
    ended: list[str] = []

    async def hanging(_: ActionCall) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cut")

    running = asyncio.create_task(Bench().execute(doing(hanging)))
    await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended == ["cut"]


async def test_a_question_is_asked_once_and_only_where_policy_asks() -> None:
    action = RecordingAction("act", input_schema=NUMBER)
    asking, allowing = Bench(Engine(lambda _: Ask(reason="Why?"))), Bench()
    assert allowing.point.question(call(action, {"n": 1}), action, allowing.run) is None
    assert asking.point.question(call(action, {"n": "x"}), action, asking.run) is None
    question = asking.point.question(call(action, {"n": 1}), action, asking.run)
    assert question is not None
    asking.grant(approve(question.id))
    assert asking.point.question(call(action, {"n": 1}), action, asking.run) is None
    other = replace(asking.run, run_id="another")
    assert asking.point.question(call(action, {"n": 1}), action, other) != question
