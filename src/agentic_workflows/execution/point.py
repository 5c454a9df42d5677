"""The execution point: the one place where an action is executed.

Whatever stands between a plan and the world stands here, in this order: what the journal knows of the effect, the
inputs against the action's schema, the policy's decision on exactly these inputs, the intent on disk, the attempt with
its time limit, the result against its schemas, the outcome in the journal.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from time import perf_counter
from typing import TypeAlias

from agentic_workflows.actions.action import Action, ActionCall, Found
from agentic_workflows.errors import ActionError, DatabaseError, ExpiredError, ResultError, RunError, said
from agentic_workflows.execution.attempt import LostError, StoppedError, WaitingError, attempt_often, attempt_once
from agentic_workflows.execution.case import Case, make_case
from agentic_workflows.execution.contained import log_failure
from agentic_workflows.execution.dispatch import CUT
from agentic_workflows.execution.doubt import Again, Said, ask_about, settle_doubt
from agentic_workflows.execution.run_pass import RunPass
from agentic_workflows.graph.checks import input_findings, result_findings, secret_findings
from agentic_workflows.graph.events import StepStarted
from agentic_workflows.graph.findings import Finding
from agentic_workflows.graph.inside import named_by
from agentic_workflows.graph.outcome import GIVEN, Outcome, OutcomeStatus, Settlement, settled
from agentic_workflows.graph.plan import WorkflowStep
from agentic_workflows.graph.review import Approve, Edit, Question, Reject, Respond
from agentic_workflows.graph.values import JsonValue, beginning
from agentic_workflows.journal.entries import Intent
from agentic_workflows.policies.decision import ActionRequest, Allow, Ask, Decision, Deny, PolicyEngine

_MOST_SAID = 10_000
"""Characters of an action's error that are kept."""
ResultCheck: TypeAlias = Callable[[WorkflowStep, JsonValue], Sequence[Finding]]


