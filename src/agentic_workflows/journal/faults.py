"""What a database did wrong, said so that somebody can mend it."""

import re
import zlib
from pathlib import Path
from urllib.parse import unquote

from agentic_workflows.errors import CorruptError, DatabaseError, WorkflowError

CORRUPT = (
    *(LookupError, TypeError, AttributeError, ValueError, ArithmeticError, NotImplementedError, RecursionError),
    *(zlib.error, WorkflowError),
)
"""What reading raises of what somebody else has changed."""
_UNFIT = {"DataError", "ProgramLimitExceeded"}
"""What psycopg calls it when Postgres cannot hold a value: a character, or a name that is too long for an index."""
_AWAY = {"OperationalError", "InterfaceError"}
"""What psycopg calls it when there is no connection to Postgres, or none any more."""
_THEN = "then try again, or resume the run that this ended."
_REMEDIES = {
    "disk is full": f"Free some space there, {_THEN}",
    "No space left": f"Free some space there, {_THEN}",
    "is locked": "Another program holds it; end that one or wait.",
    "lock timeout": "Another program holds it; end that one or wait.",
    "deadlock detected": f"Others write to it at the same time; wait a while, {_THEN}",
    "not a database": "Give the path of another file; this one is left as it is.",
    "malformed": "Give the path of another file; this one is left as it is.",
}
"""By a part of what a database says."""
_SECRET = {"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"}
"""The settings in a URL of Postgres that nobody may see."""
_PORT = re.compile(r"(\[[^]]*\]|[^:]*)(:\d*)?")
"""A host with its port; what comes after a colon and is none may be a password."""
_QUOTED = re.compile(r"""(["'])(.+?)\1""")


def as_database_error(url: str | Path, error: BaseException) -> DatabaseError:
    """Return an error that names the database, what happened and the remedy.

    Its cause is what was raised, but where that quotes what may not be shown: a traceback would show it.
    """
    if isinstance(error, DatabaseError):
        return error
    shown = _without_quotes_of(url, str(error))
    said = shown.strip().partition("\n")[0].rstrip(".")  # Postgres goes on with hints and with our own SQL
    made = DatabaseError(f"The database {without_password(url)} cannot be used: {said}. {_remedy(url, error)}")
    made.__cause__ = error if shown == str(error) else None
    return made


def _remedy(url: str | Path, error: BaseException) -> str:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, ImportError):
        return "Postgres needs the extra: pip install 'agentic-workflows[postgres]'."
    if isinstance(error, UnicodeError) or _UNFIT & kinds:
        return "It cannot hold this text; give another one."
    if known := next((remedy for part, remedy in _REMEDIES.items() if part in str(error)), ""):
        return known
    if "://" in str(url) and _AWAY & kinds:
        return f"See that its server runs, can be reached and lets you in, {_THEN}"
    return "Give another database, or make it readable and writable."


def corrupt(what: str, part: str, error: Exception) -> CorruptError:
    """Return an error that says which part of what somebody else has changed."""
    return CorruptError(
        f"The {what} cannot be used: {part} is corrupt ({error}). It was left as it is; put back a copy of the "
        f"database (a SQLite file: while no process uses it, and with its -wal and -shm deleted, which belong to the "
        f"other one)."
    )


def recorded_twice(step: str, run_id: str) -> DatabaseError:
    """Return an error that says that a call has an outcome already, over which no other one is written."""
    return DatabaseError(f"The call of step {step} of the run {run_id} has an outcome already.")


def without_password(url: str | Path) -> str:
    """Return a URL as it may be shown, and as it still works where the password is known from elsewhere.

    Where a password may be in a place in which it is not looked for, only the scheme is left.
    """
    scheme, found, rest = str(url).partition("://")
    if not found:
        return scheme
    head, _, query = rest.partition("?")
    place, slash, name = head.partition("/")
    user, at, hosts = place.rpartition("@")
    settings = query.split("&") if query else []
    is_sure = all("=" in one for one in settings) and all(map(_PORT.fullmatch, hosts.split(",")))
    if "@" in name or ("@" in query and not slash) or not is_sure:
        return f"{scheme}://..."
    shown = "&".join(one for one in settings if unquote(one.partition("=")[0]) not in _SECRET)
    return f"{scheme}://{user.partition(':')[0]}{at}{hosts}{slash}{name}{'?' if shown else ''}{shown}"


def _without_quotes_of(url: str | Path, said: str) -> str:
    """Return what was said, without what it quotes of a URL that may not be shown."""
    shown = without_password(url)
    if {'"', "'"} & {*str(url)}:  # nobody can tell where such a quote ends
        return re.sub("[\"'].*", "'...'", said, flags=re.DOTALL)
    return _QUOTED.sub(lambda one: one[0] if one[2] in shown or one[2] not in str(url) else "'...'", said)
