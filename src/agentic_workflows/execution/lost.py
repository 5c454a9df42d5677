"""Which errors leave open what the other side did: the connection was lost, or the answer does not say how far it came.

No library is imported for it. Its errors are known by the names of their classes, by the status of an answer under the
names that clients have for it, and by what they were raised from.
"""

import asyncio
import errno
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from agentic_workflows.errors import ActionError, DatabaseError, LeaseLostError, RunBusyError

_KINDS = (
    ConnectionError, TimeoutError, asyncio.CancelledError,
    DatabaseError, LeaseLostError, RunBusyError,  # of a run inside an action: it has got as far as it has, or goes on
)  # fmt: skip
_NUMBERS = {
    errno.ENETDOWN, errno.ENETRESET, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH,
    errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.ESHUTDOWN, errno.ETIMEDOUT,
}  # fmt: skip
_NAMES = re.compile(
    "Timeout|TimedOut|TooSlow|Connect|Disconnect|Network|Protocol|Transport|Incomplete|EOF|EndOfStream|StreamClosed|SSL"
    "|Broken|Lost|Shutdown|ClientPayload|ServiceResponse|ServerError|ServiceUnavailable|RetryError"
    r"|\babort\b"  # imaplib's
    "|GraphInterrupt"  # a graph that an action calls waits for a person, whatever it has done by then
)
_STATUS = ("status_code", "status", "http_status", "response_code", "response_status_code", "HTTPStatusCode")
# A 5xx says that the server failed, not how far it had come, and a redirect after a write may be its receipt.
_OPEN = {301, 302, 303, 408, 499, *range(500, 600)} - {501}
_REFUSED = {*range(400, 500), 501} - _OPEN
# Those that stand for such a status: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
_OPEN_CODES = {"CANCELLED", "UNKNOWN", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
_MCP_CLOSED: Final = -32000


def is_lost(error: BaseException) -> bool:
    """Tell whether an error leaves open what the other side did, or was raised from one that does.

    An action that raises an `ActionError` from None says that nothing happened; from others that says nothing.
    """
    waiting, seen = [error], set[int]()
    while waiting:
        error = waiting.pop()
        if _is_open(error):
            return True
        seen.add(id(error))
        group = _read(error, "exceptions")
        is_certain = isinstance(error, ActionError) and error.__suppress_context__
        cause = error.__cause__ or (None if is_certain else error.__context__)
        causes = (cause, *(group if isinstance(group, tuple) else ()))
        waiting += [one for one in causes if isinstance(one, BaseException) and id(one) not in seen]
    return False


def _is_open(error: BaseException) -> bool:
    if isinstance(error, _KINDS) or (isinstance(error, OSError) and error.errno in _NUMBERS):
        return True
    # An answer counts, whatever its class is called: some call all that a server says a TransportError.
    statuses = set(_statuses(error))
    if statuses & (_OPEN | _REFUSED):
        return bool(statuses & _OPEN)
    names = [kind.__name__ for kind in type(error).__mro__]
    return bool(_NAMES.search(" ".join(names))) or _is_cut(error, names)


def _is_cut(error: BaseException, names: Sequence[str]) -> bool:
    """Tell whether gRPC, MCP or a database driver says in its own way that the other side is gone."""
    if "RpcError" in names:
        return _code(error) in _OPEN_CODES
    if _read(_read(error, "error"), "code") == _MCP_CLOSED or _read(error, "connection_invalidated") is True:
        return True
    # What a server answered has an SQLSTATE; where a driver knows of them and has none, there was no answer.
    return "OperationalError" in names and None in (_read(error, "sqlstate", ""), _read(error, "pgcode", ""))


def _code(error: Any) -> str:
    """Return the code of gRPC that an error tells; one that tells none knows nothing."""
    try:
        return str(error.code().name)
    except Exception:  # noqa: BLE001 - their own code
        return "UNKNOWN"


def _statuses(error: BaseException) -> Iterator[int]:
    """Yield the HTTP status of the answer that an error tells of, wherever its library keeps it."""
    response = _read(error, "response")
    for place in (error, response, _read(response, "ResponseMetadata")):
        for status in (_read(place, name) for name in _STATUS):
            if isinstance(status, int):
                yield int(status)


def _read(thing: object, name: str, default: object = None) -> object:
    """Return what somebody else's object tells under a name, which may raise anything."""
    try:
        return thing.get(name, default) if isinstance(thing, dict) else getattr(thing, name, default)
    except Exception:  # noqa: BLE001 - their own code
        return default
