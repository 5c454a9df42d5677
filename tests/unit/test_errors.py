"""Every error survives on its way to another process."""

import pickle
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime

import pytest

from agentic_workflows import errors
from agentic_workflows.graph.findings import Finding


def kinds(root: type[errors.WorkflowError] = errors.WorkflowError) -> Iterator[type[errors.WorkflowError]]:
    yield root
    for kind in root.__subclasses__():
        yield from kinds(kind)


MADE = {
    errors.PlanError: errors.PlanError([Finding(step="a", problem="is wrong.")], source="The plan of today"),
    errors.ExpiredError: errors.ExpiredError(datetime(2026, 1, 1, tzinfo=UTC)),
    errors.RunBusyError: errors.RunBusyError("t", "host:1:2:3", 1e9),
    errors.LeaseLostError: errors.LeaseLostError("t", "host:1:2:3"),
}
PUBLIC = [kind for kind in kinds() if kind.__module__ == errors.__name__]


@pytest.mark.parametrize(
    "error", [MADE.get(kind) or kind("It is so.") for kind in PUBLIC], ids=lambda one: type(one).__name__
)
def test_an_error_is_the_same_after_it_was_pickled_or_copied(error: errors.WorkflowError) -> None:
    error.add_note("seen")
    for made in (pickle.loads(pickle.dumps(error)), deepcopy(error)):  # noqa: S301 - our own
        assert (type(made), str(made), vars(made)) == (type(error), str(error), vars(error))
