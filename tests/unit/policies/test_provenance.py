import json
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentic_workflows.actions.action import Action, ActionCall
from agentic_workflows.execution.dataflow import Dataflow
from agentic_workflows.execution.point import ExecutionPoint
from agentic_workflows.execution.run_pass import RunPass
from agentic_workflows.graph.catalogue import ActionSpec, Annotations
from agentic_workflows.graph.history import marks
from agentic_workflows.graph.labels import GOAL, LATE_PLAN, PLAN, UNKNOWN, Label, Origin, output_source
from agentic_workflows.graph.outcome import Outcome, OutcomeStatus
from agentic_workflows.graph.paths import is_below
from agentic_workflows.graph.plan import Plan, WorkflowStep
from agentic_workflows.graph.state import Limits
from agentic_workflows.graph.values import JsonValue
from agentic_workflows.journal.entries import Intent, Place, Recorded
from agentic_workflows.policies.decision import ActionRequest, Allow, Decision, StaticDecision
from agentic_workflows.policies.engine import CedarEngine
from agentic_workflows.policies.files import REFINEMENTS
from agentic_workflows.policies.provenance import Provenance, provenance_of, trace
from agentic_workflows.testing import memory_log


def spec(name: str, **notes: Any) -> ActionSpec:
    return ActionSpec(name=name, annotations=Annotations(**{"read_only": True, "open_world": False, **notes}))


INBOX = spec("inbox", trusted_fields=("id",), directory_fields=("sender",))
TEXT = spec("text", trusted=True)
COPY = spec("copy", trusted=True, verbatim=True)
CLOCK = spec("clock", trusted=True)
VAULT = spec("vault", trusted=True, secret_fields=("login.password",))
SEND = spec("send", read_only=False)
PEOPLE = spec("people", directory_fields=("*",))
MAKE = replace(
    spec("make", read_only=False, trusted_fields=("id",), directory_fields=("shared",), arguments={"text": "content"}),
    output_schema={"type": "array"},
)
LISTING = replace(INBOX, name="list", output_schema={"type": "array"})
CATALOGUE = {one.name: one for one in (INBOX, LISTING, TEXT, COPY, CLOCK, VAULT, SEND, PEOPLE, MAKE)}
READ = WorkflowStep("read", "inbox", {}, ["mails"])
LIST = WorkflowStep("read", "list", {}, ["mails"])


def label_of(value: JsonValue, *steps: WorkflowStep, goal: str = "", late: bool = False) -> Label:
    """The label of an argument of a last step."""
    last = WorkflowStep("last", "send", {"to": value})
    return trace(Plan(goal, [*steps, last], saw_untrusted=late), CATALOGUE)["last"].label


def shown(label: Label) -> dict[str, list[str]]:
    return {one.shown: sorted(one.traits) for one in label}


# What a plan says


def test_a_literal_comes_from_the_plan_or_from_the_goal() -> None:
    assert label_of("ada@example.org") == PLAN
    assert label_of({"a": [1, "x"]}) == PLAN
    assert label_of("ada@example.org", goal="Write to ada@example.org.") == GOAL
    assert label_of("x", goal="x") == PLAN  # too short to be found there by anything but chance
    assert label_of("ample", goal="example") == PLAN


def test_what_a_late_plan_says_is_untrusted_unless_the_goal_says_it() -> None:
    assert label_of("eve@example.org", goal="Write to ada@example.org.", late=True) == LATE_PLAN
    assert label_of("ada@example.org", goal="Write to ada@example.org.", late=True) == GOAL
    assert label_of([7], goal="7", late=True) == LATE_PLAN


GOAL_OF_ADDRESSES = (
    "Compare https://docs.company.com/report?of=may with bob@gmail.com.au, (see notes/plan.md). "
    "Is it from ann@example.org? Or from 'mailto:eve@example.org'; or ~kim@example.org!"
)


