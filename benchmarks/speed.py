"""Print how close a run comes to what its plan allows: `python benchmarks/speed.py`.

Makespan: 20 random plans of 30 steps with uneven durations, each run in memory and compared with its critical path,
the longest chain of dependent durations, which no scheduler can beat. Wall time: a plan of 1,000 steps that do nothing.
"""

import asyncio
import random
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from agentic_workflows import (
    Action,
    ActionCall,
    AgenticWorkflow,
    Annotations,
    Limits,
    Plan,
    ScriptedAgent,
    WorkflowStep,
)

PURE = Annotations(read_only=True, open_world=False)
EFFECT = Annotations(destructive=False, open_world=False)


async def nap(call: ActionCall) -> str:
    """Sleep for the given seconds."""
    await asyncio.sleep(float(str(call.inputs["seconds"])))
    return call.step.name


async def nothing(call: ActionCall) -> str:
    """Do nothing."""
    return call.step.name


NAP = Action(name="nap", annotations=PURE, run=nap, resources=lambda _: ())
READ = Action(name="read", annotations=PURE, run=nothing, resources=lambda _: ())
WRITE = Action(name="write", annotations=EFFECT, run=nothing, resources=lambda _: ("shelf",))


def random_plan(seed: int, size: int = 30) -> tuple[Plan, float]:
    """Return a random plan of naps, and its critical path in seconds."""
    dice = random.Random(seed)
    steps: list[WorkflowStep] = []
    ends: list[float] = []
    for at in range(size):
        seconds = round(dice.uniform(0.02, 0.3), 3)
        needed = dice.sample(range(at), k=min(at, dice.randint(0, 3)))
        inputs = {"seconds": seconds, "needs": [f"${{o{one}}}" for one in needed]}
        steps.append(WorkflowStep(f"s{at}", "nap", inputs, [f"o{at}"]))
        ends.append(seconds + max((ends[one] for one in needed), default=0.0))
    return Plan(goal=f"plan {seed}", steps=steps), max(ends)


async def wall(plan: Plan, actions: Sequence[Action], database: str | Path, parallel: int = 30) -> float:
    """Return the seconds that a whole run of a plan takes."""
    workflow = AgenticWorkflow(
        ScriptedAgent([plan]),
        max_iterations=len(plan.steps) + 10,
        actions=actions,
        database=database,
        limits=Limits(max_parallel=parallel),
    )
    began = perf_counter()
    result = await workflow.run(plan.goal)
    took = perf_counter() - began
    if result["state"] != "COMPLETE":
        raise SystemExit(f"The run did not complete: {result['reason']}")
    return took


def chain(action: str, size: int = 1_000) -> Plan:
    """Return a plan of steps that each use the one before."""
    inputs = [{} if at == 0 else {"before": f"${{o{at - 1}}}"} for at in range(size)]
    return Plan(goal="chain", steps=[WorkflowStep(f"s{at}", action, inputs[at], [f"o{at}"]) for at in range(size)])


async def main() -> None:
    """Print the table."""
    await wall(chain("read", 3), [READ], "memory")
    ratios = []
    for seed in range(20):
        plan, critical = random_plan(seed)
        ratios.append(await wall(plan, [NAP], "memory") / critical)
    print(
        f"makespan / critical path, 20 plans of 30 steps: mean {statistics.mean(ratios):.3f}, worst {max(ratios):.3f}"
    )
    for action in (READ, WRITE):
        kind = "effects" if action.has_effect else "steps without effects"
        with tempfile.TemporaryDirectory() as folder:
            memory = await wall(chain(action.name), [action], "memory")
            sqlite = await wall(chain(action.name), [action], Path(folder) / "runs.db")
        print(f"1,000 dependent no-op {kind}: {memory:.2f} s in memory, {sqlite:.2f} s on SQLite")


if __name__ == "__main__":
    asyncio.run(main())
