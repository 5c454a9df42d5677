"""The one thread that talks to a database."""

import asyncio
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from agentic_workflows.errors import DatabaseError, ReviewError
from agentic_workflows.journal.writer import RETRIES, Later, RefusedError, Transaction, UnheardError, Writer


class Backend:
    """Notes what is asked of it; fails where it is told to."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.threads: set[int] = set()
        self.fails: dict[str, int] = {}
        self.is_open = False

    def connect(self) -> None:
        assert not self.is_open, "the connection before this one was left open"
        self._note("connect")
        self.is_open = True

    def begin(self) -> Any:
        self._note("begin")
        return self

    def commit(self) -> None:
        self._note("commit")

    def gave_way(self, error: BaseException) -> bool:
        return isinstance(error, TimeoutError)

    def close(self) -> None:
        self.calls.append("close")
        self.is_open = False

    def _note(self, name: str) -> None:
        self.calls.append(name)
        self.threads.add(threading.get_ident())
        if self.fails.get(name, 0) > 0:
            self.fails[name] -= 1
            raise OSError(f"{name} does not work")


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def writer(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Writer:
    monkeypatch.setattr("agentic_workflows.journal.writer.IDLE_SECONDS", 0.1)
    return Writer("postgresql://me:secret@host/db", lambda: backend)


@pytest.mark.parametrize("what", ["connect", "begin"])
async def test_what_keeps_all_out_is_tried_once_for_all_who_wait(backend: Backend, writer: Writer, what: str) -> None:
    backend.fails = {"commit": 1, what: 0}
    begun, come = threading.Event(), threading.Event()
    calls = [asyncio.ensure_future(writer.do(lambda _: (begun.set(), come.wait(10))))]
    await asyncio.to_thread(begun.wait, 10)
    backend.fails[what] = 1
    calls += [asyncio.ensure_future(writer.do(giving(at))) for at in range(5)]
    await asyncio.sleep(0)
    come.set()
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(one) for one in found] == [DatabaseError] * 6
    assert (backend.fails[what], backend.calls.count("close")) == (0, 2)
    assert await writer.do(giving("again")) == "again"


@pytest.mark.parametrize("errors", [[OSError("gone")], [OSError("gone"), TimeoutError("gave way")]])
async def test_where_all_failed_together_what_keeps_them_out_then_is_tried_once(
    backend: Backend, writer: Writer, monkeypatch: pytest.MonkeyPatch, errors: list[OSError]
) -> None:
    begun, come, commits = threading.Event(), threading.Event(), iter([None, *errors])

    def commit() -> None:
        if (error := next(commits, None)) is not None:
            backend.fails["connect"] = error is errors[-1]
            raise error

    monkeypatch.setattr(backend, "commit", commit)
    first = asyncio.ensure_future(writer.do(lambda _: (begun.set(), come.wait(10))))
    await asyncio.to_thread(begun.wait, 10)
    calls = [asyncio.ensure_future(writer.do(giving(at))) for at in range(5)]
    await asyncio.sleep(0)
    come.set()
    await first
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(one) for one in found] == [DatabaseError] * 5
    assert await writer.do(giving("again")) == "again"


async def test_what_may_be_written_is_written_again_by_nobody(
    writer: Writer, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = iter([False, True])

    def commit() -> None:
        if next(commits, False):
            raise UnheardError(OSError("gone"))

    monkeypatch.setattr(backend, "commit", commit)
    begun, come, done = threading.Event(), threading.Event(), list[int]()
    first = asyncio.ensure_future(writer.do(lambda _: (begun.set(), come.wait(10))))
    await asyncio.to_thread(begun.wait, 10)
    calls = [asyncio.ensure_future(writer.do(lambda _, at=at: done.append(at))) for at in range(5)]
    await asyncio.sleep(0)
    come.set()
    await first
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert [("gone" in str(one), type(one)) for one in found] == [(True, DatabaseError)] * 5
    assert done == [0, 1, 2, 3, 4]
    assert await writer.do(giving("again")) == "again"
    assert backend.calls.count("connect") == 2, "who was not heard is asked no more"


@pytest.mark.parametrize("times", [1, RETRIES, RETRIES + 1])
async def test_what_gave_way_to_others_is_done_again_for_a_while(writer: Writer, times: int) -> None:
    left = iter(range(times))

    def work(_: Transaction) -> str:
        if next(left, None) is not None:
            raise TimeoutError("gave way")
        return "done"

    if times > RETRIES:
        with pytest.raises(DatabaseError, match="gave way"):
            await writer.do(work)
    assert await writer.do(work) == "done"


def giving(value: Any) -> Any:
    return lambda _: value


def failing(error: BaseException) -> Any:
    def work(_: Transaction) -> None:
        raise error

    return work


async def test_the_result_comes_after_the_commit(writer: Writer, backend: Backend) -> None:
    assert await writer.do(giving(5)) == 5
    assert backend.calls == ["connect", "begin", "commit"]
    assert backend.threads.isdisjoint({threading.get_ident()})


async def test_orders_at_once_share_few_commits(writer: Writer, backend: Backend) -> None:
    assert await asyncio.gather(*(writer.do(giving(at)) for at in range(100))) == list(range(100))
    assert backend.calls.count("commit") <= 5


async def test_an_idle_writer_closes_and_opens_again(writer: Writer, backend: Backend) -> None:
    await writer.do(giving(1))
    await asyncio.sleep(0.4)
    assert not backend.is_open
    assert await writer.do(giving(2)) == 2
    assert backend.calls == ["connect", "begin", "commit", "close", "connect", "begin", "commit"]


class Late(SimpleQueue[Any]):
    """What comes into it first comes just when the time is over for which somebody has waited for it."""

    is_late = True

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002 - as that of a queue
        if not self.is_late:
            return super().get(block, timeout)
        self.is_late = False
        while self.empty():
            time.sleep(0.001)
        raise Empty


async def test_what_comes_just_when_a_writer_is_about_to_close_is_done(writer: Writer) -> None:
    writer._orders = Late()
    async with asyncio.timeout(5):
        assert await writer.do(giving(1)) == 1


async def test_a_writer_whose_connection_does_not_close_goes_on(
    writer: Writer, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def close() -> None:
        backend.is_open = False
        raise OSError("close does not work")

    monkeypatch.setattr(backend, "close", close)
    await writer.do(giving(1))
    await asyncio.sleep(0.4)
    assert await asyncio.wait_for(writer.do(giving(2)), 5) == 2


async def test_a_refusal_is_its_caller_s_alone(writer: Writer) -> None:
    orders = [giving(1), failing(RefusedError(ReviewError("no"))), giving(3)]
    results = await asyncio.gather(*map(writer.do, orders), return_exceptions=True)
    assert [results[0], type(results[1]), results[2]] == [1, ReviewError, 3]


async def test_what_is_read_later_is_read_once_all_have_sent_theirs(writer: Writer, backend: Backend) -> None:
    def later(at: int) -> Any:
        def work(to: Any) -> Later[int]:
            to.calls.append("sent")
            return Later(lambda: to.calls.append("read") or at)

        return work

    assert await asyncio.gather(*(writer.do(later(at)) for at in range(50))) == list(range(50))
    transactions = " ".join(backend.calls).replace("connect ", "").split("begin ")[1:]
    assert len(transactions) <= 5
    for each in transactions:
        assert each.split() == sorted(each.split(), key=["sent", "read", "commit"].index)


def refusing_later(_: Transaction) -> Later[None]:
    def read() -> None:
        raise RefusedError(ReviewError("no"))

    return Later(read)


async def test_what_is_refused_later_is_taken_back(writer: Writer, backend: Backend) -> None:
    with pytest.raises(ReviewError, match="no"):
        await writer.do(refusing_later)
    assert backend.calls == ["connect", "begin", "close"]
    assert await writer.do(giving(1)) == 1


async def test_a_later_refusal_is_its_caller_s_alone(writer: Writer, backend: Backend) -> None:
    orders = [giving(1), giving(2), refusing_later, giving(4)]
    results = await asyncio.gather(*map(writer.do, orders), return_exceptions=True)
    assert [results[0], results[1], type(results[2]), results[3]] == [1, 2, ReviewError, 4]
    assert backend.calls.count("begin") - backend.calls.count("commit") in (1, 2)  # alone, or first with others


@pytest.mark.parametrize("error", [OSError("broken"), KeyboardInterrupt()])
async def test_an_order_that_fails_fails_alone_and_leaves_no_connection_behind(
    writer: Writer, error: BaseException
) -> None:
    orders = [giving(1), giving(2), failing(error), giving(4), giving(5)]
    async with asyncio.timeout(5):
        results = await asyncio.gather(*map(writer.do, orders), return_exceptions=True)
    assert [results[0], results[1], type(results[2]), results[3], results[4]] == [1, 2, DatabaseError, 4, 5]
    assert await writer.do(giving(6)) == 6


@pytest.mark.parametrize("what", ["connect", "begin", "commit"])
async def test_a_database_that_fails_is_one_clear_error_and_works_again_later(
    writer: Writer, backend: Backend, what: str
) -> None:
    backend.fails[what] = 1
    with pytest.raises(DatabaseError, match=f"{what} does not work") as error:
        await writer.do(giving(1))
    assert "secret" not in str(error.value)
    assert "host/db" in str(error.value)
    assert await writer.do(giving(2)) == 2


async def test_a_refusal_that_is_tried_again_and_works_is_no_refusal(writer: Writer) -> None:
    refuses, begun, come = iter([True]), threading.Event(), threading.Event()

    def once(_: Transaction) -> str:
        if next(refuses, False):
            raise RefusedError(ReviewError("no"))
        return "yes"

    first = asyncio.ensure_future(writer.do(lambda _: (begun.set(), come.wait(10))))
    await asyncio.to_thread(begun.wait, 10)
    calls = [asyncio.ensure_future(writer.do(work)) for work in (once, failing(OSError("broken")))]
    await asyncio.sleep(0)
    come.set()
    await first
    done, failed = await asyncio.gather(*calls, return_exceptions=True)
    assert (done, type(failed)) == ("yes", DatabaseError)


async def test_a_refusal_that_gave_way_to_others_and_then_works_is_no_refusal(
    writer: Writer, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuses, gives_way = iter([True]), iter([True])

    def once(_: Transaction) -> str:
        if next(refuses, False):
            raise RefusedError(ReviewError("no"))
        return "yes"

    def commit() -> None:
        if next(gives_way, False):
            raise TimeoutError

    monkeypatch.setattr(backend, "commit", commit)
    assert await writer.do(once) == "yes"


def test_a_writer_belongs_to_no_event_loop(writer: Writer) -> None:
    assert [asyncio.run(writer.do(giving(at))) for at in range(3)] == [0, 1, 2]


def test_an_event_loop_that_is_closed_before_its_order_is_done_harms_nobody(writer: Writer) -> None:
    begun, come = threading.Event(), threading.Event()

    async def ask() -> None:
        asked = asyncio.ensure_future(writer.do(lambda _: (begun.set(), come.wait(10))))
        await asyncio.to_thread(begun.wait, 10)
        asked.cancel()

    asyncio.run(ask())
    come.set()
    assert asyncio.run(asyncio.wait_for(writer.do(giving(1)), 5)) == 1


async def test_a_caller_that_does_not_wait_any_more_harms_nobody(writer: Writer) -> None:
    waiting = asyncio.ensure_future(writer.do(giving(1)))
    await asyncio.sleep(0)
    waiting.cancel()
    async with asyncio.timeout(5):
        assert await writer.do(giving(2)) == 2


async def test_where_no_thread_is_to_be_had_nothing_is_done_and_it_works_again_later(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr("agentic_workflows.journal.writer.Thread", Unstartable)
        with pytest.raises(DatabaseError, match="can't start new thread"):
            await writer.do(lambda _: done.append(1))
    async with asyncio.timeout(5):
        await writer.do(lambda _: done.append(2))
    assert done == [2]


class Unstartable(threading.Thread):
    def start(self) -> None:
        raise RuntimeError("can't start new thread")


async def test_a_connection_is_closed_before_a_fork_and_opened_again_after_it(backend: Backend, writer: Writer) -> None:
    assert await writer.do(giving(1)) == 1
    with ExitStack() as forking:
        writer.pause(forking)
        assert not backend.is_open
        asked = asyncio.ensure_future(writer.do(giving(2)))
        assert not (await asyncio.wait([asked], timeout=0.05))[0], "it wrote in the middle of a fork"
        assert not backend.is_open
    assert await asked == 2
    assert backend.is_open


async def test_a_fork_waits_a_while_for_a_transaction(
    backend: Backend, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentic_workflows.journal.writer.PAUSE_SECONDS", 0.05)
    begun, goes_on = threading.Event(), threading.Event()

    def slow(_: Transaction) -> bool:
        begun.set()
        return goes_on.wait(10)

    asked = asyncio.ensure_future(writer.do(slow))
    await asyncio.to_thread(begun.wait, 10)
    with ExitStack() as forking:
        writer.pause(forking)  # the loop that the transaction may wait for stands still
        assert backend.is_open
    goes_on.set()
    assert await asked


FORKED = """
import asyncio, os, signal
from threading import Event
from agentic_workflows.journal import writer

class Backend:
    def connect(self): pass
    def begin(self): return "a transaction"
    def commit(self): pass
    def close(self): pass
    def __del__(self): done.append("dropped")

async def ask():
    asked = [asyncio.ensure_future(journal.do(lambda _: (begun.set(), come.wait(10))))]
    await asyncio.to_thread(begun.wait, 10)
    asked.append(asyncio.ensure_future(journal.do(lambda _: done.append("parent"))))
    await asyncio.sleep(0)
    return asked

writer.PAUSE_SECONDS = 0.05
done, begun, come, loop = [], Event(), Event(), asyncio.new_event_loop()
journal = writer.writer_for("db", Backend)
asked = loop.run_until_complete(ask())
child = os.fork()
if child == 0:
    signal.alarm(10)
    asyncio.run(journal.do(lambda _: done.append("child")))
    os._exit(done != ["child"])
come.set()
loop.run_until_complete(asyncio.gather(*asked))
assert (done, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])) == (["parent"], 0)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_a_forked_process_does_nothing_that_waits_in_its_parent_and_drops_no_connection_of_it() -> None:
    subprocess.run([sys.executable, "-c", FORKED], check=True, timeout=60)
