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
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent))

from attacks import attacks
from suites import NEEDS_REPLAN, NOTES, Suite, Task

from agentic_workflows import AgenticWorkflow, approve

SUITES: Final = ("workspace", "travel", "banking", "slack")
MODES: Final = ("static", "labelled", "react")
POLICIES: Final = ("default", "refined")
ATTACKS: Final = "attacks"
"""Stands for the runs that are attacked, in the place of a mode: they depend on none."""

Measured = dict[str, Counter[str]]
"""What was counted, by mode."""


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
    sinks = task.consequential
    writable = [at for at in sinks if task.is_writable(at)]
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


async def measure(suite: Suite, policy: str, modes: Sequence[str], *, with_attacks: bool, folder: Path) -> Measured:
    """Run a suite under one policy in every mode, and attack it."""
    workflow = suite.workflow(["default"] if policy == "default" else suite.refined(folder))
    tasks, found = list(suite.tasks()), Measured()
    for mode in modes:
        found[mode] = Counter()
        for task in tasks:
            found[mode] += await benign(suite, workflow, task, mode)
    if with_attacks:
        found[ATTACKS] = await attacks(suite, workflow, tasks)
    return found


def measured(name: str, policy: str, modes: Sequence[str], with_attacks: bool) -> Measured:  # noqa: FBT001 - for a pool
    """Return what a suite comes to under one policy, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(measure(Suite(name), policy, modes, with_attacks=with_attacks, folder=Path(folder)))


COLUMNS: Final = (
    "asked steps",
    "interrupts",
    "tasks done, approving reviewer",
    "consequential calls without a question",
    "effects (asked by name)",
    "strangers' arguments unasked",
)
ATTACK_COLUMNS: Final = ("attacks won", "hijacked effects unasked", "only a text is wanted", "never read")


def cells(n: Counter[str]) -> list[object]:
    """Return what a row of the users' tasks says."""
    return [
        n["asked"],
        n["interrupts"],
        f"{n['useful']}/{n['tasks']}",
        f"{n['unasked']}/{n['sinks']} ({n['unasked'] / max(n['sinks'], 1):.0%})",
        n["effects"],
        f"{n['writable_unasked']}/{n['writable']}",
    ]


def attack_cells(n: Counter[str]) -> list[object]:
    """Return what a row of the attacks says."""
    won, unasked = f"{n['won']}/{n['attacks']}", f"{n['hijacked_unasked']}/{n['hijacked']}"
    return [won, unasked, n["text_only"], n["unexposed"]]


def show(title: str, mode: str, found: dict[str, Measured]) -> None:
    """Print the table of one mode, a row a suite."""
    columns, told = (ATTACK_COLUMNS, attack_cells) if mode == ATTACKS else (COLUMNS, cells)
    rows = {name: by_mode[mode] for name, by_mode in found.items()}
    rows["all"] = sum(rows.values(), Counter())
    print(f"\n## {title}\n\n{line(['suite', *columns])}\n|{'---|' * (len(columns) + 1)}")
    for name, counted in rows.items():
        print(line([name, *told(counted)]))


def line(texts: Iterable[object]) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(map(str, texts))} |"


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suites", default=",".join(SUITES))
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--policies", default=",".join(POLICIES))
    parser.add_argument("--no-attacks", action="store_true", help="Run the users' tasks only.")
    options = parser.parse_args()
    names, modes, policies = (getattr(options, one).split(",") for one in ("suites", "modes", "policies"))
    with ProcessPoolExecutor() as pool:
        waiting = {
            (policy, name): pool.submit(measured, name, policy, modes, not options.no_attacks)
            for name in names
            for policy in policies
        }
        for policy in policies:
            found = {name: waiting[policy, name].result() for name in names}
            for mode in modes:
                show(f"{policy}, plans {mode}", mode, found)
            if not options.no_attacks:
                show(f"{policy}, attacked", ATTACKS, found)


if __name__ == "__main__":
    main()
