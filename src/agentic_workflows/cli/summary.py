"""What is said when a run stops: what it did, where the result is, and how to go on."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from rich.text import Text

from agentic_workflows.cli.output import UNDER_WAY, Output, in_line, indented, own_name, shortened
from agentic_workflows.cli.questions import show_question
from agentic_workflows.cli.tables import STATE_COLOURS, progress_of
from agentic_workflows.graph.outcome import GIVEN
from agentic_workflows.journal.database import DEFAULT_DATABASE, MEMORY
from agentic_workflows.journal.faults import without_password

_WRITERS = ("write_file", "append_file", "move_file")
_OUTPUT = 300
_MORE_ITERATIONS = 10


def show_summary(result: Mapping[str, Any], output: Output, *, workspace: str, database: str | Path) -> None:
    """Show what a run came to."""
    state = str(result["state"])
    steps = f"{progress_of(result)} steps, {result['iterations']} iterations, {result['seconds']:.1f} s"
    output.say()
    output.show(Text.assemble((state, f"bold {STATE_COLOURS.get(state, '')}"), f"  {steps}"))
    if result["reason"]:
        output.say(f"Reason: {indented(result['reason'], 8)}")
    for name, value in result["outputs"].items():
        output.say(f"  {name} = {shortened(value, _OUTPUT)}")
    if files := written_files(result, workspace):
        output.say("Written:")
        for path in files:
            output.say(f"  {in_line(str(Path(workspace) / path))}")
    if state == "REVIEWING":
        for number, question in enumerate(result["reviews"], start=1):
            show_question(question, output, number=number, total=len(result["reviews"]))
    for line in how_to_go_on(result, database):
        output.say(line)


def written_files(result: Mapping[str, Any], workspace: str) -> list[str]:
    """Return the files that the run's last plan wrote, by their path in the workspace; where that is known, what stays.

    A run that goes on with another workspace may have written in the one before.
    """
    steps = (result["plan"] or {"steps": []})["steps"]
    writers = {step["name"] for step in steps if step["action"] in _WRITERS}
    done = [one for one in result["history"] if one["step"] in writers and one.get("status") == "succeeded"]
    paths = dict.fromkeys(path for one in done for path in _given_by_calls(one) if isinstance(path, str))
    return [path for path in paths if not workspace or os.path.isfile(Path(workspace) / path)]  # noqa: PTH113 - never raises


def _given_by_calls(entry: Mapping[str, Any]) -> Iterator[object]:
    """Yield the result of each call of a step, without those that a person gave in place of one."""
    result = entry["result"]
    each = zip(entry.get("items", ()), result, strict=False) if isinstance(result, list) else [(entry, result)]
    return (given for one, given in each if one.get("reason") != GIVEN)


def kept_answers(asked: frozenset[str], still_open: frozenset[str]) -> str:
    """Return what became of answers that do not let the run go on yet; empty where there are none."""
    kept, left = len(asked - still_open), len(asked & still_open)
    if not (kept and left):
        return ""
    others = "the other one is" if left == 1 else f"the other {left} are"
    return f"{kept} {'answer' if kept == 1 else 'answers'} kept; the run goes on when {others} answered."


def how_to_go_on(result: Mapping[str, Any], database: str | Path) -> Iterator[str]:
    """Yield who goes on with a run, or the commands that do, where it can be continued."""
    state, is_under_way = result["state"], result["state"] in UNDER_WAY
    if is_under_way and result.get("held_by"):
        yield "{process} runs it, and holds it until {until}.".format(**result["held_by"])
        return
    if is_under_way:
        yield "Nobody runs it."
    elif state not in {"REVIEWING", "PAUSED", "FAILED"}:
        return
    if result["outer"]:
        yield f"It is a part of the thread {result['outer']}, and goes on with that one."
    elif database != MEMORY:
        yield from _commands(result, database)
    elif state != "FAILED":
        yield "This run was kept in memory alone and ends here. Use a --database file to continue runs."


def _commands(result: Mapping[str, Any], database: str | Path) -> Iterator[str]:
    state, thread = result["state"], result["thread_id"]
    if state == "REVIEWING":
        yield f"\nIt waits for a person. Answer at a terminal: {command('review', thread, database)}"
        yield f"or with options, such as: {command('review', thread, database, _an_answer(result['reviews']))}"
    elif state != "FAILED":
        yield f"Go on with: {command('resume', thread, database)}"
    elif str(result["reason"]).startswith("max_iterations"):
        more = int(result["iterations"]) + _MORE_ITERATIONS
        yield f"Give it more with: {command('resume', thread, database, f'--max-iterations {more}')}"


def command(verb: str, thread: str, database: str | Path, options: str = "") -> str:
    """Return what is typed in a shell; a thread that looks like an option stands behind all of them."""
    is_default = Path(database) == DEFAULT_DATABASE.absolute()
    where = "" if is_default else f"--database {quote(without_password(database))}"
    named, last = ("", f"-- {quote(thread)}") if thread.startswith("-") else (quote(thread), "")
    return " ".join(filter(None, (own_name(), verb, named, where, options, last)))


def _an_answer(questions: Sequence[Mapping[str, Any]]) -> str:
    """Return the options of an answer; of what is in doubt one that does nothing again."""
    in_doubt = next((one["id"] for one in questions if one.get("in_doubt")), None)
    return "--approve all" if in_doubt is None else f"--respond {in_doubt} --message RESULT"
