"""What is in scope of a plan's steps: which value each output has by now, where that comes from, which calls it makes.

Nothing is run here, and nothing is waited for: the dataflow says what a step came to, and asks for the next calls.
"""

from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import replace

from agentic_workflows.actions.action import ActionCall, Registry
from agentic_workflows.errors import UnresolvedReferenceError
from agentic_workflows.execution.foreach import Items
from agentic_workflows.graph.labels import UNKNOWN, Origin
from agentic_workflows.graph.outcome import Outcome, OutcomeStatus, outputs_of
from agentic_workflows.graph.plan import ITEM, Plan, WorkflowStep
from agentic_workflows.graph.references import resolve, resolve_inputs
from agentic_workflows.graph.values import JsonValue
from agentic_workflows.journal.entries import WHOLE, Place
from agentic_workflows.policies.provenance import Flow, Provenance, given_origins, provenance_of


class Scope:
    """The outputs of the settled steps of one plan.

    Args:
        plan: an accepted plan.
        registry: the actions.
        run_id: the run whose calls these are.
        outcomes: what steps came to before.

    """

    def __init__(self, plan: Plan, registry: Registry, run_id: str, outcomes: Mapping[str, Outcome]) -> None:
        self.settled: set[str] = set()
        """Steps whose outputs are here, and those that were skipped."""
        self._plan, self._registry, self._run_id = plan, registry, run_id
        self._values: dict[str, JsonValue] = {}
        self._origins: dict[str, Origin] = {}
        self._traced: dict[str, Provenance] = {}
        self._made: dict[str, ActionCall] = {}
        """Calls of steps that were looked at, until they start."""
        self._skipped: set[str] = set()
        for name in plan.order:
            if name in outcomes and outcomes[name].status.is_settled:
                self.settle(name, outcomes[name])

    def settle(self, name: str, outcome: Outcome) -> None:
        """Take in what a step came to, for the steps that wait for it."""
        self.settled.add(name)
        step = self._plan.by_name[name]
        # Now, as all that it waits for was traced before: asked for later, it would recurse as deep as a plan is long.
        call = self.provenance(step)
        if outcome.status == OutcomeStatus.SKIPPED:
            self._skipped.add(name)
        else:
            self._values.update(outputs_of(step, outcome))
            self._origins.update(self._given(step, call, outcome))

    def skipped(self, step: WorkflowStep) -> Outcome | None:
        """Return how a step ends without running, by its condition or a skipped dependency; None where it runs."""
        for name in sorted(self._plan.dependencies(step) & self._skipped):
            return Outcome(status=OutcomeStatus.SKIPPED, reason=f"It depends on {name}, which was skipped.")
        if step.when is None:
            return None
        try:
            holds = resolve(step.when, self._values)
        except UnresolvedReferenceError as error:
            return Outcome(status=OutcomeStatus.FAILED, reason=f"when: {error}")
        if not isinstance(holds, bool):
            return Outcome(status=OutcomeStatus.FAILED, reason=f"when: {step.when} is {holds!r}, not true or false.")
        return None if holds else Outcome(status=OutcomeStatus.SKIPPED, reason=f"{step.when} is false.")

    def provenance(self, step: WorkflowStep) -> Provenance:
        """Return where the inputs of a step come from, once all that it waits for is settled."""
        if (known := self._traced.get(step.name)) is not None:
            return known
        for name in self._plan.dependencies(step):
            if name not in self._traced:
                self.provenance(self._plan.by_name[name])
        traced = self._traced[step.name] = provenance_of(step, self._plan, self._origins, self._traced)
        return traced

    def calls(self, step: WorkflowStep) -> Iterable[ActionCall]:
        """Return the calls of a step that is only looked at: one, or one an element of its `foreach`.

        Raises:
            UnresolvedReferenceError: a reference gives nothing, or `foreach` gives no list.

        """
        if step.foreach is not None:
            return self.items(step)
        if step.name not in self._made:
            self._made[step.name] = self._call(step, self._values, None)
        return (self._made[step.name],)

    def call(self, step: WorkflowStep) -> ActionCall:
        """Return the one call of a step that starts now.

        Raises:
            UnresolvedReferenceError: a reference gives nothing.

        """
        return self._made.pop(step.name, None) or self._call(step, self._values, None)

    def items(self, step: WorkflowStep) -> Items:
        """Return the calls of a `foreach`.

        Raises:
            UnresolvedReferenceError: it gives no list.

        """
        elements = resolve(step.foreach, self._values)
        if not isinstance(elements, list):
            raise UnresolvedReferenceError(f"foreach: {step.foreach} is no list but a {type(elements).__name__}.")
        return Items(len(elements), lambda at: self._call(step, ChainMap({ITEM: elements[at]}, self._values), item=at))

    def call_at(self, place: Place) -> ActionCall:
        """Return the call that stands at a place of the plan, whether or not it is still to be made.

        Raises:
            UnresolvedReferenceError: a reference gives nothing.
            CorruptError: there is no such item.

        """
        step = self._plan.by_name[place.step]
        if place.item == WHOLE:
            return self._call(step, self._values, None)
        items = self.items(step)
        items.refuse_others(step.name, [place.item])
        return items.call(place.item)

    def _call(self, step: WorkflowStep, values: Mapping[str, JsonValue], item: int | None) -> ActionCall:
        return ActionCall(
            action=step.action,
            inputs=resolve_inputs(step.inputs, values),
            step=step,
            run_id=self._run_id,
            item=item,
            provenance=self.provenance(step),
        )

    def _given(self, step: WorkflowStep, call: Provenance, outcome: Outcome) -> dict[str, Origin]:
        """Return the origins of what a step gave; what is written down about it counts beside what the plan tells."""
        if outcome.sources is None:
            return dict.fromkeys(step.outputs, Origin(None, call.label | UNKNOWN))
        results = (one.result for one in outcome.items) if step.foreach is not None else (outcome.result,)
        if more := outcome.sources - call.label:
            call = replace(call, control=(*call.control, Flow("", ("",), more)))
        return given_origins(step, self._registry[step.action], call, results)
