"""The command as scripts use it: exit codes, JSON, files, one process after the other; no terminal, no model."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
import yaml

COMPLETE, FAILED, BAD_INPUT, WAITING, INTERRUPTED = 0, 1, 2, 3, 130
COMMAND = [sys.executable, "-m", "agentic_workflows"]

COPY = """
goal: Copy a.md
steps:
  - {name: read, action: read_file, inputs: {path: a.md}, outputs: [text]}
  - {name: save, action: write_file, inputs: {path: copy.md, text: "${text}"}, outputs: [saved]}
"""
REPLACE = """
goal: Replace b.md by a.md
steps:
  - {name: read, action: read_file, inputs: {path: a.md}, outputs: [text]}
  - {name: save, action: write_file, inputs: {path: b.md, text: "${text}", overwrite: true}, outputs: [saved]}
"""
MISSING = "{goal: Read, steps: [{name: read, action: read_file, inputs: {path: none.md}}]}"
DENIED = "{goal: Pay, steps: [{name: pay, action: financial_transaction}]}"
APPEND = """
goal: Append to every note
steps:
  - {name: names, action: list_files, inputs: {pattern: "*.md"}, outputs: [names]}
  - {name: note, action: append_file, foreach: "${names}", inputs: {path: "${item}", text: "!"}, outputs: [noted]}
"""
SLOW = """
goal: Take your time
steps:
  - {name: first, action: wait, inputs: {file: go}, outputs: [a]}
  - {name: second, action: wait, inputs: {file: go}, after: [first], outputs: [b]}
"""
OWN_ACTIONS = """
import asyncio
import os
import time
from pathlib import Path
from agentic_workflows import action

@action(read_only=True, open_world=False)
async def wait(file: str) -> str:
    '''Wait until a file is there.'''
    print("print from an action")
    os.write(1, b"write from an action\\n")
    Path("started").touch()
    while not Path(file).exists():
        await asyncio.sleep(0.02)
    return "waited"

@action(read_only=True, open_world=False)
async def block(file: str) -> str:
    '''Wait for a file, and hold up the event loop.'''
    Path("started").touch()
    while not Path(file).exists():
        time.sleep(30)
    return "waited"

@action(destructive=False, open_world=False)
async def pay() -> str:
    '''Pay, and lose the connection the first time.'''
    if not Path("paid").exists():
        Path("paid").touch()
        raise ConnectionError("gone")
    return "paid"

@action(read_only=True, open_world=False)
async def flaky(file: str) -> str:
    '''Fail twice, and then read.'''
    with Path(file).open("a") as tried:
        tried.write("x")
    if Path(file).read_text() in {"x", "xx"}:
        raise ValueError("not yet")
    return "read"

