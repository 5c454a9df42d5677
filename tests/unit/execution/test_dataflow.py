# ruff: noqa: ARG002 - fakes have the parameters of what they stand for

import asyncio
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from time import perf_counter
from typing import Any
from weakref import ref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentic_workflows.actions.action import Action, ActionCall
from agentic_workflows.execution import foreach
from agentic_workflows.execution.dataflow import Dataflow
from agentic_workflows.execution.grants import Grants
from agentic_workflows.execution.point import ExecutionPoint
from agentic_workflows.execution.run_pass import RunPass
from agentic_workflows.graph.catalogue import ActionSpec, Annotations
from agentic_workflows.graph.events import Event, StepFailed
from agentic_workflows.graph.outcome import Outcome, OutcomeStatus
from agentic_workflows.graph.plan import Plan, WorkflowStep
from agentic_workflows.graph.review import Answer, approve, edit
from agentic_workflows.graph.state import Limits
from agentic_workflows.journal.entries import Intent, Place, Recorded
from agentic_workflows.policies.decision import ActionRequest, Allow, Ask, Decision, Deny, StaticDecision
from agentic_workflows.policies.provenance import Provenance
from agentic_workflows.testing import RecordingAction, answer_rows, memory_log


class Engine:
    """Asks and denies by the name of the action."""

    digest = "policy"

    def __init__(self, asks: Sequence[str] = (), denies: Sequence[str] = ()) -> None:
        self._asks, self._denies = asks, denies

    def decide(self, request: ActionRequest, *, approved: bool = False) -> Decision:
        if request.action.name in self._denies:
            return Deny(reason="Never.")
        if request.action.name in self._asks and not approved:
            return Ask(reason="Why?")
        return Allow()

    def decide_early(self, step: WorkflowStep, action: ActionSpec, provenance: Provenance | None) -> StaticDecision:
        return Allow()


@dataclass
class Ran:
    """One pass over a plan, and all that can be seen of it."""

    flow: Dataflow
    events: list[Event]
    in_time: bool = True

    @property
    def ended(self) -> dict[str, str]:
        return {name: str(one.status) for name, one in self.flow.outcomes.items()}

    @property
    def results(self) -> dict[str, object]:
        return {name: one.result for name, one in self.flow.outcomes.items()}


async def run(
    steps: Sequence[WorkflowStep],
    actions: Sequence[Action],
    *,
    engine: Engine | None = None,
    limits: Limits | None = None,
    before: Mapping[str, Outcome] | None = None,
    answers: Sequence[Answer] = (),
    is_stopped: Callable[[], bool] = lambda: False,
    starts: int = 1_000,
    seconds: float = 20,
    choose: Callable[[], WorkflowStep | None] | None = None,
) -> Ran:
    events: list[Event] = []
    log = memory_log(*recorded(before or {}), answers=answers)
    flow = Dataflow(
        Plan("g", steps),
        point=ExecutionPoint(engine or Engine()),
        registry={action.name: action for action in actions},
        run=RunPass(
            run_id="r",
            plan="p",
            asked_under="p",
            policy="policy",
            limits=limits or Limits(),
            is_stopped=is_stopped,
            emit=events.append,
            grants=Grants(rows=answer_rows(answers)),
            log=log,
        ),
        starts=starts,
        choose=choose,
    )
    in_time = await flow.run_all(seconds)
    await log.flush()
    return Ran(flow, events, in_time)


def recorded(before: Mapping[str, Outcome]) -> Iterator[Recorded]:
    """Yield what an earlier pass wrote down of steps that it came to."""
    for name, outcome in before.items():
        if outcome.status != OutcomeStatus.ASKED:
            yield Recorded(intent=Intent(place=Place("p", name), attempt=0), outcome=outcome)
        for at, item in enumerate(outcome.items):
            if item.status != OutcomeStatus.ASKED:
                yield Recorded(intent=Intent(place=Place("p", name, at), attempt=0), outcome=item)


def giving(name: str, result: object = None, **more: Any) -> RecordingAction:
    return RecordingAction(name, result=result, **more)


def step(name: str, action: str = "act", inputs: Mapping[str, Any] | None = None, **more: Any) -> WorkflowStep:
    return WorkflowStep(name, action, dict(inputs or {}), **more)


# The law: nobody can tell the run from one that goes through the plan top to bottom.

