"""The actions of an agent that declares none: whatever its plan names, done by its `execute_step`."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from agentic_workflows.actions.action import Action, ActionCall, awaited
from agentic_workflows.graph.catalogue import Annotations
from agentic_workflows.graph.plan import WorkflowStep

_UNSAID: Final = Annotations()


class UndeclaredActions(Mapping[str, Action]):
    """A registry that has every name; each with an effect, none of them idempotent."""

    def __init__(self, execute_step: Callable[[WorkflowStep], Any]) -> None:
        self._execute_step = execute_step

    def __getitem__(self, name: str) -> Action:
        return Action(name=name, annotations=_UNSAID, undeclared=True, run=self._run)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    async def _run(self, call: ActionCall) -> object:
        return await awaited(self._execute_step(replace(call.step, inputs=call.inputs)))