ACTIONS = [wait, block, pay, flaky]
"""


@pytest.fixture(autouse=True)
def no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.md").write_text("from a")
    (tmp_path / "files" / "b.md").write_text("from b")
    plans = {"copy": COPY, "replace": REPLACE, "append": APPEND, "missing": MISSING, "denied": DENIED, "slow": SLOW}
    for name, text in plans.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "own.py").write_text(OWN_ACTIONS)
    yield tmp_path
    sys.modules.pop("own", None)


@pytest.fixture
def call(folder: Path, run_here: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:  # noqa: ARG001 - where it runs
    return run_here


def agentic(*arguments: object, **options: Any) -> "subprocess.CompletedProcess[str]":
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False, **options
    )


def start(*arguments: object) -> "subprocess.Popen[str]":
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def requests(folder: Path) -> list[tuple[str, str]]:
    """Return what running processes are asked to do."""
    with closing(sqlite3.connect(folder / ".agentic" / "agentic.db")) as connection:
        return connection.execute("SELECT thread_id, request FROM agentic_leases WHERE request IS NOT NULL").fetchall()


def test_plan_file_runs_to_its_end_without_a_model(folder: Path) -> None:
    done = agentic("run", "--plan", "copy.yaml", "--workspace", "files")
    assert done.returncode == COMPLETE, done.stderr
    assert (folder / "files" / "copy.md").read_text() == "from a"
    assert re.search(r"^Thread: [0-9a-f]{8}\nGoal:   Copy a.md\n", done.stdout)
    assert "known-action" in done.stdout
    assert "read (read_file) succeeded" in done.stdout
    assert str(folder / "files" / "copy.md") in done.stdout


def test_a_plan_is_read_from_stdin(folder: Path) -> None:
    shown = agentic("plan", "--plan", "copy.yaml", "--json").stdout
    for verb in (["run", "--workspace", "files", "--database", "memory"], ["policy", "explain"]):
        command = [*COMMAND, *verb, "--plan", "-", "--json"]
        done = subprocess.run(command, input=shown, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == COMPLETE, done.stderr
    assert (folder / "files" / "copy.md").read_text() == "from a"


def test_failed_run_is_exit_code_1_with_its_reason(call: Callable[..., Any]) -> None:
    code, out, _ = call("run", "--plan", "missing.yaml", "--workspace", "files")
    assert code == FAILED
    assert "Reason: Step read failed: The path 'none.md' does not exist" in out


@pytest.mark.parametrize("asked", [["--debug"], []], ids=["asked", "not asked"])
def test_where_the_code_of_an_action_failed_is_told_to_whoever_asks(folder: Path, asked: list[str]) -> None:
    (folder / "flaky.yaml").write_text("{goal: g, steps: [{name: read, action: flaky, inputs: {file: tried}}]}")
    ran = agentic(*asked, "run", "--plan", "flaky.yaml", "--actions", "own:ACTIONS", "--database", "memory", "--json")
    assert (ran.returncode, json.loads(ran.stdout)["state"]) == (FAILED, "FAILED")
    place = f'File "{folder / "own.py"}", line'
    assert (place in ran.stderr, 'raise ValueError("not yet")' in ran.stderr) == (bool(asked), bool(asked))


def test_json_is_one_document_whatever_actions_print(folder: Path) -> None:
    (folder / "go").touch()
    done = agentic("run", "--plan", "slow.yaml", "--actions", "own:ACTIONS", "--json", "--thread", "t")
    assert done.returncode == COMPLETE, done.stderr
    document = json.loads(done.stdout)
    assert (document["state"], document["thread_id"]) == ("COMPLETE", "t")
    assert document["outputs"] == {"a": "waited", "b": "waited"}
    assert "print from an action" in done.stderr
    assert "write from an action" in done.stderr


@pytest.mark.parametrize(
    "arguments, kind",
    [
        (["run"], "RunError"),
        (["run", "--bogus"], "NoSuchOption"),
        (["run", "--plan", "missing-file.yaml"], "PlanError"),
        (["run", "--plan", "copy.yaml", "--policy", "none.cedar"], "PolicyError"),
    ],
)
def test_errors_are_json_under_json(call: Callable[..., Any], arguments: list[str], kind: str) -> None:
    code, out, _ = call(*arguments, "--json")
    assert (code, json.loads(out)["error"]["type"]) == (BAD_INPUT, kind)


def test_review_is_answered_by_another_process_that_needs_no_options(folder: Path) -> None:
    asked = agentic("run", "--plan", "replace.yaml", "--workspace", "files", "--thread", "t")
    assert asked.returncode == WAITING
    assert "may step save call write_file?" in asked.stdout
    assert "It may overwrite something that exists. [overwrite]" in asked.stdout
    assert "review t" in asked.stdout
    assert (folder / "files" / "b.md").read_text() == "from b"
    listed = agentic("review", "--json")
    (run,) = json.loads(listed.stdout)
    done = agentic("review", "t", "--approve", run["reviews"][0]["id"])
    assert done.returncode == COMPLETE, done.stderr
    assert (folder / "files" / "b.md").read_text() == "from a"


def test_resume_without_a_terminal_leaves_questions_open(call: Callable[..., Any], folder: Path) -> None:
    assert call("run", "--plan", "replace.yaml", "--workspace", "files", "--thread", "t")[0] == WAITING
    code, out, _ = call("resume", "t")
    assert code == WAITING
    assert "review t" in out
    assert call("pause", "t")[0] == COMPLETE, "as where it was still to be paused"
    assert (folder / "files" / "b.md").read_text() == "from b"


def test_each_kind_of_answer_has_its_options(call: Callable[..., Any], folder: Path) -> None:
    def ask(thread: str) -> str:
        code, out, _ = call("run", "--plan", "replace.yaml", "--workspace", "files", "--thread", thread, "--json")
        assert code == WAITING
        return str(json.loads(out)["reviews"][0]["id"])

    inputs = json.dumps({"path": "new.md", "text": "edited"})
    assert call("review", "e", "--edit", ask("e"), "--inputs", inputs)[0] == COMPLETE
    assert (folder / "files" / "new.md").read_text() == "edited"
    code, out, _ = call("review", "r", "--respond", ask("r"), "--message", "b.md", "--json")
    ask_id = ask("x")
    assert call("review", "x", "--reject", ask_id, "--feedback", "not that one")[0] == FAILED
    shown = call("show", "x")[1]
    assert ("not that one" in shown, "write_file" in shown) == (True, True)
    assert (folder / "files" / "b.md").read_text() == "from b"
    assert (code, json.loads(out)["outputs"]["saved"]) == (COMPLETE, "b.md")


def _question(call: Callable[..., Any]) -> str:
    return str(json.loads(call("review", "--json")[1])[0]["reviews"][0]["id"])


@pytest.fixture
def asked(call: Callable[..., Any], folder: Path) -> list[str]:
    """Return the ids of the three questions of a run that waits, one an item."""
    (folder / "files" / "c.md").write_text("from c")
    code, out, _ = call("run", "--plan", "append.yaml", "--workspace", "files", "--thread", "t", "--json")
    assert code == WAITING
    return [str(question["id"]) for question in json.loads(out)["reviews"]]


def test_answers_that_wait_for_others_are_said_to_be_kept(call: Callable[..., Any], asked: list[str]) -> None:
    assert "kept;" not in call("resume", "t")[1]
    first = call("review", "t", "--approve", asked[1])
    assert (first[0], "1 answer kept; the run goes on when the other 2 are answered." in first[1]) == (WAITING, True)
    assert Path("files/b.md").read_text() == "from b"
    second = call("review", "t", "--approve", asked[0])[1]
    assert "1 answer kept; the run goes on when the other one is answered." in second
    last = call("review", "t", "--approve", asked[2])
    assert (last[0], "kept;" in last[1], Path("files/b.md").read_text()) == (COMPLETE, False, "from b!")


def test_rejection_of_one_item_of_a_plan_file_says_which_and_that_the_others_are_not_done(
    call: Callable[..., Any], asked: list[str]
) -> None:
    assert all(f" note, item {number} " in " ".join(call("review")[1].split()) for number in (1, 2, 3))
    _, _, err = call("review", "t", "--approve", "none")
    assert f"{asked[1]} (step note, item 2, append_file)" in err
    answers = ["--approve", asked[0], "--approve", asked[2], "--reject", asked[1], "--feedback", "no thanks"]
    code, out, _ = call("review", "t", *answers)
    assert code == FAILED
    assert [line.strip() for line in out.splitlines() if "answered with" in line] == [
        "note, item 1: answered with approve",
        "note, item 2: answered with reject",
        "note, item 3: answered with approve",
    ]
    assert (
        "The given plan cannot be planned again. A reviewer rejected step note, item 2 (append_file): no thanks. "
        "What was answered beside it (note, item 1; note, item 3) is not done."
    ) in out
    assert [Path(f"files/{name}.md").read_text() for name in "abc"] == ["from a", "from b", "from c"]


@pytest.mark.parametrize("columns", [60, 80, 100, 120])
def test_questions_are_short_in_the_list_of_all_and_whole_one_by_one(
    call: Callable[..., Any], asked: list[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    listed = call("review")[1]
    assert len(listed.splitlines()) <= 1 + 12 * len(asked)
    for question in json.loads(call("review", "--json")[1])[0]["reviews"]:
        assert all(rule in "".join(listed.split()) for rule in question["rules"])
        assert f"  Why:    {question['reason']} [{', '.join(question['rules'])}]" in call("review", "t")[1]


def test_files_are_told_of_where_a_step_wrote_them_and_they_are_there(
    call: Callable[..., Any], folder: Path, asked: list[str]
) -> None:
    call("review", "t", "--respond", asked[0], "--message", "b.md")
    done = json.loads(call("review", "t", "--approve", asked[1], "--approve", asked[2], "--json")[1])
    assert (done["outputs"]["noted"], done["files"]) == (["b.md", "b.md", "c.md"], ["b.md", "c.md"])
    assert done["history"][-1]["items"][0] == {
        "status": "succeeded",
        "reason": "A reviewer gave its result; it was not done.",
    }
    (folder / "files" / "b.md").unlink()
    assert re.findall(r"  (.*/files/.*)", call("show", "t")[1]) == [str(folder / "files" / "c.md")]


def test_result_that_a_person_gave_is_no_file_that_was_written(call: Callable[..., Any]) -> None:
    call("run", "--plan", "replace.yaml", "--workspace", "files", "--thread", "t")
    code, out, _ = call("review", "t", "--respond", _question(call), "--message", "b.md")
    assert (code, "Written:" in out) == (COMPLETE, False)


def test_file_is_not_told_of_in_a_workspace_that_the_run_came_to_later(call: Callable[..., Any], folder: Path) -> None:
    (folder / "other").mkdir()
    plan = yaml.safe_load(COPY)
    plan["steps"] += [{"name": "ask", "action": "list_files", "after": ["save"], "human_review_required": True}]
    (folder / "asks.yaml").write_text(yaml.safe_dump(plan))
    assert "Written:" in call("run", "--plan", "asks.yaml", "--workspace", "files", "--thread", "t")[1]
    code, out, _ = call("review", "t", "--approve", "all", "--workspace", "other")
    assert (code, "Written:" in out) == (COMPLETE, False)


@pytest.mark.parametrize(
    "answer, said",
    [
        (["--approve", "nonsense"], "No open question has the id 'nonsense'"),
        (["--edit", "one"], "go together"),
        (["--edit", "one", "--inputs", "[]"], "JSON object"),
        (["--edit", "one", "--inputs", "{"], "no JSON"),
        (["--respond", "one"], "go together"),
        (["--feedback", "no"], "goes with --reject"),
    ],
)
def test_answer_that_fits_no_question_changes_nothing(call: Callable[..., Any], answer: list[str], said: str) -> None:
    call("run", "--plan", "replace.yaml", "--workspace", "files", "--thread", "t")
    code, _, err = call("review", "t", *answer)
    assert code == BAD_INPUT
    assert said in err
    assert json.loads(call("review", "--json")[1])[0]["thread_id"] == "t"


FORGED = "Question 1 of 1: may step read call read_file?"
OPEN_ACTIONS = """
from agentic_workflows import ActionError
from agentic_workflows.actions.action import Action
from agentic_workflows.graph.catalogue import Annotations

