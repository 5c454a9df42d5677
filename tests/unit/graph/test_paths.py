import json
import re

import jmespath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jmespath.exceptions import JMESPathError

from agentic_workflows.graph.paths import fields_of, is_below, keeps_texts, may_hold, only_selects

WHOLE = frozenset({""})


@pytest.mark.parametrize(
    "path, fields",
    [
        (".a.b[0].c", {"a.b.c"}),
        ("[*].id", {"id"}),
        ("[0:2].a", {"a"}),
        ("[].b", {"b"}),
        (".*", {"*"}),
        (".[a, b]", {"a", "b"}),
        (".{id: body}.id", {"body.()"}),
        (" | a || b", {"a", "b"}),
        (" | keys(@)[0]", {"()"}),
        (" | values(@)[0].id", {"()"}),
        (" | {id: @}.id.body", {"()"}),
        ("[0].merge(a, b).c", {"a.()", "b.()"}),
        (" | map(&body, @)[0]", {"()", "body.()"}),
        (' | "id.x"', {"id\\x"}),
        (" | @ < `1000`", {"()"}),
        (" | !a", {"a.()"}),
    ],
)
def test_a_path_names_every_field_that_it_may_give(path: str, fields: set[str]) -> None:
    assert fields_of(path, WHOLE) == (fields, set())


@pytest.mark.parametrize(
    "path, given, choosing",
    [
        ("[?subject == 'x'].id", {"id"}, {"subject.()"}),
        ("[?a].b[?c].d", {"b.d"}, {"a", "b.c"}),
        (" | sort_by(@, &date)[0].id", {"id"}, {"date.()"}),
        (" | max_by(@, &id).id", {"id"}, {"id.()"}),
        (" | min_by(@, &'x').id", {"id"}, {"", "()"}),
        (".a | max(@)", {"a"}, {"a.()"}),
        (" | sort(a)[0]", {"a"}, {"a.()"}),
        (" | reverse(a)", {"a"}, {"a.()"}),
        (" | [?a] | [0].[a, b]", {"a", "b"}, set()),
        (" | `[1]`", set(), {""}),
        (" | sort()", set(), {""}),
        (" | reverse()", set(), {""}),
        (" | abs(a) | 'x'", set(), {"a.()"}),
        (" | [a, b] | ['x', [1]]", {"a", "b"}, set()),
        (".a[?`true`].['x']", set(), {"a"}),
        (".a.*.['x']", set(), {"a.*"}),
        (".[length(a[?`true`].['x']), b]", {"b"}, {"a"}),
    ],
)
def test_a_path_names_every_field_that_only_chooses(path: str, given: set[str], choosing: set[str]) -> None:
    assert fields_of(path, WHOLE) == (given, choosing)


def test_a_path_that_names_very_many_fields_may_give_anything() -> None:
    assert fields_of(" | [a, b] | [0]" * 9, WHOLE).given >= {"a.a.a.a.a.a.a.a.a", "b.b.b.b.b.b.b.b.b"}
    assert fields_of(" | [a, b] | [0]" * 45, WHOLE) == ({"()"}, set())


@pytest.mark.parametrize("path", ["", ".a.b[0].c", "[-1]", "[0:2].a", "[*].*", "[].b", "[?a == 'x'] | [0].b", " | @"])
def test_a_path_of_fields_indexes_and_projections_only_selects(path: str) -> None:
    assert only_selects(path)


@pytest.mark.parametrize(
    "path",
    [
        " | 'x'", ' | `"x"`', ".[a, 'x'][1]", ".{x: a}", " | a || 'x'", " | a && b", " | !a", " | a == 'x'",
        " | keys(@)", "[*].join('', [a])", "[?a].to_string(@)", "[?a] | ['x']",
    ],
)  # fmt: skip
def test_anything_else_can_add_words_of_its_own(path: str) -> None:
    assert not only_selects(path)


@pytest.mark.parametrize(
    "path",
    [
        "", ".a[0].*", "[?contains(a, 'x')].b | [0]", " | sort_by(@, &to_number(a))[-1].b", " | a || b && 'x'",
        ".[a, b] | {a: @}", " | keys(@)[0]", " | reverse(sort_by(@, &a))[0].b", " | reverse([*].a)", " | max(a)",
    ],
)  # fmt: skip
def test_a_path_that_takes_and_names_keeps_texts(path: str) -> None:
    assert keeps_texts(path)


@pytest.mark.parametrize(
    "path",
    [
        " | join('', [a, 'x'])", "[*].to_string(@)", " | reverse(a)", ".a | reverse(@)", " | reverse(max(a))",
        " | {a: join('', b)}", ".[a, length(b)]", " | !a", " | a == 'x'", " | keys(@) | join(',', @)",
        " | sort(map(&to_string(@), a))", " | not_null(a, to_string(b))",
    ],
)  # fmt: skip
def test_a_path_that_makes_a_text_of_others_keeps_them_not(path: str) -> None:
    assert not keeps_texts(path)


