"""SQLite files that this process has open: the same file for all who open it, and none that a fork takes along.

A run has a file open for its whole length, and the writer only while it writes. When that opens the file again, it may
be another one of that name, and the run would go on in both.

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
from typing import Final, TypeAlias

from agentic_workflows.errors import DatabaseError

Identity: TypeAlias = tuple[int, int]
NO_FILE: Final = (0, 0)

_lock = Lock()
_open = Counter[Path]()
_files: dict[Path, Identity] = {}
"""Which file each of these is."""
_inherited: set[Path] = set()


def identity_of(name: str) -> Identity:
    """Return what tells a file from another one of the same name; zeros where there is none."""
    try:
        found = os.stat(name)  # noqa: PTH116 - half as long as Path.stat, and asked for at every commit
    except OSError:
        return NO_FILE
    return (found.st_dev, found.st_ino)


def uri_of(path: Path) -> str:
    """Return the URI that opens a file only where it is there: one that was taken away is not begun anew."""
    return f"{path.absolute().as_uri()}?mode=rw"


def replaced(path: Path) -> DatabaseError:
    """Return the error of a file that is not the one that was opened: SQLite goes on writing into a deleted one."""
    return DatabaseError(f"The database {path}, or its -wal, was moved, deleted or replaced while in use.")


@contextmanager
def open_in_this_process(path: Path) -> Iterator[None]:
    """Have others who open the file get the same one, and a child that is forked meanwhile know of it.

    Raises:
        DatabaseError: another one of its name is open, or it was open when this process was forked.

    """
    if _inherited and path.resolve() in _inherited:
        raise DatabaseError(
            f"The database {path} was in use by a run when this process was forked: SQLite would write into it without"
            " its locks. Fork while no run is under way, or start processes with `spawn`."
        )
    with _lock:
        found = identity_of(str(path))
        if _files.get(path, NO_FILE) not in (NO_FILE, found):
            raise replaced(path)
        _files[path] = found
        _open[path] += 1
    try:
        yield
    finally:
        with _lock:
            _open[path] -= 1
            if not _open[path]:
                del _open[path], _files[path]


def _inherit() -> None:
    global _lock  # noqa: PLW0603 - another thread may have held it
    _lock = Lock()
    _inherited.update(path.resolve() for path in _open)
    _open.clear()
    _files.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_inherit)
