# ruff: noqa: ARG001, ARG002 - fakes have the parameters of what they stand for

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.runnables import RunnableConfig

from agentic_workflows.agents.scripted_agent import ScriptedAgent
from agentic_workflows.errors import DatabaseError, LeaseLostError, ModelError, PlanningError, RunError
from agentic_workflows.execution.replaced import Replaced
from agentic_workflows.graph.state import Limits, State
from agentic_workflows.journal.lease import Leases
from agentic_workflows.journal.memory_journal import MemoryJournal
from agentic_workflows.nodes.plan import make_plan

PLAN = {"goal": "g", "steps": [{"name": "a", "action": "act"}]}
CONFIG: RunnableConfig = {"configurable": {"thread_id": "t"}, "metadata": {"run_id": "r"}}


class Bench:
    """A plan node, its leases and the events that it wrote."""

    def __init__(self, agent: object, **limits: Any) -> None:
        self.leases, self.events = Leases(MemoryJournal()), list[dict[str, Any]]()
        replaced = Replaced(policy="p", registry={}, secrets={})
        self._node = make_plan(cast("Any", agent), self.leases, Limits(**limits), replaced.settle, lambda _: "")

    async def step(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return the state after one pass through the node."""
        runtime = cast("Any", SimpleNamespace(stream_writer=self.events.append))
        return {**state, **await self._node(cast("State", state), CONFIG, runtime)}

    @property
    def kinds(self) -> list[str]:
        return [str(event["event"]) for event in self.events]


async def test_a_goal_begins_a_run_and_gets_one_plan() -> None:
    agent = ScriptedAgent([PLAN])
    bench = Bench(agent)
    state = await bench.step({"goal": "g"})
    picked = {key: state[key] for key in ("status", "run_id", "run_goal", "iteration", "findings", "history", "reason")}
    assert picked == {
        "status": "PLANNING", "run_id": "r", "run_goal": "g", "iteration": 1, "findings": [], "history": [],
        "reason": None,
    }  # fmt: skip
    assert [step["name"] for step in state["plan"]["steps"]] == ["a"]
    assert (agent.goals, bench.kinds) == (["g"], ["RunStarted", "StateEntered", "PlanProposed"])


async def test_another_goal_on_the_thread_begins_another_run() -> None:
    agent = ScriptedAgent([PLAN, PLAN])
    bench = Bench(agent)
    first = await bench.step({"goal": "g"})
    ended = {**first, "status": "COMPLETE", "history": [{"step": "a", "result": 1}], "steps": {"a": {}}}
    state = await bench.step({**ended, "goal": "h", "given_run_id": "other"})
    assert (state["iteration"], state["history"], state["steps"]) == (1, [], {})
    assert agent.goals == ["g", "h"]


async def test_replanning_goes_on_with_the_run_and_its_history() -> None:
    agent = ScriptedAgent([PLAN, PLAN])
    bench = Bench(agent)
    first = await bench.step({"goal": "g"})
    entry = {"step": None, "result": {"findings": []}}
    state = await bench.step({**first, "history": [entry]})
    assert (state["iteration"], agent.histories[1], bench.kinds.count("RunStarted")) == (2, [entry], 1)


async def test_a_run_that_plans_again_goes_on_with_no_other_goal() -> None:
    agent = ScriptedAgent([PLAN, PLAN])
    bench = Bench(agent)
    first = await bench.step({"goal": "g"})
    with pytest.raises(RunError, match="was begun with another goal: 'g'"):
        await bench.step({**first, "goal": "h"})
    assert agent.goals == ["g"]


SEEN = {"step": "read", "result": "Evil.", "status": "succeeded", "untrusted": True}


async def test_what_is_planned_after_untrusted_output_says_so_for_good() -> None:
    bench = Bench(ScriptedAgent([PLAN, PLAN]))
    first = await bench.step({"goal": "g"})
    assert "saw_untrusted" not in first["plan"]
    assert "saw_untrusted" not in (await bench.step({**first, "history": [{**SEEN, "untrusted": False}]}))["plan"]
    bench = Bench(ScriptedAgent([PLAN, {**PLAN, "saw_untrusted": False}]))
    late = await bench.step({**await bench.step({"goal": "g"}), "history": [SEEN]})
    assert late["plan"]["saw_untrusted"]
    again = await bench.step({**late, "iteration": 1, "history": []})  # found in the journal, after a crash
    assert again["plan"] == late["plan"]


async def test_only_a_plan_that_comes_from_the_user_names_its_own_goal_after_untrusted_output() -> None:
    bench = Bench(ScriptedAgent([PLAN, PLAN, {**PLAN, "saw_untrusted": True}]))
    first = await bench.step({"goal": "mine"})
    assert first["plan"]["goal"] == "g"
    assert (await bench.step({**first, "history": [SEEN]}))["plan"]["goal"] == "mine"
    assert (await bench.step(first))["plan"]["goal"] == "mine"
    given = await bench.step({"goal": "mine", "given_run_id": "r2", "given_plan": {**PLAN, "saw_untrusted": True}})
    assert given["plan"]["goal"] == "g"


async def test_an_agent_that_sees_no_outputs_gets_none_and_its_plans_stay_trusted() -> None:
    agent = ScriptedAgent([PLAN, PLAN])
    agent.sees_outputs = False  # type: ignore[attr-defined]  # an agent of one's own has it
    bench = Bench(agent)
    state = await bench.step({**await bench.step({"goal": "g"}), "history": [SEEN]})
    assert "saw_untrusted" not in state["plan"]
    assert "Evil" not in str(agent.histories)


@pytest.mark.parametrize(
    "answer, problem",
    [
        (None, "a NoneType, not a mapping"),
        ("I cannot do that", "a str, not a mapping"),
        ({"steps": []}, "less than 1 item"),
        (ValueError("broken"), "ValueError: broken"),
        (ModelError("HTTP 500"), "HTTP 500"),
        (lambda *_: 1 / 0, "ZeroDivisionError"),
    ],
)
async def test_whatever_is_no_plan_is_a_finding(answer: Any, problem: str) -> None:
    state = await Bench(ScriptedAgent([answer])).step({"goal": "g"})
    assert (state["status"], state["plan"], len(state["findings"])) == ("PLANNING", None, 1)
    assert problem in state["findings"][0]["problem"]


async def test_an_agent_that_cannot_plan_ends_the_run() -> None:
    state = await Bench(ScriptedAgent([PlanningError("Nothing left to try.")])).step({"goal": "g"})
    assert (state["status"], state["reason"]) == ("FAILED", "Nothing left to try.")


@pytest.mark.parametrize("goal", ["", "   "])
async def test_without_a_goal_nothing_is_planned(goal: str) -> None:
    agent = ScriptedAgent([PLAN])
    state = await Bench(agent).step({"goal": goal})
    assert (state["status"], state["reason"], agent.goals) == ("FAILED", "There is no goal. Give one, or a plan.", [])


async def test_a_given_plan_needs_neither_agent_nor_goal() -> None:
    agent = ScriptedAgent([])
    state = await Bench(agent).step({"given_plan": PLAN})
    assert (state["goal"], state["plan"]["steps"][0]["name"], agent.goals) == ("g", "a", [])


async def test_an_agent_without_another_plan_leaves_the_findings_of_the_last_one() -> None:
    bench = Bench(ScriptedAgent([PLAN]))
    first = await bench.step({"goal": "g"})
    state = await bench.step({**first, "history": [{"step": None, "result": {"findings": [{"problem": "no."}]}}]})
    assert (state["status"], state["reason"]) == ("FAILED", "The script has no plan number 2. no.")


async def test_a_given_plan_is_not_planned_again() -> None:
    bench = Bench(ScriptedAgent([PLAN]))
    first = await bench.step({"goal": "g", "given_plan": PLAN})
    state = await bench.step({**first, "history": [{"step": None, "result": {"findings": [{"problem": "no."}]}}]})
    assert (state["status"], state["reason"]) == ("FAILED", "The given plan cannot be planned again. no.")


@pytest.mark.parametrize(
    "used, reason, left",
    [
        ({"iteration": 3}, "max_iterations=3 is exhausted.", "PLANNING"),
        ({"tokens": 50}, "max_tokens=50 is exhausted.", ""),
        ({"seconds": 9.0}, "max_seconds=9 is exhausted.", ""),
    ],
)
async def test_an_exhausted_budget_ends_the_run_with_its_reason(used: dict[str, Any], reason: str, left: str) -> None:
    """Only of iterations can it be given more, and then goes on where it left."""
    bench = Bench(ScriptedAgent([PLAN, PLAN]), max_iterations=3, max_tokens=50, max_seconds=9)
    state = await bench.step({**await bench.step({"goal": "g"}), **used})
    assert (state["status"], state["reason"], state["left"]) == ("FAILED", reason, left)


async def test_tokens_of_the_planner_are_counted_also_where_it_gives_no_plan() -> None:
    usage = UsageMetadata(input_tokens=30, output_tokens=12, total_tokens=42)
    said = AIMessage("no", usage_metadata=usage, response_metadata={"model_name": "fake"})
    model = GenericFakeChatModel(messages=iter([said]))

    class Asking:
        async def create_plan(self, goal: str, history: object) -> object:
            await model.ainvoke(goal)
            return None

    assert (await Bench(Asking()).step({"goal": "g"}))["tokens"] == 42


async def _slowly(seconds: float) -> dict[str, Any]:
    await asyncio.sleep(seconds)
    return {"steps": []}


async def test_time_spent_planning_counts() -> None:
    agent = SimpleNamespace(create_plan=lambda *_: _slowly(0.05))
    bench = Bench(agent, max_seconds=9)
    state = await bench.step(await bench.step({"goal": "g"}))
    assert 0.1 <= state["seconds"] < 5


async def test_a_planner_that_hangs_is_cut() -> None:
    state = await Bench(SimpleNamespace(create_plan=lambda *_: _slowly(60)), max_seconds=0.1).step({"goal": "g"})
    assert state["status"] == "FAILED"
    assert state["reason"].startswith("max_seconds is exhausted")
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("request_, status", [("pause", "PAUSED"), ("cancel", "FAILED")])
async def test_a_planner_call_watches_for_requests(request_: Any, status: str) -> None:
    bench = Bench(SimpleNamespace(create_plan=lambda *_: _slowly(60)))
    asyncio.get_running_loop().call_later(0.05, bench.leases.ask, "t", request_)
    state = await bench.step({"goal": "g"})
    assert state["status"] == status
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_what_was_asked_of_the_run_before_is_not_asked_of_the_next_one() -> None:
    bench = Bench(ScriptedAgent([PLAN, PLAN]))
    first = await bench.step({"goal": "g"})
    assert await bench.leases.journal.request("t", "cancel")
    state = await bench.step({**first, "status": "COMPLETE", "goal": "h", "given_run_id": "other"})
    assert (state["status"], state["iteration"]) == ("PLANNING", 1)


async def test_a_run_that_was_cancelled_before_it_is_begun_again_plans_nothing() -> None:
    bench = Bench(agent := ScriptedAgent([PLAN]))
    lease = await bench.leases.journal.acquire("t", "elsewhere:1:1:x", 30)
    await bench.leases.journal.begin(lease, "r", "g")
    await bench.leases.journal.release(lease)
    await bench.leases.journal.request("t", "cancel")
    state = await bench.step({"goal": "g"})
    assert (state["status"], state["reason"], agent.goals) == ("FAILED", "Cancelled on request.", [])


def _raising(error: BaseException) -> Callable[..., object]:
    async def create_plan(goal: str, history: object) -> object:
        raise error

    return create_plan


@pytest.mark.parametrize("error", [asyncio.CancelledError(), SystemExit(3), BaseExceptionGroup("g", [SystemExit(3)])])
async def test_an_agent_cannot_end_the_process(error: BaseException) -> None:
    state = await Bench(SimpleNamespace(create_plan=_raising(error))).step({"goal": "g"})
    assert (state["status"], len(state["findings"])) == ("PLANNING", 1)


@pytest.mark.parametrize("error", [RunError("no such run"), LeaseLostError("inner", ""), DatabaseError("gone")])
async def test_an_error_of_a_run_inside_an_agent_is_a_finding(error: Exception) -> None:
    state = await Bench(SimpleNamespace(create_plan=_raising(error))).step({"goal": "g"})
    (finding,) = state["findings"]
    assert finding["problem"] == f"The agent gave no plan: {type(error).__name__}: {error}"


async def test_an_agent_that_changes_its_history_changes_nothing_of_the_run() -> None:
    async def create_plan(goal: str, history: Any) -> Any:
        for entry in history:
            entry["result"]["findings"].append("mine")
        history.clear()
        return PLAN

    bench = Bench(SimpleNamespace(create_plan=create_plan))
    entry = {"step": None, "result": {"findings": []}}
    state = await bench.step({**await bench.step({"goal": "g"}), "history": [entry]})
    assert state["history"] == [{"step": None, "result": {"findings": []}}]


async def test_a_goal_that_is_no_text_is_none() -> None:
    state = await Bench(ScriptedAgent([PLAN])).step({"goal": 5})
    assert (state["status"], state["reason"]) == ("FAILED", "There is no goal. Give one, or a plan.")
