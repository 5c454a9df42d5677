"""Connections to Postgres; needs the extra `postgres`.

A server may say nothing any more and keep its connections: it is frozen, its disk hangs, or its host is gone. Whoever
asked it would wait for ever. So a connection is closed once it was waited for in silence for long enough.
"""

from selectors import EVENT_WRITE, DefaultSelector
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.waiting import Wait

Row = TypeVar("Row")
BUSY_SECONDS: Final = 10
A_MOMENT: Final = 2
"""The least that psycopg waits for a connection."""
SILENT_SECONDS = 25.0
"""Longer than two statements wait for what others have locked, and not so long that a lease could expire meanwhile."""
LOOK_SECONDS = 0.1
"""Between two looks at whether the server has said something."""
OPTIONS: Final[dict[str, Any]] = {
    "autocommit": True,
    "client_encoding": "utf8",  # in another one, the server or psycopg would refuse texts that the database holds
    "connect_timeout": BUSY_SECONDS,
    "keepalives_idle": 10,  # where nobody waits for it, too: one that is dead is replaced before it is used
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,
}
SETTINGS: Final = """
SELECT set_config('default_transaction_isolation', 'read committed', false),
       CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END
"""
"""What a connection begins with, whatever the defaults are.

Who writes beside others waits for them, and none is refused; and what it says to be written outlives a crash.
"""


class WatchedConnection(psycopg.Connection[Row]):
    """A connection that is closed once it was waited for in silence."""

    is_patient = False
    """Whether it waits as long as it takes: tables that hold much are not changed in a moment."""
    was_silent = False
    """Whether that is why it was closed."""

    def wait(self, gen: PQGen[RV], interval: float = LOOK_SECONDS, *args: Any, **kwargs: Any) -> RV:
        """Wait for what the server says."""
        return super().wait(_watched(self, gen, interval), interval, *args, **kwargs)


class AsyncWatchedConnection(psycopg.AsyncConnection[Row]):
    """The same for an event loop."""

    is_patient = False
    was_silent = False

    async def wait(self, gen: PQGen[RV], interval: float = LOOK_SECONDS, *args: Any, **kwargs: Any) -> RV:
        """Wait for what the server says."""
        return await super().wait(_watched(self, gen, interval), interval, *args, **kwargs)


def _watched(
    connection: WatchedConnection[Any] | AsyncWatchedConnection[Any], gen: PQGen[RV], interval: float
) -> PQGen[RV]:
    """Go on with an exchange while the server takes part in it.

    Looks are counted, and no time is measured: in a process that was frozen, the answer may have been there for long.
    """
    in_vain, has_more = 0, False
    try:
        wanted = next(gen)
        while True:
            ready = yield Wait(wanted | Wait.W) if has_more else wanted
            has_room = bool(ready) or (has_more and _has_room(connection.pgconn.socket))
            in_vain = 0 if has_room else in_vain + 1
            if has_more == has_room:  # what was sent last psycopg sends on once only, and then waits for the answer
                has_more = bool(connection.pgconn.flush())
            if ready and not ready & wanted:
                continue
            if connection.is_patient or in_vain * interval < SILENT_SECONDS:
                wanted = gen.send(ready)
            else:
                connection.was_silent = True
                connection.pgconn.finish()
                wanted = gen.throw(psycopg.OperationalError(f"the server was silent for {SILENT_SECONDS:g} seconds"))
    except StopIteration as ended:
        result: RV = ended.value
        return result


def _has_room(socket: int) -> bool:
    """Tell whether the server has taken in a good part of what was sent; filled up before that, it never would tell."""
    with DefaultSelector() as selector:
        selector.register(socket, EVENT_WRITE)
        return bool(selector.select(0))
