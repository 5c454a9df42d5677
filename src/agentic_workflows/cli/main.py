"""The command `agentic`; nothing heavy is imported before a command needs it."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from agentic_workflows.cli import catalogue, history, policy, review, run, runs
from agentic_workflows.cli.output import BAD_INPUT, FAILED, INTERRUPTED, Output
from agentic_workflows.cli.streams import replace_standard_streams
from agentic_workflows.errors import RunError, WorkflowError

_HELP = "Run goals with an agent that people dare to let act: checked plans, policy on every step, review by people."
_EPILOG = "Exit codes: 0 complete, 1 failed, 2 bad input, 3 waiting for a person, 130 stopped."


def main() -> None:
    """Run the command line of this process and exit with its code."""
    replace_standard_streams()
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # what it warns of is told as an error, with its remedy
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; whatever goes wrong is told in one place, here."""
    output = Output(as_json="--json" in arguments)
    try:
        # Outside its standalone mode typer returns what the command returned.
        code = int(_app()(list(arguments), prog_name="agentic", standalone_mode=False, obj=output) or 0)
        return _unless_lost(code, output)
    except TyperException as error:
        _tell(error, output)
        return BAD_INPUT
    except (WorkflowError, OSError) as error:
        output.error(error)
        return BAD_INPUT
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as error:
        if output.is_json:
            output.error(error)
        raise
    finally:
        output.close()


def _print_version(ctx: typer.Context, asked: bool) -> None:  # noqa: FBT001 - typer's form
    if asked:
        from importlib.metadata import version  # noqa: PLC0415 - heavy

        ctx.obj.raw(f"agentic {version('agentic-workflows')}\n")
        raise typer.Exit


def _unless_lost(code: int, output: Output) -> int:
    """Return the exit code, or that of a failure where not all could be written; a closed pipe needs no message.

    That of a run stays: it tells what the run came to.
    """
    if output.lost is None:
        return code
    if not isinstance(output.lost, BrokenPipeError):
        output.error(RunError(f"Not all could be written: {output.lost.strerror}."))
    return code if output.thread is not None else code or FAILED


def _tell(error: TyperException, output: Output) -> None:
    """Tell a wrong use of the command as typer does, with its usage."""
    show = getattr(error, "show", None)
    if output.is_json or show is None:
        output.error(error)
    else:
        show()


def _agentic(
    *,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where your code failed, on stderr.")] = False,
) -> None:
    """Set the log up, and refuse to begin where names of files say nothing.

    Raises:
        RunError: the current folder is gone.

    """
    if debug:
        logging.basicConfig(format="%(message)s")
        logging.getLogger("agentic_workflows").setLevel(logging.DEBUG)
    try:
        Path.cwd()
    except FileNotFoundError:
        raise RunError("The current folder was removed. Change to one that is there.") from None


def _app() -> typer.Typer:
    app = typer.Typer(
        help=_HELP,
        epilog=_EPILOG,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        add_completion=False,
        # Both would import rich, which costs more than all the rest of --help.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_agentic)
    for command in (run.plan, run.run, run.resume, review.review, runs.pause, runs.cancel, runs.show, history.export):
        app.command()(command)
    app.command()(catalogue.actions)
    app.add_typer(runs.make_runs(), name="runs")
    app.add_typer(policy.make_policy(), name="policy")
    app.command()(catalogue.schema)
    return app
