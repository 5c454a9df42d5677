"""Ctrl-C, SIGTERM and SIGHUP, heard by a thread: an action that blocks the event loop keeps nobody from stopping it."""

import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Final

HANG_UP: Final = getattr(signal, "SIGHUP", None)
"""Of a terminal that is closed; Windows has none."""
_SIGNALS: Final = tuple(one for one in (signal.SIGINT, signal.SIGTERM, HANG_UP) if one is not None)


@contextmanager
def listening(tell: Callable[[int], None]) -> Iterator[None]:
    """Call something in a thread of its own, with the number, for each of the signals that comes meanwhile."""
    read, written = socket.socketpair()
    written.setblocking(False)
    before = {one: signal.signal(one, _pass) for one in _heeded()}
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


def _listen(read: socket.socket, tell: Callable[[int], None]) -> None:
    with read:
        while number := read.recv(1):
            if number[0] in _SIGNALS:
                tell(number[0])


def interrupt_from_now_on() -> None:
    """Let each of the signals do what Ctrl-C does where nothing runs."""
    for one in _heeded():
        signal.signal(one, _interrupt)


def _interrupt(number: int, _: object) -> None:
    if number == HANG_UP:  # the kernel and the shell each send one: the second would end what the first began
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _heeded() -> list[signal.Signals]:
    """Return the signals but those that whoever started this process had ignored, such as `nohup`."""
    return [one for one in _SIGNALS if signal.getsignal(one) is not signal.SIG_IGN]


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
