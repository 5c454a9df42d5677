"""The command at a terminal: questions, their answers, and Ctrl-C."""

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentic_workflows import approve
from agentic_workflows.cli.output import Output
from agentic_workflows.cli.questions import ask_all
from agentic_workflows.graph.review import Question

COMPLETE, FAILED, BAD_INPUT, WAITING = 0, 1, 2, 3
PROMPT = "(Enter: reject) > "
REPLACE = """
goal: Replace b.md by a.md
steps:
  - {name: read, action: read_file, inputs: {path: a.md}, outputs: [text]}
  - {name: save, action: write_file, inputs: {path: b.md, text: "${text}", overwrite: true}, outputs: [saved]}
"""
BOTH = """
goal: Delete both
steps:
  - {name: first, action: delete_file, inputs: {path: a.md}}
  - {name: second, action: delete_file, inputs: {path: b.md}}
"""
SLOW = """
goal: Take your time
steps:
  - {name: first, action: wait, outputs: [a]}
  - {name: second, action: wait, after: [first], outputs: [b]}
"""
OWN_ACTIONS = """
import asyncio
from pathlib import Path
from agentic_workflows import action

@action(read_only=True, open_world=False)
async def wait() -> str:
    '''Wait until a file is there.'''
    while not Path("go").exists():
        await asyncio.sleep(0.02)
    return "waited"

@action(destructive=False, open_world=False)
async def pay() -> str:
    '''Pay, and lose the connection.'''
    with Path("paid").open("a") as file:
        file.write("x")
    raise ConnectionError("gone")

ACTIONS = [wait, pay]
"""
PAY = """
goal: Pay
steps:
  - {name: pay, action: pay, outputs: [receipt]}
"""


class Terminal:
    """A process at a terminal of its own."""

    def __init__(self, *arguments: str, columns: int = 160) -> None:
        self.screen = ""
        self._fd, inner = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "agentic_workflows", *arguments],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no thread runs here
            env={**os.environ, "TERM": "xterm", "COLUMNS": str(columns), "LINES": "40"},
        )
        os.close(inner)

    def expect(self, text: str) -> None:
        """Read until the text is shown, and take away all up to it."""
        end = time.monotonic() + 30
        while text not in self.screen:
            assert time.monotonic() < end, f"{text!r} is not shown in {self.screen!r}"
            assert self._read(), f"It ended before {text!r}: {self.screen!r}"
        self.screen = self.screen.partition(text)[2]

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def end(self) -> int:
        """Return the exit code; what is left of the screen stays to be looked at."""
        while self._read():
            pass
        return self._process.wait(timeout=30)

    def hang_up(self) -> int:
        """Close the terminal as its window is closed, let go on what runs, and return the exit code."""
        os.close(self._fd)
        self._fd = -1
        for _ in range(50):  # a shell sends it for what it has started, at any time after the kernel
            self._process.send_signal(signal.SIGHUP)
            time.sleep(0.01)
        Path("go").touch()
        return self._process.wait(timeout=30)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._fd >= 0:
            os.close(self._fd)

    def _read(self) -> bool:
        if not select.select([self._fd], [], [], 30)[0]:
            return False
        try:
            data = os.read(self._fd, 65_536)
        except OSError:  # how Linux tells that the other end is closed
            return False
        self.screen += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", data.decode())
        return bool(data)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.md").write_text("from a")
    (tmp_path / "b.md").write_text("from b")
    for name, text in {"replace": REPLACE, "both": BOTH, "slow": SLOW, "pay": PAY}.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "own.py").write_text(OWN_ACTIONS)
    return tmp_path


@pytest.fixture
def replacing(folder: Path) -> Iterator[Terminal]:  # noqa: ARG001 - where it runs
    terminal = Terminal("run", "--plan", "replace.yaml", "--thread", "t")
    terminal.expect("may step save call write_file?")
    terminal.expect("It may overwrite something that exists. [overwrite]")
    terminal.expect('text = "from a"')
    terminal.expect(PROMPT)
    yield terminal
    terminal.close()


def test_approval_lets_the_step_run(replacing: Terminal, folder: Path) -> None:
    replacing.type("a\n")
    assert replacing.end() == COMPLETE
    assert (folder / "b.md").read_text() == "from a"
    assert "Written:" in replacing.screen


