"""Every point at which a process can stop, and what the next one makes of it."""

# ruff: noqa: ARG001, ARG002 - fakes have the parameters of what they stand for

import asyncio
import json
import re
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.errors import GraphInterrupt
from langgraph.types import Command

from agentic_workflows import (
    AgenticWorkflow,
    DatabaseError,
    Limits,
    RunError,
    ScriptedAgent,
    approve,
    edit,
    reject,
    respond,
)
from agentic_workflows.actions.action import Action, ActionCall, Found
from agentic_workflows.errors import LeaseLostError, PlanningError, ReviewError
from agentic_workflows.graph.catalogue import Annotations
from agentic_workflows.graph.state import FINISHED, Request
from agentic_workflows.journal.database import Database
from agentic_workflows.journal.entries import Answered, Intent, Lease, Recorded
from agentic_workflows.journal.sql_journal import SqlJournal

Script = Callable[[ActionCall], Awaitable[object]]


class CrashingJournal(SqlJournal):
    """A journal whose process dies at a chosen write."""

    def __init__(self, of: SqlJournal, dies: Callable[[str, Any], bool], *, before: bool) -> None:
        super().__init__(of._writer, clock=of._clock)
        self._dies, self._before = dies, before
        self.is_dead = False

    async def propose(self, lease: Lease, run_id: str, number: int, plan: Any) -> Any:
        return await self._maybe("plan", plan, super().propose(lease, run_id, number, plan))

    async def write(
        self,
        lease: Lease,
        run_id: str,
        *,
        intents: Sequence[Intent] = (),
        outcomes: Sequence[Recorded] = (),
        used: Sequence[str] = (),
        until: datetime | None = None,
    ) -> Request | None:
        write = super().write(lease, run_id, intents=intents, outcomes=outcomes, used=used, until=until)
        return await self._maybe("write", (intents, outcomes), write)

    async def answer(self, answered: Answered) -> bool:
        return bool(await self._maybe("answer", answered, super().answer(answered)))

    async def _maybe(self, kind: str, value: Any, work: Awaitable[Any]) -> Any:
        if self.is_dead:
            await asyncio.sleep(0)
            work.close()  # type: ignore[attr-defined]
            raise DatabaseError("The process is dead.")
        if not self._dies(kind, value):
            return await work
        self.is_dead = True
        if self._before:
            work.close()  # type: ignore[attr-defined]
        else:
            await work
        raise DatabaseError("The process died here.")


def step(name: str, action: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "action": action, **fields}


def plan(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"goal": "g", "steps": list(steps)}


class House:
    """One database, what happened in the world, and as many workflows over it as there are processes."""

    def __init__(self, path: Path, *plans: Any) -> None:
        self.path = path
        self.world: list[str] = []
        self.keys: list[str] = []
        self.plans = plans
        self.kind = AgenticWorkflow
        self.planned = 0
        self.told: list[str] = []
        """Every piece of feedback that the planner was given, the last time."""
        self.refused = ""
        """An action that policy refuses."""
        self.reviewed = ""
        """An action that policy lets happen only where a person approved it."""
        self.looked: list[str] = []
        """Keys of the effects that `reconcile` was asked about."""
        self.is_unsure = False
        """Whether `reconcile` raises."""
        self.limits = Limits()
        self.missing: list[str] = []
        """What the agent says is missing, each time that it is asked."""
        self.later = 0.0
        """Seconds by which all clocks are ahead."""

    def open(self, dies: Callable[[str, Any], bool] | None = None, *, before: bool = False) -> AgenticWorkflow:
        database = Database(self.path, clock=lambda: time.time() + self.later)
        if dies is not None:
            journal = database.journal
            assert isinstance(journal, SqlJournal)
            database.leases.journal = CrashingJournal(journal, dies, before=before)
        house = self

        class Agent(ScriptedAgent):
            async def create_plan(self, goal: str, history: Any) -> Any:
                house.planned += 1
                house.told = [one["result"].get("feedback", "") for one in history if one["step"] is None]
                return house.plans[min(house.planned, len(house.plans)) - 1]

            async def review_progress(self, goal: str, history: Any) -> str | None:
                return house.missing.pop(0) if house.missing else None

        most = 50 if self.limits.max_iterations == Limits().max_iterations else self.limits.max_iterations
        rules = self.path.with_suffix(".cedar")
        unless = {self.refused: "false", self.reviewed: "context.approved"}
        some = (
            f'(principal, action == Action::"{one}", resource) unless {{ {so} }}' for one, so in unless.items() if one
        )
        rules.write_text("".join(f"forbid {one};" for one in some))
        return self.kind(
            Agent([]),
            most,
            actions=self.actions(),
            database=database,
            limits=self.limits,
            policies=["default", rules] if self.refused or self.reviewed else None,
        )

    def actions(self) -> list[Action]:
        return [
            self._action("look", read_only=True),
            self._action("told"),
            self._action("put", idempotent=True),
            self._action("found", reconcile=self._find),
            self._action("kept", idempotent=True, reconcile=self._find),
            self._action("list", [1, 2], read_only=True),
            self._action("nothing", [], read_only=True),
        ]

    def _action(self, name: str, result: Any = None, *, reconcile: Any = None, **notes: Any) -> Action:
        async def run(call: ActionCall) -> object:
            self.world.append(call.step.name)
            self.keys.append(call.idempotency_key)
            return f"{call.step.name} done" if result is None else result

        annotations = Annotations(**{"destructive": False, "open_world": False, "trusted": True, **notes})
        return Action(name=name, run=run, reconcile=reconcile, annotations=annotations)

    async def _find(self, call: ActionCall) -> Found | None:
        self.looked.append(call.idempotency_key)
        if self.is_unsure:
            raise OSError("no route")
        return Found(result="found") if call.step.name in self.world else None

    async def crashed(self, dies: Callable[[str, Any], bool], *, before: bool = False, goal: str = "g") -> None:
        with pytest.raises(DatabaseError, match="process"):
            await self.open(dies, before=before).run(goal, thread_id="t")

    def lose_checkpoints(self) -> None:
        with closing(sqlite3.connect(self.path)) as connection:
            for table in ("checkpoints", "writes"):
                connection.execute(f"DELETE FROM {table}")
            connection.commit()

    async def resume(self, answers: Any = None) -> dict[str, Any]:
        return await self.open().resume(answers, thread_id="t")


@pytest.fixture
def house(tmp_path: Path) -> Callable[..., House]:
    return lambda *plans: House(tmp_path / "runs.db", *plans)


def at_intent(name: str) -> Callable[[str, Any], bool]:
    return lambda kind, value: kind == "write" and any(one.place.step == name for one in value[0])


def at_outcome(name: str) -> Callable[[str, Any], bool]:
    return lambda kind, value: kind == "write" and any(one.intent.place.step == name for one in value[1])


def at_plan(kind: str, value: Any) -> bool:
    return kind == "plan"


def at_answer(kind: str, value: Any) -> bool:
    return kind == "answer"


# Planning.


async def test_a_plan_that_was_written_down_is_not_asked_for_again(house: Callable[..., House]) -> None:
    here = house(plan(step("a", "told")), plan(step("other", "told")))
    await here.crashed(at_plan)
    done = await here.resume()
    assert (done["state"], here.planned, here.world) == ("COMPLETE", 1, ["a"])


async def test_a_plan_that_was_not_written_down_is_asked_for_again_and_had_no_effect(
    house: Callable[..., House],
) -> None:
    here = house(plan(step("a", "told")), plan(step("other", "told")))
    await here.crashed(at_plan, before=True)
    done = await here.resume()
    assert (done["state"], here.planned, here.world) == ("COMPLETE", 2, ["other"])


async def test_a_plan_that_replaced_another_is_not_asked_for_again(house: Callable[..., House]) -> None:
    fails = step("fails", "look", validation={"type": "null"})
    here = house(plan(step("a", "told"), fails), plan(step("a", "told"), step("b", "told")), plan(step("x", "told")))
    here.limits = Limits(max_replans=1)
    await here.crashed(lambda kind, _: kind == "plan" and here.planned == 2)
    here.lose_checkpoints()  # a killed process has left none
    done = await here.resume()
    assert (done["state"], here.planned, here.world) == ("COMPLETE", 2, ["a", "fails", "b"])


async def test_a_plan_after_a_failed_planner_call_is_not_asked_for_again(house: Callable[..., House]) -> None:
    mail = plan(step("a", "found"), step("b", "told"))
    here = house({"steps": 5}, mail, plan(step("a", "found", inputs={"other": "words"})))
    await here.crashed(at_outcome("a"), before=True)
    here.lose_checkpoints()  # a killed process has left none
    done = await here.resume()
    assert (done["state"], here.planned, here.world, done["iterations"]) == ("COMPLETE", 2, ["a", "b"], 4)


async def test_what_was_missing_is_not_judged_again_where_the_next_plan_is_begun(house: Callable[..., House]) -> None:
    here = house(plan(step("a", "told")), plan(step("b", "told", inputs={"x": 2}), step("c", "look")))
    here.limits, here.missing = Limits(max_replans=1), ["b is missing"]
    await here.crashed(at_outcome("b"), before=True)
    here.lose_checkpoints()
    asked = await here.resume()
    assert (asked["state"], [bool(one["in_doubt"]) for one in asked["reviews"]]) == ("REVIEWING", [True])
    done = await here.resume(respond("it was so"))
    assert (done["state"], done["replans"], here.planned, here.world) == ("COMPLETE", 1, 2, ["a", "b", "c", "c"])


async def test_a_run_that_is_interrupted_between_planning_and_execution_keeps_its_plan(
    house: Callable[..., House],
) -> None:
    here = house(plan(step("a", "told")), plan(step("other", "told")))

    class Interrupted(AgenticWorkflow):
        def validate_plan(self, plan: Any) -> bool:
            running.cancel()
            return True

    workflow = Interrupted(here.open().agent, 50, actions=here.actions(), database=here.path)
    running = asyncio.create_task(workflow.run("g", thread_id="t"))
    with pytest.raises(asyncio.CancelledError):
        await running
    done = await here.resume()
    names = {str(entry["plan"]) for entry in await here.open().timeline("t") if "plan" in entry and "step" in entry}
    assert (done["state"], here.planned, here.world) == ("COMPLETE", 1, ["a"])
    assert [name.partition(":")[0] for name in names] == ["1"]


async def test_a_validated_plan_is_executed_by_the_next_process(house: Callable[..., House]) -> None:
    here = house(plan(step("a", "told")), plan(step("other", "told")))
    workflow = here.open()
    await workflow.plan("g")  # the process is gone after the checks
    assert (workflow.state, here.world) == ("EXECUTING", [])
    done = await here.open().resume(thread_id=workflow.get_results()["thread_id"])
    assert (done["state"], here.planned, here.world) == ("COMPLETE", 1, ["a"])


# Executing.

DOUBTFUL = plan(step("before", "look", outputs=["x"]), step("it", "told", inputs={"x": "${x}"}), step("last", "look"))


def with_action(name: str) -> dict[str, Any]:
    return plan(*({**one, "action": name} if one["name"] == "it" else one for one in DOUBTFUL["steps"]))


