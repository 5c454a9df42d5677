"""The actions of `worker.py` for a command that imports them: `--actions effects:ACTIONS`, run in this folder.

EFFECTS_FOLDER names the folder that they change.
"""

import asyncio
import os
from pathlib import Path

from worker import World, effect, note

from agentic_workflows.actions.action import ActionCall

FOLDER = Path(os.environ["EFFECTS_FOLDER"])
SECONDS = 0.5
WORLD = World(FOLDER, SECONDS)


async def held(call: ActionCall) -> str:
    """Have the effect, and end when a file is there."""
    note(WORLD.lines, str(call.inputs["line"]))
    while not (FOLDER / "go").exists():
        await asyncio.sleep(0.01)
    return str(call.inputs["line"])


ACTIONS = [*WORLD.actions(), effect("held", held)]
# Earlier the process has not looked at the run, and killing it would test nothing.
note(FOLDER / "awake", str(os.getpid()))
