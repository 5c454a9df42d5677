"""`runs`, `show`, `pause`, `cancel`: looking at runs, and stopping them."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import typer

from agentic_workflows.cli import history
from agentic_workflows.cli.options import Database, Json, Thread
from agentic_workflows.cli.output import COMPLETE, UNDER_WAY, Output, in_line, indented
from agentic_workflows.errors import RunBusyError, RunError, process_of

if TYPE_CHECKING:
    from agentic_workflows.graph.state import Request
    from agentic_workflows.workflow import AgenticWorkflow

_FINISHED = ("COMPLETE", "FAILED")
_UNKNOWN = "UNKNOWN"
_WAIT_SECONDS = 5.0
"""How long `pause` and `cancel` wait for the process that runs it."""
_POLL_SECONDS = 0.2


def make_runs() -> typer.Typer:
    """Return the group of commands; without one of them, it lists the runs."""
    group = typer.Typer()
    group.callback(invoke_without_command=True)(runs)
    group.command()(history.prune)
    return group


def runs(ctx: typer.Context, *, database: Database = None, _json: Json = False) -> int:
    """List every run, the one touched last first; `runs prune` removes old ones."""
    if ctx.invoked_subcommand is not None:
        return COMPLETE
    from agentic_workflows.cli.tables import BESIDE_RUN, runs_table, width_with  # noqa: PLC0415 - heavy

    found = all_runs(database)
    ctx.obj.document(found)
    if found and not ctx.obj.is_json:
        ctx.obj.show_wide(runs_table(found), width_with(found, BESIDE_RUN))
    elif not ctx.obj.is_json:
        ctx.obj.say("There are no runs yet.")
    return COMPLETE


def show(ctx: typer.Context, *, thread: Thread, database: Database = None, _json: Json = False) -> int:
    """Show a run: its plan with decisions, its steps, outputs, reason and open questions."""
    from agentic_workflows.cli.build import build_reader, saved_setup  # noqa: PLC0415 - heavy
    from agentic_workflows.cli.summary import show_summary  # noqa: PLC0415

    reader = build_reader(database)
    result = asyncio.run(_result_with_holder(reader, thread))
    ctx.obj.document(result)
    if not ctx.obj.is_json:
        kept = asyncio.run(reader.metadata_of(thread))
        workspace = str(saved_setup(kept).get("workspace", ""))
        told = asyncio.run(reader.timeline(thread))
        _show_steps(result, ctx.obj)
        history.show_timeline(told, ctx.obj)
        ctx.obj.say()
        show_summary(result, ctx.obj, workspace=workspace, database=reader.database.url)
    return COMPLETE


def pause(ctx: typer.Context, *, thread: Thread, database: Database = None, _json: Json = False) -> int:
    """Ask a run that is under way in another process to pause; action calls under way are finished first."""
    reader, result = _read(thread, database)
    if result["state"] == _UNKNOWN:
        return _ask_unseen(reader, result, "pause", ctx.obj)
    if result["state"] in _FINISHED:
        raise RunError(f"The run {thread} is {result['state']} already; there is nothing to pause.")
    if result["state"] not in UNDER_WAY:
        return _tell(result, ctx.obj, f"The run {thread} is {result['state']} already and runs nothing.")
    reader.request(thread, "pause")
    result = _awaited(reader, thread)
    return _tell(result, ctx.obj, _paused(result, reader.database.url))


def cancel(
    ctx: typer.Context,
    *,
    thread: Thread,
    database: Database = None,
    _json: Json = False,
) -> int:
    """End a run: one that waits, or one under way in another process before its next action call."""
    reader, result = _read(thread, database)
    if result["state"] == _UNKNOWN:
        return _ask_unseen(reader, result, "cancel", ctx.obj)
    was_under_way = result["state"] in UNDER_WAY
    if was_under_way:
        reader.request(thread, "cancel")
        result = _awaited(reader, thread)
    if not (was_under_way and result["state"] == "FAILED"):
        try:
            result = asyncio.run(reader.cancel(thread))
        except RunBusyError:
            reader.request(thread, "cancel")
            under_way = f"The run {thread} was asked to stop; action calls that are under way are finished first."
            return _tell(result, ctx.obj, under_way)
    return _tell(result, ctx.obj, f"The run {thread} is {result['state']}: {result['reason']}")


def all_runs(database: str | None) -> list[dict[str, Any]]:
    """Return every run of a database; one that does not exist yet has none."""
    from agentic_workflows.cli.build import build_reader  # noqa: PLC0415 - heavy

    try:
        reader = build_reader(database)
    except RunError:
        if database is not None:
            raise
        return []
    return asyncio.run(_all_with_holder(reader))


def _read(thread: str, database: str | None) -> "tuple[AgenticWorkflow, dict[str, Any]]":
    from agentic_workflows.cli.build import build_reader  # noqa: PLC0415 - heavy

    reader = build_reader(database)
    return reader, asyncio.run(reader.result(thread))


def _ask_unseen(reader: "AgenticWorkflow", result: dict[str, Any], request: "Request", output: Output) -> int:
    """Ask a run to stop that only its own graph can see stop."""
    thread = result["thread_id"]
    reader.request(thread, request)
    asked = f"The run {thread} was asked to {request}; whether any process has it, is not known here."
    return _tell(result, output, asked)


def _awaited(reader: "AgenticWorkflow", thread: str) -> dict[str, Any]:
    """Return the run as soon as it has stopped or nobody runs it, or as it is after a while."""
    end = monotonic() + _WAIT_SECONDS
    while True:
        result = asyncio.run(_result_with_holder(reader, thread))
        if result["state"] not in UNDER_WAY or not result["held_by"] or monotonic() > end:
            return result
        sleep(_POLL_SECONDS)


def _paused(result: dict[str, Any], database: str | Path) -> str:
    """Return what came of asking a run to pause."""
    from agentic_workflows.cli.summary import command  # noqa: PLC0415 - heavy

    thread = result["thread_id"]
    if result["state"] not in UNDER_WAY:
        return f"The run {thread} is {result['state']}."
    how = f"the thread {result['outer']}" if result["outer"] else f"`{command('resume', thread, database)}`"
    if not result["held_by"]:
        return f"No process runs the run {thread}; {how} continues it."
    return (
        f"The run {thread} was asked to pause; action calls that are under way are finished first. "
        f"If no process runs it any more, {how} continues it."
    )


async def _all_with_holder(reader: "AgenticWorkflow") -> list[dict[str, Any]]:
    return [await _with_holder(reader, one) for one in await reader.runs()]


async def _result_with_holder(reader: "AgenticWorkflow", thread: str) -> dict[str, Any]:
    return await _with_holder(reader, await reader.result(thread))


async def _with_holder(reader: "AgenticWorkflow", result: dict[str, Any]) -> dict[str, Any]:
    """Return a run with who holds it, if it is under way; one that nobody holds may have ended since it was read."""
    if result["state"] not in UNDER_WAY:
        return {**result, "held_by": None}
    lease = await reader.database.journal.holder(result["thread_id"])
    if lease is None:
        return {**await reader.result(result["thread_id"]), "held_by": None}
    until = datetime.fromtimestamp(lease.expires, UTC).isoformat(timespec="seconds")
    return {**result, "held_by": {"process": process_of(lease.owner), "until": until}}


def _tell(result: dict[str, Any], output: Output, text: str) -> int:
    """Say what came of a command, which did what it is for, whatever the state of the run."""
    output.document({"thread_id": result["thread_id"], "state": result["state"], "message": text})
    if not output.is_json:
        output.say(text)
    return COMPLETE


def _show_steps(result: dict[str, Any], output: Output) -> None:
    from agentic_workflows.cli.tables import plan_table  # noqa: PLC0415 - heavy

    output.say(f"Thread: {in_line(result['thread_id'])}\nGoal:   {indented(str(result['goal']), 8)}\n")
    if result["plan"]:
        output.show(plan_table(result["plan"], result["report"] or {"order": None, "decisions": {}}))
        output.say()