@pytest.mark.parametrize(
    "field, declared, expected",
    [
        ("id", "id", True),
        ("id.x", "id", True),
        ("id", "id.x", False),
        ("", "id", False),
        ("idx", "id", False),
        ("id\\x", "id", False),
        ("files.9.id", "files.*.id", True),
        ("*.id", "a.id", False),
        ("", "*", True),
        ("a.b", "*", True),
        ("a", "", False),
        ("b.()", "b", True),
        ("b.()", "b.*", False),
        ("()", "*.id", False),
    ],
)
def test_a_declared_field_takes_in_what_is_below_it(field: str, declared: str, *, expected: bool) -> None:
    assert is_below(field, declared) is expected


@pytest.mark.parametrize(
    "field, expected",
    [
        ("", True),
        ("login", True),
        ("login.token.x", True),
        ("*.*.x", True),
        ("()", True),
        ("login.()", True),
        ("other", False),
        ("login.user", False),
        ("other.()", False),
        ("login.user.()", False),
        ("*.user", False),
    ],
)
def test_a_field_may_hold_a_declared_one_unless_their_names_differ(field: str, *, expected: bool) -> None:
    assert may_hold(field, "login.token") is expected


names = st.sampled_from(["a", "b", "id"])
steps = st.one_of(
    names.map(".{}".format),
    st.sampled_from(["[0]", "[*]", "[]", ".*", "[0:1]", "[?a].b", " | sort_by(@, &id)", " | values(@)", " | [@, @.a]"]),
    st.sampled_from([".{id: a, b: b}", " | to_string(@)", " | a || b", " | not_null(b, a)", " | merge(@, {id: a})"]),
    st.sampled_from([".{id: @}", " | {a: b}", " | a && @", " | to_array(b)", " | map(&id, [@])", " | {id: {a: @}}.id"]),
)
paths = st.lists(steps, max_size=5).map("".join)


def marked(value: object, field: str = "") -> object:
    """A value whose every text says in which field it stands."""
    if isinstance(value, dict):
        return {key: marked(inner, f"{field}.{key}".lstrip(".")) for key, inner in value.items()}
    return [marked(inner, field) for inner in value] if isinstance(value, list) else f"<{field}>"


documents = st.recursive(
    st.just(""), lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=3), max_leaves=12
).map(marked)


def fields_in(value: object) -> set[str]:
    """The fields that the texts in a value came from."""
    return set(re.findall(r"<([^<>]*)>", json.dumps(value)))


declarations = st.sampled_from(["a", "b", "id", "a.b", "a.id", "*.id", "b.*"])


@given(documents, paths, declarations)
@settings(max_examples=300, deadline=None)
def test_a_path_below_a_declared_field_gives_nothing_but_that_field(document: object, path: str, declared: str) -> None:
    try:
        found = jmespath.search("@" + path, document)
    except JMESPathError:
        return
    if all(is_below(field, declared) for field in fields_of(path, WHOLE).given):
        assert all(is_below(field, declared) for field in fields_in(found)), (path, found)


@given(documents, paths, declarations)
@settings(max_examples=300, deadline=None)
def test_a_path_that_gives_anything_of_a_declared_field_tells_that_it_may(
    document: object, path: str, declared: str
) -> None:
    try:
        found = jmespath.search("@" + path, document)
    except JMESPathError:
        return
    if any(is_below(field, declared) for field in fields_in(found)):
        assert any(may_hold(field, declared) for field in fields_of(path, WHOLE).given), (path, found)


makers = st.sampled_from([" | reverse(@)", " | reverse([*].id)", " | join('', [a, b])", " | keys(@)", " | max([*].id)"])


@given(documents, st.lists(steps | makers, max_size=5).map("".join))
@settings(max_examples=500, deadline=None)
def test_what_a_path_gives_that_keeps_texts_stands_in_the_value_or_the_path(document: object, path: str) -> None:
    try:
        found = jmespath.search("@" + path, document)
    except JMESPathError:
        return
    if keeps_texts(path):
        own = {"null", *(form for name in re.findall(r"\w+", path) for form in (name, json.dumps(name)))}
        known = texts_in(document)
        assert texts_in(found) <= known | own | {json.dumps(name) for name in known}, (path, found)


def texts_in(value: object) -> set[str]:
    """Every text in a value, names of fields among them."""
    if isinstance(value, dict):
        return {*value, *(text for inner in value.values() for text in texts_in(inner))}
    return {text for inner in value for text in texts_in(inner)} if isinstance(value, list) else {json.dumps(value)}


@given(documents, paths)
@settings(max_examples=300, deadline=None)
def test_what_a_path_gives_that_only_selects_stands_in_the_value(document: object, path: str) -> None:
    try:
        found = jmespath.search("@" + path, document)
    except JMESPathError:
        return
    assert found is None or not only_selects(path) or texts_in(found) <= texts_in(document)
