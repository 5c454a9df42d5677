"""A case: one call on its way through the execution point, and all that is known of it there."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Final

from agentic_workflows.actions.action import Action, ActionCall
from agentic_workflows.errors import ActionError
from agentic_workflows.execution.run_pass import RunPass
from agentic_workflows.execution.secrets import fetch, named_secrets
from agentic_workflows.graph.review import Answer, Approve, Edit, Question, Reject, Respond, review_id
from agentic_workflows.graph.schedule import Footprint
from agentic_workflows.graph.values import JsonObject, JsonValue, copied, digest
from agentic_workflows.journal.entries import WHOLE, Answered, Intent, Place, Recorded, attempt_of, idempotency_key
from agentic_workflows.policies.decision import Rule

_DID: Final[Mapping[type[Answer], str]] = {
    Approve: "approved",
    Edit: "gave other inputs to",
    Reject: "rejected",
    Respond: "gave a result to",
}


@dataclass(kw_only=True)
class Case:
    """One call on its way through the execution point."""

    planned: ActionCall
    """The call with its own inputs; `call` has those that a person put in their place."""
    action: Action
    run: RunPass
    place: Place
    intent: Intent | None = None
    """Written down for this call; without an outcome it is in doubt."""
    since: float = 0.0
    """When the intent was written, by `perf_counter`; 0 where that was before this pass."""
    done: Recorded | None = None
    """An equal effect of an earlier plan, which counts as this call; in doubt again where `intent` is its intent."""
    is_wanted_again: bool = False
    """Whether a person said that what is in doubt is to be done again."""
    heard: str = ""
    """How its last attempt went wrong: what it said, or that it did not finish in time."""
    is_unsure: bool = False
    """Whether it is done again because it is idempotent, although it may have happened and nobody could find out."""
    used: list[str] = field(default_factory=list)
    """Answers that this call uses up, in the transaction that writes it down."""
    rules: tuple[str, ...] = ()
    """Ids of the policy rules under which it is done."""

    @cached_property
    def first_id(self) -> str:
        """The id of the question that policy would ask about the call as planned, if nobody had answered it yet."""
        place = self.place._replace(plan=self.run.asked_under)
        return review_id(self.run.run_id, self.run.policy, place, dict(self.planned.inputs))

    @cached_property
    def review_id(self) -> str:
        """The id under which that question stands now."""
        return self.run.grants.current(self.first_id)

    @cached_property
    def answer(self) -> Answer | None:
        """What a person said of the call."""
        return self.run.grants.answer(self.review_id) if self.run.grants.rows else None

    @cached_property
    def call(self) -> ActionCall:
        """The call as it would be executed: an edit holds also after its answer was used up."""
        if isinstance(self.answer, Edit):
            return replace(self.planned, inputs=self.answer.inputs)
        edited = self._edited() if self.run.grants.rows else None
        return self.planned if edited is None else replace(self.planned, inputs=edited)

    @cached_property
    def key(self) -> str:
        """The digest of the call's content; empty for one without effect."""
        if not self.action.has_effect:
            return ""
        return self._key_of(self.call.inputs)

    def _key_of(self, inputs: Mapping[str, JsonValue]) -> str:
        # What has no declaration is done by its step, so its name is part of what is done.
        return digest([self.planned.action, inputs, self.planned.step.name if self.action.undeclared else None])

    def _edited(self) -> JsonObject | None:
        """Return what a person put in place of the call's own inputs; of a call in doubt, what it was begun with."""
        if (doubt := self.run.log.effects.doubt_at(self.place)) is None:
            return self.run.grants.edited(self.first_id)
        # By its content, for the question may have had another id: under other policies, or with another action.
        return next((one for one in self.run.grants.edits() if self._key_of(one) == doubt.key), None)

    @property
    def took_place(self) -> bool:
        """Whether the effect took place, or may have: it was begun, or an equal one is done."""
        return self.intent is not None or self.done is not None

    @property
    def is_begun(self) -> bool:
        """Tell whether exactly this effect was begun before."""
        return self.intent is not None and self.intent.key == self.key

    @property
    def was_approved(self) -> bool:
        """Tell whether a person approved exactly this call before it was begun, or said since that it is wanted again.

        An equal call of an earlier plan is another one: nobody has said that this plan may do it. And what policy let
        happen is for policy to say again, which may have changed.
        """
        return self.is_begun and (self.is_wanted_again or self._covered_until is not None)

    @cached_property
    def _covered_until(self) -> datetime | None:
        # Looked up once: what is decided by it is then refused where it has passed.
        is_own = self.is_begun and self.intent is not None and self.intent.place == self.place
        return self.run.grants.covered_until(self.first_id) if is_own else None

    @property
    def until(self) -> datetime | None:
        """When what a person said expires that lets the call happen; None where nothing does."""
        return self.run.grants.until(self.used) or self._covered_until

    @property
    def count(self) -> int:
        """How many calls of its action were started, without itself where it was begun before."""
        return self.run.counts[self.call.action] - self.is_begun

    @property
    def secret_arguments(self) -> Mapping[str, str]:
        """The arguments that are secrets, with the names of these."""
        return named_secrets(self.call.step, self.call.inputs) if self.action.takes_secrets else {}

    @cached_property
    def _fetched(self) -> tuple[Mapping[str, str], str]:
        return fetch(self.secret_arguments.values(), self.run.secrets) if self.action.takes_secrets else ({}, "")

    @property
    def secrets(self) -> Mapping[str, str]:
        """The secrets that the call gets, by name; none where one of them cannot be used."""
        return self._fetched[0]

    @property
    def secret_fault(self) -> str:
        """Why the secrets of the call cannot be used; empty where they can."""
        return self._fetched[1]

    def handed(self, intent: Intent | None) -> ActionCall:
        """Return the call as its action gets it: with its secrets, and a key equal for every attempt at this effect.

        Inputs and step are the action's own: other calls, what was decided on, and the plan hold the same values.

        Raises:
            ActionError: its secrets cannot be used.

        """
        if self.secret_fault:
            raise ActionError(self.secret_fault)
        key = "" if intent is None else idempotency_key(self.run.run_id, self.key, intent.occurrence)
        inputs = copied(dict(self.call.inputs))
        if self.secrets:
            inputs |= {argument: self.secrets[name] for argument, name in self.secret_arguments.items()}
        return replace(self.call, inputs=inputs, step=self.call.step.copied(), idempotency_key=key)

    def name_of(self, handed: ActionCall) -> str:
        """Return what names the call for whatever it calls, equal for every attempt at it, also after a kill."""
        return handed.idempotency_key or repr((self.run.run_id, *self.place))

    @property
    def objection(self) -> Answered | None:
        """The last that a person said of the call, or of an equal one, where that is anything but to do it as planned.

        It was said to another question, as under other policies, or was an edit that has expired. Of a plan that was
        replaced it counts where that one had the same call: the next was made with it in mind, and may mean another.
        """
        if not self.run.grants.rows or self.answer is not None:
            return None
        row = self.run.grants.unused(self.call.step.name, self.call.item)
        if row is None or row.plan != self.run.asked_under:
            equal = self.run.grants.of_equal(self.call.action, self.call.inputs)
            row = next((one for one in equal if self._is_meant_by(one)), None)
        return None if row is None or isinstance(row.said, Approve) else row

    def _is_meant_by(self, row: Answered) -> bool:
        """Tell whether an answer about an equal call is about this one, too; two steps of one plan are two calls."""
        step, item, _ = row.about
        if row.plan == self.run.asked_under:
            return (step, item) == (self.call.step.name, self.call.item) and not self.run.grants.is_outdated(row)
        return step == self.call.step.name or not self.action.undeclared

    def use(self, asked: str) -> None:
        """Use up an answer: it counts for one call, once."""
        if self.run.grants.take(asked):
            self.used.append(asked)

    def anew(self) -> "Case":
        """Give back an approval that has expired, and return the case as it was before it used that.

        What this one has looked up is looked up again, for it may follow from the approval.
        """
        self.run.grants.give_back(self.used)
        return replace(self, used=[], is_wanted_again=False, is_unsure=False)

    def use_answer(self) -> None:
        """Use up the answer to the policy's question, where there is one."""
        if self.answer is not None:
            self.use(self.review_id)

    def question(
        self, reason: str, rules: tuple[Rule, ...] = (), *, first_id: str = "", in_doubt: Intent | None = None
    ) -> Question:
        """Return a question about the call."""
        first, grants = first_id or self.first_id, self.run.grants
        attempt = None if in_doubt is None else attempt_of(in_doubt)
        if (row := grants.expired(first)) and (self.is_begun or not grants.is_used(row)):
            since = "since then" if grants.is_used(row) else "before it was used"
            reason += f" {row.reviewer or 'Somebody'} approved it at {row.at}, and that expired {since}."
        elif row := grants.unused(self.call.step.name, self.call.item, attempt):
            did, under = _DID[type(row.said)], "under another plan, other policies or actions, or with other inputs"
            reason += f" {row.reviewer or 'Somebody'} {did} this step at {row.at} {under}, which does not count now."
        elif (row := grants.changed(self.call.step.name, self.call.item)) and self.call is self.planned:
            reason += f" {row.reviewer or 'Somebody'} gave it other inputs at {row.at}, and that answer was used."
        elif row := self.objection:
            did, step = _DID[type(row.said)], row.about[0]
            reason += f" {row.reviewer or 'Somebody'} {did} a call equal to it (step {step}) at {row.at}."
        return Question(
            id=grants.current(first),
            step=self.call.step.name,
            item=self.call.item,
            plan=self.run.asked_under,
            action=self.call.action,
            inputs=dict(self.call.inputs),
            reason=reason,
            # Silence says nothing of whether an effect happened: what is in doubt is neither done again nor given up.
            expires=None if in_doubt else self.run.deadline.isoformat(timespec="seconds"),
            rules=tuple(rule.id for rule in rules),
            provenance=self.call.provenance.to_json() if self.call.provenance else {},
            in_doubt=attempt,
            begun=self.is_begun,
        )


def make_case(call: ActionCall, action: Action, run: RunPass) -> Case:
    """Return the case of a call."""
    place = Place(run.plan, call.step.name, WHOLE if call.item is None else call.item)
    return Case(planned=call, action=action, run=run, place=place)


def footprint_of(call: ActionCall, action: Action, run: RunPass) -> Footprint:
    """Return what a call touches, with the inputs that a person may have put in place of its own."""
    if action.resources is None:
        return Footprint(has_effect=action.has_effect)
    inputs = make_case(call, action, run).call.inputs if run.grants.rows else call.inputs
    try:
        return Footprint(has_effect=action.has_effect, resources=frozenset(action.resources(inputs)))
    except Exception:  # noqa: BLE001 - an action's own code; what it cannot name is everything
        return Footprint(has_effect=action.has_effect)
