"""Acts that go on in this process: one that was cut may do so, in a thread or by not letting itself be cut."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_acts, _lock = Counter[str](), Lock()


@contextmanager
def under_way(key: str) -> Iterator[None]:
    """Have the act with this idempotency key be known as going on; what has none is no effect."""
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


def is_under_way(key: str) -> bool:
    """Tell whether an act with this idempotency key goes on in this process."""
    return key in _acts
