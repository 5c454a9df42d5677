"""Agentic Workflows: the agent that people dare to let act.

A goal becomes a plan, a typed dataflow program that is checked before anything runs, executed as its data allows,
validated step by step, and reviewed by a person exactly where policy says so.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from agentic_workflows.collector import made_to_stay

if TYPE_CHECKING:
    from agentic_workflows.actions.action import Action as Action
    from agentic_workflows.actions.action import ActionCall as ActionCall
    from agentic_workflows.actions.action import Found as Found
    from agentic_workflows.actions.builtin import builtin_actions as builtin_actions
    from agentic_workflows.actions.declare import action as action
    from agentic_workflows.agents.model_agent import ModelAgent as ModelAgent
    from agentic_workflows.agents.plan_file import PlanFileAgent as PlanFileAgent
    from agentic_workflows.agents.plan_file import load_plan as load_plan
    from agentic_workflows.agents.scripted_agent import ScriptedAgent as ScriptedAgent
    from agentic_workflows.errors import ActionError as ActionError
    from agentic_workflows.errors import DatabaseError as DatabaseError
    from agentic_workflows.errors import LeaseLostError as LeaseLostError
    from agentic_workflows.errors import ModelError as ModelError
    from agentic_workflows.errors import PlanError as PlanError
    from agentic_workflows.errors import PlanningError as PlanningError
    from agentic_workflows.errors import PolicyError as PolicyError
    from agentic_workflows.errors import ReviewError as ReviewError
    from agentic_workflows.errors import RunBusyError as RunBusyError
    from agentic_workflows.errors import RunError as RunError
    from agentic_workflows.errors import UnresolvedReferenceError as UnresolvedReferenceError
    from agentic_workflows.errors import WorkflowError as WorkflowError
    from agentic_workflows.errors import WorkspaceError as WorkspaceError
    from agentic_workflows.graph.build import build_graph as build_graph
    from agentic_workflows.graph.catalogue import Annotations as Annotations
    from agentic_workflows.graph.plan import Plan as Plan
    from agentic_workflows.graph.plan import WorkflowStep as WorkflowStep
    from agentic_workflows.graph.review import approve as approve
    from agentic_workflows.graph.review import edit as edit
    from agentic_workflows.graph.review import reject as reject
    from agentic_workflows.graph.review import respond as respond
    from agentic_workflows.graph.state import Limits as Limits
    from agentic_workflows.graph.state import WorkflowState as WorkflowState
    from agentic_workflows.workflow import AgenticWorkflow as AgenticWorkflow

_HOMES = {
    "actions.action": ("Action", "ActionCall", "Found"),
    "actions.declare": ("action",),
    "actions.builtin": ("builtin_actions",),
    "agents.model_agent": ("ModelAgent",),
    "agents.plan_file": ("PlanFileAgent", "load_plan"),
    "agents.scripted_agent": ("ScriptedAgent",),
    "errors": (
        "ActionError",
        "DatabaseError",
        "LeaseLostError",
        "ModelError",
        "PlanError",
        "PlanningError",
        "PolicyError",
        "ReviewError",
        "RunBusyError",
        "RunError",
        "UnresolvedReferenceError",
        "WorkflowError",
        "WorkspaceError",
    ),
    "graph.build": ("build_graph",),
    "graph.catalogue": ("Annotations",),
    "graph.plan": ("Plan", "WorkflowStep"),
    "graph.review": ("approve", "edit", "reject", "respond"),
    "graph.state": ("Limits", "WorkflowState"),
    "workflow": ("AgenticWorkflow",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Action",
    "ActionCall",
    "ActionError",
    "AgenticWorkflow",
    "Annotations",
    "DatabaseError",
    "Found",
    "LeaseLostError",
    "Limits",
    "ModelAgent",
    "ModelError",
    "Plan",
    "PlanError",
    "PlanFileAgent",
    "PlanningError",
    "PolicyError",
    "ReviewError",
    "RunBusyError",
    "RunError",
    "ScriptedAgent",
    "UnresolvedReferenceError",
    "WorkflowError",
    "WorkflowState",
    "WorkflowStep",
    "WorkspaceError",
    "action",
    "approve",
    "build_graph",
    "builtin_actions",
    "edit",
    "load_plan",
    "reject",
    "respond",
]


def __dir__() -> list[str]:
    """Show what there is to import, whether anybody has asked for it yet or not."""
    return [*__all__]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: importing the package itself costs nothing."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with made_to_stay():
        found = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = found  # nobody asks here for it again
    return found
