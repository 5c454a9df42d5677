"""Every error a user can meet.

::

    WorkflowError
    ├── PlanError               a plan that is no plan: every finding of its shape at once
    ├── UnresolvedReferenceError  a `${...}` that is malformed, or gives nothing
    ├── PlanningError           the agent cannot give another plan
    ├── ActionError             an action failed, or was declared wrongly
    │   ├── WorkspaceError      a path leaves the workspace, or is no ordinary file
    │   └── ResultError         it did what it does, and what it gave cannot be used
    ├── PolicyError             a policy that does not load, and no run starts under it; or cases for one that do not
    ├── ReviewError             an answer that fits no open question
    │   └── ExpiredError        an approval expired before what it lets happen
    ├── RunError                the run cannot be found, resumed or started
    │   ├── RunBusyError        another process has it
    │   └── LeaseLostError      this process had it, and another one took it
    ├── DatabaseError           the database cannot be opened or used
    │   └── CorruptError        somebody else has changed what it has of a run
    └── ModelError              a model that is missing, broken or gives no answer
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from shlex import quote
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import Future

    from agentic_workflows.graph.findings import Finding


def said(error: BaseException) -> str:
    """Return what an error says; one that fails at it, as other people's code may, says nothing."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - it may raise anything
        return ""


def take_error(future: "Future[Any]") -> None:
    """Take the error out of a future that nobody may wait for any more; otherwise asyncio would report it."""
    if not future.cancelled():
        future.exception()


class WorkflowError(RuntimeError):
    """The root of every error of this package; each can be pickled, as a pool of processes does.

    A `RuntimeError`, for of those a LangGraph server shows what they say.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what makes it again: what it says and holds, for its constructor may ask for something else."""
        return _made_again, (type(self), self.args, self.__dict__)


class PlanError(WorkflowError):
    """A plan cannot be used; `findings` says everything that is wrong with its shape, or else with what it means."""

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
    """An action failed, or is declared wrongly; the message is shown to planner and reviewer.

    Raised while a lost connection or a timeout is handled, it leaves open whether the effect took place; raised from
    None it says that nothing happened.
    """

    quotes_output = True
    """Whether the message may hold text from what the action read, and so be untrusted as that is."""


class WorkspaceError(ActionError):
    """A path leaves the workspace, or does not name an ordinary file in it; only the path is quoted."""

    quotes_output = False


class ResultError(ActionError):
    """An action did what it does, and what it gave cannot be used."""


class PolicyError(WorkflowError):
    """A policy does not load, or cases that test one; the message names file, place and remedy."""


class ReviewError(WorkflowError):
    """An answer fits no open question."""


class ExpiredError(ReviewError):
    """An approval expired before what it lets happen was begun, or tried again; the call is asked about again."""

    def __init__(self, until: datetime) -> None:
        self.until = until
        super().__init__(f"The approval expired at {until.isoformat(timespec='seconds')}; nothing was begun since.")


class RunError(WorkflowError):
    """A run cannot be found, started or resumed."""


class RunBusyError(RunError):
    """Another process has the run; nothing was changed."""

    def __init__(self, thread_id: str, owner: str, expires: float, *, pause: str = "") -> None:
        self.thread_id, self.owner, self.expires = thread_id, owner, expires
        until = datetime.fromtimestamp(expires, UTC).isoformat(timespec="seconds")
        super().__init__(
            f"The run {thread_id} is held by {process_of(owner)} until {until}. Wait for it, pause it with "
            f"`{pause or f'agentic pause {quote(thread_id)}'}`, or try again after that time."
        )


class LeaseLostError(RunError):
    """This process held the run and was too slow to keep it; it can write nothing any more."""

    def __init__(self, thread_id: str, owner: str) -> None:
        self.thread_id, self.owner = thread_id, owner
        taken = f"was taken over by {process_of(owner)}" if owner else "is not held any more"
        super().__init__(f"The run {thread_id} {taken}; what this process did since then was not written.")


class DatabaseError(WorkflowError):
    """The database cannot be opened or used."""


class CorruptError(DatabaseError):
    """What the database has of a run was changed by somebody else; the other runs are as they were."""


class ModelError(WorkflowError):
    """A model is missing or broken, or gives no usable answer."""


def _made_again(kind: type[WorkflowError], args: tuple[Any, ...], held: dict[str, Any]) -> WorkflowError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(held)
    return error


def process_of(owner: str) -> str:
    """Return host and process number of a lease's owner."""
    return owner.rsplit(":", 2)[0]
