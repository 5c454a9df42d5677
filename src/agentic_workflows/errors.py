"""Every error a user can meet.

::

    WorkflowError
    ├── PlanError               a plan that is no plan: every finding at once
    ├── ReferenceError_         a `${...}` that is malformed, or gives nothing
    ├── PlanningError           the agent cannot give another plan
    ├── ActionError             an action failed, or was declared wrongly
    │   └── WorkspaceError      a path leaves the workspace, or is no ordinary file
    ├── PolicyError             a policy that does not load; a run never starts under it
    ├── ReviewError             an answer that fits no open question
    ├── RunError                the run cannot be found, resumed or started
    ├── DatabaseError           the database cannot be opened or used
    └── ModelError              a model that is missing, broken or gives no answer
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentic_workflows.graph.findings import Finding


class WorkflowError(Exception):
    """The root of every error of this package."""


class PlanError(WorkflowError):
    """A plan cannot be used; `findings` says everything that is wrong with it."""

    def __init__(self, findings: "Sequence[Finding]", *, source: str = "The plan") -> None:
        self.findings = tuple(findings)
        self.source = source
        listed = "\n".join(f"  - {finding}" for finding in self.findings)
        super().__init__(f"{source} cannot be used:\n{listed}")


class UnresolvedReferenceError(WorkflowError):
    """A `${...}` is malformed, names nothing, or its path gives nothing."""


class PlanningError(WorkflowError):
    """The agent cannot give another plan; raised by an agent, it ends the run as FAILED."""


class ActionError(WorkflowError):
    """An action failed, or is declared wrongly; the message is shown to planner and reviewer."""


class WorkspaceError(ActionError):
    """A path leaves the workspace, or does not name an ordinary file in it."""


class PolicyError(WorkflowError):
    """A policy does not load; the message names file and line."""


class ReviewError(WorkflowError):
    """An answer fits no open question."""


class RunError(WorkflowError):
    """A run cannot be found, started or resumed."""


class DatabaseError(WorkflowError):
    """The database cannot be opened or used."""


class ModelError(WorkflowError):
    """A model is missing or broken, or gives no usable answer."""
