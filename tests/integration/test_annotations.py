"""What an operator says of tools that are not his own decides what is asked, in whole runs."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentic_workflows import ActionError, AgenticWorkflow, ScriptedAgent, approve, build_graph
from agentic_workflows.testing import RecordingAction

COMPLETE, BAD_INPUT, WAITING = 0, 2, 3
PLAN = "{goal: Write to Ada, steps: [{name: mail, action: send_email, inputs: {to: ada@example.org, body: Hello}}]}"
OWN = """
from agentic_workflows import action

@action
def send_email(to: str, body: str) -> str:
    '''Send a mail.'''
    return f"sent to {to}"

ACTIONS = [send_email]
"""
VOUCHED = "send_email: {destructive: false, open_world: false, arguments: {to: target, body: content}, trusted: true}"


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_here: Callable[..., tuple[int, str, str]]
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Call the command inside this process, in a folder with a plan, own actions and annotations of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name, text in {"mail.yaml": PLAN, "tools.py": OWN, "tools.yaml": VOUCHED}.items():
        (tmp_path / name).write_text(text)
    yield run_here
    sys.modules.pop("tools", None)


def house(annotations: Any, database: Path) -> tuple[RecordingAction, AgenticWorkflow]:
    plan = {"steps": [{"name": "mail", "action": "send", "inputs": {"to": "ada"}}]}
    schema = {"type": "object", "properties": {"to": {"type": "string"}}}
    sent = RecordingAction("send", result="sent", read_only=False, destructive=True, input_schema=schema)
    return sent, AgenticWorkflow(ScriptedAgent([plan]), actions=[sent], annotations=annotations, database=database)


async def test_what_an_operator_vouches_for_is_not_asked(tmp_path: Path) -> None:
    (tmp_path / "tools.yaml").write_text("send: {destructive: false, open_world: false}")
    strict, loose = house((), tmp_path / "a.db"), house(tmp_path / "tools.yaml", tmp_path / "b.db")
    assert ((await strict[1].run("Write"))["state"], strict[0].calls) == ("REVIEWING", [])
    assert ((await loose[1].run("Write"))["state"], loose[0].calls) == ("COMPLETE", [{"to": "ada"}])


async def test_an_action_that_was_used_before_is_asked_about_where_an_operator_says_so(tmp_path: Path) -> None:
    (tmp_path / "tools.yaml").write_text("look: {read_only: false, destructive: true}")
    look = RecordingAction("look", result="seen", read_only=True)
    plan = {"steps": [{"name": "look", "action": "look"}]}
    for annotations, state in (((), "COMPLETE"), (tmp_path / "tools.yaml", "REVIEWING")):
        workflow = AgenticWorkflow(ScriptedAgent([plan]), actions=[look], annotations=annotations)
        assert (await workflow.run("Look"))["state"] == state
    assert len(look.calls) == 1


async def test_a_question_is_asked_again_under_other_annotations(tmp_path: Path) -> None:
    (tmp_path / "tools.yaml").write_text("send: {secret_fields: [token]}")
    _, before = house((), tmp_path / "runs.db")
    (question,) = (await before.run("Write", thread_id="t"))["reviews"]
    sent, after = house([tmp_path / "tools.yaml"], tmp_path / "runs.db")

    result = await after.resume({question["id"]: approve()}, thread_id="t")

    assert (result["state"], sent.calls) == ("REVIEWING", [])
    assert [one["id"] for one in result["reviews"]] != [question["id"]]
    assert (await after.resume(approve()))["state"] == "COMPLETE"
    assert sent.calls == [{"to": "ada"}]


@pytest.mark.parametrize("build", [AgenticWorkflow, build_graph])
def test_nothing_starts_under_annotations_that_do_not_fit(build: Callable[..., object], tmp_path: Path) -> None:
    (tmp_path / "tools.yaml").write_text("sned: {trusted: true}")
    with pytest.raises(ActionError, match=r"tools\.yaml cannot be used:\n  - sned: .* Did you mean 'send'\?"):
        build(ScriptedAgent([]), actions=[RecordingAction("send")], annotations=tmp_path / "tools.yaml")


def test_a_run_keeps_them_for_whoever_continues_it(call: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "tools.yaml").write_text("send_email: {trusted: true}")
    arguments = ("run", "--plan", "mail.yaml", "--actions", "tools:ACTIONS", "--thread", "t")
    assert call(*arguments, "--annotations", "tools.yaml")[0] == WAITING
    (tmp_path / "tools.yaml").write_text("send_email: {trusted: yes please}")
    code, _, err = call("review", "t", "--approve", "all")
    assert (code, "send_email.trusted" in err, str(tmp_path / "tools.yaml") in err) == (BAD_INPUT, True, True)
    (tmp_path / "tools.yaml").write_text(VOUCHED)
    assert call("review", "t", "--approve", "all")[0] == COMPLETE


def test_no_run_begins_under_a_file_with_a_fault(call: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("send_emial: {}\nsend_email: {arguments: {too: target}}")
    arguments = ("--plan", "mail.yaml", "--actions", "tools:ACTIONS", "--annotations", "bad.yaml")
    for command in (["run"], ["plan"], ["policy", "explain"]):
        code, out, err = call(*command, *arguments)
        assert (code, out) == (BAD_INPUT, "")
        assert "send_emial: There is no such action. Did you mean 'send_email'?" in err
        assert "send_email.arguments.too: There is no such argument. Did you mean 'to'?" in err
    assert call("policy", "check", "--actions", "tools:ACTIONS", "--annotations", "bad.yaml")[0] == BAD_INPUT
    assert call("runs", "--json")[1] == "[]\n"


def test_actions_show_their_effect_and_what_nobody_said(call: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "tools.yaml").write_text(
        'send_email: {destructive: false, arguments: {body: content}, secret_fields: [token], resources: ["mail/{to}"]}'
    )
    _, out, _ = call("actions", "--actions", "tools:ACTIONS", "--annotations", "tools.yaml")
    assert "send_email    to, body: content" in out
    assert "effect, open-world untrusted, secret token" in " ".join(out.split())
    assert "An argument without a class is a target." in out
    _, out, _ = call("actions", "--json", "--actions", "tools:ACTIONS", "--annotations", "tools.yaml")
    shown = next(one for one in json.loads(out) if one["name"] == "send_email")
    assert shown["annotations"]["arguments"] == {"body": "content"}
    assert (shown["annotations"]["destructive"], shown["resources"]) == (False, ["mail/{to}"])
    _, out, _ = call("schema", "annotations", "--actions", "tools:ACTIONS")
    assert "send_email" in json.loads(out)["properties"]