def test_silence_rejects(replacing: Terminal, folder: Path) -> None:
    replacing.type("\n")
    replacing.expect("What should the planner know?")
    replacing.type("leave it\n")
    assert replacing.end() == FAILED
    assert (folder / "b.md").read_text() == "from b"
    assert "leave it" in replacing.screen


def test_edit_changes_what_runs(replacing: Terminal, folder: Path) -> None:
    replacing.type("e\n")
    replacing.expect("The inputs to change")
    replacing.type('{"path": "new.md", "overwrite": false}\n')
    assert replacing.end() == COMPLETE
    assert ((folder / "b.md").read_text(), (folder / "new.md").read_text()) == ("from b", "from a")


def test_a_slip_is_asked_again(replacing: Terminal, folder: Path) -> None:
    replacing.type("y\n")
    replacing.expect("'y' is no answer. Type one of the letters.")
    replacing.expect(PROMPT)
    replacing.type("e\n")
    replacing.expect("The inputs to change")
    replacing.type("{path: new.md}\n")
    replacing.expect("'{path: new.md}' is no JSON object. Nothing is changed yet.")
    replacing.expect(PROMPT)
    replacing.type("a\n")
    assert replacing.end() == COMPLETE
    assert (folder / "b.md").read_text() == "from a"


def test_an_edit_that_does_not_fit_is_asked_again(replacing: Terminal, folder: Path) -> None:
    replacing.type("e\n")
    replacing.expect("The inputs to change")
    replacing.type('{"path": 5}\n')
    replacing.expect("None of these answers counts; answer again.")
    replacing.expect(PROMPT)
    replacing.type("a\n")
    assert replacing.end() == COMPLETE
    assert (folder / "b.md").read_text() == "from a"


def test_an_answer_that_comes_too_late_is_told_and_not_asked_for_again(folder: Path) -> None:  # noqa: ARG001
    terminal = Terminal("run", "--plan", "replace.yaml", "--thread", "t", "--review-seconds", "1")
    terminal.expect(PROMPT)
    time.sleep(1.1)
    terminal.type("a\n")
    assert terminal.end() == BAD_INPUT
    assert "It is too late to answer" in terminal.screen
    assert PROMPT not in terminal.screen
    terminal.close()


def test_response_takes_the_place_of_the_result(replacing: Terminal, folder: Path) -> None:
    replacing.type("s\n")
    replacing.expect("The result to take")
    replacing.type("done.md\n")
    assert replacing.end() == COMPLETE
    assert "saved = done.md" in replacing.screen
    assert (folder / "b.md").read_text() == "from b"


@pytest.mark.parametrize("typed", ["l\n", "\x03", "\x04"])
def test_question_left_for_later_is_asked_again_by_resume(replacing: Terminal, folder: Path, typed: str) -> None:
    replacing.type(typed)
    assert replacing.end() == WAITING
    assert "review t" in replacing.screen
    assert (folder / "b.md").read_text() == "from b"
    again = Terminal("resume", "t")
    again.expect(PROMPT)
    again.type("a\n")
    assert again.end() == COMPLETE
    again.close()
    assert (folder / "b.md").read_text() == "from a"


def test_in_a_narrow_terminal_only_what_is_said_of_a_step_is_shortened(folder: Path) -> None:
    (folder / "long.yaml").write_text(REPLACE.replace("name: save", "name: save-over-the-other"))
    terminal = Terminal("run", "--plan", "long.yaml", columns=60)
    terminal.expect("  read                 read_file   succeeded  0.0 s")
    terminal.expect("  save-over-the-other  write_file  asked      It may overwr…")
    terminal.expect(PROMPT)
    terminal.close()


def test_questions_are_asked_one_by_one(folder: Path) -> None:
    terminal = Terminal("run", "--plan", "both.yaml", "--thread", "t")
    terminal.expect("2 questions wait for you:")
    terminal.expect("1  step first call delete_file")
    terminal.expect("2  step second call delete_file")
    terminal.expect("Question 1 of 2: may step first call delete_file?")
    terminal.expect(PROMPT)
    terminal.type("l\n")
    terminal.expect("Question 2 of 2: may step second call delete_file?")
    terminal.expect(PROMPT)
    terminal.type("a\n")
    assert terminal.end() == WAITING
    terminal.close()
    assert (folder / "a.md").exists()


