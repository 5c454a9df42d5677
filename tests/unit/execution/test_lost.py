"""What an error tells of what the other side did: where it leaves that open, the effect is in doubt, not failed."""

import errno
import imaplib
from concurrent.futures.process import BrokenProcessPool
from email.message import Message
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError

import grpc
import httpx
import openai
import psycopg
import pytest
import requests
import urllib3
from langchain_core.tools import ToolException, tool

from agentic_workflows.actions.action import Action, ActionCall
from agentic_workflows.actions.langchain_tools import from_tool
from agentic_workflows.errors import (
    ActionError,
    DatabaseError,
    LeaseLostError,
    ResultError,
    RunBusyError,
    RunError,
)
from agentic_workflows.execution.attempt import LostError, attempt_once
from agentic_workflows.graph.plan import WorkflowStep
from agentic_workflows.graph.state import Limits

CALL = ActionCall(action="send", inputs={}, step=WorkflowStep("s", "send", {}), run_id="r")
REQUEST = httpx.Request("POST", "http://127.0.0.1/")


async def is_in_doubt(error: BaseException) -> bool:
    """Tell whether an attempt that raises this is lost rather than failed."""

    async def run(_: ActionCall) -> object:
        raise error

    with pytest.raises(ActionError) as raised:
        await attempt_once(CALL, Action(name="send", run=run), Limits(), {})
    return isinstance(raised.value, LostError)


def named(name: str, *bases: type[Exception], **told: Any) -> Exception:
    """Return an error as a library makes it that is not installed: the name of its class, and what it tells."""
    error: Exception = type(name, bases or (Exception,), {})("no")
    vars(error).update(told)
    return error


def of_httpx(status: int) -> Exception:
    return httpx.HTTPStatusError("no", request=REQUEST, response=httpx.Response(status, request=REQUEST))


def of_requests(status: int) -> Exception:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError("no", response=response)


def of_urllib(status: int) -> Exception:
    return HTTPError("http://127.0.0.1/", status, "no", Message(), None)


def of_openai(status: int) -> Exception:
    response: Any = type("Response", (), {"status_code": status, "headers": {}, "request": None})()
    return openai.APIStatusError("no", response=response, body=None)


LIBRARIES = {
    "httpx": of_httpx,
    "requests": of_requests,
    "urllib": of_urllib,
    "openai": of_openai,
    "aiohttp": lambda status: named("ClientResponseError", status=status),
    "stripe": lambda status: named("APIError", http_status=status, code=None),
    "gitlab": lambda status: named("GitlabHttpError", response_code=status),
    "kiota": lambda status: named("APIError", response_status_code=status),
    "enum": lambda status: named("ApiError", status_code=HTTPStatus(status)),
    "botocore": lambda status: named(
        "ClientError", response={"Error": {"Code": "x"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    ),
}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
async def test_an_answer_that_does_not_say_how_far_it_came_leaves_the_effect_in_doubt(
    library: str, status: int
) -> None:
    assert await is_in_doubt(LIBRARIES[library](status))


@pytest.mark.parametrize("status", [302, 303, 499, 520, 522, 524, 529])
async def test_so_does_one_of_a_gateway_and_a_redirect_that_may_be_the_receipt(status: int) -> None:
    assert await is_in_doubt(of_httpx(status))


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 429, 501])
async def test_an_answer_that_refuses_is_a_failure(library: str, status: int) -> None:
    assert not await is_in_doubt(LIBRARIES[library](status))


def of_grpc(code: grpc.StatusCode) -> Exception:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata())


OPEN = {"CANCELLED", "UNKNOWN", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}


@pytest.mark.parametrize("code", list(grpc.StatusCode), ids=str)
async def test_a_code_of_grpc_counts_as_the_status_of_http_that_it_stands_for(code: grpc.StatusCode) -> None:
    assert await is_in_doubt(of_grpc(code)) == (code.name in OPEN)