@pytest.mark.parametrize("before", [True, False])
async def test_an_intent_is_on_disk_with_every_outcome_it_derives_from(
    house: Callable[..., House],
    before: bool,  # noqa: FBT001
) -> None:
    here = house(DOUBTFUL)
    await here.crashed(at_intent("it"), before=before)
    assert here.world.count("it") == 0
    past = await Database(here.path).journal.past((await here.open().result("t"))["run_id"])
    ended = {one.intent.place.step for one in past.outcomes}
    whats_there = (ended & {"before"}, {one.place.step for one in past.in_doubt})
    assert whats_there == ((set(), set()) if before else ({"before"}, {"it"}))


async def test_an_intent_that_was_not_written_had_no_effect_and_is_begun(house: Callable[..., House]) -> None:
    here = house(DOUBTFUL)
    await here.crashed(at_intent("it"), before=True)
    assert (await here.resume())["state"] == "COMPLETE"
    assert here.world.count("it") == 1


async def test_in_doubt_an_idempotent_action_is_called_again_under_the_same_key(house: Callable[..., House]) -> None:
    here = house(with_action("put"))
    await here.crashed(at_outcome("it"), before=True)
    done = await here.resume()
    keys = [key for name, key in zip(here.world, here.keys, strict=True) if name == "it"]
    assert (done["state"], done["reviews"], len(keys), len(set(keys))) == ("COMPLETE", [], 2, 1)


async def test_in_doubt_an_effect_that_is_found_is_not_done_again(house: Callable[..., House]) -> None:
    here = house(with_action("found"))
    await here.crashed(at_outcome("it"), before=True)
    done = await here.resume()
    results = {entry["step"]: entry["result"] for entry in done["history"]}
    assert (done["state"], here.world.count("it"), results["it"]) == ("COMPLETE", 1, "found")


async def test_in_doubt_an_effect_that_is_not_found_is_done(house: Callable[..., House]) -> None:
    here = house(with_action("found"))
    await here.crashed(at_intent("it"))
    assert ((await here.resume())["state"], here.world.count("it")) == ("COMPLETE", 1)


@pytest.mark.parametrize(
    "answer, state, times, result",
    [(respond("it was so"), "COMPLETE", 1, "it was so"), (approve(), "COMPLETE", 2, "it done")],
)
async def test_in_doubt_a_person_says_what_becomes_of_it(
    house: Callable[..., House], answer: Any, state: str, times: int, result: str
) -> None:
    here = house(DOUBTFUL)
    await here.crashed(at_outcome("it"), before=True)
    asked = await here.resume()
    assert (asked["state"], [bool(one["in_doubt"]) for one in asked["reviews"]]) == ("REVIEWING", [True])
    assert here.world.count("it") == 1
    done = await here.resume(answer)
    results = {entry["step"]: entry["result"] for entry in done["history"]}
    assert (done["state"], here.world.count("it"), results["it"]) == (state, times, result)


async def test_in_doubt_a_person_gives_it_up_and_the_next_plan_does_without(house: Callable[..., House]) -> None:
    here = house(DOUBTFUL, plan(step("instead", "told", inputs={"x": 2})))
    await here.crashed(at_outcome("it"), before=True)
    await here.resume()
    done = await here.resume(reject("Leave it."))
    assert (done["state"], here.world.count("it"), here.world[-1], here.planned) == ("COMPLETE", 1, "instead", 2)


async def test_in_doubt_given_up_and_planned_again_is_done_again_only_if_a_person_says_so(
    house: Callable[..., House],
) -> None:
    here = house(DOUBTFUL, DOUBTFUL)
    await here.crashed(at_outcome("it"), before=True)
    await here.resume()
    asked = await here.resume(reject("Leave it."))
    assert (asked["state"], here.world.count("it")) == ("REVIEWING", 1)
    done = await here.resume(approve())
    assert (done["state"], done["reviews"], here.world.count("it")) == ("COMPLETE", [], 2)


@pytest.mark.parametrize("before", [True, False])
async def test_what_a_person_said_of_a_refused_effect_is_written_once_although_its_process_was_killed(
    house: Callable[..., House],
    before: bool,  # noqa: FBT001
) -> None:
    useless = step("it", "told", inputs={"x": 1}, validation={"type": "null"})
    again, other = step("again", "told", inputs={"x": 1}), step("other", "told", human_review_required=True)
    here = house(plan(useless), plan(again, other), plan(again))
    here.limits = Limits(max_replans=1)
    asked = await here.open().run("g", thread_id="t")
    answers = {one["id"]: respond("it was so") if one["in_doubt"] else reject("no") for one in asked["reviews"]}
    with pytest.raises(DatabaseError, match="process"):
        await here.open(at_outcome("again"), before=before).resume(answers, thread_id="t")
    done = await here.resume()
    assert (done["state"], done["history"][-1]["result"], here.world) == ("COMPLETE", "it was so", ["it"])
    assert sum("happened, which was in doubt" in one for one in here.told) == 1


async def test_an_outcome_without_a_checkpoint_is_the_outcome(house: Callable[..., House]) -> None:
    here = house(plan(step("a", "told"), step("b", "told")))
    await here.crashed(at_outcome("b"))
    done = await here.resume()
    assert (done["state"], here.world, done["reviews"]) == ("COMPLETE", ["a", "b"], [])


async def test_an_effect_that_is_done_is_recognised_in_a_new_plan(house: Callable[..., House]) -> None:
    first = plan(step("pay", "told", inputs={"to": "x"}), step("ask", "told", human_review_required=True))
    second = plan(step("pay-x", "told", inputs={"to": "x"}), step("pay-x-again", "told", inputs={"to": "x"}))
    here = house(first, second)
    await here.open().run("g", thread_id="t")
    done = await here.resume(reject("Otherwise."))
    assert (done["state"], here.world) == ("COMPLETE", ["pay", "pay-x-again"])