@pytest.mark.parametrize(
    "typed, code, paid",
    [(["\n"], WAITING, 1), (["l\n"], WAITING, 1), (["s\n", "r-1\n"], COMPLETE, 1), (["a\n"], WAITING, 2)],
)
def test_what_is_in_doubt_is_asked_of_as_such_and_silence_decides_nothing(
    folder: Path, typed: list[str], code: int, paid: int
) -> None:
    terminal = Terminal("run", "--plan", "pay.yaml", "--actions", "own:ACTIONS", "--thread", "t")
    terminal.expect("did step pay call pay?")
    terminal.expect("(Enter: later) > ")
    terminal.type("e\n")
    terminal.expect("'e' is no answer.")
    terminal.expect("(Enter: later) > ")
    terminal.type(typed[0])
    for more in typed[1:]:
        terminal.expect("The result to take")
        terminal.type(more)
    if paid == 2:
        terminal.expect("did step pay call pay?")
        terminal.expect("(Enter: later) > ")
        terminal.type("l\n")
    assert terminal.end() == code
    terminal.close()
    assert (folder / "paid").read_text() == "x" * paid
    assert ("--respond" in terminal.screen) == (code == WAITING)


@pytest.mark.parametrize("begun, offers", [(True, False), (False, True)])
def test_what_was_begun_is_offered_no_edit(
    begun: bool,  # noqa: FBT001
    offers: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prompts, typed = list[str](), iter(["e", "a"] if begun else ["a"])

    def read(prompt: str) -> str:
        prompts.append(prompt)
        return next(typed)

    monkeypatch.setattr("agentic_workflows.cli.questions._read", read)
    question = Question(id="q", step="s", action="pay", inputs={}, reason="It pays.", begun=begun)
    assert ask_all([question.to_json()], Output(as_json=False)) == [approve("q")]
    assert (["[e]dit" in one for one in prompts], next(typed, None)) == ([offers] * (1 + begun), None)


def test_what_was_typed_before_the_question_is_no_answer(folder: Path) -> None:
    terminal = Terminal("run", "--plan", "replace.yaml")
    terminal.type("a\na\na\n")
    terminal.expect(PROMPT)
    time.sleep(0.3)
    assert (folder / "b.md").read_text() == "from b"
    terminal.type("l\n")
    assert terminal.end() == WAITING
    terminal.close()


def test_ctrl_c_pauses_and_says_how_to_go_on(folder: Path) -> None:
    terminal = Terminal("run", "--plan", "slow.yaml", "--actions", "own:ACTIONS", "--thread", "t")
    terminal.expect("running")
    terminal.type("\x03")
    terminal.expect("Pausing")
    (folder / "go").touch()
    assert terminal.end() == WAITING
    terminal.close()
    assert "PAUSED" in terminal.screen
    assert "resume t" in terminal.screen


@pytest.mark.usefixtures("folder")
def test_a_terminal_that_is_closed_pauses() -> None:
    terminal = Terminal("run", "--plan", "slow.yaml", "--actions", "own:ACTIONS", "--thread", "t")
    terminal.expect("running")
    assert terminal.hang_up() == WAITING
    terminal.close()
    again = Terminal("resume", "t")
    assert again.end() == COMPLETE
    again.close()


def test_a_terminal_that_is_closed_leaves_the_question_open(replacing: Terminal, folder: Path) -> None:
    assert replacing.hang_up() == WAITING
    assert (folder / "b.md").read_text() == "from b"
    again = Terminal("resume", "t")
    again.expect(PROMPT)
    again.close()


def test_control_characters_of_others_are_shown_not_obeyed(folder: Path) -> None:
    (folder / "a.md").write_text("\x1b[2J\x1b]0;owned\x07\u202egnp.exe")
    terminal = Terminal("run", "--plan", "replace.yaml")
    terminal.expect(r"\u001b[2J\u001b]0;owned\u0007\u202egnp.exe")
    terminal.expect(PROMPT)
    terminal.type("l\n")
    assert terminal.end() == WAITING
    terminal.close()
