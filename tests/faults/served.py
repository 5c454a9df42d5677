"""A graph for a server that is killed: the plan comes with the goal, the effects are lines of a file.

Copied into the server's folder, beside `worker.py`; EFFECTS_FOLDER names the folder that the effects change.
"""

import asyncio
import os
import random
from pathlib import Path

from worker import World, effect, note

from agentic_workflows import Limits, ScriptedAgent, build_graph
from agentic_workflows.actions.action import Action, ActionCall, Found
from agentic_workflows.journal.database import Database

FOLDER = Path(os.environ["EFFECTS_FOLDER"])
SECONDS = 0.15
WORLD = World(FOLDER)


async def append(call: ActionCall) -> str:
    """Have the effect: one line."""
    await asyncio.sleep(random.random() * SECONDS)  # noqa: S311
    await asyncio.to_thread(note, WORLD.lines, str(call.inputs["line"]))
    await asyncio.sleep(random.random() * SECONDS)  # noqa: S311
    return str(call.inputs["line"])


async def find(call: ActionCall) -> Found | None:
    """Look whether the line is there."""
    line = str(call.inputs["line"])
    return Found(result=line) if await asyncio.to_thread(WORLD.has, line) else None


async def hang(call: ActionCall) -> str:
    """Have the effect, and never come back."""
    await append(call)
    await asyncio.Event().wait()
    return ""


async def gate(call: ActionCall) -> str:
    """Wait until a file is there."""
    while not await asyncio.to_thread((FOLDER / str(call.inputs["line"])).exists):
        await asyncio.sleep(0.05)
    return "open"


def actions() -> list[Action]:
    """Return the actions, each of which touches only its own line."""
    return [
        effect("found", append, reconcile=find),
        effect("told", append),
        effect("hang", hang),
        effect("gate", gate, read_only=True),
    ]


DATABASE = Database(FOLDER / "effects.db")
graph = build_graph(ScriptedAgent([]), actions=actions(), database=DATABASE, limits=Limits(max_iterations=50))
