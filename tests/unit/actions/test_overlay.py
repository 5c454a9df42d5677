from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.tools import StructuredTool

from agentic_workflows.actions.action import Registry
from agentic_workflows.actions.declare import action
from agentic_workflows.actions.overlay import annotated, overlaid, overlay_schema
from agentic_workflows.actions.registry import make_registry
from agentic_workflows.actions.undeclared import UndeclaredActions
from agentic_workflows.errors import ActionError
from agentic_workflows.graph.catalogue import ActionSpec, Annotations, ArgumentClass
from agentic_workflows.graph.labels import PLAN, output_source, result_label
from agentic_workflows.policies.engine import CedarEngine
from agentic_workflows.testing import RecordingAction


@action(arguments={"body": "content", "to": "value"}, secret_fields=("token",))
def send_email(to: str, body: str) -> str:
    """Send a mail."""
    return f"{to} {body}"


@action(read_only=True, resources=lambda _: ("inbox",))
def ping() -> str:
    """Ping."""
    return "pong"


ACTIONS = make_registry([send_email, ping])
CLASSES = st.sampled_from(get_args(ArgumentClass))
FIELD_NAMES = st.lists(st.sampled_from(["id", "messages.id", "*", "a b.*"]), max_size=3)
FIELDS = {
    **dict.fromkeys(("read_only", "destructive", "idempotent", "open_world", "trusted", "verbatim"), st.booleans()),
    **dict.fromkeys(("trusted_fields", "directory_fields", "secret_fields"), FIELD_NAMES),
}
SEND = {
    "arguments": st.dictionaries(st.sampled_from(["to", "body"]), CLASSES),
    "resources": st.none() | st.lists(st.sampled_from(["mail/{to}", "mail", "{to}-{body}"]), max_size=3),
}
NOTES = st.fixed_dictionaries(
    {}, optional={"send_email": st.fixed_dictionaries({}, optional={**FIELDS, **SEND}), "ping": st.just({})}
)


def refused(notes: Any, actions: Registry = ACTIONS) -> list[str]:
    with pytest.raises(ActionError) as error:
        overlaid(actions, notes, source="It")
    first, *findings = str(error.value).splitlines()
    assert first == "It cannot be used:"
    return [finding.removeprefix("  - ") for finding in findings]


# What it changes


def test_a_named_field_takes_the_place_of_the_declared_one_and_nothing_else_changes() -> None:
    known = overlaid(ACTIONS, {"send_email": {"destructive": False, "arguments": {"to": "target"}, "trusted": True}})
    assert known["send_email"].annotations == Annotations(
        destructive=False, arguments={"to": "target", "body": "content"}, trusted=True, secret_fields=("token",)
    )
    assert (known["send_email"].run, known["ping"]) == (send_email.run, ping)


def test_resources_are_named_by_inputs() -> None:
    touched = overlaid(ACTIONS, {"send_email": {"resources": ["mail/{to}", "{to}/{body}", "calendar"]}})
    resources = touched["send_email"].resources
    assert resources is not None
    assert set(resources({"to": "a@b.c", "body": 7})) == {"mail/a@b.c", "a@b.c/7", "calendar"}


@pytest.mark.parametrize("to", [None, ["a@b.c"], {}, 0.5, "", ".", "../b", "a//b", "/a"])
def test_an_input_that_names_no_one_resource_touches_everything(to: Any) -> None:
    resources = overlaid(ACTIONS, {"send_email": {"resources": ["mail/{to}"]}})["send_email"].resources
    assert resources is not None
    with pytest.raises(ActionError, match="'to' names no one resource"):
        resources({} if to is None else {"to": to})


def test_declared_resources_can_be_taken_back() -> None:
    assert overlaid(ACTIONS, {"ping": {"resources": None}})["ping"].resources is None
    assert overlaid(ACTIONS, {"ping": {"trusted": True}})["ping"].resources is ping.resources


def declared(actions: Registry) -> dict[str, dict[str, object]]:
    """All that is declared; of two actions that say the same each is still itself."""
    return {name: {each.name: getattr(one, each.name) for each in fields(one)} for name, one in actions.items()}


@given(NOTES)
def test_applying_it_twice_is_applying_it_once(notes: Any) -> None:
    once = overlaid(ACTIONS, notes)
    assert declared(overlaid(once, notes)) == declared(once)


@given(NOTES)
def test_an_empty_overlay_changes_nothing(notes: Any) -> None:
    known = overlaid(ACTIONS, notes)
    empty: list[Any] = [{}, {"send_email": {}, "ping": {}}]
    for nothing in empty:
        assert declared(overlaid(known, nothing)) == declared(known)


