"""What is shown of a database's URL, and what is told of its faults."""

from sqlite3 import OperationalError  # the name that psycopg gives it, too

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
        ("postgresql://host/db?user=me&password=s3cr@t", "postgresql://host/db?user=me"),
        ("postgresql:///db?host=/tmp/x&user=me@here&password=s3cr@t", "postgresql:///db?host=/tmp/x&user=me@here"),
        ("postgresql://host/db?pass%77ord=secret", "postgresql://host/db"),
        ("postgresql://host/db?sslpassword=secret&sslkey=k", "postgresql://host/db?sslkey=k"),
        ("postgresql://me:secret@[::1]:5432,other/db", "postgresql://me@[::1]:5432,other/db"),
        ("postgresql://me:se/cret@host/db", "postgresql://..."),
        ("postgresql://me:se?cret@host/db", "postgresql://..."),
        ("postgresql://me:se?cr/et@host/db", "postgresql://..."),
        ("postgresql://me:se/cr?et@host/db", "postgresql://..."),
        ("postgresql://host?user=me&password=s3cr@t", "postgresql://..."),
        ("postgresql://host/db?password=se&cret", "postgresql://..."),
        ("postgresql://me:s3/cret?r=1@host/db", "postgresql://..."),
        ("postgresql://me:secret@one:5432,two/db", "postgresql://me@one:5432,two/db"),
        ("postgresql://[::1]:5432/db", "postgresql://[::1]:5432/db"),
    ],
)
def test_a_password_is_never_shown_and_the_rest_still_works(url: str, shown: str) -> None:
    assert without_password(url) == shown


@pytest.mark.parametrize(
    "url, said, told",
    [
        ("postgresql://me:se@cret@host/db", "failed to resolve host 'cret@host': unknown", "host '...': unknown. "),
        ("postgresql://me:se%zzcret@host/db", 'invalid percent-encoded token: "se%zzcret"', "token: '...'. "),
        ("postgresql://host/db?password=a&b", 'missing separator "=" in parameter: "b"', "in parameter: '...'. "),
        ('postgresql://me:se"cret@[::1/db', 'looking for "]" in URI: "...:se"cret@[::1/db"', "looking for '...'. "),
        ("postgresql://me:secret@host/db", 'database "db" does not exist for "you"', '"db" does not exist for "you". '),
    ],
)
def test_a_fault_quotes_no_part_of_a_password(url: str, said: str, told: str) -> None:
    error = as_database_error(url, OperationalError(said))
    assert told in str(error)
    assert (error.__cause__ is None) == ("'...'" in told)  # a traceback shows the cause


@pytest.mark.parametrize(
    "error, remedy",
    [
        (ImportError("No module named 'psycopg'"), "pip install 'agentic-workflows[postgres]'"),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"), "give another one"),
        (OSError("database is locked"), "Another program holds it"),
        (OSError("disk I/O error"), "Give another database"),
        (
            OperationalError("database or disk is full"),
            "Free some space there, then try again, or resume the run that this ended.",
        ),
        (
            OSError(28, "No space left on device"),
            "Free some space there, then try again, or resume the run that this ended.",
        ),
        (OperationalError("attempt to write a readonly database"), "make it readable and writable"),
    ],
)
def test_a_fault_comes_with_its_remedy(error: Exception, remedy: str) -> None:
    assert remedy in str(as_database_error("runs.db", error))


@pytest.mark.parametrize(
    "error, told",
    [
        (
            OperationalError("canceling statement due to lock timeout\nCONTEXT:  while locking tuple (0,1)"),
            "canceling statement due to lock timeout. Another program holds it; end that one or wait.",
        ),
        (
            OperationalError("deadlock detected\nDETAIL:  Process 1 waits for ShareLock; blocked by process 2."),
            (
                "deadlock detected. Others write to it at the same time; "
                "wait a while, then try again, or resume the run that this ended."
            ),
        ),
        (
            OperationalError("connection failed: Connection refused\n\tIs the server running on that host?"),
            (
                "connection failed: Connection refused. "
                "See that its server runs, can be reached and lets you in, "
                "then try again, or resume the run that this ended."
            ),
        ),
        (
            OperationalError("could not extend file: No space left on device\nHINT:  Check free disk space."),
            (
                "could not extend file: No space left on device. "
                "Free some space there, then try again, or resume the run that this ended."
            ),
        ),
        (
            ValueError('relation "agentic_leases" does not exist\nLINE 2: SELECT\n        ^'),
            'relation "agentic_leases" does not exist. Give another database, or make it readable and writable.',
        ),
    ],
)
def test_a_fault_of_postgres_is_one_line(error: Exception, told: str) -> None:
    assert str(as_database_error("postgresql://h/d", error)) == f"The database postgresql://h/d cannot be used: {told}"
