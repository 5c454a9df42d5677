"""Acts: effects that this process is carrying out. One that was cut may go on, in a thread or by ignoring that."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from threading import Lock

_acts, _lock = Counter[str](), Lock()
_waiting: list[tuple[Collection[str], Callable[[], object]]] = []
"""Ids of runs, and what to call when the last act of these has ended."""


@contextmanager
def under_way(key: str) -> Iterator[None]:
    """Count what is done inside as an act, by its idempotency key; a call without one has no effect, and is none."""
    if not key:
        yield
        return
    with _lock:
        _acts[key] += 1
    try:
        yield
    finally:
        with _lock:
            _acts[key] -= 1
            if not _acts[key]:
                del _acts[key]
            due = [one for one in _waiting if not _goes_on(one[0])]
            _waiting[:] = [one for one in _waiting if one not in due]
        for _, then in due:
            then()


def is_under_way(key: str) -> bool:
    """Tell whether an act with this idempotency key goes on in this process."""
    return key in _acts


def when_ended(run_ids: Collection[str], then: Callable[[], object]) -> bool:
    """Have `then` called, in whatever thread, when the last act of these runs has ended; False where none goes on."""
    with _lock:
        if not _goes_on(run_ids):
            return False
        _waiting.append((run_ids, then))
        return True


def _goes_on(run_ids: Collection[str]) -> bool:
    return any(key.startswith(f"{run_id}:") for key in _acts for run_id in run_ids)


def _begin_anew() -> None:
    """Know of nothing in a process that was forked: no thread but the one that forked it goes on there."""
    global _lock  # noqa: PLW0603 - another thread may have held it
    _lock = Lock()
    _acts.clear()
    _waiting.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_begin_anew)
