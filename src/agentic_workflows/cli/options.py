"""Options that several commands share, and what they mean together."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import typer


def or_stdin(file: Path | None) -> Path | None:
    """Return what a file is called that may be given as `-`."""
    return Path("/dev/stdin") if file == Path("-") else file


Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print exactly one JSON document; progress goes to stderr.")
]
Workspace: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="The folder whose files the actions work on.", show_default="the current folder"),
]
Database: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="A SQLite file, `postgresql://...`, or `memory`.", show_default=".agentic/agentic.db"
    ),
]
Policies: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--policy", metavar="FILE", help="A Cedar file, or a built-in one by name; repeatable.", show_default="default"
    ),
]
Model: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="A model of the endpoint in OPENAI_BASE_URL, or `local`, the embedded one."),
]
Actions: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--actions", metavar="MODULE:NAME", help="A list of own actions; repeatable.", show_default=False),
]
Annotations: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--annotations",
        metavar="FILE",
        help="What actions do to the world, in YAML, laid over what they declare; repeatable.",
        show_default=False,
    ),
]
PlanFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--plan",
        metavar="FILE",
        help="A plan in YAML or JSON, or `-` for stdin; no model is asked for one.",
        callback=or_stdin,
    ),
]
Goal: TypeAlias = Annotated[str | None, typer.Argument(help="What is wanted, in a sentence.", show_default=False)]
Thread: TypeAlias = Annotated[str, typer.Argument(help="The name of the run.", show_default=False)]
NewThread: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--thread",
        help="A name for the run; one that has ended is begun anew, and does everything again.",
        show_default="a new one",
    ),
]
MaxIterations: TypeAlias = Annotated[
    int | None,
    typer.Option(help="Planner calls and step starts together.", show_default="20; of a plan file, its steps + 10"),
]


@dataclass(frozen=True, kw_only=True)
class Flags:
    """What was given on the command line, as typer gives it; None and empty where it was not."""

    workspace: Path | None = None
    policies: list[str] | None = None
    model: str | None = None
    actions: list[str] | None = None
    annotations: list[str] | None = None


def absolute(path: Path) -> Path:
    """Return a path that another process in another folder finds again."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow the links that Workspace looks at