class ExecutionPoint:
    """Executes action calls, each only under the decision that covers exactly its inputs.

    Args:
        engine: decides every call.
        check_result: what else a step's result must satisfy.

    """

    def __init__(self, engine: PolicyEngine, *, check_result: ResultCheck | None = None) -> None:
        self.engine = engine
        self._check_result = check_result

    def question(self, call: ActionCall, action: Action, run: RunPass) -> Question | None:
        """Return what policy would ask a person if this call were made now; None where it would ask nothing."""
        case = make_case(call, action, run)
        if case.answer or run.log.effects.is_known(case.place, case.key) or _fault(case):
            return None
        decision = self._decision(case)
        return case.question(decision.reason, decision.rules) if isinstance(decision, Ask) else None

    async def execute(self, call: ActionCall, action: Action, run: RunPass) -> Outcome:
        """Execute one call, write down what became of it, and return that.

        A call that is stopped before a further attempt is `CUT`, and done again when the run goes on: without effect it
        is as if it had not begun, and an effect is in doubt.

        Raises:
            DatabaseError: the intent could not be written, so nothing was done.
            LeaseLostError: another process has the run now.

        """
        started, since = datetime.now(UTC).isoformat(), perf_counter()
        async with run.slots:
            case = None
            try:
                case = make_case(call, action, run)
                try:
                    outcome = await self._traced(case)
                except ExpiredError:  # so that it is asked again
                    case = case.anew()
                    outcome = await self._traced(case)
            except (DatabaseError, RunError):
                raise
            except Exception as error:  # noqa: BLE001 - a subclass's check, an action's schema: other people's code
                log_failure(error)
                reason, took_place = f"{type(error).__name__}: {said(error)}", case is not None and case.took_place
                outcome = Outcome(status=OutcomeStatus.FAILED, reason=reason, took_place=took_place)
        if outcome is CUT:
            return outcome
        sources = call.provenance.label if call.provenance else None
        if case is not None and case.intent is not None and case.since:
            started, since = case.intent.at, case.since  # or it would seem to end after what comes next has begun
        outcome = replace(outcome, started=started, seconds=round(perf_counter() - since, 6), sources=sources)
        if case is not None and outcome.status != OutcomeStatus.ASKED:
            run.log.record(
                case.place, outcome, case.intent, done=case.done, action=call.action, rules=case.rules, used=case.used
            )
        return outcome

    async def _traced(self, case: Case) -> Outcome:
        with case.run.span(case.call.step, case.call.inputs, case.call.item) as record:
            outcome = await self._known(case) or await self._decide(case)
            if outcome is not CUT:
                record(outcome)
        return outcome

    async def _known(self, case: Case) -> Outcome | None:
        """Return what is known of an effect that was begun or done before; None where it is to be done now."""
        log = case.run.log
        case.done = log.effects.claim_done(case.place, case.key)
        if case.done is None:
            case.intent = log.effects.claim_doubt(case.place, case.key)
        else:
            known = self._checked(case, case.done.outcome.result, attempts=0)
            if known.status == OutcomeStatus.SUCCEEDED or not log.effects.is_given(case.done):
                return replace(known, reason=f"An equal effect of an earlier plan did this. {known.reason}".strip())
            case.intent = case.done.intent  # a person gave what does not fit, and can give another result
            log.effects.refuse(case.intent, f"{case.done.outcome.reason} {known.reason}".strip())
        if case.intent is None:
            return None
        return await self._resolved(case, case.intent, attempts=0)

    async def _resolved(self, case: Case, doubt: Intent, *, attempts: int) -> Outcome | None:
        """Return what becomes of an effect in doubt: found out, or asked; None where it is to be done."""
        match await settle_doubt(case, doubt):
            case Found(result=result):
                found = self._checked(case, result, attempts=attempts)
                return settled(found, Settlement.FOUND) if found.status == OutcomeStatus.SUCCEEDED else found
            case Said(result=result):
                known = self._checked(case, result, attempts=attempts)
                if known.status == OutcomeStatus.SUCCEEDED:
                    return settled(known, Settlement.ANSWERED)
                case.run.log.effects.refuse(doubt, known.reason)
                return Outcome(status=OutcomeStatus.ASKED, reason=case.heard, ask=ask_about(case, doubt).to_json())
            case Question() as question:
                return Outcome(status=OutcomeStatus.ASKED, reason=case.heard, ask=question.to_json())
            case Again():
                return None

    async def _decide(self, case: Case) -> Outcome:
        """Do what a person's answer says of the call, or else policy, and return what became of it."""
        answer, run = case.answer, case.run
        if isinstance(answer, Respond):
            case.use_answer()
            given = self._checked(case, answer.message, attempts=0)
            return replace(given, reason=GIVEN) if given.status == OutcomeStatus.SUCCEEDED else given
        if fault := _fault(case):
            case.use_answer()
            return Outcome(status=OutcomeStatus.FAILED, reason=fault, quotes_output=False, took_place=case.took_place)
        if isinstance(answer, Reject):
            case.use_answer()
            return _denied(case, f"A reviewer rejected it: {answer.feedback}")
        approved = isinstance(answer, Approve | Edit) or case.was_approved
        decision = self._decision(case, approved=approved)
        if isinstance(decision, Ask):
            return Outcome(status=OutcomeStatus.ASKED, ask=_asked(case, decision).to_json())
        case.use_answer()
        if isinstance(decision, Deny):
            return _denied(case, _because(decision), quotes_inputs=decision.quotes_inputs)
        # No await between the decision and the count it was made on.
        run.counts[case.call.action] = case.count + 1
        case.rules = tuple(rule.id for rule in decision.rules)
        return await self._act(case)

    def _decision(self, case: Case, *, approved: bool = False) -> Decision:
        """Return what policy says; what it allows is asked about where a person last said something else of it."""
        decision = self.engine.decide(_request(case), approved=approved)
        if isinstance(decision, Allow) and case.objection:
            return Ask(rules=decision.rules, reason="Policy allows it, but a person last said something else of it.")
        return decision

    async def _act(self, case: Case) -> Outcome:
        """Write the intent, make the attempts, and return what became of the effect."""
        call, run = case.call, case.run
        attempts, may_have_happened, until = 0, case.took_place, case.until
        if case.key:
            await self._begin(case, until)
        run.emit(StepStarted(step=call.step.name, action=call.action, item=call.item))
        most = 1 + (call.step.retries if case.action.annotations.is_retryable else 0)

        async def attempt() -> JsonValue:
            nonlocal attempts, may_have_happened
            attempts += 1
            try:
                handed = case.handed(case.intent)
                with named_by(case.name_of(handed)):
                    return await attempt_once(handed, case.action, run.limits, case.secrets)
            except ActionError as error:
                case.heard = beginning(said(error), _MOST_SAID)  # by now it shows no secret, not even a piece of one
                may_have_happened |= isinstance(error, LostError | ResultError)
                raise

        try:
            result = await attempt() if most == 1 else await attempt_often(attempt, most, call, run, until)
        except StoppedError:
            return CUT
        except ExpiredError:
            if case.key and case.intent is not None:
                run.log.effects.lose(case.intent)
            else:  # it is as if it had not begun
                run.counts[call.action] -= 1
            raise
        except ActionError as error:
            known = await self._lost(case, error, attempts=attempts) if isinstance(error, LostError) else None
            return known or Outcome(
                status=OutcomeStatus.FAILED,
                reason=case.heard,
                attempts=attempts,
                quotes_output=error.quotes_output,
                took_place=may_have_happened and case.took_place,
            )
        return self._checked(case, result, attempts=attempts)

    async def _begin(self, case: Case, until: datetime | None) -> None:
        """Write the intent of an effect."""
        case.since = perf_counter()
        try:
            case.intent = await case.run.log.intend(
                case.place,
                case.call.action,
                case.key,
                rules=case.rules,
                again=case.intent,
                used=case.used,
                until=until,
            )
        except ExpiredError:
            case.run.counts[case.call.action] -= not case.is_begun
            raise
        case.used = []

    async def _lost(self, case: Case, error: LostError, *, attempts: int) -> Outcome | None:
        """Settle the doubt about an effect that was lost sight of; None where the error of its attempt stands."""
        if not case.key or case.intent is None:
            return None
        known = await self._resolved(case, case.intent, attempts=attempts)
        if known is None and isinstance(error, WaitingError):
            return Outcome(status=OutcomeStatus.ASKED, reason=case.heard, ask=ask_about(case, case.intent).to_json())
        if known is None and not case.action.annotations.is_retryable:
            return Outcome(
                status=OutcomeStatus.FAILED,
                reason=f"{case.heard} It did not happen.",
                attempts=attempts,
            )
        return known

    def _checked(self, case: Case, result: JsonValue, *, attempts: int) -> Outcome:
        """Return a result as an outcome, once it satisfies all that is asked of it."""
        findings = list(result_findings(case.call.step, case.action, result))
        if not findings and self._check_result:
            findings = list(self._check_result(case.call.step, result))
        if findings:
            return Outcome(
                status=OutcomeStatus.FAILED,
                result=result,
                reason=_joined(findings),
                attempts=attempts,
                took_place=case.took_place,
            )
        return Outcome(status=OutcomeStatus.SUCCEEDED, result=result, attempts=attempts)


