from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from agentic_workflows.journal.savers import _shared, shared
from agentic_workflows.journal.sqlite_saver import sqlite_saver


def opened(path: Path) -> AbstractAsyncContextManager[BaseCheckpointSaver[Any]]:
    return shared(str(path), lambda: sqlite_saver(path, JsonPlusSerializer()))


async def test_runs_at_the_same_time_share_a_saver_and_the_last_one_closes_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    async with AsyncExitStack() as last:
        async with opened(path) as one:
            two = await last.enter_async_context(opened(path))
            assert one is two
        assert await two.aget_tuple({"configurable": {"thread_id": "t"}}) is None
    assert not _shared
    async with opened(path) as three:
        assert three is not two


async def test_a_saver_that_failed_somebody_is_shared_no_more(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    async with opened(path) as one:
        with suppress(OSError):
            async with opened(path):
                raise OSError("The disk is gone.")
        async with opened(path) as two:
            assert one is not two
    assert not _shared
