import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic_workflows.graph.catalogue import ActionSpec, Annotations
from agentic_workflows.graph.checks import input_findings, static_findings
from agentic_workflows.graph.plan import Plan, WorkflowStep
from agentic_workflows.graph.values import JsonObject, JsonValue

NUMBER = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "m": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
CATALOGUE = {
    "act": ActionSpec(name="act"),
    "count": ActionSpec(name="count", input_schema=NUMBER, annotations=Annotations(read_only=True)),
}


def found(*steps: WorkflowStep) -> list[tuple[str | None, str | None]]:
    return [(one.step, one.field) for one in static_findings(Plan("g", steps), CATALOGUE)]


def problems(*steps: WorkflowStep) -> str:
    return " ".join(map(str, static_findings(Plan("g", steps), CATALOGUE)))


@pytest.mark.parametrize(
    "step, places",
    [
        (WorkflowStep("a", "act", {"x": "${a.b}"}), [("a", "inputs.x")]),
        (WorkflowStep("a", "act", {"x": "${item}"}), [("a", "inputs.x")]),
        (WorkflowStep("a", "act", {"x": "$${item}"}), []),
        (WorkflowStep("a", "act", foreach="${item}"), [("a", "foreach")]),
        (WorkflowStep("a", "act", foreach="x ${v}"), [("a", "foreach")]),
        (WorkflowStep("a", "act", foreach="[1]"), [("a", "foreach")]),
        (WorkflowStep("a", "act", when="yes"), [("a", "when")]),
        (WorkflowStep("a", "act", when=True), []),
        (WorkflowStep("a", "act", when="${v}"), []),
        (WorkflowStep("a", "act", {"x": "${item}"}, foreach="${v}"), []),
        (WorkflowStep("a", "act", after=["zzz"]), [("a", "after")]),
        (WorkflowStep("a", "act", {"x": "${"}), [("a", "inputs.x")]),
        (WorkflowStep("a", "act", validation={"type": "nonsense"}), [("a", "validation")]),
        (WorkflowStep("a", "act", retries=1), [("a", "retries")]),
        (WorkflowStep("a", "cuont"), [("a", "action")]),
        (WorkflowStep("a", "count", {"n": "1"}), [("a", "inputs.n")]),
        (WorkflowStep("a", "count", {}), [("a", "inputs")]),
        (WorkflowStep("a", "count", {"n": 1, "x": 1}), [("a", "inputs")]),
        (WorkflowStep("a", "count", {"n": "${v}"}), []),
        (WorkflowStep("a", "count", {"n": "${v}", "m": "x"}, retries=3), [("a", "inputs.m")]),
    ],
)
def test_each_fault_is_a_finding_with_step_and_field(step: WorkflowStep, places: list[object]) -> None:
    assert found(WorkflowStep("v", "act", {}, ["v"]), step) == places


def test_all_static_findings_come_at_once() -> None:
    assert found(
        WorkflowStep("a", "nope", {"x": "${none}"}, validation={"type": 1}),
        WorkflowStep("b", "count", {"n": "x"}, after=["c"]),
        WorkflowStep("c", "act", retries=2, after=["b"]),
    ) == [
        ("b", None), ("a", "inputs.x"), ("a", "validation"), ("a", "action"), ("b", "inputs.n"), ("c", "retries"),
    ]  # fmt: skip


def test_an_unknown_action_names_the_nearest() -> None:
    assert "Did you mean 'count'?" in problems(WorkflowStep("a", "cuont"))
    assert "Known actions: act, count." in problems(WorkflowStep("a", "xyzzy"))


def test_a_cycle_is_shown_as_a_path() -> None:
    said = problems(
        WorkflowStep("a", "act", {"x": "${c}"}, ["a"]), WorkflowStep("b", "act", {"x": "${a}"}, ["b"], after=["a"]),
        WorkflowStep("c", "act", {"x": "${b}"}, ["c"]),
    )  # fmt: skip
    assert "waits for itself" in said
    assert all(f"{one} -> " in said for one in "abc")


def test_listing_order_is_no_finding() -> None:
    assert found(WorkflowStep("b", "act", {"x": "${a}"}), WorkflowStep("a", "act", {}, ["a"])) == []


@given(st.integers(1, 8), st.data())
def test_every_plan_with_a_cycle_is_refused(size: int, data: st.DataObject) -> None:
    """Any edges at all between steps, and one path that comes back to where it began."""
    edges = data.draw(st.sets(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)), max_size=12))
    loop = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=size, unique=True))
    edges |= set(zip(loop, [*loop[1:], loop[0]], strict=True))
    way = data.draw(st.sampled_from(["inputs", "after", "when", "foreach"]))

    def waiting(at: int) -> dict[str, Any]:
        needed = sorted(one for one, other in edges if other == at)
        if way == "after":
            return {"after": [f"s{one}" for one in needed]}
        fields: dict[str, Any] = {"inputs": {"x": [f"<${{o{one}[0]}}>" for one in needed]}}
        return fields if way == "inputs" or not needed else {**fields, way: f"${{o{needed[0]}}}"}

    plan = Plan("g", [WorkflowStep(f"s{at}", "act", outputs=[f"o{at}"], **waiting(at)) for at in range(size)])
    assert any("waits for itself" in str(one) for one in static_findings(plan, CATALOGUE))


