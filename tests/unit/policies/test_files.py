import os
from pathlib import Path

import pytest

from agentic_workflows.errors import PolicyError
from agentic_workflows.policies.decision import Rule
from agentic_workflows.policies.files import ARTICLE, BUILT_IN, DEFAULT, MAX_BYTES, load_policies, load_policy_file
from agentic_workflows.policies.policy import EVERYTHING, Policy

PERMIT = "permit(principal, action, resource);"


def rules_of(path: Path, text: str) -> list[Rule]:
    path.write_text(text, encoding="utf-8")
    return [policy.rule for policy in load_policy_file(path)]


def error_of(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(PolicyError) as caught:
        load_policies([path])
    return str(caught.value).replace(str(path), "FILE")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.cedar"


def test_each_policy_knows_its_id_reason_and_line(file: Path) -> None:
    one = f'@id("one")\n@reason("Why; \\"so\\".")\n{PERMIT}'
    text = f'// a "comment;\n\n{one} // ;\n  {PERMIT}{PERMIT}\n@id("")\n{PERMIT}\n// end'
    assert rules_of(file, text) == [
        Rule(id="one", reason='Why; "so".', place=f"{file}:3"),
        Rule(id=f"{file}:6", place=f"{file}:6"),
        Rule(id=f"{file}:6", place=f"{file}:6"),
        Rule(id=f"{file}:7", place=f"{file}:7"),
    ]


def test_text_in_strings_and_comments_ends_no_policy(file: Path) -> None:
    text = 'permit(principal, action, resource) // ; "\nwhen { "a;\\"//b" == "c" };'
    assert rules_of(file, text) == [Rule(id=f"{file}:1", place=f"{file}:1")]


def test_a_comment_ends_where_cedar_ends_it(file: Path) -> None:
    file.write_bytes(f"{PERMIT}\n// note\rforbid(principal, action, resource);\n".encode())
    assert [policy.is_permit for policy in load_policy_file(file)] == [True, False]


def test_windows_line_ends_and_a_byte_order_mark_are_text(file: Path) -> None:
    assert rules_of(file, f"\ufeff\r\n{PERMIT}\r\n") == [Rule(id=f"{file}:2", place=f"{file}:2")]


@pytest.mark.parametrize("name", [DEFAULT, ARTICLE])
def test_built_in_policies_load_by_name(name: str) -> None:
    rules = [policy.rule for policy in load_policies([name])]
    assert rules[0].id == "dangerous-action"
    assert all(rule.reason and rule.place.startswith(f"{name}.cedar:") for rule in rules)


def test_one_source_needs_no_list(file: Path) -> None:
    file.write_text(PERMIT)
    for one in (DEFAULT, str(file), file):
        assert load_policies(one) == load_policies([one])


def test_a_path_named_like_a_built_in_policy_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert rules_of(Path(DEFAULT), PERMIT) == [Rule(id="default:1", place="default:1")]


@pytest.mark.parametrize(
    "text, message",
    [
        (f"{PERMIT}\n\n@id('x')\n{PERMIT}", "FILE:3: the policy that begins here has a syntax error: invalid token."),
        (f"{PERMIT}\n// x\nforbid(principal,\naction)", "FILE:3: the policy that begins here has a syntax error"),
        (f"{PERMIT}\n;\n", "FILE:2: the policy that begins here has a syntax error: unexpected token `;`."),
        (f'{PERMIT}\npermit(principal, action, resource) when {{ "a }};', "FILE:2: the policy that begins here has a"),
        (
            PERMIT.replace(");", ") when { context.count = 1 };"),
            "FILE:1: the policy that begins here has a syntax error",
        ),
        ("", "FILE:1: there is no policy in this file. Write at least one permit rule."),
        (f"\n// {PERMIT}\n", "FILE:1: there is no policy in this file."),
        (b"\n\n// caf\xe9\n", "FILE:3: this is not UTF-8 text. Save the file as UTF-8."),
        (b"//" + b"x" * MAX_BYTES, "The policy file FILE has more than 1,000,000 bytes."),
        (f"{PERMIT}\npermit(principal == ?principal, action, resource);", "FILE:2: a template (?principal, ?resource)"),
        (f'@id("a") {PERMIT}\n@id("a") {PERMIT}', "FILE:2: the @id 'a' is taken by FILE:1."),
    ],
)
def test_a_bad_file_is_one_error_with_file_and_line(file: Path, text: str | bytes, message: str) -> None:
    assert error_of(file, text).startswith(message)


@pytest.mark.parametrize(
    "condition",
    [
        "(" * 3_000 + "true" + ")" * 3_000,
        "[" * 200 + "true" + "]" * 200 + ".isEmpty()",
        "if true then true else " * 30_000 + "true",
        " || ".join(["context.approved"] * 800),
        " || ".join(["true"] * 990),
        " || ".join(["context.approved"] * 100),
        "context" + '["a"]' * 30_000,
    ],
)
def test_a_policy_that_nests_too_deeply_is_an_error(file: Path, condition: str) -> None:
    text = f"{PERMIT}\n\nforbid(principal, action, resource) when {{ {condition} }};"
    assert error_of(file, text).startswith("FILE:3: the policy that begins here nests too deeply. Write several")


@pytest.mark.parametrize(
    "condition",
    [
        "(" * 50 + "true" + ")" * 50,
        "[" + ", ".join(['"(.[-"'] * 5_000) + '].contains("") // ' + "(" * 5_000 + "\n",
        " || ".join(["context.approved"] * 40),
    ],
)
def test_what_is_long_and_not_deep_loads(file: Path, condition: str) -> None:
    assert len(rules_of(file, f"{PERMIT}\nforbid(principal, action, resource) when {{ {condition} }};")) == 2


def test_a_missing_file_is_an_error() -> None:
    with pytest.raises(PolicyError) as caught:
        load_policies(["defualt"])
    assert str(caught.value) == f"There is no policy file defualt. Check the path; built in: {', '.join(BUILT_IN)}."


def test_what_is_no_ordinary_file_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(PolicyError, match="is no ordinary file"):
            load_policies([path])


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be read: "):
        load_policies([tmp_path / ("x" * 1000)])


def test_a_path_with_a_nul_is_an_error() -> None:
    with pytest.raises(PolicyError):
        load_policies(["a\0b"])


def test_no_file_at_all_is_an_error() -> None:
    with pytest.raises(PolicyError, match="No policy file is given"):
        load_policies([])


def test_one_id_in_two_files_is_an_error(file: Path) -> None:
    file.write_text(f'@id("known-action") {PERMIT}')
    with pytest.raises(PolicyError, match=r"the @id 'known-action' is taken by default\.cedar:"):
        load_policies([DEFAULT, file])


def test_the_same_file_twice_is_an_error() -> None:
    with pytest.raises(PolicyError, match="the @id 'dangerous-action' is taken by"):
        load_policies([DEFAULT, DEFAULT])


def forbid(name: str, replaces: str) -> str:
    return f'@id("{name}") @replaces("{replaces}") forbid(principal, action, resource);'


@pytest.mark.parametrize("name", ["overwrite", "mine"])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_rule_takes_the_place_of_the_one_that_it_replaces(file: Path, name: str, *, is_first: bool) -> None:
    file.write_text(forbid(name, "overwrite"))
    usual = {policy.rule.id: policy.rule.place for policy in load_policies([DEFAULT])}
    found = load_policies([file, DEFAULT] if is_first else [DEFAULT, file])
    del usual["overwrite"]
    assert {policy.rule.id: policy.rule.place for policy in found} == {**usual, name: f"{file}:1"}


def test_a_rule_of_the_same_file_is_replaced_and_so_is_a_replacement(file: Path) -> None:
    rules = [PERMIT, f'@id("a") {PERMIT}', forbid("a", "a")]
    assert [rule.place for rule in rules_of(file, "\n".join(rules))] == [f"{file}:{line}" for line in (1, 2, 3)]
    assert [policy.rule.place for policy in load_policies([file])] == [f"{file}:1", f"{file}:3"]
    file.write_text("\n".join([f'@id("a") {PERMIT}', forbid("b", "a"), forbid("c", "b"), forbid("d", "b")]))
    assert [policy.rule.id for policy in load_policies([file])] == ["c", "d"]


@pytest.mark.parametrize(
    "rules, message",
    [
        ([forbid("a", "a")], "FILE:1: the rule 'a' replaces 'a', which no given file has."),
        ([forbid("a", "b")], "FILE:1: the rule 'a' replaces 'b', which no given file has."),
        ([forbid("a", "b"), forbid("b", "a")], "FILE:1: rules replace each other: 'a' -> 'b' -> 'a'."),
        (
            [forbid("a", "b"), forbid("b", "c"), forbid("c", "a"), forbid("d", "a")],
            "FILE:1: rules replace each other: 'a' -> 'b' -> 'c' -> 'a'.",
        ),
        (
            [f'@id("a") {PERMIT}', forbid("a", "a"), forbid("a", "a")],
            "FILE:2: the rule 'a' replaces 'a', which the rule of that name replaces, too. Give FILE:3 another @id.",
        ),
        (
            [f'@id("a") {PERMIT}', forbid("a", "a"), forbid("b", "a")],
            "FILE:3: the rule 'b' replaces 'a', which the rule of that name replaces, too. Give FILE:2 ",
        ),
    ],
)
def test_no_rule_goes_without_another_one_in_its_place(file: Path, rules: list[str], message: str) -> None:
    assert error_of(file, "\n".join(rules)).startswith(message)


def policy_of(file: Path, text: str) -> Policy:
    file.write_text(text)
    (policy,) = load_policy_file(file)
    return policy


@pytest.mark.parametrize(
    "condition, paths",
    [
        ("context.count > 1", {("count",)}),
        ('context["count"] > 1', {("count",)}),
        ("context has count", {("count",)}),
        ("(if context.approved then 1 else context.count) == 1", {("approved",), ("count",)}),
        ("context.inputs has a && context.inputs.a.b == 1", {("inputs", "a"), ("inputs", "a", "b")}),
        ('[context.inputs.tags.contains("x")].contains(true)', {("inputs", "tags")}),
        ('{"Var": "context", ".": context.count} == {"left": 1}', {("count",)}),
        ("true", set()),
    ],
)
def test_what_a_policy_reads_is_known(file: Path, condition: str, paths: set[tuple[str, ...]]) -> None:
    policy = policy_of(file, f"forbid(principal, action, resource) when {{ {condition} }};")
    assert policy.paths == paths
    assert policy.reads == {path[0] for path in paths}


@pytest.mark.parametrize(
    "condition", ['context == {"count": 1}', "[context].isEmpty()", "(if true then context else context).count == 1"]
)
def test_an_unclear_access_reads_everything(file: Path, condition: str) -> None:
    assert policy_of(file, f"forbid(principal, action, resource) unless {{ {condition} }};").reads == EVERYTHING


@pytest.mark.parametrize(
    "scope, covered",
    [
        ("action", True),
        ('action == Action::"a"', True),
        ('action in Action::"effect"', True),
        ('action in [Action::"x", Action::"effect"]', True),
        ('action == Action::"x"', False),
        ('action in [Action::"x", Action::"read_only"]', False),
        ("action in []", False),
    ],
)
def test_a_policy_covers_what_its_scope_names(file: Path, scope: str, *, covered: bool) -> None:
    assert policy_of(file, f"permit(principal, {scope}, resource);").covers({"a", "effect"}) is covered
