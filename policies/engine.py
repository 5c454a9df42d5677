"""The policy engine: asks Cedar, first as if nobody had approved the call, then as if a person had.

Whatever is not a clean answer is a Deny: an error, a request that does not fit the schema, an action that nobody
declared. Two facts about Cedar that this rests on: a rule that reads a missing attribute is skipped, so policies and
requests are both checked against the schema; and membership of groups comes with the entities, so these are always
the ones made from the schema.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Final, cast

import cedarpy

from agentic_workflows.errors import PolicyError
from agentic_workflows.graph.catalogue import DANGEROUS, GROUPS, TRUST, ActionSpec, Catalogue
from agentic_workflows.graph.plan import WorkflowStep
from agentic_workflows.graph.references import is_literal, resolve_inputs
from agentic_workflows.graph.values import JsonObject, JsonValue, as_json, canonical, digest
from agentic_workflows.policies.decision import (
    ActionRequest,
    Allow,
    Ask,
    AtRunTime,
    Decision,
    Deny,
    Rule,
    StaticDecision,
)
from agentic_workflows.policies.files import DEFAULT, Sources, load_policies
from agentic_workflows.policies.policy import MEMO, MEMO_TEXT, part_of, policy_set
from agentic_workflows.policies.provenance import Provenance
from agentic_workflows.policies.schema import (
    PRINCIPAL,
    RESOURCE,
    cedar_schema,
    inputs_shape,
    is_overwriting,
    known_actions,
    with_defaults,
)
from agentic_workflows.policies.trust import CARRIED, Carried, Vouching, is_about_trust
from agentic_workflows.policies.validation import check_policies

SETS = 128
"""Sets of policies kept parsed, each of some hundred kilobytes where there are a hundred policies."""
NO_RULE = "No rule allows it."
NEVER = "This action is never executed, whatever policies say and whoever approves it."
NOTHING_UNKNOWN: frozenset[str] = frozenset()
COUNT = frozenset({"count"})
"""What a planned step never knows yet: how many calls were started before it."""
RUN_TIME = frozenset({"count", "inputs", "overwrites"})
"""What depends on values that a planned step may not have yet."""


@dataclass(frozen=True, kw_only=True)
class _Vocabulary:
    """One Cedar schema, and the actions and groups in it as entities."""

    schema: cedarpy.Schema
    entities: cedarpy.Entities


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A question to Cedar; equal to another one where all that applicable policies can read of both is."""

    action: str
    readable: str
    unknown: frozenset[str]
    """What of the context has no value yet."""
    covering: tuple[int, ...] = field(compare=False)
    """Which policies cover the action."""
    context: JsonObject = field(compare=False)
    """All of it but `approved`."""


@dataclass(frozen=True, kw_only=True)
class _Answer:
    allowed: bool
    rules: tuple[Rule, ...]
    """The ones that decided so."""


