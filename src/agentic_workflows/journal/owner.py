"""Who holds a lease: a process, told apart from an earlier one with the same number.

An owner is a text, `HOST:PID:START:PART`. START says in which container and when the process began, and PART tells its
holders apart. `~TIME` at the end is what the owner has inherited from those before it: what was begun before that time,
in seconds since the epoch, may still happen, because one of them may only be frozen.
"""

import os
import re
import socket
from collections import deque
from functools import lru_cache
from pathlib import Path
from typing import Final
from uuid import uuid4


def _space() -> str:
    """Name where this process's numbers count: since one start of the machine, in one container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        return f"{boot}.{Path('/proc/self/ns/pid').readlink().name.strip('pid:[]')}."
    except OSError:
        return ""


_INHERITED: Final = re.compile(r"~(\d+\.\d+)$")
SPACE: Final = _space()
"""Found out once, at import: a server refuses to wait for a file in its event loop."""

_gone: Final = deque[str](maxlen=1_000)
"""Owners of this process that hold nothing any more, whatever a database says; of the oldest, leases expire."""


def new_owner() -> str:
    """Return a name for one holder in this process: host, process, where and when it began, and a part of its own."""
    return f"{_process(os.getpid())}:{uuid4().hex[:8]}"


@lru_cache(maxsize=2)
def _process(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}:{SPACE}{_start_of(pid)}"


def give_up(owner: str) -> None:
    """Have this process take over at once what an owner of its own may hold, because nobody will give that back."""
    _gone.append(name_of(owner))


def is_dead(owner: str) -> bool:
    """Tell whether the owner is known not to run any more; of another host or container that is never known."""
    if name_of(owner) in _gone:
        return True
    host, pid, began, *_ = [*owner.rsplit(":", 3), "", ""]  # what names no process is no dead one
    if host != socket.gethostname() or not pid.isdigit() or not began.startswith(SPACE):
        return False
    if _start_of(int(pid)) not in (began.removeprefix(SPACE), ""):
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def heir(owner: str, earlier: str, now: float) -> str:
    """Return the name of an owner who takes over, with the time before which what `earlier` began may still happen.

    That time goes from one owner to the next: one that was only frozen may wake at any time, also in this process.
    """
    name, since = name_of(earlier), _since(earlier)
    if name and not is_dead(name):
        since = f"{now:.3f}"
    return f"{owner}~{since}" if since else owner


def nobody(owner: str) -> str:
    """Return the owner of a lease that was given back: no name, only what the last owner has inherited."""
    return owner.removeprefix(name_of(owner))


def is_owner(owner: str) -> bool:
    """Tell whether a text is an owner, or stands for one that has given the lease back."""
    name = name_of(owner)
    return not name or ":" in name.rsplit(":", 2)[0]


def unsure_until(owner: str) -> float:
    """Return the time that an owner has inherited: what was begun before it may still happen; 0 for none."""
    return float(_since(owner) or 0)


def name_of(owner: str) -> str:
    """Return the name of an owner, without what it has inherited."""
    since = _since(owner)
    return owner.removesuffix(f"~{since}") if since else owner


def _since(owner: str) -> str:
    found = _INHERITED.search(owner)
    return found[1] if found else ""


def _start_of(pid: int) -> str:
    """Return when a process started, in the kernel's ticks; empty where that is not told."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "ended" if fields[0] in "ZX" else fields[19]  # killed, and its parent has not looked yet
    except (OSError, IndexError):
        return ""
