"""The garbage collector, and where it only costs time."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_off() -> Iterator[None]:
    """Keep the collector from looking at what is made meanwhile, again and again, as a long run is read back.

    For code that makes much, drops little and awaits nothing.
    """
    is_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_on:
            gc.enable()


@contextmanager
def made_to_stay() -> Iterator[None]:
    """Have the collector leave what is made meanwhile alone until it looks at everything, as what an import makes.

    It would go through a hundred thousand things again and again, which takes a tenth of an import.
    """
    with collector_off():
        yield
        if not gc.get_freeze_count():  # otherwise somebody wants theirs to stay frozen
            gc.freeze()
            gc.unfreeze()  # which puts them among the oldest
