from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic_workflows.errors import PolicyError
from agentic_workflows.graph.catalogue import DANGEROUS, ActionSpec, Annotations, Catalogue
from agentic_workflows.graph.labels import LATE_PLAN, PLAN, Label, Source, Trait, behind, entrusted
from agentic_workflows.graph.plan import WorkflowStep
from agentic_workflows.graph.values import JsonObject
from agentic_workflows.policies.decision import ActionRequest, Allow, Ask, AtRunTime, Decision, Deny
from agentic_workflows.policies.engine import NEVER, CedarEngine
from agentic_workflows.policies.files import ARTICLE, DEFAULT, REFINEMENTS
from agentic_workflows.policies.policy import MEMO_TEXT
from agentic_workflows.policies.provenance import Flow, Provenance

WRITE_SCHEMA: JsonObject = {
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "text": {"type": "string"},
        "overwrite": {"type": "boolean", "default": False},
    },
    "required": ["path", "text"],
}


def spec(name: str, schema: JsonObject | None = None, **notes: Any) -> ActionSpec:
    return ActionSpec(name=name, input_schema=schema or {"type": "object"}, annotations=Annotations(**notes))


CONTENT = {"text": "content"}
CATALOGUE: Catalogue = {
    action.name: action
    for action in (
        spec("read_file", read_only=True, open_world=False),
        spec("fetch", read_only=True, arguments=CONTENT),
        spec("write_file", WRITE_SCHEMA, destructive=False, open_world=False, arguments=CONTENT),
        spec("remove", open_world=False),
        spec("post", destructive=False, arguments=CONTENT),
        spec("count", read_only=True, open_world=False, arguments={**CONTENT, "token": "secret"}),
        spec("use", destructive=False, arguments={**CONTENT, "token": "secret"}),
    )
}


PLANNED = Provenance(())
"""Of a call whose every argument is written in the plan."""


def decide(
    policies: Sequence[str | Path],
    name: str,
    inputs: JsonObject | None = None,
    *,
    review: bool = False,
    approved: bool = False,
    provenance: Provenance | None = PLANNED,
) -> Decision:
    action = CATALOGUE.get(name) or ActionSpec(name=name, undeclared=True)
    request = ActionRequest(action=action, inputs=inputs or {}, human_review_required=review, provenance=provenance)
    return _engine(tuple(policies)).decide(request, approved=approved)


@cache
def _engine(policies: tuple[str | Path, ...]) -> CedarEngine:
    return CedarEngine(CATALOGUE, policies)


def said(decision: Decision) -> tuple[str, list[str]]:
    return decision.name, [] if isinstance(decision, Allow) else [rule.id for rule in decision.rules]


NEW: JsonObject = {"path": "a", "text": "b"}


@pytest.mark.parametrize(
    "name, inputs, expected",
    [
        ("read_file", {}, ("Allow", [])),
        ("fetch", {}, ("Allow", [])),
        ("write_file", NEW, ("Allow", [])),
        ("write_file", NEW | {"overwrite": False}, ("Allow", [])),
        ("write_file", NEW | {"overwrite": True}, ("Ask", ["overwrite"])),
        ("remove", {}, ("Ask", ["destructive-effect"])),
        ("post", {}, ("Allow", [])),
        ("unheard", {}, ("Ask", ["destructive-effect", "undeclared-action"])),
        *((name, {"x": 1}, ("Deny", ["dangerous-action"])) for name in DANGEROUS),
    ],
)
def test_default_policy(name: str, inputs: JsonObject, expected: tuple[str, list[str]]) -> None:
    assert said(decide([DEFAULT], name, inputs)) == expected
    approved = decide([DEFAULT], name, inputs, approved=True)
    assert approved.name == ("Deny" if expected[0] == "Deny" else "Allow")