def replaced(action: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a plan that policy refuses as soon as it refuses `told`, and one that does the same effect otherwise."""
    x = step("x", "look", outputs=["x"])
    it = {"action": action, "inputs": {"to": "${x}"}}
    return plan(x, step("it", **it), step("barred", "told", after=["it"])), plan(x, step("again", **it))


@pytest.mark.parametrize(
    "action, happened, world, told",
    [
        ("found", True, ["it"], "found that it happened"),
        ("found", False, ["again"], "found that it did not happen"),
        ("put", True, ["it", "again"], "may have happened"),
        ("put", False, ["again"], "may have happened"),
    ],
)
async def test_what_a_replaced_plan_left_in_doubt_is_found_out_or_done_under_the_same_key_and_nobody_is_asked(
    house: Callable[..., House],
    action: str,
    happened: bool,  # noqa: FBT001
    world: list[str],
    told: str,
) -> None:
    here = house(*replaced(action))
    await here.crashed(at_outcome("it") if happened else at_intent("it"), before=happened)
    key = next((key for name, key in zip(here.world, here.keys, strict=True) if name == "it"), None)
    here.refused = "told"
    done = await here.resume()
    effects = [(name, key) for name, key in zip(here.world, here.keys, strict=True) if key]
    assert (done["state"], done["reviews"], [name for name, _ in effects]) == ("COMPLETE", [], world)
    assert (len({key for _, key in effects}), len(here.told)) == (1, 2)
    assert f"Step it ({action}) of plan 1" in here.told[1]
    assert told in here.told[1]
    assert here.looked == ([key or here.looked[0]] if action == "found" else [])
    assert not (await Database(here.path).journal.past(done["run_id"])).in_doubt


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("action", ["found", "put"])
async def test_a_kill_while_what_a_replaced_plan_left_in_doubt_is_settled_changes_nothing(
    house: Callable[..., House],
    action: str,
    before: bool,  # noqa: FBT001
) -> None:
    here = house(*replaced(action))
    await here.crashed(at_outcome("it"), before=True)
    here.refused = "told"
    with pytest.raises(DatabaseError, match="process"):
        await here.open(at_outcome("it"), before=before).resume(thread_id="t")
    here.lose_checkpoints()  # a killed process has left none
    assert here.planned == 1
    with pytest.raises(DatabaseError, match="process"):  # and once more, while it is planned again
        await here.open(lambda kind, _: kind == "plan" and here.planned == 2, before=True).resume(thread_id="t")
    here.lose_checkpoints()
    told, here.told = here.told, []
    done = await here.resume()
    assert (done["state"], done["reviews"], here.told) == ("COMPLETE", [], told)
    assert [one for one in here.told if "of plan 1" in one] == here.told[1:]
    assert len({key for key in here.keys if key}) == 1
    assert len(here.looked) == (1 + before if action == "found" else 0)


async def test_two_equal_effects_of_one_plan_are_two_also_where_an_equal_one_was_left_in_doubt(
    house: Callable[..., House],
) -> None:
    first, second = replaced("put")
    here = house(first, plan(*second["steps"], step("twice", "put", inputs={"to": "${x}"})))
    await here.crashed(at_outcome("it"), before=True)
    here.refused = "told"
    done = await here.resume()
    keys = dict(zip(here.world, here.keys, strict=True))
    assert (done["state"], done["reviews"]) == ("COMPLETE", [])
    assert (keys["it"] == keys["again"], keys["again"] == keys["twice"]) == (True, False)


async def test_each_item_that_a_replaced_plan_left_in_doubt_is_settled_by_itself(house: Callable[..., House]) -> None:
    each = step("each", "told", foreach="${many}", inputs={"to": "${item}"})
    here = house(plan(step("many", "list", outputs=["many"]), each), plan(step("done", "look")))
    await here.crashed(
        lambda kind, value: kind == "write" and any(one.intent.place.item == 1 for one in value[1]), before=True
    )
    here.refused = "told"
    asked = await here.resume()
    assert [(one["step"], one["item"], one["args"]) for one in asked["reviews"]] == [("each", 1, {"to": 2})]
    done = await here.resume(respond("done"))
    assert (done["state"], here.world.count("each")) == ("COMPLETE", 2)


class Enough(AgenticWorkflow):
    """Chooses no step at all."""

    def get_next_step(self) -> None:
        return None


@pytest.mark.parametrize(
    "action, asks, world", [("told", ["it"], ["it"]), ("found", [], ["it"]), ("put", [], ["it", "it"])]
)
async def test_in_doubt_a_step_is_settled_also_where_a_subclass_chooses_no_further_one(
    house: Callable[..., House], action: str, asks: list[str], world: list[str]
) -> None:
    here = house(with_action(action))
    await here.crashed(at_outcome("it"), before=True)
    here.kind = Enough
    result = await here.resume()
    assert (result["state"], [one["step"] for one in result["reviews"]]) == ("REVIEWING" if asks else "COMPLETE", asks)
    done = await here.resume(respond("it was so")) if asks else result
    assert {name: one["status"] for name, one in done["steps"].items()} == {
        "before": "succeeded",
        "it": "succeeded",
        "last": "skipped",
    }
    assert (done["state"], [name for name in here.world if name == "it"]) == ("COMPLETE", world)


async def test_what_a_person_said_of_a_replaced_effect_counts_although_its_process_was_killed(
    house: Callable[..., House],
) -> None:
    here = house(*replaced("found"))
    await here.crashed(at_intent("it"))
    here.refused, here.is_unsure = "told", True
    asked = await here.resume()
    assert (asked["state"], [one["replaced"] for one in asked["reviews"]]) == ("REVIEWING", [True])
    assert "It could not be found out: OSError: no route" in asked["reviews"][0]["reason"]
    lost = Rewound(here)
    with pytest.raises(DatabaseError, match="process"):
        await here.open(at_answer).resume(respond("by hand"), thread_id="t")
    lost.lose(with_writes=True)
    here.is_unsure = False
    done = await here.resume()
    results = {entry["step"]: entry["result"] for entry in done["history"]}
    assert (done["state"], done["reviews"], results["again"], here.world.count("again")) == (
        "COMPLETE",
        [],
        "by hand",
        0,
    )


async def given_and_unfit(here: House) -> dict[str, Any]:
    """Return the question about an effect of which a person gave a result that a step of the next plan cannot use."""
    await here.crashed(at_intent("it"))
    here.refused, here.is_unsure = "told", True
    await here.resume()
    here.is_unsure = False  # its action finds nothing from now on; but a person said that it happened
    asked = await here.resume(respond("by hand"))
    assert (asked["state"], open_steps(asked), here.world.count("again")) == ("REVIEWING", ["again"], 0)
    return asked


def open_steps(result: dict[str, Any]) -> list[str]:
    return [question["step"] for question in result["reviews"]]


def replaced_by_a_stricter_one() -> tuple[dict[str, Any], dict[str, Any]]:
    first, (x, again) = replaced("found")[0], replaced("found")[1]["steps"]
    return first, plan(x, {**again, "validation": {"pattern": "done|found|bank"}})


@pytest.mark.parametrize("with_writes", [True, False])
@pytest.mark.parametrize(
    "dies, before", [(at_answer, False), (at_outcome("again"), True), (at_outcome("again"), False)]
)
async def test_a_given_result_that_takes_the_place_of_an_unfit_one_counts_although_its_process_was_killed(
    house: Callable[..., House],
    dies: Any,
    before: bool,  # noqa: FBT001
    with_writes: bool,  # noqa: FBT001
) -> None:
    here = house(*replaced_by_a_stricter_one())
    await given_and_unfit(here)
    lost = Rewound(here)
    with pytest.raises(DatabaseError, match="process"):
        await here.open(dies, before=before).resume(respond("by bank"), thread_id="t")
    lost.lose(with_writes=with_writes)
    done = await here.resume()
    results = {entry["step"]: entry["result"] for entry in done["history"]}
    assert (done["state"], done["reviews"], results["again"]) == ("COMPLETE", [], "by bank")
    assert (here.world.count("it"), here.world.count("again"), here.planned) == (0, 0, 2)


@pytest.mark.parametrize("is_unsure", [True, False])
async def test_what_is_done_again_in_place_of_an_unfit_given_result_is_in_doubt_itself_when_its_process_is_killed(
    house: Callable[..., House],
    is_unsure: bool,  # noqa: FBT001
) -> None:
    here = house(*replaced_by_a_stricter_one())
    await given_and_unfit(here)
    with pytest.raises(DatabaseError, match="process"):
        await here.open(at_outcome("again"), before=True).resume(approve(), thread_id="t")
    here.is_unsure = is_unsure
    done = await here.resume()
    if is_unsure:
        (question,) = done["reviews"]
        assert (done["state"], question["in_doubt"][1:]) == ("REVIEWING", ["again", -1, 0])
        done = await here.resume(respond("by bank"))
    results = {entry["step"]: entry["result"] for entry in done["history"]}
    assert (done["state"], done["reviews"], here.world.count("again")) == ("COMPLETE", [], 1)
    assert results["again"] == ("by bank" if is_unsure else "found")
    assert not (await Database(here.path).journal.past(done["run_id"])).in_doubt


@pytest.mark.parametrize("is_given", [True, False])
@pytest.mark.parametrize("point", [at_intent, at_outcome])
async def test_a_run_that_is_begun_again_with_the_wrong_actions_changes_nothing(
    house: Callable[..., House], point: Callable[[str], Any], *, is_given: bool
) -> None:
    first = plan(step("a", "put"), step("b", "look", after=["a"]))
    here = house(first, plan(step("other", "put")))
    with pytest.raises(DatabaseError, match="process"):
        await here.open(point("a")).run("g", plan=first if is_given else None, thread_id="t")
    fewer = [one for one in here.actions() if one.name != "look"]
    with pytest.raises(RunError, match=r"not registered here: look\. Resume the run with the actions"):
        await AgenticWorkflow(here.open().agent, actions=fewer, database=here.path).resume(thread_id="t")
    done = await here.resume()
    assert (done["state"], here.world[-1], here.planned) == ("COMPLETE", "b", 0 if is_given else 1)


@pytest.mark.parametrize("point", [at_intent, at_outcome])
async def test_a_given_plan_that_is_begun_again_under_policies_that_refuse_it_changes_nothing(
    house: Callable[..., House], point: Callable[[str], Any]
) -> None:
    given = plan(step("a", "told"), step("b", "look", after=["a"]))
    here = house()
    with pytest.raises(DatabaseError, match="process"):
        await here.open(point("a")).run("g", plan=given, thread_id="t")
    here.refused = "look"
    may = r"Step a may have happened; nobody knows\. " if point is at_intent else ""
    told = (
        rf"The given plan has begun, and is refused now: b\.action: is denied .+ {may}Resume the run with the policies"
    )
    for _ in range(2):
        with pytest.raises(RunError, match=told):
            await here.resume()
    here.refused = ""
    done = await here.resume()
    if point is at_intent:
        assert (done["state"], [one["step"] for one in done["reviews"]]) == ("REVIEWING", ["a"])
        done = await here.open().resume(respond("it did"), thread_id="t")
    assert (done["state"], here.world.count("a"), here.world[-1]) == ("COMPLETE", point is at_outcome, "b")


async def test_a_plan_that_other_policies_refused_counts_when_it_is_given_again(house: Callable[..., House]) -> None:
    here = house(plan(step("a", "told"), step("b", "look", after=["a"])))
    await here.crashed(at_intent("a"))
    here.refused = "look"
    asked = await here.resume()
    assert (asked["state"], [one["replaced"] for one in asked["reviews"]]) == ("REVIEWING", [True])
    here.refused = ""
    done = await here.open().resume(respond("it did"), thread_id="t")
    assert (done["state"], here.world, here.planned) == ("COMPLETE", ["b"], 2)


async def test_a_plan_with_unknown_actions_that_never_began_is_planned_again_also_after_a_kill(
    house: Callable[..., House],
) -> None:
    here = house(plan(step("a", "unknown")), plan(step("b", "put")))
    await here.crashed(lambda kind, value: kind == "plan" and "unknown" not in str(value))
    assert ((await here.resume())["state"], here.world) == ("COMPLETE", ["b"])


async def test_a_run_that_is_cancelled_in_the_middle_goes_on_where_it_was(house: Callable[..., House]) -> None:
    here = house(plan(step("quick", "told"), step("slow", "look"), step("last", "told", after=["slow", "quick"])))
    ready = asyncio.Event()
    slow = [True]

    async def wait(call: ActionCall) -> str:
        if call.step.name == "slow" and slow:
            ready.set()
            await asyncio.sleep(30)
        return "x"

    actions = [replace(one, run=wait) if one.name == "look" else one for one in here.actions()]
    workflow = AgenticWorkflow(here.open().agent, 50, actions=actions, database=here.path)
    running = asyncio.create_task(workflow.run("g", thread_id="t"))
    await asyncio.wait_for(ready.wait(), 5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    slow.clear()
    done = await here.resume()
    assert (done["state"], here.world.count("quick"), here.world.count("last")) == ("COMPLETE", 1, 1), done["reason"]


# Limits.

FAILS = step("fails", "look", validation={"type": "null"})
BEGUN_TWICE = (
    plan(step("a", "put"), step("b", "put", after=["a"]), {**FAILS, "after": ["b"]}),
    plan(step("c", "put"), step("d", "put", after=["c"])),
)


ODD_ENDS = (
    plan(
        step("many", "list", outputs=["many"]),
        step("none", "nothing", outputs=["none"]),
        step("each", "put", foreach="${many}", inputs={"x": "${item}"}),
        step("no", "put", foreach="${none}", inputs={"x": "${item}"}, outputs=["no"], after=["each"]),
        step("missing", "put", inputs={"x": "${many[5]}"}, after=["no"]),
        step("unjudged", "put", when="${no}", after=["no"]),
    ),
    plan(step("c", "put"), step("d", "put", after=["c"])),
)
"""Steps that end without a call of their own: items of many and of none, an input and a condition that fail."""


@pytest.mark.parametrize(
    "plans, most, ends",
    [(BEGUN_TWICE, 7, "COMPLETE"), (BEGUN_TWICE, 6, "FAILED"), (ODD_ENDS, 9, "COMPLETE")],
)
async def test_a_run_that_was_killed_uses_as_many_iterations_as_one_that_was_not(
    house: Callable[..., House], plans: Sequence[dict[str, Any]], most: int, ends: str
) -> None:
    async def used(dies_at: list[int]) -> tuple[str, int, int]:
        here, writes = house(*plans), 0
        here.path = here.path.with_name(f"{most} {dies_at}.db")
        here.limits = Limits(max_replans=1, max_iterations=most)

        def dies(kind: str, value: Any) -> bool:
            nonlocal writes
            if kind == "write" and not any(value):  # it only asks whether the run is still its own
                return False
            writes += 1
            return writes in dies_at

        ways: list[Callable[[AgenticWorkflow], Any]] = [lambda one: one.run("g", thread_id="t")]
        ways += [lambda one: one.resume(thread_id="t")] * len(dies_at)
        for way in ways:
            try:
                result = await way(here.open(dies))
            except DatabaseError:
                continue
            return result["state"], result["iterations"], writes
        raise AssertionError(ways)

    state, iterations, writes = await used([])
    assert (state, iterations) == (ends, most)
    for first in range(1, writes + 1):
        assert (await used([first]))[:2] == (state, iterations), first
        assert (await used([first, first + 2, first + 5]))[:2] == (state, iterations), first


async def test_a_run_that_left_no_checkpoint_may_be_given_more_iterations(house: Callable[..., House]) -> None:
    here = house(*BEGUN_TWICE)
    here.limits = Limits(max_replans=1, max_iterations=6)
    await here.crashed(at_outcome("b"))
    with pytest.raises(RunError, match="max_iterations=1 leaves nothing"):
        await here.open().resume(thread_id="t", max_iterations=1)
    with pytest.raises(RunError, match="max_iterations=5 is less than the 6 that the run was begun with"):
        await here.open().resume(thread_id="t", max_iterations=5)
    with pytest.raises(DatabaseError):
        await here.open(at_outcome("c")).resume(thread_id="t", max_iterations=7)  # and it is killed again
    done = await here.open().resume(thread_id="t")
    assert (done["state"], done["iterations"], here.planned) == ("COMPLETE", 7, 2)


async def test_what_was_given_up_and_what_a_checkpoint_has_forgotten_is_no_further_iteration(
    house: Callable[..., House],
) -> None:
    reviewed = [
        step(name, "told", human_review_required=True, after=["abc"[at - 1]] * (at > 0))
        for at, name in enumerate("abc")
    ]
    here = house(plan(step("sent", "told")), plan(*reviewed))
    await here.crashed(at_intent("sent"))
    asked = await here.resume()  # whether it happened
    counts = [(asked := await here.resume(reject("no")))["iterations"]]
    while asked["state"] == "REVIEWING":
        asked = await here.resume(approve())
        counts.append(asked["iterations"])
        assert (await here.open().result("t"))["iterations"] == asked["iterations"]
    assert counts == [2, 3, 4, 5]


async def test_cancelling_a_second_goal_that_left_no_checkpoint_tells_nothing_of_the_first(
    house: Callable[..., House],
) -> None:
    here = house(plan(step("a", "told")), plan(step("b", "told"), step("c", "told", after=["b"])))
    first = await here.open().run("g", thread_id="t")
    await here.crashed(at_intent("c"), goal="second")
    await here.open().cancel("t")
    second = await here.open().result("t")
    assert (first["iterations"], second["iterations"]) == (2, 2)
    assert (second["goal"], second["state"], list(second["steps"])) == ("second", "FAILED", ["b"])


async def test_cancelling_a_run_that_had_planned_again_forgets_nothing_that_it_used(
    house: Callable[..., House],
) -> None:
    here = house(*BEGUN_TWICE)
    here.limits = Limits(max_replans=1, max_iterations=9)
    await here.crashed(at_outcome("c"))
    before = await here.open().result("t")
    cancelled = await here.open().cancel("t")
    after = await here.open().result("t")
    told = [[one[name] for name in ("iterations", "seconds", "steps")] for one in (before, cancelled, after)]
    assert told == [told[0]] * 3
    assert (before["iterations"] > 5, before["seconds"] > 0) == (True, True)


async def test_seconds_of_a_foreach_that_ended_before_a_kill_count_beside_those_of_a_checkpoint(
    house: Callable[..., House],
) -> None:
    each = step("each", "put", foreach="${many}", inputs={"x": "${item}"}, after=["asked"])
    asked = step("asked", "told", human_review_required=True)
    here = house(plan(step("many", "list", outputs=["many"]), asked, each, step("last", "told", after=["each"])))
    await here.open().run("g", thread_id="t")
    with pytest.raises(DatabaseError):
        await here.open(at_intent("last")).resume(approve(), thread_id="t")
    with closing(sqlite3.connect(here.path)) as connection:  # as if it had taken so long
        connection.execute("UPDATE agentic_calls SET outcome = json_set(outcome, '$.seconds', 5) WHERE step = 'each'")
        connection.commit()
    assert (await here.open().result("t"))["seconds"] > 5


class Walking(AgenticWorkflow):
    async def execute_next_step(self) -> Any:
        return await super().execute_next_step()


async def test_a_subclass_that_walks_goes_on_wherever_it_was_killed(tmp_path: Path) -> None:
    """What a node has written and no checkpoint has taken over is taken over first, and that is no lack of progress."""
    names = "rab"
    steps = [step(name, "told", after=[names[at - 1]] * (at > 0)) for at, name in enumerate(names)]
    steps[0]["human_review_required"] = True
    for lost in range(2, 12):
        here = House(tmp_path / f"{lost}.db", plan(*steps))

        def walking(here: House = here) -> AgenticWorkflow:
            return Walking(ScriptedAgent(here.plans), actions=here.actions(), database=here.path)

        await walking().run("g", thread_id="t")
        await walking().resume(approve(), thread_id="t")
        with closing(sqlite3.connect(here.path)) as connection:  # as if its process was killed before it wrote them
            last = connection.execute("SELECT checkpoint_id FROM checkpoints ORDER BY 1 DESC LIMIT ?", [lost])
            connection.executemany("DELETE FROM checkpoints WHERE checkpoint_id = ?", last.fetchall())
            connection.commit()
        done = await walking().resume(thread_id="t")
        assert (done["state"], here.world) == ("COMPLETE", list(names)), (lost, done["reason"])


async def test_a_run_whose_time_was_up_when_it_was_killed_begins_nothing(house: Callable[..., House]) -> None:
    here = house(plan(step("a", "told"), step("b", "told", after=["a"])))
    here.limits = Limits(max_seconds=5)
    await here.crashed(at_intent("b"))
    with closing(sqlite3.connect(here.path)) as connection:  # as if it had taken so long
        connection.execute("""UPDATE agentic_calls SET outcome = json_set(outcome, '$[1]', 5) WHERE step = 'a'""")
        connection.commit()
    failed = await here.resume()
    assert (failed["state"], failed["reason"], here.world) == ("FAILED", "max_seconds=5 is exhausted.", ["a"])
    assert (await here.open().result("t"))["seconds"] >= 5


# Reviewing.

ASKS_TWICE = plan(
    step("a", "told", human_review_required=True), step("b", "told", after=["a"], human_review_required=True)
)
REVIEWED = plan(step("sent", "told", human_review_required=True), step("after", "told"))


async def test_an_answer_row_without_a_checkpoint_is_not_asked_for_again(house: Callable[..., House]) -> None:
    here = house(REVIEWED)
    await here.open().run("g", thread_id="t")
    async with here.open()._opened("t") as run:
        await run.answer(approve())
    assert (await here.open().result("t"))["reviews"] == []
    with pytest.raises(ReviewError):
        await here.resume(reject("Too late."))
    assert ((await here.resume())["state"], here.world) == ("COMPLETE", ["sent", "after"])


async def test_an_answer_by_command_becomes_a_row(house: Callable[..., House]) -> None:
    here = house(REVIEWED)
    asked = await here.open().run("g", thread_id="t")
    workflow = here.open()
    raw = {"decisions": [{"type": "approve"}]}
    async with workflow.database.checkpointer() as saver:
        graph = workflow._assemble(saver)
        await graph.ainvoke(Command(resume=raw), {"configurable": {"thread_id": "t"}})
    past = await workflow.database.journal.past(asked["run_id"])
    assert (past.answers.keys(), here.world) == ({asked["reviews"][0]["id"]}, ["sent", "after"])


async def test_an_answer_by_command_without_a_row_is_acted_on_once(house: Callable[..., House]) -> None:
    here = house(REVIEWED)
    asked = await here.open().run("g", thread_id="t")
    workflow, raw = here.open(at_answer, before=True), {"decisions": [{"type": "approve"}]}
    async with workflow.database.checkpointer() as saver:
        graph = workflow._assemble(saver)
        with pytest.raises(DatabaseError, match="process"):
            await graph.ainvoke(Command(resume=raw), {"configurable": {"thread_id": "t"}})
    assert ((await Database(here.path).journal.past(asked["run_id"])).answers.keys(), here.world) == (set(), [])
    again = await here.resume()
    assert (again["state"], here.world) == ("COMPLETE", ["sent", "after"])


@pytest.mark.parametrize("by_id", [False, True])
async def test_of_two_answers_by_command_the_last_one_counts_where_the_first_has_no_row(
    house: Callable[..., House],
    *,
    by_id: bool,
) -> None:
    here, config = house(REVIEWED), RunnableConfig(configurable={"thread_id": "t"})
    await here.open().run("g", thread_id="t")
    workflow = here.open(at_answer, before=True)
    async with workflow.database.checkpointer() as saver:
        with pytest.raises(DatabaseError, match="process"):
            await workflow._assemble(saver).ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), config)
        graph, rejected = here.open()._assemble(saver), {"decisions": [{"type": "reject", "message": "no"}]}
        (waiting,) = (await graph.aget_state(config)).interrupts
        ended = await graph.ainvoke(Command(resume={waiting.id: rejected} if by_id else rejected), config)
    assert "A reviewer rejected step sent (told): no" in json.dumps(ended["history"])
    assert (here.planned, here.world) == (2, [])


async def test_an_answer_by_command_that_a_server_repeats_answers_no_second_question(
    house: Callable[..., House],
) -> None:
    """A server killed between the last checkpoint of its run and the note that the run ended does the run again."""
    second = step("second", "told", inputs={"x": "${x}"}, human_review_required=True)
    here = house(plan(step("first", "told", human_review_required=True, outputs=["x"]), second))
    await here.open().run("g", thread_id="t")
    workflow = here.open()
    config: RunnableConfig = {"configurable": {"thread_id": "t"}, "metadata": {"run_id": "the server's"}}
    async with workflow.database.checkpointer() as saver:
        for _ in range(2):
            await workflow._assemble(saver).ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), config)
        assert here.world == ["first"]
        config["metadata"]["run_id"] = "its next one"
        await workflow._assemble(saver).ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), config)
    assert here.world == ["first", "second"]


async def test_an_approval_is_used_up_in_the_transaction_of_its_intent(house: Callable[..., House]) -> None:
    for before, times in ((True, 1), (False, 0)):
        here = house(REVIEWED)
        here.path = here.path.with_name(f"{before}.db")
        asked = await here.open().run("g", thread_id="t")
        with pytest.raises(DatabaseError, match="process"):
            await here.open(at_intent("sent"), before=before).resume(approve(), thread_id="t")
        past = await Database(here.path).journal.past(asked["run_id"])
        unused = [row for row in past.answers.values() if not row.used]
        assert (len(unused), here.world) == (times, [])
        again = await here.resume()
        if before:  # the approval is still there
            assert (again["state"], here.world) == ("COMPLETE", ["sent", "after"])
        else:  # it was used for the intent, which is in doubt now
            assert (again["state"], [bool(one["in_doubt"]) for one in again["reviews"]]) == ("REVIEWING", [True])
            assert ((await here.resume(approve()))["state"], here.world) == ("COMPLETE", ["sent", "after"])


DAY = 86_400.0


async def test_an_approval_that_expired_while_the_process_was_dead_is_asked_for_again(
    house: Callable[..., House],
) -> None:
    here = house(REVIEWED)
    asked = await here.open().run("g", thread_id="t")
    with pytest.raises(DatabaseError, match="process"):
        await here.open(at_intent("sent"), before=True).resume(approve(), thread_id="t")
    here.later = DAY + 1
    again = await here.resume()
    assert (again["state"], len(again["reviews"]), here.world) == ("REVIEWING", 1, [])
    assert again["reviews"][0]["id"] != asked["reviews"][0]["id"]
    assert ((await here.resume(approve()))["state"], here.world) == ("COMPLETE", ["sent", "after"])


async def test_an_approval_that_has_not_expired_covers_what_was_begun_under_it(house: Callable[..., House]) -> None:
    here = house(plan(step("sent", "put", human_review_required=True)))
    await here.open().run("g", thread_id="t")
    with pytest.raises(DatabaseError, match="process"):
        await here.open(at_outcome("sent"), before=True).resume(approve(), thread_id="t")
    here.later = DAY - 60
    assert ((await here.resume())["state"], here.world, len(set(here.keys))) == ("COMPLETE", ["sent", "sent"], 1)


@pytest.mark.parametrize("action, asks", [("put", True), ("found", False), ("kept", False)])
async def test_what_was_begun_under_an_approval_that_expired_since_is_done_again_only_with_a_new_one(
    house: Callable[..., House],
    action: str,
    asks: bool,  # noqa: FBT001
) -> None:
    here = house(plan(step("sent", action, human_review_required=True)))
    asked = await here.open().run("g", thread_id="t")
    with pytest.raises(DatabaseError, match="process"):
        await here.open(at_outcome("sent"), before=True).resume(approve(), thread_id="t")
    here.later = 30 * DAY
    again = await here.resume()
    assert (again["state"], here.world) == ("REVIEWING" if asks else "COMPLETE", ["sent"])
    if asks:
        reason = again["reviews"][0]["reason"]
        assert ("may have happened" in reason, "and that expired since then." in reason) == (True, True)
        assert again["reviews"][0]["id"] != asked["reviews"][0]["id"]
        done = await here.resume(approve())
        assert (done["state"], here.world, len(set(here.keys))) == ("COMPLETE", ["sent", "sent"], 1)


@pytest.mark.parametrize("during", ["decision", "write"])
async def test_what_is_begun_again_just_as_its_approval_expires_is_asked_for_again(
    house: Callable[..., House], during: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = house(plan(step("sent", "put", human_review_required=True)))
    await here.open().run("g", thread_id="t")
    with pytest.raises(DatabaseError, match="process"):
        await here.open(at_outcome("sent"), before=True).resume(approve(), thread_id="t")

    def takes_a_day(kind: str, value: Any) -> bool:
        here.later += DAY if during == "write" and at_intent("sent")(kind, value) else 0
        return False

    workflow = here.open(takes_a_day)
    decide = workflow.engine.decide

    def decided(*request: Any, approved: bool) -> Any:
        here.later += DAY if during == "decision" else 0
        return decide(*request, approved=approved)

    monkeypatch.setattr(workflow.engine, "decide", decided)
    again = await workflow.resume(thread_id="t")
    assert (again["state"], here.world) == ("REVIEWING", ["sent"])
    done = await here.resume(approve())
    assert (done["state"], here.world, len(set(here.keys))) == ("COMPLETE", ["sent", "sent"], 1)


async def test_a_cancel_is_not_forgotten_by_a_process_that_is_killed_before_the_end_is_kept(
    house: Callable[..., House], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = house(plan(step("one", "put"), step("two", "put", after=["one"]), step("three", "put", after=["two"])))

    def cancelled(name: str, value: Any) -> bool:
        if at_outcome("one")(name, value):
            here.open().request("t", "cancel")
        return False

    async def killed(*_: object) -> NoReturn:
        raise sqlite3.OperationalError("The process is gone.")

    with monkeypatch.context() as patch:
        patch.setattr(AsyncSqliteSaver, "aput", killed)
        with pytest.raises(DatabaseError, match="process"):
            await here.open(cancelled).run("g", thread_id="t")
    ended = await here.resume()
    assert (ended["state"], ended["reason"], here.world) == ("FAILED", "Cancelled on request.", ["one", "two"])


@pytest.mark.parametrize(
    "action, is_unsure, in_doubt",
    [("put", False, True), ("found", False, False), ("kept", False, False), ("kept", True, True)],
)
async def test_what_policy_lets_happen_no_more_without_a_person_is_not_done_again_without_one(
    house: Callable[..., House],
    action: str,
    is_unsure: bool,  # noqa: FBT001
    in_doubt: bool,  # noqa: FBT001
) -> None:
    here = house(plan(step("sent", action)))
    await here.crashed(at_intent("sent"))
    here.reviewed, here.is_unsure = action, is_unsure
    asked = await here.resume()
    assert (asked["state"], [bool(one["in_doubt"]) for one in asked["reviews"]]) == ("REVIEWING", [in_doubt])
    assert here.world == []
    so_far = "may have happened" if in_doubt else "did not happen"
    assert f"{so_far}; approve does it under the same key." in asked["reviews"][0]["reason"]
    with pytest.raises(ReviewError, match="was begun with its inputs"):
        await here.resume(edit({"x": 2}))
    assert ((await here.resume(approve()))["state"], here.world) == ("COMPLETE", ["sent"])


async def test_who_gives_up_an_effect_in_doubt_has_taken_back_an_approval_of_its_call(
    house: Callable[..., House],
) -> None:
    here = house(plan(step("sent", "found"), step("after", "told", after=["sent"])), plan(step("sent", "found")))
    here.limits, here.reviewed = Limits(max_replans=1), "found"
    await here.open().run("g", thread_id="t")
    with pytest.raises(DatabaseError, match="process"):
        await here.open(at_intent("sent"), before=True).resume(approve(), thread_id="t")
    here.reviewed = ""
    with pytest.raises(DatabaseError, match="process"):
        await here.open(at_intent("sent")).resume(thread_id="t")
    here.is_unsure = True
    assert (await here.resume())["reviews"][0]["in_doubt"]
    here.is_unsure, here.reviewed = False, "found"
    again = await here.resume(reject("Do not do it."))
    assert (again["state"], here.planned, here.world) == ("REVIEWING", 2, [])


async def test_who_wants_an_effect_in_doubt_again_has_taken_back_what_was_given_in_place_of_its_call(
    house: Callable[..., House],
) -> None:
    here = house(plan(step("sent", "found", human_review_required=True)))
    await here.open().run("g", thread_id="t")
    with pytest.raises(DatabaseError, match="process"):
        await here.open(at_intent("sent")).resume(approve(), thread_id="t")
    here.later = 2 * DAY
    assert not (await here.resume())["reviews"][0]["in_doubt"]
    here.is_unsure = True
    assert (await here.resume(respond("given")))["reviews"][0]["in_doubt"]
    assert ((await here.resume(approve()))["state"], here.world) == ("COMPLETE", ["sent"])


async def test_a_result_given_in_place_of_what_was_begun_and_did_not_happen_is_no_effect_of_a_later_plan(
    house: Callable[..., House],
) -> None:
    sent = step("sent", "found", human_review_required=True)
    fails = step("fails", "look", validation={"type": "null"}, after=["sent"])
    here = house(plan(sent, fails), plan({**sent, "name": "other"}))
    here.limits = Limits(max_replans=1)
    await here.open().run("g", thread_id="t")
    with pytest.raises(DatabaseError, match="process"):
        await here.open(at_intent("sent")).resume(approve(), thread_id="t")
    here.later = 2 * DAY
    assert "and did not happen" in (await here.resume())["reviews"][0]["reason"]
    asked = await here.resume(respond("by hand"))
    assert (asked["state"], [one["step"] for one in asked["reviews"]]) == ("REVIEWING", ["other"])
    assert ((await here.resume(approve()))["state"], here.world) == ("COMPLETE", ["fails", "other"])


def _takes_a_day(here: House, *, read_only: bool) -> Action:
    """Return an action whose first attempt takes a day, and whose third one succeeds."""

    async def flaky(call: ActionCall) -> str:
        here.keys.append(call.idempotency_key)
        here.later += DAY if len(here.keys) == 1 else 0
        if len(here.keys) < 3:
            raise ConnectionResetError
        return "done"

    notes = Annotations(read_only=read_only, idempotent=True, destructive=False, open_world=False, trusted=True)
    return Action(name="flaky", run=flaky, annotations=notes)


@pytest.mark.parametrize("has_effect", [True, False])
async def test_no_further_attempt_is_made_under_an_approval_that_expired(
    house: Callable[..., House],
    has_effect: bool,  # noqa: FBT001
) -> None:
    here = house(plan(step("sent", "flaky", human_review_required=True, retries=3)))

    here.actions = lambda: [_takes_a_day(here, read_only=not has_effect)]  # type: ignore[method-assign]
    asked = await here.open().run("g", thread_id="t")
    again = await here.resume(approve())
    assert (again["state"], len(here.keys)) == ("REVIEWING", 1)
    question = again["reviews"][0]
    assert (bool(question["in_doubt"]), question["begun"]) == (has_effect, has_effect)
    assert question["id"] != asked["reviews"][0]["id"]
    assert ("that expired since then" in question["reason"]) == has_effect
    assert ("flaky raised ConnectionResetError: " in question["reason"]) == has_effect
    done = await here.resume(approve())
    assert (done["state"], len(here.keys), len(set(here.keys))) == ("COMPLETE", 3, 1)


@pytest.mark.parametrize("has_effect", [True, False])
async def test_a_call_whose_approval_expired_between_attempts_does_not_count_beside_itself(
    house: Callable[..., House],
    has_effect: bool,  # noqa: FBT001
) -> None:
    here = house(plan(step("sent", "flaky", human_review_required=True, retries=3)))

    database, rules = Database(here.path, clock=lambda: time.time() + here.later), here.path.with_suffix(".cedar")
    rules.write_text('forbid(principal, action == Action::"flaky", resource) when { context.count >= 1 };')
    agent, actions = ScriptedAgent([here.plans[0]]), [_takes_a_day(here, read_only=not has_effect)]
    workflow = AgenticWorkflow(agent, actions=actions, database=database, policies=["default", rules])
    await workflow.run("g", thread_id="t")
    asked = await workflow.resume(approve(), thread_id="t")
    assert (asked["state"], asked["reason"], len(here.keys)) == ("REVIEWING", None, 1)


@pytest.mark.parametrize("reviewed", ["", "found"])
async def test_what_a_person_gave_up_is_not_done_where_the_checkpoints_since_the_question_are_lost(
    house: Callable[..., House], reviewed: str
) -> None:
    here = house(plan(step("sent", "found")), plan(step("instead", "look")))
    await here.crashed(at_intent("sent"))
    lost = Rewound(here)
    here.is_unsure = True
    assert (await here.resume())["reviews"][0]["in_doubt"]
    with pytest.raises(DatabaseError, match="process"):
        await here.open(at_answer).resume(reject("never"), thread_id="t")
    lost.lose(with_writes=True)
    here.is_unsure, here.reviewed = False, reviewed
    done = await here.resume()
    assert (done["state"], here.world, here.planned) == ("COMPLETE", ["instead"], 2)
    assert "A reviewer gave up step sent (found), which may have happened: never." in here.told


@pytest.mark.parametrize("action", ["put", "kept", "found"])
async def test_what_a_person_gave_up_is_asked_about_where_a_later_plan_has_an_equal_step(
    house: Callable[..., House], action: str
) -> None:
    here = house(plan(step("sent", action)), plan(step("again", action)))
    real = here.actions

    def waits_once() -> list[Action]:
        async def run(call: ActionCall) -> str:
            here.world.append(call.step.name)
            raise GraphInterrupt

        return [replace(one, run=run) if not here.world and one.name == action else one for one in real()]

    here.actions, here.is_unsure = waits_once, True  # type: ignore[method-assign]
    asked = await here.open().run("g", thread_id="t")
    assert (asked["state"], here.world) == ("REVIEWING", ["sent"])
    here.is_unsure = False
    here.world[:] = ["it"]  # nothing is found
    again = await here.resume(reject("never"))
    assert (again["state"], here.world) == ("REVIEWING", ["it"])
    assert (again["reviews"][0]["step"], "a reviewer gave it up" in again["reviews"][0]["reason"]) == ("again", True)
    assert ((await here.resume(approve()))["state"], here.world) == ("COMPLETE", ["it", "again"])


OTHERWISE = edit({"x": 2})


@pytest.mark.parametrize(
    "answer, is_written_only, later",
    [(OTHERWISE, True, 0.0), (OTHERWISE, False, 0.0), (OTHERWISE, True, 2 * DAY), (respond("given"), True, 0.0)],
)
async def test_what_a_person_said_otherwise_is_not_done_unasked_under_policies_that_allow_it_by_now(
    house: Callable[..., House],
    answer: Any,
    is_written_only: bool,  # noqa: FBT001
    later: float,
) -> None:
    here = house(plan(step("sent", "told", inputs={"x": 1})))
    here.reviewed = "told"
    await here.open().run("g", thread_id="t")
    killed = here.open(at_answer) if is_written_only else here.open(at_intent("sent"), before=True)
    with pytest.raises(DatabaseError, match="process"):
        await killed.resume(answer, thread_id="t")
    here.reviewed, here.later = "", later
    asked = await here.resume()
    assert (asked["state"], here.world) == ("REVIEWING", [])
    did = "gave a result to this step" if answer == respond("given") else "gave other inputs to this step"
    reason = asked["reviews"][0]["reason"]
    assert ("a person last said something else of it." in reason, f" {did} at " in reason) == (True, True)
    assert ((await here.resume(approve()))["state"], here.world) == ("COMPLETE", ["sent"])


@pytest.mark.parametrize("action", ["told", "look"])
async def test_what_a_person_said_of_a_step_of_a_replaced_plan_is_not_said_of_one_with_its_name(
    house: Callable[..., House], action: str
) -> None:
    first = [step(name, "told", inputs={"x": 1}, human_review_required=True) for name in ("sent", "other")]
    here = house(plan(*first), plan(step("sent", action, inputs={"y": 1})))
    asked = await here.open().run("g", thread_id="t")
    sent, other = (one["id"] for one in sorted(asked["reviews"], key=lambda one: one["step"], reverse=True))
    done = await here.resume({sent: OTHERWISE, other: reject("no")})
    assert (done["state"], here.world, here.planned) == ("COMPLETE", ["sent"], 2)


async def test_what_did_not_happen_and_is_asked_about_keeps_no_failed_plan_from_being_replaced(
    house: Callable[..., House],
) -> None:
    failing = step("bad", "look", validation={"type": "null"})
    here = house(plan(step("sent", "found"), failing), plan(step("other", "look")))
    apart = [replace(one, resources=lambda _, name=one.name: {name}) for one in here.actions()]
    here.actions = lambda: apart  # type: ignore[method-assign]
    here.limits = Limits(max_replans=1)
    await here.crashed(at_intent("sent"))
    here.reviewed = "found"
    done = await here.resume()
    assert (done["state"], here.planned, "sent" in here.world) == ("COMPLETE", 2, False)
    assert "may have happened" not in str(here.told)


async def _asked_anew(here: House) -> dict[str, Any]:
    """Begin an idempotent effect, die, and return the question of policies that let nobody do it without a person."""
    await here.crashed(at_outcome("it"), before=True)
    here.reviewed = "put"
    asked = await here.resume()
    assert (asked["state"], here.world.count("it")) == ("REVIEWING", 1)
    question: dict[str, Any] = asked["reviews"][0]
    return question


async def test_who_is_asked_about_what_was_begun_is_told_so(house: Callable[..., House]) -> None:
    here = house(with_action("put"))
    question = await _asked_anew(here)
    assert (question["expires"], question["in_doubt"][1:]) == (None, ["it", -1, 0])


@pytest.mark.parametrize("is_killed", [True, False])
@pytest.mark.parametrize("kind", ["approve", "respond", "reject"])
async def test_what_a_person_says_of_what_was_begun_counts(
    house: Callable[..., House],
    kind: str,
    is_killed: bool,  # noqa: FBT001
) -> None:
    here = house(with_action("put"), plan(step("instead", "look")))
    asked = str((await _asked_anew(here))["id"])
    answer = {"approve": approve(asked), "respond": respond("it was so", asked), "reject": reject("no", asked)}[kind]
    if is_killed:
        with pytest.raises(DatabaseError, match="process"):
            await here.open(at_answer).resume(answer, thread_id="t")
    done = await here.resume(None if is_killed else answer)
    keys = [key for name, key in zip(here.world, here.keys, strict=True) if name == "it"]
    results = {entry["step"]: entry["result"] for entry in done["history"]}
    assert (done["state"], len(keys), len(set(keys))) == ("COMPLETE", 2 if kind == "approve" else 1, 1)
    assert results.get("it") == {"approve": "it done", "respond": "it was so", "reject": None}[kind]
    gave_up = "A reviewer gave up step it (put), which may have happened: no."
    assert (gave_up in here.told, here.planned) == ((True, 2) if kind == "reject" else (False, 1))
    assert (await Database(here.path).journal.past(done["run_id"])).in_doubt == ()


async def test_what_was_approved_although_it_was_begun_is_begun_again_under_the_same_key_and_nobody_is_asked(
    house: Callable[..., House],
) -> None:
    here = house(with_action("put"))
    await _asked_anew(here)
    with pytest.raises(DatabaseError, match="process"):
        await here.open(at_intent("it")).resume(approve(), thread_id="t")
    done = await here.resume()
    keys = [key for name, key in zip(here.world, here.keys, strict=True) if name == "it"]
    assert (done["state"], len(keys), len(set(keys))) == ("COMPLETE", 2, 1)


@pytest.mark.parametrize("answer, times", [(respond("it was so"), 1), (approve(), 2)])
async def test_a_doubt_stays_in_doubt_where_the_approval_to_do_it_again_expired(
    house: Callable[..., House], answer: Any, times: int
) -> None:
    here = house(DOUBTFUL)
    await here.crashed(at_outcome("it"), before=True)
    doubtful = await here.resume()

    def takes_a_day(kind: str, value: Any) -> bool:
        here.later += DAY if at_intent("it")(kind, value) else 0
        return False

    again = await here.open(takes_a_day).resume(approve(), thread_id="t")
    assert (again["state"], [bool(one["in_doubt"]) for one in again["reviews"]]) == ("REVIEWING", [True])
    assert (again["reviews"][0]["id"] != doubtful["reviews"][0]["id"], here.world.count("it")) == (True, 1)
    assert len((await Database(here.path).journal.past(again["run_id"])).in_doubt) == 1
    assert ((await here.resume(answer))["state"], here.world.count("it")) == ("COMPLETE", times)


async def test_a_deadline_that_passed_while_the_process_was_dead_is_a_rejection(house: Callable[..., House]) -> None:
    here = house(REVIEWED, plan(step("instead", "told", inputs={"x": 2})))
    await here.open().run("g", thread_id="t")
    here.later = 7 * DAY + 1
    done = await here.resume()
    assert (done["state"], here.world, here.planned) == ("COMPLETE", ["instead"], 2)


async def test_a_rejection_by_the_deadline_without_a_checkpoint_is_the_same_rejection(
    house: Callable[..., House],
) -> None:
    here = house(REVIEWED, plan(step("instead", "told", inputs={"x": 2})))
    asked = await here.open().run("g", thread_id="t")
    here.later = 7 * DAY + 1
    with pytest.raises(DatabaseError, match="process"):
        await here.open(at_answer).resume(thread_id="t")
    here.later = 0.0  # a clock that was wrong
    with pytest.raises(ReviewError):
        await here.resume(approve(asked["reviews"][0]["id"]))
    done = await here.resume()
    assert (done["state"], here.world, here.planned) == ("COMPLETE", ["instead"], 2)
    assert len((await Database(here.path).journal.past(asked["run_id"])).answers) == 1


async def test_a_used_approval_is_never_used_again(house: Callable[..., House]) -> None:
    here = house(REVIEWED)
    await here.open().run("g", thread_id="t")
    with pytest.raises(DatabaseError, match="process"):
        await here.open(at_outcome("sent"), before=True).resume(approve(), thread_id="t")
    again = await here.resume()
    assert (again["state"], here.world.count("sent")) == ("REVIEWING", 1)


# Who writes.


async def test_a_stale_process_that_wakes_after_its_step_writes_nothing(house: Callable[..., House]) -> None:
    here = house(plan(step("a", "told"), step("b", "told", after=["a"])))
    workflow = here.open()
    journal = workflow.database.journal

    async def frozen(call: ActionCall) -> str:
        here.world.append(call.step.name)
        late = Database(here.path, lease_seconds=30)
        late.leases.journal = SqlJournal(late.journal._writer, clock=lambda: 1e12)  # type: ignore[attr-defined]
        await late.journal.acquire("t", "elsewhere:1:1:x", 30)
        return "x"

    stale = AgenticWorkflow(
        workflow.agent, 50, actions=[replace(one, run=frozen) for one in here.actions()], database=here.path
    )
    with pytest.raises(LeaseLostError):
        await stale.run("g", thread_id="t")
    result = await here.open().result("t")
    past = await journal.past(result["run_id"])
    assert (here.world, [one.place.step for one in past.in_doubt], past.outcomes) == (["a"], ["a"], ())


@pytest.mark.parametrize("is_lost", [True, False])
async def test_no_further_attempt_is_made_where_the_lease_is_lost_or_nobody_can_tell(
    house: Callable[..., House],
    is_lost: bool,  # noqa: FBT001
) -> None:
    here = house(plan(step("a", "put", retries=3)))
    dies = None if is_lost else lambda kind, value: bool(here.world) and kind == "write" and not any(value)
    workflow = here.open(dies)

    async def fails(call: ActionCall) -> NoReturn:
        here.world.append(call.step.name)
        if is_lost:
            late = SqlJournal(Database(here.path).journal._writer, clock=lambda: 1e12)  # type: ignore[attr-defined]
            await late.acquire("t", "elsewhere:1:1:x", 30)
        raise ValueError("not yet")

    actions = [replace(one, run=fails) for one in here.actions()]
    workflow = AgenticWorkflow(workflow.agent, 50, actions=actions, database=workflow.database)
    with pytest.raises(LeaseLostError if is_lost else DatabaseError):
        await workflow.run("g", thread_id="t")
    past = await Database(here.path).journal.past((await here.open().result("t"))["run_id"])
    assert (here.world, [one.place.step for one in past.in_doubt]) == (["a"], ["a"])


async def test_a_process_that_has_lost_the_lease_before_a_step_starts_none_and_ends_no_run(
    house: Callable[..., House],
) -> None:
    here = house(plan(step("a", "told")))
    workflow = here.open()

    def loses(_: object) -> list[str]:
        for held in workflow.database.leases._held.values():
            held.lost = LeaseLostError("t", "elsewhere:1:1:x")
        return ["x"]

    workflow.registry = {name: replace(one, resources=loses) for name, one in workflow.registry.items()}
    with pytest.raises(LeaseLostError):
        await workflow.run("g", thread_id="t")
    assert here.world == []
    assert ((await here.resume())["state"], here.world) == ("COMPLETE", ["a"])


async def test_a_stale_process_that_wakes_after_execute_writes_no_checkpoint(house: Callable[..., House]) -> None:
    here = house(REVIEWED)
    await here.open().run("g", thread_id="t")
    before = Rewound(here)
    stale = here.open()
    async with stale._held("t") as run:
        late = SqlJournal(stale.database.journal._writer, clock=lambda: 1e12)  # type: ignore[attr-defined]
        await late.acquire("t", "elsewhere:1:1:x", 30)
        with pytest.raises(LeaseLostError):
            await run.fail("It woke.")
    assert (await here.open().result("t"))["state"] == "REVIEWING"
    assert before.is_latest()


@pytest.mark.parametrize("call", ["create_plan", "review_progress"])
async def test_a_process_that_lost_its_lease_while_its_agent_was_asked_ends_no_run(
    house: Callable[..., House], call: str
) -> None:
    here = house(plan(step("a", "told")))
    workflow = here.open()

    async def frozen(_: str, __: Any) -> None:
        late = SqlJournal(workflow.database.journal._writer, clock=lambda: 1e12)  # type: ignore[attr-defined]
        await late.acquire("t", "elsewhere:1:1:x", 30)
        if call == "create_plan":
            raise PlanningError("It woke.")

    setattr(workflow.agent, call, frozen)
    config: RunnableConfig = {"configurable": {"thread_id": "t"}}
    async with Database(here.path).checkpointer() as saver:  # as a server has it, which fences nothing by itself
        graph = workflow._assemble(saver)
        with pytest.raises(LeaseLostError):
            await graph.ainvoke({"goal": "g"}, config)
        assert (await graph.aget_state(config)).values.get("status") not in FINISHED


# Copies and forks.


async def copied(here: House, to: str) -> None:
    """Copy the last checkpoint to another thread, as a server's copy does."""
    workflow = here.open()
    async with workflow.database.checkpointer() as saver:
        found = await saver.aget_tuple({"configurable": {"thread_id": "t", "checkpoint_ns": ""}})
        assert found
        config: RunnableConfig = {"configurable": {"thread_id": to, "checkpoint_ns": ""}}
        versions = found.checkpoint["channel_versions"]
        saved = await saver.aput(config, found.checkpoint, found.metadata, versions)  # type: ignore[arg-type]
        for task, channel, value in found.pending_writes or []:
            await saver.aput_writes(saved, [(channel, value)], task)


async def test_a_copied_thread_is_refused(house: Callable[..., House]) -> None:
    here = house(DOUBTFUL)
    await here.crashed(at_outcome("it"), before=True)
    await copied(here, "copy")
    with pytest.raises(RunError, match="is a copy"):
        await here.open().resume(thread_id="copy")
    assert here.world.count("it") == 1


async def test_an_answer_on_a_copied_thread_does_not_count_for_the_run(house: Callable[..., House]) -> None:
    here = house(REVIEWED)
    asked = await here.open().run("g", thread_id="t")
    await copied(here, "copy")
    with pytest.raises(RunError, match="is a copy"):
        await here.open().resume(approve(), thread_id="copy")
    past = await Database(here.path).journal.past(asked["run_id"])
    assert (past.answers.keys(), here.world) == (set(), [])
    assert len((await here.open().result("t"))["reviews"]) == 1


async def test_a_fork_takes_over_what_was_done(house: Callable[..., House]) -> None:
    here = house(plan(step("a", "told"), step("b", "told")))
    await here.open().run("g", thread_id="t")
    workflow = here.open()
    async with workflow.database.checkpointer() as saver:
        graph = workflow._assemble(saver)
        states = [state async for state in graph.aget_state_history({"configurable": {"thread_id": "t"}})]
        for state in states[1:]:  # from each earlier checkpoint
            if state.next and state.next != ("__start__",):
                fork: RunnableConfig = {"configurable": state.config.get("configurable", {})}
                values = await graph.ainvoke(None, fork)
                assert values["status"] == "COMPLETE", json.dumps(values, default=str)
    assert (here.world, here.planned) == (["a", "b"], 1)


async def test_a_fork_of_where_a_run_begins_that_has_ended_is_refused(house: Callable[..., House]) -> None:
    here, thread = house(plan(step("a", "told"))), RunnableConfig(configurable={"thread_id": "t"})
    workflow = here.open()
    async with workflow.database.checkpointer() as saver:
        graph = workflow._assemble(saver)
        for _ in range(2):
            await graph.ainvoke({"goal": "g"}, thread, durability="sync")
        states = [state async for state in graph.aget_state_history(thread)]
        begins = [state.config for state in states if state.next == ("plan",)]
        assert len(begins) == 2
        for config in begins:
            with pytest.raises(RunError, match=r"has a run that has done something \([-0-9a-f]+, 'g'\)"):
                await graph.ainvoke(None, {"configurable": config.get("configurable", {})})
        assert here.world == ["a", "a"]
        ended = next(state.config for state in reversed(states) if not state.next)
        other = await graph.ainvoke({"goal": "another"}, {"configurable": ended.get("configurable", {})})
    assert (other["status"], here.world) == ("COMPLETE", ["a", "a", "a"])


async def test_a_fork_of_where_a_run_begins_that_has_failed_is_refused(house: Callable[..., House]) -> None:
    fails = step("fails", "look", validation={"type": "null"})
    here, thread = (
        house(plan(step("a", "told"), fails, step("b", "told"))),
        RunnableConfig(configurable={"thread_id": "t"}),
    )
    workflow = here.open()
    async with workflow.database.checkpointer() as saver:
        graph = workflow._assemble(saver)
        assert (await graph.ainvoke({"goal": "g"}, thread, durability="sync"))["status"] == "FAILED"
        begins = [state.config async for state in graph.aget_state_history(thread) if state.next == ("plan",)]
        with pytest.raises(RunError, match="has a run that has done something"):
            await graph.ainvoke(None, {"configurable": begins[-1].get("configurable", {})})
    assert here.world == ["a", "fails"]


async def test_from_before_a_run_that_is_in_doubt_no_other_one_is_begun(house: Callable[..., House]) -> None:
    here, thread = house(DOUBTFUL), RunnableConfig(configurable={"thread_id": "t"})
    workflow = here.open()
    async with workflow.database.checkpointer() as saver:
        graph = workflow._assemble(saver)
        await graph.ainvoke({"goal": "before"}, thread, durability="sync")
        ended = (await graph.aget_state(thread)).config
        await here.crashed(at_outcome("it"), before=True)
        world = list(here.world)
        with pytest.raises(RunError, match="has a run that has done something"):
            await graph.ainvoke({"goal": "another"}, {"configurable": ended.get("configurable", {})})
    assert here.world == world


@pytest.mark.parametrize("runs_before", [0, 1])
async def test_a_goal_given_again_where_no_checkpoint_of_its_run_was_kept_goes_on_with_that_run(
    house: Callable[..., House], runs_before: int
) -> None:
    here, thread = house(DOUBTFUL), RunnableConfig(configurable={"thread_id": "t"})

    async def invoke(workflow: AgenticWorkflow, goal: str) -> dict[str, Any]:
        async with workflow.database.checkpointer() as saver:
            return dict(await workflow._assemble(saver).ainvoke({"goal": goal}, thread))

    for _ in range(runs_before):
        assert (await invoke(here.open(), "g"))["status"] == "COMPLETE"
    kept = Rewound(here) if runs_before else None
    with pytest.raises(DatabaseError, match="process"):
        await invoke(here.open(at_outcome("it"), before=True), "g")
    kept.lose(with_writes=True) if kept else here.lose_checkpoints()
    before = here.world.count("it")
    asked = await invoke(here.open(), "g")
    assert (asked["status"], asked["asks"][0]["step"], here.world.count("it")) == ("REVIEWING", "it", before)


async def test_a_goal_given_again_goes_on_with_its_run_also_where_an_effect_in_doubt_was_begun_again(
    house: Callable[..., House],
) -> None:
    here, thread = house(with_action("put")), RunnableConfig(configurable={"thread_id": "t"})

    async def invoke(workflow: AgenticWorkflow) -> dict[str, Any]:
        async with workflow.database.checkpointer() as saver:
            return dict(await workflow._assemble(saver).ainvoke({"goal": "g"}, thread))

    for attempt in range(2):

        def at_its_outcome(kind: str, value: Any, attempt: int = attempt) -> bool:
            ended = value[1] if kind == "write" else ()
            return any((one.intent.place.step, one.intent.attempt) == ("it", attempt) for one in ended)

        with pytest.raises(DatabaseError, match="process"):
            await invoke(here.open(at_its_outcome, before=True))
        here.lose_checkpoints()
    done = await invoke(here.open())
    its = {key for name, key in zip(here.world, here.keys, strict=True) if name == "it"}
    assert (done["status"], here.planned, len(its)) == ("COMPLETE", 1, 1)


async def test_answers_that_a_server_gives_are_written_in_their_order(house: Callable[..., House]) -> None:
    here, thread = (
        house(plan(step("a", "told", outputs=["x"]), step("b", "told", inputs={"v": "${x}"}))),
        RunnableConfig(configurable={"thread_id": "t"}),
    )
    here.reviewed = "told"
    workflow = here.open()
    async with workflow.database.checkpointer() as saver:
        graph = workflow._assemble(saver)
        state = await graph.ainvoke({"goal": "g"}, thread)
        for _ in "ab":
            state = await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), thread)
    answers = await workflow.database.journal.answers(state["run_id"])
    assert (state["status"], sorted(one.after for one in answers.values())) == ("COMPLETE", [0, 1])


