"""A run is killed at random instants and continued until it ends: nothing twice, nothing lost.

`KILLS=5000 KILL_SEED=7 pytest tests/faults/test_kills.py -k random` kills more often, at other instants.
"""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

USUAL_KILLS = {"sqlite": 200, "postgres": 100}
KINDS = ["found", "told", "found", "put"]
KEYED = {f"{chain}{at}" for chain, most in (("c", 12), ("b", 14)) for at in range(most) if KINDS[at % 4] == "put"}
LINES = {f"{chain}{at}" for chain, most in (("c", 12), ("b", 14)) for at in range(most)} - KEYED
LINES |= {"j0", "j1", "e-x", "e-y", "e-z", "e-ä"}


def figures(stage: Any) -> Counter[str]:
    """Return what went wrong in a finished run, and what was asked."""
    noted = {**stage.noted("lines"), **stage.keyed()}
    asked = stage.noted("questions")
    return Counter(
        twice=sum(count - 1 for count in noted.values()),
        lost=len((LINES | KEYED) - noted.keys()),
        questions=asked.total(),
        needless=sum(count for line, count in asked.items() if not line.startswith("told ")),
        planned=stage.noted("plans").total(),
    )


def told(stage: Any) -> str:
    """Return what there is to know of a run that went wrong."""
    noted = {**stage.noted("lines"), **stage.keyed()}
    missing, several = (LINES | KEYED) - noted.keys(), {line for line, count in noted.items() if count > 1}
    return f"missing {sorted(missing)}, more than once {sorted(several)}, {stage.folder}, {stage.database}"


def killed_until_it_ends(
    stage: Any, dice: random.Random, span: float, by: int = signal.SIGKILL, scene: str = "finish"
) -> tuple[dict[str, Any], int]:
    """Start the run again and again, and kill it each time after a while; returns its end and the number of kills."""
    kills = 0
    for _ in range(300):
        pid = stage.start(scene, seed=dice.random())
        if stage.server.wait(pid, dice.uniform(0, span)) is None:
            os.kill(pid, by)
            assert stage.server.wait(pid) is not None, "It did not end."
            kills += 1
        if stage.report().get("state"):
            return stage.report(), kills
    pytest.fail("The run did not end within 300 starts.")


def test_killed_at_random_instants_nothing_happens_twice_and_nothing_is_lost(
    new_stage: Callable[[], Any], request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]
) -> None:
    kind = request.node.callspec.params["new_database"]
    most = int(os.environ.get("KILLS", USUAL_KILLS[kind]))
    seed = os.environ.get("KILL_SEED", "1")
    dice = random.Random(f"{kind} {seed}")  # noqa: S311
    new_stage().play("finish")  # the first one waits for the fork server
    began = time.monotonic()
    assert new_stage().play("finish")["state"] == "COMPLETE"
    span = (time.monotonic() - began) * 0.8
    total: Counter[str] = Counter()
    while total["kills"] < most:
        stage = new_stage()
        report, kills = killed_until_it_ends(stage, dice, span)
        assert (report.get("state"), report.get("iterations")) == ("COMPLETE", 31), (report, f"seed {seed}")
        total += figures(stage) + Counter(kills=kills, runs=1)
        assert (total["twice"], total["lost"], total["needless"]) == (0, 0, 0), (
            f"seed {seed} {dict(total)} {told(stage)}"
        )
    with capfd.disabled():
        said = ", ".join(
            f"{name} {total[name]}" for name in ("kills", "runs", "twice", "lost", "questions", "needless")
        )
        print(f"\n{kind}, seed {seed}: {said}; {time.monotonic() - began:.0f} s")  # noqa: T201


@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
def test_a_run_that_is_killed_again_and_again_uses_up_its_time(new_stage: Callable[[], Any]) -> None:
    stage = new_stage()
    for dies_at in ("c2", "c3"):  # after two steps, after the third
        assert stage.play("timed", dies_at=dies_at) == {}
    assert stage.play("timed") == {"state": "FAILED", "reason": "max_seconds=1 is exhausted; what ran was cut."}
    assert list(stage.noted("lines")) == ["c0", "c1", "c2"]


