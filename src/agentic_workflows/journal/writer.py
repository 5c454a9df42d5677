"""The one thread of a process that talks to a database.

Whatever is handed in while a transaction is being written goes into the next one together, so that concurrent writers
share a commit. The connection is opened inside the thread and closed when nothing came for a while; it belongs to no
event loop. It is closed before a fork, too, which waits a while for the transaction under way; parent and child then
open one each.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Lock, RLock, Thread
from typing import Any, Generic, Protocol, TypeVar

from agentic_workflows.errors import RunError
from agentic_workflows.journal.faults import as_database_error

Result = TypeVar("Result")
IDLE_SECONDS = 2.0
RETRIES = 5
"""Of a transaction that was taken back for the sake of another one."""
PAUSE_SECONDS = 2.0
"""How long a fork waits for a transaction; one may itself wait for the event loop that the fork holds up."""


class Sent(Protocol):
    """A statement that was sent; whoever asks what it gave waits for it, and for all that were sent before."""

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """The rows of a select."""
        ...

    @property
    def changed(self) -> int:
        """How many rows it changed."""
        ...


class Transaction(Protocol):
    """What work may do inside one transaction."""

    def send(self, name: str, /, **values: object) -> Sent:
        """Run a statement by its name, and wait for nothing; what fails is heard of at the latest by the commit."""
        ...


class Backend(Protocol):
    """A database that can be connected to."""

    def connect(self) -> None:
        """Open the connection, and create or migrate the tables."""
        ...

    def begin(self) -> Transaction:
        """Begin a transaction."""
        ...

    def commit(self) -> None:
        """Make the transaction durable.

        Raises:
            UnheardError: nobody knows whether it is.

        """
        ...

    def gave_way(self, error: BaseException) -> bool:
        """Tell whether a transaction that failed was taken back for the sake of another one, and can be done again."""
        ...

    def close(self) -> None:
        """Close the connection, from whichever thread; a transaction is rolled back."""
        ...


@dataclass(frozen=True)
class Later(Generic[Result]):
    """What work returns that waits for nothing: its result, read once all that share the transaction have sent theirs.

    A `RefusedError` of it takes back what the work wrote.
    """

    read: Callable[[], Result]


Work = Callable[[Transaction], Result | Later[Result]]


@dataclass(kw_only=True)
class _Order(Generic[Result]):
    """Work that somebody handed in, where its result is waited for, and what came of it."""

    work: Work[Result]
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Result]"
    result: Result | None = None
    error: BaseException | None = None

    def do(self, transaction: Transaction) -> Result | Later[Result] | None:
        """Do the work, up to what it reads later."""
        self.error = None
        try:
            return self.work(transaction)
        except RefusedError as error:
            self.error = error.reason
            return None


class Writer:
    """Runs work in transactions, in the order in which it came."""

    def __init__(self, name: str, make_backend: Callable[[], Backend]) -> None:
        self._name, self._make_backend = name, make_backend
        self._backend = make_backend()
        self._inherited: list[Backend] = []
        """Those of the processes that this one was forked from; kept, for what is dropped is closed."""
        self._orders: SimpleQueue[_Order[Any]] = SimpleQueue()
        self._lock = Lock()
        self._thread: Thread | None = None
        self._using = RLock()
        """Held while the connection is used."""
        self._is_open = False

    async def do(self, work: Work[Result]) -> Result:
        """Return what the work returns, once its transaction is durable.

        Raises:
            RunError: the work raised it; nothing of it was written.
            DatabaseError: the transaction failed; nothing of it was written.

        """
        loop = asyncio.get_running_loop()
        order = _Order(work=work, loop=loop, future=loop.create_future())
        with self._lock:
            if self._thread is None:  # first: an order whose caller hears of an error here must not be done later
                self._thread = self._start_thread()
            self._orders.put(order)
        result: Result = await order.future
        return result

    def pause(self, until: ExitStack) -> None:
        """Close the connection between two transactions, if that can be soon, until the stack is closed."""
        if self._using.acquire(timeout=PAUSE_SECONDS):
            until.callback(self._using.release)
            self._close()

    def forget(self) -> None:
        """Begin anew in a process that was forked: what waits is its parent's, and so is the thread."""
        self._orders, self._lock, self._thread = SimpleQueue(), Lock(), None
        self._inherited.append(self._backend)
        self._using, self._is_open, self._backend = RLock(), False, self._make_backend()

    def _start_thread(self) -> Thread:
        thread = Thread(target=self._serve, name="agentic-journal", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # none is to be had
            raise as_database_error(self._name, error) from error
        return thread

    def _serve(self) -> None:
        while True:
            try:
                orders = [self._orders.get(timeout=IDLE_SECONDS)]
            except Empty:
                with self._lock:
                    if self._orders.empty():
                        with self._using:
                            self._close()
                        self._thread = None
                        return
                continue
            with suppress(Empty):
                while True:
                    orders.append(self._orders.get_nowait())
            with self._using:
                self._transact(orders)
            _deliver(orders)

    def _transact(
        self, orders: list[_Order[Any]], waiting: Sequence[_Order[Any]] = (), *, retries: int = RETRIES
    ) -> None:
        """Run the orders in one transaction; where none can be begun, those that wait for their turn fail with them."""
        transaction = self._begin([*orders, *waiting])
        if transaction is None:
            return
        try:
            found = [order.do(transaction) for order in orders]
            for order, one in zip(orders, found, strict=True):
                order.result = one.read() if isinstance(one, Later) else one
            self._backend.commit()
        except UnheardError as error:  # again it might be written twice, or be refused for what is written
            self._close()
            for order in orders:
                order.error = as_database_error(self._name, error.reason)
        except BaseException as error:  # noqa: BLE001 - every waiting caller must hear of it
            self._close()
            if len(orders) > 1:
                self._one_by_one(orders)
            elif retries and self._backend.gave_way(error):
                self._transact(orders, waiting, retries=retries - 1)
            else:
                orders[0].error = _told(self._name, error)

    def _one_by_one(self, orders: list[_Order[Any]]) -> None:
        """Run each order in a transaction of its own: one bad order must not fail the others."""
        for order in orders:
            order.error = None
        for at, order in enumerate(orders):
            if order.error is None:
                self._transact([order], orders[at + 1 :])

    def _begin(self, orders: list[_Order[Any]]) -> Transaction | None:
        """Begin once for all orders, so that none waits again for what keeps all out; they all hear of it then."""
        try:
            if not self._is_open:
                self._backend.connect()
                self._is_open = True
            return self._backend.begin()
        except BaseException as error:  # noqa: BLE001 - every waiting caller must hear of it
            self._close()
            for order in orders:
                order.error = as_database_error(self._name, error)
            return None

    def _close(self) -> None:
        self._is_open = False
        with suppress(Exception):
            self._backend.close()


class RefusedError(Exception):
    """The work was refused, at once before it wrote anything or `Later`; `reason` is what its caller is told."""

    def __init__(self, reason: Exception) -> None:
        self.reason = reason
        super().__init__(str(reason))


class UnheardError(Exception):
    """The connection was lost before it told whether a transaction is durable; `reason` is what was heard instead."""

    def __init__(self, reason: Exception) -> None:
        self.reason = reason
        super().__init__(str(reason))


def _told(name: str, error: BaseException) -> BaseException:
    """Return what the caller of work that failed is told."""
    if isinstance(error, RefusedError):
        return error.reason
    return error if isinstance(error, RunError) else as_database_error(name, error)


def _deliver(orders: list[_Order[Any]]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[_Order[Any]]] = {}
    for order in orders:
        by_loop.setdefault(order.loop, []).append(order)
    for loop, mine in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, mine)


def _resolve(orders: list[_Order[Any]]) -> None:
    for order in orders:
        if order.future.done():
            continue
        if order.error is not None:
            order.future.set_exception(order.error)
        else:
            order.future.set_result(order.result)


_writers: dict[str, Writer] = {}
_writers_lock = RLock()
_pausing = ExitStack()
"""What holds every writer up while this process is forked; it belongs to who has the lock."""


def writer_for(name: str, make_backend: Callable[[], Backend]) -> Writer:
    """Return this process's one writer for a database."""
    with _writers_lock:
        if name not in _writers:
            _writers[name] = Writer(name, make_backend)
        return _writers[name]


def _pause() -> None:
    _pausing.enter_context(_writers_lock)
    for writer in _writers.values():
        writer.pause(_pausing)


def _go_on() -> None:
    _pausing.pop_all().close()  # taken out before the lock is free for the next one


def _forget() -> None:
    global _writers_lock, _pausing  # other threads may wait for the locks
    _writers_lock, _pausing = RLock(), ExitStack()
    for writer in _writers.values():
        writer.forget()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_pause, after_in_parent=_go_on, after_in_child=_forget)
