"""The graph: five nodes, one routing function."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command

from agentic_workflows.actions.action import Action, Registry
from agentic_workflows.actions.overlay import Files, annotated
from agentic_workflows.actions.registry import make_registry
from agentic_workflows.actions.undeclared import UndeclaredActions
from agentic_workflows.errors import ActionError, RunError
from agentic_workflows.execution.point import ExecutionPoint, ResultCheck
from agentic_workflows.execution.replaced import Replaced
from agentic_workflows.execution.secrets import Secrets, secret_of_environment
from agentic_workflows.graph.checkpoint_order import checkpoints_before, come_after, last_kept
from agentic_workflows.graph.events import StateEntered
from agentic_workflows.graph.findings import Finding
from agentic_workflows.graph.inside import NO_LIMIT, as_in_each_attempt, durability_inside, refuse_apart
from agentic_workflows.graph.plan import Plan
from agentic_workflows.graph.routing import ROUTES, Route, route
from agentic_workflows.graph.state import Input, Limits, State, Update, WorkflowState, refuse_changed
from agentic_workflows.graph.values import JsonObject, writable
from agentic_workflows.journal.database import MEMORY, Database
from agentic_workflows.journal.lease import Leases
from agentic_workflows.nodes.beginning import is_new_run
from agentic_workflows.nodes.collaborators import OWNER, Agent, Node
from agentic_workflows.nodes.execute import Choose, make_execute
from agentic_workflows.nodes.pause import make_pause
from agentic_workflows.nodes.plan import CheckInput, make_plan
from agentic_workflows.nodes.review import make_review
from agentic_workflows.nodes.validate import make_validate
from agentic_workflows.policies.decision import PolicyEngine
from agentic_workflows.policies.engine import CedarEngine
from agentic_workflows.policies.files import Sources
from agentic_workflows.policies.report import Report, examine

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

Graph = CompiledStateGraph[State, Any, Input, Any]
_NOTHING_GIVEN: Final = Input(goal="", given_plan=None, given_limits=None, given_run_id=None)
_ROUTED: Final = ("validate", "review", "pause")
"""The nodes after which the state says where the run goes; after the others it is always validated."""


class _Called(CompiledStateGraph[State, Any, Input, Any]):
    """Our compiled graph, which decides itself what a call of it does.

    An input resets the keys that it leaves out, `Command(goto=...)` is refused, a node of another graph that is tried
    again calls the same run, and what an agent or an action calls keeps its checkpoints.
    """

    def astream(self, input: Any, config: RunnableConfig | None = None, **given: Any) -> AsyncIterator[Any]:  # noqa: A002 - LangGraph's own name
        if isinstance(input, Mapping):  # what it leaves out was given to another goal
            input = {**_NOTHING_GIVEN, **input}  # noqa: A001
        if isinstance(input, Command) and input.goto:  # beside the node that is due: both would write the same keys
            raise RunError("Command(goto=...) cannot be used: the state of a run says where it goes. Nothing was done.")
        refuse_apart(self.config, config)
        if given.get("durability") is None:
            given["durability"] = durability_inside(self.config, config)
        return super().astream(input, as_in_each_attempt(self.config, config), **given)


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What a subclass of the workflow puts in place of the house's own; None where it does not."""

    check_plan: Callable[[Plan], Sequence[Finding]] | None = None
    check_result: ResultCheck | None = None
    choose: Choose | None = None


@dataclass(frozen=True, kw_only=True)
class Schemas:
    """What a server shows of a graph, so that forms can be drawn of it, and what it asks of those who call it."""

    input: type[Any] = Input
    context: type[Any] | None = None
    check_input: CheckInput = lambda _: ""
    """LangGraph shows the bounds of an input, but does not enforce them."""
    setting: JsonObject = field(default_factory=dict)
    """What a call has chosen; it is kept with the run that it begins."""
    check_setting: Callable[[JsonObject], str] = lambda _: ""
    """Says why a run that was begun in a setting must not go on with this call; nothing where it may."""


def build_graph(
    agent: Agent,
    *,
    actions: "Iterable[Action | BaseTool] | Action | BaseTool | None" = None,
    annotations: Files = (),
    policies: Sources | None = None,
    limits: Limits | None = None,
    database: str | Path | Database | None = None,
    checkpointer: BaseCheckpointSaver[Any] | None = None,
    overrides: Overrides | None = None,
    schemas: Schemas | None = None,
    secrets: Secrets = secret_of_environment,
) -> Graph:
    """Return the compiled graph of an agent, which is async only: call it with `ainvoke` or `astream`.

    Args:
        agent: plans; one without declared actions also executes.
        actions: what plans may call; by default the agent's own `actions`, and without those whatever a plan names.
        annotations: a YAML file, or several, of what actions do to the world; laid over what they declare.
        policies: a Cedar file, or several, each a path or the name of a built-in one: `default` (by default, with
            declared actions), `article` (without), and beside the default the refinements `system_assigned`,
            `created_by_run`, `people_directories`, `looked_up`, `own_domains`, `verbatim_reads` and
            `destructive_as_planned`, with which fewer questions are asked.
        limits: of a run that names none.
        database: where runs are written down: by default in memory, or the path of a SQLite file, `postgresql://...`,
            or a `Database`.
        checkpointer: keeps runs; None on a LangGraph server, which brings its own, and inside another graph, each call
            of which is a run of its own.
        overrides: a subclass's own methods.
        schemas: what a server shows of it.
        secrets: a mapping or a function from names to values; by default `AGENTIC_SECRET_<name>` of the environment.

    Raises:
        ActionError: actions are declared or annotated wrongly, or the agent can neither declare nor execute any.
        PolicyError: a policy does not load.
        DatabaseError: the database cannot be used.

    """
    registry = registry_of(agent, actions, annotations)
    engine = engine_of(registry, policies)
    kept = database if isinstance(database, Database) else Database(MEMORY if database is None else database)
    return assemble(
        agent,
        registry,
        engine,
        limits=limits or Limits(),
        leases=kept.leases,
        checkpointer=checkpointer,
        overrides=overrides or Overrides(),
        schemas=schemas or Schemas(),
        secrets=secrets,
    )


