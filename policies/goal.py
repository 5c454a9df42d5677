"""The words of a goal, which are the user's own: what a plan repeats of them is as trusted as the goal."""

import re
from functools import lru_cache

_SHORTEST = 5
"""Characters of a text that can be said to stand in the goal; a shorter one stands there by chance."""
_JOIN = r"[.@/:\\%?&=~+#]"
"""What puts words together."""
_MORE = r"""(?![\s)\]}>"'\u00bb\u201d\u2019,;!]|$)"""
"""Behind such a sign: something that belongs to it, so that it does not end a sentence."""
_OPEN = r"""["'`(\[{<\u00ab\u2039\u201c\u201e\u2018\u201a\u300c\u300e\uff08]"""
"""Opens a quotation or a bracket."""
_CLOSE = r"""["'`)\]}>\u00bb\u203a\u201d\u201c\u2019\u2018\u300d\u300f\uff09.,;:!?\u3002\uff0c\uff01\uff1f]"""
"""Closes one, or a sentence."""
_ADDRESS = re.compile(rf"[@/\\]|[.:](?!{_CLOSE}{{0,20}}+(?:\s|\Z))")
"""Something of an address: a sign that does not end a sentence."""
_AROUND = re.compile(
    rf"{_OPEN}*+(?P<mark>\*{{0,3}}|_{{0,2}})"
    rf"(?:!?\[?[^\s()\[\]]*\]\()?(?i:(?:mailto|to|cc|bcc|from|e-?mail|url|link):)?{_OPEN}*"
    rf"\s{_CLOSE}*?(?P=mark){_CLOSE}*(?:(?<={_CLOSE})(?:\*\*|__){_CLOSE}*)?"
)
"""What may stand around a whole address, with a space in its place: quotations, brackets, Markdown, a label, a stop.

An underscore or a star may belong to an address, unless one in front and one behind make a pair, or two end a sentence.
"""
_BRACKETS = (("(", ")"), ("[", "]"), ("{", "}"), ("<", ">"))
"""One that a text has no pair of may have it in what stands around the text, and belongs to it."""
_FURTHEST = 200
"""Characters around an address that are looked at."""


@lru_cache(maxsize=4096)
def is_said(text: str, goal: str) -> bool:
    """Tell whether a text stands in the goal, as words of their own or as whole addresses.

    A piece of an address is another address.
    """
    if len(text) < _SHORTEST or text not in goal:
        return False
    words = re.compile(rf"(?<![\w-])(?<!{_JOIN}){re.escape(text)}(?![\w-]|{_JOIN}{_MORE})")
    unpaired = {one for first, last in _BRACKETS if text.count(first) != text.count(last) for one in (first, last)}
    for start in (found.start() for found in re.finditer(re.escape(text), goal)):
        end = start + len(text)
        left = re.split(r"\s", goal[max(0, start - _FURTHEST) : start])[-1]
        right = re.split(r"\s", goal[end : end + _FURTHEST], maxsplit=1)[0]
        if max(len(left), len(right)) == _FURTHEST or _ADDRESS.search(left + text + right):
            is_whole = unpaired.isdisjoint(left + right) and bool(_AROUND.fullmatch(f"{left} {right}"))
        else:
            is_whole = bool(words.match(goal, start))
        if is_whole:
            return True
    return False
