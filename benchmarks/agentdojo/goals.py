"""Does a goal, or a text, state a value? Reading as a person would: whole words, dates in prose, ids only as ids."""

import re
from typing import Any, Final

_NAMES: Final = "january february march april may june july august september october november december"
_MONTHS: Final = {month: number for number, month in enumerate(_NAMES.split(" "), 1)}
_NUMBER: Final = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?!\w)")
_DATE: Final = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?:[ T](\d{2}):(\d{2}))?.*")
_SHORTEST: Final = 3


def same(value: Any, leaf: Any) -> bool:
    """Tell whether an argument is exactly what stands in an output."""
    if isinstance(value, int | float) and isinstance(leaf, int | float):
        return float(value) == float(leaf)
    return _normal(value) == _normal(leaf)


def in_text(value: Any, text: Any) -> bool:
    """Tell whether a text holds a value, as words or a number of its own."""
    if not isinstance(text, str):
        return same(value, text)
    if isinstance(value, int | float):
        return any(abs(float(found.replace(",", "")) - value) < 1e-9 for found in _NUMBER.findall(text))
    if len(str(value)) < _SHORTEST:
        return False
    return re.search(rf"(?<![\w-]){re.escape(_normal(value))}(?![\w-])", _normal(text)) is not None


def is_in_goal(name: str, value: Any, goal: str) -> bool:
    """Tell whether the user states a value; a short id counts only where it is written as one."""
    if _is_date_in(value, goal):
        return True
    is_id = re.search(r"(^|_)ids?$", name) or (isinstance(value, str) and re.fullmatch(r"\d{1,5}", value))
    if not is_id:
        return in_text(value, goal) or (isinstance(value, str) and _normal(value) in _normal(goal).split())
    one = re.escape(str(value).casefold())
    written = rf"(\bids?\b|#|\bnumber\b|\bno\.)\s*:?\s*['\"]?{one}(?![\w-])|['\"]{one}['\"]"
    return re.search(written, goal.casefold()) is not None


def _normal(value: Any) -> str:
    return re.sub(r"^https?://", "", str(value).casefold().strip())


def _is_date_in(value: Any, goal: str) -> bool:
    found = _DATE.fullmatch(str(value).strip())
    if not found:
        return False
    year, month, day = (int(part) for part in found.groups()[:3])
    return any(month == b and day == c and a in (None, year) for a, b, c in _dates_in(goal.casefold()))


def _dates_in(text: str) -> set[tuple[int | None, int, int]]:
    found: set[tuple[int | None, int, int]] = {
        (int(year), int(month), int(day)) for year, month, day in re.findall(r"(\d{4})-(\d{2})-(\d{2})", text)
    }
    names = "|".join(_MONTHS)
    pairs = re.findall(rf"\b({names})\s+(\d{{1,2}})(?:st|nd|rd|th)?\b", text)
    pairs += [(month, day) for day, month in re.findall(rf"\b(\d{{1,2}})(?:st|nd|rd|th)?\s+of\s+({names})\b", text)]
    years: set[int | None] = {int(year) for year in re.findall(r"\b(20\d{2})\b", text)}
    return found | {(year, _MONTHS[month], int(day)) for month, day in pairs for year in years or {None}}
