"""How text is shown that may come from an attacker: nothing of it is obeyed, is hidden, or passes for words of ours."""

import json
import re
from collections.abc import Callable
from typing import Final
from unicodedata import category

_BLANK: Final = re.compile(
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
"""Characters that Python takes for printable and of which nothing is drawn: those of Default_Ignorable_Code_Point in
Unicode's DerivedCoreProperties.txt, and the blank pattern of Braille."""
_COLOURED: Final = "\ufe0f"
"""Asks for the symbol before it in colour."""
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")


def _escaped(one: str) -> str:
    return one.encode("unicode_escape").decode("ascii")


def visible(text: str, *, but: str = "\n\t\u00a0", escaped: Callable[[str], str] = _escaped) -> str:
    """Return text with everything written out that a display would obey or hide, but for the characters of `but`."""
    if text.isprintable() and not _BLANK.search(text):
        return text
    pairs = zip(f" {text}", text, strict=False)
    return "".join(one if one in but or _is_seen(one, behind) else escaped(one) for behind, one in pairs)


def _is_seen(one: str, behind: str) -> bool:
    """Tell whether a character is drawn, given the one before it: what asks for colour is so only behind a symbol."""
    if one == _COLOURED:
        return category(behind) == "So" and not _BLANK.match(behind)
    return one.isprintable() and not _BLANK.match(one)


def json_escaped(one: str) -> str:
    """Return a character as JSON writes it out."""
    return json.dumps(one)[1:-1]


def quoted(value: object, *, indent: int | None = None) -> str:
    """Return a value as JSON, a text with its line breaks: it passes for no other value, and for no words of ours.

    What a display would obey or hide is written out as JSON does that: typed as it is shown, it is the same value.
    """
    if isinstance(value, str):
        text = '"' + "\n".join(json.dumps(line, ensure_ascii=False)[1:-1] for line in value.split("\n")) + '"'
    else:
        text = json.dumps(value, indent=indent, ensure_ascii=False)
    return visible(text, escaped=json_escaped)


def quoted_name(name: str) -> str:
    """Return a name as it is, or quoted in one line where it has more than letters, digits, `_` and `-`."""
    return name if _PLAIN_NAME.fullmatch(name) else quoted(name).replace("\n", "\\n")