@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
def test_killed_in_two_branches_no_output_is_handed_to_the_wrong_step(
    new_stage: Callable[[], Any], capfd: pytest.CaptureFixture[str]
) -> None:
    names = [f"{side}{at}" for at in range(6) for side in "ab"]
    expected = {f"{name} <- {name[0]}{int(name[1]) - 1}" for name in names if name[1] != "0"}
    expected |= {"a0 <- -", "b0 <- -", "j <- a5 b5"}
    dice, total, began = random.Random(os.environ.get("KILL_SEED", "1")), Counter[str](), time.monotonic()  # noqa: S311
    while total["kills"] < int(os.environ.get("KILLS", "200")):
        stage = new_stage()
        report, kills = killed_until_it_ends(stage, dice, 0.25, scene="branches")
        given, noted = stage.noted("given"), {**stage.noted("lines"), **stage.keyed()}
        outputs = report.get("outputs") or {}
        total += Counter(kills=kills, runs=1, wrong=len(given.keys() - expected))
        total["wrong"] += sum(outputs.get(name) != name for name in [*names, "j"])
        assert (report["state"], total["wrong"], given.keys()) == ("COMPLETE", 0, expected), (report, given)
        assert set(noted.values()) == {1}
    with capfd.disabled():
        told = f"kills {total['kills']}, runs {total['runs']}, outputs handed to the wrong step {total['wrong']}"
        print(f"\ntwo branches, sqlite: {told}; {time.monotonic() - began:.0f} s")  # noqa: T201


@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("at", range(4))
def test_a_run_inside_a_graph_that_was_killed_before_it_kept_its_checkpoint_has_done_nothing(
    new_stage: Callable[[], Any], at: int
) -> None:
    stage = new_stage()
    assert stage.play("inside", dies_after=str(at), asks=True) == {}
    report = stage.play("inside", asks=True)
    assert (report["state"], len(report["asked"])) == (None, 1)
    assert f"Step {at} calls told. It was begun at" in report["asked"][0]
    assert stage.noted("lines") == Counter(map(str, range(at + 1)))


FOURS = {"action": "abxy", "planner": "p", "review": "r"}
"""The runs inside, by who calls them."""


@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("annotation", ["idempotent", "read_only"])
@pytest.mark.parametrize(
    "by, name", [("action", "a"), ("action", "b"), ("action", "y"), ("planner", "p"), ("review", "r")]
)
def test_a_run_inside_a_run_of_ours_that_was_killed_goes_on(
    new_stage: Callable[[], Any], by: str, name: str, annotation: str
) -> None:
    stage = new_stage()
    for at in (1, 2):
        assert stage.play("delegating", by=by, dies_after=f"{name}{at}", annotation=annotation) == {}
    report = stage.play("delegating", by=by, annotation=annotation)
    assert (report["state"], len(report["runs"])) == ("COMPLETE", 1 + len(FOURS[by]))
    assert stage.noted("lines") == Counter(f"{one}{at}" for one in FOURS[by] for at in range(4))


@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("by", ["action", "planner"])
def test_a_run_inside_a_run_of_ours_that_is_in_doubt_is_not_done_again(new_stage: Callable[[], Any], by: str) -> None:
    stage = new_stage()
    name = FOURS[by][0]
    assert stage.play("delegating", by=by, dies_after=f"{name}2", asks=True) == {}
    report = stage.play("delegating", by=by, asks=True)
    said = report["reason"] or report["reviews"][0]["reason"]
    assert (report["state"], "waits for a person" in said) == ("REVIEWING" if by == "action" else "FAILED", True)
    assert set(stage.noted("lines").values()) == {1}


def test_a_run_that_nobody_kills_has_every_effect_once_and_asks_nothing(stage: Any) -> None:
    assert stage.play("finish")["state"] == "COMPLETE"
    expected = {"twice": 0, "lost": 0, "questions": 0, "needless": 0, "planned": 1}
    assert figures(stage) == expected
    assert stage.play("finish")["state"] == "COMPLETE"
    assert figures(stage) == expected


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_at_random_instants_the_run_goes_on_where_it_was(new_stage: Callable[[], Any], by: int) -> None:
    dice, total = random.Random(by), Counter[str]()  # noqa: S311
    while total["kills"] < 15:
        stage = new_stage()
        report, kills = killed_until_it_ends(stage, dice, 0.4, by)
        assert report.get("state") == "COMPLETE", report
        total += figures(stage) + Counter(kills=kills)
        assert (total["twice"], total["lost"], total["needless"]) == (0, 0, 0), dict(total)


