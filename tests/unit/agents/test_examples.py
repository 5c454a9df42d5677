"""The examples that planners are shown."""

import pytest

from agentic_workflows.actions.builtin import builtin_actions
from agentic_workflows.agents.examples import FILE_EXAMPLES
from agentic_workflows.agents.local_model import local_chat_model
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
