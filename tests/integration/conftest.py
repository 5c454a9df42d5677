"""The command, for all that needs no process of its own."""

from collections.abc import Callable

import pytest

from agentic_workflows.cli.main import run_command


@pytest.fixture
def run_here(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Call the command inside this process; gives its exit code and all that it writes."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run_command([str(one) for one in arguments])
        out, err = capfd.readouterr()
        return code, out, err

    return run