@pytest.mark.parametrize("is_asked", [False, True])
@pytest.mark.parametrize("goal", ["g", "another"])
async def test_a_goal_that_a_server_gives_to_a_run_in_doubt_is_not_begun_and_the_run_goes_on(
    house: Callable[..., House], goal: str, *, is_asked: bool
) -> None:
    here = house(DOUBTFUL)
    await here.crashed(at_outcome("it"), before=True)
    config: RunnableConfig = {"configurable": {"thread_id": "t"}}
    workflow = here.open()
    async with workflow.database.checkpointer() as saver:
        graph = workflow._assemble(saver)
        if is_asked:
            await graph.ainvoke(None, config)
        asked = await graph.ainvoke({"goal": goal, "given_run_id": "another"}, config)
        (question,) = asked["__interrupt__"][0].value["action_requests"]
        assert "The new goal was not begun" in asked["__interrupt__"][0].value["problem"]
        assert (asked["status"], asked["goal"], asked["given_run_id"]) == ("REVIEWING", "g", None)
        assert (question["step"], bool(question["in_doubt"])) == ("it", True)
        assert here.world.count("it") == 1
        ended = await graph.ainvoke(Command(resume={"decisions": [{"type": "respond", "message": "x"}]}), config)
        assert (ended["status"], here.world.count("it")) == ("COMPLETE", 1)
        again = await graph.ainvoke({"goal": goal}, config)
    assert (again["status"], again["goal"], here.world.count("it")) == ("COMPLETE", goal, 2)


