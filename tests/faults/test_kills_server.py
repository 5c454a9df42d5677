"""`langgraph dev` is killed with runs under way and started again: nothing twice, nothing lost.

One server is killed again and again, because each start costs seconds, and ten more pass until it keeps its state.
"""

import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient

HERE = Path(__file__).parent
CONFIGURATION = HERE.parents[1] / "langgraph.json"
CHECKPOINTS = ".agentic/agentic.db"
PATIENCE = 60.0
APPROVE = {"resume": {"decisions": [{"type": "approve"}]}}


class Server:
    """A development server on loopback, in a folder of its own, that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.kept = folder, folder / ".langgraph_api"
        self.effects = folder / "effects"
        self.effects.mkdir()
        for name in ("served.py", "worker.py"):
            shutil.copy(HERE / name, folder)
        graphs = {"effects": "./served.py:graph", "studio": "agentic_workflows.graph.studio:graph"}
        # All but the graphs is as it is for everybody.
        (folder / "langgraph.json").write_text(json.dumps({**json.loads(CONFIGURATION.read_text()), "graphs": graphs}))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> SyncLangGraphClient:
        """Start it, and wait until it answers."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        usual = {name: value for name, value in os.environ.items() if not name.startswith(("LANG", "OPENAI_", "OTEL_"))}
        environment = {**usual, "LANGGRAPH_CLI_NO_ANALYTICS": "1", "EFFECTS_FOLDER": str(self.effects)}
        command = [Path(sys.executable).with_name("langgraph"), "dev", "--no-browser", "--no-reload", "--port", port]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--n-jobs-per-worker", "8"],
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: answers(url))
        return get_sync_client(url=url, api_key=None)

    def kill(self) -> None:
        """Kill it with all that it started."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def wait_until_it_kept_its_state(self) -> None:
        """Wait until what is true now is in its folder, which takes it up to ten seconds."""
        now = time.time()
        operations = self.kept / ".langgraph_ops.pckl"
        wait_for(lambda: operations.exists() and operations.stat().st_mtime > now)

    def latest_checkpoint(self) -> str:
        """Return the name of the checkpoint that was written last; names grow with time."""
        with closing(sqlite3.connect(self.folder / CHECKPOINTS)) as connection:
            return str(connection.execute("SELECT max(checkpoint_id) FROM checkpoints").fetchone()[0])

    def lose_checkpoints_after(self, latest: str) -> None:
        """Take away the checkpoints that were written after another one."""
        with closing(sqlite3.connect(self.folder / CHECKPOINTS)) as connection:
            for table in ("checkpoints", "writes"):
                connection.execute(f"DELETE FROM {table} WHERE checkpoint_id > ?", [latest])
            connection.commit()

    def lines(self) -> Counter[str]:
        """Return how often each effect took place."""
        written = [self.effects / "lines", self.effects / "log.txt"]
        return Counter(line for path in written if path.exists() for line in path.read_text().splitlines())

    def count_of(self, table: str, database: str = "effects/effects.db") -> int:
        """Return how many rows the journal has."""
        with closing(sqlite3.connect(self.folder / database)) as connection:
            return int(connection.execute(f"SELECT count(*) FROM agentic_{table}").fetchone()[0])


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ok", timeout=1).is_success
    except httpx.TransportError:
        return False


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "It never came."
        time.sleep(0.02)


@pytest.fixture
def client(tmp_path: Path) -> Iterator["Client"]:
    server = Server(tmp_path)
    client = Client(server)
    yield client
    client.close()
    server.kill()


def step(name: str, action: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "action": action, "inputs": {"line": name}, **fields}


def chain(*steps: dict[str, Any]) -> dict[str, Any]:
    """Return a plan whose steps come one after the other."""
    names = [one["name"] for one in steps]
    return {"goal": "g", "steps": [{**one, "after": names[at - 1 : at]} for at, one in enumerate(steps)]}


def log(at: int, **fields: Any) -> dict[str, Any]:
    inputs = {"path": "log.txt", "text": f"log{at}\n"}
    return {"name": f"log{at}", "action": "append_file", "inputs": inputs, **fields}


PLANS = {
    "cut": chain(
        step("a0", "told"),
        step("go", "gate"),
        *(step(f"a{at}", "told" if at % 2 else "found") for at in range(1, 9)),
    ),
    "hung": chain(step("h0", "told"), step("h1", "hang"), step("h2", "told")),
    "asked": chain(step("s0", "told"), step("s1", "told", human_review_required=True), step("s2", "found")),
    "studio": chain(log(0), log(1, human_review_required=True), *(log(at) for at in range(2, 30))),
}
EVERYTHING = {one["name"]: 1 for plan in PLANS.values() for one in plan["steps"] if one["action"] != "gate"}


class Client:
    """Somebody at the server, with a thread for each plan."""

    def __init__(self, server: Server) -> None:
        self.server, self.threads = server, dict[str, str]()
        self._client = server.start()
        self.studio = str(
            self._client.assistants.create("studio", context={"workspace": str(server.effects)})["assistant_id"]
        )
        self.asked = 0

    def begin(self, name: str) -> None:
        """Begin a run, and do not wait for it."""
        self.threads[name] = str(self._client.threads.create()["thread_id"])
        self._create(name, input={"given_plan": PLANS[name]})

    def begin_again(self, name: str, plan: dict[str, Any]) -> None:
        """Begin another run on a thread."""
        self._create(name, input={"given_plan": plan})

    def roll_back(self, name: str, plan: dict[str, Any]) -> None:
        """Begin another run in place of one that is under way, as if that had not been."""
        self._create(name, input={"given_plan": plan}, multitask_strategy="rollback")

    def answer(self, name: str) -> None:
        """Approve what is asked, and do not wait for what becomes of it."""
        self._create(name, command=APPROVE)

    def restart(self) -> None:
        """Come back to the server after it was killed."""
        self.close()
        self._client = self.server.start()

    def close(self) -> None:
        """Close the connections."""
        self._client.http.client.close()

    def state(self, name: str) -> Any:
        """Return the state that the server shows of a thread."""
        return self._client.threads.get_state(self.threads[name])

    def is_at(self, name: str, status: str) -> bool:
        """Tell whether nothing runs on a thread and its run is in a state."""
        is_idle = self._client.threads.get(self.threads[name])["status"] != "busy"
        return is_idle and self.state(name)["values"].get("status") == status

    def end(self, name: str) -> None:
        """Let a run that was cut off go on until it is complete; say of effects in doubt what happened."""
        thread = self.threads[name]
        wait_for(lambda: self._client.threads.get(thread)["status"] != "busy")
        for _ in range(10):
            if self.is_at(name, "COMPLETE"):
                return
            interrupts = self.state(name)["interrupts"]
            questions = interrupts[0]["value"]["action_requests"] if interrupts else []
            resume = {"resume": {"decisions": self._decisions(questions)}}
            given: Any = {"command": resume} if questions else {"input": None}
            self._client.runs.wait(thread, self._graph_of(name), raise_error=False, **given)
        pytest.fail(f"{name} does not end: {self.state(name)}")

    def knows(self, name: str) -> bool:
        """Tell whether the server has a thread."""
        try:
            self._client.threads.get(self.threads[name])
        except httpx.HTTPStatusError:
            return False
        return True

    def _create(self, name: str, **given: Any) -> None:
        self._client.runs.create(self.threads[name], self._graph_of(name), **given)

    def _graph_of(self, name: str) -> str:
        return self.studio if name == "studio" else "effects"

    def _decisions(self, questions: list[Any]) -> list[dict[str, str]]:
        assert all(one["in_doubt"] for one in questions), "What was answered is asked again."
        self.asked += len(questions)
        happened = self.server.lines()
        return [
            {"type": "respond", "message": "x"} if happened[one["step"]] else {"type": "approve"} for one in questions
        ]


def test_a_killed_server_repeats_and_loses_nothing_whatever_it_remembers(
    client: Client, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    began, dice = time.monotonic(), random.Random(os.environ.get("KILL_SEED", "1"))  # noqa: S311
    server = client.server
    for name in PLANS:
        client.begin(name)
    wait_for(lambda: client.is_at("asked", "REVIEWING") and client.is_at("studio", "REVIEWING"))
    wait_for(lambda: {"a0", "h1"} <= server.lines().keys())
    server.wait_until_it_kept_its_state()
    shutil.copytree(server.kept, tmp_path / "earlier")
    earlier = server.latest_checkpoint()
    client.answer("asked")
    client.answer("studio")
    wait_for(lambda: server.count_of("answers") and server.count_of("answers", CHECKPOINTS))
    (server.effects / "go").touch()
    time.sleep(dice.uniform(0.2, 1))
    server.kill()
    seen = server.lines()
    assert set(seen.values()) == {1}
    assert seen.keys() < EVERYTHING.keys(), "It was killed too late."

    client.restart()
    for name in PLANS:
        client.end(name)
    assert server.lines() == EVERYTHING
    asked = client.asked
    server.kill()

    shutil.rmtree(server.kept)
    shutil.copytree(tmp_path / "earlier", server.kept)
    server.lose_checkpoints_after(earlier)
    client.restart()
    for name in PLANS:
        client.end(name)
    assert (server.lines(), client.asked) == (EVERYTHING, asked)
    server.kill()

    shutil.rmtree(server.kept)
    client.restart()
    time.sleep(1)
    assert [name for name in PLANS if client.knows(name)] == []
    assert server.lines() == EVERYTHING
    with capfd.disabled():
        twice, lost = (server.lines() - Counter(EVERYTHING)).total(), len(EVERYTHING.keys() - server.lines().keys())
        said = f"kills 3, runs {len(PLANS)}, twice {twice}, lost {lost}, questions {asked}"
        print(f"\nlanggraph dev: {said}; {time.monotonic() - began:.0f} s")  # noqa: T201


def test_what_a_server_rolls_back_stays_done_and_is_asked_about_where_it_is_in_doubt(client: Client) -> None:
    server, other = client.server, chain(step("o0", "told"))
    client.begin("hung")
    wait_for(lambda: "h1" in server.lines())
    client.roll_back("hung", other)
    wait_for(lambda: client.is_at("hung", "REVIEWING"))
    client.end("hung")
    assert (client.asked, server.lines()) == (1, {"h0": 1, "h1": 1, "h2": 1})
    client.begin_again("hung", other)
    wait_for(lambda: client.is_at("hung", "COMPLETE") and "o0" in server.lines())
    assert server.lines() == {"h0": 1, "h1": 1, "h2": 1, "o0": 1}
