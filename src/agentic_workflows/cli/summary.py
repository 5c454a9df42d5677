"""What is said when a run stops: what it did, where the result is, and how to go on."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from rich.text import Text

from agentic_workflows.cli.output import Output, own_name, shortened
from agentic_workflows.cli.questions import show_question
from agentic_workflows.cli.tables import STATE_COLOURS, progress_of
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
        output.say(f"Reason: {result['reason']}")
    for name, value in result["outputs"].items():
        output.say(f"  {name} = {shortened(value, _OUTPUT)}")
    if files := written_files(result):
        output.say("Written:")
        for path in files:
            output.say(f"  {Path(workspace) / path}")
    if state == "REVIEWING":
        for number, question in enumerate(result["reviews"], start=1):
            show_question(question, output, number=number, total=len(result["reviews"]))
    for line in how_to_go_on(result, database):
        output.say(line)


def written_files(result: Mapping[str, Any]) -> list[str]:
    """Return the files that the run's last plan wrote, by their path in the workspace."""
    steps = (result["plan"] or {"steps": []})["steps"]
    writers = {step["name"] for step in steps if step["action"] in _WRITERS}
    done = [one for one in result["history"] if one["step"] in writers and one.get("status") == "succeeded"]
    paths = [path for one in done for path in (one["result"] if isinstance(one["result"], list) else [one["result"]])]
    return list(dict.fromkeys(path for path in paths if isinstance(path, str)))


def how_to_go_on(result: Mapping[str, Any], database: str | Path) -> Iterator[str]:
    """Yield the commands that continue a run, where it can be continued."""
    state, thread = result["state"], result["thread_id"]
    if state not in {"REVIEWING", "PAUSED", "FAILED"}:
        return
    if result["outer"]:
        yield f"It is a part of the thread {result['outer']}, and goes on with that one."
        return
    if database == MEMORY:
        if state != "FAILED":
            yield "This run was kept in memory alone and ends here. Use a --database file to continue runs."
        return
    is_default = Path(database) == DEFAULT_DATABASE.absolute()
    where = "" if is_default else f" --database {quote(without_password(database))}"

    def command(verb: str, options: str = "") -> str:
        named, last = ("", f" -- {quote(thread)}") if thread.startswith("-") else (f" {quote(thread)}", "")
        return f"{own_name()} {verb}{named}{where}{options}{last}"

    if state == "REVIEWING":
        doubt = next((one["id"] for one in result["reviews"] if one.get("in_doubt")), None)
        answer = " --approve all" if doubt is None else f" --respond {doubt} --message RESULT"
        yield f"\nIt waits for a person. Answer at a terminal: {command('review')}"
        yield f"or with options, such as: {command('review', answer)}"
    elif state == "PAUSED":
        yield f"Go on with: {command('resume')}"
    elif str(result["reason"]).startswith("max_iterations"):
        more = int(result["iterations"]) + _MORE_ITERATIONS
        yield f"Give it more with: {command('resume', f' --max-iterations {more}')}"