@pytest.mark.parametrize(
    "text, is_said",
    [
        ("https://docs.company.com/report?of=may", True),
        ("bob@gmail.com.au", True),
        ("notes/plan.md", True),
        ("ann@example.org", True),
        ("Compare", True),
        ("https://docs.company", False),
        ("https://docs.company.com", False),
        ("https://docs.company.com/report", False),
        ("docs.company.com/report?of=may", False),
        ("company.com", False),
        ("bob@gmail.com", False),
        ("gmail.com.au", False),
        ("plan.md", False),
        ("notes", False),
        ("eve@example.org", True),
        ("kim@example.org", False),
    ],
)
def test_a_piece_of_an_address_of_the_goal_is_not_what_the_goal_says(text: str, is_said: bool) -> None:  # noqa: FBT001 - a case
    assert (label_of(text, goal=GOAL_OF_ADDRESSES, late=True) == GOAL) is is_said


@pytest.mark.parametrize(
    "goal, text",
    [
        ("o'brien@example.org", "brien@example.org"),
        *((f"john{sign}doe@example.org", "doe@example.org") for sign in "!$&*{|/=^`~.+_-"),
        *((f"doe@example.org{sign}evil.com", "doe@example.org") for sign in ".-_@/:%,;!|\u0301\u200b"),
        *((f"https://x.org/a{sign}b", "https://x.org/a") for sign in ",;|!$*'~()[]{}<>_-.:@?&=#+\\\u2026"),
        ("https://x.org/a,b=1", "https://x.org/a,b"),
        ("https://x.org/(y)", "https://x.org/"),
        ("https://x.org/(y)", "https://x.org/(y"),
        ("(y)kim@example.org", "y)kim@example.org"),
        ("https://x.org/a\u2026", "https://x.org/a"),
        ("https://x.org/a*", "https://x.org/a"),
        ("https://x.org/a_", "https://x.org/a"),
        ("_bob@example.org", "bob@example.org"),
        ("report.*", "report"),
        ("report.,v", "report"),
        ("**/notes/plan.md", "/notes/plan.md"),
        ("https://x.org/a", "//x.org/a"),
        ("C:\\data\\plan.md", "\\data\\plan.md"),
        ("localhost:8080/admin", "8080/admin"),
        ("kim:eve@example.org", "eve@example.org"),
        ("https://a.org/x[y](eve@example.org)", "eve@example.org"),
        (f"https://{'a' * 300}.org/x!/plan.md", "/plan.md"),
        ("Read https://x.org/a,b", "Read https://x.org/a"),
    ],
)
def test_no_piece_of_an_address_is_what_the_goal_says(goal: str, text: str) -> None:
    assert text in goal
    assert label_of(text, goal=goal, late=True) == LATE_PLAN
    assert label_of(text, goal=f"Look at \u201c{goal}\u201d, please.", late=True) == LATE_PLAN


@pytest.mark.parametrize("text", ["https://a.org/x", "bob@example.org", "notes/plan.md", "o'brien@example.org"])
@pytest.mark.parametrize(
    "around",
    [
        "{}", "{}.", "{}...", "{}?!", "{}: then", "<{}>", "({})", "'{}'", "(see {}).", "`{}`:", "\u201c{}.\u201d",
        "**{}**.", "_{}_", "*{}.*", "**Read {}.**", "**({})**", "[Bob]({})", "[Bob Lee]({})?", "**[Bob](<{}>).**",
        "To:{}", "mailto:{}", "[Bob](mailto:{})", "url:{}", "'mailto:{}',", "no {}x, but {}",
    ],
)  # fmt: skip
def test_a_whole_address_is_what_the_goal_says_whatever_is_around_it(around: str, text: str) -> None:
    assert label_of(text, goal=around.format(text, text), late=True) == GOAL
    assert label_of(text, goal=f"Look at {around.format(text, text)} please", late=True) == GOAL


@pytest.mark.parametrize(
    "text, is_said",
    [("Alice", True), ("the Acme & Sons", True), ("Robert", True), ("cousin", False), ("cousins", False)],
)
def test_words_are_what_the_goal_says_where_they_are_words_of_their_own(text: str, is_said: bool) -> None:  # noqa: FBT001 - a case
    goal = "Ask Alice,Robert of the Acme & Sons' cousins-in-law."
    assert (label_of(text, goal=goal, late=True) == GOAL) is is_said


