from contextlib import AsyncExitStack, suppress
from pathlib import Path

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from agentic_workflows.journal.sqlite_saver import _shared, sqlite_saver

SERDE = JsonPlusSerializer()


async def test_runs_at_the_same_time_share_a_saver_and_the_last_one_closes_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    async with AsyncExitStack() as last:
        async with sqlite_saver(path, SERDE) as one:
            two = await last.enter_async_context(sqlite_saver(path, SERDE))
            assert one is two
        assert await two.aget_tuple({"configurable": {"thread_id": "t"}}) is None
    assert not _shared
    async with sqlite_saver(path, SERDE) as three:
        assert three is not two


async def test_a_saver_that_failed_somebody_is_shared_no_more(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    async with sqlite_saver(path, SERDE) as one:
        with suppress(OSError):
            async with sqlite_saver(path, SERDE):
                raise OSError("The disk is gone.")
        async with sqlite_saver(path, SERDE) as two:
            assert one is not two
    assert not _shared