def test_of_two_processes_that_begin_one_thread_at_once_one_runs(new_stage: Callable[[], Any]) -> None:
    for _ in range(8):
        stage = new_stage()
        pids = [stage.start("finish", name) for name in ("one", "two")]
        reports = [stage.ended(pid, name) for pid, name in zip(pids, ("one", "two"), strict=True)]
        assert "COMPLETE" in [report.get("state") for report in reports], reports
        errors = {report["error"] for report in reports if "error" in report}
        assert errors <= {"RunBusyError", "RunError"}, reports
        assert (figures(stage)["twice"], figures(stage)["lost"]) == (0, 0)


# Reviews.


def test_a_kill_while_a_person_is_asked_changes_nothing(stage: Any) -> None:
    asked = stage.play("ask")
    assert (asked["state"], len(asked["reviews"])) == ("REVIEWING", 1)
    for _ in range(3):  # looked at and killed, at any instant
        pid = stage.start("approve_it", at=time.time() + 60)
        time.sleep(0.1)
        stage.kill(pid)
    assert stage.play("approve_it")["state"] == "COMPLETE"
    assert (stage.noted("lines"), stage.noted("plans").total()) == ({"before": 1, "sent": 1, "after": 1}, 1)


def test_an_answer_counts_although_its_process_was_killed_right_after_it(stage: Any) -> None:
    asked = stage.play("ask")
    pid = stage.start("die_after_answer", id=asked["reviews"][0]["id"])
    assert stage.server.wait(pid) == -signal.SIGKILL
    second = stage.play("approve_it", id=asked["reviews"][0]["id"])
    assert second["error"] == "ReviewError"
    assert stage.play("finish_reviewed")["state"] == "COMPLETE"
    assert stage.noted("lines") == {"before": 1, "sent": 1, "after": 1}


def test_of_two_processes_that_resume_with_one_approval_one_runs_and_the_other_is_told(
    new_stage: Callable[[], Any], request: pytest.FixtureRequest
) -> None:
    races = 30 if request.node.callspec.params["new_database"] == "sqlite" else 20
    lost: Counter[str] = Counter()
    for _ in range(races):
        stage = new_stage()
        stage.play("ask")
        at = time.time() + 0.25
        pids = [stage.start("approve_it", name, at=at) for name in ("one", "two")]
        reports = [stage.ended(pid, name) for pid, name in zip(pids, ("one", "two"), strict=True)]
        assert stage.noted("lines") == {"before": 1, "sent": 1, "after": 1}, reports
        states = [report["state"] for report in reports if "state" in report]
        assert states == ["COMPLETE"], reports
        lost.update(report["error"] for report in reports if "error" in report)
    assert lost.total() == races
    assert lost.keys() <= {"RunBusyError", "ReviewError", "RunError"}


# Frozen.


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "It never came."
        time.sleep(0.01)


@pytest.mark.parametrize("ahead", [0, -3_600], ids=["a right clock", "a clock that is behind"])
def test_a_process_frozen_beyond_its_lease_writes_nothing_any_more(stage: Any, ahead: float) -> None:
    frozen = stage.start("slow", "frozen", lease=1, ahead=ahead)
    wait_for(lambda: stage.noted("begun"))
    os.kill(frozen, signal.SIGSTOP)
    time.sleep(1.5)
    assert stage.play("slow", lease=1, resume=True, ahead=ahead)["state"] == "REVIEWING"
    assert (stage.noted("begun").total(), stage.noted("lines")) == (1, {"a": 1})
    (stage.folder / "go").touch()
    os.kill(frozen, signal.SIGCONT)
    report = stage.ended(frozen, "frozen")
    assert report["error"] == "LeaseLostError", report
    # The act that was under way cannot be called back: it alone happens after the freeze; nothing after it does.
    assert stage.noted("lines") == {"a": 1, "b": 1}
    assert stage.play("slow", resume=True, respond="b", ahead=ahead)["state"] == "COMPLETE"
    assert stage.noted("lines") == {"a": 1, "b": 1, "c": 1}
    assert stage.play("slow", resume=True, ahead=ahead)["error"] == "RunError"


