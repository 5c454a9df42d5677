"""What policy says of one action call: Allow, Ask or Deny."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from agentic_workflows.graph.catalogue import ActionSpec
from agentic_workflows.graph.plan import WorkflowStep
from agentic_workflows.graph.values import JsonObject, JsonValue
from agentic_workflows.policies.provenance import Provenance


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One Cedar policy, as people are shown it."""

    id: str
    """Its `@id`, or where it has none its place: `default.cedar:12`."""
    reason: str = ""
    place: str = ""
    """File and line."""

    def __str__(self) -> str:
        return self.id if self.place in ("", self.id) else f"{self.id} ({self.place})"


@dataclass(frozen=True, kw_only=True)
class Allow:
    """The call may run now."""

    rules: tuple[Rule, ...] = ()

    name = "Allow"


@dataclass(frozen=True, kw_only=True)
class Ask:
    """The call may run once a person approves it."""

    rules: tuple[Rule, ...] = ()
    reason: str

    name = "Ask"


@dataclass(frozen=True, kw_only=True)
class Deny:
    """The call never runs."""

    rules: tuple[Rule, ...] = ()
    reason: str
    quotes_inputs: bool = False
    """Whether the reason is an error's, which may hold text of the inputs, and not what a rule says."""

    name = "Deny"


@dataclass(frozen=True, kw_only=True)
class AtRunTime:
    """The call depends on values that do not exist yet; `at_least` is what is certain already."""

    at_least: "Allow | Ask | Deny"

    name = "At run time"


Decision: TypeAlias = Allow | Ask | Deny
StaticDecision: TypeAlias = Decision | AtRunTime


@dataclass(frozen=True, kw_only=True)
class ActionRequest:
    """One action call as policy sees it."""

    action: ActionSpec
    inputs: Mapping[str, JsonValue]
    """Resolved."""
    human_review_required: bool = False
    count: int = 0
    """How many calls of this action the run has started before this one; an effect counts once, however often begun."""
    provenance: Provenance | None = None
    """Where the inputs come from; None is not known, and then none of them is trusted."""


class PolicyEngine(Protocol):
    """Decides; a run has exactly one, and there is no run without."""

    @property
    def digest(self) -> str:
        """Identify the policies in force; part of every review id."""
        ...

    def decide(self, request: ActionRequest, *, approved: bool = False) -> Decision:
        """Decide one call on its resolved inputs; never raises, any doubt is a Deny."""
        ...

    def decide_early(self, step: WorkflowStep, action: ActionSpec, provenance: Provenance | None) -> StaticDecision:
        """Decide a planned step as far as that is possible before the run."""
        ...


def to_json(decision: StaticDecision) -> JsonObject:
    """Return a decision as plain JSON, for displays."""
    if isinstance(decision, AtRunTime):
        return {"decision": decision.name, "at_least": to_json(decision.at_least)}
    return {
        "decision": decision.name,
        "reason": "" if isinstance(decision, Allow) else decision.reason,
        "rules": [{"id": rule.id, "reason": rule.reason, "place": rule.place} for rule in decision.rules],
    }


def word_and_why(decision: Mapping[str, Any]) -> tuple[str, str]:
    """Return a decision as JSON in words: which it is and why, with the rules that made it."""
    if "at_least" in decision:
        word, why = word_and_why(decision["at_least"])
        if word == "Allow":
            return decision["decision"], _by("Nothing is against it so far.", decision["at_least"])
        return f"{decision['decision']}, {word} at least", why
    reason = decision["reason"] or " ".join(rule["reason"] for rule in decision["rules"] if rule["reason"])
    return decision["decision"], _by(reason, decision)


def _by(reason: str, decision: Mapping[str, Any]) -> str:
    ids = ", ".join(rule["id"] for rule in decision["rules"])
    return f"{reason} [{ids}]" if ids else reason
