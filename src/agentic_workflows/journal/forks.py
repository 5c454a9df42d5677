"""SQLite files that a fork must not take along.

SQLite keeps in the memory of a process which locks it holds. A fork copies that memory and not the locks: a child whose
parent had the file open writes beside others, and loses what they wrote. The writer closes its own before a fork. What
is open for the length of a run, in a thread of its own, cannot be closed from outside: then the child is refused that
file for good.
"""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from agentic_workflows.errors import DatabaseError

_lock = Lock()
_open = Counter[Path]()
_inherited: set[Path] = set()


@contextmanager
def open_in_this_process(path: Path) -> Iterator[None]:
    """Have a child that is forked meanwhile know that the file was open.

    Raises:
        DatabaseError: it was open when this process was forked.

    """
    if _inherited and path.resolve() in _inherited:
        raise DatabaseError(
            f"The database {path} was in use by a run when this process was forked: SQLite would write into it without"
            " its locks. Fork while no run is under way, or start processes with `spawn`."
        )
    with _lock:
        _open[path] += 1
    try:
        yield
    finally:
        with _lock:
            _open[path] -= 1
            if not _open[path]:
                del _open[path]


def _inherit() -> None:
    global _lock  # noqa: PLW0603 - another thread may have held it
    _lock = Lock()
    _inherited.update(path.resolve() for path in _open)
    _open.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_inherit)