async def test_who_gave_a_goal_that_was_not_begun_is_told_so_where_nobody_had_to_be_asked(
    house: Callable[..., House],
) -> None:
    here, thread = house(with_action("put")), RunnableConfig(configurable={"thread_id": "t"})
    await here.crashed(at_outcome("it"), before=True)
    workflow = here.open()
    async with workflow.database.checkpointer() as saver:
        ended = await workflow._assemble(saver).ainvoke({"goal": "another"}, thread)
    assert (ended["status"], ended["goal"], here.world.count("it")) == ("COMPLETE", "g", 2)
    assert "The new goal was not begun" in ended["reason"]


async def test_a_second_goal_on_the_same_thread_does_its_effects_anew(house: Callable[..., House]) -> None:
    here = house(plan(step("a", "told")))
    first = await here.open().run("g", thread_id="t")
    second = await here.open().run("g", thread_id="t")
    assert (first["run_id"] != second["run_id"], here.world) == (True, ["a", "a"])
    assert len(set(here.keys)) == 2


async def test_a_crash_in_a_second_goal_goes_on_with_the_second(house: Callable[..., House]) -> None:
    here = house(DOUBTFUL)
    await here.open().run("first", thread_id="t")
    await here.crashed(at_outcome("it"), before=True, goal="second")
    asked = await here.resume()
    assert (asked["goal"], asked["state"], here.world.count("it")) == ("second", "REVIEWING", 2)
    assert ((await here.resume(respond("x")))["state"], here.world.count("it")) == ("COMPLETE", 2)


