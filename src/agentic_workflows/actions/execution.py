"""The execution point: the one place where an action is executed.

Whatever stands between a plan and the world stands here, in this order: the inputs against the action's schema, the
policy's decision on exactly these inputs, the attempt with its time limit, the result against its schemas.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import perf_counter

from agentic_workflows.actions.action import Action, ActionCall
from agentic_workflows.actions.contained import ContainedError, contained
from agentic_workflows.actions.tracing import Span, current_span
from agentic_workflows.errors import ActionError
from agentic_workflows.graph.checks import compiled, input_findings
from agentic_workflows.graph.events import AttemptFailed, Event, StepStarted
from agentic_workflows.graph.findings import Finding
from agentic_workflows.graph.outcome import Outcome, OutcomeStatus, named_outputs
from agentic_workflows.graph.plan import WorkflowStep
from agentic_workflows.graph.review import Answer, Edit, Question, Respond, review_id
from agentic_workflows.graph.state import Limits
from agentic_workflows.graph.values import JsonValue, as_json, canonical
from agentic_workflows.policies.decision import ActionRequest, Ask, Deny, PolicyEngine, Rule

Attempt = Callable[[], Coroutine[None, None, JsonValue]]
ResultCheck = Callable[[WorkflowStep, JsonValue], Sequence[Finding]]


@dataclass(kw_only=True)
class RunPass:
    """What the calls of one pass through the execute node share."""

    run_id: str
    plan: str
    """The plan's digest."""
    limits: Limits
    emit: Callable[[Event], None]
    counts: dict[str, int] = field(default_factory=dict)
    """Calls started, by action, over the whole run."""
    answers: dict[str, Answer] = field(default_factory=dict)
    """By review id; removed when used."""
    span: Span = field(default_factory=current_span)
    """Opens the span of a call, where somebody traces."""
    slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self.slots = asyncio.Semaphore(self.limits.max_parallel)


class ExecutionPoint:
    """Executes action calls, each only under the decision that covers exactly its inputs.

    Args:
        engine: decides every call.
        check_result: what else a step's result must satisfy.

    """

    def __init__(self, engine: PolicyEngine, *, check_result: ResultCheck | None = None) -> None:
        self._engine = engine
        self._check_result = check_result

    def question(self, call: ActionCall, action: Action, run: RunPass) -> Question | None:
        """Return what a person would be asked before this call; None where nothing is asked or it is answered."""
        if self._review_id(call, run) in run.answers or list(input_findings(call.step.name, call.inputs, action)):
            return None
        decision = self._engine.decide(_request(call, action, run))
        return self._question(call, decision, run) if isinstance(decision, Ask) else None

    def inputs(self, call: ActionCall, run: RunPass) -> Mapping[str, JsonValue]:
        """Return the inputs that a call is executed with: its own, or those that a person put in their place."""
        answer = run.answers.get(self._review_id(call, run))
        return answer.inputs if isinstance(answer, Edit) else call.inputs

    async def execute(self, call: ActionCall, action: Action, run: RunPass) -> Outcome:
        """Execute one call and return what became of it; raises nothing but cancellation."""
        started, clock = datetime.now(UTC).isoformat(), perf_counter()
        async with run.slots:
            try:
                outcome = await self._traced(call, action, run)
            except Exception as error:  # noqa: BLE001 - a subclass's check, an action's schema: other people's code
                outcome = Outcome(status=OutcomeStatus.FAILED, reason=f"{type(error).__name__}: {error}")
        return replace(outcome, started=started, seconds=perf_counter() - clock)

    async def _traced(self, call: ActionCall, action: Action, run: RunPass) -> Outcome:
        asked = self._review_id(call, run)
        answer = run.answers.get(asked)
        if isinstance(answer, Edit):
            call = replace(call, inputs=answer.inputs, step=replace(call.step, inputs=answer.inputs))
        with run.span(call.step, call.inputs, call.item) as record:
            outcome = await self._decide(call, action, run, asked, answer)
            record(outcome)
        return outcome

    async def _decide(
        self, call: ActionCall, action: Action, run: RunPass, asked: str, answer: Answer | None
    ) -> Outcome:
        if isinstance(answer, Respond):
            del run.answers[asked]
            return self._checked(call, action, answer.message, attempts=0)
        if findings := list(input_findings(call.step.name, call.inputs, action)):
            run.answers.pop(asked, None)
            return Outcome(status=OutcomeStatus.FAILED, reason=_joined(findings))
        decision = self._engine.decide(_request(call, action, run), approved=answer is not None)
        if isinstance(decision, Ask):
            return Outcome(status=OutcomeStatus.ASKED, ask=self._question(call, decision, run).to_json())
        run.answers.pop(asked, None)
        if isinstance(decision, Deny):
            return Outcome(status=OutcomeStatus.DENIED, reason=_because(decision))
        # No await between the decision and the count it was made on.
        run.counts[call.action] = run.counts.get(call.action, 0) + 1
        return await self._attempt(call, action, run)

    async def _attempt(self, call: ActionCall, action: Action, run: RunPass) -> Outcome:
        run.emit(StepStarted(step=call.step.name, action=call.action, item=call.item))
        most = 1 + (call.step.retries if action.annotations.is_retryable else 0)
        attempts = 0

        async def attempt() -> JsonValue:
            nonlocal attempts
            attempts += 1
            return await _once(call, action, run.limits)

        try:
            result = await attempt() if most == 1 else await _retrying(attempt, most, call, run)
        except ActionError as error:
            return Outcome(status=OutcomeStatus.FAILED, reason=str(error), attempts=attempts)
        return self._checked(call, action, result, attempts=attempts)

    def _checked(self, call: ActionCall, action: Action, result: JsonValue, *, attempts: int) -> Outcome:
        """Return a result as an outcome, once it satisfies all that is asked of it."""
        findings = list(_result_findings(call.step, action, result))
        if not findings and self._check_result:
            findings = list(self._check_result(call.step, result))
        if findings:
            reason = _joined(findings)
            return Outcome(status=OutcomeStatus.FAILED, result=result, reason=reason, attempts=attempts)
        return Outcome(status=OutcomeStatus.SUCCEEDED, result=result, attempts=attempts)

    def _question(self, call: ActionCall, decision: Ask, run: RunPass) -> Question:
        return Question(
            id=self._review_id(call, run),
            step=call.step.name,
            item=call.item,
            action=call.action,
            inputs=dict(call.inputs),
            reason=decision.reason,
            rules=tuple(rule.id for rule in decision.rules),
        )

    def _review_id(self, call: ActionCall, run: RunPass) -> str:
        return review_id(
            run_id=run.run_id,
            plan=run.plan,
            policy=self._engine.digest,
            step=call.step.name,
            item=call.item,
            inputs=dict(call.inputs),
        )


