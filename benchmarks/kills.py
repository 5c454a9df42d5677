"""What is left of runs that are killed, `kill -9`, in a graph of two branches, and then resumed."""

import asyncio
import random
import tempfile
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from time import sleep
from typing import Any

from peers import Branches, dbos_branches, dbos_recovered
from works import EFFECT, TAKES, put, workflow

from agentic_workflows import Action, ActionCall, Plan, WorkflowStep

_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(["agentic_workflows", "langgraph.checkpoint.sqlite.aio", "burr.core", "dbos"])
_JOINED = "join(a=a2(before=a1(before=a0())),b=b2(before=b1(before=b0())))"


def _branches() -> Plan:
    """Return two branches of three steps, and a step that joins them."""
    steps = []
    for branch in "ab":
        for at in range(3):
            inputs = {"before": f"${{{branch}{at - 1}}}"} if at else {}
            steps.append(WorkflowStep(f"{branch}{at}", "put", inputs, [f"{branch}{at}"]))
    return Plan("g", [*steps, WorkflowStep("join", "put", {"a": "${a2}", "b": "${b2}"}, ["joined"])])


async def _put(call: ActionCall) -> str:
    return await put(call.step.name, call.inputs)


_PUT = Action(
    name="put",
    input_schema=TAKES,
    annotations=replace(EFFECT, idempotent=True),
    run=_put,
    resources=lambda _: (),
)


def _victim(path: Path) -> None:
    asyncio.run(workflow([_PUT], path, 7).run("g", plan=_branches(), thread_id="t"))


def _dbos_victim(path: Path, branches: Branches, begun: Path) -> None:
    asyncio.run(dbos_branches(path, branches, begun.touch))


def _killed(victim: Callable[..., None], *arguments: Any, begun: Path, within: float) -> bool:
    """Kill a process within some seconds after a file tells that its run begins; False where it was over."""
    process = _CONTEXT.Process(target=victim, args=arguments)
    process.start()
    while not begun.exists():
        sleep(0.002)
    sleep(random.uniform(0.0, within))
    is_alive = bool(process.is_alive())
    process.kill()
    process.join()
    return is_alive


async def wrong_here(times: int) -> tuple[int, int]:
    """Return how many of these runs gave a wrong output, and how many were killed under way."""
    wrong = landed = 0
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "runs.db"
            landed += _killed(_victim, path, begun=path, within=0.2)
            house = workflow([_PUT], path, 7)
            if not await house.runs():
                continue  # killed before there was one
            result = await house.result("t")
            result = result if result["state"] == "COMPLETE" else await house.resume(thread_id="t")
            wrong += result["outputs"]["joined"] != _JOINED
    return wrong, landed


async def wrong_in_dbos(branches: Branches, times: int) -> tuple[int, int]:
    """Return the same of DBOS."""
    wrong = landed = 0
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder:
            path, begun = Path(folder) / "runs.db", Path(folder) / "begun"
            landed += _killed(_dbos_victim, path, branches, begun, begun=begun, within=0.1)
            wrong += await dbos_recovered(path) not in (None, _JOINED)
    return wrong, landed
