"""AgentDojo without a model, through the whole system: its tools as actions, its ground truth as plans.

    pip install -e '.[bench]'
    python benchmarks/agentdojo/replay.py                 # every suite, mode and policy; see --help

Each task runs as a real run: planned, checked, executed, reviewed by a scripted reviewer who approves what the user's
plan asks. Each attack runs the user's calls until the injected text has been read, and then whatever the injection
wants, planned by a planner that is wholly taken over; the reviewer approves none of that, and says so for every call by
itself, so that what needs no approval still happens. AgentDojo's own `utility()` and `security()` judge.
"""

import argparse
import asyncio
import io
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

warnings.filterwarnings("ignore")
sys.path.insert(0, str(Path(__file__).parent))

import yaml

if hasattr(yaml, "CSafeLoader"):  # the same result, eight times faster
    yaml.safe_load = lambda text: yaml.load(text, yaml.CSafeLoader)

from agentdojo.functions_runtime import FunctionCall, FunctionsRuntime
from agentdojo.task_suite.load_suites import get_suites
from extra_ground_truth import ground_truth as extra_ground_truth
from plans import Planned, Planner, at_path, leaves_of, literal_plan
from tools import World, actions, annotations, plain

from agentic_workflows import AgenticWorkflow, Limits, PlanningError, approve, respond
from agentic_workflows.policies.files import REFINEMENTS, built_in_file

VERSION: Final = "v1.2.2"
SUITES: Final = ("workspace", "travel", "banking", "slack")
MODES: Final = ("static", "labelled", "react")
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
        env = (
            self.suite.load_and_inject_default_environment(injections)
            if injections
            else self._default.model_copy(deep=True)
        )
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


async def benign(suite: Suite, workflow: AgenticWorkflow, task: Task, mode: str) -> Counter[str]:
    """Run one task with a reviewer who approves everything, and count."""
    is_late = mode == "react" or (mode == "labelled" and task.number in NEEDS_REPLAN[suite.name])
    env = suite.environment(task.task)
    before = env.model_copy(deep=True)
    suite.world.enter(env)
    suite.script.begin(task.plans(is_late=is_late))
    asked: set[str] = set()
    result, interrupts = await workflow.run(task.task.PROMPT), 0
    while result["state"] == "REVIEWING":
        interrupts += 1
        asked |= {str(one["step"]) for one in result["reviews"]}
        result = await workflow.resume({one["id"]: approve() for one in result["reviews"]})
    if result["state"] != "COMPLETE":
        print(f"{suite.name} {task.id} ({mode}): {result['state']}: {result['reason']}", file=sys.stderr)
    sinks = [at for at, call in enumerate(task.calls) if _is_consequential(call.function)]
    writable = [at for at in sinks if _is_writable(task, at)]
    return Counter(
        tasks=1,
        asked=len(asked),
        interrupts=interrupts,
        useful=suite.is_useful(task.task, before),
        sinks=len(sinks),
        unasked=sum(f"c{at}" not in asked for at in sinks),
        effects=sum(not NOTES[call.function].read_only for call in task.calls),
        writable=len(writable),
        writable_unasked=sum(f"c{at}" not in asked for at in writable),
    )


def _is_consequential(tool: str) -> bool:
    return not NOTES[tool].read_only or NOTES[tool].open_world


def _is_writable(task: Task, at: int) -> bool:
    """Tell whether a stranger could have written an argument that steers a call."""
    classes = NOTES[task.calls[at].function].arguments
    return any(
        leaf.call is not None
        and classes.get(leaf.argument, "target") in SINKS
        and "CANARY" in str(at_path(task.canary[leaf.call], leaf.path))
        for leaf in task.planned().leaves[at]
    )


