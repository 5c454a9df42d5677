"""Ctrl-C and SIGTERM, heard by a thread: an action that blocks the event loop keeps nobody from stopping it."""

import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def heard(tell: Callable[[], None]) -> Iterator[None]:
    """Call something in a thread of its own for each Ctrl-C and SIGTERM that comes meanwhile."""
    read, written = socket.socketpair()
    written.setblocking(False)
    before = {one: signal.signal(one, _pass) for one in _SIGNALS}
    # Written by the C part of the interpreter: what blocks the main thread keeps it from calling a Python function.
    wakeup = signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
    Thread(target=_listen, args=(read, tell), name="agentic-signals", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        for one, usual in before.items():
            signal.signal(one, usual or signal.SIG_DFL)
        written.close()


def _listen(read: socket.socket, tell: Callable[[], None]) -> None:
    with read:
        while number := read.recv(1):
            if number[0] in _SIGNALS:
                tell()


def _pass(*_: object) -> None:
    """Do nothing: the thread hears of it."""


def wait_for_line() -> None:
    """Wait until a line was typed or a signal came: one that comes right before a read is not heard of inside it."""
    read, written = socket.socketpair()
    written.setblocking(False)
    with read, written:
        wakeup = signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
        try:
            select.select([sys.stdin, read], [], [])
        finally:
            signal.set_wakeup_fd(wakeup)
