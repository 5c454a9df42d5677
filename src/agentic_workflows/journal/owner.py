"""Who holds a lease: a process, told apart from an earlier one with the same number.

An owner is a text, `HOST:PID:START:PART`. START says in which container and when the process began, and PART tells its
holders apart. `~TOKEN` at the end is what the owner has inherited from those before it: what was begun under that token
of the lease, or under an earlier one, may still happen, because who began it may only be frozen.
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


_INHERITED: Final = re.compile(r"~(\d+)(\.\d+)?$")
"""Older versions wrote a time there, which is greater than any token: of all that they began, nothing is known."""
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


def heir(owner: str, earlier: str, token: int) -> str:
    """Return the name of an owner who takes over from an earlier one, whose token that was.

    With it goes from one owner to the next what may still happen: one that was only frozen may wake at any time, also
    in this process. No time tells that, for a clock may be set back.
    """
    name, inherited = name_of(earlier), nobody(earlier)
    if (name and not is_dead(name)) or "." in inherited:  # no time stays, or it would hold for every token to come
        inherited = f"~{token}"
    return f"{owner}{inherited}"


def nobody(owner: str) -> str:
    """Return the owner of a lease that was given back: no name, only what the last owner has inherited."""
    return owner[len(name_of(owner)) :]


def is_owner(owner: str) -> bool:
    """Tell whether a text is an owner, or stands for one that has given the lease back."""
    name = name_of(owner)
    return not name or ":" in name.rsplit(":", 2)[0]


def unsure_token(owner: str) -> int | None:
    """Return the token that an owner has inherited: what was begun under it or before may still happen."""
    found = _INHERITED.search(owner)
    return int(found[1]) if found else None


def name_of(owner: str) -> str:
    """Return the name of an owner, without what it has inherited."""
    return _INHERITED.sub("", owner)


def _start_of(pid: int) -> str:
    """Return when a process started, in the kernel's ticks; empty where that is not told."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "ended" if fields[0] in "ZX" else fields[19]  # killed, and its parent has not looked yet
    except (OSError, IndexError):
        return ""
