"""The order of checkpoints: LangGraph takes the one with the greatest id for the last, and makes ids of the time.

Where a clock was set back, or that of another host is ahead, what a run comes to would stand before what it has come
from: the run would stay where it was for everybody who looks at it, and its next question could never be answered.
"""

import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, cast
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver

IDS: Final = "langgraph.checkpoint.base.id"
"""The module that makes the ids."""
LAST: Final = "_last_v6_timestamp"
"""Its time of the last id, which the next one comes after whatever the clock says: the only place to say so."""
SAVER: Final = "__pregel_checkpointer"
"""Key of the configuration of a node: what keeps the checkpoints of its graph."""
LATEST: Final = 1 << 59
"""Ids from a later time, beyond the year 3409, are not followed: one that somebody made up must not use up all ids."""


def come_after(checkpoint_ids: Iterable[str]) -> None:
    """Have all checkpoints that this process makes from now on come after these."""
    ids: Any = sys.modules.get(IDS)
    for one in checkpoint_ids:
        time = _time_of(one)
        if hasattr(ids, LAST) and (getattr(ids, LAST) or 0) < time < LATEST:
            setattr(ids, LAST, time)


def checkpoints_before(config: RunnableConfig) -> Mapping[str, str]:
    """Return the ids of the checkpoints that a node goes on from, by namespace: its graph's, and of those around it."""
    return cast("Mapping[str, str]", config.get("configurable", {}).get("checkpoint_map") or {})


async def last_kept(config: RunnableConfig) -> list[str]:
    """Return the ids of the last checkpoints kept of these graphs; that of a goal just given may stand before them."""
    given = config.get("configurable", {})
    saver, thread = given.get(SAVER), given.get("thread_id")
    if not isinstance(saver, BaseCheckpointSaver) or not thread:
        return []
    named = [{"thread_id": str(thread), "checkpoint_ns": namespace} for namespace in checkpoints_before(config)]
    found = [await saver.aget_tuple({"configurable": one}) for one in named]
    return [one.checkpoint["id"] for one in found if one]


def _time_of(checkpoint_id: str) -> int:
    """Return the time in an id, as LangGraph counts it; 0 where it has none."""
    with suppress(ValueError):
        read = UUID(checkpoint_id)
        return (read.int >> 80) << 12 | (read.int >> 64) & 0xFFF if read.version == 6 else 0  # noqa: PLR2004
    return 0