@pytest.mark.parametrize(
    "value",
    [
        "${now | 'eve@example.org'}", "${now | [@, 'eve@example.org'][1]}", "${now | {eve: @} | keys(@)}",
        "${now}${now}", {"eve": "${now}"}, ["${now | to_string(@)}"],
    ],
)  # fmt: skip
def test_whatever_a_late_plan_makes_of_a_trusted_value_is_its_own_word(value: JsonValue) -> None:
    clock = WorkflowStep("now", "clock", {}, ["now"])
    assert all(one.is_trusted for one in label_of(value, clock))
    assert label_of(value, clock, late=True) >= LATE_PLAN


def test_what_a_late_plan_only_selects_stays_as_trusted_as_it_is() -> None:
    clock = WorkflowStep("now", "clock", {}, ["now"])
    values: list[JsonValue] = ["${now}", "${now.days[?name == 'Monday'] | [0].date}", ["${now.days[*].date}"]]
    for value in values:
        assert all(one.is_trusted for one in label_of(value, clock, late=True))


def test_an_item_of_what_a_late_plan_made_is_its_own_word() -> None:
    clock = WorkflowStep("now", "clock", {}, ["now"])
    for own in ("${now | ['eve']}", "${now | {eve: @} | keys(@)}"):
        each = WorkflowStep("each", "clock", {"of": "${item}"}, ["texts"], foreach=own)
        found = trace(Plan("", [clock, each], saw_untrusted=True), CATALOGUE)["each"]
        assert (found.flows[0].label >= LATE_PLAN, found.control[0].label >= LATE_PLAN) == (True, True)
        assert not all(one.is_trusted for one in label_of("${texts}", clock, each, late=True))


@pytest.mark.parametrize("action", ["people", "copy", "stranger"])
def test_the_word_of_a_late_plan_is_told_whatever_action_gave_the_value(action: str) -> None:
    found = WorkflowStep("find", action, {}, ["person"])
    assert label_of("${person | [mail, 'eve'] | [1]}", found, late=True) >= LATE_PLAN


# What actions give


def test_a_field_is_a_source_of_its_own() -> None:
    assert shown(label_of("${mails[0].body}", READ)) == {"inbox.body": []}
    assert shown(label_of("${mails[0].id}", LIST)) == {"list.id": ["assigned"]}
    assert shown(label_of("${mails[*].sender}", LIST)) == {"list.sender": ["directory"]}
    assert shown(label_of("${mails}", READ)) == {"inbox": []}


def test_a_field_that_only_chooses_counts_as_well_but_is_not_in_the_value() -> None:
    assert shown(label_of("${mails[?subject == 'x'] | [0].id}", LIST)) == {
        "list.subject.()": ["behind"],
        "list.id": ["assigned"],
    }
    each = WorkflowStep("each", "text", {"text": "${item}"}, ["texts"], foreach="${mails[?subject == 'x'].id}")
    (flow,) = trace(Plan("", [LIST, each]), CATALOGUE)["each"].flows
    assert shown(flow.label)["list.subject.()"] == ["behind"]


def test_text_around_a_reference_joins_its_label() -> None:
    assert label_of("Dear ${mails[0].sender}", READ) > PLAN


def test_the_output_of_a_model_over_untrusted_input_is_untrusted() -> None:
    summarize = WorkflowStep("sum", "text", {"text": "${mails[0].body}"}, ["summary"])
    label = label_of("${summary}", READ, summarize)
    assert shown(label)["inbox.body"] == ["reworked"]
    assert not all(one.is_trusted for one in label)
    clock = WorkflowStep("now", "clock", {}, ["now"])
    over_trusted = WorkflowStep("sum", "text", {"text": "${now}"}, ["summary"])
    assert all(one.is_trusted for one in label_of("${summary}", clock, over_trusted))


def test_a_verbatim_copy_is_no_source_of_its_own() -> None:
    copied = WorkflowStep("cut", "copy", {"text": "${mails[0].body}"}, ["part"])
    assert shown(label_of("${part}", READ, copied)) == {"inbox.body": []}


