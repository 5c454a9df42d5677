"""What is shown of a database's URL."""

import pytest

from agentic_workflows.journal.faults import without_password


@pytest.mark.parametrize(
    "url, shown",
    [
        ("runs.db", "runs.db"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgresql://me:se@cret@host:1/db", "postgresql://me@host:1/db"),
        (
            "postgresql://host/db?user=me&password=secret&sslmode=require",
            "postgresql://host/db?user=me&sslmode=require",
        ),
        ("postgresql://me@host/db?password=secret", "postgresql://me@host/db"),
    ],
)
def test_a_password_is_never_shown_and_the_rest_still_works(url: str, shown: str) -> None:
    assert without_password(url) == shown
