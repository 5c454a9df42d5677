"""The command `agentic`, killed at random instants and continued as a person would: nothing twice, nothing lost.

`COMMAND_KILLS=500 KILL_SEED=7 pytest tests/faults/test_kills_command.py -k random` kills more often, at other instants.
"""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
USUAL_KILLS = {"sqlite": 12, "postgres": 5}
PATIENCE = 60.0
COMPLETE, WAITING, INTERRUPTED = 0, 3, 130
KINDS = ["found", "told", "put", "told"]
KEYED = {f"c{at}" for at in range(8) if KINDS[at % 4] == "put"}
LINES = {f"c{at}" for at in range(8)} | {"b0", "b1", "j", "e-x", "e-ä"}


def step(name: str, action: str, needs: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "action": action, "inputs": {"line": name, "needs": needs}, **fields}


def plan() -> dict[str, Any]:
    """Return a chain of 8 effects, two branches that join, a list and its `foreach`."""
    chain = [
        step(f"c{at}", KINDS[at % 4], f"${{c{at - 1}_out}}" if at else "-", outputs=[f"c{at}_out"]) for at in range(8)
    ]
    branches = [
        step("b0", "told", "${c1_out}", outputs=["b0_out"]),
        step("b1", "found", "${c2_out}", outputs=["b1_out"]),
    ]
    names = {"name": "names", "action": "look", "inputs": {"value": ["x", "ä"]}, "outputs": ["names"]}
    each = {"name": "each", "action": "found", "foreach": "${names}", "inputs": {"line": "e-${item}", "needs": "-"}}
    return {"goal": "g", "steps": [*chain, *branches, names, each, step("j", "told", "${b0_out}${b1_out}")]}