def test_a_frozen_process_keeps_its_lease_until_it_runs_out(stage: Any) -> None:
    frozen = stage.start("slow", "frozen", lease=30)
    wait_for(lambda: stage.noted("begun"))
    os.kill(frozen, signal.SIGSTOP)
    assert stage.play("slow", resume=True)["error"] == "RunBusyError"
    os.kill(frozen, signal.SIGCONT)
    (stage.folder / "go").touch()
    assert stage.ended(frozen, "frozen")["state"] == "COMPLETE"
    assert stage.noted("lines") == {"a": 1, "b": 1, "c": 1}


def test_of_two_processes_whose_clocks_differ_one_writes(stage: Any) -> None:
    first = stage.start("slow", "first")
    wait_for(lambda: stage.noted("begun"))
    assert stage.play("slow", resume=True, ahead=-3_600)["error"] == "RunBusyError"
    assert stage.play("slow", resume=True, ahead=3_600)["state"] == "REVIEWING"
    (stage.folder / "go").touch()
    assert stage.ended(first, "first")["error"] == "LeaseLostError"
    # As with a frozen process: the act that was under way cannot be called back, and nothing after it happens.
    assert stage.noted("lines") == {"a": 1, "b": 1}


# The database.


def test_a_postgres_that_crashes_in_the_middle_is_one_clear_error_and_the_run_goes_on_later(
    postgres_stage: Any, mortal_postgres: Any
) -> None:
    errors = Counter()
    for _ in range(5):
        pid = postgres_stage.start("finish", seconds=0.02, patience=3)
        done = postgres_stage.noted("lines").total() + 1
        wait_for(lambda least=done: postgres_stage.noted("lines").total() >= least)
        mortal_postgres.crash()
        report = postgres_stage.ended(pid)
        mortal_postgres.start()
        errors[report.get("error", report.get("state"))] += 1
        assert report.get("error") == "DatabaseError" or report.get("state") == "COMPLETE", report
    assert errors["DatabaseError"] >= 2
    assert postgres_stage.play("finish")["state"] == "COMPLETE"
    assert figures(postgres_stage)["twice"] == 0
    assert figures(postgres_stage)["lost"] == 0
    assert figures(postgres_stage)["needless"] == 0


def test_a_run_goes_on_where_its_postgres_is_away_for_some_seconds(postgres_stage: Any, mortal_postgres: Any) -> None:
    running = postgres_stage.start("slow")
    wait_for(lambda: postgres_stage.noted("begun"))
    mortal_postgres.crash()
    (postgres_stage.folder / "go").touch()
    time.sleep(1)
    mortal_postgres.start()
    assert postgres_stage.ended(running)["state"] == "COMPLETE"
    assert postgres_stage.noted("lines") == {"a": 1, "b": 1, "c": 1}


@pytest.mark.parametrize("more", [0, 60_000, 100_000, 200_000])
def test_a_full_disk_is_one_clear_error_and_the_run_goes_on_when_there_is_space(sqlite_stage: Any, more: int) -> None:
    report = sqlite_stage.play("full", bytes=40_000 + more)
    if report.get("state") != "COMPLETE":
        assert report["error"] == "DatabaseError", report
        assert "cannot be used" in report["message"]
    assert sqlite_stage.play("finish")["state"] == "COMPLETE"
    assert {key: figures(sqlite_stage)[key] for key in ("twice", "lost", "needless")} == {
        "twice": 0, "lost": 0, "needless": 0,
    }  # fmt: skip


def test_a_device_without_space_is_one_clear_error_and_the_run_goes_on_when_there_is_some(
    sqlite_stage: Any, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False, timeout=10).returncode:
        pytest.skip("may not mount a small disk here")
    try:
        sqlite_stage.database = str(disk / "runs.db")
        report = sqlite_stage.play("finish")
        assert report.get("error") == "DatabaseError", report
        grow = ["mount", "-o", "remount,size=20m", str(disk)]
        subprocess.run(grow, check=True, timeout=10)
        assert sqlite_stage.play("finish")["state"] == "COMPLETE"
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True, timeout=10)
    assert {key: figures(sqlite_stage)[key] for key in ("twice", "lost", "needless")} == {
        "twice": 0, "lost": 0, "needless": 0,
    }  # fmt: skip