@pytest.mark.parametrize(
    "name, expected",
    [
        *((name, ("Allow", [])) for name in ("read_file", "fetch", "remove", "post", "unheard")),
        *((name, ("Deny", ["dangerous-action"])) for name in DANGEROUS),
    ],
)
def test_article_policy(name: str, expected: tuple[str, list[str]]) -> None:
    assert said(decide([ARTICLE], name)) == expected


@pytest.mark.parametrize("policy", [DEFAULT, ARTICLE])
def test_a_step_that_wants_review_is_asked(policy: str) -> None:
    assert said(decide([policy], "read_file", review=True)) == ("Ask", ["review-required"])
    assert decide([policy], "read_file", review=True, approved=True).name == "Allow"
    assert said(decide([policy], "delete_all", review=True)) == ("Deny", ["dangerous-action"])


@pytest.mark.parametrize("policy", [DEFAULT, ARTICLE])
def test_built_in_policies_load_under_every_catalogue(policy: str) -> None:
    for catalogue in ({}, {"delete_all": spec("delete_all", read_only=True)}, CATALOGUE):
        assert len(CedarEngine(catalogue, [policy]).policies) >= 3


def test_a_declared_dangerous_action_never_runs() -> None:
    for policy in (DEFAULT, ARTICLE):
        harmless = spec("delete_all", read_only=True, open_world=False)
        engine = CedarEngine({"delete_all": harmless}, [policy])
        assert engine.decide(ActionRequest(action=harmless, inputs={}), approved=True).name == "Deny"


@pytest.mark.parametrize(
    "beside, rule",
    [
        ([], ""),
        ([], "when { context.approved }"),
        ([DEFAULT], '@replaces("dangerous-action")'),
        ([ARTICLE], '@id("dangerous-action") @replaces("dangerous-action")'),
    ],
)
@pytest.mark.parametrize("name", DANGEROUS)
def test_no_policy_lets_a_dangerous_action_run(tmp_path: Path, beside: list[str], rule: str, name: str) -> None:
    mine = tmp_path / "mine.cedar"
    scope = "permit (principal, action, resource)"
    mine.write_text(f"{rule} {scope};" if rule.startswith("@") else f"{scope} {rule};")
    harmless = spec(name, read_only=True, open_world=False)
    for declared in (harmless, ActionSpec(name=name, undeclared=True)):
        engine = CedarEngine({} if declared.undeclared else {name: declared}, [*beside, mine])
        denied = Deny(reason=NEVER)
        assert engine.decide(ActionRequest(action=declared, inputs={}), approved=True) == denied
        assert engine.decide_early(WorkflowStep("s", name, {}), declared, None) == denied
        assert engine.decide_early(WorkflowStep("s", name, {"x": "${y}"}), declared, None) == denied


def test_a_team_adds_its_rules_beside_the_default(tmp_path: Path) -> None:
    team = tmp_path / "team.cedar"
    team.write_text('@id("no-post") @reason("We do not post.") forbid(principal, action == Action::"post", resource);')
    assert said(decide([DEFAULT, team], "post")) == ("Deny", ["no-post"])
    assert said(decide([DEFAULT, team], "read_file")) == ("Allow", [])


def test_an_overwrite_that_is_planned_is_certain_before_the_text_exists() -> None:
    step = WorkflowStep("save", "write_file", {"path": "a", "text": "${text}", "overwrite": True})
    early = CedarEngine(CATALOGUE, [DEFAULT]).decide_early(step, CATALOGUE["write_file"], PLANNED)
    assert isinstance(early, AtRunTime)
    assert said(early.at_least) == ("Ask", ["overwrite"])


# Provenance under the default policy


def carrying(argument: str, label: Label) -> Provenance:
    return Provenance((Flow("text", ("text",), PLAN), Flow(argument, (argument,), label, is_whole=True)))


STRANGE: Label = frozenset({Source("output", "inbox", "body")})
SECRET: Label = frozenset({Source("output", "vault", "password", frozenset({"trusted", "secret"}))})