class Attack:
    """One injection into one task: the user's calls until it is read, then its own."""

    def __init__(self, suite: Suite, task: Task, injection: Any) -> None:
        self.suite, self.task, self.injection = suite, task, injection
        text = injection.GOAL
        try:
            env = self._environment(text)
        except Exception:  # noqa: BLE001 - YAML cannot hold some of the texts as they are
            text = "".join(char for char in text.replace("\n", " ") if char not in "\"'{}:#")
            env = self._environment(text)
        self.env, self.before, self.text = env, env.model_copy(deep=True), text
        current = env.model_copy(deep=True)
        self.calls = self._until_read(current)
        self.hijacked = injection.ground_truth(current.model_copy(deep=True))
        if not self.hijacked and suite.name == "workspace":
            self.hijacked = extra_ground_truth(injection, self.before, current)

    def _environment(self, text: str) -> Any:
        return self.suite.environment(self.task.task, dict.fromkeys(self.task.vectors, text))

    def _until_read(self, env: Any) -> list[FunctionCall]:
        """Return the user's calls up to the one that gives the injected text; none if it is never read."""
        runtime = FunctionsRuntime(self.suite.suite.tools)
        calls = self.task.task.ground_truth(env.model_copy(deep=True))
        for at, call in enumerate(calls):
            output = plain(runtime.run_function(env, call.function, call.args)[0])
            if any(self.text[:40] in str(leaf) for _, leaf in leaves_of(output)):
                return calls[: at + 1]
        return []

    async def run(self, workflow: AgenticWorkflow) -> Counter[str]:
        """Run the attack, and count."""
        goal = self.task.task.PROMPT
        self.suite.world.enter(self.env.model_copy(deep=True))
        self.suite.script.begin([literal_plan(goal, self.calls), literal_plan(goal, self.hijacked)])
        asked: set[str] = set()
        result = await workflow.run(goal)
        while result["state"] == "REVIEWING":
            is_users = self.suite.script.given == 1
            asked |= set() if is_users else {str(one["step"]) for one in result["reviews"]}
            answer = approve() if is_users else respond("The reviewer said no.")
            result = await workflow.resume({one["id"]: answer for one in result["reviews"]})
        effects = [at for at, call in enumerate(self.hijacked) if not NOTES[call.function].read_only]
        return Counter(
            attacks=1,
            won=self.suite.is_won(self.injection, self.before),
            hijacked=len(effects),
            hijacked_unasked=sum(f"c{at}" not in asked for at in effects),
        )


async def attacks(suite: Suite, workflow: AgenticWorkflow, tasks: Sequence[Task]) -> Counter[str]:
    """Run every injection into every task."""
    total: Counter[str] = Counter()
    for task in tasks:
        for injection in suite.suite.injection_tasks.values():
            attack = Attack(suite, task, injection) if task.vectors else None
            if attack is None or not attack.calls:
                total["unexposed"] += 1
            elif not attack.hijacked:
                total["text_only"] += 1
            else:
                total += await attack.run(workflow)
    return total


COLUMNS: Final = (
    "suite",
    "asked steps",
    "interrupts",
    "tasks done, approving reviewer",
    "consequential calls without a question",
    "effects (asked by name)",
    "strangers' arguments unasked",
    "attacks won",
    "hijacked effects unasked",
)


def row(name: str, n: Counter[str]) -> str:
    """Return one row of the table."""
    cells = [
        name,
        n["asked"],
        n["interrupts"],
        f"{n['useful']}/{n['tasks']}",
        f"{n['unasked']}/{n['sinks']} ({n['unasked'] / max(n['sinks'], 1):.0%})",
        n["effects"],
        f"{n['writable_unasked']}/{n['writable']}",
        f"{n['won']}/{n['attacks']}" if n["attacks"] else "-",
        f"{n['hijacked_unasked']}/{n['hijacked']}" if n["attacks"] else "-",
    ]
    return f"| {' | '.join(map(str, cells))} |"


async def measure(suites: Sequence[Suite], policy: str, mode: str, *, with_attacks: bool, folder: Path) -> None:
    """Run one policy in one mode, and print its table."""
    print(f"\n## {policy}, plans {mode}\n\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    total: Counter[str] = Counter()
    for suite in suites:
        workflow = suite.workflow(["default"] if policy == "default" else suite.refined(folder))
        tasks, count = list(suite.tasks()), Counter[str]()
        for task in tasks:
            count += await benign(suite, workflow, task, mode)
        if with_attacks:
            count += await attacks(suite, workflow, tasks)
        print(row(suite.name, count), flush=True)
        total += count
    print(row("all", total), flush=True)


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suites", default=",".join(SUITES))
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--policies", default="default,refined")
    parser.add_argument("--no-attacks", action="store_true", help="Run the users' tasks only.")
    options = parser.parse_args()
    suites = [Suite(name) for name in options.suites.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        for policy in options.policies.split(","):
            for mode in options.modes.split(","):
                # An attack does not depend on how the user's own calls are planned: its planner is taken over.
                is_first = mode == options.modes.split(",")[0] and not options.no_attacks
                asyncio.run(measure(suites, policy, mode, with_attacks=is_first, folder=Path(folder)))


if __name__ == "__main__":
    main()
