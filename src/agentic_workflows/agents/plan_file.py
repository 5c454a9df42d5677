"""A plan that a person wrote: a YAML or JSON file."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from agentic_workflows.errors import PlanError, PlanningError
from agentic_workflows.graph.document import UnreadableError, read_document
from agentic_workflows.graph.history import faults_in
from agentic_workflows.graph.plan import MAX_STEPS, Plan
from agentic_workflows.graph.plan import from_json as plan_from_json
from agentic_workflows.graph.plan_schema import MAX_BYTES


class PlanFileAgent:
    """Gives the plan of a file, once: a file cannot learn from what went wrong.

    Raises:
        PlanError: the file is no plan; every finding of its shape at once.

    """

    def __init__(self, path: Path | str, *, max_steps: int = MAX_STEPS) -> None:
        self.path = Path(path)
        self.plan = load_plan(self.path, max_steps=max_steps)

    async def create_plan(self, goal: str, history: Sequence[Mapping[str, object]]) -> Plan:
        """Return the plan of the file.

        Raises:
            PlanningError: something went wrong with it already; the message lists what.

        """
        if history:
            faults = "".join(f"\n  - {fault}" for fault in faults_in(history))
            raise PlanningError(f"The plan file {self.path} cannot be planned again. Change it:{faults}")
        return replace(self.plan, goal=self.plan.goal or goal)


def load_plan(path: Path | str, *, max_steps: int = MAX_STEPS) -> Plan:
    """Return the plan in a YAML or JSON file.

    Raises:
        PlanError: the file cannot be read or is no plan; every finding of its shape at once.

    """
    source = f"The plan file {path}"
    try:
        data = read_document(Path(path), max_bytes=MAX_BYTES)
    except UnreadableError as error:
        raise PlanError(error.findings, source=source) from error
    if isinstance(data, Mapping) and "plan" in data and "steps" not in data:  # what `agentic plan --json` prints
        data = data["plan"]
    return plan_from_json(data, source=source, max_steps=max_steps)
