from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import tool

from agentic_workflows.actions.builtin import builtin_actions
from agentic_workflows.actions.declare import action
from agentic_workflows.actions.registry import make_registry
from agentic_workflows.errors import ActionError
from agentic_workflows.graph.catalogue import GROUPS, Annotations


@action
def ping(host: str) -> str:
    """Ping a host."""
    return host


@tool
def look_up(title: str) -> str:
    """Look up a book."""
    return title


def test_actions_and_tools_are_found_by_name() -> None:
    known = make_registry([ping, look_up])
    assert list(known) == ["ping", "look_up"]
    assert known["ping"] is ping


def test_registry_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        make_registry([ping])["other"] = ping  # type: ignore[index]


def test_name_that_is_taken_is_refused() -> None:
    with pytest.raises(ActionError, match="Two actions are called 'ping'"):
        make_registry([ping, ping])


@pytest.mark.parametrize("name", [*GROUPS, "", " ping", "pi\nng", "x" * 201])
def test_name_that_cannot_be_one_is_refused(name: str) -> None:
    with pytest.raises(ActionError, match=r"group in policies|cannot be the name of an action"):
        make_registry([replace(ping, name=name)])


@pytest.mark.parametrize(
    "schema, said",
    [
        ([], "is a list, not a JSON Schema object"),
        ({}, 'not of "type": "object"'),
        ({"type": "array"}, 'not of "type": "object"'),
        ({"type": "objekt"}, "is no JSON Schema"),
        ({"type": "object", "required": "host"}, "is no JSON Schema"),
        ({"type": "object", "properties": {"a": {"$ref": "https://x.invalid/a"}}}, "refers to 'https://x.invalid/a'"),
        ({"type": "object", "allOf": [{"$ref": "file:///etc/passwd"}]}, "refers to 'file:///etc/passwd'"),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/missing"}}}, "is no JSON Schema"),
    ],
)
def test_input_schema_that_is_none_is_refused(schema: Any, said: str) -> None:
    with pytest.raises(ActionError, match=f"The input schema of 'ping' .*{said}"):
        make_registry([replace(ping, input_schema=schema)])


def test_output_schema_that_is_none_is_refused() -> None:
    with pytest.raises(ActionError, match="The output schema of 'ping' is no JSON Schema"):
        make_registry([replace(ping, output_schema={"type": "txt"})])


@pytest.mark.parametrize(
    "arguments, said",
    [({"hots": "target"}, "'ping' has no argument 'hots'; it has host"), ({"host": "taret"}, "none of target, value")],
)
def test_annotation_of_no_argument_is_refused(arguments: Any, said: str) -> None:
    with pytest.raises(ActionError, match=said):
        make_registry([replace(ping, annotations=Annotations(arguments=arguments))])


def test_builtin_actions_need_neither_folder_nor_model_to_be_listed(tmp_path: Path) -> None:
    def model() -> Any:
        raise AssertionError

    assert sorted(builtin_actions(tmp_path / "missing", model)) == [
        "append_file",
        "classify",
        "delete_file",
        "extract",
        "list_files",
        "move_file",
        "read_csv",
        "read_file",
        "search_files",
        "sum_column",
        "summarize",
        "word_count",
        "write_file",
        "write_text",
    ]
