"""What a planner may see of a run's history: no secret, and where it must see nothing untrusted, no word of that.

A late plan is one that was made after its planner was shown untrusted output: then its own words, such as the names of
its steps, are untrusted, too.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from agentic_workflows.graph.findings import Finding, from_json
from agentic_workflows.graph.labels import LATE_PLAN, Label, is_plain
from agentic_workflows.graph.values import JsonObject, JsonValue

WITHHELD = "It is withheld, because it may hold text from an untrusted source."
SECRECY = "It is withheld, because it may hold a secret."
NAMELESS = "(withheld)"
"""Stands for the name of a step of a late plan."""
SAID = "said"
"""Key of what a person said about a late plan, in a form that holds none of the plan's words."""
_UNTRUSTED = "$untrusted"
MARKS = frozenset({"untrusted", "secret", "late", SAID})
"""Keys of an entry that say how far its text may be told, or what may be told in its place."""


@lru_cache(maxsize=1024)
def marks(label: Label) -> Mapping[str, JsonValue]:
    """Return what an entry says of its text, by the label of that."""
    if is_plain(label):
        return {"untrusted": False}
    untrusted = not all(source.is_trusted for source in label)
    # Nor is a planner told what was got with a secret: a service may give back what it was given.
    has_secret = any("secret" in source.traits for source in label)
    return {
        "untrusted": untrusted,
        **({"secret": True} if has_secret else {}),
        **late_marks(is_late=label >= LATE_PLAN),
    }


def late_marks(*, is_late: bool) -> JsonObject:
    """Return what an entry says of its text where that holds words of a late plan, such as its names of steps."""
    return {"untrusted": True, "late": True} if is_late else {}


def has_late(history: Iterable[Mapping[str, JsonValue]]) -> bool:
    """Tell whether a plan of the run so far was made after untrusted output was seen."""
    return any(map(_is_late, history))


def is_untrusted(entry: Mapping[str, JsonValue]) -> bool:
    """Tell whether an entry may hold untrusted text; one of a step says so itself, or nobody knows."""
    return bool(entry.get("untrusted", entry.get("step") is not None))


def joint_marks(steps: Sequence[Mapping[str, JsonValue]]) -> JsonObject:
    """Return what an entry says of its text that tells of several steps, by the marks of each."""
    marked = {"untrusted": any(one.get("untrusted", True) for one in steps), "secret": any(map(_has_secret, steps))}
    return {**{mark: True for mark, holds in marked.items() if holds}, **late_marks(is_late=has_late(steps))}


def without_secrets(history: Iterable[JsonObject]) -> list[JsonObject]:
    """Return the history with what became of each step, and without what may hold a secret."""
    return [_withheld(entry, "$secret", SECRECY) if _has_secret(entry) else entry for entry in history]


def without_untrusted(history: Iterable[JsonObject]) -> list[JsonObject]:
    """Return the history with what became of each step, and without a word of what is untrusted."""
    return [_withheld(entry, _UNTRUSTED, WITHHELD) if is_untrusted(entry) else entry for entry in history]


def faults_in(history: Iterable[Mapping[str, object]]) -> list[str]:
    """Return every finding and every piece of feedback once, in order; nothing of what any step gave."""
    said: dict[str, None] = {}
    for entry in history:
        result = entry.get("result")
        if entry.get("step") is not None or not isinstance(result, Mapping):
            continue
        for finding in result.get("findings") or []:
            said[str(from_json(finding)) if isinstance(finding, dict) else str(finding)] = None
        if result.get("feedback"):
            said[str(result["feedback"])] = None
    return list(said)


def _has_secret(entry: Mapping[str, JsonValue]) -> bool:
    return bool(entry.get("secret"))


def _is_late(entry: Mapping[str, JsonValue]) -> bool:
    return bool(entry.get("late"))


def _withheld(entry: JsonObject, kind: str, why: str) -> JsonObject:
    if entry.get("step") is not None:
        kept = {key: value for key, value in entry.items() if key in {"step", "status", "plan", *MARKS}}
        return {**kept, **({"step": NAMELESS} if _is_late(entry) else {}), "result": {kind: why}}
    result = entry.get("result")
    found = result.get("findings") if isinstance(result, dict) and not _is_late(entry) else None
    steps = [one.get("step") for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    findings: list[JsonValue] = [
        Finding(step=str(step), problem=f"came to no valid result. {why}", remedy="Plan it differently.").to_json()
        for step in steps
    ]
    feedback = entry.get(SAID) if kind == _UNTRUSTED else None
    return {**entry, "result": {"findings": findings} if findings else {"feedback": feedback or f"Not yet. {why}"}}
