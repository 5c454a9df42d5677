import subprocess
import sys
from contextlib import suppress
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic_workflows.errors import UnresolvedReferenceError
from agentic_workflows.graph.references import Reference, is_literal, parse, references_in, resolve, resolve_inputs
from agentic_workflows.graph.values import MAX_DEPTH, JsonValue

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
hostile = st.text(alphabet="${}'\"`\\ab.[]0|@*&?()!", max_size=30)


@given(values)
def test_a_whole_reference_keeps_value_and_type(value: Any) -> None:
    found = resolve("${x}", {"x": value})
    assert found is value


@given(st.text())
def test_text_around_a_reference_makes_it_text(value: str) -> None:
    assert resolve("<${x}>", {"x": value}) == f"<{value}>"


@pytest.mark.parametrize(
    "value, text",
    [(1, "1"), (1.5, "1.5"), (True, "true"), (None, "null"), ([1, "a"], '[1,"a"]'), ({"a": 1}, '{"a":1}')],
)
def test_a_value_in_a_text_is_its_json(value: Any, text: str) -> None:
    assert resolve("v=${x}", {"x": value}) == f"v={text}"


@given(hostile)
def test_resolved_text_is_never_scanned_again(text: str) -> None:
    scope = {"x": text, "a": "SCANNED AGAIN", "b": "SCANNED AGAIN"}
    assert resolve({"whole": "${x}", "part": ["- ${x} -"]}, scope) == {"whole": text, "part": [f"- {text} -"]}


@given(st.lists(st.sampled_from(["${x}", "$${", "$", "{", "}", "a", "${x.y}", "$${x}"]), min_size=2, max_size=8))
def test_an_escaped_mark_is_a_literal(parts: list[str]) -> None:
    said = {"${x}": '{"y":"!"}', "${x.y}": "!", "$${": "${", "$${x}": "${x}"}
    assert resolve(" ".join(parts), {"x": {"y": "!"}}) == " ".join(said.get(part, part) for part in parts)


@given(hostile)
def test_any_text_resolves_or_is_an_unresolved_reference(text: str) -> None:
    scope = {"a": {"a": [0, None], "b": "x"}, "b": [1]}
    with suppress(UnresolvedReferenceError):
        resolve(text, scope)


def test_references_evaluate_no_code() -> None:
    program = """
import builtins, os, sys
from agentic_workflows.errors import UnresolvedReferenceError
from agentic_workflows.graph.references import resolve
resolve("${x.a[0]}", {"x": {"a": [1]}})
def spy(event, _):
    if event in {"exec", "compile", "os.system", "subprocess.Popen", "open", "import"}:
        raise SystemExit(f"ran {event}")
sys.addaudithook(spy)
for text in ["${__import__('os').system('true')}", "${x.__class__.__mro__}", "${x | eval('1')}", "${x[`1+1`]}",
             "${exec}", "${x.constructor}", "{{7*7}} ${x}", "%(x)s {x} ${x.a[?eval(@)]}"]:
    try:
        resolve(text, {"x": {"a": [1]}})
    except UnresolvedReferenceError:
        pass
"""
    assert subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True).stderr == ""


@pytest.mark.parametrize(
    "text, found",
    [
        ("${mails[0].subject}", "hello"),
        ("${mails[-1].subject}", "bye"),
        ("${mails[*].subject}", ["hello", "bye"]),
        ("${mails[?size > `10`].subject | [0]}", "bye"),
        ("${mails[?subject == '}'].size}", []),
        ("${mails[0].{s: subject}}", {"s": "hello"}),
        ("${mails | length(@)}", 2),
        ('${odd."a b"}', 1),
        ("${odd.none}", None),
        ("${odd.list[1]}", None),
        ("${odd.list[0:1]}", [False]),
    ],
)
def test_a_path_is_a_jmespath(text: str, found: object) -> None:
    scope = {
        "mails": [{"subject": "hello", "size": 1}, {"subject": "bye", "size": 20}],
        "odd": {"a b": 1, "none": None, "list": [False, None]},
    }
    assert resolve(text, scope) == found


@pytest.mark.parametrize(
    "text",
    [
        "${missing}", "${x.missing}", "${x.a.b}", "${x[0]}", "${x.list[2]}", "${x.list[-3]}", "${x.list.a}",
        "${x.missing | [0]}", "${x.list[5].a}", "${x | to_number('y')}", "a ${x.missing} b", "${x.none.a}",
    ],
)  # fmt: skip
def test_what_is_not_there_is_an_error_not_null(text: str) -> None:
    with pytest.raises(UnresolvedReferenceError):
        resolve(text, {"x": {"a": "text", "none": None, "list": [1, 2]}})


@pytest.mark.parametrize(
    "text", ["${", "${}", "${x", "${ x}", "${1x}", "${x y}", "${x..y}", "${x.}", "${x[}", "${x.'}", "a ${x[?]} b"]
)
def test_a_malformed_reference_is_refused(text: str) -> None:
    with pytest.raises(UnresolvedReferenceError):
        parse(text)


@pytest.mark.parametrize("text", ["${x[::0]}", "${x | sum(@)}", "${x | join(`1`, @)}", "${x | nope(@)}"])
def test_a_path_that_cannot_be_evaluated_is_an_unresolved_reference(text: str) -> None:
    with pytest.raises(UnresolvedReferenceError):
        resolve(text, {"x": ["a"]})


