"""The report on a plan: its order, a decision on every step, and everything that stands in its way."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

from agentic_workflows.collector import collector_off
from agentic_workflows.errors import UnresolvedReferenceError
from agentic_workflows.graph.catalogue import Catalogue
from agentic_workflows.graph.checks import static_findings
from agentic_workflows.graph.findings import Finding
from agentic_workflows.graph.plan import Plan
from agentic_workflows.graph.values import JsonObject, digest
from agentic_workflows.policies.decision import Deny, PolicyEngine, StaticDecision, to_json
from agentic_workflows.policies.provenance import Provenance, trace
from agentic_workflows.policies.secrecy import secrecy_findings


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is known of a plan before it runs."""

    plan: Plan
    order: tuple[str, ...] = ()
    """Names of the steps as they would run one by one; empty where the plan has no order."""
    decisions: Mapping[str, StaticDecision] = field(default_factory=dict)
    """By step; those with findings of their own are not decided on."""
    findings: tuple[Finding, ...] = ()
    provenance: Mapping[str, Provenance] = field(default_factory=dict)
    """By step, where its arguments come from."""
    refusal: str = ""
    """A digest of plan and policies: a refusal is remembered by it, for under other policies the plan may be right."""

    @property
    def is_accepted(self) -> bool:
        """Tell whether the plan may run."""
        return not self.findings

    def to_json(self) -> JsonObject:
        """Return the report as plain JSON, for displays; what is equal in it may be one object."""
        told_once, sources = cache(to_json), cache(Provenance.to_json)
        return {
            "plan": self.plan.to_json(),
            "order": list(self.order),
            "decisions": {step: told_once(decision) for step, decision in self.decisions.items()},
            "findings": [finding.to_json() for finding in self.findings],
            "provenance": {step: told for step, one in self.provenance.items() if (told := sources(one))},
        }


@collector_off()
def examine(
    plan: Plan,
    *,
    catalogue: Catalogue,
    engine: PolicyEngine,
    max_iterations: int | None = None,
    used: int = 0,
    refused: Collection[str] = (),
) -> Report:
    """Return the report on a plan; nothing is run.

    Args:
        plan: the plan.
        catalogue: the actions that it may call.
        engine: decides each step.
        max_iterations: how many iterations the whole run may use; None is no limit.
        used: how many of them the run has used.
        refused: the refusals that there were already.

    """
    findings = static_findings(plan, catalogue)
    order = _order(plan)
    traced = trace(plan, catalogue) if order else {}
    findings += secrecy_findings(plan, catalogue, traced) if order else ()
    unsound = {finding.step for finding in findings}
    sound = [step for step in plan.steps if step.name not in unsound and catalogue.get(step.action)]
    decisions = {step.name: engine.decide_early(step, catalogue[step.action], traced.get(step.name)) for step in sound}
    findings += [_denied(step, decision) for step, decision in decisions.items() if isinstance(decision, Deny)]
    findings += _lacking_iterations(plan, max_iterations, used)
    refusal = digest([plan.digest, engine.digest])
    if refusal in refused:
        problem = "This plan was refused already, so giving it again is no progress."
        findings.append(Finding(problem=problem, remedy="Give another plan, or none."))
    found = tuple(findings)
    return Report(plan=plan, order=order, decisions=decisions, findings=found, provenance=traced, refusal=refusal)


def _denied(step: str, decision: Deny) -> Finding:
    rules = ", ".join(map(str, decision.rules))
    problem = f"is denied{f' by {rules}' if rules else ''}: {decision.reason}"
    return Finding(step=step, field="action", problem=problem, remedy="Reach the goal without it.")


def _lacking_iterations(plan: Plan, max_iterations: int | None, used: int) -> Iterator[Finding]:
    needed = used + len(plan.steps)
    if max_iterations is not None and needed > max_iterations:
        problem = f"The plan's {len(plan.steps)} steps and {used} used iterations exceed the limit of {max_iterations}."
        yield Finding(field="max_iterations", problem=problem, remedy="Use fewer steps or foreach, or raise it.")


def _order(plan: Plan) -> tuple[str, ...]:
    try:
        order = plan.order
    except UnresolvedReferenceError:
        return ()
    return order if len(order) == len(plan.steps) else ()
