"""A plan hands a secret on as it is, for how each step ends is told."""

from dataclasses import replace
from typing import Any

import pytest

from agentic_workflows.graph.catalogue import ActionSpec, Annotations
from agentic_workflows.graph.plan import Plan, WorkflowStep
from agentic_workflows.graph.values import JsonObject
from agentic_workflows.policies.provenance import trace
from agentic_workflows.policies.secrecy import secrecy_findings


def spec(name: str, **notes: Any) -> ActionSpec:
    return ActionSpec(name=name, annotations=Annotations(read_only=True, open_world=False, trusted=True, **notes))


CATALOGUE = {
    one.name: one
    for one in (
        replace(spec("vault", secret_fields=("password",)), output_schema={"type": "array"}),
        spec("token", secret_fields=("*",)),
        spec("orders", arguments={"key": "secret"}),
        spec("echo", arguments={"text": "content"}),
    )
}
VAULT = WorkflowStep("vault", "vault", {}, ["logins"])
TOKEN = WorkflowStep("token", "token", {}, ["token"])
ORDERS = WorkflowStep("orders", "orders", {"key": "${token}"}, ["orders"])
ECHO = WorkflowStep("echo", "echo", {"text": "${token}"}, ["same"])


def found(*steps: WorkflowStep) -> list[tuple[str | None, str | None]]:
    plan = Plan("g", [VAULT, TOKEN, ORDERS, ECHO, *steps])
    return [(one.step, one.field) for one in secrecy_findings(plan, CATALOGUE, trace(plan, CATALOGUE))]


@pytest.mark.parametrize(
    "path, is_told",
    [
        ("token", False),
        ("logins[0].password", False),
        ("logins[*].password", False),
        ("logins[?user == 'ada'].password", False),
        ("logins | to_string(@)", True),
        ("logins[?starts_with(password, 'a')].user", True),
        ("logins[0].password | starts_with(@, 'a')", True),
        ("logins[0].user | starts_with(@, 'a')", False),
        ("token | @ == 'a' && 'b' || `1`", True),
        ("token | {a: @}.a", True),
        ("logins | sort_by(@, &user)[0].password", False),
        ("logins | sort_by(@, &password)[0].user", True),
        ("logins | max_by(@, &password).user", True),
        ("logins | min_by([{user: 'x', password: 'm'}, [0]], &password).user", True),
        ("logins[*].password | sort(@)", True),
        ("logins[*].user | sort(@)", False),
        ("token | min([@, 'm'])", True),
        ("token | max([@, 'm'])", True),
        ("token | reverse(@)", True),
        ("same", False),
        ("same | length(@)", True),
        ("orders | length(@)", False),
    ],
)
def test_a_path_hands_a_secret_on_and_computes_nothing_of_it(path: str, *, is_told: bool) -> None:
    given: list[JsonObject] = [{"text": f"${{{path}}}"}, {"text": [{"a": f"Bearer ${{{path}}}"}]}]
    for inputs in given:
        assert found(WorkflowStep("last", "echo", inputs)) == [("last", "inputs.text")] * is_told
    assert found(WorkflowStep("last", "echo", foreach=f"${{{path}}}")) == [("last", "foreach")] * is_told


def test_nothing_is_computed_of_an_item_that_is_a_secret() -> None:
    each = "${logins[*].password}"
    assert found(WorkflowStep("last", "echo", {"text": "${item}"}, foreach=each)) == []
    computed = WorkflowStep("last", "echo", {"text": "${item | length(@)}"}, foreach=each)
    assert found(computed) == [("last", "inputs.text")]


@pytest.mark.parametrize(
    "condition, is_told",
    [("token", True), ("logins[0].password", True), ("logins[0].user", False), ("same", True), ("orders", False)],
)
def test_no_condition_is_on_what_holds_a_secret(condition: str, *, is_told: bool) -> None:
    """What was got with one, given in an argument that is made for secrets, holds none."""
    step = WorkflowStep("last", "echo", {"text": "x"}, when=f"${{{condition}}}")
    assert found(step) == [("last", "when")] * is_told


@pytest.mark.parametrize(
    "action, inputs, is_told",
    [
        ("token", {}, True),
        ("vault", {}, True),
        ("echo", {"text": "${token}"}, True),
        ("echo", {"text": "x"}, False),
        ("orders", {"key": "${token}"}, False),
        ("orders", {"key": "x", "other": "${token}"}, True),
        ("unknown", {"text": "${token}"}, False),
    ],
)
def test_no_validation_looks_into_a_result_that_holds_a_secret(action: str, inputs: Any, *, is_told: bool) -> None:
    step = WorkflowStep("last", action, inputs, validation={"minLength": 1})
    assert found(step) == [("last", "validation")] * is_told


@pytest.mark.parametrize(
    "step, remedy",
    [
        (WorkflowStep("last", "echo", when="${logins}"), "Decide by a field that is no secret"),
        (WorkflowStep("last", "echo", {"text": "${logins | length(@)}"}), "compute with fields that are none"),
    ],
)
def test_a_planner_is_told_how_to_do_without_the_secret(step: WorkflowStep, remedy: str) -> None:
    plan = Plan("g", [VAULT, step])
    (finding,) = secrecy_findings(plan, CATALOGUE, trace(plan, CATALOGUE))
    assert remedy in finding.remedy
    for way in ("logins[*].user", "logins[*].user | length(@)"):
        assert found(WorkflowStep("last", "echo", {"text": f"${{{way}}}"}, when=f"${{{way}}}")) == []


def test_a_plan_without_secrets_may_do_all_of_it() -> None:
    step = WorkflowStep("echo", "echo", {"text": "x"}, ["same"], validation={"minLength": 1})
    last = WorkflowStep("last", "echo", {"text": "${same | length(@)}"}, when="${same}")
    plan = Plan("g", [step, last])
    assert list(secrecy_findings(plan, CATALOGUE, trace(plan, CATALOGUE))) == []