# Clocks.


async def test_a_crash_in_a_second_goal_goes_on_with_the_second_also_where_the_clock_was_set_back(
    house: Callable[..., House], set_back: Callable[[], None]
) -> None:
    here = house(DOUBTFUL)
    await here.open().run("first", thread_id="t")
    set_back()
    first = Rewound(here)
    await here.crashed(at_outcome("it"), before=True, goal="second")
    first.lose(with_writes=True)  # a killed process has left no checkpoint of the second
    asked = await here.resume()
    assert (asked["goal"], asked["state"], here.world.count("it")) == ("second", "REVIEWING", 2)
    assert ((await here.resume(respond("x")))["state"], here.world.count("it")) == ("COMPLETE", 2)


async def test_what_goes_on_where_the_clock_was_set_back_is_what_everybody_finds(
    house: Callable[..., House], set_back: Callable[[], None]
) -> None:
    here = house(ASKS_TWICE)
    for goal in ("first", "second"):
        await here.open().run(goal, thread_id="t")
        set_back()
        asked = await here.resume(approve())
        seen = await here.open().result("t")
        assert asked["reviews"] == seen["reviews"]
        assert (seen["goal"], seen["state"], [one["step"] for one in seen["reviews"]]) == (goal, "REVIEWING", ["b"])
        set_back()
        done = await here.resume(approve())
        assert (done["state"], (await here.open().result("t"))["state"]) == ("COMPLETE", "COMPLETE")
        set_back()
    assert here.world == ["a", "b"] * 2


