"""What every test shares: property tests that are repeatable, leave no files and know no deadline; a clock set back."""

import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "house",
    database=None,
    deadline=None,
    derandomize=True,
    max_examples=100,
    # Scripted agents and simulators are drawn as data; that is slow to begin with, and meant so.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
settings.load_profile("house")

# A shell in the background, or `nohup`, has these ignored, and so would what tests start; a handler nobody inherits.
for _one in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_one) is signal.SIG_IGN:
        signal.signal(_one, lambda *_: None)


@pytest.fixture
def set_back(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Begins another process, whose clock is an hour behind that of the one before."""
    hours = 0

    def now() -> int:
        return time.time_ns() - hours * 3600 * 10**9

    def written() -> str:
        return datetime.fromtimestamp(now() / 1e9, UTC).isoformat()

    def later() -> None:
        nonlocal hours
        hours += 1
        for module in ("sql_journal", "memory_journal"):
            monkeypatch.setattr(f"agentic_workflows.journal.{module}._now", written)
        monkeypatch.setattr("langgraph.checkpoint.base.id.time", SimpleNamespace(time_ns=now))
        monkeypatch.setattr("langgraph.checkpoint.base.id._last_v6_timestamp", None)

    monkeypatch.setattr("langgraph.checkpoint.base.id._last_v6_timestamp", None)
    return later