@pytest.mark.parametrize(
    "name, argument, expected",
    [
        ("write_file", "path", ("Ask", ["untrusted-steers"])),
        ("write_file", "text", ("Allow", [])),
        ("post", "to", ("Ask", ["untrusted-steers"])),
        ("fetch", "url", ("Ask", ["untrusted-steers"])),
        ("read_file", "path", ("Allow", [])),
    ],
)
def test_untrusted_data_is_asked_about_where_it_steers(
    name: str, argument: str, expected: tuple[str, list[str]]
) -> None:
    decision = decide([DEFAULT], name, NEW, provenance=carrying(argument, STRANGE))
    assert said(decision) == expected
    if expected[0] == "Ask":
        assert isinstance(decision, Ask)
        assert decision.reason.endswith(f"This `{argument}` comes from `inbox.body`, which is untrusted.")
    assert decide([DEFAULT], name, NEW, provenance=carrying(argument, STRANGE), approved=True).name == "Allow"


def test_where_nothing_is_known_everything_is_untrusted() -> None:
    assert said(decide([DEFAULT], "write_file", NEW, provenance=None)) == (
        "Ask", ["untrusted-steers", "untrusted-number", "planned-after-untrusted"],
    )  # fmt: skip
    assert decide([DEFAULT], "read_file", {"path": "a"}, provenance=None).name == "Allow"


ON_CONDITION = """
@id("on-condition") @reason("A stranger says whether it is done.")
forbid (principal, action in Action::"effect", resource)
when { context.untrusted_control.contains("when") }
unless { context.approved };
"""


@pytest.fixture
def on_condition(tmp_path: Path) -> Path:
    """A rule of one's own about conditions."""
    path = tmp_path / "on_condition.cedar"
    path.write_text(ON_CONDITION, encoding="utf-8")
    return path


def test_how_often_an_effect_happens_is_asked_where_untrusted_data_says_it() -> None:
    listed = Provenance((), (Flow("foreach", ("foreach",), STRANGE),))
    decision = decide([DEFAULT, *REFINEMENTS], "write_file", NEW, provenance=listed)
    assert isinstance(decision, Ask)
    assert said(decision) == ("Ask", ["untrusted-number"])
    assert decision.reason == (
        "Data from an untrusted source says how often it is done. "
        "Its `foreach` comes from `inbox.body`, which is untrusted."
    )
    assert decide([DEFAULT], "write_file", NEW, provenance=listed, approved=True).name == "Allow"
    assert decide([DEFAULT], "fetch", provenance=listed).name == "Allow"
    known = Provenance((), (Flow("foreach", ("foreach",), PLAN),))
    assert decide([DEFAULT], "write_file", NEW, provenance=known).name == "Allow"


def test_whether_an_effect_happens_is_asked_where_a_rule_of_ones_own_says_so(on_condition: Path) -> None:
    decided = Provenance((), (Flow("when", ("when",), STRANGE),))
    assert decide([DEFAULT], "write_file", NEW, provenance=decided).name == "Allow"
    decision = decide([DEFAULT, on_condition], "write_file", NEW, provenance=decided)
    assert isinstance(decision, Ask)
    assert (said(decision), decision.reason) == (
        ("Ask", ["on-condition"]),
        "A stranger says whether it is done. Its `when` comes from `inbox.body`, which is untrusted.",
    )


def test_what_decides_on_a_call_is_certain_before_the_run_only_where_the_run_can_make_it_no_smaller(
    on_condition: Path,
) -> None:
    step, spec = WorkflowStep("s", "write_file", NEW, when="${x}"), CATALOGUE["write_file"]
    decided = Provenance((), (Flow("when", ("when",), STRANGE),), is_certain=False)
    early = CedarEngine(CATALOGUE, [DEFAULT, on_condition]).decide_early(step, spec, decided)
    assert isinstance(early, AtRunTime)
    assert early.at_least.name == "Allow"
    certain = CedarEngine(CATALOGUE, [DEFAULT, on_condition]).decide_early(
        step, spec, replace(decided, is_certain=True)
    )
    assert certain.name == "Ask"