@given(st.integers(1, 8), st.data())
def test_no_plan_without_a_cycle_is_refused_for_its_order(size: int, data: st.DataObject) -> None:
    edges = data.draw(st.sets(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)), max_size=12))
    forward = {(min(edge), max(edge)) for edge in edges if edge[0] != edge[1]}
    steps = [
        WorkflowStep(f"s{at}", "act", {"x": [f"${{o{one}}}" for one, other in forward if other == at]}, [f"o{at}"])
        for at in range(size)
    ]
    assert static_findings(Plan("g", data.draw(st.permutations(steps))), CATALOGUE) == []


def test_a_schema_over_several_inputs_waits_for_those_that_do_not_exist_yet() -> None:
    either = {"type": "object", "anyOf": [{"properties": {"n": {"type": "integer"}}, "required": ["n"]}]}
    catalogue = {"act": ActionSpec(name="act"), "either": ActionSpec(name="either", input_schema=either)}
    plan = Plan("g", [WorkflowStep("v", "act", {}, ["v"]), WorkflowStep("a", "either", {"n": "${v}"})])
    assert static_findings(plan, catalogue) == []


@pytest.mark.parametrize(
    "value, schema, is_certain",
    [
        ("a ${x}", {"type": "integer"}, True),
        ("${x}${x}", {"type": "integer"}, True),
        ("$${x}", {"type": "integer"}, True),
        (["${x}"], {"type": "integer"}, True),
        ({"n": "a ${x}"}, {"type": "object", "properties": {"n": {"type": "integer"}}}, True),
        ([1, "${x}", "a"], {"type": "array", "items": {"type": "integer"}}, True),
        ("${x}", {"type": "integer"}, False),
        (" ${x} ", {"type": "string", "maxLength": 2}, False),
        ("a ${x}", {"enum": ["a b"]}, False),
        ({"n": "${x}"}, {"type": "object", "properties": {"n": {"type": "integer"}}}, False),
        ({"n": 1, "k": "${x}"}, {"if": {"properties": {"k": {"const": "t"}}}, "else": {"type": "array"}}, False),
        (
            {"n": 1, "k": "${x}"},
            {"if": {"properties": {"k": {"const": "t"}}}, "else": {"properties": {"n": {"type": "string"}}}},
            False,
        ),
    ],
)
def test_a_type_that_no_reference_changes_is_checked_before_anything_runs(
    value: Any, schema: Any, *, is_certain: bool
) -> None:
    action = ActionSpec(name="act", input_schema={"type": "object", "properties": {"n": schema}})
    plan = Plan("g", [WorkflowStep("first", "act", {}, ["x"]), WorkflowStep("a", "act", {"n": value})])
    findings = static_findings(plan, {"act": action})
    assert [(one.step, (one.field or "").partition(".n")[0]) for one in findings] == [("a", "inputs")] * is_certain


@pytest.mark.parametrize(
    "description, remedy",
    [
        ("A city,\n such as Rome.", "A city, such as Rome."),
        (" ", "See the action's input schema."),
        (None, "See the action's input schema."),
    ],
)
def test_a_pattern_that_is_not_met_is_told_in_the_words_of_its_argument(description: JsonValue, remedy: str) -> None:
    argument: JsonObject = {"type": "string", "pattern": "^[A-Z]", "description": description or ""}
    inside: JsonObject = {"type": "array", "items": argument}
    schema: JsonObject = {"type": "object", "properties": {"to": argument, "all": inside}}
    action = ActionSpec(name="go", input_schema=schema)
    misfits: list[JsonObject] = [{"to": "rome"}, {"all": ["rome"]}]
    for inputs in misfits:
        assert [one.remedy for one in input_findings("a", inputs, action)] == [remedy]
    assert [one.remedy for one in input_findings("a", {"to": 1}, action)] == ["See the action's input schema."]


def test_resolved_inputs_are_checked_against_the_schema() -> None:
    assert [str(one) for one in input_findings("a", {"n": "x"}, CATALOGUE["count"])] == [
        'a.inputs.n: "x" is not of type "integer". See the action\'s input schema.'
    ]
    assert list(input_findings("a", {"n": 1}, CATALOGUE["count"])) == []


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    paths: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(404)
            self.end_headers()

        def log_message(self, *_: object, **__: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", paths
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef", "$schema"])
def test_checking_a_plan_never_reaches_for_the_network(keyword: str, asked: tuple[str, list[str]]) -> None:
    """A planner chooses `validation`; fetching what it refers to would let it read what this machine can reach."""
    address, paths = asked
    step = WorkflowStep("a", "act", validation={"properties": {"x": {keyword: f"{address}/secret"}}})
    assert (found(step), paths) == ([("a", "validation")], []) or (keyword == "$schema" and paths == [])


def test_checking_a_plan_never_follows_a_schemas_own_address(asked: tuple[str, list[str]]) -> None:
    address, paths = asked
    step = WorkflowStep("a", "act", validation={"$id": f"{address}/schema", "$ref": "secret"})
    assert (found(step), paths) == ([("a", "validation")], [])


def test_checking_a_plan_never_reads_a_file(tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text("{}")
    step = WorkflowStep("a", "act", validation={"$ref": (tmp_path / "schema.json").as_uri()})
    assert found(step) == [("a", "validation")]


def test_what_is_not_known_yet_hides_nothing_that_is_wrong_already() -> None:
    each: JsonObject = {"items": {"maximum": 4}}
    action = ActionSpec(name="send", input_schema={"properties": {"names": each, "times": {"type": "integer"}}})
    inputs: dict[str, Any] = {"names": [5] * 50, "times": "x"}
    found = [one.field for one in input_findings("a", inputs, action, unknown=["names"])]
    assert found == ["inputs.times"]