@given(NOTES, NOTES)
def test_the_later_of_two_wins_field_by_field(first: Any, second: Any) -> None:
    both, alone = overlaid(overlaid(ACTIONS, first), second)["send_email"], overlaid(ACTIONS, second)["send_email"]
    for field in FIELDS.keys() & second.get("send_email", {}).keys():
        assert getattr(both.annotations, field) == getattr(alone.annotations, field)
    for field in FIELDS.keys() - second.get("send_email", {}).keys():
        assert getattr(both.annotations, field) == getattr(overlaid(ACTIONS, first)["send_email"].annotations, field)


def worked_out(one: ActionSpec) -> tuple[object, ...]:
    return one.has_effect, one.takes_secrets, one.groups, output_source(one, "id"), result_label(one, PLAN)


@given(NOTES)
def test_nothing_that_was_worked_out_of_the_old_annotations_stays(notes: Any) -> None:
    for one in ACTIONS.values():
        worked_out(one)
    for name, one in overlaid(ACTIONS, notes).items():
        assert worked_out(one) == worked_out(ActionSpec(name=name, annotations=one.annotations))


def test_the_policy_digest_changes_with_it() -> None:
    digests = {CedarEngine(overlaid(ACTIONS, {"ping": {"trusted": said}})).digest for said in (True, False)}
    assert len(digests) == 2
    assert CedarEngine(overlaid(ACTIONS, {})).digest in digests


def test_an_operator_vouches_for_what_a_servers_hint_made_stricter() -> None:
    # The metadata of a tool as langchain-mcp-adapters 0.3.2 makes it of the annotations of a server under mcp 1.30.
    hints = {
        "title": "Search", "readOnlyHint": False, "destructiveHint": True, "idempotentHint": None,
        "openWorldHint": None, "_meta": {"readOnlyHint": True},
    }  # fmt: skip

    async def search(query: str) -> str:
        return query

    tool = StructuredTool.from_function(coroutine=search, name="search", description="Search.", metadata=hints)
    known = make_registry([tool])
    assert known["search"].annotations == Annotations()
    assert overlaid(known, {"search": {"read_only": True, "destructive": False}})["search"].annotations == Annotations(
        read_only=True, destructive=False
    )


# What it refuses


def test_everything_that_is_wrong_is_said_at_once() -> None:
    notes = {
        "send_emial": {},
        "ping": {"arguments": {"host": "target"}, "trusted": None, "resources": ["{}"]},
        "send_email": {
            "read_only": "yes",
            "destructve": True,
            "arguments": {"too": "target", "to": "targt", "body": 3},
            "secret_fields": "token",
            "trusted_fields": ["users[0].id", 3],
            "resources": ["mail/{to", "mail/{to}", "mail/{too}"],
        },
    }
    resources = (
        "Write a list of all that a call touches, with its own arguments in braces, such as "
        '["mail/{to}", calendar]; null is everything.'
    )
    fields = "Write a list of dotted names without indexes, `*` for any one name, such as [messages.id]."
    assert sorted(refused(notes)) == sorted(
        [
            "send_emial: There is no such action. Did you mean 'send_email'?",
            f"ping.resources.0: '{{}}' cannot stand here. {resources}",
            "ping.arguments.host: There is no such argument. There are: none.",
            'ping.trusted: null is not of type "boolean". Write true or false.',
            'send_email.read_only: "yes" is not of type "boolean". Write true or false.',
            "send_email.destructve: There is no such annotation. Did you mean 'destructive'?",
            "send_email.arguments.too: There is no such argument. Did you mean 'to'?",
            "send_email.arguments.to: 'targt' cannot stand here. Did you mean 'target'?",
            "send_email.arguments.body: 3 cannot stand here. There are: target, value, secret, param, content.",
            f'send_email.secret_fields: "token" is not of type "array". {fields}',
            f"send_email.trusted_fields.0: 'users[0].id' cannot stand here. {fields}",
            f'send_email.trusted_fields.1: 3 is not of type "string". {fields}',
            f"send_email.resources.0: 'mail/{{to' cannot stand here. {resources}",
            f"send_email.resources.2: 'mail/{{too}}' cannot stand here. {resources}",
        ]
    )


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="{}"), min_size=1))
def test_a_template_names_an_input_whatever_its_name_is(name: str) -> None:
    schema = {"type": "object", "properties": {name: {"type": "string"}}}
    known = {"act": RecordingAction("act", input_schema=schema)}
    resources = overlaid(known, {"act": {"resources": ["a/{" + name + "}"]}})["act"].resources
    assert resources is not None
    assert set(resources({name: "b"})) == {"a/b"}
    refused({"act": {"resources": ["a/{" + name + "x}"]}}, known)


