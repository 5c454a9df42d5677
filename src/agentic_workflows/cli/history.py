"""`export`, `runs prune`: what is written down about runs, and how to be rid of it."""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated

import typer

from agentic_workflows.cli.options import Database, Json, Thread
from agentic_workflows.cli.output import COMPLETE, Output, in_line
from agentic_workflows.errors import RunError

_AGE = re.compile(r"(\d{1,9})([dhm])")
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}
_ORPHANS = (
    "Also runs whose checkpoints, and those of the graph around them, are not in this database: where they are in "
    "another one, nobody could go on with them any more."
)


def export(ctx: typer.Context, *, thread: Thread, database: Database = None, _json: Json = False) -> int:
    """Print everything that is written down about a run, oldest first, one JSON object a line."""
    from agentic_workflows.cli.build import build_reader  # noqa: PLC0415 - heavy

    entries = asyncio.run(build_reader(database).timeline(thread))
    ctx.obj.document(entries)
    if not ctx.obj.is_json:
        for entry in entries:
            ctx.obj.raw(json.dumps(entry) + "\n")
    return COMPLETE


def prune(
    ctx: typer.Context,
    *,
    older_than: Annotated[str, typer.Option(metavar="AGE", help="Untouched for this long: 30d, 12h, 5m.")],
    orphans: Annotated[bool, typer.Option("--orphans", help=_ORPHANS)] = False,
    database: Database = None,
    _json: Json = False,
) -> int:
    """Remove finished runs with all that is kept of them; a run that waits for somebody stays.

    A run inside another one goes with that; one inside a graph that is not ours stays as long as the thread of that.

    A SQLite file gives back what was freed, where that is a good part of it. It keeps its size while another process
    runs something in it, and where others would have to wait for it for long.
    """
    from agentic_workflows.cli.build import build_reader  # noqa: PLC0415 - heavy

    age = _AGE.fullmatch(older_than)
    if age is None:
        raise RunError(f"--older-than {older_than!r} is no age; write it as 30d, 12h or 5m.")
    limit = timedelta(**{_UNITS[age[2]]: int(age[1])})
    gone = asyncio.run(build_reader(database).prune(limit, savers=() if orphans else None))
    ctx.obj.document({"removed": gone})
    if not ctx.obj.is_json:
        ctx.obj.say(f"{len(gone)} finished run{'' if len(gone) == 1 else 's'} removed.")
    return COMPLETE


def show_timeline(entries: Sequence[Mapping[str, object]], output: Output) -> None:
    """Show what happened, a line each: attempts, how long they took, who answered what."""
    for entry in entries:
        output.say(f"  {_time(str(entry['at']))}  {in_line(_line(entry))}")


def _time(at: str) -> str:
    """Return a time of the journal, which is UTC, to the second; a step that was skipped has none."""
    return f"{at[:10]} {at[11:19]} UTC" if at else " " * len("2026-01-01 00:00:00 UTC")


def _line(entry: Mapping[str, object]) -> str:
    from agentic_workflows.journal.timeline import is_settled  # noqa: PLC0415 - heavy

    match entry["what"]:
        case "run begun":
            return "run begun"
        case "plan":
            return f"plan {entry['number']}"
        case "intent":
            return f"{_where(entry)} ({entry['action']}) is about to act{_under(entry)}"
        case "outcome" if is_settled(entry):
            return f"{_where(entry)} settled  {entry['reason']}"
        case "outcome":
            reason = f"  {entry['reason']}" if entry["reason"] else ""
            return f"{_where(entry)} {entry['status']} {entry['seconds']:.1f} s{_often(entry)}{_under(entry)}{reason}"
        case _:
            answer = entry["answer"] if isinstance(entry["answer"], dict) else {}
            said = f"  {answer['message']}" if answer.get("message") else ""
            about = _where(entry) if entry["step"] else entry["review_id"]
            return f"{entry['reviewer'] or 'somebody'} answered {about}: {answer.get('type')}{said}"


def _under(entry: Mapping[str, object]) -> str:
    """Return the ids of the rules under which policy allowed a call, or of those that asked and a person approved."""
    rules = entry["rules"]
    return "  " + " ".join(f"[{rule}]" for rule in rules) if isinstance(rules, list) and rules else ""


def _often(entry: Mapping[str, object]) -> str:
    """Return how often a call was tried, where that was more than once; of a `foreach`, each item tells its own."""
    is_call, attempts = bool(entry["action"]), int(str(entry["attempts"]))
    return f" in {attempts} attempts" if is_call and attempts > 1 else ""


def _where(entry: Mapping[str, object]) -> str:
    """Return the step of an entry, its item and its attempt, counted from 1 as everywhere."""
    from agentic_workflows.graph.review import step_of  # noqa: PLC0415 - heavy

    attempt = f", attempt {int(str(entry['attempt'])) + 1}" if entry.get("attempt") else ""
    return f"{step_of(entry)}{attempt}"