def test_a_plan_made_after_untrusted_output_asks_for_every_effect() -> None:
    late = Provenance((), after_untrusted=True)
    assert said(decide([DEFAULT], "write_file", NEW, provenance=late)) == ("Ask", ["planned-after-untrusted"])
    assert decide([DEFAULT], "read_file", provenance=late).name == "Allow"


def test_a_secret_never_leaves_in_content() -> None:
    for name in ("post", "fetch"):
        decision = decide([DEFAULT], name, NEW, provenance=carrying("text", SECRET), approved=True)
        assert isinstance(decision, Deny)
        assert decision.reason.endswith("This `text` holds a secret from `vault.password`.")


@pytest.mark.parametrize("argument", ["text", "path"])
def test_a_secret_is_kept_nowhere_unasked(argument: str) -> None:
    decision = decide([DEFAULT, *REFINEMENTS], "write_file", NEW, provenance=carrying(argument, SECRET))
    assert isinstance(decision, Ask)
    assert said(decision) == ("Ask", ["secret-kept"])
    assert decision.reason.endswith(f"This `{argument}` holds a secret from `vault.password`.")
    assert decide([DEFAULT], "write_file", NEW, provenance=carrying(argument, SECRET), approved=True).name == "Allow"


def test_a_secret_says_unasked_of_no_file_whether_it_is_read() -> None:
    decision = decide([DEFAULT, *REFINEMENTS], "read_file", NEW, provenance=carrying("path", SECRET))
    assert isinstance(decision, Ask)
    assert said(decision) == ("Ask", ["secret-steers"])
    assert decision.reason.endswith("This `path` holds a secret from `vault.password`.")
    assert decide([DEFAULT], "read_file", NEW, provenance=carrying("path", SECRET), approved=True).name == "Allow"
    assert decide([DEFAULT], "count", NEW, provenance=carrying("text", SECRET)).name == "Allow"
    assert decide([DEFAULT], "count", NEW, provenance=carrying("token", SECRET)).name == "Allow"


@pytest.mark.parametrize("name", ["post", "write_file"])
def test_what_was_got_with_a_secret_is_none(name: str) -> None:
    """It was given in an argument that is made for secrets."""
    assert decide([DEFAULT], name, NEW, provenance=carrying("text", entrusted(SECRET))).name == "Allow"
    both = Provenance((*carrying("text", entrusted(SECRET)).flows, *carrying("path", SECRET).flows))
    decision = decide([DEFAULT], name, NEW, provenance=both)
    assert isinstance(decision, Ask | Deny)
    assert (decision.reason.count("This `"), "`path` holds a secret" in decision.reason) == (1, True)


def test_of_a_secret_that_may_leave_nothing_is_said() -> None:
    flows = (*carrying("text", SECRET).flows, *carrying("token", SECRET).flows)
    decision = decide([DEFAULT], "use", NEW, provenance=Provenance(flows))
    assert isinstance(decision, Deny)
    assert (decision.reason.count("This `"), "`text` holds a secret" in decision.reason) == (1, True)
    assert decide([DEFAULT], "use", NEW, provenance=carrying("token", SECRET)).name == "Allow"


# Refinements


def test_each_refinement_loads_beside_the_default_and_widens_nothing_that_is_denied() -> None:
    for name in REFINEMENTS:
        assert decide([DEFAULT, name], "delete_all", approved=True).name == "Deny"
        assert said(decide([DEFAULT, name], "post", provenance=carrying("to", STRANGE)))[0] == "Ask"
    for label in (STRANGE, SECRET):
        after = decide([DEFAULT, *REFINEMENTS], "post", NEW, provenance=carrying("text", label | SECRET), approved=True)
        assert after.name == "Deny"


