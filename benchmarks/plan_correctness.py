"""How many of ten goals, none of them among the examples, does the embedded model plan right?

Each goal has a checker that reads the plan as a dataflow program: the right actions on the right files, and each value
from where it must come. Run it with `python benchmarks/plan_correctness.py`.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agentic_workflows.actions.builtin import builtin_actions
from agentic_workflows.agents.chat_model import chat_model
from agentic_workflows.agents.model_agent import ModelAgent
from agentic_workflows.errors import WorkflowError
from agentic_workflows.graph.checks import static_findings
from agentic_workflows.graph.plan import Plan, WorkflowStep
from agentic_workflows.graph.plan import from_json as plan_from_json
from agentic_workflows.graph.values import JsonValue

Expected = Mapping[str, "JsonValue | Callable[[JsonValue], bool]"]


@dataclass(frozen=True)
class Wanted:
    """One step that must be there: its literal inputs, and which wanted step feeds which input."""

    action: str
    inputs: Expected
    fed: Mapping[str, int]
    """From an input to the position of the wanted step whose output it uses."""
    foreach: int | None = None


def wanted(action: str, inputs: Expected | None = None, *, foreach: int | None = None, **fed: int) -> Wanted:
    """Return what a step must be."""
    return Wanted(action, inputs or {}, fed, foreach)


def mentions(*words: str) -> Callable[[JsonValue], bool]:
    """Accept a text that holds every word."""
    return lambda value: isinstance(value, str) and all(word in value.casefold() for word in words)


GOALS: dict[str, list[Wanted]] = {
    "Count the words of notes/ideas.md and write the number to count.txt.": [
        wanted("read_file", {"path": "notes/ideas.md"}),
        wanted("word_count", text=0),
        wanted("write_file", {"path": "count.txt"}, text=1),
    ],
    "Summarize HISTORY.md in three sentences and put the summary into release-notes.md.": [
        wanted("read_file", {"path": "HISTORY.md"}),
        wanted("summarize", {"sentences": 3}, text=0),
        wanted("write_file", {"path": "release-notes.md"}, text=1),
    ],
    "Find out who is responsible for the budget according to notes/meeting.md and append the name to people.txt.": [
        wanted("read_file", {"path": "notes/meeting.md"}),
        wanted("extract", {"what": mentions("budget")}, text=0),
        wanted("append_file", {"path": "people.txt"}, text=1),
    ],
    "Decide whether notes/complaint.md is urgent, normal or unimportant, and save the decision in triage.txt.": [
        wanted("read_file", {"path": "notes/complaint.md"}),
        wanted("classify", {"labels": lambda labels: labels == ["urgent", "normal", "unimportant"]}, text=0),
        wanted("write_file", {"path": "triage.txt"}, text=1),
    ],
    "Add up the hours column of timesheet.csv and add the total to the end of notes/hours.md.": [
        wanted("sum_column", {"path": "timesheet.csv", "column": "hours"}),
        wanted("append_file", {"path": "notes/hours.md"}, text=0),
    ],
    "Rename draft.md to final.md, then delete todo.txt.": [
        wanted("move_file", {"source": "draft.md", "target": "final.md"}),
        wanted("delete_file", {"path": "todo.txt"}),
    ],
    "Search for the word deadline in the folder projects and save the lines that mention it to deadlines.txt.": [
        wanted("search_files", {"text": mentions("deadline"), "folder": "projects"}),
        wanted("write_file", {"path": "deadlines.txt"}, text=0),
    ],
    "Count the words of every markdown file in chapters and save the numbers to lengths.txt.": [
        wanted("list_files", {"folder": "chapters", "pattern": "*.md"}),
        wanted("read_file", {"path": "${item}"}, foreach=0),
        wanted("word_count", {"text": "${item}"}, foreach=1),
        wanted("write_file", {"path": "lengths.txt"}, text=2),
    ],
    "Write a short poem about autumn and save it to poem.txt.": [
        wanted("write_text", {"instruction": mentions("poem", "autumn"), "text": lambda text: text in (None, "")}),
        wanted("write_file", {"path": "poem.txt"}, text=0),
    ],
    "Translate letters/anna.md into French and replace letters/anna.md with the translation.": [
        wanted("read_file", {"path": "letters/anna.md"}),
        wanted("write_text", {"instruction": mentions("french")}, text=0),
        wanted("write_file", {"path": "letters/anna.md", "overwrite": True}, text=1),
    ],
}


def fault(plan: Plan, expected: list[Wanted]) -> str:
    """Return what is wrong with a plan; nothing for a right one. A step beyond the wanted ones is wrong."""
    if [step.action for step in plan.steps] != [want.action for want in expected]:
        return f"the actions are {', '.join(step.action for step in plan.steps)}"
    faults = (_step_fault(plan, step, want) for step, want in zip(plan.steps, expected, strict=True))
    return next((f"{step.name}: {found}" for step, found in zip(plan.steps, faults, strict=True) if found), "")


def _step_fault(plan: Plan, step: WorkflowStep, want: Wanted) -> str:
    for name, value in want.inputs.items():
        given = step.inputs.get(name)
        if not (value(given) if callable(value) else given == value):
            return f"{name} is {given!r}"
    sources = {field: plan.producers.get(reference.name) for field, reference in step.references}
    for name, position in want.fed.items():
        if sources.get(f"inputs.{name}") != plan.steps[position].name:
            return f"{name} does not come from {plan.steps[position].name}"
    source = None if want.foreach is None else plan.steps[want.foreach].name
    return "" if sources.get("foreach") == source else f"foreach is {step.foreach!r}"


async def main() -> int:
    """Plan every goal, print a line for each and the score."""
    with tempfile.TemporaryDirectory() as folder:
        catalogue = builtin_actions(Path(folder), chat_model)
    agent = ModelAgent(chat_model, catalogue)
    right = 0
    for goal, expected in GOALS.items():
        began = time.perf_counter()
        try:
            plan = plan_from_json(await agent.create_plan(goal, []))
            found = "; ".join(map(str, static_findings(plan, catalogue))) or fault(plan, expected)
        except WorkflowError as error:
            plan, found = None, str(error)
        right += not found
        print(f"{'wrong' if found else 'right'}  {time.perf_counter() - began:5.1f} s  {goal}", flush=True)
        if found:
            print(f"       {found}\n       {json.dumps(plan.to_json()['steps']) if plan else ''}", flush=True)
    print(f"{right}/{len(GOALS)}")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