def test_a_copy_out_of_more_than_one_value_is_a_whole_of_none() -> None:
    copied = WorkflowStep("cut", "copy", {"text": "Mail: ${mails[0].body}"}, ["part"])
    assert shown(label_of("${part}", READ, copied))["inbox.body"] == ["reworked"]


def is_whole(value: str, *steps: WorkflowStep, foreach: str | None = None) -> bool:
    last = WorkflowStep("last", "send", {"to": value}, foreach=foreach)
    (flow,) = trace(Plan("", [*steps, last]), CATALOGUE)["last"].flows
    return flow.is_whole and not any("reworked" in one.traits for one in flow.label)


@pytest.mark.parametrize(
    "path, expected",
    [
        ("", True),
        ("[0].sender", True),
        (" | [?body == 'x'] | sort_by(@, &id)[0].sender", True),
        (" | reverse(sort_by(@, &id))[*].sender", True),
        ("[*].[sender, id]", True),
        ("[0].sender | join('', [@, '@corp.example'])", False),
        ("[0].sender | reverse(@)", False),
        ("[*].sender | join(',', @)", False),
        ("[*].{sender: sender}", True),
        ("[0] | keys(@)", True),
        (" | [[0].sender, to_string([0].id)]", False),
    ],
)
def test_what_a_path_makes_of_a_value_is_not_the_whole_of_it(path: str, *, expected: bool) -> None:
    copied = WorkflowStep("cut", "copy", {"text": f"${{mails{path}}}"}, ["part"])
    first = WorkflowStep("cut", "copy", {"text": "${mails[0].sender}"}, ["part"])
    assert is_whole(f"${{mails{path}}}", LIST) is expected
    assert is_whole("${item}", LIST, foreach=f"${{mails{path}}}") is expected
    assert is_whole("${part}", LIST, copied) is expected
    assert is_whole(f"${{part{path}}}", LIST, first) is expected


def test_nothing_of_what_an_entry_was_looked_up_with_is_in_it() -> None:
    found = WorkflowStep("find", "people", {"name": "${mails[0].body}", "from": "${now}"}, ["person"])
    clock = WorkflowStep("now", "clock", {}, ["now"])
    assert shown(label_of("${person.mail}", READ, clock, found)) == {
        "inbox.body": ["behind"],
        "clock": ["trusted"],
        "people.mail": ["directory"],
    }
    text = WorkflowStep("sum", "text", {"text": "${person.mail}"}, ["summary"])
    assert shown(label_of("${summary}", READ, clock, found, text))["people.mail"] == ["directory", "reworked"]
    assert shown(label_of("${summary}", READ, clock, found, text))["inbox.body"] == ["behind"]


def test_nothing_of_the_content_is_in_the_id_of_what_was_made_of_it() -> None:
    make = WorkflowStep("make", "make", {"to": "${mails[0].sender}", "text": "${mails[0].body}"}, ["made"])
    assert shown(label_of("${made[0].id}", LIST, make)) == {
        "list.sender": ["directory"],
        "list.body": ["behind"],
        "make.id": ["assigned", "created"],
    }
    # What an effect lets in may be what it was given.
    assert shown(label_of("${made[0].shared}", LIST, make))["list.sender"] == ["directory", "reworked"]
    assert shown(label_of("${made[0].text}", LIST, make))["list.body"] == ["reworked"]


def test_what_an_effect_gives_was_created_by_the_run() -> None:
    first = WorkflowStep("first", "send", {"to": "a"}, ["sent"])
    assert shown(label_of("${sent.id}", first))["send.id"] == ["created"]


@pytest.mark.parametrize("path", ["", ".login", ".login.password", ".login.password.x"])
def test_what_holds_a_secret_is_one(path: str) -> None:
    step = WorkflowStep("open", "vault", {}, ["login", "other"])
    path = path.removeprefix(".login")
    assert all("secret" in one.traits for one in label_of(f"${{login{path}}}", step) if one.kind == "output")
    assert all("secret" not in one.traits for one in label_of("${other}", step))


