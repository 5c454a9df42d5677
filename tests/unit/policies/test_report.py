from pathlib import Path

from agentic_workflows.graph.catalogue import ActionSpec, Annotations, Catalogue
from agentic_workflows.graph.findings import Finding
from agentic_workflows.graph.plan import Plan, WorkflowStep
from agentic_workflows.policies.decision import to_json
from agentic_workflows.policies.engine import CedarEngine
from agentic_workflows.policies.report import Report, examine

READ = ActionSpec(
    name="read",
    input_schema={"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    annotations=Annotations(read_only=True, open_world=False),
)
SEND = ActionSpec(name="send", annotations=Annotations(destructive=False))
CATALOGUE: Catalogue = {spec.name: spec for spec in (READ, SEND, ActionSpec(name="delete_all"))}
ENGINE = CedarEngine(CATALOGUE)

READ_FIRST = WorkflowStep("look", "read", {"path": "a"}, ["text"])
SEND_IT = WorkflowStep("tell", "send", {"body": "${text}"})
PLAN = Plan("Tell.", [SEND_IT, READ_FIRST])


def report_of(plan: Plan, *, max_iterations: int | None = None, used: int = 0, refused: tuple[str, ...] = ()) -> Report:
    return examine(plan, catalogue=CATALOGUE, engine=ENGINE, max_iterations=max_iterations, used=used, refused=refused)


def test_a_report_has_order_and_a_decision_on_every_step() -> None:
    report = report_of(PLAN, max_iterations=3, used=1)
    assert report.is_accepted
    assert report.order == ("look", "tell")
    assert {step: decision.name for step, decision in report.decisions.items()} == {
        "look": "Allow",
        "tell": "At run time",
    }
    assert report.to_json() == {
        "plan": PLAN.to_json(),
        "order": ["look", "tell"],
        "decisions": {step: to_json(decision) for step, decision in report.decisions.items()},
        "findings": [],
        "provenance": {
            "tell": {"body": [{"source": "read", "trusted": False}]},
        },
    }


def test_a_denied_step_is_a_finding_with_rule_and_reason() -> None:
    report = report_of(Plan("x", [READ_FIRST, WorkflowStep("wipe", "delete_all", {"what": "${text}"})]))
    (finding,) = report.findings
    assert not report.is_accepted
    assert (finding.step, finding.field) == ("wipe", "action")
    assert finding.problem.startswith("is denied by dangerous-action (default.cedar:")
    assert finding.problem.endswith("): This action is never executed, whoever approves it.")


def test_a_rule_without_an_id_is_named_once(tmp_path: Path) -> None:
    file = tmp_path / "mine.cedar"
    file.write_text("permit (principal, action, resource);\nforbid (principal, action, resource);")
    engine = CedarEngine(CATALOGUE, str(file))
    (finding,) = examine(Plan("x", [READ_FIRST]), catalogue=CATALOGUE, engine=engine).findings
    assert finding.problem.startswith(f"is denied by {file}:2: ")


def test_a_denial_without_a_rule_is_a_finding_with_its_reason() -> None:
    report = examine(Plan("x", [READ_FIRST]), catalogue=CATALOGUE, engine=CedarEngine({}))
    assert [finding.problem for finding in report.findings] == [
        "is denied: It cannot be decided, so it is denied: the action 'read' is not in the catalogue."
    ]


def test_a_plan_with_findings_of_its_own_is_not_decided() -> None:
    report = report_of(Plan("x", [WorkflowStep("a", "read", {}), WorkflowStep("b", "raed", {"path": "x"})]))
    assert [finding.step for finding in report.findings] == ["a", "b"]
    assert (report.decisions, report.order) == ({}, ("a", "b"))


def test_a_plan_without_an_order_has_none_in_its_report() -> None:
    cycle = [WorkflowStep("a", "read", {"path": "${y}"}, ["x"]), WorkflowStep("b", "read", {"path": "${x}"}, ["y"])]
    for steps in (cycle, [WorkflowStep("a", "read", {"path": "${"})]):
        report = report_of(Plan("x", steps))
        assert len(report.findings) == 1
        assert report.order == ()


def test_a_plan_beyond_the_budget_is_a_finding() -> None:
    assert report_of(PLAN, max_iterations=10, used=9).findings == (
        Finding(
            field="max_iterations",
            problem="The plan's 2 steps and 9 used iterations exceed the limit of 10.",
            remedy="Use fewer steps or foreach, or raise it.",
        ),
    )


def test_a_plan_that_was_refused_is_no_progress_under_the_same_policies() -> None:
    refusal = report_of(PLAN).refusal
    (finding,) = report_of(PLAN, refused=("x", refusal)).findings
    assert "no progress" in finding.problem
    other = CedarEngine(CATALOGUE, "article")
    assert examine(PLAN, catalogue=CATALOGUE, engine=other, refused=[refusal]).findings == ()
