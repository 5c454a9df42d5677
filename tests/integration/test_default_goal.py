"""What `make run` does: the embedded model plans its goal right, and the result is there."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agentic_workflows.agents.examples import DEFAULT_GOAL

ROOT = Path(__file__).parents[2]
NOTE = "notes/2026-10-02-incident-gull-rock.md"


def test_make_run_asks_for_the_goal_that_is_tested_here() -> None:
    assert re.findall(r"^GOAL \?= (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE) == [DEFAULT_GOAL]


@pytest.mark.model
def test_the_embedded_model_reaches_the_default_goal(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples" / "workspace", tmp_path / "files")
    command = [sys.executable, "-m", "agentic_workflows", "run", "--model", "local", "--workspace", "files"]
    done = subprocess.run(
        [*command, "--json", DEFAULT_GOAL], cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False
    )
    run = json.loads(done.stdout)
    assert (done.returncode, run["state"]) == (0, "COMPLETE"), run["reason"]
    read, summarize, save = run["plan"]["steps"]
    assert (read["action"], read["inputs"]) == ("read_file", {"path": NOTE})
    assert (summarize["action"], summarize["inputs"]) == ("summarize", {"text": f"${{{read['outputs'][0]}}}"})
    assert (save["action"], save["inputs"]["text"]) == ("write_file", f"${{{summarize['outputs'][0]}}}")
    summary = (tmp_path / "files" / "summary.md").read_text()
    assert summary == run["outputs"][summarize["outputs"][0]]
    assert 40 < len(summary) < len((tmp_path / "files" / NOTE).read_text())
    assert run["tokens"] > 0