def vouched(
    *policies: str,
    called: str = "post",
    to: object = "x",
    field: str = "",
    traits: set[Trait] | None = None,
    **flow: Any,
) -> str:
    label = frozenset({Source("output", "inbox", field, frozenset(traits or ())), *flow.pop("beside", ())})
    arguments: dict[str, Any] = {"argument": "to", "path": ("to",), "is_whole": True, **flow}
    provenance = Provenance((Flow(label=label, **arguments),))
    inputs: Any = {arguments["argument"]: to}
    return decide([DEFAULT, *policies], called, inputs, provenance=provenance).name


def test_what_the_system_assigned_fills_an_argument_of_its_own_kind() -> None:
    assigned: Any = {"traits": {"assigned"}, "field": "mails.id_"}
    same: Any = {"argument": "mail_ids", "path": ("mail_ids", 0)}
    assert vouched("system_assigned", **assigned, **same, to=["7"]) == "Allow"
    assert vouched(**assigned, **same, to=["7"]) == "Ask"
    assert vouched("system_assigned", **assigned) == "Ask"
    assert vouched("system_assigned", **assigned, **{**same, "is_whole": False}) == "Ask"
    assert vouched("system_assigned", field="mails.id_", **same) == "Ask"
    assert vouched("system_assigned", **assigned, **same, beside=STRANGE) == "Ask"


def test_what_the_run_created_and_whom_a_directory_names_are_vouched_for() -> None:
    assert vouched("created_by_run", traits={"created"}, field="id", argument="file_id", path=("file_id",)) == "Allow"
    assert vouched("created_by_run", field="id", argument="file_id", path=("file_id",)) == "Ask"
    assert vouched("people_directories", traits={"directory"}, field="sender") == "Allow"
    assert vouched("people_directories", traits={"directory"}, field="sender", is_whole=False) == "Ask"


def test_what_something_was_looked_up_with_is_vouched_for_beside_the_entry_alone() -> None:
    entry: Any = {"traits": {"directory"}, "field": "mail", "beside": behind(STRANGE)}
    assert vouched("people_directories", "looked_up", **entry) == "Allow"
    assert vouched("people_directories", **entry) == "Ask"
    assert vouched("looked_up", **entry) == "Ask"
    assert vouched("people_directories", "looked_up", **entry, is_whole=False) == "Ask"
    assert vouched("people_directories", "looked_up", **{**entry, "beside": STRANGE}) == "Ask"
    assert vouched("people_directories", "looked_up", **{**entry, "beside": behind(LATE_PLAN)}) == "Ask"


@pytest.mark.parametrize("refinement, trait", [("system_assigned", "assigned"), ("people_directories", "directory")])
def test_what_a_model_made_of_a_field_is_not_what_the_field_holds(refinement: str, trait: Trait) -> None:
    field: Any = {"field": "id", "argument": "file_id", "path": ("file_id",)}
    assert vouched(refinement, traits={trait}, **field) == "Allow"
    assert vouched(refinement, traits={trait, "reworked"}, **field) == "Ask"


TRAITS = st.frozensets(st.sampled_from(get_args(Trait)))
SOURCES = st.builds(
    Source, st.just("output"), st.sampled_from(["inbox", "vault"]), st.sampled_from(["id", "x"]), TRAITS
)
FLOWS = st.builds(
    Flow, st.sampled_from(["path", "text", "id"]), st.just(("id",)), st.frozensets(SOURCES, max_size=3), st.booleans()
)
CALLED = st.sampled_from([*CATALOGUE, *DANGEROUS])


@given(CALLED, st.lists(FLOWS, max_size=2), st.booleans(), st.sets(st.sampled_from(REFINEMENTS)))
def test_no_refinement_allows_what_is_denied(name: str, flows: list[Flow], late: bool, more: set[str]) -> None:  # noqa: FBT001
    provenance = Provenance(tuple(flow._replace(path=(flow.argument,)) for flow in flows), after_untrusted=late)
    for approved in (False, True):
        if decide([DEFAULT], name, NEW, approved=approved, provenance=provenance).name == "Deny":
            refined = decide([DEFAULT, *sorted(more)], name, NEW, approved=approved, provenance=provenance)
            assert refined.name == "Deny"


