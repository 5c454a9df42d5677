"""The built-in file actions; each stays inside one workspace.

Two calls may be reordered only if neither can observe the other. A call on a path can observe one on the same path,
above it or below it: a listing sees every file below its folder, and `a` cannot become a file once `a/b` is one.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Annotated, TypeAlias

from pydantic import Field

from agentic_workflows.actions.action import Action
from agentic_workflows.actions.declare import action
from agentic_workflows.actions.workspace import Workspace
from agentic_workflows.errors import ActionError, WorkspaceError
from agentic_workflows.graph.catalogue import Resources
from agentic_workflows.graph.values import JsonValue, beginning

MAX_MATCHES = 1_000
MAX_LINE = 500
"""Characters of a line that a search shows."""
MAX_CELLS = 2_000_000
"""Of a table; a row that is left short has a cell in every column."""

_NAME = r"([^/.]|\.[^/])[^/]*"
_PATH = f"{_NAME}(/{_NAME})*"
_NORMAL = "Write it relative to the workspace and in normal form, such as notes/a.md: no ./, no //, no / at the end."
# One place has one name, which is checked before anything is decided: no other one walks past a rule.
FilePath: TypeAlias = Annotated[str, Field(pattern=f"^{_PATH}$", description=_NORMAL)]
FolderPath: TypeAlias = Annotated[str, Field(pattern=rf"^(\.|{_PATH})$", description=f"{_NORMAL} All of it is '.'.")]
_NUMBER = re.compile(r"[+-]?\d{1,15}(\.\d{1,10})?")


@dataclass(frozen=True, kw_only=True)
class Match:
    """A line that a search found."""

    path: str
    line: int
    text: str


def file_actions(workspace: Workspace) -> list[Action]:
    """Return the actions on the files of a workspace, and `word_count`."""
    files = _Files(workspace)
    file, folder = _touching("path"), _touching("folder")
    return [
        action(read_only=True, open_world=False, resources=file)(files.read_file),
        action(
            # What it would destroy it refuses without overwrite=true, and policy reads that argument.
            destructive=False,
            # Writing the same text again changes nothing, and is no error either.
            idempotent=True,
            open_world=False,
            arguments={"text": "content", "overwrite": "param"},
            # Like the others below, it gives back a path that it was given, or a number.
            trusted=True,
            resources=file,
        )(files.write_file),
        action(destructive=False, open_world=False, arguments={"text": "content"}, trusted=True, resources=file)(
            files.append_file
        ),
        action(read_only=True, open_world=False, arguments={"pattern": "param"}, resources=folder)(files.list_files),
        action(read_only=True, open_world=False, arguments={"text": "param"}, resources=folder)(files.search_files),
        action(open_world=False, trusted=True, resources=_touching("source", "target"))(files.move_file),
        action(open_world=False, trusted=True, resources=file)(files.delete_file),
        action(read_only=True, open_world=False, resources=file)(files.read_csv),
        action(read_only=True, open_world=False, arguments={"column": "param"}, resources=file)(files.sum_column),
        action(read_only=True, open_world=False, arguments={"text": "content"}, trusted=True, resources=lambda _: ())(
            word_count
        ),
    ]


def touched(path: str) -> str:
    """Return the resource that a path names; never raises."""
    # Some file systems take names for equal that differ in case or in Unicode form.
    whole = unicodedata.normalize("NFKC", path).casefold()
    return "/".join(["files", *(part for part in whole.split("/") if part not in ("", "."))])


def word_count(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())


@dataclass(frozen=True)
class _Files:
    """The actions, as methods that share a workspace; their docstrings are what planners read."""

    workspace: Workspace

    def read_file(self, path: FilePath) -> str:
        """Read one file; gives its text."""
        return self.workspace.read(path)

    def write_file(self, path: FilePath, text: str, *, overwrite: bool = False) -> str:
        """Write a text to a new file; gives its path."""
        return self.workspace.write(path, text, overwrite=overwrite)

    def append_file(self, path: FilePath, text: str) -> str:
        """Add a text to the end of a file; gives its path."""
        return self.workspace.append(path, text)

    def list_files(self, folder: FolderPath = ".", pattern: str = "*") -> list[str]:
        """List the files in a folder and below, such as *.md; gives their paths."""
        wanted = pattern.removeprefix("./").removeprefix("**/")
        paths = self.workspace.files(folder)
        return [path for path in paths if fnmatchcase(path, wanted) or fnmatchcase(path.rsplit("/", 1)[-1], wanted)]

    def search_files(self, text: str, folder: FolderPath = ".") -> list[Match]:
        """Find the lines that contain a text; gives path, line and text of each."""
        if not text.strip():
            raise ActionError("The text to search for is empty; say what the lines should contain.")
        found: list[Match] = []
        for path in self.workspace.files(folder):
            found += self._matches(text.casefold(), path)
            if len(found) > MAX_MATCHES:
                raise ActionError(f"More than {MAX_MATCHES:,} lines contain {text!r}; search for a longer text.")
        return found

    def move_file(self, source: FilePath, target: FilePath) -> str:
        """Move or rename one file; gives its new path."""
        return self.workspace.move(source, target)

    def delete_file(self, path: FilePath) -> None:
        """Delete one file."""
        self.workspace.delete(path)

    def read_csv(self, path: FilePath) -> list[dict[str, str]]:
        """Read a CSV file; gives its rows, each with a text per column."""
        return [row for _, row in self._rows(path)]

    def sum_column(self, path: FilePath, column: str) -> int | float:
        """Add up the numbers in one column of a CSV file; gives the sum."""
        total = Decimal(0)
        for line, row in self._rows(path, column):
            cell = row[column].strip()
            if cell and not _NUMBER.fullmatch(cell):
                raise ActionError(f"{path!r}, line {line}: {cell[:80]!r} in {column!r} is no plain number like 12.50.")
            total += Decimal(cell or 0)
        return int(total) if total == int(total) else float(total)

    def _matches(self, text: str, path: str) -> Iterator[Match]:
        try:
            content = self.workspace.read(path)
        except WorkspaceError:  # no text, too large, or gone by now: there is nothing to find
            return
        for number, line in enumerate(content.splitlines(), start=1):
            if text in line.casefold():
                yield Match(path=path, line=number, text=beginning(line.strip(), MAX_LINE))

    def _rows(self, path: str, wanted: str | None = None) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield the rows of a CSV file with their line numbers; the header tells what separates: `,`, `;` or a tab."""
        text = self.workspace.read(path).removeprefix("\ufeff")
        header = text.partition("\n")[0]
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count), strict=True)
        try:
            columns = [name.strip() for name in next(rows, [])]
            if not all(columns) or len(set(columns)) < len(columns) or not columns:
                raise ActionError(f"{path!r} is no CSV file with a header: its first line must name each column once.")
            if wanted is not None and wanted not in columns:
                raise ActionError(f"{path!r} has no column {wanted!r}. Its columns: {', '.join(columns)}.")
            for number, row in enumerate(rows, start=1):
                if number * len(columns) > MAX_CELLS:
                    raise ActionError(f"{path!r} has more than {MAX_CELLS:,} cells; use smaller files.")
                if len(row) > len(columns):
                    raise ActionError(f"{path!r}, line {rows.line_num}: {len(row)} cells for {len(columns)} columns.")
                if row:
                    yield rows.line_num, dict(zip(columns, row + [""] * (len(columns) - len(row)), strict=True))
        except csv.Error as error:
            raise ActionError(f"{path!r}, line {rows.line_num}: this is no CSV: {error}.") from None


def _touching(*names: str) -> Resources:
    """Return the resources of a call whose arguments of these names are paths; a folder left out is the workspace."""

    def resources(inputs: Mapping[str, JsonValue]) -> Collection[str]:
        return {touched(str(inputs.get(name, "."))) for name in names}

    return resources
