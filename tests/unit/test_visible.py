"""What a terminal or a notebook shows of a text hides nothing of it."""

import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic_workflows.cli.output import Output, in_line, shortened
from agentic_workflows.cli.questions import show_question
from agentic_workflows.notebook import show_reviews
from agentic_workflows.visible import quoted, visible

INVISIBLE = [
    *"\u034f\u115f\u1160\u17b4\u17b5\u180b\u180f\u2800\u3164\ufe00\ufe0f\uffa0\U000e0100\U000e01ef",
    *"\u00ad\u200b\u200d\u202e\u2028\u3000\U000e0061\x00\x1b",
]


@pytest.mark.parametrize("hidden", INVISIBLE, ids=ascii)
def test_what_nothing_is_drawn_of_is_written_out(hidden: str) -> None:
    text = f"bob{hidden}@example.org"
    question = {"id": "r", "description": "d", "rules": [], "args": {f"to{hidden}": text}}
    view = show_reviews({"reviews": [question]})
    for shown in (visible(text), in_line(text), shortened({"to": [text]}, 80), view.text, view.html):
        assert hidden not in shown
    assert visible(text) == f"bob{hidden.encode('unicode_escape').decode()}@example.org"


def test_every_selector_and_filler_of_unicode_is_written_out() -> None:
    names = ((one, unicodedata.name(one, "")) for one in map(chr, range(0x110000)))
    blank = [one for one, name in names if re.search("VARIATION SELECTOR|HANGUL .*FILLER$", name)]
    assert len(blank) == 16 + 240 + 4 + 4
    assert all(visible(one) != one for one in blank)


@pytest.mark.parametrize(
    "text",
    ["Zoë, 中文, हिन्दी, 한국어, עברית", "\u2600\ufe0f \u2764\ufe0f \U0001f6e0\ufe0f \U0001f600", "a\tb\n\u00a0c"],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_the_colour_of_a_symbol_stays_behind_one_alone() -> None:
    assert visible("\u2764\ufe0f\ufe0f") == "\u2764\ufe0f\\ufe0f"
    assert visible("\u2800\ufe0f a\ufe0f") == "\\u2800\\ufe0f a\\ufe0f"


@given(st.text())
def test_what_is_shown_of_json_is_the_same_json(text: str) -> None:
    written = json.dumps(text, ensure_ascii=False)
    assert json.loads(visible(written, but="", escaped=lambda one: json.dumps(one)[1:-1])) == text


def shown_of(capsys: pytest.CaptureFixture[str], **inputs: object) -> list[str]:
    """The lines that a terminal shows of a question with these inputs, which come from a stranger."""
    sources = {name: [{"source": "inbox.body", "trusted": False}] for name in inputs}
    question = {"id": "r", "step": "s", "name": "send", "reason": "R.", "rules": [], "args": inputs}
    show_question({**question, "provenance": sources}, Output(as_json=False), number=1, total=1)
    return capsys.readouterr().out.splitlines()[4:]


CAME = "   <- inbox.body, untrusted"


@pytest.mark.parametrize(
    "value, shown",
    [
        ("bob@example.org", '"bob@example.org"'),
        ("bob@example.org   <- contacts.email", '"bob@example.org   <- contacts.email"'),
        ('bob@example.org"   <- contacts.email', r'"bob@example.org\"   <- contacts.email"'),
        ("bob@example.org ... (12 characters more)", '"bob@example.org ... (12 characters more)"'),
        ("true", '"true"'),
        (True, "true"),
        ("null", '"null"'),
        (None, "null"),
        ('"a"', r'"\"a\""'),
        (["a"], '[\n              "a"\n            ]'),
        ("", '""'),
        ("a \nb\\n", '"a \n            b\\\\n"'),
        ("\u200b\\u200b", r'"\u200b\\u200b"'),
        ("x" * 4_001, f'"{"x" * 4_000}" ... (1 characters more)'),
    ],
)
def test_no_text_passes_for_another_value_or_for_what_we_say_of_it(
    capsys: pytest.CaptureFixture[str], value: object, shown: str
) -> None:
    assert "\n".join(shown_of(capsys, to=value)) == f"  Input:  to = {shown}{CAME}"


def test_no_name_of_an_input_passes_for_its_value(capsys: pytest.CaptureFixture[str]) -> None:
    name = 'to = "bob@example.org"   <- contacts.email'
    assert shown_of(capsys, **{name: "x"}) == [f'  Input:  {json.dumps(name)} = "x"{CAME}']
    question = {"id": "r", "description": "d", "rules": [], "args": {"to | 1": "true", "cc": True}}
    assert show_reviews({"reviews": [question]}).text.splitlines()[1:] == ['  "to | 1" | "true"', "  cc | true"]


@given(st.text(), st.text())
def test_two_texts_are_never_quoted_alike(one: str, other: str) -> None:
    assert (visible(quoted(one)) == visible(quoted(other))) is (one == other)


@pytest.mark.parametrize(
    "one", ["\u00ad", "\x7f", "\x9b", "\x1b", "\u202e", "\U000e0100", "\U000f0000", "\ud800", "😀", "\t"]
)
def test_what_is_typed_as_it_is_shown_is_the_same(capsys: pytest.CaptureFixture[str], one: str) -> None:
    """An edit is JSON."""
    for value in (f"a{one}b", [f"a{one}b"], {one: 1}):
        shown = "\n".join(shown_of(capsys, to=value)).removeprefix("  Input:  to = ").removesuffix(CAME)
        assert json.loads(shown) == value


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_what_is_quoted_is_json(value: object) -> None:
    assert json.loads(visible(quoted(value)), strict=False) == value
