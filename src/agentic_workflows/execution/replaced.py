"""Effects that a replaced plan left in doubt: settled before anything else is planned, and nothing is done for it.

The planner is told what became of them, and of the items of a `foreach` that has not ended, and what a person edited.

As at the execution point the action's own `reconcile` finds out. An idempotent effect may have happened, and that is
all there is to know: an equal one of a later plan is done under the same idempotency key. Otherwise a person must say.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Final

from agentic_workflows.actions.action import Action, Found, Registry
from agentic_workflows.errors import UnresolvedReferenceError
from agentic_workflows.execution.case import Case, make_case
from agentic_workflows.execution.doubt import Unknown, find_out
from agentic_workflows.execution.grants import Grants, grants_of
from agentic_workflows.execution.recorded import recorded_steps, refuse_strays
from agentic_workflows.execution.run_pass import RunPass
from agentic_workflows.execution.scope import Scope
from agentic_workflows.execution.secrets import Secrets
from agentic_workflows.graph.checks import missing_actions
from agentic_workflows.graph.history import has_late, late_marks
from agentic_workflows.graph.labels import NOTHING
from agentic_workflows.graph.outcome import Outcome, OutcomeStatus, Settlement
from agentic_workflows.graph.plan import Plan, restore
from agentic_workflows.graph.review import Edit, Question, step_of
from agentic_workflows.graph.state import State, Update, limits_from_json
from agentic_workflows.graph.values import JsonObject, digest, some_of
from agentic_workflows.journal.entries import WHOLE, Intent, Past, Place, Recorded, attempt_of
from agentic_workflows.journal.lease import Held
from agentic_workflows.journal.run_log import RunLog

_HAPPENED = Outcome(
    status=OutcomeStatus.SUCCEEDED,
    reason="It was in doubt when its plan was replaced. Its action found that it happened.",
    attempts=1,
    settlement=Settlement.REPLACED,
)
_DID_NOT_HAPPEN = Outcome(
    status=OutcomeStatus.FAILED,
    reason="It was in doubt when its plan was replaced. Its action found that it did not happen.",
    attempts=1,
    quotes_output=False,
    sources=NOTHING,
    settlement=Settlement.REPLACED,
)
_MAY_HAVE_HAPPENED = replace(
    _DID_NOT_HAPPEN,
    reason=(
        "It was in doubt when its plan was replaced, and may have happened. It is idempotent: an equal step of another "
        "plan does it under the same key, and so only once."
    ),
    took_place=True,
)
MOST_NAMED: Final = 20
"""Items of a `foreach`, or steps, that came to the same, and of which a planner is told which they are."""


@dataclass(frozen=True, kw_only=True)
class Replaced:
    """Settles what replaced plans left in doubt."""

    policy: str
    """Digest of the policies in force."""
    registry: Registry
    secrets: Secrets

    async def settle(self, state: State, held: Held) -> Update:
        """Write down what became of each effect in doubt; return what the planner is told, and what is to be asked."""
        if not state["plan_number"]:
            return {}
        began, run_id, last = perf_counter(), state["run_id"], state["plan_number"]
        past = await held.journal.past(run_id)
        log, grants = RunLog(held, run_id, past), grants_of(past, limits_from_json(state["limits"]), held.journal.now)
        doubts = [one for one in past.in_doubt if one.place.plan_number <= last]
        plans = [await held.journal.proposed(run_id, one.place.plan_number) for one in doubts]
        became = await asyncio.gather(
            *(
                self._became(doubt, restore(plan), self._pass(state, doubt.place.plan, log, grants))
                for doubt, plan in zip(doubts, plans, strict=True)
                if plan
            )
        )
        settled = [one for one in became if isinstance(one, Recorded)]
        if settled:
            await held.write(run_id, outcomes=settled)
        known = [one for one in (*past.outcomes, *settled) if one.intent.place.plan_number <= last]
        asks = [one.to_json() for one in became if isinstance(one, Question)]
        # Also those of before, whose checkpoint may be lost, and with it what the planner was told.
        told = [_told(one) for one in known if one.outcome.settlement is Settlement.REPLACED]
        told += [] if asks else [*_partly(known), *_edited(past)]
        heard = {_feedback(entry) for entry in state["history"]}
        marked = late_marks(is_late=has_late(state["history"]))
        news = [one for one in told if one not in heard]
        entries: list[JsonObject] = [{"step": None, "result": {"feedback": one}, **marked} for one in news]
        return {
            "asks": asks,
            "seconds": state["seconds"] + (perf_counter() - began if doubts else 0.0),
            "history": [*state["history"], *entries],
        }

    def _pass(self, state: State, plan: str, log: RunLog, grants: Grants) -> RunPass:
        """Return a pass of a replaced plan in which its calls can be looked at, but not made."""
        return RunPass(
            run_id=state["run_id"],
            plan=plan,
            asked_under=plan,
            policy=self.policy,
            limits=limits_from_json(state["limits"]),
            secrets=self.secrets,
            emit=lambda _: None,
            log=log,
            grants=grants,
        )

    async def _became(self, doubt: Intent, plan: Plan, run: RunPass) -> Recorded | Question:
        """Return what became of an effect in doubt, or the question about it."""
        refuse_strays([doubt], plan, run.plan)
        place, case = doubt.place, self._case(doubt, plan, run)
        said = run.grants.ending_id(place.step, _item(doubt), attempt_of(doubt))
        asked = said or _question_id(run.run_id, doubt)
        # Answered before its plan came to use that, or before a process was killed: what a person said counts.
        if asked in run.grants.rows:
            return _asked(asked, doubt, plan, case)
        match await _found(case, doubt, self.registry.get(doubt.action)):
            case Unknown(why=why):
                return _asked(asked, doubt, plan, case, why)
            case Outcome() as outcome:
                return Recorded(intent=doubt, outcome=replace(outcome, started=doubt.at))

    def _case(self, doubt: Intent, plan: Plan, run: RunPass) -> Case | Unknown:
        """Return the call as it was begun, where that can be told."""
        if missing := missing_actions((step.action for step in plan.steps), self.registry):
            return Unknown(why=f"These actions of its plan are not registered here: {', '.join(missing)}.")
        ended = recorded_steps(plan, run.log.outcomes_of(run.plan), run.plan)
        scope = Scope(plan, self.registry, run.run_id, ended)
        try:
            case = make_case(scope.call_at(doubt.place), self.registry[doubt.action], run)
        except UnresolvedReferenceError as error:
            return Unknown(why=str(error))
        case.intent = doubt
        return case


async def _found(case: Case | Unknown, doubt: Intent, action: Action | None) -> Outcome | Unknown:
    """Return what became of an effect, as far as that is known without asking a person."""
    if action is not None and action.reconcile is None and action.annotations.idempotent:
        return _MAY_HAVE_HAPPENED
    if isinstance(case, Unknown):
        return case
    match await find_out(case, doubt):
        case Found(result=result):
            return replace(_HAPPENED, result=result)
        case None:
            return _DID_NOT_HAPPEN
        case Unknown() as unknown:
            return unknown


def _item(doubt: Intent) -> int | None:
    return None if doubt.place.item == WHOLE else doubt.place.item


def _question_id(run_id: str, doubt: Intent) -> str:
    return digest([run_id, "replaced", *attempt_of(doubt)])[:16]


def _asked(asked: str, doubt: Intent, plan: Plan, case: Case | Unknown, why: str = "") -> Question:
    known = f"It was begun at {doubt.at} by a plan that was replaced, and may have happened. {why}".strip()
    return Question(
        id=asked,
        step=doubt.place.step,
        item=_item(doubt),
        action=doubt.action,
        inputs=dict(case.call.inputs if isinstance(case, Case) else plan.by_name[doubt.place.step].inputs),
        reason=(
            f"{known} Respond with its result if it happened, or reject to give it up; it cannot be approved, for no "
            f"plan does it again."
        ),
        in_doubt=attempt_of(doubt),
        replaced=True,
    )


def _feedback(entry: JsonObject) -> str:
    """Return what an entry of the history tells the planner; empty for what a step came to."""
    result = entry["result"]
    return str(result.get("feedback", "")) if entry["step"] is None and isinstance(result, dict) else ""


def _partly(known: Sequence[Recorded]) -> Iterator[str]:
    """Yield a sentence for each `foreach` that has not ended, and so has no entry in the history, on its items."""
    ended = {one.intent.place for one in known if one.intent.place.item == WHOLE}
    items = defaultdict[tuple[str, str, str], dict[str, list[int]]](lambda: defaultdict(list))
    last = {one.intent.place: one for one in sorted(known, key=lambda one: one.intent.attempt)}
    for place, one in sorted(last.items()):
        if place._replace(item=WHOLE) not in ended:
            became = "may have happened" if one.outcome.took_place else one.outcome.status.value
            items[place.plan, place.step, one.intent.action][became].append(place.item + 1)
    for (plan, step, action), each in items.items():
        where = f"Step {step} ({action}) of plan {Place(plan, step).plan_number}"
        became = ", ".join(f"{_numbered(numbers)} {status}" for status, numbers in each.items())
        yield f"{where} had not ended: {became}."


def _numbered(items: Sequence[int]) -> str:
    return f"item{'s' if len(items) > 1 else ''} {some_of([*map(str, items)], MOST_NAMED)}"


def _edited(past: Past) -> Iterator[str]:
    """Yield a sentence for each step whose inputs a person changed; to what is not told, for it may be a secret."""
    edits = Counter(row.about[:2] for row in past.answers.values() if row.used and isinstance(row.said, Edit))
    items = defaultdict[tuple[str, int, bool], list[int]](list)
    for (step, item), most in edits.items():
        at = item if isinstance(item, int) else WHOLE
        for times in range(1, most + 1):  # the planner may have been told of the earlier edits
            items[str(step), times, at == WHOLE].append(at + 1)
    for (step, times, is_whole), numbers in sorted(items.items()):
        where = f"step {step}" if is_whole else f"{_numbered(sorted(numbers))} of step {step}"
        often = f", {times} times" if times > 1 else ""
        yield f"A reviewer gave {where} other inputs than its plan did{often}."


def _told(one: Recorded) -> str:
    """Return what a planner is told of an effect that was settled, with nothing of what the action gave."""
    place = one.intent.place
    step = step_of({"step": place.step, "item": _item(one.intent)})
    return f"Step {step} ({one.intent.action}) of plan {place.plan_number}: {one.outcome.reason}"