@pytest.mark.parametrize("number", ["nan", "inf", "1e999"])
def test_a_path_gives_json_or_is_refused(number: str) -> None:
    with pytest.raises(UnresolvedReferenceError):
        resolve("${x | to_number(@)}", {"x": number})


def test_a_path_of_any_depth_is_found_or_refused() -> None:
    with pytest.raises(UnresolvedReferenceError):
        resolve("${x" + ".a" * 50_000 + "}", {"x": 1})
    with pytest.raises(UnresolvedReferenceError):
        resolve("${x" + "[0]" * 900 + "}", {"x": 1})


@pytest.mark.parametrize("part", [" | @", "[*]", "[]", " || @", " | [@]", "[?@]"])
def test_a_path_deeper_than_a_value_may_be_is_refused_before_anyone_follows_it(part: str) -> None:
    with pytest.raises(UnresolvedReferenceError, match=r"has a path of more than 100 parts inside one another; write"):
        parse("${x" + part * 150 + "}")


TEXT = "x" * 1_000_000
ROWS: JsonValue = [{"id": str(at), "of": at} for at in range(50_000)]


@pytest.mark.parametrize(
    "value, given",
    [
        ("${x" + " | [@, @]" * 40 + "}", 1),
        ("${x" + " | [@, @][]" * 40 + "}", [1]),
        ("${x" + " | {a: @, b: @} | [a, b]" * 30 + "}", 1),
        ("${x" + " | map(&[@, @], [@])" * 40 + "}", 1),
        ("${x" + " | merge({a: @}, {b: @})" * 40 + "}", 1),
        ("${x" + " | join('', [@, @])" * 60 + "}", "a"),
        ("${x" + " | to_string([@])" * 90 + "}", '"'),
        ("${x | join('" + "y" * 10_000 + "', @)}", ["a"] * 100_000),
        ("${x | map(&`" + str(list(range(1_000))) + "`, @) | to_string(@)}", ["a"] * 100_000),
        (("${x" + " | [@, @]" * 16 + " | length(@)}") * 1_000, 1),
        ("${x | reverse(@) | length(@)}" * 1_000, [1] * 50_000),
        ("${x}" * 1_000, TEXT),
        (["${x}"] * 1_000, TEXT),
        ([{"a": "${x} "}] * 1_000, TEXT),
    ],
)
def test_more_than_a_call_may_be_given_is_refused_before_it_is_there(value: Any, given: Any) -> None:
    began = perf_counter()
    with pytest.raises(UnresolvedReferenceError, match=r"It would be more than 2,000,000 parts"):
        resolve_inputs({"in": value}, {"x": given})
    assert perf_counter() - began < 10


@pytest.mark.parametrize(
    "value", ["${x[*].{name: id, number: of}}", "${x[*].join(': ', [id, id]) | join(', ', @)}", "${x}", "${x} ${x}"]
)
def test_as_much_as_a_table_holds_may_be_given(value: str) -> None:
    assert resolve(value, {"x": ROWS})


@pytest.mark.parametrize(
    "path", ["", " | sort_by(@, &c0) | reverse(@) | [-10:]", " | [@][] | [?c0 > `9`].c1 | length(@)"]
)
def test_a_table_of_a_million_cells_is_counted_once_however_it_is_ordered(path: str) -> None:
    table: JsonValue = [{f"c{at}": at for at in range(10)} for _ in range(100_000)]
    assert resolve("${x" + path + "}", {"x": table}) is not None


def test_inputs_are_as_deep_as_what_reads_them_can_go() -> None:
    def nested(depth: int, inner: JsonValue) -> JsonValue:
        return inner if depth == 0 else [nested(depth - 1, inner)]

    given = nested(MAX_DEPTH - 3, 1)
    assert resolve(nested(3, "${x}"), {"x": given}) == nested(MAX_DEPTH, 1)
    for value, path in ((nested(4, "${x}"), ""), ({"a": nested(3, "${x | [@]}")}, " | [@]")):
        with pytest.raises(UnresolvedReferenceError, match="It would be nested more than 100 levels deep") as error:
            resolve(value, {"x": given})
        assert str(error.value).startswith("${x" + path)


def test_a_path_leads_as_deep_as_a_value_may_be() -> None:
    value: JsonValue = "x"
    for _ in range(MAX_DEPTH):
        value = {"a": value}
    assert resolve("${x" + ".a" * MAX_DEPTH + "}", {"x": value}) == "x"


@pytest.mark.parametrize("rest", ["\\'" * 10_000, "'" * 10_001, '\\"' * 10_000, "{" * 20_000, "\\`" * 10_000])
def test_reading_a_reference_takes_time_in_proportion_to_it(rest: str) -> None:
    began = perf_counter()
    with pytest.raises(UnresolvedReferenceError):
        parse("${x." + rest)
    assert perf_counter() - began < 1


def test_references_are_found_wherever_they_stand() -> None:
    value = {"a": "${x}", "${no}": ["1 ${y.z} 2", {"b": ("${x[0]}", 5, None)}], "c": "$${z}"}
    assert list(map(str, references_in(value))) == ["${x}", "${y.z}", "${x[0]}"]
    assert (is_literal(value), is_literal({"c": "$${z}"})) == (False, True)


def test_a_template_keeps_its_parts_in_order() -> None:
    assert parse("a${x.y}$${b}") == ("a", Reference(name="x", path=".y"), "${b}")


def test_inputs_resolve_by_name_and_keys_are_left_alone() -> None:
    assert resolve_inputs({"${x}": "${x}", "n": 1}, {"x": 2}) == {"${x}": 2, "n": 1}
