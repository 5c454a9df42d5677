"""Where a command writes: text for people, or exactly one JSON document."""

import json
import os
import shutil
import sys
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agentic_workflows.cli.streams import STDERR, STDOUT, Stream
from agentic_workflows.errors import ReviewError, RunError
from agentic_workflows.visible import json_escaped, visible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

COMPLETE: Final = 0
FAILED: Final = 1
BAD_INPUT: Final = 2
WAITING: Final = 3
INTERRUPTED: Final = 130
EXIT_CODES: Final = {"COMPLETE": COMPLETE, "FAILED": FAILED, "REVIEWING": WAITING, "PAUSED": WAITING}
"""By the state that a run came to."""
UNDER_WAY: Final = ("PLANNING", "EXECUTING")
"""States that a run only leaves while a process has it."""

_PLAIN_WIDTH = 120


class Output:
    """The output of one command.

    Args:
        as_json: keep stdout for the document alone; whatever anybody else prints there goes to stderr.

    """

    def __init__(self, *, as_json: bool) -> None:
        self.is_json = as_json
        self.thread: str | None = None
        """The run that is driven meanwhile: it goes on whether it is seen or not, and its exit code tells of it."""
        self._document = -1
        self._lost: OSError | None = None
        if as_json:
            sys.stdout.flush()
            # On the level of descriptors, so that also what a child process or a C library prints is caught.
            self._document = os.dup(STDOUT)
            os.dup2(STDERR, STDOUT)

    @property
    def is_interactive(self) -> bool:
        """Tell whether somebody can be asked."""
        # Python has no stdin at all where the descriptor was closed.
        is_shown = not self.is_json and self.lost is None
        return is_shown and sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()

    @property
    def lost(self) -> OSError | None:
        """Return why something of this output could not be written."""
        sys.stdout.flush()
        return self._lost or (sys.stdout.lost if isinstance(sys.stdout, Stream) else None)

    @cached_property
    def console(self) -> "Console":
        """Return the console for people."""
        from rich.console import Console  # noqa: PLC0415 - only displays need it

        console = Console(stderr=self.is_json, markup=False, highlight=False, emoji=False, soft_wrap=False)
        if not console.is_terminal and "COLUMNS" not in os.environ:
            console.width = _PLAIN_WIDTH
        return console

    def say(self, text: str = "") -> None:
        """Show a text that may come from anywhere."""
        self.console.print(visible(text), soft_wrap=True)

    def show(self, renderable: "RenderableType") -> None:
        """Show a table or the like."""
        self.console.print(renderable)

    def show_wide(self, table: "Table", least: int) -> None:
        """Show a table that needs so many characters, though a line of the terminal may have fewer."""
        table.width = least if least > self.console.width else None
        self.console.print(table, crop=False)

    def raw(self, text: str) -> None:
        """Write a text of our own exactly as it is."""
        sys.stdout.write(text)
        sys.stdout.flush()

    def document(self, value: object) -> None:
        """Write the one JSON document, where JSON was asked for."""
        if self.is_json:
            text = "\n".join(map(_plain, json.dumps(value, indent=2, ensure_ascii=False).split("\n"))) + "\n"
            # What UTF-8 cannot hold is a lone surrogate, and its escape is JSON.
            with Stream(self._document, encoding="utf-8") as stream:
                stream.write(text)
            self._lost = self._lost or stream.lost

    def error(self, error: Exception) -> None:
        """Tell what went wrong."""
        named = {} if self.thread is None else {"thread_id": self.thread}
        if self.is_json and self._lost is None:
            self.document({"error": {"type": type(error).__name__, "message": str(error)}, **named})
        if not self.is_json or self._lost is not None:
            is_told = self.thread is None or isinstance(error, RunError | ReviewError)  # these name the run
            where = "" if is_told else f" in the run {self.thread}"
            sys.stderr.write(visible(f"Error{where}: {error}\n"))

    def close(self) -> None:
        """Give stdout back."""
        if self._document >= 0:
            sys.stdout.flush()
            os.dup2(self._document, STDOUT)
            os.close(self._document)
            self._document = -1


def in_line(text: str) -> str:
    """Return text visible and without line breaks: what it begins after one could pass for words of ours."""
    return visible(text).replace("\n", "\\n")


def indented(text: str, by: int) -> str:
    """Return text whose further lines begin further in than any line of ours."""
    return text.replace("\n", "\n" + " " * by)


def shortened(value: object, limit: int) -> str:
    """Return a JSON value as one visible line of at most so many characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    line = visible(" ".join(text.split()))
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def own_name() -> str:
    """Return what a person types to call this command again."""
    called = Path(sys.argv[0])
    if called.suffix == ".py":
        return "python -m agentic_workflows"
    found = shutil.which(called.name)
    return called.name if found and Path(found).resolve() == called.resolve() else str(called)


def _plain(line: str) -> str:
    """Return a line of JSON with nothing in it that a terminal would obey or hide."""
    return visible(line, but="", escaped=json_escaped)