def _request(call: ActionCall, action: Action, run: RunPass) -> ActionRequest:
    return ActionRequest(
        action=action,
        inputs=call.inputs,
        human_review_required=call.step.human_review_required,
        count=run.counts.get(call.action, 0),
    )


async def _once(call: ActionCall, action: Action, limits: Limits) -> JsonValue:
    """Make one attempt; whatever the action does wrong becomes an `ActionError`."""
    seconds = (call.step.timeout or limits.default_timeout).total_seconds()
    try:
        result = await contained(action.run(call), seconds)
    except TimeoutError as error:
        raise ActionError(f"{call.action} did not finish within {seconds:g} s.") from error
    except ActionError:
        raise
    except ContainedError as error:
        raise ActionError(f"{call.action} raised {error}") from error
    except Exception as error:
        raise ActionError(f"{call.action} raised {type(error).__name__}: {error}") from error
    return as_json(result, where=f"The result of {call.action}")


async def _retrying(attempt: Attempt, most: int, call: ActionCall, run: RunPass) -> JsonValue:
    import tenacity  # noqa: PLC0415 - most runs never retry

    def note(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        failed = AttemptFailed(step=call.step.name, attempt=state.attempt_number, reason=str(error), item=call.item)
        run.emit(failed)

    retrying = tenacity.AsyncRetrying(
        stop=tenacity.stop_after_attempt(most),
        wait=tenacity.wait_exponential_jitter(multiplier=0.1, max=10),
        retry=tenacity.retry_if_exception_type(ActionError),
        before_sleep=note,
        reraise=True,
    )
    return await retrying(attempt)


def _result_findings(step: WorkflowStep, action: Action, result: JsonValue) -> Iterator[Finding]:
    schemas: dict[str, Mapping[str, JsonValue] | None] = {
        "output schema": action.output_schema,
        "validation": step.validation,
    }
    for name, schema in schemas.items():
        if schema is not None:
            for error in compiled(canonical(schema)).iter_errors(result):
                yield Finding(step=step.name, field=name, problem=f"The result does not pass: {error.message[:300]}.")
    if named_outputs(step, result) is None:
        names, shape = ", ".join(step.outputs), type(result).__name__
        problem = f"The result is a {shape} that does not have the outputs {names} by name."
        yield Finding(step=step.name, field="outputs", problem=problem)


def _because(decision: Deny) -> str:
    return f"Policy denies it: {decision.reason}" + "".join(f" [{_shown(rule)}]" for rule in decision.rules)


def _shown(rule: Rule) -> str:
    return f"{rule.id} {rule.place}".strip()


def _joined(findings: Sequence[Finding]) -> str:
    return " ".join(str(finding) for finding in findings)
