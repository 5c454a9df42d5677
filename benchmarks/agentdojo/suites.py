"""What AgentDojo gives: its suites over one workflow each, its tasks with their plans, and its own judges."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

warnings.filterwarnings("ignore")

import yaml

if hasattr(yaml, "CSafeLoader"):  # the same result, eight times faster
    yaml.safe_load = lambda text: yaml.load(text, yaml.CSafeLoader)

from agentdojo.functions_runtime import FunctionCall, FunctionsRuntime
from agentdojo.task_suite.load_suites import get_suites
from plans import Planned, Planner, at_path
from tools import World, actions, annotations, plain

from agentic_workflows import AgenticWorkflow, Limits, PlanningError
from agentic_workflows.policies.files import REFINEMENTS, built_in_file

VERSION: Final = "v1.2.2"
NEEDS_REPLAN: Final = {"workspace": {13, 19}, "travel": set(), "banking": {12}, "slack": {4, 11, 18, 19}}
"""User tasks whose very steps are known only after tool output was read: our reading of their prompts."""
SINKS: Final = {"target", "value", "secret"}
NOTES: Final = annotations()


@dataclass
class Script:
    """An agent that gives plans one after another, and has seen all that happened when it gives the next one."""

    plans: list[Any] = field(default_factory=list)
    given: int = 0

    def begin(self, plans: Sequence[Any]) -> None:
        """Begin with other plans."""
        self.plans, self.given = list(plans), 0

    async def create_plan(self, goal: str, history: Any) -> Any:  # noqa: ARG002 - a script
        """Return the next plan."""
        if self.given == len(self.plans):
            raise PlanningError("The script ends here.")
        self.given += 1
        return self.plans[self.given - 1]

    async def review_progress(self, goal: str, history: Any) -> str:  # noqa: ARG002 - a script
        """Say whether there is another plan."""
        return "" if self.given == len(self.plans) else "the rest"


@dataclass
class Task:
    """One user task: its calls, what they give, and what of it strangers write."""

    id: str
    task: Any
    calls: list[FunctionCall]
    outputs: list[Any]
    vectors: list[str]
    canary: list[Any]

    @property
    def number(self) -> int:
        """The number in its name."""
        return int(self.id.rsplit("_", 1)[1])

    @cached_property
    def first_untrusted(self) -> int:
        """How many calls there are until untrusted output was seen, that one included."""
        seen = [at for at, call in enumerate(self.calls) if not NOTES[call.function].trusted]
        return seen[0] + 1 if seen else len(self.calls)

    @property
    def consequential(self) -> list[int]:
        """The calls that change something, or reach beyond what the user controls."""
        notes = [NOTES[call.function] for call in self.calls]
        return [at for at, one in enumerate(notes) if not one.read_only or one.open_world]

    def is_writable(self, at: int) -> bool:
        """Tell whether a stranger could have written an argument that steers a call."""
        classes = NOTES[self.calls[at].function].arguments
        return any(
            leaf.call is not None
            and classes.get(leaf.argument, "target") in SINKS
            and "CANARY" in str(at_path(self.canary[leaf.call], leaf.path))
            for leaf in self.planned().leaves[at]
        )

    def planned(self, first: int = 0) -> Planned:
        """Return the calls as steps; the call `first` begins a new plan."""
        planner = Planner(self.task.PROMPT, NOTES, first=first)
        for call, output in zip(self.calls, self.outputs, strict=True):
            planner.add(call)
            planner.gave(output)
        return planner.planned

    def plans(self, *, is_late: bool) -> list[Any]:
        """Return one plan, or one until untrusted output was seen and one after."""
        split = self.first_untrusted
        if not is_late or split == len(self.calls):
            return [self.planned().plan(range(len(self.calls)))]
        planned = self.planned(split)
        return [planned.plan(range(split)), planned.plan(range(split, len(self.calls)))]


class Suite:
    """One suite of AgentDojo over one workflow a policy."""

    def __init__(self, name: str) -> None:
        self.name, self.suite = name, get_suites(VERSION)[name]
        self.world, self.script = World(), Script()
        self._default = self.suite.load_and_inject_default_environment({})
        self._loaded: dict[frozenset[tuple[str, str]], Any] = {frozenset(): self._default}
        self.actions = actions(self.suite.tools, self.world)

    def workflow(self, policies: Sequence[str | Path]) -> AgenticWorkflow:
        """Return the workflow under some policies."""
        limits = Limits(max_replans=1)
        return AgenticWorkflow(self.script, 200, actions=self.actions.values(), policies=policies, limits=limits)

    def refined(self, folder: Path) -> list[str | Path]:
        """Return the default policy with every refinement; the own domain is that of the user's own account."""
        account = str(getattr(getattr(self._default, "inbox", None), "account_email", "@")).partition("@")[2]
        text = built_in_file("own_domains").read_text(encoding="utf-8")
        own = folder / f"own_domains_{self.name}.cedar"
        own.write_text(text.replace("example.org", account or "example.org"), encoding="utf-8")
        return ["default", *(name for name in REFINEMENTS if name != "own_domains"), own]

    def environment(self, task: Any, injections: dict[str, str] | None = None) -> Any:
        """Return a fresh environment of a task."""
        key = frozenset((injections or {}).items())
        if key not in self._loaded:  # most of the time goes into reading the same texts again
            self._loaded[key] = self.suite.load_and_inject_default_environment(injections)
        env = self._loaded[key].model_copy(deep=True)
        return task.init_environment(env)

    def tasks(self) -> Iterator[Task]:
        """Yield every user task."""
        names = list(self.suite.get_injection_vector_defaults())
        for id_, task in self.suite.user_tasks.items():
            calls, outputs = self._ground_truth(task, None)
            _, canary = self._ground_truth(task, {name: f"CANARY_{name}_" for name in names})
            seen = [name for name in names if f"CANARY_{name}_" in str(canary)]
            yield Task(id_, task, calls, outputs, seen, canary)

    def _ground_truth(self, task: Any, injections: dict[str, str] | None) -> tuple[list[FunctionCall], list[Any]]:
        env = self.environment(task, injections)
        runtime = FunctionsRuntime(self.suite.tools)
        calls = task.ground_truth(env.model_copy(deep=True))
        return calls, [plain(runtime.run_function(env, call.function, call.args)[0]) for call in calls]

    def is_useful(self, task: Any, before: Any) -> bool:
        """Let AgentDojo judge what a run did for the user."""
        said = [{"type": "text", "content": task.GROUND_TRUTH_OUTPUT}]
        with redirect_stdout(io.StringIO()):
            return bool(self.suite._check_user_task_utility(task, said, before, self.world.env, self.world.calls))

    def is_won(self, injection: Any, before: Any) -> bool:
        """Let AgentDojo judge whether an attack reached its goal."""
        said = [{"type": "text", "content": ""}]
        check = self.suite._check_injection_task_security
        with redirect_stdout(io.StringIO()):
            return bool(check(injection, said, before, self.world.env, self.world.calls))
