"""The garbage collector is off for a moment only, whoever else is at work."""

import gc
import threading
from collections.abc import Iterator

import pytest

from agentic_workflows.collector import collector_off


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    gc.enable()


@pytest.mark.parametrize("is_on", [True, False])
def test_the_collector_is_off_inside_and_as_it_was_afterwards(*, is_on: bool) -> None:
    if not is_on:
        gc.disable()
    with collector_off(), collector_off():
        assert not gc.isenabled()
    assert gc.isenabled() == is_on


def test_a_thread_that_comes_while_it_is_off_does_not_leave_it_so(monkeypatch: pytest.MonkeyPatch) -> None:
    has_come, may_go_on, isenabled = threading.Event(), threading.Event(), gc.isenabled

    def seen_before_the_other_one_leaves() -> bool:
        is_on = isenabled()
        if threading.current_thread() is other:
            has_come.set()
            may_go_on.wait(10)
        return is_on

    def come() -> None:
        with collector_off():
            has_come.set()

    other = threading.Thread(target=come)
    monkeypatch.setattr(gc, "isenabled", seen_before_the_other_one_leaves)
    with collector_off():
        other.start()
        assert has_come.wait(10)
    may_go_on.set()
    other.join(10)
    assert isenabled()
