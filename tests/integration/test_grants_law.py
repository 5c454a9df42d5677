"""The law of approvals: whatever is planned, answered and waited for, nothing runs that nobody approved."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agentic_workflows import AgenticWorkflow, Limits, approve, edit, reject, respond
from agentic_workflows.actions.action import Action, ActionCall
from agentic_workflows.errors import ActionError
from agentic_workflows.graph.catalogue import Annotations
from agentic_workflows.journal.database import Database

LASTS, ROUNDS = 100.0, 6


@dataclass(kw_only=True)
class Approval:
    """What a person said yes to: this call of this plan, at this time."""

    plan: int
    call: tuple[str, str]
    inputs: Mapping[str, Any]
    """What may be executed: those that were shown, or those of the edit."""
    at: float
    used: bool = False


@dataclass(kw_only=True)
class World:
    """Keeps a record of its own of all that is planned and approved, and holds every act against it."""

    plans: Sequence[Sequence[Mapping[str, Any]]]
    now: float = field(default_factory=lambda: datetime(2026, 1, 1, tzinfo=UTC).timestamp())
    planned: int = 0
    approvals: list[Approval] = field(default_factory=list)
    unapproved: list[ActionCall] = field(default_factory=list)
    acts: int = 0

    async def create_plan(self, goal: str, history: object) -> Any:  # noqa: ARG002 - an agent's shape
        self.planned += 1
        return {"goal": "g", "steps": list(self.plans[(self.planned - 1) % len(self.plans)])}

    def narrows(self, later: int, earlier: int) -> bool:
        """Tell whether each plan since an earlier one is the one before it, with steps left out."""
        for at in range(earlier, later):
            left = iter(self.plans[at % len(self.plans)])
            if not all(one in left for one in self.plans[(at + 1) % len(self.plans)]):
                return False
        return True

    async def act(self, call: ActionCall) -> str:
        self.acts += 1
        for one in self.approvals:
            is_this = (one.call, one.inputs) == ((call.step.name, str(call.step.inputs["to"])), dict(call.inputs))
            is_valid = not one.used and self.now < one.at + LASTS
            if is_this and is_valid and self.narrows(self.planned - 1, one.plan):
                one.used = True
                break
        else:
            self.unapproved.append(call)
        if call.inputs["to"] == "nobody":
            raise ActionError("No such mailbox.")
        return "sent"

    def answer(self, question: Mapping[str, Any], kind: str) -> Any:
        call = (str(question["step"]), str(question["args"]["to"]))
        match kind:
            case "approve":
                self.approvals.append(Approval(plan=self.planned - 1, call=call, inputs=question["args"], at=self.now))
                return approve(str(question["id"]))
            case "edit":
                inputs = {"to": "edited"}
                self.approvals.append(Approval(plan=self.planned - 1, call=call, inputs=inputs, at=self.now))
                return edit(inputs, str(question["id"]))
            case "respond":
                return respond("by hand", str(question["id"]))
        return reject("no", str(question["id"]))


steps = st.builds(
    lambda name, to, timeout: {
        "name": name, "action": "send", "inputs": {"to": to}, "human_review_required": True, "timeout": timeout
    },
    st.sampled_from("abc"), st.sampled_from(["ada", "ada", "nobody"]), st.sampled_from([5.0, 5.0, 6.0]),
)  # fmt: skip


@st.composite
def scripts(draw: st.DrawFn) -> list[list[dict[str, Any]]]:
    """Draw plans, of which each is likely to be the one before with steps left out."""
    plans = [draw(st.lists(steps, min_size=2, max_size=3, unique_by=lambda one: one["name"]))]
    for _ in range(draw(st.integers(1, 3))):
        kept = [one for one in plans[-1] if draw(st.integers(0, 3))] or plans[-1]
        fresh = draw(st.lists(steps, min_size=1, max_size=3, unique_by=lambda one: one["name"]))
        plans.append(draw(st.sampled_from([kept, kept, kept, fresh])))
    return plans


async def lived(world: World, kinds: Sequence[str], waits: Sequence[float]) -> None:
    notes = Annotations(destructive=False, open_world=False, trusted=True)
    limits = Limits(max_iterations=40, max_replans=5, grant_seconds=LASTS, review_seconds=1e9)
    workflow = AgenticWorkflow(
        world,
        actions=[Action(name="send", annotations=notes, run=world.act)],
        database=Database(clock=lambda: world.now),
        limits=limits,
    )
    result = await workflow.run("g", thread_id="t")
    said = iter(kinds)
    for wait in waits:
        if result["state"] != "REVIEWING":
            break
        now = result["reviews"][:1] if wait > LASTS else result["reviews"]
        answers = [world.answer(one, next(said)) for one in now]
        async with workflow._opened("t") as run:
            await run.answer(answers)
        world.now += wait
        result = await workflow.resume(thread_id="t")


@given(
    scripts(),
    st.lists(st.sampled_from(["approve"] * 4 + ["edit", "respond", "reject"]), min_size=30, max_size=30),
    st.lists(st.sampled_from([0.0, 0.0, 60.0, 99.0, 100.0, 150.0]), min_size=ROUNDS, max_size=ROUNDS),
)
def test_nothing_runs_without_an_approval_of_its_own_that_is_valid(
    plans: list[list[dict[str, Any]]], kinds: list[str], waits: list[float]
) -> None:
    world = World(plans=plans)
    asyncio.run(lived(world, kinds, waits))
    assert world.unapproved == []
