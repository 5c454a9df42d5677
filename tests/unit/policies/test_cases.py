import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentic_workflows.errors import PolicyError
from agentic_workflows.graph.catalogue import ActionSpec, Annotations, Catalogue
from agentic_workflows.graph.labels import PLAN, Origin
from agentic_workflows.graph.plan import Plan, WorkflowStep
from agentic_workflows.policies.cases import Result, check_cases, load_cases
from agentic_workflows.policies.engine import CedarEngine
from agentic_workflows.policies.provenance import provenance_of

INBOX = ActionSpec(
    name="inbox",
    annotations=Annotations(read_only=True, open_world=False, trusted_fields=("id",), secret_fields=("password",)),
)
SEND = ActionSpec(
    name="mail.send",
    input_schema={
        "type": "object",
        "properties": {"to": {"type": "string"}, "mail_id": {"type": "string"}, "text": {"type": "string"}},
        "required": ["text"],
        "additionalProperties": False,
    },
    annotations=Annotations(destructive=False, arguments={"text": "content"}),
)
CATALOGUE: Catalogue = {spec.name: spec for spec in (INBOX, SEND)}
Check = Callable[..., tuple[Result, ...]]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Decide cases, given as fields beside a call of `mail.send`."""

    def checked(*cases: Any, policies: tuple[str, ...] = ("default",)) -> tuple[Result, ...]:
        file = tmp_path / "cases.json"
        file.write_text(json.dumps(cases))
        engine = CedarEngine(CATALOGUE, policies)
        return check_cases(load_cases(file, catalogue=CATALOGUE, policies=engine.policies), engine)

    return checked


def send(expect: str = "Allow", *, more: Any = None, came: Any = None, **fields: Any) -> dict[str, Any]:
    inputs = {"to": "a@x.org", "text": "hi"} | (more or {})
    return {"action": "mail.send", "inputs": inputs, "expect": expect, **fields} | ({"from": came} if came else {})


@pytest.mark.parametrize(
    "case, policies",
    [
        (send(), ()),
        (send("Ask", untrusted=["to"], rule="untrusted-steers"), ()),
        (send("Allow", untrusted=["text"]), ()),
        (send("Deny", secret=["text"], rule="secret-leaves"), ()),
        (send("Deny", came={"text": "inbox.password"}), ()),
        (send("Ask", human_review_required=True, rule="review-required"), ()),
        (send("Ask", after_untrusted=True, rule="planned-after-untrusted"), ()),
        (send("Ask", untrusted_control=["foreach"], rule="untrusted-number"), ()),
        (send("Allow", untrusted_control=["when"]), ()),
        (send("Ask", more={"mail_id": "7"}, came={"mail_id": "inbox[0].id"}), ()),
        (send("Allow", more={"mail_id": "7"}, came={"mail_id": "inbox[0].id"}), ("system_assigned",)),
        (send("Ask", more={"mail_id": "7"}, came={"mail_id": ["inbox.id", "inbox.body"]}), ("system_assigned",)),
        (send("Ask", came={"to": "mail.send.sender"}), ("system_assigned",)),
        ({"action": "delete_all", "expect": "Deny", "rule": "dangerous-action"}, ()),
    ],
)
def test_a_case_is_decided_as_a_run_would(check: Check, case: dict[str, Any], policies: tuple[str, ...]) -> None:
    (result,) = check(case, policies=("default", *policies))
    assert result.is_as_expected, str(result)


def test_calls_before_this_one_count(check: Check, tmp_path: Path) -> None:
    rated = tmp_path / "rated.cedar"
    rated.write_text(
        '@id("few") forbid(principal, action, resource) when { context.count > 1 } unless { context.approved };'
    )
    decided = check(send("Allow", count=1), send("Ask", count=2, rule="few"), policies=("default", str(rated)))
    assert [one.is_as_expected for one in decided] == [True, True]


@pytest.mark.parametrize("path", ["[0].id", "[0].id | join('', [@, '1'])"])
def test_where_an_argument_comes_from_is_what_a_plan_would_say_of_it(check: Check, path: str) -> None:
    (result,) = check(send(more={"mail_id": "7"}, came={"mail_id": f"inbox{path}"}))
    step = WorkflowStep("s", "mail.send", {"to": "a@x.org", "text": "hi", "mail_id": f"${{mails{path}}}"})
    assert result.case.request.provenance == provenance_of(step, Plan("", [step]), {"mails": Origin(INBOX, PLAN)}, {})


def test_what_a_late_plan_makes_of_a_value_is_its_own_word_in_a_case_too(check: Check) -> None:
    path = "[0].{id: 'evil'}.id"
    (result,) = check(send(more={"mail_id": "7"}, came={"mail_id": f"inbox{path}"}, after_untrusted=True))
    inputs: dict[str, Any] = {"mail_id": f"${{mails{path}}}"}
    step = WorkflowStep("s", "mail.send", inputs)
    planned = provenance_of(step, Plan("", [step], saw_untrusted=True), {"mails": Origin(INBOX, PLAN)}, {})
    assert result.case.request.provenance is not None
    assert {flow.label for flow in planned.flows} <= {flow.label for flow in result.case.request.provenance.flows}


def test_a_case_that_fails_says_what_was_expected_and_what_came_by_which_rule_and_why(check: Check) -> None:
    other, by_another, allowed = check(
        send("Allow", name="to a stranger", untrusted=["to"]),
        send("Ask", untrusted=["to"], rule="overwrite"),
        send("Deny"),
    )
    assert str(other) == (
        "to a stranger: expected Allow, and it is Ask by untrusted-steers: Data from an untrusted source says whom or "
        "what it acts on, or how much. This `to` comes from an unknown source, which is untrusted."
    )
    assert str(by_another).startswith("case 2: expected Ask by overwrite, and it is Ask by untrusted-steers: ")
    assert str(allowed) == "case 3: expected Deny, and it is Allow by known-action: The action is known."
    assert [one.is_as_expected for one in (other, by_another, allowed)] == [False] * 3
    told = other.to_json()
    assert [told[key] for key in ("name", "expect", "as_expected", "decision")] == [
        "to a stranger",
        "Allow",
        False,
        "Ask",
    ]


@pytest.mark.parametrize(
    "case, problems",
    [
        (5, ["case 1: is no mapping of fields. Fields: name, action,"]),
        ({"expect": "Ask"}, ['case 1: "action" is a required property. Add it.']),
        ({"action": 5, "expect": "Ask"}, ['case 1.action: 5 is not of type "string". Write a text.']),
        (send("allow"), ['case 1.expect: "allow" is not one of "Allow", "Ask" or "Deny". Write Allow, Ask or Deny.']),
        (
            send(name="x", untrustd=["to"], count=-1),
            [
                "x.untrustd: is no field of a case. Did you mean 'untrusted'?",
                "x.count: -1 is less than the minimum of 0. Write a whole number of 0 or more.",
            ],
        ),
        (
            send(name="x", count=2**63),
            ["x.count: 9223372036854775808 is greater than the maximum of 9223372036854775807. Write a whole number"],
        ),
        (send(count=10**30), ["case 1.count: 1000000000000000000000000000000 is greater than the maximum of "]),
        (send(count=1e30), ["case 1.count: 1e+30 is greater than the maximum of "]),
        (
            {"action": "mail.sent", "expect": "Ask", "rule": "overwrit"},
            [
                "case 1.action: no action is called 'mail.sent'. Did you mean 'mail.send'?",
                "case 1.rule: no rule is called 'overwrit'. Did you mean 'overwrite'?",
            ],
        ),
        (
            send(more={"txt": "x"}, untrusted=["too"], came={"cc": "inbox.id"}),
            [
                "case 1.inputs.txt: mail.send has no such argument. Did you mean 'text'?",
                "case 1.untrusted: the inputs of the case have no 'too'. Did you mean 'to'?",
                "case 1.from: the inputs of the case have no 'cc'. Given: to, text, txt.",
            ],
        ),
        (send(more={"to": 5}), ['case 1.inputs.to: 5 is not of type "string".']),
        (
            send(came={"to": ["inbx.id", "inbox[["]}),
            [
                "case 1.from.to: 'inbx.id' begins with no known action. Did you mean 'inbox'?",
                "case 1.from.to: 'inbox[[' holds no JMESPath: ",
            ],
        ),
        (send(came={"to": []}), ["case 1.from.to: [] has less than 1 item. Name a source for each argument,"]),
    ],
)
def test_all_that_is_wrong_with_a_case_is_told_at_once(check: Check, case: Any, problems: list[str]) -> None:
    with pytest.raises(PolicyError) as caught:
        check(case)
    told = str(caught.value).splitlines()
    assert told[0].endswith("cases.json cannot be used:")
    assert len(told) == len(problems) + 1
    for line, problem in zip(told[1:], problems, strict=True):
        assert line.startswith(f"  - {problem}")


def test_a_rule_that_vouches_makes_no_decision(check: Check) -> None:
    with pytest.raises(PolicyError, match="no rule is called 'system-assigned'"):
        check(send(rule="system-assigned"), policies=("default", "system_assigned"))


@pytest.mark.parametrize(
    "text, problem",
    [
        ("", "It is empty. Write something into it, or give another file."),
        ("cases: []", "It holds no list of cases. Begin each case with - action: NAME."),
        ("[", "It is not YAML: "),
        ("- {action: a, action: b}", "The key 'action' at line 1, column 15 stands twice."),
        (None, "It cannot be read: No such file or directory."),
    ],
)
def test_a_file_without_cases_is_refused(text: str | None, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "cases.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(PolicyError) as caught:
        load_cases(file, catalogue=CATALOGUE, policies=())
    assert f"cases.yaml cannot be used:\n  - {problem}" in str(caught.value)
