"""What a database did wrong, said so that somebody can mend it."""

from pathlib import Path

from agentic_workflows.errors import DatabaseError


def as_database_error(url: str | Path, error: BaseException) -> DatabaseError:
    """Return an error that names the database, what happened and the remedy."""
    if isinstance(error, DatabaseError):
        return error
    remedy = "Give another --database, or make it readable and writable."
    if "locked" in str(error):
        remedy = "Another program holds it; end that one or wait."
    elif "not a database" in str(error) or "malformed" in str(error):
        remedy = "Give the path of another file; this one is left as it is."
    made = DatabaseError(f"The database {without_password(url)} cannot be used: {str(error).strip()}. {remedy}")
    made.__cause__ = error
    return made


def without_password(url: str | Path) -> str:
    """Return a URL as it may be shown."""
    scheme, found, rest = str(url).partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if found else scheme