@pytest.mark.parametrize("notes", [[], "send_email", None, {"send_email": None}, {"send_email": []}])
def test_what_is_no_mapping_is_refused(notes: Any) -> None:
    (finding,) = refused(notes)
    assert finding.endswith('is not of type "object". Write a mapping, such as `send_email: {destructive: false}`.')


def test_an_agent_without_declared_actions_has_none_to_annotate() -> None:
    undeclared = UndeclaredActions(lambda step: step)
    assert overlaid(undeclared, {}) is undeclared
    assert refused({"send": {}}, undeclared) == ["send: There is no such action. There are: none."]


# Files


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    def write(name: str, content: str | bytes) -> Path:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path / name

    return write


def test_files_are_laid_over_each_other_in_their_order(written: Callable[[str, str], Path]) -> None:
    first = written("first.yaml", "send_email: {read_only: true, trusted: true}\nping: {verbatim: true}")
    second = written("second.json", '{"send_email": {"trusted": false, "arguments": {"to": "param"}}}')
    known = annotated(ACTIONS, [first, str(second)])
    notes = known["send_email"].annotations
    assert (notes.read_only, notes.trusted, notes.arguments["to"]) == (True, False, "param")
    assert known["ping"].annotations.verbatim
    assert declared(annotated(ACTIONS, first)) == declared(annotated(ACTIONS, [first]))
    assert annotated(ACTIONS, ()) is ACTIONS


@pytest.mark.parametrize(
    "content, problem",
    [
        ("", "It is empty. Write something into it, or give another file."),
        (b"ping: {trusted: true} # \xff", "It is not UTF-8 text"),
        ("ping: {trusted: true}\nping: {trusted: false}", "The key 'ping' at line 2, column 1 stands twice."),
        ("ping: {trusted: true, trusted: false}", "The key 'trusted' at line 1, column 23 stands twice."),
        ("ping: {trusted: ", "It is not YAML"),
        ("ping: !!python/name:os.system", "builds something that is not JSON"),
        ("ping: {trusted: .nan}", "ping.trusted is nan, which JSON does not have."),
        ("ping: {}\n" + "#" * 1_000_000, "It has more than 1,000,000 bytes."),
        ("ping: {truste: true}", "ping.truste: There is no such annotation. Did you mean 'trusted'?"),
    ],
    ids=["empty", "not UTF-8", "action twice", "field twice", "not YAML", "tag", "nan", "large", "unknown"],
)
def test_a_file_with_a_fault_is_named_with_it(
    content: str | bytes, problem: str, written: Callable[[str, str | bytes], Path]
) -> None:
    path = written("tools.yaml", content)
    with pytest.raises(ActionError) as error:
        annotated(ACTIONS, path)
    assert f"The annotations in {path}" in str(error.value)
    assert problem in str(error.value)


def test_a_file_without_a_name_is_a_fault() -> None:
    with pytest.raises(ActionError, match="Give the path"):
        annotated(ACTIONS, "")


def test_faults_of_several_files_are_said_at_once(written: Callable[[str, str], Path], tmp_path: Path) -> None:
    with pytest.raises(ActionError) as error:
        annotated(ACTIONS, [tmp_path / "missing.yaml", written("tools.yaml", "pong: {}"), tmp_path])
    assert str(error.value).splitlines() == [
        f"The annotations in {tmp_path / 'missing.yaml'} cannot be used:",
        "  - It cannot be read: No such file or directory. Give the path of a YAML or JSON file.",
        f"The annotations in {tmp_path / 'tools.yaml'} cannot be used:",
        "  - pong: There is no such action. Did you mean 'ping'?",
        f"The annotations in {tmp_path} cannot be used:",
        "  - It cannot be read: Is a directory. Give the path of a YAML or JSON file.",
    ]


def test_the_schema_for_editors_is_what_is_checked() -> None:
    schema = overlay_schema(ACTIONS)
    jsonschema_rs.meta.validate(schema)
    validator = jsonschema_rs.validator_for(schema)
    assert validator.is_valid({"send_email": {"arguments": {"to": "target"}}})
    assert not validator.is_valid({"send_email": {"arguments": {"cc": "target"}}})