async def wipe(call):
    raise ActionError("No.\\nQuestion 1 of 1: may step read call read_file?")

ACTIONS = [Action(name="wipe", run=wipe, annotations=Annotations(idempotent=True))]
"""


def test_words_of_others_begin_no_line_of_ours(call: Callable[..., Any], folder: Path) -> None:
    (folder / "loose.py").write_text(OPEN_ACTIONS)
    inputs = {f"a\n\n{FORGED}\n  Input:  path": "notes.md", "path": f"/\n\n{FORGED}"}
    plan = {"goal": f"Tidy up\n{FORGED}", "steps": [{"name": "s", "action": "wipe", "inputs": inputs, "retries": 1}]}
    (folder / "forged.yaml").write_text(yaml.safe_dump(plan))
    begun = call("run", "--plan", "forged.yaml", "--actions", "loose:ACTIONS", "--thread", "t")
    others = [call("plan", "--plan", "forged.yaml", "--actions", "loose:ACTIONS"), call("show", "t"), call("review")]
    ended = call("review", "t", "--approve", "all")
    assert (begun[0], ended[0]) == (WAITING, FAILED)
    lines = [line for _, shown, _ in [begun, *others, ended, call("show", "t")] for line in shown.splitlines()]
    assert len([line for line in lines if FORGED in line]) > 4
    assert [line for line in lines if line.startswith((FORGED, f"  {FORGED}", '  Input:  path = "notes'))] == []


def test_second_answer_is_refused(call: Callable[..., Any]) -> None:
    call("run", "--plan", "replace.yaml", "--workspace", "files", "--thread", "t")
    assert call("review", "t", "--approve", "all")[0] == COMPLETE
    code, _, err = call("review", "t", "--approve", "all")
    assert code == BAD_INPUT
    assert "is COMPLETE and asks nothing" in err


def test_silence_is_a_rejection_that_says_so(call: Callable[..., Any]) -> None:
    limited = ["run", "--plan", "replace.yaml", "--workspace", "files", "--thread", "t", "--review-seconds", "1"]
    assert "UTC; then it counts as rejected" in call(*limited)[1]
    time.sleep(1)
    code, _, err = call("review", "t", "--approve", "all")
    assert (code, "It is too late to answer" in err) == (BAD_INPUT, True)
    code, out, _ = call("review", "t")
    assert (code, "Nobody answered by" in out) == (FAILED, True)
    assert Path("files/b.md").read_text() == "from b"
    assert re.search("the deadline answered save: reject  Nobody answered by", call("show", "t")[1])


def test_a_short_approval_is_asked_for_again(call: Callable[..., Any]) -> None:
    limited = ["run", "--plan", "replace.yaml", "--workspace", "files", "--thread", "t", "--grant-seconds", "1"]
    call(*limited)
    with closing(sqlite3.connect(".agentic/agentic.db")) as connection:  # approved by a process that was killed then
        (run_id,) = connection.execute("SELECT run_id FROM agentic_runs").fetchone()
        one = json.loads(call("review", "--json")[1])[0]["reviews"][0]["id"]
        row = (one, run_id, '{"type": "approve"}', "ada", "2026-01-01T00:00:00+00:00", 0)
        connection.execute("INSERT INTO agentic_answers VALUES (?, ?, ?, ?, ?, ?)", row)
        connection.commit()
    code, out, _ = call("resume", "t")
    assert (code, "ada approved it at 2026-01-01T00:00:00+00:00, and that expired" in out) == (WAITING, True)
    assert re.search(r"ada answered \w+: approve", call("show", "t")[1])
    assert call("review", "t", "--approve", "all")[0] == COMPLETE


def test_bad_input_is_one_clear_error(call: Callable[..., Any]) -> None:
    wrong = {
        "There is no goal": ["run"],
        "There is no goal.": ["run", "  "],
        "--thread is empty": ["run", "--plan", "copy.yaml", "--thread", ""],
        "--database is empty": ["runs", "--database", ""],
        "cannot be used: No such file": ["run", "--plan", "copy.yaml", "--workspace", "nowhere"],
        "no run 'unknown'": ["resume", "unknown", "--database", "kept.db"],
        "does not exist": ["show", "t", "--database", "none.db"],
        "cannot be imported": ["run", "--plan", "copy.yaml", "--actions", "nowhere:ACTIONS"],
        "not MODULE:NAME": ["run", "--plan", "copy.yaml", "--actions", "own"],
        "no built-in policy": ["policy", "show", "mine"],
        "is 0; give a whole number": ["run", "--plan", "copy.yaml", "--max-iterations", "0"],
        "needs an endpoint": ["run", "do it", "--model", "gpt-x"],
    }
    assert call("run", "--plan", "copy.yaml", "--workspace", "files", "--database", "kept.db")[0] == COMPLETE
    for said, arguments in wrong.items():
        code, out, err = call(*arguments)
        assert (code, said in err, "Traceback" in err) == (BAD_INPUT, True, False), (said, code, out, err)


@pytest.mark.parametrize(
    "source, said",
    [
        ("import os\nKEY = os.environ['NO_SUCH_KEY']", "own.py:2: KeyError: 'NO_SUCH_KEY'. Modules of"),
        ("raise SystemExit('not here')", "own.py:1: SystemExit: not here. Modules of"),
        ("\nimport no_such_package", "own.py:2: No module named 'no_such_package'. Modules of"),
        ("", "imported: module 'own' has no attribute 'ACTIONS'. Modules of"),
        ("def", "SyntaxError: "),
        (
            "from agentic_workflows import action\n@action(readonly=True)\ndef f() -> int: ...",
            "Did you mean 'read_only'?",
        ),
    ],
)
def test_actions_that_raise_anything_as_they_are_imported_are_one_clear_error(
    call: Callable[..., Any], folder: Path, source: str, said: str
) -> None:
    (folder / "own.py").write_text(source)
    code, _, err = call("run", "--plan", "copy.yaml", "--actions", "own:ACTIONS")
    assert (code, err.startswith("Error: --actions own:ACTIONS cannot be imported: "), said in err) == (
        2,
        True,
        True,
    ), err


def test_a_run_that_is_resumed_where_its_actions_are_not_says_where_they_were(
    call: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "asks.yaml").write_text("{goal: Pay, steps: [{name: pay, action: pay, human_review_required: true}]}")
    assert call("run", "--plan", "asks.yaml", "--actions", "own:ACTIONS", "--thread", "t")[0] == WAITING
    sys.modules.pop("own")
    sys.path.remove(str(folder))
    monkeypatch.chdir(folder / "files")
    code, _, err = call("review", "t", "--approve", "all", "--database", folder / ".agentic" / "agentic.db")
    assert (code, "No module named 'own'" in err) == (BAD_INPUT, True), err
    assert f"The run was begun in {folder}; resume it there, or with that folder in PYTHONPATH." in err


def test_the_document_of_plan_is_a_plan_file(call: Callable[..., Any], folder: Path) -> None:
    (folder / "plan.json").write_text(call("plan", "--plan", "copy.yaml", "--workspace", "files", "--json")[1])
    assert call("run", "--plan", "plan.json", "--workspace", "files")[0] == COMPLETE
    assert (folder / "files" / "copy.md").read_text() == "from a"


def test_a_plan_with_findings_is_named_by_its_file(call: Callable[..., Any]) -> None:
    code, _, err = call("run", "--plan", "denied.yaml", "--workspace", "files")
    assert (code, err.startswith("Error: The plan file denied.yaml cannot be used:")) == (BAD_INPUT, True), err


def test_finished_run_is_not_resumed(call: Callable[..., Any]) -> None:
    call("run", "--plan", "copy.yaml", "--workspace", "files", "--thread", "t")
    for command in ("resume", "pause", "cancel"):
        code, _, err = call(command, "t")
        assert (code, "is COMPLETE" in err) == (BAD_INPUT, True), command


def test_database_that_cannot_be_used_is_left_as_it_is(call: Callable[..., Any], folder: Path) -> None:
    (folder / "text.db").write_text("this is no database, and longer than its header would be")
    (folder / "dir.db").mkdir()
    said = {"text.db": "not a database", "dir.db": "folder", "redis://x/y": "no database that this version knows"}
    said["host=x password=secret"] = "Settings of Postgres are given as a URL"
    for name, problem in said.items():
        code, _, err = call("run", "--plan", "copy.yaml", "--workspace", "files", "--database", name)
        assert (code, problem in err) == (BAD_INPUT, True), err
    code, _, err = call("runs", "--database", "host=x password=secret")
    assert (code, said["host=x password=secret"] in err, "secret" in err) == (BAD_INPUT, True, False)
    assert (folder / "text.db").read_text().startswith("this is no database")
    assert not (folder / "files" / "copy.md").exists()


def test_locked_database_is_an_error(call: Callable[..., Any], folder: Path) -> None:
    with closing(sqlite3.connect(folder / "held.db")) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("BEGIN EXCLUSIVE")
        code, _, err = call("run", "--plan", "copy.yaml", "--workspace", "files", "--database", "held.db")
    assert (code, "Another program holds it" in err) == (BAD_INPUT, True)
    assert not (folder / "files" / "copy.md").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write what is read-only")
def test_read_only_database_is_an_error(call: Callable[..., Any], folder: Path) -> None:
    (folder / "kept.db").touch(mode=0o400)
    code, _, err = call("run", "--plan", "copy.yaml", "--workspace", "files", "--database", "kept.db")
    assert (code, "no permission" in err) == (BAD_INPUT, True)


class Model(BaseHTTPRequestHandler):
    """An endpoint on loopback that gives one text after the other."""

    answers: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        message = {"role": "assistant", "content": self.answers.pop(0)}
        choices = [{"index": 0, "finish_reason": "stop", "message": message}]
        body = json.dumps({"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": choices})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has
        pass


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Model]]:
    with HTTPServer(("127.0.0.1", 0), Model) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
        Thread(target=server.serve_forever, daemon=True).start()
        yield Model
        server.shutdown()


@pytest.mark.usefixtures("folder")
def test_run_out_of_iterations_goes_on_with_more(model: type[Model]) -> None:
    step = {"name": "read", "action": "read_file", "inputs": {"path": "a.md"}, "outputs": ["text"]}
    model.answers[:] = ["no plan", "still none", json.dumps({"steps": [step]})]
    arguments = ["--workspace", "files", "--max-iterations", "2", "--model", "m", "--thread", "t"]
    failed = agentic("run", "Read a.md", *arguments)
    assert (failed.returncode, "max_iterations=2 is exhausted" in failed.stdout) == (FAILED, True), failed
    assert "resume t --max-iterations 12" in failed.stdout
    done = agentic("resume", "t", "--max-iterations", "12", "--json")
    assert (done.returncode, json.loads(done.stdout)["outputs"]) == (COMPLETE, {"text": "from a"})


def test_plan_shows_everything_and_runs_nothing(call: Callable[..., Any], folder: Path) -> None:
    code, out, _ = call("plan", "--plan", "copy.yaml", "--workspace", "files", "--json")
    report = json.loads(out)
    assert (code, report["order"], report["findings"]) == (COMPLETE, ["read", "save"], [])
    assert report["decisions"]["read"]["decision"] == "Allow"
    code, out, _ = call("plan", "--plan", "denied.yaml")
    assert (code, "never runs, whoever approves it" in out) == (BAD_INPUT, True)
    assert sorted(path.name for path in (folder / "files").iterdir()) == ["a.md", "b.md"]
    assert not (folder / ".agentic").exists()


def test_a_plan_file_that_is_refused_begins_no_run(call: Callable[..., Any], folder: Path) -> None:
    code, _, err = call("run", "--plan", "denied.yaml", "--thread", "t")
    assert (code, "never runs, whoever approves it" in err) == (BAD_INPUT, True)
    assert (call("show", "t")[0], sorted(path.name for path in (folder / "files").iterdir())) == (
        BAD_INPUT,
        ["a.md", "b.md"],
    )


def test_rules_that_permit_nothing_are_warned_of_where_they_deny_a_plan(call: Callable[..., Any], folder: Path) -> None:
    (folder / "mine.cedar").write_text('@id("no") forbid (principal, action == Action::"write_file", resource);')
    mine, beside = ["--policy", "mine.cedar"], ["--policy", "default", "--policy", "mine.cedar"]
    told = "Warning: No rule permits anything, so every call is denied. Load these rules beside the default ones"
    planned = ["--plan", "replace.yaml", "--workspace", "files"]
    for command in (["run", *planned, *mine], ["plan", *planned, *mine]):
        code, out, _ = call(*command)
        assert (code, told in out) == (BAD_INPUT, True), command
    assert told not in call("plan", *planned, *beside)[1]
    call("run", *planned, "--thread", "t")
    for command in (["resume", "t", *mine], ["review", "t", "--approve", "all", *mine]):
        assert told in call(*command)[1], command


def test_policies_are_checked_explained_and_shown(call: Callable[..., Any], folder: Path) -> None:
    text = call("policy", "show", "default")[1]
    assert call("policy", "show", "default")[0] == COMPLETE
    (folder / "mine.cedar").write_text(
        text + '@id("no-b") @reason("Leave b alone.")\n'
        'forbid (principal, action == Action::"write_file", resource) when { context.inputs.path == "b.md" };\n'
    )
    (folder / "typo.cedar").write_text('permit (principal, action == Action::"write_fiel", resource);')
    assert call("policy", "check", "mine.cedar")[0] == COMPLETE
    (folder / "idle.cedar").write_text('permit (principal, action == Action::"read_file", resource);')
    code, out, _ = call("policy", "check", "default", "idle.cedar", "--json")
    assert (code, len(json.loads(out)["warnings"])) == (COMPLETE, 1)
    assert "Warning: " in call("policy", "check", "default", "idle.cedar")[1]
    code, _, err = call("policy", "check", "typo.cedar")
    assert (code, "typo.cedar:1" in err, "Did you mean 'write_file'" in err) == (BAD_INPUT, True, True)
    assert "--actions MODULE:NAME" in err
    assert "--actions" not in call("policy", "check", "typo.cedar", "--actions", "own:ACTIONS")[2]
    code, out, _ = call("policy", "explain", "--plan", "copy.yaml", "--policy", "mine.cedar")
    assert (code, "known-action (mine.cedar" in out or "known-action (" in out) == (COMPLETE, True)
    assert re.search(r"save +text +read_file +no", out), out
    code, out, _ = call("run", "--plan", "replace.yaml", "--workspace", "files", "--policy", "mine.cedar")
    assert (code, "Leave b alone." in out) == (FAILED, True)


def test_policies_are_tested(call: Callable[..., Any], folder: Path) -> None:
    case = "- {action: delete_file, inputs: {path: a.md}, rule: destructive-effect, expect: "
    for expect, code in (("Ask", COMPLETE), ("Allow", FAILED), ("ask", BAD_INPUT)):
        (folder / "cases.yaml").write_text(f"{case}{expect}}}")
        assert call("policy", "test", "cases.yaml")[0] == code
        told = json.loads(call("policy", "test", "cases.yaml", "--json")[1])
        assert code == BAD_INPUT or (told["cases"], told["failed"]) == (1, code)
    assert told["error"]["type"] == "PolicyError"
    (folder / "cases.yaml").write_text(f"{case}Allow}}")
    assert re.search(r"case 1: expected Allow .*\n0 of 1 cases are as", call("policy", "test", "cases.yaml")[1])


def test_cases_of_policies_that_nobody_named_are_told_to_be_tried_on_the_default(
    call: Callable[..., Any], folder: Path
) -> None:
    told = "Only the default policies were tested; name yours: --policy default --policy mine.cedar."
    case = "- {action: read_file, inputs: {path: a.md}, expect: "
    for ending, code, at in (("Deny}", FAILED, 1), ("Allow, rule: mine}", BAD_INPUT, 2), ("Allow}", COMPLETE, None)):
        (folder / "cases.yaml").write_text(case + ending)
        shown = call("policy", "test", "cases.yaml")
        assert (shown[0], [told in one for one in shown[1:]]) == (code, [at == 1, at == 2])
    (folder / "cases.yaml").write_text(case + "Deny}")
    assert told not in call("policy", "test", "cases.yaml", "--policy", "default")[1]


def test_lists_are_documents(call: Callable[..., Any]) -> None:
    assert call("runs", "--json") == (COMPLETE, "[]\n", "")
    names = {one["name"] for one in json.loads(call("actions", "--json", "--actions", "own:ACTIONS")[1])}
    assert {"read_file", "summarize", "wait"} <= names
    assert json.loads(call("schema")[1])["title"] == "Plan"
    call("run", "--plan", "copy.yaml", "--workspace", "files", "--thread", "t")
    assert [(one["thread_id"], one["state"]) for one in json.loads(call("runs", "--json")[1])] == [("t", "COMPLETE")]
    assert json.loads(call("show", "t", "--json")[1])["outputs"] == {"text": "from a", "saved": "copy.md"}


def test_waiting_run_is_cancelled(call: Callable[..., Any]) -> None:
    call("run", "--plan", "replace.yaml", "--workspace", "files", "--thread", "t")
    assert call("cancel", "t")[0] == COMPLETE
    assert json.loads(call("show", "t", "--json")[1])["reason"] == "Cancelled on request."


def test_hints_name_the_database(folder: Path) -> None:
    place = ["--database", "my runs.db"]
    with start("run", "--plan", "slow.yaml", "--actions", "own:ACTIONS", "--thread", "t", *place) as process:
        wait_until((folder / "started").exists)
        busy = agentic("resume", "t", *place)
        process.kill()
    known = f" t --database '{folder / 'my runs.db'}'`"
    assert (busy.returncode, f"pause{known}, or try again" in busy.stderr) == (BAD_INPUT, True), busy
    assert f"resume{known} continues it" in agentic("pause", "t", *place).stdout


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_an_error_in_mid_run_names_the_run(folder: Path, options: list[str]) -> None:
    with start("run", "--plan", "slow.yaml", "--actions", "own:ACTIONS", "--thread", "t", *options) as process:
        wait_until((folder / "started").exists)
        (folder / ".agentic" / "agentic.db").unlink()
        (folder / "go").touch()
        out, err = process.communicate(timeout=30)
    assert process.returncode == BAD_INPUT, err
    if options:
        assert json.loads(out)["thread_id"] == "t"
    else:
        assert err.startswith("Error in the run t: The database ")


def test_show_says_nothing_of_a_run_that_cannot_be_read(call: Callable[..., Any]) -> None:
    call("run", "--plan", "copy.yaml", "--workspace", "files", "--thread", "t")
    with closing(sqlite3.connect(".agentic/agentic.db")) as connection:
        connection.execute("UPDATE agentic_plans SET plan = '{'")
        connection.commit()
    code, out, err = call("show", "t")
    assert (code, out, "agentic_plans is corrupt" in err) == (BAD_INPUT, "", True)


def test_the_version_is_told(call: Callable[..., Any]) -> None:
    assert call("--version") == (COMPLETE, f"agentic {version('agentic-workflows')}\n", "")


def test_a_run_that_its_process_left_behind_is_cancelled(folder: Path) -> None:
    with start("run", "--plan", "slow.yaml", "--actions", "own:ACTIONS", "--thread", "t") as process:
        wait_until((folder / "started").exists)
        process.kill()
    ended = agentic("cancel", "t")
    assert (ended.returncode, ended.stdout) == (COMPLETE, "The run t is FAILED: Cancelled on request.\n"), ended
    again = agentic("cancel", "t")
    assert (again.returncode, "is FAILED already" in again.stderr) == (BAD_INPUT, True)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_pauses_and_another_process_goes_on(folder: Path, sent: signal.Signals) -> None:
    with start("run", "--plan", "slow.yaml", "--actions", "own:ACTIONS", "--thread", "t") as process:
        wait_until((folder / "started").exists)
        process.send_signal(sent)
        told = "Pausing: action calls that are under way are finished first."
        assert any(told in line for line in process.stdout or ())
        (folder / "go").touch()
        out, err = process.communicate(timeout=30)
    assert process.returncode == WAITING, err
    assert "resume t" in out
    assert "second (wait) running" not in out
    done = agentic("resume", "t", "--json")
    assert (done.returncode, json.loads(done.stdout)["outputs"]) == (COMPLETE, {"a": "waited", "b": "waited"})


SLOW_IMPORT = """
import sys
import time