@pytest.mark.parametrize(
    "error",
    [
        named("SMTPResponseException", code=550),
        named("OperationalError", code="e3q8"),
        named("ExitError", code=504),
        named("JsonRpcError", code=-32602),
        named("ReportError", status="failed", code=lambda: 504),
        named("BrokerResponseError", errno=errno.ECONNRESET),
        named("SlackApiError", response=type("Response", (), {"status_code": 200})()),
        named("McpError", error=type("ErrorData", (), {"code": -32602})()),
        named("NotFoundError", type("TransportError", (Exception,), {}), status_code=404),
        of_requests(404),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_only_looks_like_a_status_misleads_nobody(error: Exception) -> None:
    assert not await is_in_doubt(error)


class OddError(Exception):
    """Raises where it is asked what it is."""

    @property
    def status(self) -> int:
        raise RuntimeError("no response yet")

    @property
    def exceptions(self) -> object:
        raise RuntimeError("none")


@pytest.mark.parametrize("cause, lost", [(None, False), (TimeoutError(), True)])
async def test_an_error_that_cannot_be_asked_counts_as_what_it_was_raised_from(
    cause: Exception | None, *, lost: bool
) -> None:
    error = OddError("odd")
    error.__cause__ = cause
    assert await is_in_doubt(error) == lost


@pytest.mark.parametrize(
    "error",
    [
        httpx.ReadTimeout("no"),
        httpx.RemoteProtocolError("no"),
        requests.exceptions.RetryError("too many 504 error responses"),
        urllib3.exceptions.MaxRetryError(urllib3.HTTPConnectionPool("x"), "/", urllib3.exceptions.ResponseError("no")),
        named("McpError", error=type("ErrorData", (), {"code": -32000, "message": "Connection closed"})()),
        named("ClientPayloadError"),
        named("ServiceResponseError"),
        named("Unknown", type("ServerError", (Exception,), {}), code=None),
        named("ServiceUnavailable"),
        named("RequestTimedOutError"),
        named("WorkerLostError"),
        named("BrokenResourceError"),
        BrokenProcessPool("no"),
        imaplib.IMAP4.abort("no"),
        type("SerialError", (OSError,), {})(errno.ECONNRESET, "reset"),
        type("RpcError", (Exception,), {})("no code"),
        named("StreamClosedError"),
        named("EndOfStream"),
        named("TooSlowError"),
        psycopg.OperationalError("server closed the connection unexpectedly"),
        psycopg.errors.AdminShutdown("terminating connection due to administrator command"),
        named("OperationalError", pgcode=None),
        named("DBAPIError", connection_invalidated=True),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_a_library_calls_a_lost_connection_is_one(error: Exception) -> None:
    assert await is_in_doubt(error)


@pytest.mark.parametrize(
    "error", [DatabaseError("locked"), LeaseLostError("t", "h:1:2"), RunBusyError("t", "h:1:2", 1.0)], ids=repr
)
async def test_a_run_inside_an_action_that_stops_in_the_middle_leaves_it_in_doubt(error: Exception) -> None:
    assert await is_in_doubt(error)


async def test_one_that_refuses_to_begin_is_a_failure() -> None:
    assert not await is_in_doubt(RunError("Nothing was done."))


@pytest.mark.parametrize(
    "error",
    [
        psycopg.errors.UndefinedTable("no such table"),
        psycopg.errors.QueryCanceled("statement timeout"),
        psycopg.errors.LockNotAvailable("locked"),
        named("OperationalError", connection_invalidated=False),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_a_database_answered_is_a_failure(error: Exception) -> None:
    assert not await is_in_doubt(error)


def wrapped(by: Exception, cause: Exception | None, *, how: str) -> Exception:
    """Return an error of an action's own as it is when it was raised because of another one."""
    by.__context__ = cause
    if how == "from it":
        by.__cause__ = cause
    by.__suppress_context__ = how != "in its except"
    return by


@pytest.mark.parametrize("by", [ActionError, ToolException])
@pytest.mark.parametrize("how", ["in its except", "from it"])
@pytest.mark.parametrize("cause, lost", [(httpx.ReadTimeout("no"), True), (of_httpx(404), False), (None, False)])
async def test_an_error_of_an_actions_own_counts_as_what_it_was_raised_from(
    by: type[Exception], how: str, cause: Exception | None, *, lost: bool
) -> None:
    @tool("send")
    async def send() -> str:
        """Send."""
        raise wrapped(by("not sent"), cause, how=how)

    with pytest.raises(ActionError, match="not sent") as raised:
        await attempt_once(CALL, from_tool(send), Limits(), {})
    assert isinstance(raised.value, LostError) == lost


async def test_an_action_may_say_that_nothing_happened_whatever_was_lost() -> None:
    assert not await is_in_doubt(wrapped(ActionError("not sent"), ConnectionError("refused"), how="from None"))


async def test_what_an_action_gave_is_not_in_doubt_because_it_cannot_be_used() -> None:
    assert not await is_in_doubt(wrapped(ResultError("no JSON"), TimeoutError(), how="from it"))
