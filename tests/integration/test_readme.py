"""Everything that the README shows is run."""

import re
from pathlib import Path

import pytest
import yaml

from agentic_workflows import Plan, ScriptedAgent, build_graph
from agentic_workflows.actions.overlay import overlaid
from agentic_workflows.cli.main import run_command
from agentic_workflows.graph.plan import from_json
from agentic_workflows.graph.values import JsonObject
from agentic_workflows.testing import RecordingAction

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README.read_text(), re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for named, text in BLOCKS if named == language]


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs_as_shown(code: str) -> None:
    exec(compile(code, str(README), "exec"), {"__name__": "readme"})  # noqa: S102 - our own text


def test_plan_file_and_annotations_load() -> None:
    plan, annotations = map(yaml.safe_load, blocks("yaml"))
    assert isinstance(from_json(plan), Plan)
    schema: JsonObject = {"properties": {"to": {"type": "string"}, "body": {"type": "string"}}}
    tools = {name: RecordingAction(name, input_schema=schema) for name in ("send_email", "search_inbox")}
    assert overlaid(tools, annotations).keys() == annotations.keys()


def test_the_graph_is_the_one_drawn() -> None:
    drawn = build_graph(ScriptedAgent([]), actions=[]).get_graph().draw_mermaid()
    assert blocks("mermaid") == [drawn.strip() + "\n"]


def test_every_command_shown_exists(capsys: pytest.CaptureFixture[str]) -> None:
    shown = re.findall(r"^    agentic (\w+)(?: (check|explain|show|test))?", README.read_text(), re.MULTILINE)
    for command, sub in shown:
        assert run_command([command, *([sub] if command == "policy" and sub else []), "--help"]) == 0
    assert len(shown) >= 9
    capsys.readouterr()


@pytest.mark.parametrize("path", sorted((README.parent / "examples/plans").glob("*.yaml")), ids=lambda path: path.name)
def test_example_plans_are_accepted(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(README.parent)
    assert run_command(["plan", "--plan", str(path), "--workspace", "examples/workspace"]) == 0
    assert "Allow" in capsys.readouterr().out


def test_example_policies_pass_their_tests(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(README.parent)
    examples = sorted(Path("examples/policies").glob("*.yaml"))
    for cases in examples:
        assert (
            run_command(
                ["policy", "test", str(cases), "--policy", "default", "--policy", str(cases.with_suffix(".cedar"))]
            )
            == 0
        )
    assert "6 of 6 cases are as expected." in capsys.readouterr().out