class Shell:
    """A person at a shell who wants one run to end, whatever becomes of its processes."""

    def __init__(self, stage: Any, plan: dict[str, Any], dice: random.Random | None = None) -> None:
        self.stage, self._dice = stage, dice or random.Random(1)  # noqa: S311
        self.kills = 0
        (stage.folder / "plan.json").write_text(json.dumps(plan))
        self._environment = {**os.environ, "EFFECTS_FOLDER": str(stage.folder)}

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start the command."""
        command = [sys.executable, "-m", "agentic_workflows", *arguments, "--database", self.stage.database]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=HERE, env=self._environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
        )

    def begin(self) -> "subprocess.Popen[str]":
        """Start the run."""
        options = ["--actions", "effects:ACTIONS", "--workspace", str(self.stage.folder), "--thread", "t", "--json"]
        return self.start("run", "--plan", str(self.stage.folder / "plan.json"), *options)

    def call(self, *arguments: str) -> tuple[int, Any]:
        """Run the command to its end; returns its exit code and its document."""
        return ended(self.start(*arguments, "--json"))

    def killed_until_it_ends(self, span: float, *, most: int) -> None:
        """Begin the run and continue it again and again, killed up to so many times, until it is COMPLETE."""
        process = self.begin()
        for _ in range(80):
            if self.kills < most and self._is_killed(process, span):
                process = self.start("resume", "t", "--json")
                continue
            code, result = ended(process)
            if code == COMPLETE or "is COMPLETE" in message_of(result):  # it may be killed after its end
                return
            process = self._next(result)
        pytest.fail("The run did not end within 80 starts.")

    def awake(self, process: "subprocess.Popen[str]") -> None:
        """Wait until the process is about to open the run."""
        wait_for(lambda: process.poll() is not None or self.stage.noted("awake")[str(process.pid)])

    def answers(self, question: Any) -> list[str]:
        """Say what happened, as a person would who looks: done, or to be done."""
        line = str(question["args"]["line"])
        with (self.stage.folder / "questions").open("a") as file:
            file.write(f"{question['name']} {question['step']}\n")
        if question["in_doubt"] and self.stage.noted("lines")[line]:
            return ["--respond", question["id"], "--message", line]
        return ["--approve", question["id"]]

    def _next(self, result: Any) -> "subprocess.Popen[str]":
        """Start what a person would type next."""
        if "There is no run" in message_of(result):  # it was killed before it had begun
            return self.begin()
        assert result["state"] == "REVIEWING", result
        return self.start("review", "t", *self.answers(result["reviews"][0]), "--json")

    def _is_killed(self, process: "subprocess.Popen[str]", span: float) -> bool:
        self.awake(process)
        try:
            process.wait(self._dice.uniform(0, span))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate(timeout=PATIENCE)
            self.kills += 1
            return True
        return False


def ended(process: "subprocess.Popen[str]") -> tuple[int, Any]:
    """Return how a process ended: its exit code and its document."""
    out, err = process.communicate(timeout=PATIENCE)
    assert out, err
    return process.returncode, json.loads(out)


def message_of(result: Any) -> str:
    return str(result.get("error", {}).get("message", ""))


def figures(stage: Any) -> Counter[str]:
    """Return what went wrong in a finished run, and what was asked."""
    noted = {**stage.noted("lines"), **stage.keyed()}
    asked = stage.noted("questions")
    return Counter(
        twice=sum(count - 1 for count in noted.values()),
        lost=len((LINES | KEYED) - noted.keys()),
        questions=asked.total(),
        needless=sum(count for line, count in asked.items() if not line.startswith("told ")),
    )


def test_the_command_killed_at_random_instants_does_nothing_twice_and_loses_nothing(
    new_stage: Callable[[], Any], request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]
) -> None:
    kind = request.node.callspec.params["new_database"]
    most = int(os.environ.get("COMMAND_KILLS", USUAL_KILLS[kind]))
    seed = os.environ.get("KILL_SEED", "1")
    dice = random.Random(f"command {kind} {seed}")  # noqa: S311
    began, total = time.monotonic(), Counter[str]()
    while total["kills"] < most:
        shell = Shell(new_stage(), plan(), dice)
        shell.killed_until_it_ends(2.0, most=most - total["kills"])
        total += figures(shell.stage) + Counter(kills=shell.kills, runs=1)
        assert (total["twice"], total["lost"], total["needless"]) == (0, 0, 0), (f"seed {seed}", total)
    with capfd.disabled():
        names = ("kills", "runs", "twice", "lost", "questions", "needless")
        said = ", ".join(f"{name} {total[name]}" for name in names)
        print(f"\ncommand, {kind}, seed {seed}: {said}; {time.monotonic() - began:.0f} s")  # noqa: T201


HELD: dict[str, Any] = {
    "goal": "g",
    "steps": [step("a", "told", "-"), step("b", "held", "-", after=["a"]), step("c", "told", "-", after=["b"])],
}
ONCE = {"a": 1, "b": 1, "c": 1}


def test_ctrl_c_lets_the_effect_under_way_end_and_resume_goes_on_after_it(sqlite_stage: Any) -> None:
    shell = Shell(sqlite_stage, HELD)
    process = shell.begin()
    wait_for(lambda: sqlite_stage.noted("lines")["b"])
    process.send_signal(signal.SIGINT)
    wait_until_it_pauses(process)
    (sqlite_stage.folder / "go").touch()
    code, paused = ended(process)
    assert (code, paused["state"], sqlite_stage.noted("lines")) == (WAITING, "PAUSED", {"a": 1, "b": 1})
    assert (shell.call("resume", "t")[0], sqlite_stage.noted("lines")) == (COMPLETE, ONCE)


def test_a_second_sigterm_leaves_the_effect_under_way_in_doubt_and_it_is_asked_about(sqlite_stage: Any) -> None:
    shell = Shell(sqlite_stage, HELD)
    process = shell.begin()
    wait_for(lambda: sqlite_stage.noted("lines")["b"])
    process.send_signal(signal.SIGTERM)
    wait_until_it_pauses(process)
    process.send_signal(signal.SIGTERM)
    code, stopped = ended(process)
    assert (code, "stopped at once" in message_of(stopped)) == (INTERRUPTED, True)
    code, asked = shell.call("resume", "t")
    assert (code, [(one["step"], bool(one["in_doubt"])) for one in asked["reviews"]]) == (WAITING, [("b", True)])
    assert shell.call("review", "t", *shell.answers(asked["reviews"][0]))[0] == COMPLETE
    assert sqlite_stage.noted("lines") == ONCE


def test_killed_after_an_answer_the_run_goes_on_with_resume_and_asks_only_what_is_in_doubt(sqlite_stage: Any) -> None:
    reviewed = {**HELD, "steps": [{**HELD["steps"][0], "human_review_required": True}, *HELD["steps"][1:]]}
    shell = Shell(sqlite_stage, reviewed)
    code, asked = ended(shell.begin())
    assert (code, asked["state"]) == (WAITING, "REVIEWING")
    process = shell.start("review", "t", "--approve", "all")
    wait_for(lambda: sqlite_stage.noted("lines")["b"])
    process.kill()
    process.communicate()
    code, asked = shell.call("resume", "t")
    assert (code, [(one["step"], bool(one["in_doubt"])) for one in asked["reviews"]]) == (WAITING, [("b", True)])
    assert shell.call("review", "t", *shell.answers(asked["reviews"][0]))[0] == COMPLETE
    assert sqlite_stage.noted("lines") == ONCE


def test_ctrl_c_twice_stops_at_once_also_where_another_program_holds_the_database(sqlite_stage: Any) -> None:
    shell = Shell(sqlite_stage, HELD)
    process = shell.begin()
    wait_for(lambda: sqlite_stage.noted("lines")["b"])
    with closing(sqlite3.connect(sqlite_stage.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        process.send_signal(signal.SIGINT)
        wait_until_it_pauses(process)
        for _ in range(2):  # the second lets what runs clean up, which may need the database; the third does not
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        assert process.wait(5) == INTERRUPTED
    process.communicate()
    code, asked = shell.call("resume", "t")
    assert (code, [(one["step"], bool(one["in_doubt"])) for one in asked["reviews"]]) == (WAITING, [("b", True)])


def wait_until_it_pauses(process: "subprocess.Popen[str]") -> None:
    assert process.stderr
    assert any("Pausing" in line for line in process.stderr), "It ended."


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "It never came."
        time.sleep(0.02)
