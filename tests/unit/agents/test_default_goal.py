"""The embedded model plans what `make run` asks for."""

import pytest

from agentic_workflows.actions.registry import builtin_actions
from agentic_workflows.agents.examples import DEFAULT_GOAL, FILE_EXAMPLES
from agentic_workflows.agents.local_model import local_chat_model
from agentic_workflows.agents.model_agent import ModelAgent
from agentic_workflows.graph.checks import static_findings
from agentic_workflows.graph.plan import from_json


@pytest.fixture
def catalogue(tmp_path):
    return builtin_actions(tmp_path, local_chat_model)


def test_default_examples_fit_the_built_in_actions_and_are_good_plans(catalogue):
    for example in FILE_EXAMPLES:
        assert example.fits(catalogue)
        plan = from_json({"goal": example.goal, "steps": list(example.steps)})
        assert static_findings(plan, catalogue) == []


@pytest.mark.model
async def test_the_embedded_model_plans_the_default_goal(catalogue, monkeypatch):
    monkeypatch.delenv("AGENTIC_MODEL_PATH", raising=False)
    plan = from_json(await ModelAgent(local_chat_model, catalogue).create_plan(DEFAULT_GOAL, []))
    read, summarize, save = plan.steps
    path = "notes/2026-10-02-incident-gull-rock.md"
    assert (read.action, read.inputs) == ("read_file", {"path": path})
    assert (summarize.action, summarize.inputs) == ("summarize", {"text": f"${{{read.outputs[0]}}}"})
    assert (save.action, save.inputs) == ("write_file", {"path": "summary.md", "text": f"${{{summarize.outputs[0]}}}"})
