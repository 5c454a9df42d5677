"""Drives a run from the command line: shows its events, asks its questions, and turns Ctrl-C into a pause."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from threading import Lock, Timer
from typing import Any, NoReturn, cast

from agentic_workflows.cli.display import Progress
from agentic_workflows.cli.output import EXIT_CODES, FAILED, INTERRUPTED, Output
from agentic_workflows.cli.questions import ask_all
from agentic_workflows.cli.signals import HANG_UP, interrupt_from_now_on, listening
from agentic_workflows.cli.summary import command, kept_answers, show_summary, written_files
from agentic_workflows.errors import ReviewError, RunBusyError, RunError
from agentic_workflows.execution.answers import is_overdue
from agentic_workflows.graph.events import Event
from agentic_workflows.workflow import AgenticWorkflow

_GRACE_SECONDS = 1.0
"""How long the second Ctrl-C lets what runs clean up; the event loop may be blocked, or wait for the database."""
_PAUSING = "Pausing: action calls that are under way are finished first. Ctrl-C again stops at once."


class Driver:
    """Drives one run of a workflow to where it stops.

    Args:
        workflow: what runs.
        thread: the run.
        output: where to show it.
        workspace: the folder it works in, for the summary.
        runner: the one event loop of this process; clients of models belong to it.

    """

    def __init__(
        self, workflow: AgenticWorkflow, thread: str, output: Output, *, workspace: str, runner: asyncio.Runner
    ) -> None:
        self._workflow, self._thread, self._output = workflow, thread, output
        self._workspace, self._runner = workspace, runner
        self._asked: frozenset[str] = frozenset()
        self._progress = Progress(output, thread)
        output.thread = thread
        self._signals, self._ending = 0, Lock()
        self._later = Timer(_GRACE_SECONDS, self._end)
        self._later.daemon = True

    def drive(self, events: AsyncGenerator[Event, None] | None) -> int:
        """Follow the events, ask where somebody can be asked, go on, and return the exit code.

        Args:
            events: of the run; None where it waits already.

        """
        result = self._loaded() if events is None else self._follow(events)
        later: set[str] = set()
        while result["state"] == "REVIEWING" and self._output.is_interactive:
            questions = [one for one in result["reviews"] if one["id"] not in later]
            later.update(str(question["id"]) for question in questions)
            try:
                interrupt_from_now_on()
                answers = ask_all(questions, self._output)
            except (KeyboardInterrupt, EOFError):  # leaves the questions open
                self._output.say()
                break
            if not answers:
                break
            self._asked = _ids(result)
            try:
                result = self._follow(self._workflow.resume_stream(answers, thread_id=self._thread))
            except ReviewError as error:  # none of them counts, and nothing was changed
                if any(is_overdue(dict(question), self._workflow.database.journal.now()) for question in questions):
                    raise
                self._output.say(f"{error} None of these answers counts; answer again.")
                later.difference_update(str(question["id"]) for question in questions)
                result = self._runner.run(self._workflow.result(self._thread))
        return self._finish(result)

    def resume(self, events: AsyncGenerator[Event, None]) -> int:
        """Do what `drive` does for a run that was shown to nobody in this process."""
        self._asked = _ids(self._loaded())
        return self.drive(events)

    def _loaded(self) -> dict[str, Any]:
        result = self._runner.run(self._workflow.result(self._thread))
        self._progress.begin(result)
        return result

    def _follow(self, events: AsyncGenerator[Event, None]) -> dict[str, Any]:
        try:
            with self._progress:
                self._runner.run(self._consume(events))
        except RunBusyError as busy:
            raise RunBusyError(busy.thread_id, busy.owner, busy.expires, pause=self._command("pause")) from busy
        return self._workflow.get_results()

    async def _consume(self, events: AsyncGenerator[Event, None]) -> None:
        loop, current = asyncio.get_running_loop(), cast("asyncio.Task[None]", asyncio.current_task())
        with listening(lambda number: self._stop(number, loop, current)):
            try:
                async with aclosing(events):
                    async for event in events:
                        self._progress.show(event)
            except asyncio.CancelledError:
                self._end()

    def _stop(self, number: int, loop: asyncio.AbstractEventLoop, current: "asyncio.Task[None]") -> None:
        if number == HANG_UP and self._signals:
            return  # when a terminal is closed, the kernel and the shell each send one: nobody is in a hurry
        self._signals += 1
        # Not by way of the database, which may be what everything waits for.
        if self._signals == 1 and self._workflow.database.leases.ask(self._thread, "pause"):
            self._output.say(_PAUSING)
        elif self._signals <= 2:  # noqa: PLR2004 - the second Ctrl-C
            loop.call_soon_threadsafe(current.cancel)
            self._later.start()
        else:
            os._exit(INTERRUPTED)

    def _end(self) -> NoReturn:
        """End the process: threads of actions cannot be cancelled, and the user does not want to wait for them."""
        self._ending.acquire()  # and never given back: whoever comes second waits for the end
        self._progress.__exit__(None, None, None)
        told = f"what was under way may have happened. `{self._command('resume')}` goes on after what was kept last."
        self._output.error(RunError(f"The run {self._thread} was stopped at once; {told}"))
        sys.stdout.flush()
        os._exit(INTERRUPTED)

    def _command(self, verb: str) -> str:
        return command(verb, self._thread, self._workflow.database.url)

    def _finish(self, result: dict[str, Any]) -> int:
        database = self._workflow.database.url
        shown = {**result, "workspace": self._workspace, "files": written_files(result, self._workspace)}
        self._output.document(shown)
        if kept := kept_answers(self._asked, _ids(result)):
            self._output.say(kept)
        show_summary(result, self._output, workspace=self._workspace, database=database)
        return EXIT_CODES.get(str(result["state"]), FAILED)


def _ids(result: Mapping[str, Any]) -> frozenset[str]:
    """Return the ids of the questions that are open."""
    return frozenset(str(question["id"]) for question in result["reviews"])
