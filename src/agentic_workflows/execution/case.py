"""A call on its way through the execution point, and what the calls of one pass share."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from agentic_workflows.actions.action import Action, ActionCall
from agentic_workflows.execution.tracing import Span, current_span
from agentic_workflows.graph.events import Event
from agentic_workflows.graph.review import Answer, Edit, Question, review_id
from agentic_workflows.graph.schedule import Footprint
from agentic_workflows.graph.state import Limits
from agentic_workflows.graph.values import digest
from agentic_workflows.journal.entries import WHOLE, Intent, Place, Recorded
from agentic_workflows.journal.run_log import RunLog
from agentic_workflows.policies.decision import Rule


@dataclass(kw_only=True)
class RunPass:
    """What the calls of one pass of a run through the execute node share."""

    run_id: str
    plan: str
    """Names the plan among those of the run."""
    policy: str
    """Digest of the policies in force."""
    limits: Limits
    emit: Callable[[Event], None]
    log: RunLog
    """What was done before, and where it is written down."""
    counts: Counter[str] = field(default_factory=Counter)
    """Calls started, by action, over the whole run."""
    answers: dict[str, Answer] = field(default_factory=dict)
    """By review id; removed when used."""
    span: Span = field(default_factory=current_span)
    """Opens the span of a call, where somebody traces."""
    slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self.slots = asyncio.Semaphore(self.limits.max_parallel)

    def use(self, asked: str) -> None:
        """Use up an answer: it counts for one call, once."""
        if self.answers.pop(asked, None) is not None:
            self.log.use(asked)


@dataclass(kw_only=True)
class Case:
    """One call on its way through the execution point."""

    call: ActionCall
    action: Action
    run: RunPass
    place: Place
    review_id: str
    """Of the question that policy would have asked about the call as planned."""
    key: str
    """Digest of the call's content; empty for one without effect."""
    intent: Intent | None = None
    """Written down for this call; without an outcome it is in doubt."""
    done: Recorded | None = None
    """An equal effect of an earlier plan, which counts as this call."""

    @property
    def answer(self) -> Answer | None:
        """Return what a person said of the call."""
        return self.run.answers.get(self.review_id)

    def question(self, reason: str, rules: tuple[Rule, ...] = (), *, id: str = "", in_doubt: bool = False) -> Question:  # noqa: A002 - a question's id
        """Return a question about the call."""
        return Question(
            id=id or self.review_id,
            step=self.call.step.name,
            item=self.call.item,
            action=self.call.action,
            inputs=dict(self.call.inputs),
            reason=reason,
            rules=tuple(rule.id for rule in rules),
            in_doubt=in_doubt,
        )


def make_case(call: ActionCall, action: Action, run: RunPass) -> Case:
    """Return the case of a call, with the inputs that a person put in place of its own."""
    place = Place(run.plan, call.step.name, WHOLE if call.item is None else call.item)
    asked = review_id(run.run_id, run.policy, place, dict(call.inputs))
    answer = run.answers.get(asked)
    if isinstance(answer, Edit):
        call = replace(call, inputs=answer.inputs)
    # What has no declaration is done by its step, so its name is part of what is done.
    content = [call.action, call.inputs, call.step.name if action.undeclared else None]
    key = digest(content) if action.has_effect else ""
    return Case(call=call, action=action, run=run, place=place, review_id=asked, key=key)


def footprint_of(call: ActionCall, action: Action, run: RunPass) -> Footprint:
    """Return what a call touches, with the inputs that a person may have put in place of its own."""
    if action.resources is None:
        return Footprint(has_effect=action.has_effect)
    inputs = make_case(call, action, run).call.inputs if run.answers else call.inputs
    try:
        return Footprint(has_effect=action.has_effect, resources=frozenset(action.resources(inputs)))
    except Exception:  # noqa: BLE001 - an action's own code; what it cannot name is everything
        return Footprint(has_effect=action.has_effect)