@pytest.mark.parametrize(
    "path",
    [
        " | to_string(@)", " | values(login)[0]", " | {a: @}.a.login.password", " | map(&password, [login])",
        " | merge(login).password", " | login && @", "[*].to_string(@) | join('', @)", ".*.*.x",
    ],
)  # fmt: skip
def test_what_a_path_makes_of_a_secret_is_one(path: str) -> None:
    step = WorkflowStep("open", "vault", {}, ["vault"])
    assert any("secret" in one.traits for one in label_of(f"${{vault{path}}}", step))
    assert not any("secret" in one.traits for one in label_of("${vault | to_string(login.user)}", step))


@pytest.mark.parametrize("path", ["[0].{sender: @}.sender.body", "[0].{id: body}.id", " | [0] | {id: {id: @}}.id.body"])
def test_a_name_that_a_path_gives_is_no_declared_field(path: str) -> None:
    assert all(traits == [] for traits in shown(label_of(f"${{mails{path}}}", LIST)).values())


def test_conditions_and_lists_of_a_step_are_in_what_it_gives() -> None:
    for control in ({"when": "${mails[0].urgent}"}, {"foreach": "${mails[*].urgent}"}):
        step = WorkflowStep("now", "clock", {}, ["now"], **control)  # type: ignore[arg-type]
        assert "inbox.urgent" in shown(label_of("${now}", READ, step))


def test_whether_a_step_is_needed_is_said_by_what_it_waits_for_and_how_often_by_its_own_list() -> None:
    mails, times = WorkflowStep("read", "inbox", {}, ["mails"]), WorkflowStep("clock", "clock", {}, ["times"])
    steps = [
        WorkflowStep("each", "clock", {}, ["e"], foreach="${mails}"),
        WorkflowStep("if", "clock", {}, ["i"], when="${mails[0].urgent}"),
        WorkflowStep("uses", "clock", {"of": "${i}"}, ["u"]),
        WorkflowStep("later", "clock", {}, ["l"], after=["uses"]),
        WorkflowStep("sure", "clock", {}, when="${times[0].late}", foreach="${times}", after=["each"]),
    ]
    told = trace(Plan("", [mails, times, *steps]), CATALOGUE)
    assert {
        name: {what: [*shown(label)] for what, label in one.untrusted_control.items()} for name, one in told.items()
    } == {
        "read": {},
        "clock": {},
        "each": {"foreach": ["inbox"]},
        "if": {"when": ["inbox.urgent"]},
        "uses": {"when": ["inbox.urgent"]},
        "later": {"when": ["inbox.urgent"]},
        "sure": {},
    }
    late = trace(Plan("", [times, replace(steps[-1], after=())], saw_untrusted=True), CATALOGUE)["sure"]
    assert late.untrusted_control == {}


def test_an_item_comes_from_the_list_that_it_is_in() -> None:
    step = WorkflowStep("each", "text", {"text": "${item.body}"}, ["texts"], foreach="${mails}")
    (flow,) = trace(Plan("", [READ, step]), CATALOGUE)["each"].flows
    assert set(shown(flow.label)) == {"inbox.body"}


def test_what_nobody_knows_is_untrusted() -> None:
    assert label_of("${other}") == UNKNOWN
    stranger = WorkflowStep("ask", "stranger", {}, ["answer"])
    assert label_of("${answer}", stranger) == UNKNOWN


def test_a_schema_tells_that_an_output_is_no_part_of_the_result() -> None:
    last = WorkflowStep("last", "send", {"to": "${mails[0].id}"})
    (flow,) = trace(Plan("", [LIST, last]), CATALOGUE)["last"].flows
    assert flow.is_certain
    (flow,) = trace(Plan("", [READ, last]), CATALOGUE)["last"].flows
    assert (flow.is_certain, {one.traits for one in flow.label}) == (False, {frozenset(), frozenset({"assigned"})})
    (flow,) = trace(Plan("", [READ, replace(last, inputs={"to": "${mails[0].body}"})]), CATALOGUE)["last"].flows
    assert flow.is_certain


