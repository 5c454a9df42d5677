"""What a user writes is type-checked as a user's checker does it."""

import sys
from pathlib import Path
from subprocess import run


def test_the_public_api_type_checks() -> None:
    here = Path(__file__).parent
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(here / "public_api.py")]
    assert run(command, check=False, capture_output=True, text=True, cwd=here.parents[1]).stdout == ""
