"""A pass: one visit of a run to the execute node, and what the calls that it makes there share."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from agentic_workflows.execution.grants import Grants
from agentic_workflows.execution.secrets import Secrets, secret_of_environment
from agentic_workflows.execution.tracing import Span, current_span
from agentic_workflows.graph.events import Event
from agentic_workflows.graph.state import Limits
from agentic_workflows.journal.run_log import RunLog


@dataclass(kw_only=True)
class RunPass:
    """What the calls of one pass of a run through the execute node share."""

    run_id: str
    plan: str
    """Names the plan among those of the run."""
    asked_under: str
    """The plan under whose name people are asked: where plans only leave steps out, the first of them."""
    policy: str
    """Digest of the policies in force."""
    limits: Limits
    emit: Callable[[Event], None]
    log: RunLog
    """What was done before, and where it is written down."""
    secrets: Secrets = secret_of_environment
    """Gives the values of the secrets that the plan names."""
    is_stopped: Callable[[], bool] = lambda: False
    """Tells whether nothing may start any more: no step, no item, no further attempt."""
    counts: Counter[str] = field(default_factory=Counter)
    """Calls started, by action, over the whole run."""
    grants: Grants = field(default_factory=Grants)
    """What people answered."""
    span: Span = field(default_factory=current_span)
    """Opens the span of a call, where somebody traces."""
    slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self.slots = asyncio.Semaphore(self.limits.max_parallel)

    @property
    def deadline(self) -> datetime:
        """Return by when a question that is asked now must be answered."""
        return self.grants.now() + timedelta(seconds=self.limits.review_seconds)