async def test_a_run_is_cancelled_where_the_clock_was_set_back(
    house: Callable[..., House], set_back: Callable[[], None]
) -> None:
    here = house(ASKS_TWICE)
    await here.open().run("g", thread_id="t")
    set_back()
    await here.open().cancel("t")
    assert (await here.open().result("t"))["state"] == "FAILED"


async def test_a_graph_alone_goes_on_where_the_clock_was_set_back(
    house: Callable[..., House], set_back: Callable[[], None]
) -> None:
    here, config = house(ASKS_TWICE), RunnableConfig(configurable={"thread_id": "t"})

    async def invoked(given: Any) -> tuple[str, str, list[str]]:
        workflow = here.open()
        async with workflow.database.checkpointer() as saver:
            graph = workflow._assemble(saver)
            await graph.ainvoke(given, config)
        set_back()
        async with workflow.database.checkpointer() as saver:
            seen = (await workflow._assemble(saver).aget_state(config)).values
        return seen["goal"], seen["status"], [one["step"] for one in seen["asks"]]

    approved = Command(resume={"decisions": [{"type": "approve"}]})
    for goal in ("first", "second"):
        assert await invoked({"goal": goal}) == (goal, "REVIEWING", ["a"])
        assert await invoked(approved) == (goal, "REVIEWING", ["b"])
        assert await invoked(approved) == (goal, "COMPLETE", [])
    assert here.world == ["a", "b"] * 2