CELLS = "xyz"


@dataclass
class World:
    """Cells that actions read and write, and a note of everything that anybody could observe."""

    cells: dict[str, list[str]] = field(default_factory=lambda: {cell: [] for cell in CELLS})
    reads: dict[str, object] = field(default_factory=dict)

    def do(self, step: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Read some cells, then write one; the value written tells of all that was seen."""
        seen = {cell: list(self.cells[cell]) for cell in inputs["reads"]}
        self.reads[step] = (seen, inputs["given"])
        for cell in inputs["writes"]:
            self.cells[cell].append(f"{step}({len(str(seen))}{inputs['given']})")
        return {"value": f"{step}:{len(str((seen, inputs['given'])))}"}


def world_actions(world: World, delays: Mapping[str, float]) -> list[Action]:
    async def work(call: ActionCall) -> object:
        await asyncio.sleep(delays[call.step.name])
        done = world.do(call.step.name, call.inputs)
        await asyncio.sleep(0)
        return done

    def touched(inputs: Mapping[str, Any]) -> list[str]:
        return [*inputs["reads"], *inputs["writes"]]

    return [
        Action(name="read declared", run=work, annotations=Annotations(read_only=True), resources=touched),
        Action(name="read", run=work, annotations=Annotations(read_only=True)),
        Action(name="write declared", run=work, resources=touched),
        Action(name="write", run=work),
    ]


@st.composite
def worlds_work(draw: st.DrawFn) -> tuple[list[WorkflowStep], dict[str, float], int]:
    """Draw steps that use each other's values in any direction without a cycle, in any listing."""
    size = draw(st.integers(1, 7))
    steps = []
    for at in range(size):
        kind = draw(st.sampled_from(["read declared", "read", "write declared", "write"]))
        cells = st.lists(st.sampled_from(CELLS), max_size=2, unique=True)
        used = draw(st.lists(st.integers(0, at - 1), max_size=2, unique=True)) if at else []
        steps.append(
            step(
                f"s{at}",
                kind,
                {
                    "reads": draw(cells),
                    "writes": [] if kind.startswith("read") else draw(cells),
                    "given": [f"${{v{one}}}" for one in used],
                },
                outputs=[f"v{at}"],
                after=[f"s{draw(st.integers(0, at - 1))}"] if at and draw(st.booleans()) else [],
            )
        )
    delays = {one.name: draw(st.integers(0, 3)) / 1_000 for one in steps}
    return draw(st.permutations(steps)), delays, draw(st.integers(1, 4))


@given(worlds_work())
@settings(max_examples=150)
def test_nobody_can_tell_the_run_from_one_that_goes_top_to_bottom(
    work: tuple[list[WorkflowStep], dict[str, float], int],
) -> None:
    steps, delays, parallel = work
    concurrent, serial = World(), World()
    ran = asyncio.run(run(steps, world_actions(concurrent, delays), limits=Limits(max_parallel=parallel)))
    by_name = {one.name: one for one in steps}
    values: dict[str, object] = {}
    for name in Plan("g", steps).order:
        inputs: dict[str, Any] = dict(by_name[name].inputs)
        inputs["given"] = [values[reference[2:-1]] for reference in inputs["given"]]
        values |= {f"v{name[1:]}": serial.do(name, inputs)}
    assert set(ran.ended.values()) == {"succeeded"}
    assert (concurrent.cells, concurrent.reads) == (serial.cells, serial.reads)


@given(
    items=st.lists(st.tuples(st.sampled_from(CELLS), st.integers(0, 3)), max_size=6),
    declared=st.booleans(),
    look_ahead=st.integers(1, 7),
)
@settings(max_examples=50)
def test_the_items_of_a_foreach_run_as_if_one_after_another(
    items: list[tuple[str, int]], *, declared: bool, look_ahead: int
) -> None:
    order: list[tuple[object, int | None]] = []

    async def work(call: ActionCall) -> object:
        await asyncio.sleep(call.inputs["delay"] / 1_000)  # type: ignore[operator]  # a number
        order.append((call.inputs["cell"], call.item))
        return call.item

    touches = (lambda inputs: [str(inputs["cell"])]) if declared else None
    source = giving("list", [{"cell": cell, "delay": delay} for cell, delay in items])
    steps = [
        step("l", "list", outputs=["l"]),
        step("each", "act", {"cell": "${item.cell}", "delay": "${item.delay}"}, foreach="${l}", outputs=["o"]),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(foreach, "LOOK_AHEAD", look_ahead)
        ran = asyncio.run(run(steps, [source, Action(name="act", run=work, resources=touches)]))
    assert ran.results["each"] == list(range(len(items)))
    for cell in CELLS:
        done = [at or 0 for one, at in order if one == cell]
        assert done == sorted(done)
    assert declared or [at for _, at in order] == list(range(len(items)))


async def test_a_call_of_which_nobody_knows_what_it_touches_runs_beside_no_effect() -> None:
    told: list[str] = []

    async def work(call: ActionCall) -> object:
        told.append(f"{call.step.name} begins")
        await asyncio.sleep(0.01)
        told.append(f"{call.step.name} ends")
        return 1

    act = Action(name="act", run=work, resources=lambda inputs: [str(inputs["path"])])
    ran = await run([step("a", inputs={"path": "a"}), step("b"), step("c", inputs={"path": "c"})], [act])
    assert set(ran.ended.values()) == {"succeeded"}
    assert told == [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]


# Dataflow.


async def test_a_fast_branch_goes_on_while_a_slow_one_runs() -> None:
    order: list[str] = []

    async def work(call: ActionCall) -> object:
        await asyncio.sleep(float(str(call.inputs["delay"])))
        order.append(call.step.name)
        return 1

    steps = [
        step("slow", inputs={"delay": 0.1}),
        step("fast", inputs={"delay": 0}, outputs=["f"]),
        step("next", inputs={"delay": 0, "f": "${f}"}, outputs=["n"]),
        step("last", inputs={"delay": 0, "n": "${n}"}),
    ]
    began = perf_counter()
    await run(steps, [Action(name="act", run=work, annotations=Annotations(read_only=True))])
    assert order == ["fast", "next", "last", "slow"]
    assert perf_counter() - began < 1


async def test_no_more_calls_run_than_the_limit_also_inside_foreach() -> None:
    now, most = 0, 0

    async def work(_: ActionCall) -> object:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        await asyncio.sleep(0.003)
        now -= 1
        return 1

    steps = [step("l", "list", outputs=["l"])]
    steps += [step(f"e{at}", inputs={"i": "${item}"}, foreach="${l}") for at in range(3)]
    steps += [step(f"s{at}") for at in range(5)]
    actions = [giving("list", [1, 2, 3, 4]), Action(name="act", run=work, annotations=Annotations(read_only=True))]
    ran = await run(steps, actions, limits=Limits(max_parallel=3))
    assert (most, len(ran.ended)) == (3, 9)


async def test_a_failing_branch_stops_its_dependents_and_nothing_else() -> None:
    bad = RecordingAction("bad", error=ValueError("no"), delay=0.01)
    act = giving("act", 1, delay=0.02)
    steps = [
        step("a", "bad", outputs=["a"]),
        step("after a", inputs={"x": "${a}"}),
        step("b", outputs=["b"]),
        step("after b", inputs={"x": "${b}"}),
    ]
    ran = await run(steps, [bad, act])
    assert ran.ended == {"a": "failed", "b": "succeeded", "after b": "succeeded"}


async def test_a_result_that_fails_its_checks_feeds_nobody() -> None:
    act = giving("act", 5)
    for wrong in ({"validation": {"type": "string"}}, {"outputs": ["v", "w"]}):
        steps = [step("a", **{"outputs": ["v"], **wrong}), step("b", inputs={"x": "${v}"})]
        ran = await run(steps, [act])
        assert (ran.ended, ran.flow.is_finished) == ({"a": "failed"}, False)


async def test_values_keep_their_types_on_the_way() -> None:
    value = {"list": [1, None, "${v}"], "deep": {"yes": True}}
    act = giving("act", lambda inputs: inputs.get("x", value))
    steps = [
        step("a", outputs=["v"]),
        step("whole", inputs={"x": "${v}"}),
        step("path", inputs={"x": "${v.deep.yes}"}),
        step("null", inputs={"x": "${v.list[1]}"}),
        step("text", inputs={"x": "v is ${v.list[0]}; $${v}"}),
    ]
    ran = await run(steps, [act])
    assert ran.results == {"a": value, "whole": value, "path": True, "null": None, "text": "v is 1; ${v}"}


async def test_a_missing_path_fails_the_step_and_never_calls_the_action() -> None:
    act, use = giving("act", {"a": 1}), giving("use")
    ran = await run([step("a", outputs=["v"]), step("b", "use", {"x": "${v.b}"})], [act, use])
    assert (ran.ended, use.calls) == ({"a": "succeeded", "b": "failed"}, [])
    assert "${v.b}" in ran.flow.outcomes["b"].reason


@pytest.mark.parametrize("path", ["[::0]", " | to_number(@)", " | sum(@)"])
async def test_a_path_that_breaks_fails_only_its_step(path: str) -> None:
    steps = [step("a", outputs=["v"]), step("b", inputs={"x": "${v" + path + "}"}), step("c")]
    ran = await run(steps, [giving("act", "nan")])
    assert ran.ended == {"a": "succeeded", "b": "failed", "c": "succeeded"}


# when, after, foreach.


@pytest.mark.parametrize(
    "flag, ended",
    [
        (True, {"f": "succeeded", "a": "succeeded", "b": "succeeded", "c": "succeeded", "d": "succeeded"}),
        (False, {"f": "succeeded", "a": "skipped", "b": "skipped", "c": "skipped", "d": "succeeded"}),
        ("yes", {"f": "succeeded", "a": "failed", "d": "succeeded"}),
        (None, {"f": "succeeded", "a": "failed", "d": "succeeded"}),
        (0, {"f": "succeeded", "a": "failed", "d": "succeeded"}),
    ],
)
async def test_a_condition_skips_its_step_and_all_that_depend_on_it(flag: object, ended: dict[str, str]) -> None:
    steps = [
        step("f", "flag", outputs=["flag"]),
        step("a", when="${flag}", outputs=["a"]),
        step("b", inputs={"x": "${a}"}, outputs=["b"]),
        step("c", after=["b"]),
        step("d"),
    ]
    assert (await run(steps, [giving("flag", flag), giving("act", 1)])).ended == ended


@pytest.mark.parametrize("when, status", [(True, "succeeded"), (False, "skipped")])
async def test_a_condition_may_be_literal(*, when: bool, status: str) -> None:
    assert (await run([step("a", when=when)], [giving("act")])).ended == {"a": status}


async def test_a_skipped_effect_holds_nobody_up() -> None:
    effect = giving("effect", 1, read_only=False)
    ran = await run([step("a", "effect", when=False), step("b", "effect")], [effect])
    assert ran.ended == {"a": "skipped", "b": "succeeded"}


def chained(size: int) -> list[WorkflowStep]:
    return [step(f"s{at}", outputs=[f"v{at}"], inputs={"x": f"${{v{at - 1}}}"} if at else {}) for at in range(size)]


async def test_a_long_chain_that_was_skipped_before_holds_nobody_up() -> None:
    chain = chained(1_000)
    before = {one.name: Outcome(status=OutcomeStatus.SKIPPED) for one in chain}
    ran = await run([*chain, step("z", inputs={"x": "${v999}"})], [giving("act")], before=before)
    assert (ran.ended["z"], ran.flow.is_finished) == ("skipped", True)


async def test_a_step_that_waits_for_a_person_is_not_begun_again_however_often_it_is_chosen() -> None:
    asks = step("a", "ask")
    ran = await run([asks], [giving("ask")], engine=Engine(asks=["ask"]), choose=lambda: asks, seconds=5)
    assert (ran.in_time, [*ran.flow.asked], len(ran.events)) == (True, ["a"], 1)


async def test_what_nobody_chooses_is_skipped_in_the_order_of_the_plan_however_it_is_listed() -> None:
    ran = await run(chained(1_000)[::-1], [giving("act")], choose=lambda: None)
    assert list(ran.ended.items()) == [(f"s{at}", "skipped") for at in range(1_000)]


async def test_a_timeout_that_is_not_that_of_the_run_is_not_taken_for_it() -> None:
    def is_stopped() -> bool:
        raise TimeoutError("the database")

    with pytest.raises(TimeoutError, match="the database"):
        await run([step("a")], [giving("act")], is_stopped=is_stopped)


async def test_nothing_is_skipped_while_a_chosen_step_waits_for_a_person() -> None:
    steps = [step("a", "ask"), step("b")]
    chosen = iter(steps[:1])
    ran = await run(
        steps, [giving("ask"), giving("act")], engine=Engine(asks=["ask"]), choose=lambda: next(chosen, None)
    )
    assert (ran.ended, list(ran.flow.asked)) == ({}, ["a"])


async def test_after_orders_steps_that_share_no_value() -> None:
    order: list[str] = []

    async def work(call: ActionCall) -> object:
        await asyncio.sleep(0.02 if call.step.name == "first" else 0)
        order.append(call.step.name)
        return None

    steps = [step("second", after=["first"]), step("first"), step("free")]
    await run(steps, [Action(name="act", run=work, annotations=Annotations(read_only=True))])
    assert order == ["free", "first", "second"]


async def test_foreach_runs_once_an_element_and_collects_each_output() -> None:
    act = giving("act", lambda inputs: {"double": inputs["n"] * 2, "text": f"{inputs['all']}"})
    steps = [
        step("l", "list", outputs=["l"]),
        step("each", inputs={"n": "${item.n}", "all": "${l[0].n}"}, foreach="${l}", outputs=["double", "text"]),
        step("use", inputs={"n": "${double[-1]}", "all": "${text}"}),
    ]
    ran = await run(steps, [giving("list", [{"n": 1}, {"n": 2}]), act])
    assert act.calls == [{"n": 1, "all": 1}, {"n": 2, "all": 1}, {"n": 4, "all": ["1", "1"]}]
    assert ran.flow.started == 3, "a foreach counts once"


async def test_foreach_over_nothing_gives_nothing() -> None:
    act = giving("act")
    steps = [step("l", "list", outputs=["l"]), step("each", foreach="${l}", outputs=["o"])]
    ran = await run([*steps, step("use", "use", {"x": "${o}"})], [giving("list", []), act, use := giving("use")])
    assert (act.calls, use.calls) == ([], [{"x": []}])
    assert set(ran.ended.values()) == {"succeeded"}


@pytest.mark.parametrize("value", [None, "abc", {"a": 1}, 5])
async def test_foreach_over_no_list_fails_the_step(value: object) -> None:
    act = giving("act")
    ran = await run([step("l", "list", outputs=["l"]), step("each", foreach="${l}")], [giving("list", value), act])
    assert (ran.ended, act.calls) == ({"l": "succeeded", "each": "failed"}, [])


@pytest.mark.parametrize("read_only", [True, False])
async def test_partial_failure_of_a_foreach_is_visible_per_item(*, read_only: bool) -> None:
    def two_fails(inputs: Mapping[str, Any]) -> object:
        return inputs["n"] if inputs["n"] != 2 else 1 / 0

    act = RecordingAction("act", result=two_fails, read_only=read_only)
    steps = [step("l", "list", outputs=["l"]), step("each", inputs={"n": "${item}"}, foreach="${l}", outputs=["o"])]
    ran = await run(steps, [giving("list", [1, 2, 3]), act])
    each = ran.flow.outcomes["each"]
    assert (each.status, each.items[0].status, each.items[1].status) == ("failed", "succeeded", "failed")
    assert (each.items[2].status == "succeeded", each.items[2].ask) == (read_only, None)
    assert each.items[2].status != "asked", "nobody asks for it, and nobody will"
    assert each.reason.startswith("1 of 3 items failed. item 2: act raised ZeroDivisionError")


async def test_the_validation_of_a_foreach_is_for_each_item() -> None:
    steps = [
        step("l", "list", outputs=["l"]),
        step("each", inputs={"n": "${item}"}, foreach="${l}", validation={"type": "integer", "maximum": 2}),
    ]
    ran = await run(steps, [giving("list", [1, 2, 3]), giving("act", lambda inputs: inputs["n"])])
    assert [str(one.status) for one in ran.flow.outcomes["each"].items] == ["succeeded", "succeeded", "failed"]


# Very many items.

VERY_MANY = 20_000


async def test_a_foreach_over_very_many_lets_others_have_their_turn() -> None:
    """Counted, not timed: what is looked at between two turns of somebody else."""
    looked, most = 0, 0

    def touched(inputs: Mapping[str, Any]) -> list[str]:
        nonlocal looked
        looked += 1
        return [str(inputs["n"])]

    async def work(call: ActionCall) -> object:
        return call.item

    async def beat() -> None:
        nonlocal most
        while True:
            before = looked
            await asyncio.sleep(0)
            most = max(most, looked - before)

    steps = [step("l", "list", outputs=["l"]), step("each", inputs={"n": "${item}"}, foreach="${l}", outputs=["o"])]
    act = Action(name="act", run=work, annotations=Annotations(read_only=True), resources=touched)
    beating = asyncio.create_task(beat())
    ran = await run(steps, [giving("list", list(range(VERY_MANY))), act], seconds=120)
    beating.cancel()
    assert ran.results["each"] == list(range(VERY_MANY))
    assert looked == VERY_MANY, "each is looked at once"
    assert most < 1_000


@pytest.mark.parametrize("first", ["fails", "asks"])
async def test_items_go_on_where_more_wait_for_one_than_are_looked_at(
    first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first item ends badly, ten wait for it, and the three after those do not."""
    monkeypatch.setattr(foreach, "LOOK_AHEAD", 2)

    class AskFirst(Engine):
        def decide(self, request: ActionRequest, *, approved: bool = False) -> Decision:
            return Ask(reason="Why?") if first == "asks" and request.inputs.get("n") == 0 and not approved else Allow()

    def do(inputs: Mapping[str, Any]) -> object:
        return 1 / (inputs["n"] or first == "asks")

    def touched(inputs: Mapping[str, Any]) -> list[str]:
        return ["a" if inputs["n"] < 11 else f"b{inputs['n']}"]

    act = RecordingAction("act", result=do, read_only=False, resources=touched)
    steps = [step("l", "list", outputs=["l"]), step("each", inputs={"n": "${item}"}, foreach="${l}")]
    actions = [giving("list", list(range(14))), act]
    ran = await run(steps, actions, engine=AskFirst())
    assert [call["n"] for call in act.calls if call["n"]] == [11, 12, 13]
    if first == "fails":
        each = ran.flow.outcomes["each"]
        assert [str(one.status) for one in each.items] == ["failed", *["skipped"] * 10, *["succeeded"] * 3]
        return
    answers = [approve(str(question["id"])) for question in ran.flow.questions()]
    before = {**ran.flow.outcomes, **ran.flow.asked}
    ran = await run(steps, actions, engine=AskFirst(), before=before, answers=answers)
    assert [call["n"] for call in act.calls] == [11, 12, 13, *range(11)]
    assert set(ran.ended.values()) == {"succeeded"}


async def test_items_that_failed_before_hold_up_those_that_must_not_overtake_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(foreach, "LOOK_AHEAD", 2)
    act = giving(
        "act", 1, read_only=False, resources=lambda inputs: ["odd" if inputs["n"] in (1, 3, 5, 7, 9) else "even"]
    )
    ended = [Outcome(status=OutcomeStatus.SUCCEEDED, result=at) for at in range(4)]
    ended.append(Outcome(status=OutcomeStatus.FAILED, reason="No."))
    before = {"each": Outcome(status=OutcomeStatus.ASKED, items=tuple(ended))}
    steps = [step("l", "list", outputs=["l"]), step("each", inputs={"n": "${item}"}, foreach="${l}")]
    ran = await run(steps, [giving("list", list(range(10))), act], before=before)
    assert [call["n"] for call in act.calls] == [5, 7, 9]
    told = [str(one.status) for one in ran.flow.outcomes["each"].items]
    assert told == [*["succeeded"] * 4, "failed", *["succeeded", "skipped"] * 2, "succeeded"]


async def test_an_item_that_cannot_be_resolved_keeps_all_from_running_however_late_it_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(foreach, "LOOK_AHEAD", 2)
    act = giving("act", 1)
    steps = [step("l", "list", outputs=["l"]), step("each", inputs={"n": "${item.n}"}, foreach="${l}")]
    ran = await run(steps, [giving("list", [*[{"n": 1}] * 50, {}]), act])
    assert (ran.ended["each"], act.calls) == ("failed", [])


async def test_a_pass_goes_when_it_is_over_with_all_that_it_knows() -> None:
    """Not when the collector comes to it: of very many items that is most of the memory of a process."""
    gc.disable()
    try:
        ran = await run(
            [step("l", "list", outputs=["l"]), step("each", foreach="${l}")], [giving("list", [1]), giving("act")]
        )
        flow = ref(ran.flow)
        del ran
        assert flow() is None
    finally:
        gc.enable()


async def test_a_foreach_over_very_many_holds_up_effects_that_come_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks what each of them touches, so an effect beside them may not overtake them."""
    monkeypatch.setattr("agentic_workflows.execution.dataflow.LOOK_AHEAD", 2)
    act = giving("act", 1, delay=0.002, read_only=False, resources=lambda inputs: [str(inputs["n"])])
    steps = [
        step("l", "list", outputs=["l"]),
        step("each", inputs={"n": "${item}"}, foreach="${l}"),
        step("z", inputs={"n": "other"}),
    ]
    ran = await run(steps, [giving("list", [1, 2, 3]), act])
    assert list(ran.flow.outcomes) == ["l", "each", "z"]


# Review, requests, budgets.


async def test_a_question_holds_up_only_what_must_wait_for_it() -> None:
    asked, read = giving("asked", read_only=False), giving("read", 1, resources=lambda _: ["other"])
    steps = [
        step("a", "asked", outputs=["a"]),
        step("needs a", "read", {"x": "${a}"}),
        step("b", "read"),
        step("c", "asked", {"n": 2}),
    ]
    ran = await run(steps, [asked, read], engine=Engine(asks=["asked"]))
    assert (ran.ended, set(ran.flow.asked)) == ({}, {"a"})
    assert [question["step"] for question in ran.flow.questions()] == ["a", "c"]
    assert (asked.calls, ran.flow.started) == ([], 0)


async def test_an_answered_question_runs_once_and_the_rest_goes_on() -> None:
    asked, read = giving("asked", 1), giving("read", 2)
    steps = [step("a", "asked", outputs=["a"]), step("b", "read", {"x": "${a}"}), step("c", "read")]
    first = await run(steps, [asked, read], engine=Engine(asks=["asked"]))
    assert first.ended == {"c": "succeeded"}
    answers = [approve(str(question["id"])) for question in first.flow.questions()]
    before = {**first.flow.outcomes, **first.flow.asked}
    second = await run(steps, [asked, read], engine=Engine(asks=["asked"]), before=before, answers=answers)
    assert second.ended == {"a": "succeeded", "b": "succeeded", "c": "succeeded"}
    assert (len(asked.calls), [call.get("x") for call in read.calls]) == (1, [None, 1])


async def test_items_that_were_done_before_a_question_are_not_done_again() -> None:
    asking = RecordingAction("act", result=lambda inputs: inputs["n"])

    class AskTwo(Engine):
        def decide(self, request: ActionRequest, *, approved: bool = False) -> Decision:
            return Ask(reason="Why?") if request.inputs.get("n") == 2 and not approved else Allow()

    steps = [step("l", "list", outputs=["l"]), step("each", inputs={"n": "${item}"}, foreach="${l}", outputs=["o"])]
    actions = [giving("list", [1, 2, 3]), asking]
    first = await run(steps, actions, engine=AskTwo())
    assert asking.calls == [{"n": 1}, {"n": 3}]
    answers = [approve(str(question["id"])) for question in first.flow.questions()]
    before = {**first.flow.outcomes, **first.flow.asked}
    second = await run(steps, actions, engine=AskTwo(), before=before, answers=answers)
    assert (second.results["each"], asking.calls) == ([1, 2, 3], [{"n": 1}, {"n": 3}, {"n": 2}])


async def test_a_denial_at_run_time_stops_its_branch_only() -> None:
    denied, act = giving("denied"), giving("act", 1)
    steps = [step("a", "denied", outputs=["a"]), step("b", inputs={"x": "${a}"}), step("c")]
    ran = await run(steps, [denied, act], engine=Engine(denies=["denied"]))
    assert (ran.ended, denied.calls) == ({"a": "denied", "c": "succeeded"}, [])


async def test_a_request_to_stop_starts_nothing_new_and_lets_what_runs_end() -> None:
    act = giving("act", 1, delay=0.01, read_only=False)
    steps = [step(f"s{at}") for at in range(3)]
    ran = await run(steps, [act], is_stopped=lambda: len(act.calls) == 2)
    assert ran.ended == {"s0": "succeeded", "s1": "succeeded"}


@pytest.mark.parametrize("look_ahead", [1, 1_000])
async def test_a_request_to_stop_is_heard_between_the_items_of_a_foreach(
    look_ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreach, "LOOK_AHEAD", look_ahead)
    act = giving("act", 1, delay=0.01, read_only=False)
    steps = [step("l", "list", outputs=["l"]), step("each", inputs={"x": "${item}"}, foreach="${l}"), step("z")]
    ran = await run(steps, [act, giving("list", [1, 2, 3, 4])], is_stopped=lambda: len(act.calls) == 2)
    assert (ran.ended, ran.flow.started, [call["x"] for call in act.calls]) == ({"l": "succeeded"}, 1, [1, 2])


@pytest.mark.parametrize("each", [{}, {"foreach": "${l}"}])
async def test_a_request_to_stop_is_heard_between_attempts_and_the_step_has_not_ended(each: dict[str, Any]) -> None:
    act = RecordingAction("act", error=ValueError("no"))
    steps = [step("l", "list", outputs=["l"]), step("a", inputs={"x": "${l}"}, retries=5, **each)]
    ran = await run(steps, [giving("list", [1, 2, 3]), act], is_stopped=lambda: len(act.calls) >= 4)
    assert (ran.ended, ran.flow.started, 4 <= len(act.calls) <= 6) == ({"l": "succeeded"}, 1, True)
    assert not any(isinstance(event, StepFailed) for event in ran.events)


async def test_no_more_steps_start_than_are_left() -> None:
    ran = await run([step(f"s{at}") for at in range(5)], [giving("act", 1)], starts=2)
    assert (len(ran.ended), ran.flow.started, ran.flow.wants_more) == (2, 2, True)


async def test_when_the_time_is_up_nothing_is_left_running() -> None:
    ended: list[str] = []

    async def hanging(call: ActionCall) -> object:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(call.step.name)

    hang = Action(name="hang", run=hanging, annotations=Annotations(read_only=True))
    steps = [step("l", "list", outputs=["l"]), step("a", "hang"), step("b", "hang", {"i": "${item}"}, foreach="${l}")]
    ran = await asyncio.wait_for(run(steps, [hang, giving("list", [1, 2])], seconds=0.1), 5)
    assert (ran.in_time, ran.ended) == (False, {"l": "succeeded", "a": "failed", "b": "failed"})
    assert sorted(ended) == ["a", "b", "b"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_cancelled_run_leaves_nothing_running() -> None:
    act = giving("act", delay=60)
    running = asyncio.create_task(run([step("a"), step("b")], [act]))
    await asyncio.sleep(0.02)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 5)
    assert (len(act.calls), asyncio.all_tasks()) == (2, {asyncio.current_task()})


async def test_each_step_has_its_own_timeout() -> None:
    steps = [step("a", timeout=timedelta(milliseconds=10)), step("b")]
    ran = await run(steps, [giving("act", 1, delay=0.05)])
    assert ran.ended == {"a": "failed", "b": "succeeded"}


async def test_an_edited_call_still_keeps_its_place_among_effects() -> None:
    """An edit may turn a call to something that another step touches; then the two must not run at the same time."""
    now, most = 0, 0

    async def work(_: ActionCall) -> object:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        await asyncio.sleep(0.01)
        now -= 1
        return None

    def touches(inputs: Mapping[str, Any]) -> list[str]:
        return [str(inputs["cell"])]

    ask, act = (Action(name=name, run=work, resources=touches) for name in ("ask", "act"))
    steps = [step("a", "ask", {"cell": "x"}), step("b", "ask", {"cell": "y"})]
    first = await run(steps, [ask, act], engine=Engine(asks=["ask"]))
    ids = {str(question["step"]): str(question["id"]) for question in first.flow.questions()}
    answers: list[Answer] = [edit({"cell": "y"}, ids["a"]), approve(ids["b"])]
    second = await run(steps, [ask, act], engine=Engine(asks=["ask"]), before=first.flow.asked, answers=answers)
    assert (set(second.ended.values()), most) == ({"succeeded"}, 1)


async def test_a_thousand_steps_take_seconds() -> None:
    began = perf_counter()
    ran = await run(chained(1_000), [giving("act", 1, read_only=False)])
    assert (len(ran.ended), ran.flow.is_finished) == (1_000, True)
    assert perf_counter() - began < 10
