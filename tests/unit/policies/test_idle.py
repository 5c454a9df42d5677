from pathlib import Path

import pytest

from agentic_workflows.graph.catalogue import ActionSpec, Annotations, Catalogue
from agentic_workflows.graph.values import JsonObject
from agentic_workflows.policies.engine import CedarEngine
from agentic_workflows.policies.files import DEFAULT, REFINEMENTS
from agentic_workflows.policies.idle import denies_all, idle_rules

CATALOGUE: Catalogue = {
    spec.name: spec
    for spec in (
        ActionSpec(name="write", annotations=Annotations(destructive=False, open_world=False)),
        ActionSpec(name="remove", annotations=Annotations(open_world=False)),
        ActionSpec(name="read", annotations=Annotations(read_only=True, open_world=False)),
    )
}
PERMIT = '@id("all") permit(principal, action, resource);'
ASK = '@id("ask") forbid(principal, action in Action::"effect", resource) unless { context.approved };'
ON_WRITE = 'principal, action == Action::"write", resource'
ON_TWO = 'principal, action in [Action::"write", Action::"read"], resource'
WHOLE, COUNT = "context.whole", "context.count"
TRUST = 'principal, action == Action::"trust", resource'


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return what is told of rules, one a line of the file P; the last one has the id `x`."""
    monkeypatch.chdir(tmp_path)

    def about(*rules: str, beside: tuple[str, ...] = ()) -> list[str]:
        (tmp_path / "P").write_text("\n".join([*rules[:-1], f'@id("x") {rules[-1]}']))
        return list(idle_rules(CedarEngine(CATALOGUE, [*beside, "P"]).policies, CATALOGUE))

    return about


@pytest.mark.parametrize(
    "rule, why",
    [
        (
            'forbid(principal, action in Action::"open_world", resource);',
            "no action that there is belongs to open_world. It waits for one that does.",
        ),
        ("forbid(principal, action, resource) when { 1 == 2 && context.approved };", "its condition never holds."),
        ("forbid(principal, action, resource) when { true } unless { !(context.approved && false) };", "its condition"),
        ('forbid(principal == Agent::"bob", action, resource);', 'the principal is always Agent::"agent".'),
        ('forbid(principal, action, resource in Run::"x");', 'the resource is always Run::"run".'),
        (f"forbid({TRUST}) when {{ false }};", "its condition never holds."),
    ],
)
def test_a_rule_that_can_never_apply_is_told(told, rule: str, why: str) -> None:
    (warning,) = told(PERMIT, rule)
    assert warning.startswith(f"P:2: the rule 'x' never applies: {why}")


@pytest.mark.parametrize(
    "condition, names",
    [
        ("when { !(context.inputs has to) }", ["to"]),
        ("unless { context.approved || context.inputs has amount }", ["amount"]),
        ("when { !(context.inputs has note) }", []),
        ("when { !(context.inputs has free) }", []),
        ("when { context.inputs has amount }", []),
    ],
)
def test_a_rule_that_waits_for_an_argument_to_be_missing_that_never_is_is_told(
    tmp_path: Path, condition: str, names: list[str]
) -> None:
    (tmp_path / "P").write_text(f'{PERMIT}\n@id("x") forbid(principal, action == Action::"pay", resource) {condition};')
    properties: JsonObject = {
        "to": {"type": "string"},
        "amount": {"type": "integer", "default": 5000},
        "note": {"type": ["string", "null"], "default": "none"},
        "free": {"type": "string"},
    }
    schema: JsonObject = {"type": "object", "properties": properties, "required": ["to"]}
    catalogue = {"pay": ActionSpec(name="pay", input_schema=schema)}
    told = list(idle_rules(CedarEngine(catalogue, [tmp_path / "P"]).policies, catalogue))
    assert [one.partition("never applies: ")[2] for one in told] == [
        f"{name!r} is always there, given or by default. Ask what it is." for name in names
    ]


@pytest.mark.parametrize("attribute", ["untrusted", "secret"])
def test_a_rule_that_looks_for_an_argument_that_no_action_has_is_told(tmp_path: Path, attribute: str) -> None:
    (tmp_path / "P").write_text(
        f"""{PERMIT}
        @id("x") forbid(principal, action, resource) when {{ context.{attribute}.containsAny(["too", "a"]) }};
        @id("y") forbid(principal, action, resource) when {{ context.{attribute}.contains("to") }};"""
    )
    schema: JsonObject = {"type": "object", "properties": {"to": {"type": "string"}, "a": {"type": "string"}}}
    send = ActionSpec(name="send", input_schema=schema)
    policies = CedarEngine({"send": send}, [tmp_path / "P"]).policies
    (warning,) = idle_rules(policies, {"send": send})
    assert warning.endswith(
        f"the rule 'x' looks in context.{attribute} for 'too', and no action it covers has that argument. "
        f"Did you mean 'to'?"
    )
    assert not list(idle_rules(policies, {"send": send, "free": ActionSpec(name="free")}))
    assert not list(idle_rules(policies, {}))


def test_rules_that_permit_nothing_are_told(tmp_path: Path) -> None:
    (tmp_path / "P").write_text(f"{ASK} permit({TRUST});")
    engine = CedarEngine(CATALOGUE, [str(tmp_path / "P")])
    (warning,) = denies_all(engine.policies)
    assert warning.startswith("No rule permits anything, so every call is denied.")
    assert not list(denies_all(CedarEngine(CATALOGUE, [DEFAULT, str(tmp_path / "P")]).policies))


@pytest.mark.parametrize(
    "more, says_so", [("", True), (" when { context.approved }", False), (" unless { context.approved }", False)]
)
def test_a_rule_that_forbids_everything_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str, *, says_so: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "P").write_text(f'{PERMIT}\n@id("x") forbid(principal, action, resource){more};')
    told = list(denies_all(CedarEngine(CATALOGUE, ["P"]).policies))
    assert told == ["P:2: the rule 'x' forbids every call. Say of which, or when."] * says_so


def test_a_rule_that_permits_what_never_runs_is_told(told) -> None:
    (warning,) = told(ASK, 'permit(principal, action == Action::"delete_all", resource);')
    assert warning == "P:2: the rule 'x' permits what never runs, whatever policies say: delete_all. Take it away."


BY_ALL = "changes no decision: whenever it applies, 'all' (P:1) permits the same. No permit takes a question away"
BY_ASK = "changes no decision: whenever it applies, 'ask' (P:2) forbids the same. Take it away, or narrow the other."


@pytest.mark.parametrize(
    "rules, why",
    [
        ([PERMIT, f"permit({ON_WRITE}) when {{ context.count < 3 }};"], BY_ALL),
        ([PERMIT, ASK, f"forbid({ON_WRITE}) unless {{ context.approved }};"], BY_ASK),
        ([PERMIT, ASK, f"forbid({ON_WRITE}) when {{ context.overwrites }} unless {{ context.approved }};"], BY_ASK),
        ([PERMIT, ASK, f"forbid({ON_WRITE}) when {{ context.overwrites && !context.approved }};"], BY_ASK),
        ([PERMIT, ASK, f"forbid({ON_WRITE}) unless {{ context.overwrites || context.approved }};"], BY_ASK),
        ([PERMIT, ASK, ASK.removeprefix('@id("ask") ')], BY_ASK),
        (
            [PERMIT, f'@id("no") forbid({ON_WRITE});', f"forbid({ON_WRITE}) unless {{ context.approved }};"],
            "changes no decision: whenever it applies, 'no' (P:2) forbids the same.",
        ),
        (
            [PERMIT, f'@id("no") forbid({ON_WRITE});', f"permit({ON_WRITE});"],
            "permits nothing: whenever it applies, 'no' (P:2) forbids the same. Take one of them away.",
        ),
        (
            [PERMIT, f"permit({TRUST}) when {{ {WHOLE} }};", f"permit({TRUST}) when {{ context.alone && {WHOLE} }};"],
            "changes no decision: whenever it applies, 'P:2' (P:2) permits the same.",
        ),
    ],
)  # fmt: skip
def test_a_rule_that_another_one_takes_in_is_told(told, rules: list[str], why: str) -> None:
    (warning,) = told(*rules)
    assert warning.startswith(f"P:{len(rules)}: the rule 'x' {why}")


@pytest.mark.parametrize(
    "rules",
    [
        [PERMIT, ASK, f"forbid({ON_WRITE});"],
        [PERMIT, ASK, f"forbid({ON_TWO}) unless {{ context.approved }};"],
        [PERMIT, f"forbid({ON_WRITE}) when {{ context.overwrites }};", f"forbid({ON_WRITE}) when {{ {COUNT} > 1 }};"],
        [PERMIT, ASK, f"forbid({ON_WRITE}) when {{ {COUNT} * 9 > 1 }} unless {{ context.approved }};"],
        [PERMIT, 'forbid(principal, action == Action::"delete_all", resource);'],
        [PERMIT, f"permit({TRUST}) when {{ {WHOLE} }};"],
    ],
)  # fmt: skip
def test_a_rule_that_may_matter_is_not_told(told, rules: list[str]) -> None:
    assert told(*rules) == []


def test_a_rule_of_ones_own_is_told_beside_the_default(told) -> None:
    (warning,) = told(f"permit({ON_WRITE});", beside=(DEFAULT,))
    assert "whenever it applies, 'known-action' (default.cedar:" in warning


def test_built_in_files_are_not_told_about() -> None:
    assert list(idle_rules(CedarEngine(CATALOGUE, [DEFAULT, *REFINEMENTS]).policies, CATALOGUE)) == []