def registry_of(
    agent: object, actions: "Iterable[Action | BaseTool] | Action | BaseTool | None", annotations: Files
) -> Registry:
    """Return the actions that plans of an agent may call.

    Raises:
        ActionError: they are declared or annotated wrongly, or the agent can neither declare nor execute any, or not
            plan.

    """
    name, declared = type(agent).__name__, actions if actions is not None else getattr(agent, "actions", None)
    if isinstance(agent, type):
        raise ActionError(f"{agent.__name__} is a class. Give an agent, such as {agent.__name__}(...).")
    if not callable(getattr(agent, "create_plan", None)):
        raise ActionError(f"{name} is no agent: it has no create_plan(goal, history).")
    if declared is not None:
        several = declared.values() if isinstance(declared, Mapping) else declared
        # A tool is iterable, too: over its fields.
        is_one = not isinstance(several, Iterable) or callable(getattr(several, "ainvoke", None))
        return annotated(make_registry(cast("Any", [several] if is_one else several)), annotations)
    execute_step = getattr(agent, "execute_step", None)
    if execute_step is None:
        raise ActionError(f"{name} has neither actions nor execute_step. Pass actions=[...] or give it one of the two.")
    return annotated(UndeclaredActions(execute_step), annotations)


def engine_of(registry: Registry, policies: Sources | None = None) -> CedarEngine:
    """Return the policy engine over a registry.

    Raises:
        PolicyError: a policy does not load.

    """
    usual = "article" if isinstance(registry, UndeclaredActions) else "default"
    return CedarEngine(registry, usual if policies is None else policies)


def assemble(
    agent: Agent,
    registry: Registry,
    engine: PolicyEngine,
    *,
    limits: Limits,
    leases: Leases,
    checkpointer: BaseCheckpointSaver[Any] | None,
    overrides: Overrides,
    schemas: Schemas = Schemas(),
    secrets: Secrets,
) -> Graph:
    """Return the compiled graph of collaborators that exist already."""
    point = ExecutionPoint(engine, check_result=overrides.check_result)
    replaced = Replaced(policy=engine.digest, registry=registry, secrets=secrets)

    def check(plan: Plan, state: State) -> Report:
        most = int(str(state["limits"]["max_iterations"]))
        refused = [str(one) for one in state["refused"]]
        report = examine(
            plan, catalogue=registry, engine=engine, max_iterations=most, used=state["iteration"], refused=refused
        )
        extra = overrides.check_plan(plan) if overrides.check_plan else ()
        return replace(report, findings=(*report.findings, *extra))

    nodes: dict[str, Node] = {
        "plan": make_plan(agent, leases, limits, replaced.settle, schemas.check_input),
        "validate": make_validate(check, agent, leases, registry),
        "execute": make_execute(point, registry, leases, secrets, overrides.choose),
        "review": make_review(leases, registry),
        "pause": make_pause(leases),
    }
    builder = StateGraph(State, input_schema=schemas.input, context_schema=schemas.context)
    for name, node in nodes.items():
        announced: Any = partial(_announced, name=name, node=node, schemas=schemas)
        builder.add_node(name, announced)
    builder.add_edge(START, "plan")
    builder.add_edge("plan", "validate")
    builder.add_edge("execute", "validate")
    targets = {target: target for target in ROUTES.values()}
    for name in _ROUTED:  # for whoever updates the state as one of these nodes; they go on by themselves
        builder.add_conditional_edges(name, Route(), targets)  # type: ignore[arg-type]  # a dict of str is one of Hashable
    graph = builder.compile(checkpointer=checkpointer, name="agentic-workflow")
    return _Called(**vars(graph)).with_config(recursion_limit=NO_LIMIT)


async def _announced(
    state: State, config: RunnableConfig, runtime: Runtime[Any], *, name: str, node: Node, schemas: Schemas
) -> Update | Command[Any]:
    """Do what a node does, and emit `StateEntered` where the run comes into another state than the node serves.

    The checkpoint that follows comes after those that the node goes on from, whatever the clock says. The node to go to
    is written together with the update: of a run that is cut between the two, no node would be due.
    """
    refuse_changed(state)
    may_begin = name == "plan" and is_new_run(state)
    if not may_begin:
        _refuse_setting(state, schemas)
    come_after(checkpoints_before(config).values())
    serves = WorkflowState.PLANNING if name == "plan" else None
    if serves and OWNER not in config.get("configurable", {}):  # its owner has looked
        come_after(await last_kept(config))
    update = await node(state, config, runtime)
    if "run_id" in update:
        update["setting"] = schemas.setting
    elif may_begin:  # the run before it goes on first
        _refuse_setting(state, schemas)
    reason = update.get("reason")
    if reason:
        update["reason"] = reason = writable(reason)
    entered = update.get("status")
    if entered and entered != (serves or state.get("status")):
        runtime.stream_writer(StateEntered(state=WorkflowState(entered).value, reason=reason).to_json())
    return Command(update=update, goto=route(cast("State", {**state, **update}))) if name in _ROUTED else update


def _refuse_setting(state: State, schemas: Schemas) -> None:
    """Refuse to go on with a run in another setting than that in which it was begun.

    Raises:
        RunError: what is missing.

    """
    if problem := schemas.check_setting(state.get("setting") or {}):
        raise RunError(problem)
