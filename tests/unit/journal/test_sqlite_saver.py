"""LangGraph's saver of a file, opened by many at once, and cut while it opens."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agentic_workflows.journal.database import Database
from agentic_workflows.journal.savers import _shared


async def opened(path: Path) -> list[str]:
    database = Database(path)
    async with database.checkpointer():
        return await database.journal.threads()


def test_a_new_file_is_opened_by_many_at_once(tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def one(path: Path) -> list[str]:
        together.wait(10)
        return asyncio.run(opened(path))

    with ThreadPoolExecutor(8) as threads:
        for at in range(40):
            assert list(threads.map(one, [tmp_path / f"{at}.db"] * 8)) == [[]] * 8


@pytest.mark.parametrize("turns", range(0, 12, 2))
def test_cut_while_it_opens_it_leaves_no_thread_behind(
    tmp_path: Path, turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cut() -> None:
        opening = asyncio.create_task(opened(tmp_path / "runs.db"))
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening

    raised: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    before = set(threading.enumerate())
    asyncio.run(cut())
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive()
    assert (raised, _shared) == ([], {})
