"""What is shown of a database's URL, and what is told of its faults."""

import pytest

from agentic_workflows.journal.faults import as_database_error, without_password


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


@pytest.mark.parametrize(
    "error, remedy",
    [
        (ImportError("No module named 'psycopg'"), "pip install 'agentic-workflows[postgres]'"),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"), "give another one"),
        (OSError("database is locked"), "Another program holds it"),
        (OSError("disk I/O error"), "Give another --database"),
    ],
)
def test_a_fault_comes_with_its_remedy(error: Exception, remedy: str) -> None:
    assert remedy in str(as_database_error("runs.db", error))
