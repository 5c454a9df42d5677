"""The order of checkpoints does not depend on the clock."""

import pytest
from langgraph.checkpoint.base import id as ids

from agentic_workflows.graph.checkpoint_order import LAST, come_after

LATER = "1ffaaaaa-aaaa-6aaa-8000-000000000000"
"""An id of the year 3390."""


@pytest.fixture(autouse=True)
def _as_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has made no id yet."""
    monkeypatch.setattr(ids, LAST, None)  # fails where LangGraph has it no more: then find another way


def test_ids_come_after_any_that_was_read() -> None:
    before = str(ids.uuid6())
    assert before < LATER
    come_after([LATER, before])
    first, second = str(ids.uuid6()), str(ids.uuid6())
    assert LATER[:19] < first[:19] < second[:19]
    come_after([before])
    assert second[:19] < str(ids.uuid6())[:19]


@pytest.mark.parametrize(
    "named", ["", "checkpoint 1", "7aadb116-501d-4557-9b55-37e512e69c25", "ffffffff-ffff-6fff-8000-000000000000"]
)
def test_a_name_that_is_no_time_or_beyond_all_times_is_none_to_come_after(named: str) -> None:
    come_after([named])
    assert getattr(ids, LAST) is None


def test_a_langgraph_that_counts_in_another_way_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(ids, LAST)
    come_after([LATER])
    assert not hasattr(ids, LAST)
