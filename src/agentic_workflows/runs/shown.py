"""What a workflow object shows: its last run, or inside a walk, where several may go on at once, the one walked.

What it gives out are copies: whatever a subclass or a caller does to them, the run goes on with its own.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, cast

from agentic_workflows.actions.action import Registry
from agentic_workflows.graph.state import NO_STATE, State, WorkflowState
from agentic_workflows.graph.values import JsonObject, JsonValue
from agentic_workflows.journal.database import Database
from agentic_workflows.journal.entries import Past
from agentic_workflows.runs.base import Runs
from agentic_workflows.runs.opened import OpenRun
from agentic_workflows.runs.results import as_result


@dataclass(kw_only=True, eq=False)
class Shown:
    """A run as an object tells it."""

    thread_id: str = ""
    values: State = field(default_factory=lambda: NO_STATE)
    result: dict[str, Any] = field(default_factory=lambda: as_result("", NO_STATE, Past()))
    walked: OpenRun | None = None
    """The run, where it is open already and its transitions are called one by one."""
    by: object = None
    """The workflow whose code sees this one; None once that has ended, for tasks that it left behind."""

    def show(self, run: OpenRun, result: dict[str, Any]) -> None:
        """Take over where a run is."""
        self.thread_id, self.values, self.result = run.thread_id, run.values, result


_here: ContextVar[Shown | None] = ContextVar("agentic_shown", default=None)


class ShowsRuns(Runs):
    """The runs of a database, of which one is shown."""

    def __init__(self, database: Database, registry: Registry, metadata: Mapping[str, JsonValue]) -> None:
        super().__init__(database, registry, metadata)
        self._last = Shown()

    @property
    def state(self) -> WorkflowState:
        """Where the last run is."""
        return WorkflowState(self._shown.values.get("status", WorkflowState.PLANNING))

    @property
    def history(self) -> list[JsonObject]:
        """What happened in the last run, oldest first; entries that are no step have `step: None`."""
        return deepcopy(cast("list[JsonObject]", self._shown.result["history"]))

    @property
    def current_plan(self) -> JsonObject | None:
        """The plan of the last run."""
        return deepcopy(self._shown.values.get("plan"))

    def get_results(self) -> dict[str, Any]:
        """Return the last run as a dict."""
        return deepcopy(self._shown.result)

    @property
    def _shown(self) -> Shown:
        here = _here.get()
        return here if here is not None and here.by is self else self._last

    @contextmanager
    def _showing(self, shown: Shown) -> Iterator[None]:
        """Show the code inside a run of its own, whatever other runs of this object do meanwhile."""
        shown.by, before = self, _here.set(shown)
        try:
            yield
        finally:
            _here.reset(before)
            shown.by = None

    async def _show(self, run: OpenRun) -> dict[str, Any]:
        """Have a run be the last one of this object from now on, and return it as a dict."""
        result = await run.result()
        for shown in {self._last, self._shown} if self._shown.walked is run else {self._last}:
            shown.show(run, result)
        return result