# Checkpoints that are lost: a server keeps its last seconds in memory only.


class Rewound:
    """The checkpoints of a run as they were at a moment; the journal goes on."""

    def __init__(self, house: House) -> None:
        self._path = house.path
        with closing(sqlite3.connect(self._path)) as connection:
            self._latest = connection.execute("SELECT max(checkpoint_id) FROM checkpoints").fetchone()[0]

    def is_latest(self) -> bool:
        """Tell whether nothing was written since."""
        with closing(sqlite3.connect(self._path)) as connection:
            return bool(connection.execute("SELECT max(checkpoint_id) FROM checkpoints").fetchone()[0] == self._latest)

    def lose(self, *, with_writes: bool) -> None:
        """Lose what was written since, with or without what nodes gave that had been entered by then."""
        with closing(sqlite3.connect(self._path)) as connection:
            connection.execute("DELETE FROM checkpoints WHERE checkpoint_id > ?", [self._latest])
            since = ">=" if with_writes else ">"
            connection.execute(f"DELETE FROM writes WHERE checkpoint_id {since} ?", [self._latest])
            connection.commit()


@pytest.mark.parametrize("with_writes", [True, False])
@pytest.mark.parametrize(
    "answer, world",
    [
        (approve(), ["sent", "after"]),
        (edit({"to": "y"}), ["sent", "after"]),
        (respond("x"), ["after"]),
        (reject("no"), ["instead"]),
    ],
    ids=["approve", "edit", "respond", "reject"],
)
async def test_an_answer_that_was_used_counts_although_the_checkpoints_since_are_lost(
    house: Callable[..., House],
    answer: Any,
    world: list[str],
    with_writes: bool,  # noqa: FBT001
) -> None:
    here = house(REVIEWED, plan(step("instead", "told", inputs={"x": 2})))
    await here.open().run("g", thread_id="t")
    lost = Rewound(here)
    assert ((await here.resume(answer))["state"], here.world) == ("COMPLETE", world)
    lost.lose(with_writes=with_writes)
    planned = here.planned
    done = await here.resume()
    assert (done["state"], done["reviews"], here.world, here.planned) == ("COMPLETE", [], world, planned)


@pytest.mark.parametrize("answer", [respond("x"), approve()], ids=["respond", "approve"])
async def test_a_doubt_that_was_settled_is_not_asked_about_although_the_checkpoints_since_are_lost(
    house: Callable[..., House], answer: Any
) -> None:
    here = house(DOUBTFUL)
    await here.crashed(at_outcome("it"), before=True)
    await here.resume()
    lost = Rewound(here)
    assert (await here.resume(answer))["state"] == "COMPLETE"
    world = list(here.world)
    lost.lose(with_writes=True)
    done = await here.resume()
    assert (done["state"], done["reviews"], here.world) == ("COMPLETE", [], world)


async def test_all_checkpoints_since_the_goal_are_lost_and_nothing_happens_again(house: Callable[..., House]) -> None:
    here = house(REVIEWED, REVIEWED)
    with pytest.raises(DatabaseError, match="process"):
        await here.open(at_plan, before=True).run("g", thread_id="t")
    lost = Rewound(here)
    await here.resume()
    assert (await here.resume(approve()))["state"] == "COMPLETE"
    world, planned = list(here.world), here.planned
    lost.lose(with_writes=True)
    done = await here.resume()
    assert (done["state"], done["reviews"], here.world, here.planned) == ("COMPLETE", [], world, planned)


async def test_another_run_on_a_thread_that_lost_all_its_checkpoints_is_told_as_it_is(
    house: Callable[..., House],
) -> None:
    here = house(REVIEWED, REVIEWED)
    await here.open().run("first", thread_id="t")
    with closing(sqlite3.connect(here.path)) as connection:
        connection.executescript("DELETE FROM checkpoints; DELETE FROM writes")
    assert (await here.open().result("t"))["state"] == "UNKNOWN"
    begun = await here.open().run("second", thread_id="t")
    assert begun == await here.open().result("t")
    assert (begun["goal"], begun["state"], begun["reason"]) == ("second", "REVIEWING", None)


# Runs on a thread with the name of a call's key.

INNER = plan(step("first", "told"), step("second", "told", after=["first"]))
ASKING = plan(step("first", "told"), step("second", "told", after=["first"], human_review_required=True))
OUTER = plan(step("it", "delegate", inputs={"goal": "inner"}, outputs=["state"]))
README = Path(__file__).parents[2] / "README.md"


class Delegating(House):
    """One with the action of the README that gives a run inside a thread of its own."""

    def __init__(self, path: Path, inner: dict[str, Any]) -> None:
        super().__init__(path, OUTER)
        self.within = House(path, inner)
        self.dies: Callable[[str, Any], bool] | None = None
        """Where the process of the run inside dies."""

    def actions(self) -> list[Action]:
        blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
        known: dict[str, Any] = {}
        exec(next(code for code in blocks if "def delegate" in code), known)  # noqa: S102 - our own text
        known["inner"] = self.within.open(self.dies)
        return [*super().actions(), known["delegate"]]

    async def thread(self) -> str:
        """Return the thread of the run inside."""
        (found,) = (str(run["thread_id"]) for run in await self.open().runs() if run["thread_id"] != "t")
        return found


@pytest.mark.parametrize("dies", [at_intent("it"), at_outcome("it")])
@pytest.mark.parametrize("before", [True, False])
async def test_a_run_on_a_thread_of_its_own_is_found_again_when_the_process_around_it_was_killed(
    tmp_path: Path,
    dies: Callable[[str, Any], bool],
    before: bool,  # noqa: FBT001
) -> None:
    here = Delegating(tmp_path / "runs.db", INNER)
    await here.crashed(dies, before=before)
    await here.open().prune(timedelta(0))
    done = await here.resume()
    assert (done["state"], done["outputs"], here.within.world) == (
        "COMPLETE", {"state": "COMPLETE"}, ["first", "second"],
    )  # fmt: skip


@pytest.mark.parametrize("inner", [ASKING, INNER], ids=["waits", "left behind"])
async def test_a_run_on_a_thread_of_its_own_that_is_not_over_is_gone_on_with_there(
    tmp_path: Path, inner: dict[str, Any]
) -> None:
    here = Delegating(tmp_path / "runs.db", inner)
    here.dies = None if inner == ASKING else at_outcome("second")
    waits = await here.open().run("g", thread_id="t")
    here.dies, thread = None, await here.thread()
    assert (waits["state"], f"The run {thread} is" in waits["reviews"][0]["reason"]) == ("REVIEWING", True)
    assert (await here.resume(approve()))["state"] == "REVIEWING"  # nobody has gone on with that run yet
    ended = await here.within.open().resume(approve() if inner == ASKING else None, thread_id=thread)
    done = await here.resume(approve())
    assert (ended["state"], done["state"], here.within.world) == ("COMPLETE", "COMPLETE", ["first", "second"])


async def test_a_thread_with_the_name_of_a_call_takes_one_goal(tmp_path: Path) -> None:
    here = Delegating(tmp_path / "runs.db", INNER)
    await here.open().run("g", thread_id="t")
    thread = await here.thread()
    for goal in ("inner", "another"):
        with pytest.raises(RunError, match="has the name of a call and takes one goal, whose run is COMPLETE"):
            await here.within.open().run(goal, thread_id=thread)
    assert here.within.world == ["first", "second"]
