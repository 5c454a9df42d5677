"""The benchmark that the changelog names for its figures runs."""

import subprocess
import sys
from pathlib import Path

POLICY = Path(__file__).parents[2] / "benchmarks" / "policy.py"


def test_the_cost_of_policy_can_be_measured() -> None:
    done = subprocess.run([sys.executable, str(POLICY), "20"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line.split(",")[0] for line in done.stdout.splitlines()[2:]] == [
        "| Allow",
        "| Allow",
        "| Ask",
        "| Ask",
        "| static report of a plan of 20 steps",
    ]
