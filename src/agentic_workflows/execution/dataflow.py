"""The dataflow: runs the steps of one plan, each the moment its inputs exist and plan order allows it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from time import perf_counter
from weakref import proxy

from agentic_workflows.actions.action import Action, Registry
from agentic_workflows.errors import UnresolvedReferenceError, said
from agentic_workflows.execution.case import footprint_of
from agentic_workflows.execution.contained import log_failure
from agentic_workflows.execution.dispatch import CUT, run_ready
from agentic_workflows.execution.foreach import LOOK_AHEAD, Items, run_items
from agentic_workflows.execution.point import ExecutionPoint
from agentic_workflows.execution.recorded import recorded_steps
from agentic_workflows.execution.run_pass import RunPass
from agentic_workflows.execution.scope import Scope
from agentic_workflows.graph.events import Event, StepAsked, StepDenied, StepFailed, StepSkipped, StepSucceeded
from agentic_workflows.graph.labels import LATE_PLAN, NOTHING, UNKNOWN, Label, joined, result_label
from agentic_workflows.graph.outcome import Outcome, OutcomeStatus
from agentic_workflows.graph.plan import Plan, WorkflowStep
from agentic_workflows.graph.schedule import Footprint, Schedule
from agentic_workflows.graph.values import JsonObject
from agentic_workflows.journal.entries import Place

_SAYS_NOTHING = frozenset({OutcomeStatus.SKIPPED, OutcomeStatus.ASKED})
_TOUCHES_NOTHING = Footprint(has_effect=False, resources=frozenset())
_MAY_TOUCH_ALL = {has_effect: Footprint(has_effect=has_effect) for has_effect in (True, False)}


class Dataflow:
    """One pass over a plan: starts what may start until nothing can.

    Args:
        plan: an accepted plan.
        point: where every call is executed.
        registry: the actions.
        run: what the calls of this pass share.
        starts: how many steps may still start.
        choose: picks each next step in place of the schedule, which then start one at a time.

    """

    def __init__(
        self,
        plan: Plan,
        *,
        point: ExecutionPoint,
        registry: Registry,
        run: RunPass,
        starts: int,
        choose: Callable[[], WorkflowStep | None] | None,
    ) -> None:
        self.outcomes = recorded_steps(plan, run.log.outcomes_of(run.plan), run.plan)
        """What ended, in this pass or before; it is not run again."""
        self._ended_before = len(self.outcomes)
        self.started = 0
        self.wants_more = False
        """Whether a step could have started, had there been any start left."""
        self.fault = ""
        """What kept a subclass from picking a step."""
        self.asked: dict[str, Outcome] = {}
        """Steps that wait for a person, with what of them is done already."""
        self._plan, self._point, self._registry, self._run = plan, point, registry, run
        self._starts, self._choose = starts, choose
        self._scope = Scope(plan, registry, run.run_id, self.outcomes)
        ahead = [name for name in plan.order if name not in self._scope.settled]
        self._schedule = Schedule(
            ahead,
            {name: plan.dependencies(plan.by_name[name]) - self._scope.settled for name in ahead},
            # Weakly, so that a pass and all it knows go when it is over, not when the collector comes to them.
            footprint=partial(Dataflow._footprint, proxy(self)),
            worst=lambda name: _MAY_TOUCH_ALL[registry[plan.by_name[name].action].has_effect],
        )

    @property
    def name(self) -> str:
        """Return the name of the plan among those of its run."""
        return self._run.plan

    @property
    def is_finished(self) -> bool:
        """Tell whether every step ended."""
        return len(self.outcomes) == len(self._plan.steps)

    @property
    def has_progress(self) -> bool:
        """Tell whether this pass brought the run further."""
        return len(self.outcomes) > self._ended_before or bool(self.asked) or self.is_finished

    async def run_all(self, seconds: float) -> bool:
        """Run until nothing can start any more; False where the time ran out and what ran was cancelled."""
        limit = 1 if self._choose else self._run.limits.max_parallel
        clock = asyncio.timeout(max(seconds, 0))

        def note(name: str, outcome: Outcome) -> None:
            if outcome is not CUT or clock.expired():
                self._note(name, outcome)
            else:  # what was cut for another reason goes on when the run does
                self.started -= 1

        try:
            async with clock:
                await run_ready(self._take, self._step, note, limit=limit)
        except TimeoutError:
            if not clock.expired():
                raise
            return False
        return True

    def questions(self) -> list[JsonObject]:
        """Return all that can be asked now, also of steps that only wait for their turn behind an asked one."""
        if not self.asked:
            return []
        found = [ask for outcome in self.asked.values() for ask in _asks(outcome)]
        for step in self._plan.steps:
            waits = step.name not in self.outcomes and step.name not in self.asked
            if waits and self._plan.dependencies(step) <= self.outcomes.keys() and not self._scope.skipped(step):
                found += self._foreseen(step)
        return found

    def label_of(self, name: str, outcome: Outcome) -> Label:
        """Return the label of what a step came to, its reason and what the plan calls it included."""
        is_denied = outcome.status == OutcomeStatus.DENIED
        words = LATE_PLAN if self._plan.saw_untrusted else NOTHING
        if outcome.status in _SAYS_NOTHING or (is_denied and not outcome.quotes_inputs):
            return words
        label = UNKNOWN if outcome.sources is None else outcome.sources
        if outcome.status == OutcomeStatus.SUCCEEDED or outcome.quotes_output:
            label = result_label(self._action(name), label)
        return joined([label, words])

    def _take(self) -> str | None:
        if self._run.is_stopped():
            return None
        name = self._next(self._chosen if self._choose else self._schedule.take)
        if name is not None and self.started >= self._starts:
            self.wants_more = True
            return None
        self.started += name is not None
        return name

    def _next(self, take: Callable[[], str | None]) -> str | None:
        """Return the next step that may start; those to be skipped are noted on the way."""
        while (name := take()) is not None:
            if name in self.outcomes:
                continue
            skipped = self._scope.skipped(self._plan.by_name[name])
            if skipped is None:
                return name
            self._note(name, skipped)
        return None

    def _chosen(self) -> str | None:
        """Return the step that a subclass picks; when it picks none, what is left is skipped unless it is in doubt."""
        step = self._choice()
        if step is None:
            if self.fault:
                return None
            if (doubtful := self._step_in_doubt()) is None:
                self._skip_rest()
            return doubtful
        known = self._plan.by_name.get(step.name)
        is_over = step.name in self.outcomes or step.name in self.asked
        if known is None or is_over or not self._plan.dependencies(known) <= self._scope.settled:
            return None
        return known.name

    def _choice(self) -> WorkflowStep | None:
        try:
            step = self._choose() if self._choose else None
        except Exception as error:  # noqa: BLE001 - a subclass's own code
            log_failure(error)
            self.fault = f"get_next_step raised {type(error).__name__}: {said(error)}"
            return None
        if step is not None and not isinstance(step, WorkflowStep):
            self.fault = f"get_next_step gave {step!r}, which is no step."
            return None
        return step

    def _step_in_doubt(self) -> str | None:
        """Return a step that is in doubt: it may have happened, so nobody can choose to do without it."""
        left = (name for name in self._plan.order if name not in self.outcomes and name not in self.asked)
        return next((name for name in left if self._run.log.effects.items_in_doubt(self.name, name)), None)

    def _skip_rest(self) -> None:
        if self.asked:
            return
        for name in [name for name in self._plan.order if name not in self.outcomes]:
            self._note(name, Outcome(status=OutcomeStatus.SKIPPED, reason="get_next_step chose no further step."))

    async def _step(self, name: str) -> Outcome:
        step, action = self._plan.by_name[name], self._action(name)
        clock = perf_counter()
        try:
            if step.foreach is None:
                call = self._scope.call(step)
                return await self._point.execute(call, action, self._run)
            items = self._scope.items(step)
            with self._run.span(step, {"foreach": step.foreach}, None) as record:
                outcome = await run_items(step, items, action, self._point, self._run)
                if outcome is not CUT:
                    record(outcome)
        except UnresolvedReferenceError as error:
            outcome = Outcome(status=OutcomeStatus.FAILED, reason=str(error))
        took = timedelta(seconds=perf_counter() - clock)
        started = (datetime.now(UTC) - took).isoformat()
        return outcome if outcome is CUT else replace(outcome, started=started, seconds=took.total_seconds())

    def _note(self, name: str, outcome: Outcome) -> None:
        outcome = outcome if outcome.started else replace(outcome, started=datetime.now(UTC).isoformat())
        if outcome.status == OutcomeStatus.ASKED:
            self.started -= 1
            self.asked[name] = outcome
        else:
            if outcome.sources is None:
                outcome = replace(outcome, sources=self._scope.provenance(self._plan.by_name[name]).label)
            self.outcomes[name] = outcome
            # The items of a `foreach` have their own results.
            kept = replace(outcome, items=(), result=None) if outcome.items else outcome
            self._run.log.record(Place(self._run.plan, name), kept)
        if outcome.status.is_settled:
            self._scope.settle(name, outcome)
            self._schedule.settle(name)
        self._run.emit(_event(name, outcome))

    def _action(self, name: str) -> Action:
        return self._registry[self._plan.by_name[name].action]

    def _footprint(self, name: str) -> Footprint:
        """Return what a step touches, now that its inputs exist.

        Of a `foreach` over very many nobody asks what each touches, for that would hold up every run in the process:
        it counts as touching everything. Its items fill all that may run at once, so little is lost by it.
        """
        step, action = self._plan.by_name[name], self._action(name)
        if name in self._scope.settled or self._scope.skipped(step):
            return _TOUCHES_NOTHING
        if action.resources is None:
            return _MAY_TOUCH_ALL[action.has_effect]
        try:
            calls = self._scope.calls(step)
            are_very_many = isinstance(calls, Items) and calls.size > LOOK_AHEAD
            touched = [] if are_very_many else [footprint_of(call, action, self._run) for call in calls]
        except UnresolvedReferenceError:
            return _MAY_TOUCH_ALL[action.has_effect]
        if len(touched) == 1:
            return touched[0]
        if are_very_many or any(one.resources is None for one in touched):
            return _MAY_TOUCH_ALL[action.has_effect]
        names = frozenset[str]().union(*(one.resources or () for one in touched))
        return Footprint(has_effect=action.has_effect, resources=names)

    def _foreseen(self, step: WorkflowStep) -> list[JsonObject]:
        try:
            found = [self._point.question(call, self._action(step.name), self._run) for call in self._scope.calls(step)]
        except UnresolvedReferenceError:
            return []
        return [question.to_json() for question in found if question]


def _asks(outcome: Outcome) -> list[JsonObject]:
    return [one.ask for one in (outcome, *outcome.items) if one.ask]


def _event(name: str, outcome: Outcome) -> Event:
    match outcome.status:
        case OutcomeStatus.SUCCEEDED:
            return StepSucceeded(step=name, seconds=outcome.seconds, result=outcome.result)
        case OutcomeStatus.FAILED:
            return StepFailed(step=name, seconds=outcome.seconds, reason=outcome.reason)
        case OutcomeStatus.DENIED:
            return StepDenied(step=name, reason=outcome.reason)
        case OutcomeStatus.SKIPPED:
            return StepSkipped(step=name, reason=outcome.reason)
        case OutcomeStatus.ASKED:
            asks = _asks(outcome)
            return StepAsked(step=name, reason=str(asks[0]["reason"]) if asks else outcome.reason)
