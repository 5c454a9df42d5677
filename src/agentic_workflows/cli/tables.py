"""Tables for people: plans with their decisions, runs, actions."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from shlex import quote
from typing import Any, cast

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from agentic_workflows.cli.output import UNDER_WAY, in_line, shortened
from agentic_workflows.graph.catalogue import ActionSpec
from agentic_workflows.graph.review import answer_by, step_of
from agentic_workflows.graph.values import JsonObject
from agentic_workflows.policies.decision import word_and_why
from agentic_workflows.visible import visible

_INPUT = 48
_INPUTS = 160
_LINES, _NARROWEST = 8, 8
"""Full lines of a question in a table, and characters of its inputs or its reason in one that is short of room."""
BESIDE_RUN, BESIDE_QUESTION = 44, 72
"""Characters of a line that are left for what stands beside the name of a thread."""
_COLOURS = {"Allow": "green", "Ask": "yellow", "Deny": "red", "At run time": "cyan"}
STATE_COLOURS = {"COMPLETE": "green", "FAILED": "red", "CORRUPT": "red", "REVIEWING": "yellow", "PAUSED": "yellow"}


def plan_table(plan: Mapping[str, Any], report: Mapping[str, Any]) -> Table:
    """Return a plan in the order in which it reads as a sequence, with the decision on every step."""
    steps = {step["name"]: step for step in plan["steps"]}
    order = report["order"] or list(steps)
    table = _table("", "Step", "Action", "Inputs", "Decision", "Why")
    for number, name in enumerate(order, start=1):
        decision = report["decisions"].get(name)
        word, why = word_and_why(decision) if decision else ("-", "")
        step = steps[name]
        colour = _COLOURS.get(decision["decision"] if decision else "", "")
        table.add_row(
            str(number), in_line(name), in_line(step["action"]), _inputs(step), Text(word, colour), visible(why)
        )
    return table


def came_from(sources: Iterable[Mapping[str, Any]]) -> str:
    """Return where an argument comes from, to stand behind it; empty where it comes from no output."""
    named = [f"{in_line(str(one['source']))}{'' if one['trusted'] else ', untrusted'}" for one in sources]
    return f"   <- {'; '.join(named)}" if named else ""


def sources_table(steps: Mapping[str, JsonObject]) -> Table:
    """Return the arguments of a plan's steps that come from outputs, with what they come from."""
    table = _table("Step", "Argument", "Comes from", "Trusted")
    for step, arguments in steps.items():
        for argument, sources in arguments.items():
            for one in cast("list[dict[str, Any]]", sources):
                trusted = Text("yes", "green") if one["trusted"] else Text("no", "yellow")
                table.add_row(*map(in_line, (step, argument, str(one["source"]))), trusted)
    return table


def width_with(results: Iterable[Mapping[str, Any]], beside: int) -> int:
    """Return how wide a table must be that shows names of threads whole, as somebody types them."""
    return max((cell_len(_typed(one)) for one in results), default=0) + beside


def runs_table(results: Iterable[JsonObject]) -> Table:
    """Return runs, one a row."""
    table = _table("Thread", "State", "Goal", "Steps", "Reason", whole=("Thread", "State", "Steps"))
    for one in results:
        state = str(one["state"])
        shown = Text(state, STATE_COLOURS.get(state, ""))
        goal, reason = shortened(one["goal"] or "", 60), shortened(one["reason"] or _holder(one), 80)
        table.add_row(_typed(one), shown, goal, progress_of(one), reason)
    return table


def _holder(result: Mapping[str, Any]) -> str:
    if result["state"] not in UNDER_WAY:
        return ""
    return f"{result['held_by']['process']} runs it." if result["held_by"] else "Nobody runs it."


def progress_of(result: Mapping[str, Any]) -> str:
    """Return how many of a run's steps are done, such as 2/3."""
    done = sum(step["status"] in {"succeeded", "skipped"} for step in result["steps"].values())
    return f"{done}/{len(result['plan']['steps'])}" if result["plan"] else "-"


def questions_table(results: Sequence[Mapping[str, Any]], width: int) -> Table:
    """Return the open questions of several runs for a terminal so wide, each cut to about ten lines."""
    spare = max(width - width_with(results, BESIDE_QUESTION), 0)
    most = _LINES * (_NARROWEST + spare // 3)
    columns = ("Thread", "Review", "Step", "Action", "Inputs", "Why", "Answer by")
    table = _table(*columns, whole=("Thread", "Review"))
    for one in results:
        for question in one["reviews"]:
            inputs, why = shortened(question["args"], min(most, _INPUTS)), _why(question, most)
            cells = map(in_line, (str(question["id"]), step_of(question), str(question["name"])))
            table.add_row(_typed(one), *cells, inputs, visible(why), answer_by(question) or "-")
    return table


def _why(question: Mapping[str, Any], most: int) -> str:
    """Return the reason of a question, cut to so many characters with its rules, which stay whole."""
    if question.get("in_doubt"):
        return shortened(f"In doubt. {question['reason']}", most)
    rules = f" [{', '.join(question['rules'])}]" if question["rules"] else ""
    return shortened(question["reason"], max(most - len(rules), most // 2)) + rules


def actions_table(specs: Sequence[ActionSpec]) -> Table:
    """Return a catalogue of actions; an argument whose class nobody declared stands without one."""
    table = _table("Action", "Arguments", "Is", "Gives", "Does")
    for spec in specs:
        cells = (", ".join(part) for part in (_arguments(spec), _notes(spec), _gives(spec)))
        table.add_row(visible(spec.name), *map(visible, cells), visible(spec.description))
    return table


def _table(*columns: str, whole: Collection[str] = ()) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in whole)
    return table


def _typed(result: Mapping[str, Any]) -> str:
    """Return the name of a run's thread as it is typed in a shell."""
    return visible(quote(str(result["thread_id"])))


def _inputs(step: Mapping[str, Any]) -> str:
    parts = [f"{name}: {shortened(value, _INPUT)}" for name, value in step.get("inputs", {}).items()]
    parts += [f"{key} {shortened(step[key], _INPUT)}" for key in ("foreach", "when") if key in step]
    return shortened(", ".join(parts), _INPUTS)


def _arguments(spec: ActionSpec) -> list[str]:
    required, classes = spec.input_schema.get("required"), spec.annotations.arguments
    needed = required if isinstance(required, list) else []
    told = {name: f"{name}: {classes[name]}" if name in classes else name for name in spec.input_names}
    return [shown if name in needed else f"[{shown}]" for name, shown in told.items()]


def _notes(spec: ActionSpec) -> list[str]:
    groups = [group.replace("_", "-") for group in spec.groups]
    return [*groups, *(["idempotent"] if spec.annotations.idempotent else [])]


def _gives(spec: ActionSpec) -> list[str]:
    notes = spec.annotations
    named = {"trusted": notes.trusted_fields, "directory": notes.directory_fields, "secret": notes.secret_fields}
    return [
        *(["trusted"] if notes.trusted else ["verbatim"] if notes.verbatim else ["untrusted"]),
        *(f"{kind} {field}" for kind, fields in named.items() for field in fields),
    ]
