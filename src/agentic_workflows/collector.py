"""The garbage collector, and where it only costs time."""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_off() -> Iterator[None]:
    """Switch the collector off for the code inside, as where a long run is read back.

    For code that makes many objects, drops few and awaits nothing: the collector would look at all of them over and
    over. There is one collector in a process, so only its main thread does it: of two, one could take what the other
    has switched off for the wish of somebody else, and leave it so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    is_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_on:
            gc.enable()


@contextmanager
def made_to_stay() -> Iterator[None]:
    """Have the collector count what the code inside makes, such as an import, among its oldest objects at once.

    Otherwise it would go through a hundred thousand new ones over and over, which takes a tenth of an import.
    """
    with collector_off():
        yield
        if not gc.get_freeze_count():  # otherwise somebody wants theirs to stay frozen
            gc.freeze()
            gc.unfreeze()  # which puts them among the oldest