class Slow:
    def find_spec(self, name, *_):
        if name == "typer":
            print("importing", flush=True)
            time.sleep(30)

sys.meta_path.insert(0, Slow())
from agentic_workflows.cli import start
start()
"""


def test_ctrl_c_in_the_middle_of_an_import_ends_the_command_and_says_nothing() -> None:
    command = [sys.executable, "-c", SLOW_IMPORT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=20)
    assert (process.returncode, said) == (-signal.SIGINT, ("", ""))


def test_ignored_signals_stay_ignored(folder: Path) -> None:
    command = ["sh", "-c", "trap '' INT HUP; exec \"$@\"", "sh", *COMMAND]
    arguments = ["run", "--plan", "slow.yaml", "--actions", "own:ACTIONS"]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True) as process:
        wait_until((folder / "started").exists)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGHUP)
        (folder / "go").touch()
        out, _ = process.communicate(timeout=30)
    assert (process.returncode, "Pausing" in out) == (COMPLETE, False), out


def test_second_signal_stops_at_once(folder: Path) -> None:
    with start("run", "--plan", "slow.yaml", "--actions", "own:ACTIONS", "--thread", "t", "--json") as process:
        wait_until((folder / "started").exists)
        process.send_signal(signal.SIGINT)
        assert any("Pausing" in line for line in process.stderr or ())
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=10)
    assert process.returncode == INTERRUPTED
    told = json.loads(out)
    assert (told["thread_id"], "stopped at once" in told["error"]["message"]) == ("t", True)
    assert "resume t` goes on" in told["error"]["message"]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_stops_at_once_also_where_an_action_blocks_the_event_loop(
    folder: Path, sent: signal.Signals
) -> None:
    (folder / "block.yaml").write_text(SLOW.replace("action: wait", "action: block"))
    with start("run", "--plan", "block.yaml", "--actions", "own:ACTIONS", "--thread", "t", "--json") as process:
        wait_until((folder / "started").exists)
        process.send_signal(sent)
        assert any("Pausing" in line for line in process.stderr or ())
        process.send_signal(sent)
        out, _ = process.communicate(timeout=10)
    assert process.returncode == INTERRUPTED
    assert "stopped at once" in json.loads(out)["error"]["message"]


@pytest.mark.parametrize("command, state", [("pause", "PAUSED"), ("cancel", "FAILED")])
def test_run_that_was_answered_is_stopped_from_another_process(folder: Path, command: str, state: str) -> None:
    first, *rest = yaml.safe_load(SLOW)["steps"]
    reviewed = {"goal": "g", "steps": [{"name": "ask", "action": "list_files", "human_review_required": True}]}
    reviewed["steps"] += [{**first, "after": ["ask"]}, *rest]
    (folder / "reviewed.json").write_text(json.dumps(reviewed))
    agentic("run", "--plan", "reviewed.json", "--actions", "own:ACTIONS", "--thread", "t")
    with start("review", "t", "--approve", "all", "--json") as process:
        wait_until((folder / "started").exists)
        assert json.loads(agentic("runs", "--json").stdout)[0]["state"] == "EXECUTING"
        with start(command, "t") as asking:
            wait_until(lambda: requests(folder) == [("t", command)])
            time.sleep(1)  # a run looks more often than that
            (folder / "go").touch()
            out, _ = process.communicate(timeout=30)
            said, _ = asking.communicate(timeout=30)
    assert (json.loads(out)["state"], f"is {state}" in said) == (state, True), (out, said)


@pytest.mark.parametrize("command, state, code", [("pause", "PAUSED", WAITING), ("cancel", "FAILED", FAILED)])
def test_run_is_stopped_from_another_process(folder: Path, command: str, state: str, code: int) -> None:
    with start("run", "--plan", "slow.yaml", "--actions", "own:ACTIONS", "--thread", "t", "--json") as process:
        wait_until((folder / "started").exists)
        with start(command, "t") as asking:
            wait_until(lambda: requests(folder) == [("t", command)])
            time.sleep(1)  # a run looks more often than that
            (folder / "go").touch()
            said, _ = asking.communicate(timeout=30)
        out, _ = process.communicate(timeout=30)
    assert (asking.returncode, f"is {state}" in said) == (COMPLETE, True), said
    assert (process.returncode, json.loads(out)["state"]) == (code, state)


def took(*arguments: str) -> tuple[str, float]:
    """Return what a command says, and the seconds that it takes."""
    began = time.monotonic()
    return agentic(*arguments).stdout, time.monotonic() - began


@pytest.mark.parametrize("is_reviewed", [False, True], ids=["without a checkpoint", "with an older checkpoint"])
def test_runs_and_show_tell_what_is_done_of_a_run_under_way_and_of_one_that_was_killed(
    folder: Path, *, is_reviewed: bool
) -> None:
    look = {"name": "look", "action": "list_files", "human_review_required": is_reviewed}
    first, *rest = yaml.safe_load(SLOW)["steps"]
    plan = {"goal": "g", "steps": [look, {**first, "after": ["look"]}, *rest]}
    (folder / "three.json").write_text(json.dumps(plan))
    begin = ["run", "--plan", "three.json", "--actions", "own:ACTIONS", "--thread", "t"]
    if is_reviewed:
        assert agentic(*begin).returncode == WAITING
        assert re.search(r"t +REVIEWING +g +0/3", agentic("runs").stdout)
        begin = ["review", "t", "--approve", "all"]
    with start(*begin) as process:
        wait_until((folder / "started").exists)
        under_way = [agentic("runs").stdout, agentic("show", "t").stdout]
        process.kill()
    left_behind = [agentic("runs").stdout, agentic("show", "t").stdout]
    for listed, shown in (under_way, left_behind):
        assert re.search(r"t +EXECUTING +g +1/3", listed), listed
        assert "EXECUTING  1/3 steps" in shown, shown
        assert re.search(r"1 +look +list_files", shown), shown
    holder = f"{socket.gethostname()}:{process.pid} runs it"
    assert (f"{holder}." in under_way[0], f"{holder}, and holds it until 20" in under_way[1]) == (True, True), under_way
    assert ("Nobody runs it." in left_behind[0], left_behind[1].count("Nobody runs it.\nGo on with: ")) == (True, 1)
    paused, shown_in = took("pause", "t"), took("show", "t")[1]
    assert (paused[0].startswith("No process runs the run t; `"), paused[1] < shown_in + 4) == (True, True), paused
    kept = json.loads(agentic("show", "t", "--json").stdout)
    assert kept["held_by"] is None
    assert {name: (one["status"], one["attempts"]) for name, one in kept["steps"].items()} == {"look": ("succeeded", 1)}


RUNS_NEED = {"langgraph", "langchain_core", "langsmith", "sqlalchemy"}
HEAVY = {"rich", "pydantic", "cedarpy", "yaml"} | RUNS_NEED


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "command, heavy", [("--help", HEAVY), ("actions", RUNS_NEED), ("schema", RUNS_NEED), ("policy check", RUNS_NEED)]
)
def test_a_command_that_looks_at_no_run_imports_nothing_heavy(command: str, heavy: set[str]) -> None:
    script = f"import sys; from agentic_workflows.cli.main import run_command; run_command({command.split()})"
    done = subprocess.run(
        [sys.executable, "-c", f"{script}; print(); print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    assert not heavy.intersection(done.stdout.splitlines()[-1].split())


def test_export_is_json_whatever_characters_there_are(folder: Path) -> None:
    goal = "soft\u00ad next\u0085 tag\U000e0001 line\u2028 \u202e"
    (folder / "odd.json").write_text(json.dumps({"goal": goal, "steps": [{"name": "a", "action": "list_files"}]}))
    agentic("run", "--plan", "odd.json", "--thread", "t")
    lines = agentic("export", "t").stdout.splitlines()
    assert [json.loads(line)["what"] for line in lines] == ["run begun", "plan", "outcome"]
    assert json.loads(lines[0])["goal"] == goal


@pytest.mark.usefixtures("folder")
def test_export_prints_what_happened_a_json_object_a_line() -> None:
    agentic("run", "--plan", "copy.yaml", "--workspace", "files", "--thread", "t")
    done = agentic("export", "t")
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == COMPLETE
    assert [entry["what"] for entry in entries[:2]] == ["run begun", "plan"]
    assert [entry["at"] for entry in entries] == sorted(entry["at"] for entry in entries)
    written = [(entry["what"], entry["rules"]) for entry in entries if entry.get("action") == "write_file"]
    assert written == [("intent", ["known-action"]), ("outcome", [])]
    assert json.loads(agentic("export", "t", "--json").stdout) == entries
    assert "(write_file) is about to act  [known-action]" in agentic("show", "t").stdout


def test_the_timeline_tells_a_doubt_after_what_settled_it_and_export_its_key(
    call: Callable[..., Any], folder: Path
) -> None:
    (folder / "pay.yaml").write_text("{goal: Pay, steps: [{name: pay, action: pay}]}")
    options = ["--plan", "pay.yaml", "--actions", "own:ACTIONS", "--workspace", "files", "--thread", "t"]
    assert call("run", *options)[0] == WAITING
    listed = call("review")[1]
    assert ("In doubt. It was begun at" in " ".join(listed.split()), "[]" in listed) == (True, False), listed
    assert call("review", "t", "--approve", "all")[0] == COMPLETE
    lines = re.findall(r"^  20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC  (.*)$", call("show", "t")[1], re.MULTILINE)
    assert [re.sub(r"^\S+ answered|\d\.\d s", "...", line) for line in lines] == [
        "run begun",
        "plan 1",
        "pay (pay) is about to act  [known-action]",
        "... pay: approve",
        "pay settled  It was in doubt, and is done again.",
        "pay, attempt 2 (pay) is about to act  [known-action]",
        "pay, attempt 2 succeeded ...",
    ]
    entries = [json.loads(line) for line in call("export", "t")[1].splitlines()]
    assert [entry["at"] for entry in entries] == sorted(entry["at"] for entry in entries)
    (key,) = {entry["idempotency_key"] for entry in entries if entry["what"] == "intent"}
    assert key.startswith(f"{entries[0]['run_id']}:")


def test_the_timeline_tells_how_often_a_call_was_tried(call: Callable[..., Any], folder: Path) -> None:
    each = {"name": "each", "action": "flaky", "foreach": "${items}", "inputs": {"file": "${item}"}, "retries": 2}
    steps = [{"name": "list", "action": "list_files", "outputs": ["items"]}, each]
    (folder / "each.json").write_text(json.dumps({"goal": "Read", "steps": steps}))
    options = ["--plan", "each.json", "--actions", "own:ACTIONS", "--workspace", "files", "--thread", "t"]
    assert call("run", *options)[0] == COMPLETE
    lines = re.findall(r"UTC  (each.*)$", call("show", "t")[1], re.MULTILINE)
    assert sorted(re.sub(r"\d\.\d s", "...", line) for line in lines) == [
        "each succeeded ...",
        "each, item 1 succeeded ... in 3 attempts  [known-action]",
        "each, item 2 succeeded ... in 3 attempts  [known-action]",
    ]
    told = [json.loads(line) for line in call("export", "t")[1].splitlines()]
    tried = [(one["step"], one["item"], one["attempts"]) for one in told if one["what"] == "outcome"]
    assert sorted(tried, key=str) == [("each", 0, 3), ("each", 1, 3), ("each", None, 6), ("list", None, 1)]


def test_items_are_counted_from_one_as_everywhere(call: Callable[..., Any], folder: Path) -> None:
    each = {"name": "each", "action": "read_file", "foreach": "${all}", "inputs": {"path": "${item}"}}
    plan = {"goal": "Read", "steps": [{"name": "list", "action": "list_files", "outputs": ["all"]}, each]}
    (folder / "each.json").write_text(json.dumps(plan))
    assert call("run", "--plan", "each.json", "--workspace", "files", "--thread", "t")[0] == COMPLETE
    told = re.findall(r"each\S* item \d", call("show", "t")[1])
    assert sorted(told) == ["each, item 1", "each, item 2"]  # whichever was read first


def test_a_corrupt_checkpoint_is_one_clear_error_of_every_command(folder: Path) -> None:
    agentic("run", "--plan", "replace.yaml", "--workspace", "files", "--thread", "t")
    with closing(sqlite3.connect(folder / ".agentic" / "agentic.db")) as connection:
        connection.execute("UPDATE checkpoints SET metadata = NULL")
        connection.commit()
    for command in (
        ("show", "t"),
        ("resume", "t"),
        ("runs", "prune", "--older-than", "1d"),
        ("run", "--plan", "copy.yaml", "--thread", "t"),
    ):
        told = agentic(*command)
        assert told.returncode == BAD_INPUT, told
        assert "agentic.db cannot be used: the checkpoint of the thread t is corrupt" in told.stderr
        assert "Traceback" not in told.stderr
    agentic("run", "--plan", "replace.yaml", "--workspace", "files", "--thread", "waits")
    listed = agentic("runs")
    assert (listed.returncode, "CORRUPT" in listed.stdout, "REVIEWING" in listed.stdout) == (COMPLETE, True, True)
    assert [run["thread_id"] for run in json.loads(agentic("review", "--json").stdout)] == ["waits"]


@pytest.mark.usefixtures("folder")
def test_prune_removes_finished_runs_only() -> None:
    agentic("run", "--plan", "copy.yaml", "--workspace", "files", "--thread", "done")
    agentic("run", "--plan", "replace.yaml", "--workspace", "files", "--thread", "waits")
    assert agentic("runs", "prune", "--older-than", "1d").stdout == "0 finished runs removed.\n"
    pruned = agentic("runs", "prune", "--older-than", "0m", "--json")
    assert json.loads(pruned.stdout) == {"removed": ["done"]}
    assert [run["thread_id"] for run in json.loads(agentic("runs", "--json").stdout)] == ["waits"]
    assert agentic("show", "done").returncode == BAD_INPUT
    for age in ("soon", "9999999d", f"{10**40}d"):
        refused = agentic("runs", "prune", "--older-than", age)
        assert (refused.returncode, "Traceback" in refused.stderr) == (BAD_INPUT, False)


def test_a_plan_does_not_change_what_decides_on_it(call: Callable[..., Any], folder: Path) -> None:
    (folder / "mine.cedar").write_text(call("policy", "show", "default")[1])
    (folder / "tools.yaml").write_text("pay: {destructive: true}\n")
    names = ["mine.cedar", "tools.yaml", "own.py", "own/__init__.py", "helper.py"]
    before = {name: (folder / name).read_text() for name in names if (folder / name).exists()}
    for name in names:
        (folder / "p.yaml").write_text(
            f"{{goal: Loosen it, steps: [{{name: s, action: append_file, inputs: {{path: {name}, text: x}}}}]}}"
        )
        code, out, _ = call(
            "run", "--plan", "p.yaml", "--actions", "own:ACTIONS", "--policy", "mine.cedar",
            "--annotations", "tools.yaml",
        )  # fmt: skip
        assert (code, f"The path '{name}' is reserved" in " ".join(out.split())) == (1, True), out
    assert {name: (folder / name).read_text() for name in names if (folder / name).exists()} == before


def test_json_shows_a_terminal_nothing_that_it_obeys(call: Callable[..., Any], folder: Path) -> None:
    goal = "a\u009b2J b\u202e c\u2028 d\x7f e\u00fc \U0001f600 f\U000e0041 g\u3164"
    (folder / "odd.json").write_text(json.dumps({"goal": goal, "steps": [{"name": "s", "action": "list_files"}]}))
    _, out, _ = call("plan", "--plan", "odd.json", "--json")
    assert all(one.isprintable() or one == "\n" for one in out.replace("\u3164", "\0"))
    assert (json.loads(out)["plan"]["goal"], "e\u00fc \U0001f600" in out) == (goal, True)


def test_policies_are_checked_as_the_other_commands_name_them(call: Callable[..., Any], folder: Path) -> None:
    (folder / "mine.cedar").write_text('@id("no") forbid(principal, action == Action::"delete_file", resource);')
    named = call("policy", "check", "--policy", "default", "--policy", "mine.cedar", "--json")
    assert named == call("policy", "check", "default", "mine.cedar", "--json")
    assert json.loads(named[1])["policies"] == ["default", str(folder / "mine.cedar")]
    alone = call("policy", "check", "mine.cedar")
    assert (alone[0], "Warning: No rule permits anything, so every call is denied." in alone[1]) == (0, True)


@pytest.mark.parametrize("command", [[], ["run"], ["policy", "check"]], ids=" ".join)
def test_help_has_a_short_name(call: Callable[..., Any], command: list[str]) -> None:
    assert call(*command, "-h") == call(*command, "--help")
    assert call(*command, "-h")[1].startswith("Usage: ")
