import json
from datetime import timedelta
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic_workflows.errors import PlanError
from agentic_workflows.graph.findings import MOST_FINDINGS, Finding
from agentic_workflows.graph.findings import from_json as finding_from_json
from agentic_workflows.graph.plan import MAX_STEPS, Plan, WorkflowStep, from_json, plan_name, plan_number
from agentic_workflows.graph.plan_schema import MAX_BYTES, PLAN_SCHEMA

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
names = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=20)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Draw any plan of the right structure; what it refers to need not exist."""
    steps = []
    for at, name in enumerate(draw(st.lists(names, min_size=1, max_size=5, unique=True))):
        step = WorkflowStep(
            name,
            draw(names),
            draw(st.dictionaries(st.text(max_size=10), json_values, max_size=3)),
            [f"out{at}_{number}" for number in range(draw(st.integers(0, 3)))],
            draw(st.none() | st.just({}) | st.just({"type": "object", "required": ["a"]})),
            draw(st.booleans()),
            foreach=draw(st.none() | st.text(max_size=10)),
            when=draw(st.none() | st.booleans() | st.text(max_size=10)),
            timeout=draw(st.none() | st.timedeltas(timedelta(microseconds=1), timedelta(days=1))),
            retries=draw(st.integers(0, 10)),
            after=draw(st.lists(names, max_size=2)),
        )
        steps.append(step)
    return Plan(draw(st.text(max_size=20)), steps)


def step(name: str = "a", **fields: Any) -> dict[str, Any]:
    return {"name": name, "action": "act", **fields}


def findings_of(data: object, **options: Any) -> list[Finding]:
    with pytest.raises(PlanError) as caught:
        from_json(data, **options)
    return list(caught.value.findings)


@given(plans())
def test_a_plan_survives_json(plan: Plan) -> None:
    assert from_json(json.loads(json.dumps(plan.to_json()))) == plan


@given(plans())
def test_what_a_plan_writes_fits_the_published_schema(plan: Plan) -> None:
    assert jsonschema_rs.is_valid(PLAN_SCHEMA, plan.to_json())


def test_every_key_of_a_step_says_what_it_does() -> None:
    schema: Any = PLAN_SCHEMA
    keys = schema["$defs"]["step"]["properties"]
    assert [name for name, key in keys.items() if not key.get("description")] == []


def test_a_step_keeps_the_positions_of_the_article() -> None:
    step = WorkflowStep("a", "act", {"x": 1}, ["out"], {"type": "object"}, True)
    assert step.to_json() == {
        "name": "a",
        "action": "act",
        "inputs": {"x": 1},
        "outputs": ["out"],
        "validation": {"type": "object"},
        "human_review_required": True,
    }


def test_steps_may_be_dicts_or_steps() -> None:
    mixed = {"steps": [step("a"), WorkflowStep("b", "act", {"x": [1, 2]}, ("out",))]}
    assert from_json(mixed, goal="g") == Plan(
        "g", [WorkflowStep("a", "act"), WorkflowStep("b", "act", {"x": [1, 2]}, ["out"])]
    )


def test_the_digest_is_of_all_that_a_plan_says() -> None:
    assert from_json({"goal": "g", "steps": [step()]}).digest == Plan("g", [WorkflowStep("a", "act")]).digest
    assert Plan("g", [WorkflowStep("a", "act", retries=1)]).digest != Plan("g", [WorkflowStep("a", "act")]).digest


def test_dependencies_come_from_references_and_after() -> None:
    plan = Plan(
        "g",
        [
            WorkflowStep("use", "act", {"x": ["${v.k}"]}, foreach="${l}", when="${f}", after=["last", "no step"]),
            *(WorkflowStep(name, "act", {}, [name[0]]) for name in ("vee", "list", "flag")),
            WorkflowStep("last", "act"),
        ],
    )
    assert plan.dependencies(plan.steps[0]) == {"vee", "list", "flag", "last"}


@pytest.mark.parametrize(
    "data, place",
    [
        (None, (None, None)),
        ("steps: []", (None, None)),
        ([step()], (None, None)),
        ({}, (None, None)),
        ({"steps": []}, (None, "steps")),
        ({"steps": "x"}, (None, "steps")),
        ({"steps": [step()], "extra": 1}, (None, None)),
        ({"version": 2, "steps": [step()]}, (None, "version")),
        ({"goal": 1, "steps": [step()]}, (None, "goal")),
        ({"steps": [None]}, ("step 1", None)),
        ({"steps": [step(), {"name": "b"}]}, ("b", None)),
        ({"steps": [step(action="")]}, ("a", "action")),
        ({"steps": [step("x" * 201)]}, ("step 1", "name")),
        *(({"steps": [step(f"a{one}b")]}, ("step 1", "name")) for one in "\0\t\n\r\x1b\x7f\x85\u2028\u2029"),
        ({"steps": [step("a\n")]}, ("step 1", "name")),
        ({"steps": [step(action="a\nb")]}, ("a", "action")),
        ({"steps": [step(after=["a\0"])]}, ("a", "after.0")),
        ({"steps": [step(oops=1)]}, ("a", None)),
        ({"steps": [step(inputs=[])]}, ("a", "inputs")),
        ({"steps": [step(outputs="x")]}, ("a", "outputs")),
        ({"steps": [step(outputs=["a b"])]}, ("a", "outputs.0")),
        ({"steps": [step(outputs=["item"])]}, ("a", "outputs.0")),
        ({"steps": [step(outputs=["x", "x"])]}, ("a", "outputs")),
        ({"steps": [step(validation="x")]}, ("a", "validation")),
        ({"steps": [step(timeout=0)]}, ("a", "timeout")),
        ({"steps": [step(timeout="5s")]}, ("a", "timeout")),
        ({"steps": [step(timeout=86_401)]}, ("a", "timeout")),
        ({"steps": [step(timeout=1e308)]}, ("a", "timeout")),
        ({"steps": [step(timeout=1e-9)]}, ("a", "timeout")),
        ({"steps": [step(timeout=float("inf"))]}, (None, None)),
        ({"steps": [step(retries=-1)]}, ("a", "retries")),
        ({"steps": [step(retries=11)]}, ("a", "retries")),
        ({"steps": [step(when=1)]}, ("a", "when")),
        ({"steps": [step(after="b")]}, ("a", "after")),
        ({"steps": [step(), step()]}, ("a", "name")),
        ({"steps": [step(outputs=["x"]), step("b", outputs=["x"])]}, (None, "outputs")),
        ({"steps": [step(inputs={"x": {1, 2}})]}, (None, None)),
        ({"steps": [step(inputs={"x": float("nan")})]}, (None, None)),
        ({"steps": [step(inputs={1: 2})]}, (None, None)),
    ],
)
def test_what_is_no_plan_is_one_finding_that_names_its_place(
    data: object, place: tuple[str | None, str | None]
) -> None:
    assert [(one.step, one.field) for one in findings_of(data)] == [place]


def test_all_structural_findings_come_at_once() -> None:
    data = {"steps": [step(retries=-1, timeout=-1), {"action": "act"}, step("c", inputs=1)], "more": 1}
    assert {(one.step, one.field) for one in findings_of(data)} == {
        ("a", "retries"), ("a", "timeout"), ("step 2", None), ("c", "inputs"), (None, None),
    }  # fmt: skip


def test_a_finding_about_the_shape_of_a_plan_says_what_to_do() -> None:
    data = {"steps": [step(input={}, after="x"), {"name": "b"}, 3], "step\n": []}
    assert [str(one) for one in findings_of(data)] == [
        'a.after: "x" is not of type "array". A list of names of steps to wait for.',
        "a: 'input' is no key of a step. Did you mean 'inputs'?",
        'b: "action" is a required property. Add it.',
        'step 3: 3 is not of type "object". Write a mapping with a name and an action.',
        "'step\\n' is no key of a plan. Did you mean 'steps'?",
    ]


def test_of_very_many_unknown_keys_some_are_told() -> None:
    assert len(findings_of({"steps": [step()], **dict.fromkeys(map(str, range(1_000)))})) == MOST_FINDINGS


def test_a_name_that_is_refused_is_told_on_one_line() -> None:
    (finding,) = findings_of({"steps": [step("a\nFinding: none\0")]})
    assert str(finding).startswith(r'step 1.name: "a\nFinding: none\u0000" does not match')


def test_more_steps_than_the_limit_are_refused() -> None:
    data = {"steps": [step(str(at)) for at in range(MAX_STEPS + 1)]}
    assert [str(one) for one in findings_of(data)] == [
        "steps: The plan has 1,001 steps, and the limit is 1,000. Split it, use foreach, or raise max_steps."
    ]
    assert len(from_json(data, max_steps=MAX_STEPS + 1).steps) == MAX_STEPS + 1


def test_a_plan_of_ten_megabytes_is_refused() -> None:
    finding = findings_of({"steps": [step(inputs={"x": "x" * 10_000_000})]})[0]
    assert f"the limit is {MAX_BYTES:,}" in finding.problem
    assert len(str(finding)) < 300


def test_a_text_that_is_no_unicode_is_a_finding() -> None:
    assert findings_of({"steps": [step(inputs={"x": "\ud800"})]})


@pytest.mark.parametrize(
    "plan",
    [
        Plan("g", []),
        Plan("g", [WorkflowStep("a", "act"), WorkflowStep("a", "act")]),
        Plan("g", [WorkflowStep("a", "act", {}, ["x"]), WorkflowStep("b", "act", {}, ["x"])]),
        Plan("g", [WorkflowStep("a", "act", {}, ["item"])]),
        Plan("g", [WorkflowStep("a", "act", {"x": object()})]),  # type: ignore[dict-item]  # that is the point
        Plan("g", [WorkflowStep("a", "act", retries=-1)]),
        Plan("g", [WorkflowStep("a", "act", timeout=timedelta(seconds=-1))]),
        Plan("g", [WorkflowStep(str(at), "act") for at in range(MAX_STEPS + 1)]),
    ],
    ids=["empty", "name twice", "output twice", "item", "no JSON", "retries", "timeout", "too many"],
)
def test_a_plan_object_is_checked_like_any_other(plan: Plan) -> None:
    assert findings_of(plan)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""}, {"name": 5}, {"action": None}, {"outputs": "x"}, {"after": [1]},
        {"timeout": 5}, {"timeout": 1e18}, {"timeout": float("nan")}, {"timeout": "5s"},
    ],
    ids=str,
)  # fmt: skip
def test_an_illegal_step_fails_at_construction(fields: dict[str, Any]) -> None:
    with pytest.raises(PlanError) as caught:
        WorkflowStep(**{"name": "a", "action": "act", **fields})
    assert [one.field for one in caught.value.findings] == list(fields)
    assert all(one.remedy for one in caught.value.findings)


def test_a_finding_says_place_problem_and_remedy_and_survives_json() -> None:
    finding = Finding(step="a", field="inputs.x", problem="is wrong.", remedy="Right it.")
    assert str(finding) == "a.inputs.x: is wrong. Right it."
    assert finding_from_json(finding.to_json()) == finding
    assert finding_from_json(Finding(problem="p").to_json()) == Finding(problem="p")


def test_an_error_lists_every_finding_and_its_source() -> None:
    error = PlanError([Finding(problem="one."), Finding(step="a", problem="two.")], source="The plan file p.yaml")
    assert str(error) == "The plan file p.yaml cannot be used:\n  - one.\n  - a: two."


@given(st.lists(st.sets(st.integers(0, 9)), min_size=1, max_size=10), st.data())
def test_the_order_is_topological_and_as_listed_where_data_leaves_a_choice(
    edges: list[set[int]], data: st.DataObject
) -> None:
    """Against the slowest possible reading: take the first listed step whose dependencies are done, again and again."""
    listed = data.draw(st.permutations(range(len(edges))))
    needed = {at: {one for one in edges[at] if one < at} for at in range(len(edges))}
    steps = {at: WorkflowStep(f"s{at}", "act", after=[f"s{one}" for one in needed[at]]) for at in needed}
    expected: list[int] = []
    while len(expected) < len(listed):
        expected.append(next(at for at in listed if at not in expected and needed[at] <= set(expected)))
    assert Plan("g", [steps[at] for at in listed]).order == tuple(f"s{at}" for at in expected)


def test_what_is_in_a_cycle_or_waits_for_one_has_no_place_in_the_order() -> None:
    waits = {"free": [], "a": ["b"], "b": ["a"], "behind": ["a"], "last": ["free"]}
    assert Plan("g", [WorkflowStep(name, "act", after=needed) for name, needed in waits.items()]).order == (
        "free",
        "last",
    )


@given(st.integers(1), plans())
def test_the_name_of_a_plan_tells_which_planner_call_gave_it(number: int, plan: Plan) -> None:
    assert plan_number(plan_name(number, plan)) == number


@pytest.mark.parametrize("name", ["", "first", ":abc", "-1:abc"])
def test_what_is_no_name_of_a_plan_tells_no_planner_call(name: str) -> None:
    assert plan_number(name) == 0