def test_people_are_told_where_an_argument_comes_from() -> None:
    step = WorkflowStep("last", "send", {"to": "${mails.a}, ${mails.b}", "text": "hi"})
    scope = {"mails": Origin(INBOX, PLAN)}
    found = provenance_of(step, Plan("", [step]), scope, {})
    assert found.sentences(["to"], []) == [
        "This `to` comes from `inbox.a`, `inbox.b`, which are untrusted.",
    ]
    assert found.to_json() == {
        "to": [{"source": "inbox.a", "trusted": False}, {"source": "inbox.b", "trusted": False}],
    }
    assert (found.is_plain, Provenance(()).is_plain) == (False, True)


def test_of_very_many_sources_the_untrusted_ones_are_told_first() -> None:
    step = WorkflowStep("last", "send", {"to": " ".join(f"${{clocks.t{at}}} ${{mails.m{at}}}" for at in range(15))})
    scope = {"clocks": Origin(CLOCK, PLAN), "mails": Origin(INBOX, PLAN)}
    found = provenance_of(step, Plan("", [step]), scope, {})
    told = cast("list[dict[str, object]]", found.to_json()["to"])
    assert [one["trusted"] for one in told] == [False] * 15 + [True] * 6
    assert told[-1] == {"source": "10 more", "trusted": True}


# Laws, on plans of any shape that are really run


class _Allowing:
    digest = "policy"

    def decide(self, request: ActionRequest, *, approved: bool = False) -> Decision:  # noqa: ARG002
        return Allow()

    def decide_early(self, step: WorkflowStep, action: ActionSpec, provenance: Provenance | None) -> StaticDecision:
        raise NotImplementedError


FIELDS = ("id", "body", "o0")


def _actions(seen: list[ActionCall]) -> dict[str, Action]:
    """Actions whose every text says where it comes from, and that give back what they were given."""

    def acting(name: str, **notes: Any) -> Action:
        async def run(call: ActionCall) -> object:
            seen.append(call)
            fresh = {field: f"<{name}.{field}>" for field in FIELDS}
            echo = "".join(re.findall(r"<[^<>]*>", json.dumps(call.inputs)))
            if name == "copy":
                return dict.fromkeys(call.step.outputs, echo) if len(call.step.outputs) > 1 else echo
            bare = {**fresh, "list": [{**fresh, "echo": echo}], "yes": True}
            is_bare = name == "bare" and len(call.step.outputs) == 1
            return bare if is_bare else {**bare, **dict.fromkeys(call.step.outputs, fresh)}

        return Action(name=name, annotations=Annotations(**{"read_only": True, "open_world": False, **notes}), run=run)

    known = (
        acting("plain", trusted_fields=("id", "list.id")),
        acting("sure", trusted=True),
        acting("write", read_only=False, destructive=False, trusted_fields=("id", "*.id"), arguments={"y": "content"}),
        acting("look", directory_fields=("id", "*.id")),
        acting("copy", trusted=True, verbatim=True, arguments={"x": "content"}),
        acting("bare"),
    )
    return {one.name: one for one in known}


OWN = (" | join('', [id, 'own'])", " | join('', [@, 'own'])")


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    steps: list[WorkflowStep] = []
    for at in range(draw(st.integers(1, 6))):
        earlier = [name for step in steps for name in step.outputs]
        path = st.sampled_from(["", ".id", ".body", ".o0", ".list[?body].id", " | keys(@)", " | @.body || @.id", *OWN])
        reference = st.builds("${{{}{}}}".format, st.sampled_from(earlier), path) if earlier else st.just("plain")
        text = st.one_of(st.just("literal"), reference, st.builds("a {} b".format, reference))
        inputs = draw(st.dictionaries(st.sampled_from(["x", "y", "id"]), text | st.lists(text, max_size=2), max_size=2))
        outputs = [f"o{at}"] if draw(st.booleans()) else [f"o{at}", f"p{at}"]
        control: dict[str, Any] = {}
        if earlier and draw(st.booleans()):
            control = {"foreach": f"${{{draw(st.sampled_from(earlier))} | [@, @]}}"}
            inputs["x"] = draw(st.sampled_from(["${item}", "${item.id}"]))
        if earlier and draw(st.booleans()):
            control["when"] = f"${{{draw(st.sampled_from(earlier))} | type(@) != 'never'}}"
        if steps and draw(st.booleans()):
            control["after"] = [draw(st.sampled_from(steps)).name]
        action = draw(st.sampled_from(["plain", "sure", "write", "bare", "look", "copy"]))
        steps.append(WorkflowStep(f"s{at}", action, inputs, outputs, **control))
    return Plan("g", steps, saw_untrusted=draw(st.booleans()))


