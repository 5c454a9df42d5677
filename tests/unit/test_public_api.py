import inspect

import pytest

import agentic_workflows
from agentic_workflows.errors import WorkflowError
from agentic_workflows.policies.files import BUILT_IN

PUBLIC = [
    "Action", "ActionCall", "ActionError", "AgenticWorkflow", "Annotations", "DatabaseError", "Found",
    "LeaseLostError", "Limits", "ModelAgent", "ModelError", "Plan", "PlanError", "PlanFileAgent", "PlanningError",
    "PolicyError", "ReviewError", "RunBusyError", "RunError", "ScriptedAgent", "UnresolvedReferenceError",
    "WorkflowError", "WorkflowState", "WorkflowStep", "WorkspaceError", "action", "approve", "build_graph",
    "builtin_actions", "edit", "load_plan", "reject", "respond",
]  # fmt: skip


def test_the_public_names_are_these() -> None:
    assert agentic_workflows.__all__ == PUBLIC
    assert dir(agentic_workflows) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_can_be_imported_and_says_what_it_is(name: str) -> None:
    thing = getattr(agentic_workflows, name)
    assert (inspect.getdoc(thing) or "").split("\n")[0].rstrip().endswith((".", ":", ";"))


@pytest.mark.parametrize("name", [name for name in PUBLIC if name.endswith("Error")])
def test_every_error_is_a_workflow_error(name: str) -> None:
    assert issubclass(getattr(agentic_workflows, name), WorkflowError)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Workflow'"):
        _ = agentic_workflows.Workflow  # type: ignore[attr-defined]  # that is the point


@pytest.mark.parametrize("documented", [agentic_workflows.AgenticWorkflow, agentic_workflows.build_graph])
def test_every_built_in_policy_is_named_where_policies_are_given(documented: object) -> None:
    assert [name for name in BUILT_IN if f"`{name}`" not in (inspect.getdoc(documented) or "")] == []


def test_the_graph_says_that_it_is_async_only() -> None:
    assert "`ainvoke` or `astream`" in (agentic_workflows.build_graph.__doc__ or "")


def test_the_constructor_is_that_of_the_article() -> None:
    parameters = inspect.signature(agentic_workflows.AgenticWorkflow).parameters
    assert list(parameters)[:2] == ["agent", "max_iterations"]
    assert parameters["max_iterations"].default == 10
    assert {one.kind for one in list(parameters.values())[2:]} == {inspect.Parameter.KEYWORD_ONLY}


def test_a_step_has_the_fields_of_the_article_first() -> None:
    assert list(inspect.signature(agentic_workflows.WorkflowStep).parameters)[:6] == [
        "name", "action", "inputs", "outputs", "validation", "human_review_required",
    ]  # fmt: skip


def test_what_the_articles_reader_calls_is_there() -> None:
    workflow = agentic_workflows.AgenticWorkflow
    awaited = ["run", "plan", "execute_next_step", "review_progress", "resume"]
    assert all(inspect.iscoroutinefunction(getattr(workflow, name)) for name in awaited)
    called = ["get_results", "validate_plan", "validate_result", "get_next_step", "run_sync"]
    assert all(inspect.isfunction(getattr(workflow, name)) for name in called)
    assert inspect.isasyncgenfunction(workflow.stream)
