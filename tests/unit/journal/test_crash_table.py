"""The table of crash points names tests that exist."""

import re
from pathlib import Path

from agentic_workflows import journal

TESTS = Path(__file__).parents[2]


def test_every_row_of_the_crash_table_has_a_recovery_and_a_test_that_exists() -> None:
    rows = (journal.__doc__ or "").split("=" * 118 + "\n")[2]
    cells = re.split(r"^(?=\S)", rows, flags=re.MULTILINE)[1:]
    exists = {name for file in TESTS.rglob("test_*.py") for name in re.findall(r"def (test_\w+)\(", file.read_text())}
    unsound = []
    for row in cells:
        named = re.findall(r"^    (test_\w+)$", row, flags=re.MULTILINE)
        if not named or not exists.issuperset(named) or len(row.splitlines()) != 2 + len(named):
            unsound.append(row)
    assert (unsound, len(cells) >= 25) == ([], True)