async def run(plan: Plan, before: Sequence[Recorded] = ()) -> tuple[list[ActionCall], Dataflow]:
    seen: list[ActionCall] = []
    actions = _actions(seen)
    log = memory_log(*before)
    flow = Dataflow(
        plan,
        point=ExecutionPoint(_Allowing()),
        registry=actions,
        run=RunPass(
            run_id="r", plan="p", asked_under="p", policy="policy", limits=Limits(), emit=lambda _: None, log=log
        ),
        starts=100,
        choose=None,
    )
    await flow.run_all(20)
    await log.flush()
    return seen, flow


@given(plans())
@settings(max_examples=150, deadline=None)
async def test_a_run_makes_no_label_larger_than_the_plan_told(plan: Plan) -> None:
    calls, _ = await run(plan)
    told = trace(plan, _actions([]))
    assert calls
    for call in calls:
        assert call.provenance is not None
        for mine, foreseen in zip(call.provenance.flows, told[call.step.name].flows, strict=True):
            assert mine.label <= foreseen.label
            assert not foreseen.is_certain or {s.traits for s in mine.label} == {s.traits for s in foreseen.label}
        planned = told[call.step.name]
        assert decides(call.provenance) <= decides(planned)
        assert {*call.provenance.untrusted_control} <= {*planned.untrusted_control}
        assert not planned.is_certain or call.provenance.untrusted_control.keys() == planned.untrusted_control.keys()


def decides(call: Provenance) -> Label:
    return call.condition.union(*(flow.label for flow in call.control))


@given(plans())
@settings(max_examples=150, deadline=None)
async def test_no_operation_loses_a_label(plan: Plan) -> None:
    """Whatever text of an action stands in an argument, the argument's label names that action and field."""
    calls, _ = await run(plan)
    for call in calls:
        assert call.provenance is not None
        for argument, value in call.inputs.items():
            label = frozenset[Any]().union(*(f.label for f in call.provenance.flows if f.argument == argument))
            for action, field in re.findall(r"<(\w+)\.(\w+)>", json.dumps(value)):
                named = [one.field for one in label if one.action == action]
                assert any(_takes_in(one, field) for one in named), (call.step, argument, value, label)


def _takes_in(found: str, field: str) -> bool:
    """Tell whether a field that a label names takes in one that a text came from, below an output's own name or not."""
    names = [name for name in found.split(".") if name not in ("", "()")]
    return not names or field in names or names[-1][0] in "op" or is_below(field, found)


VOUCHED = {
    "plain": {"system_assigned"},
    "look": {"people_directories"},
    "write": {"system_assigned", "created_by_run"},
}
"""What must be switched on for the field `id` of an action to steer an effect."""


@given(plans(), st.just({*REFINEMENTS}) | st.sets(st.sampled_from(REFINEMENTS)))
@settings(max_examples=200, deadline=None)
async def test_what_a_stranger_wrote_steers_no_effect_unasked(plan: Plan, refinements: set[str]) -> None:
    """Whatever is switched on, what steers an effect unasked is from a field somebody named, with nothing added."""
    calls, _ = await run(replace(plan, saw_untrusted=False))
    for call in calls:
        spec = _actions([])[call.action]
        request = ActionRequest(action=spec, inputs=dict(call.inputs), provenance=call.provenance)
        if spec.has_effect and _engine(frozenset(refinements)).decide(request).name == "Allow":
            steering = {name: value for name, value in call.inputs.items() if spec.class_of(name) != "content"}
            for action, field in re.findall(r"<(\w+)\.(\w+)>", json.dumps(steering)):
                assert action == "sure" or (field == "id" and VOUCHED[action] & refinements), (call, steering)
                assert action == "sure" or not re.search(rf"<{action}\.{field}>own", json.dumps(steering)), call


