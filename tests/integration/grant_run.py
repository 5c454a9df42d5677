"""A run in a process of its own, for tests of grants: `grant_run.py FOLDER COMMAND [REVIEW_ID]`, prints JSON."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from agentic_workflows import AgenticWorkflow, ScriptedAgent, WorkflowError, action, approve

PLAN = {"steps": [{"name": "mail", "action": "send", "inputs": {"to": "ada"}, "human_review_required": True}]}


def workflow_in(folder: Path) -> AgenticWorkflow:
    @action(destructive=False, open_world=False)
    def send(to: str) -> str:
        """Send a mail."""
        with (folder / "sent.txt").open("a", encoding="utf-8") as sent:
            sent.write(f"{to}\n")
        return "sent"

    return AgenticWorkflow(ScriptedAgent([PLAN]), actions=[send], database=folder / "runs.db")


async def play(folder: Path, command: str, *review_id: str) -> dict[str, Any]:
    workflow = workflow_in(folder)
    match command:
        case "run":
            return await workflow.run("Mail Ada", thread_id="t")
        case "answer":  # and nothing else: the process ends before it goes on with the run
            async with workflow._opened("t") as run:
                await run.answer(approve(*review_id))
            return await workflow.result("t")
        case "approve":
            return await workflow.resume(approve(*review_id), thread_id="t")
        case _:
            return await workflow.resume(thread_id="t")


if __name__ == "__main__":
    try:
        sys.stdout.write(json.dumps(asyncio.run(play(Path(sys.argv[1]), *sys.argv[2:]))))
    except WorkflowError as error:
        sys.stdout.write(json.dumps({"error": type(error).__name__, "message": str(error)}))
