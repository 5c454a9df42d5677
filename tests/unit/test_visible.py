"""What a terminal or a notebook shows of a text hides nothing of it."""

import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic_workflows.cli.output import in_line, shortened
from agentic_workflows.notebook import show_reviews
from agentic_workflows.visible import visible

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
