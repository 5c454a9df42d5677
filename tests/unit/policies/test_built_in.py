from collections.abc import Sequence
from pathlib import Path

import pytest

from agentic_workflows.graph.catalogue import DANGEROUS, ActionSpec, Annotations, Catalogue
from agentic_workflows.graph.plan import WorkflowStep
from agentic_workflows.graph.values import JsonObject
from agentic_workflows.policies.decision import ActionRequest, Allow, AtRunTime, Decision
from agentic_workflows.policies.engine import CedarEngine
from agentic_workflows.policies.files import ARTICLE, DEFAULT

WRITE_SCHEMA: JsonObject = {
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "text": {"type": "string"},
        "overwrite": {"type": "boolean", "default": False},
    },
    "required": ["path", "text"],
}


def spec(name: str, schema: JsonObject | None = None, **notes: bool) -> ActionSpec:
    return ActionSpec(name=name, input_schema=schema or {"type": "object"}, annotations=Annotations(**notes))  # type: ignore[arg-type]


CATALOGUE: Catalogue = {
    action.name: action
    for action in (
        spec("read_file", read_only=True, open_world=False),
        spec("fetch", read_only=True),
        spec("write_file", WRITE_SCHEMA, destructive=False, open_world=False),
        spec("remove", open_world=False),
        spec("post", destructive=False),
    )
}


def decide(
    policies: Sequence[str | Path],
    name: str,
    inputs: JsonObject | None = None,
    *,
    review: bool = False,
    approved: bool = False,
) -> Decision:
    action = CATALOGUE.get(name) or ActionSpec(name=name, undeclared=True)
    request = ActionRequest(action=action, inputs=inputs or {}, human_review_required=review)
    return CedarEngine(CATALOGUE, policies).decide(request, approved=approved)


def said(decision: Decision) -> tuple[str, list[str]]:
    return decision.name, [] if isinstance(decision, Allow) else [rule.id for rule in decision.rules]


NEW: JsonObject = {"path": "a", "text": "b"}


@pytest.mark.parametrize(
    "name, inputs, expected",
    [
        ("read_file", {}, ("Allow", [])),
        ("fetch", {}, ("Allow", [])),
        ("write_file", NEW, ("Allow", [])),
        ("write_file", NEW | {"overwrite": False}, ("Allow", [])),
        ("write_file", NEW | {"overwrite": True}, ("Ask", ["overwrite"])),
        ("remove", {}, ("Ask", ["destructive-effect"])),
        ("post", {}, ("Ask", ["open-world-effect"])),
        ("unheard", {}, ("Ask", ["destructive-effect", "open-world-effect", "undeclared-action"])),
        *((name, {"x": 1}, ("Deny", ["dangerous-action"])) for name in DANGEROUS),
    ],
)
def test_default_policy(name: str, inputs: JsonObject, expected: tuple[str, list[str]]) -> None:
    assert said(decide([DEFAULT], name, inputs)) == expected
    approved = decide([DEFAULT], name, inputs, approved=True)
    assert approved.name == ("Deny" if expected[0] == "Deny" else "Allow")


@pytest.mark.parametrize(
    "name, expected",
    [
        *((name, ("Allow", [])) for name in ("read_file", "fetch", "remove", "post", "unheard")),
        *((name, ("Deny", ["dangerous-action"])) for name in DANGEROUS),
    ],
)
def test_article_policy(name: str, expected: tuple[str, list[str]]) -> None:
    assert said(decide([ARTICLE], name)) == expected


@pytest.mark.parametrize("policy", [DEFAULT, ARTICLE])
def test_a_step_that_wants_review_is_asked(policy: str) -> None:
    assert said(decide([policy], "read_file", review=True)) == ("Ask", ["review-required"])
    assert decide([policy], "read_file", review=True, approved=True).name == "Allow"
    assert said(decide([policy], "delete_all", review=True)) == ("Deny", ["dangerous-action"])


@pytest.mark.parametrize("policy", [DEFAULT, ARTICLE])
def test_built_in_policies_load_under_every_catalogue(policy: str) -> None:
    for catalogue in ({}, {"delete_all": spec("delete_all", read_only=True)}, CATALOGUE):
        assert len(CedarEngine(catalogue, [policy]).policies) >= 3


def test_a_declared_dangerous_action_never_runs() -> None:
    for policy in (DEFAULT, ARTICLE):
        harmless = spec("delete_all", read_only=True, open_world=False)
        engine = CedarEngine({"delete_all": harmless}, [policy])
        assert engine.decide(ActionRequest(action=harmless, inputs={}), approved=True).name == "Deny"


def test_a_team_adds_its_rules_beside_the_default(tmp_path: Path) -> None:
    team = tmp_path / "team.cedar"
    team.write_text('@id("no-post") @reason("We do not post.") forbid(principal, action == Action::"post", resource);')
    assert said(decide([DEFAULT, team], "post")) == ("Deny", ["no-post"])
    assert said(decide([DEFAULT, team], "read_file")) == ("Allow", [])


def test_an_overwrite_that_is_planned_is_certain_before_the_text_exists() -> None:
    step = WorkflowStep("save", "write_file", {"path": "a", "text": "${text}", "overwrite": True})
    early = CedarEngine(CATALOGUE, [DEFAULT]).decide_early(step, CATALOGUE["write_file"])
    assert isinstance(early, AtRunTime)
    assert said(early.at_least) == ("Ask", ["overwrite"])
