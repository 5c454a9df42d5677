"""What a history says went wrong with earlier plans."""

from collections.abc import Iterable, Mapping

from agentic_workflows.graph.findings import from_json


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
