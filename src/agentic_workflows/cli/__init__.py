"""The command `agentic`."""

import signal


def start() -> None:
    """Run the command line of this process and exit with its code.

    Ctrl-C ends the process at once until something listens to it: in the middle of an import, Python would print a
    traceback, or lose it.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from agentic_workflows.cli.main import main  # noqa: PLC0415 - takes a while

    main()
