"""A finding: one thing that is wrong, where, and what to do about it."""

from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches

from agentic_workflows.graph.values import JsonObject

MOST_FINDINGS = 20
"""Findings about one value under one schema: each row of a table may break it, and no more are told."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that stands between a plan and its run."""

    step: str | None = None
    """The step it is about; None where it is about the whole plan."""
    field: str | None = None
    problem: str
    remedy: str = ""

    def to_json(self) -> JsonObject:
        """Return the finding as plain JSON."""
        return {"step": self.step, "field": self.field, "problem": self.problem, "remedy": self.remedy}

    def __str__(self) -> str:
        place = ".".join(part for part in (self.step, self.field) if part)
        return " ".join(part for part in (f"{place}:" if place else "", self.problem, self.remedy) if part)


def from_json(data: JsonObject) -> Finding:
    """Return the finding that `to_json` wrote."""
    step, field = data.get("step"), data.get("field")
    return Finding(
        step=None if step is None else str(step),
        field=None if field is None else str(field),
        problem=str(data.get("problem", "")),
        remedy=str(data.get("remedy", "")),
    )


def did_you_mean(name: str, known: Collection[str], *, title: str) -> str:
    """Return the remedy for an unknown name: the known one that is most like it, or a title and all known ones."""
    near = get_close_matches(name, known, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"{title}: {', '.join(known) or 'none'}."