class CedarEngine:
    """Decides action calls under Cedar policies.

    Args:
        catalogue: every action that there is.
        policies: `"default"`, `"article"` or files; all of them together are in force.

    Raises:
        PolicyError: a policy does not load, or does not fit the catalogue.

    """

    def __init__(self, catalogue: Catalogue, policies: Sources = DEFAULT) -> None:
        self._specs = known_actions(catalogue)
        self._shapes = {name: inputs_shape(spec) for name, spec in self._specs.items()}
        self.policies: Final = load_policies(policies)
        """Those in force, in the order of their files."""
        self._vouching = Vouching(self.policies)
        self._deciding = tuple(policy for policy in self.policies if not is_about_trust(policy))
        self._about_data = {policy.rule for policy in self._deciding if policy.reads & CARRIED}
        self._about_control = {policy.rule for policy in self._deciding if "untrusted_control" in policy.reads}
        schema = cedar_schema(catalogue)
        self._declared = _vocabulary(schema)
        check_policies(self._deciding, schema=self._declared.schema, shapes=self._shapes)
        notes: JsonValue = {
            name: [as_json(asdict(spec.annotations)), with_defaults(spec, {})] for name, spec in self._specs.items()
        }
        self.digest: Final = digest([schema, notes, *(policy.cedar for policy in self.policies)])
        """Identifies policies, schema, defaults and annotations."""
        self._undeclared = lru_cache(maxsize=256)(_undeclared_vocabulary)
        self._covering = lru_cache(maxsize=MEMO)(self._find_covering)
        self._paths = lru_cache(maxsize=MEMO)(self._read_paths)
        self._policy_set = lru_cache(maxsize=SETS)(self._make_policy_set)
        self._memo = lru_cache(maxsize=MEMO)(self._evaluate)

    def decide(self, request: ActionRequest, *, approved: bool = False) -> Decision:
        """Decide one call on its resolved inputs; never raises, any doubt is a Deny.

        Args:
            request: the call.
            approved: a person approved exactly this call, so what would be an Ask is an Allow.

        """
        try:
            decision = self._decide(request)
        except Exception as error:  # noqa: BLE001 - nothing may run because the engine failed
            return _undecided(error)
        return Allow(rules=decision.rules) if approved and isinstance(decision, Ask) else decision

    def decide_early(self, step: WorkflowStep, action: ActionSpec, provenance: Provenance | None) -> StaticDecision:
        """Decide a planned step as far as that is possible before the run; never raises, any doubt is a Deny."""
        try:
            return self._decide_early(step, action, provenance)
        except Exception as error:  # noqa: BLE001 - as in `decide`
            return _undecided(error)

    def _decide(self, request: ActionRequest) -> Decision:
        spec = self._known(request.action)
        carried = self._vouching.carried(spec, request.inputs, request.provenance)
        review, count = request.human_review_required, request.count
        context = self._context(spec, request.inputs, carried, review=review, count=count)
        return self._with_sources(self._decided(spec, context, NOTHING_UNKNOWN), spec, carried, request.provenance)

    def _decided(self, spec: ActionSpec, context: JsonObject, unknown: frozenset[str]) -> Decision:
        """Decide, or return the remembered decision on a question that no policy can tell from this one.

        Args:
            spec: the action.
            context: all that policies may read, but `approved`.
            unknown: attributes of the context that have no value yet.

        """
        covering = self._covering(spec.name, spec.groups)
        names, inside = self._paths(covering)
        # Plain JSON: the same text only for equal values of equal types, and written in half the time.
        readable = repr([*map(context.get, names), *(part_of(context, path) for path in inside)])
        asked = _Asked(action=spec.name, readable=readable, unknown=unknown, covering=covering, context=context)
        decision = self._memo(asked) if len(readable) <= MEMO_TEXT else self._evaluate(asked)
        # A policy that forbids it as well says so in its own words.
        return Deny(reason=NEVER) if spec.name in DANGEROUS and not isinstance(decision, Deny) else decision

    def _decide_early(self, step: WorkflowStep, action: ActionSpec, provenance: Provenance | None) -> StaticDecision:
        spec, review = self._known(action), step.human_review_required
        is_certain = provenance is None or provenance.is_certain
        if step.foreach is None and is_certain and not any(of.startswith("inputs.") for of, _ in step.references):
            inputs = resolve_inputs(step.inputs, {})
            carried = self._vouching.carried(spec, inputs, provenance)
            context = self._context(spec, inputs, carried, review=review)
            unknown = COUNT if self._reads_count(spec) else NOTHING_UNKNOWN
        else:
            carried = self._vouching.carried(spec, None, provenance)
            is_told = is_literal(step.inputs.get("overwrite"))
            overwrites = is_told and is_overwriting(spec, step.inputs)
            context = self._context(spec, None, carried, review=review, overwrites=overwrites)
            unknown = (RUN_TIME - {"overwrites"} if is_told else RUN_TIME) | carried.unknown
        certain = self._with_sources(self._decided(spec, context, unknown), spec, carried, provenance)
        return AtRunTime(at_least=certain) if unknown and not isinstance(certain, Deny) else certain

    def _with_sources(
        self, decision: Decision, spec: ActionSpec, carried: Carried, provenance: Provenance | None
    ) -> Decision:
        """Return a decision that also says where the data comes from that made it."""
        if isinstance(decision, Allow) or provenance is None or self._about_data.isdisjoint(decision.rules):
            return decision
        untrusted, secret = (cast("list[str]", carried.context[name]) for name in ("untrusted", "secret"))
        steering = [argument for argument in untrusted if spec.class_of(argument) != "content"]
        misplaced = [argument for argument in secret if spec.class_of(argument) != "secret"]
        told = provenance.sentences(steering, misplaced)
        told += [] if self._about_control.isdisjoint(decision.rules) else provenance.control_sentences()
        return replace(decision, reason=" ".join([decision.reason, *told]))

    def _known(self, action: ActionSpec) -> ActionSpec:
        """Return the catalogue's own declaration, whatever a request says about its action."""
        if spec := self._specs.get(action.name):
            return spec
        if not action.undeclared:
            raise PolicyError(f"the action {action.name!r} is not in the catalogue.")
        if action.name in {*GROUPS, TRUST}:
            raise PolicyError(f"{action.name!r} is the name of a policy group, and no action may have it.")
        return ActionSpec(name=action.name, undeclared=True)

    def _reads_count(self, spec: ActionSpec) -> bool:
        names, inside = self._paths(self._covering(spec.name, spec.groups))
        return "count" in names or () in inside

    def _find_covering(self, name: str, groups: tuple[str, ...]) -> tuple[int, ...]:
        """Return which policies have an action in their scope; Cedar need not look at the others."""
        return tuple(at for at, policy in enumerate(self._deciding) if policy.covers({name, *groups}))

    def _read_paths(self, covering: tuple[int, ...]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
        """Return what policies read of the context: attributes of it, and paths to the depth of one argument."""
        paths = sorted({path[:2] for at in covering for path in self._deciding[at].paths})
        return tuple(path[0] for path in paths if len(path) == 1), tuple(path for path in paths if len(path) != 1)

    def _context(
        self,
        spec: ActionSpec,
        inputs: Mapping[str, JsonValue] | None,
        carried: Carried,
        *,
        review: bool,
        count: int = 0,
        overwrites: bool = False,
    ) -> JsonObject:
        """Return the context without `approved`; None stands for inputs that no policy will read."""
        shape = self._shapes.get(spec.name) or inputs_shape(spec)
        return {
            "human_review_required": review,
            "count": count,
            "overwrites": overwrites if inputs is None else is_overwriting(spec, inputs),
            "inputs": {} if inputs is None else shape.cedar_value(with_defaults(spec, inputs), "inputs"),
            **carried.context,
        }

    def _evaluate(self, asked: _Asked) -> Decision:
        """Ask Cedar; where a part of the context is unknown, return the most lenient decision that it could come to."""
        now = self._ask(asked, approved=False)
        if now.allowed:
            return Allow(rules=now.rules)
        later = self._ask(asked, approved=True)
        if later.allowed:
            rules = now.rules or later.rules
            return Ask(rules=rules, reason=_reason(rules, "asks for a person's approval"))
        return Deny(rules=later.rules, reason=_reason(later.rules, "forbids it") or NO_RULE)

    def _ask(self, asked: _Asked, *, approved: bool) -> _Answer:
        """Return Cedar's own answer.

        Raises:
            PolicyError: it gives none, or not a clean one.

        """
        words = self._declared if asked.action in self._specs else self._undeclared(asked.action)
        answer = cedarpy.is_authorized(
            {
                "principal": PRINCIPAL,
                "action": {"type": "Action", "id": asked.action},
                "resource": RESOURCE,
                "context": canonical({**asked.context, "approved": approved}),
            },
            self._policy_set(asked.covering, asked.unknown),
            words.entities,
            # Inputs that do not exist yet fit no schema, and then no policy in the set reads them.
            None if asked.unknown else words.schema,
        )
        if answer.diagnostics.errors or answer.decision is cedarpy.Decision.NoDecision:
            raise PolicyError("; ".join(answer.diagnostics.errors) or "Cedar gives no decision.")
        rules = (self._deciding[at].rule for at in sorted(int(index) for index in answer.diagnostics.reasons))
        return _Answer(allowed=answer.allowed, rules=tuple(rules))

    def _make_policy_set(self, covering: tuple[int, ...], unknown: frozenset[str]) -> cedarpy.PolicySet:
        """Return policies; where they read something unknown, what they come to is the most lenient decision."""
        covered = {at: self._deciding[at] for at in covering}
        return policy_set(covered, reads_unknown=lambda policy: policy.reads & unknown)


def _vocabulary(schema: JsonObject) -> _Vocabulary:
    try:
        parsed = cedarpy.Schema.from_json_str(json.dumps(schema))
        return _Vocabulary(schema=parsed, entities=cedarpy.Entities.from_json_str("[]", parsed))
    except ValueError as error:
        raise PolicyError(f"The actions give no Cedar schema: {error}. Check their names and input schemas.") from error


def _undeclared_vocabulary(name: str) -> _Vocabulary:
    return _vocabulary(cedar_schema({name: ActionSpec(name=name, undeclared=True)}))


def _undecided(error: Exception) -> Deny:
    why = str(error) or type(error).__name__
    return Deny(reason=f"It cannot be decided, so it is denied: {why}", quotes_inputs=True)


def _reason(rules: Sequence[Rule], does: str) -> str:
    return " ".join(rule.reason or f"The rule {rule.id} {does}." for rule in rules)