def _fault(case: Case) -> str:
    """Return what keeps a call from being made, whatever policy says of it; empty where nothing does."""
    if case.secret_fault:
        return case.secret_fault
    step = case.call.step.name
    findings = list(input_findings(step, case.call.inputs, case.action, unknown=case.secret_arguments))
    if not findings and case.secrets:
        findings = list(secret_findings(step, case.handed(None).inputs, case.action))
    return _joined(findings)


def _request(case: Case) -> ActionRequest:
    return ActionRequest(
        action=case.action,
        inputs=case.call.inputs,
        human_review_required=case.call.step.human_review_required,
        count=case.count,
        provenance=case.call.provenance,
    )


def _asked(case: Case, decision: Ask) -> Question:
    """Return the question that policy asks; of what may have happened already, it is also one about that."""
    begun = case.intent if case.is_begun else None
    if begun is None:
        return case.question(decision.reason, decision.rules)
    happened = "may have happened" if case.is_unsure else "did not happen"
    heard = f" The last attempt: {case.heard.removesuffix('.')}." if case.heard else ""
    known = f"It was begun at {begun.at} and {happened}; approve does it under the same key.{heard}"
    return case.question(f"{known} {decision.reason}", decision.rules, in_doubt=begun if case.is_unsure else None)


def _denied(case: Case, reason: str, *, quotes_inputs: bool = False) -> Outcome:
    return Outcome(
        status=OutcomeStatus.DENIED,
        reason=reason,
        quotes_output=False,
        quotes_inputs=quotes_inputs,
        took_place=case.took_place,
    )


def _because(decision: Deny) -> str:
    return f"Policy denies it: {decision.reason}" + "".join(f" [{rule}]" for rule in decision.rules)


def _joined(findings: Sequence[Finding]) -> str:
    return " ".join(str(finding) for finding in findings)
