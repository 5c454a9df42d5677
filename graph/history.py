"""What a planner may see of a run's history: all of it, what no stranger can have written, or only what went wrong."""

from collections.abc import Iterable, Mapping

from agentic_workflows.graph.findings import Finding, from_json
from agentic_workflows.graph.values import JsonObject, JsonValue

WITHHELD = "It is withheld, because it may hold text from an untrusted source."


def is_untrusted(entry: Mapping[str, JsonValue]) -> bool:
    """Tell whether an entry may hold untrusted text; one of a step says so itself, or nobody knows."""
    return bool(entry.get("untrusted", entry.get("step") is not None))


def without_untrusted(history: Iterable[JsonObject]) -> list[JsonObject]:
    """Return the history with what became of each step, and without a word of what is untrusted."""
    return [_withheld(entry) if is_untrusted(entry) else entry for entry in history]


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


def _withheld(entry: JsonObject) -> JsonObject:
    if entry.get("step") is not None:
        kept = {key: value for key, value in entry.items() if key in {"step", "status", "plan", "untrusted"}}
        return {**kept, "result": {"$untrusted": WITHHELD}}
    result = entry.get("result")
    found = result.get("findings") if isinstance(result, dict) else None
    steps = [one.get("step") for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    findings: list[JsonValue] = [
        Finding(step=str(step), problem=f"came to no valid result. {WITHHELD}", remedy="Plan it differently.").to_json()
        for step in steps
    ]
    return {**entry, "result": {"findings": findings} if findings else {"feedback": f"Not yet. {WITHHELD}"}}