@cache
def _engine(refinements: frozenset[str]) -> CedarEngine:
    return CedarEngine(_actions([]), ["default", *sorted(refinements)])


own_steps = st.sampled_from(
    [
        ".id", ".*", "[0]", "[*]", "[]", "[?id != 'own']", "[?@ != 'own']", ".list", " | [@]", " | [@, 'own']",
        " | 'own'", ' | `["own"]`', " | {own: @}", " | keys(@)", " | values(@)", " | to_string(@)",
        " | join('', [id, 'own'])", " | (id && 'own')", " | zzz || 'own'", " | not_null(zzz, `7`)",
        " | map(&'own', [@])", " | merge(@, {own: 'own'})", " | sort_by([@, {id: 'own'}], &id)",
    ],
)  # fmt: skip
own_paths = st.lists(own_steps, max_size=3).map("".join)


@given(own_paths, own_paths, st.sampled_from(["plain", "sure", "look", "copy"]))
@settings(max_examples=300, deadline=None)
async def test_a_late_plan_gets_no_word_of_its_own_in_as_a_trusted_one(path: str, inner: str, action: str) -> None:
    """What no action gave makes an argument untrusted, whatever JMESPath put it there, through an item or not."""
    read = WorkflowStep("read", "sure", {}, ["o0"])
    own = WorkflowStep("own", action, {"x": f"${{o0{path}{inner}}}", "y": [f"${{o0{path}}}"]}, ["o1"])
    each = WorkflowStep("each", "sure", {"x": f"${{item{inner}}}"}, ["o2"], foreach=f"${{o0{path}}}")
    calls, flow = await run(Plan("g", [read, own, each], saw_untrusted=True))
    given = _texts_in(flow.outcomes["read"].result)
    for call in calls[1:]:
        assert call.provenance is not None
        for one in call.provenance.flows:
            assert not all(source.is_trusted for source in one.label) or _texts_in(call.inputs[one.argument]) <= given


def _texts_in(value: JsonValue) -> set[str]:
    if isinstance(value, dict):
        return {*value, *(text for inner in value.values() for text in _texts_in(inner))}
    return {text for inner in value for text in _texts_in(inner)} if isinstance(value, list) else {json.dumps(value)}


@given(plans())
@settings(max_examples=100, deadline=None)
async def test_a_run_that_is_continued_has_the_same_labels(plan: Plan) -> None:
    calls, flow = await run(plan)
    half = list(flow.outcomes)[: len(flow.outcomes) // 2]
    before = [
        recorded
        for name in half
        for recorded in (
            Recorded(intent=Intent(place=Place("p", name), attempt=0), outcome=replace(flow.outcomes[name], items=())),
            *(
                Recorded(intent=Intent(place=Place("p", name, at), attempt=0), outcome=item)
                for at, item in enumerate(flow.outcomes[name].items)
            ),
        )
    ]
    again, _ = await run(plan, before)
    first = {(call.step.name, call.item): call.provenance for call in calls}
    assert all(call.provenance == first[call.step.name, call.item] for call in again)


async def test_what_was_written_down_without_labels_is_untrusted() -> None:
    plan = Plan("g", [WorkflowStep("a", "sure", {}, ["x"]), WorkflowStep("b", "bare", {"to": "${x}"})])
    old = Recorded(
        intent=Intent(place=Place("p", "a"), attempt=0), outcome=Outcome(status=OutcomeStatus.SUCCEEDED, result="1")
    )
    (call,), flow = await run(plan, [old])
    assert call.provenance is not None
    assert call.provenance.label >= UNKNOWN
    assert marks(flow.label_of("a", flow.outcomes["a"])) == {"untrusted": True}
    (_, call), flow = await run(plan)
    assert call.provenance is not None
    assert call.provenance.label == frozenset({output_source(_actions([])["sure"], "", "x")})
    assert marks(flow.label_of("a", flow.outcomes["a"])) == {"untrusted": False}
