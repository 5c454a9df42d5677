"""Code that is not ours, cut: what it raises after that is nobody's."""

import asyncio
import gc
import logging
from typing import Any

import pytest

from agentic_workflows.execution import contained as contained_module
from agentic_workflows.execution.contained import ContainedError, contained


@pytest.fixture
def trouble() -> list[object]:
    return []


@pytest.fixture(autouse=True)
async def loop_that_tells(trouble: list[object]) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))


async def test_what_cut_code_raises_late_is_reported_by_nobody(
    trouble: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contained_module, "GRACE_SECONDS", 0.01)
    raised: list[str] = []

    async def stubborn() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
            raised.append("late")
            raise ValueError("late") from None

    with pytest.raises(TimeoutError):
        await contained(stubborn(), 0.01)
    await asyncio.sleep(0.1)
    gc.collect()
    assert (raised, trouble) == (["late"], [])


async def test_what_code_raises_in_the_instant_in_which_its_call_is_cut_is_reported_by_nobody(
    trouble: list[object],
) -> None:
    running: list[asyncio.Future[None]] = []

    async def failing() -> None:
        await asyncio.sleep(0)
        running.pop().cancel()
        raise ValueError("at once")

    running.append(asyncio.ensure_future(contained(failing(), 5)))
    with pytest.raises(asyncio.CancelledError):
        await running[0]
    await asyncio.sleep(0)
    gc.collect()
    assert trouble == []


async def fails(error: Any, cause: Exception | None = None) -> None:
    raise error from cause


NoTracebackError = type("NoTracebackError", (Exception,), {"__traceback__": property(lambda _: 1 / 0)})


@pytest.mark.parametrize("error", [ValueError("s3cret"), TimeoutError("s3cret"), SystemExit("s3cret")])
async def test_the_log_tells_where_code_failed_and_not_what_it_said_for_that_may_be_a_secret(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    for level, told in ((logging.INFO, []), (logging.DEBUG, [type(error).__name__, "KeyError"])):
        with caplog.at_level(level, "agentic_workflows"), pytest.raises((ValueError, ContainedError)):
            await contained(fails(error, KeyError(str(error))), 1)
        assert [one.split()[0] for one in caplog.messages] == told
    assert "in fails\n    raise error from cause" in caplog.messages[0]
    assert "s3cret" not in caplog.text


async def test_an_error_that_cannot_be_looked_at_is_still_the_one_that_is_raised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, "agentic_workflows"), pytest.raises(NoTracebackError):
        await contained(fails(NoTracebackError()), 1)
