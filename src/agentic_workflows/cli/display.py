"""The progress of a run, rendered from its events: live at a terminal, line by line elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import monotonic
from types import TracebackType
from typing import Any, Self

from rich.live import Live
from rich.table import Table
from rich.text import Text

from agentic_workflows.cli.output import UNDER_WAY, Output, in_line, indented, shortened
from agentic_workflows.cli.tables import plan_table
from agentic_workflows.graph.events import (
    AnswerRefused,
    AttemptFailed,
    Event,
    PlanAccepted,
    PlanRefused,
    ReviewAnswered,
    RunStarted,
    StateEntered,
    StepAsked,
    StepDenied,
    StepFailed,
    StepSkipped,
    StepStarted,
    StepSucceeded,
)
from agentic_workflows.graph.findings import from_json as finding_from_json
from agentic_workflows.graph.review import step_of

_COLOURS = {"running": "cyan", "succeeded": "green", "failed": "red", "denied": "red", "asked": "yellow"}
_SPARE_LINES = 8
"""Of the terminal, beside the steps."""
_NOTE = 90
_STATUS, _TIME = 9, 8
"""Characters that stay of a row's status and time, however long its names are."""


@dataclass(frozen=True, kw_only=True)
class _Row:
    """What is shown of one step."""

    action: str
    status: str = "waits"
    began: float = 0.0
    seconds: float = 0.0
    note: str = ""


class Progress:
    """Shows what happens in a run.

    Used as a context it is live for that long, if there is a terminal.

    Args:
        output: where to.
        thread: the run.

    """

    def __init__(self, output: Output, thread: str) -> None:
        self._output, self._thread = output, thread
        self._rows: dict[str, _Row] = {}
        self._state = "PLANNING"
        self._began = monotonic()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        self._began = monotonic()
        if self._output.console.is_terminal:
            console = self._output.console
            self._live = Live(console=console, get_renderable=self._table, refresh_per_second=8, redirect_stderr=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
            self._live = None

    def begin(self, result: Mapping[str, Any]) -> None:
        """Take over what is known of a run that goes on."""
        self._state = result["state"]
        steps = {step["name"]: step for step in (result["plan"] or {"steps": []})["steps"]}
        ended = {
            name: _Row(action=steps[name]["action"], status=one["status"], seconds=one["seconds"])
            for name, one in result["steps"].items()
            if name in steps
        }
        self._rows = {name: ended.get(name) or _Row(action=step["action"]) for name, step in steps.items()}

    def show(self, event: Event) -> None:
        """Show one event."""
        match event:
            case RunStarted():
                self._output.say(f"Thread: {self._thread}\nGoal:   {indented(event.goal, 8)}")
            case StateEntered():
                self._state = event.state
                if event.state in UNDER_WAY and not self._live:  # the summary tells the others
                    self._output.say(event.state)
            case PlanAccepted():
                self._accept(event.report)
            case StepStarted() | StepSucceeded() | StepFailed() | StepDenied() | StepSkipped() | StepAsked():
                self._step(event)
            case _:
                if line := _line(event):
                    self._output.say(line)

    def _accept(self, report: Mapping[str, Any]) -> None:
        self._rows = {step["name"]: _Row(action=step["action"]) for step in report["plan"]["steps"]}
        self._output.say()
        self._output.show(plan_table(report["plan"], report))
        self._output.say()

    def _step(self, event: StepStarted | StepSucceeded | StepFailed | StepDenied | StepSkipped | StepAsked) -> None:
        before = self._rows.get(event.step) or _Row(action="")
        row = _updated(before, event)
        self._rows[event.step] = row
        is_further_item = isinstance(event, StepStarted) and before.status == "running"
        if not self._live and not is_further_item:
            time = f" {row.seconds:.1f} s" if isinstance(event, StepSucceeded | StepFailed) else ""
            note = f"  {row.note}" if row.note else ""
            self._output.say(f"  {in_line(event.step)} ({in_line(row.action)}) {row.status}{time}{note}")

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        for least in (None, None, _STATUS):
            table.add_column(overflow="ellipsis", no_wrap=True, min_width=least)
        table.add_column(overflow="ellipsis", min_width=_TIME)  # what may be wrapped is shortened first
        if self._state in UNDER_WAY:
            table.add_row(Text(self._state, "bold cyan"), "", "", f"{monotonic() - self._began:.1f} s")
        for name, row in self._shown():
            seconds = monotonic() - row.began if row.status == "running" else row.seconds
            time = f"{seconds:.1f} s" if seconds else ""
            status = Text(row.status, _COLOURS.get(row.status, "dim"))
            note = Text(f"{time}  {row.note}".strip(), no_wrap=True)
            table.add_row(f"  {in_line(name)}", in_line(row.action), status, note)
        return table

    def _shown(self) -> list[tuple[str, _Row]]:
        """Return as many steps as the terminal has room for: what ended last, what runs, what comes next."""
        rows = list(self._rows.items())
        room = max(self._output.console.height - _SPARE_LINES, 1)
        first = next((at for at, (_, row) in enumerate(rows) if row.status in {"running", "waits"}), len(rows))
        start = max(min(first - room // 2, len(rows) - room), 0)
        return rows[start : start + room]


def _updated(row: _Row, event: Event) -> _Row:
    match event:
        case StepStarted():
            return replace(row, action=event.action, status="running", began=row.began or monotonic())
        case StepSucceeded():
            return replace(row, status="succeeded", seconds=event.seconds)
        case StepFailed():
            return replace(row, status="failed", seconds=event.seconds, note=shortened(event.reason, _NOTE))
        case StepDenied() | StepSkipped() | StepAsked():
            status = type(event).__name__.removeprefix("Step").lower()
            return replace(row, status=status, note=shortened(event.reason, _NOTE))
    return row


def _line(event: Event) -> str:
    """Return the line for an event that is about no step; empty where it has none."""
    match event:
        case AnswerRefused():
            return in_line(event.problem)
        case PlanRefused():
            found = "\n".join(
                f"  - {in_line(str(finding_from_json(one)))}" for one in event.findings if isinstance(one, dict)
            )
            return f"Refused, nothing of it runs:\n{found}"
        case AttemptFailed():
            failed = f"attempt {event.attempt} failed, another one follows: {in_line(event.reason)}"
            return f"  {in_line(event.step)}: {failed}"
        case ReviewAnswered():
            step = step_of({"step": event.step, "item": event.item})
            return f"  {in_line(step)}: answered with {event.answer}"
    return ""
