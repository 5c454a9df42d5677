"""A plan file is read with suspicion: one clear error that names the file, nothing built, nothing exhausted."""

import json
from pathlib import Path

import pytest

from agentic_workflows.agents.plan_file import PlanFileAgent, load_plan
from agentic_workflows.errors import PlanError, PlanningError
from agentic_workflows.graph.plan import Plan, WorkflowStep

GOOD = """\
goal: Copy a note
steps:
  - name: read
    action: read_file
    inputs: {path: a.md}
    outputs: [note]
  - name: save
    action: write_file
    inputs: {path: b.md, text: "${note}"}
"""
PLAN = Plan(
    goal="Copy a note",
    steps=[
        WorkflowStep("read", "read_file", {"path": "a.md"}, ["note"]),
        WorkflowStep("save", "write_file", {"path": "b.md", "text": "${note}"}),
    ],
)


def written(folder: Path, text: str, name: str = "plan.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.fixture
def refused(tmp_path):
    """Load a text as a plan file that must be refused, and return the message."""

    def load(text: str, name: str = "plan.yaml") -> str:
        path = written(tmp_path, text, name)
        with pytest.raises(PlanError) as caught:
            load_plan(path)
        assert str(path) in str(caught.value)
        return str(caught.value)

    return load


def test_yaml_and_json_give_the_same_plan(tmp_path):
    assert load_plan(written(tmp_path, GOOD)) == PLAN
    assert load_plan(written(tmp_path, json.dumps(PLAN.to_json()), "plan.json")) == PLAN
    assert load_plan(written(tmp_path, json.dumps(PLAN.to_json()), "plan.yaml")) == PLAN


def test_anchors_and_merge_keys_are_written_out(tmp_path):
    text = "steps:\n- &a {name: a, action: x, inputs: &i {path: p}}\n- {<<: *a, name: b, inputs: *i}\n"
    plan = load_plan(written(tmp_path, text))
    assert plan.steps == (WorkflowStep("a", "x", {"path": "p"}), WorkflowStep("b", "x", {"path": "p"}))


def test_missing_file_and_folder_are_named(tmp_path):
    for path, reason in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(PlanError, match=reason) as caught:
            load_plan(path)
        assert str(path) in str(caught.value)


def test_what_is_not_yaml_is_shown_with_its_place(refused):
    assert "line 3, column 4" in refused("steps:\n  - name: a\n   bad: [}\n")
    assert "not JSON" in refused('{"steps": [}', "plan.json")
    assert "line 1, column 12" in refused('{"steps": [}', "plan.json")


@pytest.mark.parametrize("text,problem", [
    ("", "It is empty"),
    ("- a\n- b\n", "is a list, not a mapping"),
    ("just text", "is a str, not a mapping"),
    ("steps: []\n", "steps"),
    ("steps: [{name: a, action: x}]\nextra: 1\n", "extra"),
    ("steps: [{name: a, action: x, imputs: {}}]\n", "imputs"),
    ("steps: [{name: a, action: x}, {name: a, action: x}]\n", "2 steps have this name"),
    ("steps: !!python/object/apply:os.system ['true']\n", "builds something that is not JSON"),
    ("steps: !!set {a}\n", "builds something"),
    ("steps: [{name: a, action: x, inputs: {on_day: 2026-11-22}}]\n", "is a date"),
    ("steps: [{name: a, action: x, inputs: {at: 12:30}}]\n", "base 60"),
    ("steps: [{name: a, action: x, inputs: {1: 2}}]\n", "1 at line 1, column 39 is a key that is no text. Quote it."),
    ("steps: [{name: a, action: x, inputs: {on: 2}}]\n", "on at line 1, column 39 is a key that is no text. Quote it."),
    ("steps: [{name: a, name: b, action: x}]\n", "The key 'name' at line 1, column 19 stands twice"),
    ("steps: [{name: a, action: x, inputs: {n: .nan}}]\n", "nan"),
    ("steps: [{name: a, action: x}]\n---\nsteps: []\n", "but found another document"),
    ("steps: &a [*a]\n", "holds itself"),
    ("a: \x01", "characters are not allowed"),
])  # fmt: skip
def test_what_is_no_plan_is_refused(refused, text, problem):
    assert problem in refused(text)


def test_duplicate_keys_in_json_are_refused(refused):
    assert "'name' stands twice" in refused('{"steps": [{"name": "a", "name": "b", "action": "x"}]}', "plan.json")
    assert "NaN" in refused('{"steps": NaN}', "plan.json")


def test_a_huge_number_is_refused(refused):
    assert "cannot be read" in refused(f"steps: {'1' * 5000}\n")
    assert "can be read" in refused(f'{{"steps": {"1" * 5000}}}', "plan.json")


def test_all_findings_come_at_once(refused):
    message = refused("steps: [{name: a, action: x, inputs: {1: 2026-01-01, d: 2026-01-02}}]\n")
    assert message.count("  - ") == 3


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, "{a: " * 100_000, "? " * 100_000])
def test_deep_nesting_is_refused_before_anything_is_built(refused, text):
    assert "nest" in refused(text)  # a newer PyYAML says so itself


def test_deep_json_is_refused(refused):
    assert "recursion" in refused('{"a":' * 100_000, "plan.json")


def test_an_alias_bomb_is_refused(refused):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert "once its aliases are written out" in refused("\n".join(lines))


def test_a_merge_bomb_is_refused(refused):
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 10)]
    assert "once its aliases are written out" in refused("\n".join(lines))


def test_ten_megabytes_are_refused(refused):
    assert "more than 5,000,000 bytes" in refused(f"goal: {'x' * 10_000_000}\n")


def test_more_steps_than_the_limit_are_refused(tmp_path):
    path = written(tmp_path, "steps: [" + ", ".join(f"{{name: s{n}, action: x}}" for n in range(1001)) + "]")
    with pytest.raises(PlanError, match="1,001 steps, and the limit is 1,000"):
        load_plan(path)
    assert len(load_plan(path, max_steps=2000).steps) == 1001


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_bytes(b"\xff\xfe\x00steps")
    with pytest.raises(PlanError, match="not UTF-8"):
        load_plan(path)


async def test_agent_gives_the_plan_and_the_goal_where_the_file_has_none(tmp_path):
    assert await PlanFileAgent(written(tmp_path, GOOD)).create_plan("Other", []) == PLAN
    unnamed = PlanFileAgent(written(tmp_path, GOOD.partition("\n")[2]))
    assert (await unnamed.create_plan("Other", [])).goal == "Other"


async def test_agent_cannot_plan_a_file_again_and_says_what_went_wrong(tmp_path):
    path = written(tmp_path, GOOD)
    finding = {"step": "read", "field": "inputs.path", "problem": "is wrong.", "remedy": "Right it."}
    history = [{"step": None, "result": {"findings": [finding]}}, {"step": None, "result": {"feedback": "No."}}]
    with pytest.raises(PlanningError) as caught:
        await PlanFileAgent(path).create_plan("g", history)
    assert str(caught.value) == (
        f"The plan file {path} cannot be planned again. Change it:\n  - read.inputs.path: is wrong. Right it.\n  - No."
    )


def test_agent_refuses_a_bad_file_when_it_is_made(tmp_path):
    with pytest.raises(PlanError):
        PlanFileAgent(tmp_path / "none.yaml")
