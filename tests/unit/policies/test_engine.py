import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentic_workflows.errors import PolicyError
from agentic_workflows.graph.catalogue import GROUPS, ActionSpec, Annotations, Catalogue
from agentic_workflows.graph.plan import WorkflowStep
from agentic_workflows.graph.values import JsonObject, JsonValue
from agentic_workflows.policies.decision import (
    ActionRequest,
    Allow,
    Ask,
    AtRunTime,
    Decision,
    Deny,
    Rule,
    StaticDecision,
    to_json,
)
from agentic_workflows.policies.engine import NO_RULE, CedarEngine
from agentic_workflows.policies.idle import idle_rules
from agentic_workflows.policies.policy import MEMO_TEXT

PERMIT = '@id("all") permit(principal, action, resource);'
ALL = Rule(id="all", place="P:1")

WRITE = ActionSpec(
    name="write",
    input_schema={
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "text": {"type": "string"},
            "size": {"type": "integer"},
            "overwrite": {"type": "boolean"},
        },
        "required": ["path"],
        "additionalProperties": False,
    },
    annotations=Annotations(destructive=False, open_world=False, arguments={"text": "content"}),
)
READ = ActionSpec(
    name="read",
    input_schema={"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    annotations=Annotations(read_only=True, open_world=False),
)
SEND = ActionSpec(name="send", annotations=Annotations(destructive=False))
CATALOGUE: Catalogue = {spec.name: spec for spec in (WRITE, READ, SEND)}


def engine_of(*texts: str, catalogue: Catalogue = CATALOGUE) -> CedarEngine:
    """An engine under the policies of one file, which is called P."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("P").write_text("\n".join(texts), encoding="utf-8")
        return CedarEngine(catalogue, [Path("P")])


def write(**inputs: JsonValue) -> ActionRequest:
    return ActionRequest(action=WRITE, inputs={"path": "a.txt", **inputs})


def reason(decision: StaticDecision) -> str:
    assert isinstance(decision, Deny | Ask)
    return decision.reason


# Allow, Ask, Deny


def test_what_a_permit_matches_is_allowed() -> None:
    assert engine_of(PERMIT).decide(write()) == Allow(rules=(ALL,))


def test_what_no_permit_matches_is_denied() -> None:
    engine = engine_of('permit(principal, action == Action::"read", resource);')
    assert engine.decide(write()) == Deny(reason=NO_RULE)
    assert engine.decide(write(), approved=True) == Deny(reason=NO_RULE)


def test_what_is_forbidden_unless_approved_is_asked() -> None:
    engine = engine_of(
        PERMIT,
        '@id("b") @reason("B.") forbid(principal, action in Action::"effect", resource) unless { context.approved };',
        "forbid(principal, action, resource) unless { context.approved };",
    )
    rules = (Rule(id="b", reason="B.", place="P:2"), Rule(id="P:3", place="P:3"))
    ask = Ask(rules=rules, reason="B. The rule P:3 asks for a person's approval.")
    assert engine.decide(write()) == ask
    assert engine.decide(write(), approved=True) == Allow(rules=rules)


def test_what_is_permitted_only_when_approved_is_asked() -> None:
    engine = engine_of('@id("a") @reason("A.") permit(principal, action, resource) when { context.approved };')
    assert engine.decide(write()) == Ask(rules=(Rule(id="a", reason="A.", place="P:1"),), reason="A.")


def test_what_is_forbidden_is_denied_whoever_approves() -> None:
    engine = engine_of(
        PERMIT,
        '@id("ask") forbid(principal, action, resource) unless { context.approved };',
        '@id("never") forbid(principal, action == Action::"write", resource);',
    )
    deny = Deny(rules=(Rule(id="never", place="P:3"),), reason="The rule never forbids it.")
    assert engine.decide(write()) == deny
    assert engine.decide(write(), approved=True) == deny


def test_groups_and_arguments_reach_the_rules() -> None:
    engine = engine_of(
        PERMIT,
        'forbid(principal, action in Action::"effect", resource)'
        ' when { context.inputs has path && context.inputs.path like "etc/*" };',
        'forbid(principal, action == Action::"write", resource)'
        " when { context.inputs has text && context.inputs.text.size > 3 };",
        'forbid(principal, action == Action::"send", resource) when { context.inputs.json like "*evil*" };',
    )
    assert engine.decide(write()).name == "Allow"
    assert engine.decide(write(path="etc/passwd")).name == "Deny"
    assert engine.decide(ActionRequest(action=READ, inputs={"path": "etc/passwd"})).name == "Allow"
    assert engine.decide(write(text="abcd")).name == "Deny"
    assert engine.decide(ActionRequest(action=SEND, inputs={"to": ["evil"]})).name == "Deny"


def test_the_count_is_read_where_a_rule_reads_it() -> None:
    rated = engine_of(PERMIT, 'forbid(principal, action == Action::"write", resource) when { context.count >= 2 };')
    names = [rated.decide(ActionRequest(action=WRITE, inputs={"path": "a"}, count=count)).name for count in range(4)]
    assert names == ["Allow", "Allow", "Deny", "Deny"]


# Fail closed


PAY = ActionSpec(
    name="pay",
    input_schema={
        "type": "object",
        "properties": {"to": {"type": "string"}, "amount": {"type": ["integer", "null"], "default": 5000}},
        "required": ["to"],
    },
)


@pytest.mark.parametrize(
    "inputs, expected",
    [({}, "Ask"), ({"amount": 5000}, "Ask"), ({"amount": 100}, "Allow"), ({"amount": None}, "Allow")],
)
def test_a_rule_reads_the_default_of_an_argument_that_is_left_out(inputs: JsonObject, expected: str) -> None:
    engine = engine_of(
        PERMIT,
        'forbid(principal, action == Action::"pay", resource)'
        " when { context.inputs has amount && context.inputs.amount > 100 } unless { context.approved };",
        catalogue={"pay": PAY},
    )
    whole: JsonObject = {"to": "bob", **inputs}
    assert engine.decide(ActionRequest(action=PAY, inputs=whole)).name == expected
    assert early(engine, PAY, inputs=whole).name == expected


def test_the_digest_names_the_defaults() -> None:
    properties: JsonObject = {"to": {"type": "string"}, "amount": {"type": ["integer", "null"], "default": 1}}
    other = replace(PAY, input_schema={**PAY.input_schema, "properties": properties})
    digests = {engine_of(PERMIT, catalogue={"pay": spec}).digest for spec in (PAY, replace(PAY), other)}
    assert len(digests) == 2


def test_a_default_is_nobodys_untrusted_value() -> None:
    engine = engine_of(
        PERMIT,
        'forbid(principal, action, resource) when { context.untrusted.contains("amount") };',
        catalogue={"pay": PAY},
    )
    assert engine.decide(ActionRequest(action=PAY, inputs={"to": "bob"})).name == "Allow"
    assert engine.decide(ActionRequest(action=PAY, inputs={"to": "bob", "amount": 5000})).name == "Deny"


def test_an_action_that_is_not_in_the_catalogue_is_denied() -> None:
    stranger = ActionSpec(name="stranger", annotations=Annotations(read_only=True, open_world=False))
    decision = engine_of(PERMIT).decide(ActionRequest(action=stranger, inputs={}), approved=True)
    assert decision == Deny(
        reason="It cannot be decided, so it is denied: the action 'stranger' is not in the catalogue.",
        quotes_inputs=True,
    )


def test_a_request_cannot_bring_its_own_declaration() -> None:
    engine = engine_of(PERMIT, 'forbid(principal, action in Action::"effect", resource);')
    harmless = ActionSpec(name="write", undeclared=True, annotations=Annotations(read_only=True))
    assert engine.decide(ActionRequest(action=harmless, inputs={"path": "a"})).name == "Deny"


@pytest.mark.parametrize(
    "inputs, message",
    [
        ({}, "inputs.path is missing"),
        ({"path": 1}, "inputs.path is not the String that policies know it as"),
        ({"path": "a", "mode": "w"}, "inputs.mode is not in the action's input schema"),
        ({"path": "\ud800"}, "surrogates not allowed"),
        ({"path": "a", "size": 2**70}, "is not the Long that policies know it as"),
        ({"path": "a", "text": object()}, "is not JSON serializable"),
        ({"path": "a", "text": float("nan")}, "not JSON compliant"),
    ],
)
def test_a_malformed_request_is_denied(inputs: dict[str, object], message: str) -> None:
    request = ActionRequest(action=WRITE, inputs=cast("JsonObject", inputs))
    assert message in reason(engine_of(PERMIT).decide(request, approved=True))


def test_a_count_that_cedar_refuses_is_denied() -> None:
    engine = engine_of(PERMIT, "forbid(principal, action, resource) when { context.count > 5 };")
    request = ActionRequest(action=WRITE, inputs={"path": "a"}, count=2**63)
    assert reason(engine.decide(request)).startswith("It cannot be decided, so it is denied: failed to build request")


def test_a_rule_that_fails_while_it_is_asked_denies() -> None:
    engine = engine_of(
        PERMIT,
        "forbid(principal, action, resource) when { context.count + 9223372036854775807 == 0 };",
    )
    decision = engine.decide(ActionRequest(action=WRITE, inputs={"path": "a"}, count=1), approved=True)
    assert "integer overflow" in reason(decision)


def test_endless_nesting_is_denied() -> None:
    deep: JsonValue = []
    for _ in range(10_000):
        deep = [deep]
    decision = engine_of(PERMIT).decide(ActionRequest(action=SEND, inputs={"x": deep}))
    assert reason(decision).startswith("It cannot be decided")


# Undeclared actions


def test_an_undeclared_action_is_in_its_group_with_json_inputs() -> None:
    engine = engine_of(
        PERMIT,
        '@id("u") forbid(principal, action in Action::"undeclared", resource)'
        ' when { context.inputs.json like "*x*" } unless { context.approved };',
    )
    for name in ("send_email", 'odd "name\n', ""):
        spec = ActionSpec(name=name, undeclared=True)
        assert engine.decide(ActionRequest(action=spec, inputs={"to": "y"})).name == "Allow"
        assert engine.decide(ActionRequest(action=spec, inputs={"to": "x"})).name == "Ask"


def test_an_undeclared_action_is_an_effect_whatever_it_says() -> None:
    engine = engine_of(PERMIT, 'forbid(principal, action in Action::"destructive", resource);')
    spec = ActionSpec(name="look", undeclared=True, annotations=Annotations(read_only=True))
    assert engine.decide(ActionRequest(action=spec, inputs={})).name == "Deny"


@pytest.mark.parametrize("name", GROUPS)
def test_the_name_of_a_group_is_no_action(name: str) -> None:
    decision = engine_of(PERMIT).decide(ActionRequest(action=ActionSpec(name=name, undeclared=True), inputs={}))
    assert "is the name of a policy group" in reason(decision)
    with pytest.raises(PolicyError, match="has the name of a policy group"):
        CedarEngine({name: ActionSpec(name=name)})


# Loading


@pytest.mark.parametrize(
    "rule, message",
    [
        (
            '@id("x") forbid(principal, action == Action::"write", resource) when { context.inputs.overwrite };',
            (
                "P:2: the rule 'x' does not fit the actions: unable to guarantee safety of access to optional attribute"
                ' `inputs.overwrite` in context for Action::"write". Ask for it first: context.inputs has overwrite &&'
            ),
        ),
        (
            'forbid(principal, action == Action::"wriet", resource);',
            (
                "P:2: the rule 'P:2' does not fit the actions: unrecognized action `Action::\"wriet\"`."
                " Did you mean 'write'?"
            ),
        ),
        ('forbid(principal, action in Action::"zzz", resource);', "Known actions and groups: delete_all"),
        ('forbid(principal, action, resource) when { action == Action::"wriet" };', "Did you mean 'write'?"),
        (
            'forbid(principal, action, resource) when { context.inputs.path == "a" };',
            "attribute `inputs.path` in context for Action::",
        ),
        (
            (
                'forbid(principal, action == Action::"write", resource)'
                ' when { context.inputs has pth && context.inputs.pth == "a" };'
            ),
            "P:2: the rule 'P:2' does not fit the actions: write never has an argument 'pth'. Did you mean 'path'?",
        ),
        (
            'forbid(principal, action == Action::"send", resource) when { context.inputs has recipient };',
            "send never has an argument 'recipient'. Known arguments: json.",
        ),
        ("forbid(principal, action, resource) when { context has aproved };", "Did you mean 'approved'?"),
        (
            "forbid(principal, action, resource) when { context.aproved };",
            "The context has: after_untrusted, approved,",
        ),
        ("forbid(principal is User, action, resource);", "unrecognized entity type `User`."),
        ('forbid(principal, action, resource) when { context.count == "a" };', "What a rule may read is said"),
    ],
)
def test_a_rule_that_fits_no_action_does_not_load(rule: str, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        engine_of(PERMIT, rule)
    assert message in str(caught.value)


ALL_ACTIONS = "principal, action, resource"
ON_WRITE = 'principal, action == Action::"write", resource'


@pytest.mark.parametrize(
    "scope, condition, message",
    [
        (ALL_ACTIONS, 'context.untrusted_control.contains("if")', "context.untrusted_control never has 'if'."),
        (ALL_ACTIONS, 'context.untrusted_classes.contains("targets")', "Did you mean 'target'?"),
        (
            ALL_ACTIONS,
            '!context.secret_classes.containsAny(["value", "text"])',
            "context.secret_classes never has 'text'.",
        ),
        (
            ALL_ACTIONS,
            '["iff", "when"].containsAny(context.untrusted_control)',
            "context.untrusted_control never has 'iff'.",
        ),
        (
            ON_WRITE,
            'context.untrusted.containsAll(["paht"])',
            "context.untrusted never has 'paht'. Did you mean 'path'?",
        ),
        (ON_WRITE, 'context.secret.contains("to")', "It has: overwrite, path, size, text."),
    ],
)
def test_a_rule_that_looks_for_a_name_that_is_never_there_does_not_load(
    scope: str, condition: str, message: str
) -> None:
    with pytest.raises(PolicyError, match=f"P:2: the rule 'P:2' does not fit the actions: .*{re.escape(message)}"):
        engine_of(PERMIT, f"forbid({scope}) when {{ {condition} }};")


@pytest.mark.parametrize(
    "scope, condition",
    [
        (ALL_ACTIONS, '["foreach", "when"].containsAll(context.untrusted_control)'),
        (ALL_ACTIONS, '["foreach", "when"].containsAny(context.untrusted_control)'),
        (ALL_ACTIONS, 'context.untrusted_classes.containsAny(["target", "value", "secret", "param", "content"])'),
        (ALL_ACTIONS, "context.untrusted_classes.containsAny(context.secret_classes)"),
        (ALL_ACTIONS, 'context.untrusted.contains("anything")'),
        (ON_WRITE, 'context.untrusted.contains("path") && context.secret.containsAny(["text"])'),
        ('principal, action == Action::"send", resource', 'context.untrusted.contains("anything")'),
        ('principal, action in Action::"effect", resource', 'context.untrusted.contains("anything")'),
    ],
)
def test_a_rule_that_looks_for_a_name_that_may_be_there_loads(scope: str, condition: str) -> None:
    assert len(engine_of(PERMIT, f"forbid({scope}) when {{ {condition} }};").policies) == 2


def test_every_rule_that_does_not_load_is_named_at_once() -> None:
    with pytest.raises(PolicyError) as caught:
        engine_of(PERMIT, *['forbid(principal, action == Action::"a", resource);'] * 3)
    assert [line.split(":")[1] for line in str(caught.value).splitlines()] == ["2", "3", "4"]


def test_a_rule_about_a_group_loads_without_actions_in_it() -> None:
    rules = [f'forbid(principal, action in Action::"{group}", resource);' for group in GROUPS]
    guarded = 'forbid(principal, action, resource) when { context.inputs has path && context.inputs.path == "a" };'
    assert len(engine_of(PERMIT, *rules, guarded, catalogue={}).policies) == len(GROUPS) + 2


def test_actions_that_give_no_schema_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentic_workflows.policies.engine.cedar_schema", lambda _: {"": {}})
    with pytest.raises(PolicyError, match="The actions give no Cedar schema"):
        CedarEngine({})


def test_the_digest_names_policies_and_actions() -> None:
    one = engine_of(PERMIT)
    assert one.digest == engine_of(f"// a comment\n{PERMIT}").digest
    others = [engine_of(PERMIT, "forbid(principal, action, resource) when { false };"), engine_of(PERMIT, catalogue={})]
    assert len({one.digest, *(other.digest for other in others)}) == 3


# Memory


def test_equal_requests_are_decided_once() -> None:
    engine = engine_of(PERMIT)
    for count in range(3):
        engine.decide(ActionRequest(action=WRITE, inputs={"path": "a", "text": "b"}, count=count))
    assert engine._memo.cache_info().currsize == 1


def test_requests_that_no_rule_can_tell_apart_are_decided_once() -> None:
    engine = engine_of(
        PERMIT,
        "forbid(principal, action, resource) when { context.overwrites };",
        'forbid(principal, action == Action::"write", resource) when { context.inputs.path like "etc/*" };',
    )
    names = [engine.decide(write(path=path, text=path)).name for path in ("a", "etc/b", "a", "etc/c" * MEMO_TEXT)]
    names += [engine.decide(ActionRequest(action=READ, inputs={"path": path})).name for path in ("a", "etc/b")]
    assert names == ["Allow", "Deny", "Allow", "Deny", "Allow", "Allow"]
    assert engine._memo.cache_info().currsize == 3


def test_a_request_that_does_not_fit_is_denied_also_where_no_rule_reads_the_difference() -> None:
    engine = engine_of(PERMIT)
    names = [engine.decide(write(**more)).name for more in ({}, {"stranger": 1}, {"path": 7})]
    assert names == ["Allow", "Deny", "Deny"]


def test_the_count_is_part_of_the_request_only_for_rules_that_may_read_it() -> None:
    engine = engine_of(PERMIT, 'forbid(principal, action == Action::"read", resource) when { context.count > 9 };')
    for count in range(3):
        engine.decide(ActionRequest(action=WRITE, inputs={"path": "a"}, count=count))
        engine.decide(ActionRequest(action=READ, inputs={"path": "a"}, count=count))
    assert engine._memo.cache_info().currsize == 4  # one of WRITE, three of READ


# Before the run


def early(engine: CedarEngine, spec: ActionSpec = WRITE, **fields: object) -> StaticDecision:
    step = WorkflowStep("s", spec.name, cast("JsonObject", fields.pop("inputs", {"path": "${x}"})), **fields)  # type: ignore[arg-type]
    return engine.decide_early(step, spec, None)


REVIEW = (
    '@id("r") @reason("R.") forbid(principal, action, resource)'
    " when { context.human_review_required } unless { context.approved };"
)


def test_a_step_of_literals_is_decided_early() -> None:
    engine = engine_of(PERMIT, REVIEW)
    assert early(engine, inputs={"path": "a"}) == Allow(rules=(ALL,))
    assert early(engine, inputs={"path": "a"}, human_review_required=True).name == "Ask"
    assert "inputs.path is missing" in reason(early(engine, inputs={}))


def test_an_escaped_reference_is_decided_as_the_text_that_it_becomes() -> None:
    engine = engine_of(
        PERMIT, 'forbid(principal, action == Action::"write", resource) when { context.inputs.path == "${x}" };'
    )
    assert early(engine, inputs={"path": "$${x}"}).name == "Deny"


def test_a_step_with_references_shows_what_is_certain() -> None:
    engine = engine_of(PERMIT, REVIEW, 'forbid(principal, action == Action::"send", resource);')
    assert early(engine) == AtRunTime(at_least=Allow(rules=(ALL,)))
    asked = Ask(rules=(Rule(id="r", reason="R.", place="P:2"),), reason="R.")
    assert early(engine, human_review_required=True) == AtRunTime(at_least=asked)
    assert early(engine, SEND).name == "Deny"
    assert to_json(early(engine))["at_least"] == to_json(Allow(rules=(ALL,)))


def test_a_foreach_step_is_decided_at_run_time() -> None:
    assert early(engine_of(PERMIT), inputs={"path": "a"}, foreach="${x}").name == "At run time"


def test_rules_about_values_are_not_certain_before_the_values_exist() -> None:
    engine = engine_of(
        'permit(principal, action == Action::"write", resource) when { context.inputs.path == "a" };',
        'forbid(principal, action == Action::"write", resource) when { context.inputs.path == "b" };',
        "forbid(principal, action, resource) when { context.overwrites };",
    )
    assert early(engine).name == "At run time"
    assert early(engine, READ) == Deny(reason=NO_RULE)


def test_rules_about_the_count_are_not_certain_before_the_run() -> None:
    engine = engine_of(
        PERMIT,
        'forbid(principal, action == Action::"write", resource) when { context.count > 1 };',
        'forbid(principal, action == Action::"write", resource) when { context.inputs.path == "b" };',
    )
    assert early(engine, inputs={"path": "a"}) == AtRunTime(at_least=Allow(rules=(ALL,)))
    assert early(engine, inputs={"path": "b"}).name == "Deny"
    assert early(engine, READ, inputs={"path": "b"}).name == "Allow"


def test_an_unknown_action_is_denied_early() -> None:
    assert early(engine_of(PERMIT), ActionSpec(name="stranger")).name == "Deny"


# Laws


def listed(names: Sequence[str]) -> str:
    return ", ".join(f'Action::"{name}"' for name in names)


RANK = {"Allow": 0, "Ask": 1, "Deny": 2}
NAMES = [[group] for group in GROUPS] + [[name, "undeclared"] for name in ("write", "read", "delete_all")]
SCOPES = st.sampled_from(["action", *(f"action in [{listed(names)}]" for names in NAMES)])
CONDITIONS = st.lists(
    st.sampled_from(
        [
            "context.approved",
            "context.human_review_required",
            "context.count > 1",
            "context.count < 1",
            "context.overwrites",
            'context.inputs has path && context.inputs.path == "a"',
            'context.inputs has json && context.inputs.json like "*a*"',
            "context.count + 9223372036854775807 > 0",
            'context == context && action in Action::"effect"',
        ]
    ).flatmap(lambda text: st.sampled_from([f"when {{ {text} }}", f"unless {{ {text} }}"])),
    max_size=2,
)


def rules(effect: str) -> st.SearchStrategy[str]:
    return st.builds(
        lambda scope, parts: f"{effect}(principal, {scope}, resource) {' '.join(parts)};", SCOPES, CONDITIONS
    )


POLICIES = st.lists(st.one_of(rules("permit"), rules("permit"), rules("forbid")), min_size=1, max_size=4)
SPECS = st.sampled_from([WRITE, READ, SEND, ActionSpec(name="delete_all"), ActionSpec(name="other", undeclared=True)])
INPUTS: st.SearchStrategy[JsonObject] = st.fixed_dictionaries(
    {"path": st.sampled_from(["a", "b"])}, optional={"overwrite": st.booleans()}
)
REQUESTS = st.builds(
    ActionRequest, action=SPECS, inputs=INPUTS, human_review_required=st.booleans(), count=st.integers(0, 3)
)


def rank(decision: Decision) -> int:
    return RANK[decision.name]


@settings(deadline=None, max_examples=50)
@given(POLICIES, rules("forbid"), st.lists(REQUESTS, min_size=1, max_size=5), st.booleans())
def test_adding_a_forbid_never_widens_what_is_allowed(
    policies: Sequence[str],
    more: str,
    requests: Sequence[ActionRequest],
    approved: bool,  # noqa: FBT001
) -> None:
    before, after = engine_of(*policies), engine_of(*policies, more)
    for request in requests:
        assert rank(after.decide(request, approved=approved)) >= rank(before.decide(request, approved=approved))


@settings(deadline=None, max_examples=50)
@given(POLICIES, st.lists(REQUESTS, min_size=1, max_size=5))
def test_what_is_certain_before_the_run_holds_in_it(policies: Sequence[str], requests: Sequence[ActionRequest]) -> None:
    engine = engine_of(*policies)
    for request in requests:
        inputs = dict(request.inputs)
        for planned, foreach in ((inputs, None), ({"path": "${x}"}, None), (inputs, "${x}")):
            step = WorkflowStep("s", request.action.name, planned, (), None, request.human_review_required, foreach)
            decision = engine.decide_early(step, request.action, None)
            if isinstance(decision, AtRunTime):
                assert rank(engine.decide(request)) >= rank(decision.at_least)
            else:
                assert rank(engine.decide(request)) == rank(decision)


@settings(deadline=None, max_examples=50)
@given(POLICIES, st.lists(REQUESTS, min_size=1, max_size=5))
def test_approval_turns_an_ask_into_an_allow_and_nothing_else(
    policies: Sequence[str], requests: Sequence[ActionRequest]
) -> None:
    engine = engine_of(*policies)
    for request in requests:
        expected = {"Ask": "Allow"}.get(name := engine.decide(request).name, name)
        assert engine.decide(request, approved=True).name == expected


@settings(deadline=None, max_examples=50)
@given(POLICIES, st.lists(REQUESTS, min_size=1, max_size=5))
def test_policies_that_cover_another_action_make_no_difference(
    policies: Sequence[str], requests: Sequence[ActionRequest]
) -> None:
    narrow, whole = engine_of(*policies), engine_of(*policies)
    whole._covering = lambda *_: tuple(range(len(policies)))  # type: ignore[assignment, method-assign]
    for request in requests:
        assert narrow.decide(request) == whole.decide(request)


@settings(deadline=None, max_examples=100)
@given(POLICIES.map(lambda texts: [*texts, *texts[:1]]), st.lists(REQUESTS, min_size=1, max_size=5))
def test_without_a_rule_that_is_told_to_be_idle_every_decision_is_the_same(
    policies: Sequence[str], requests: Sequence[ActionRequest]
) -> None:
    engine = engine_of(*policies)
    for warning in idle_rules(engine.policies, CATALOGUE):
        at = int(warning.split(":")[1]) - 1
        if rest := [text for index, text in enumerate(policies) if index != at]:
            names = [engine.decide(one).name for one in requests if not one.action.undeclared]
            assert [engine_of(*rest).decide(one).name for one in requests if not one.action.undeclared] == names


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["path", "text", "overwrite", "size"]) | st.text()
ENGINE = CedarEngine(CATALOGUE)


@settings(deadline=None, max_examples=50)
@given(
    SPECS | st.text().map(lambda name: ActionSpec(name=name, undeclared=True)), st.dictionaries(KEYS, JSON, max_size=4)
)
def test_deciding_never_raises(spec: ActionSpec, inputs: JsonObject) -> None:
    decision = ENGINE.decide(ActionRequest(action=spec, inputs=inputs))
    assert isinstance(decision, Allow | Ask | Deny)
    assert isinstance(
        ENGINE.decide_early(WorkflowStep("s", spec.name or "x", inputs), spec, None), Allow | Ask | Deny | AtRunTime
    )