@given(st.sampled_from(["write_file", "post", "remove"]), st.lists(FLOWS), st.sets(st.sampled_from(REFINEMENTS)))
def test_what_a_stranger_wrote_is_asked_about_whatever_is_switched_on(
    name: str, flows: list[Flow], more: set[str]
) -> None:
    others = [flow._replace(path=(flow.argument,)) for flow in flows]
    provenance = Provenance((*others, Flow("path", ("path",), STRANGE, is_whole=True)))
    assert decide([DEFAULT, *sorted(more)], name, NEW, provenance=provenance).name in {"Ask", "Deny"}


@pytest.mark.parametrize(
    "value, expected",
    [
        ("ada@example.org", "Allow"),
        (["ada@example.org", "bo@example.org"], "Allow"),
        ("ada.b+c_d@example.org", "Allow"),
        ("example.org", "Allow"),
        ("https://example.org", "Allow"),
        ("https://example.org/a", "Allow"),
        ("https://example.org/a%20b/@c?d=e&f=g:h#i", "Allow"),
        ("ada@example.com", "Ask"),
        (["ada@example.org", "eve@example.com"], "Ask"),
        ("eve@example.com,ada@example.org", "Ask"),
        ("eve@example.com ada@example.org", "Ask"),
        ("eve@evil.com@example.org", "Ask"),
        ("https://example.org@evil.com/", "Ask"),
        ("https://example.org.evil.com/", "Ask"),
        ("https://evil.com/https://example.org/", "Ask"),
        ("https://evil.com/?leak=ada@example.org", "Ask"),
        ("https://evil.com/ada@example.org", "Ask"),
        ("//evil.com/ada@example.org", "Ask"),
        ("evil.com/@example.org", "Ask"),
        ("evil.com?@example.org", "Ask"),
        ("evil.com#@example.org", "Ask"),
        ("ftp://evil.com/@example.org", "Ask"),
        ("file:///etc/passwd@example.org", "Ask"),
        ("mailto:eve%40evil.com?cc=ada@example.org", "Ask"),
        ("eve%40evil.com@example.org", "Ask"),
        ("eve%evil.com@example.org", "Ask"),
        ("evil.com!eve@example.org", "Ask"),
        ("eve\uff20evil.com@example.org", "Ask"),
        ("eve\ufe6bevil.com@example.org", "Ask"),
        ("eve&cc=ada@example.org", "Ask"),
        ("<eve@example.org", "Ask"),
        ('"eve"@example.org', "Ask"),
        ("eve(bo)@example.org", "Ask"),
        ("-odq@example.org", "Ask"),
        ("ada@ex\u0430mple.org", "Ask"),
        ("ada@EXAMPLE.ORG", "Ask"),
        ("ada@example\u3002org", "Ask"),
        ("ada@example.org.evil.com", "Ask"),
        ("ada@notexample.org", "Ask"),
        ("http://example.org/", "Ask"),
        ("HTTPS://EXAMPLE.ORG/", "Ask"),
        ("//example.org/", "Ask"),
        ("https:/\\example.org/", "Ask"),
        ("https://example.org\\@evil.com/", "Ask"),
        ("https://example.org%2F@evil.com/", "Ask"),
        ("https://example.org:443@evil.com/", "Ask"),
        ("https://example.org/\\evil.com", "Ask"),
        ("https://example.org/|https://evil.com/", "Ask"),
        ("https://example.org/a<https://evil.com/>", "Ask"),
        ("https://example.org/?to=https://evil.com/", "Ask"),
        *((f"root{end}ada@example.org", "Ask") for end in "\t\n\v\f\r\0\x85\xa0\u2028\u2029"),
        *((f"https://example.org/a{end}Host: evil.com", "Ask") for end in "\t\n\v\f\r\0\x85\xa0\u2028\u2029"),
        ("x" * 300, "Ask"),
        ([f"a{at}@example.org" for at in range(300)], "Ask"),
    ],
)
def test_own_domains_take_in_whole_addresses_only(value: object, expected: str) -> None:
    assert vouched("own_domains", to=value) == expected


