"""The command where nobody reads what it writes, the disk is full, or a character cannot be written."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COMPLETE, FAILED, BAD_INPUT = 0, 1, 2
COMMAND = [sys.executable, "-m", "agentic_workflows"]
OWN_ACTIONS = """
import asyncio
from pathlib import Path
from agentic_workflows import action

@action(destructive=False, open_world=False)
async def put(name: str) -> str:
    '''Print, and add a line as soon as a file is there.'''
    while not Path("go").exists():
        await asyncio.sleep(0.02)
    print("put", name)
    with Path("done").open("a") as file:
        file.write(name)
    return name

ACTIONS = [put]
"""
PUT = """
goal: 漢 → 🎉
steps:
  - {name: a, action: put, inputs: {name: a}}
  - {name: b, action: put, inputs: {name: b}, after: [a]}
"""
RUN = ["run", "--plan", "put.yaml", "--actions", "own:ACTIONS", "--thread", "漢"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN_ACTIONS)
    (tmp_path / "put.yaml").write_text(PUT, encoding="utf-8")
    return tmp_path


def agentic(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    taken = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **options}
    return subprocess.run([*COMMAND, *arguments], text=True, timeout=60, check=False, **taken)


@pytest.mark.parametrize("arguments", [RUN, [*RUN, "--json"]], ids=["text", "json"])
def test_a_run_goes_on_when_nobody_reads_it_any_more(folder: Path, arguments: list[str]) -> None:
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        read = process.stderr if "--json" in arguments else process.stdout
        assert read is not None
        assert any(b"a (put) running" in line for line in read)
        read.close()
        (folder / "go").touch()
        rest = process.stderr.read() if process.stderr and not process.stderr.closed else b""
    assert (process.returncode, rest, (folder / "done").read_text()) == (COMPLETE, b"", "ab")
    assert "COMPLETE" in agentic("runs").stdout


def test_what_cannot_be_written_is_one_line_and_ends_no_run(folder: Path) -> None:
    (folder / "go").touch()
    told = "Error: Not all could be written: No space left on device.\n"
    with Path("/dev/full").open("w") as full:
        done = agentic(*RUN, stdout=full)
        assert (done.returncode, done.stderr, (folder / "done").read_text()) == (COMPLETE, told, "ab")
        done = agentic(*RUN, "--thread", "json", "--json", stdout=full)
        assert (done.returncode, done.stderr.endswith(told)) == (COMPLETE, True)
        done = agentic("show", "none", "--json", stdout=full)
        assert (done.returncode, "none" in done.stderr) == (BAD_INPUT, True), done.stderr
        for command in (["show", "漢"], ["show", "漢", "--json"], ["export", "漢"], ["schema"], ["--help"]):
            done = agentic(*command, stdout=full)
            assert (done.returncode, done.stderr) == (FAILED, told), command


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_cannot_be_encoded_is_escaped(folder: Path, encoding: str) -> None:
    (folder / "go").touch()
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = agentic(*RUN, env=environment)
    assert (done.returncode, done.stderr, r"Goal:   \u6f22 \u2192 \U0001f389" in done.stdout) == (COMPLETE, "", True)
    assert r"\u6f22" in agentic("runs", env=environment).stdout


@pytest.mark.usefixtures("folder")
def test_an_output_that_is_closed_is_no_error() -> None:
    done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *COMMAND, "schema"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (COMPLETE, b"")