def test_an_address_is_read_only_where_one_output_alone_holds_it() -> None:
    assert vouched("verbatim_reads", called="fetch") == "Allow"
    assert vouched("verbatim_reads") == "Ask"
    assert vouched("verbatim_reads", called="fetch", is_whole=False) == "Ask"
    assert vouched("verbatim_reads", called="fetch", beside=[Source("output", "other")]) == "Ask"
    assert vouched("verbatim_reads", called="fetch", beside=[*PLAN]) == "Allow"


def test_a_destructive_effect_runs_as_planned_where_the_operator_says_so() -> None:
    policies = [DEFAULT, "destructive_as_planned"]
    assert decide(policies, "remove", {"path": "a"}).name == "Allow"
    steered = decide(policies, "remove", {"path": "a"}, provenance=carrying("path", STRANGE))
    assert said(steered) == ("Ask", ["untrusted-steers", "destructive-unplanned"])


def test_a_replaced_rule_must_be_there() -> None:
    with pytest.raises(PolicyError, match="replaces 'destructive-effect', which no given file has"):
        decide([ARTICLE, "destructive_as_planned"], "remove")


def test_a_rule_that_vouches_is_checked_against_what_it_is_asked_about(tmp_path: Path) -> None:
    file = tmp_path / "v.cedar"
    file.write_text('permit(principal, action == Action::"trust", resource) when { context.sender };')
    with pytest.raises(PolicyError, match=r"v.cedar:1: the rule .* does not fit what it is asked about"):
        decide([DEFAULT, file], "post")
    file.write_text('permit(principal, action in [Action::"trust", Action::"post"], resource);')
    with pytest.raises(PolicyError, match="Write two rules"):
        decide([DEFAULT, file], "post")


def test_no_rule_about_calls_vouches_for_data(tmp_path: Path) -> None:
    file = tmp_path / "v.cedar"
    file.write_text('forbid(principal, action == Action::"trust", resource) when { context.value == "y" };')
    assert vouched(str(file)) == "Ask"


def test_cedar_is_asked_about_a_value_only_where_a_rule_reads_values() -> None:
    for more, asked in (("system_assigned", 1), ("own_domains", 3)):
        engine = CedarEngine(CATALOGUE, [DEFAULT, more])
        for value in ("a@example.org", "b@example.org", "a@example.org", "c" * MEMO_TEXT, "d@example.com"):
            request = ActionRequest(action=CATALOGUE["post"], inputs={"to": value}, provenance=carrying("to", STRANGE))
            vouched_for = more == "own_domains" and value.endswith("@example.org")
            assert engine.decide(request).name == ("Allow" if vouched_for else "Ask")
        assert engine._vouching._memo.cache_info().currsize == asked


def test_before_a_value_exists_a_refinement_counts_as_far_as_it_can() -> None:
    step = WorkflowStep("tell", "post", {"to": "${x}"})
    strange = carrying("to", STRANGE)
    for more, expected in (([], "Ask"), (["own_domains"], "Allow"), (["created_by_run"], "Ask")):
        early = CedarEngine(CATALOGUE, [DEFAULT, *more]).decide_early(step, CATALOGUE["post"], strange)
        assert isinstance(early, AtRunTime)
        assert early.at_least.name == expected
    unsure = Provenance((Flow("to", ("to",), STRANGE, is_certain=False),))
    early = CedarEngine(CATALOGUE, [DEFAULT]).decide_early(step, CATALOGUE["post"], unsure)
    assert isinstance(early, AtRunTime)
    assert early.at_least.name == "Allow"
