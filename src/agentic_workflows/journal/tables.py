"""The tables of the journal, once for every database, and the statements on them; versioned and migrated in place.

Processes run what is compiled of them in `sqlite.json` and `postgresql.json`, and need no SQLAlchemy for that. After a
change here, write these files again: `python -m agentic_workflows.journal.tables`.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    JSON,
    Column,
    Delete,
    Float,
    Index,
    Insert,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    TextClause,
    Update,
    bindparam,
    cast,
    column,
    delete,
    exists,
    func,
    insert,
    literal_column,
    null,
    select,
    table,
    text,
    update,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from agentic_workflows.journal.rows import SAVED

VERSION: Final = 6

_metadata = MetaData()


def _key(name: str, kind: type[Text] | type[Integer] = Text) -> "Column[Any]":
    return Column(name, kind, primary_key=True)


def _text(name: str, *, nullable: bool = False) -> "Column[Any]":
    return Column(name, Text, nullable=nullable)


VERSIONS = Table("agentic_version", _metadata, _key("version", Integer))
RUNS = Table(
    "agentic_runs",
    _metadata,
    _key("run_id"),
    _text("thread_id"),
    _text("goal"),
    _text("at"),
    _text("entry", nullable=True),
    sqlite_with_rowid=False,  # each row goes into one tree instead of two
)
PLANS = Table(
    "agentic_plans",
    _metadata,
    _key("run_id"),
    _key("number", Integer),
    _text("plan"),
    _text("at"),
    sqlite_with_rowid=False,
)
CALLS = Table(
    "agentic_calls",
    _metadata,
    *(_key(name) for name in ("run_id", "plan", "step")),
    _key("item", Integer),
    _key("attempt", Integer),
    _text("action"),
    _text("key"),
    Column("occurrence", Integer, nullable=False),
    _text("at"),
    Column("token", Integer, nullable=False, server_default="0"),
    _text("rules", nullable=True),
    _text("outcome", nullable=True),
    _text("body", nullable=True),
    Column("label", Integer),
    sqlite_with_rowid=False,
)
"""A row is an intent until its outcome is there; what has no effect is written with its outcome at once."""
ANSWERS = Table(
    "agentic_answers",
    _metadata,
    _key("review_id"),
    _text("run_id"),
    _text("answer"),
    _text("reviewer"),
    _text("at"),
    Column("used", Integer, nullable=False),
    sqlite_with_rowid=False,
)
LEASES = Table(
    "agentic_leases",
    _metadata,
    _key("thread_id"),
    _text("owner"),
    Column("token", Integer, nullable=False),
    Column("expires", Float(53), nullable=False),
    Column("touched", Float(53), nullable=False),
    _text("request", nullable=True),
    sqlite_with_rowid=False,
)
BODIES = Table("agentic_bodies", _metadata, _key("digest"), _text("body"), sqlite_with_rowid=False)
LABELS = Table("agentic_labels", _metadata, _key("id", Integer), _text("text"))
OF_A_RUN = (RUNS, PLANS, CALLS, ANSWERS)
_has_body = CALLS.c.body.is_not(None)
INDEXES = (
    Index("agentic_runs_thread", RUNS.c.thread_id),
    Index("agentic_answers_run", ANSWERS.c.run_id),
    Index("agentic_calls_body", CALLS.c.body, sqlite_where=_has_body, postgresql_where=_has_body),
)

_PLACE = ("run_id", "plan", "step", "item", "attempt")
_CALL = (*_PLACE, "action", "key", "occurrence", "at", "token", "rules")

Statement = Insert | Update | Delete | Select[Any] | TextClause


def definitions(dialect: Dialect) -> dict[str, str]:
    """Return the statements that make every table and index of this version, by its name."""
    made: dict[str, CreateTable | CreateIndex] = {
        table.name: CreateTable(table, if_not_exists=True) for table in _metadata.sorted_tables
    }
    made |= {str(index.name): CreateIndex(index, if_not_exists=True) for index in (*INDEXES, _label_index(dialect))}
    return {name: str(each.compile(dialect=dialect)) for name, each in made.items()}


def _label_index(dialect: Dialect) -> Index:
    """Return what a label is found by; an index of Postgres holds no long texts, so it has a hash.

    It is not unique: two texts may have the same hash, also on purpose, and none may keep the other one out.
    """
    found = _label_hash(LABELS.c.text) if dialect.name == "postgresql" else LABELS.c.text
    return Index("agentic_labels_text", found)


def _label_hash(of: Any) -> Any:
    return func.hashtextextended(of, literal_column("0"))


def _is_label(given: Any, dialect: Dialect) -> list[Any]:
    """Return what a label is found by."""
    by_hash = [_label_hash(LABELS.c.text) == _label_hash(given)] if dialect.name == "postgresql" else []
    return [*by_hash, LABELS.c.text == given]


def _by(table: Table, *names: str) -> list[Any]:
    return [table.c[name] == bindparam(f"by_{name}") for name in names]


def _insert_into(table: Table, dialect: Dialect) -> Any:
    """Return an insert that can say what becomes of a row that is there already; both databases have the same."""
    if dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as insert_or  # noqa: PLC0415
    else:
        from sqlalchemy.dialects.sqlite import insert as insert_or  # type: ignore[assignment]  # noqa: PLC0415
    return insert_or(table)


def _insert(table: Table, dialect: Dialect) -> Any:
    """Return an insert that leaves a row alone that is there already."""
    return _insert_into(table, dialect).on_conflict_do_nothing()


def _record(dialect: Dialect) -> Any:
    """Return what writes an outcome: into the row of its intent, or as a row of its own; an outcome stays as it is."""
    values: dict[str, Any] = {name: bindparam(name) for name in (*_CALL, "outcome", "body")}
    label = select(func.min(LABELS.c.id)).where(*_is_label(bindparam("sources", type_=Text), dialect)).scalar_subquery()
    made = _insert_into(CALLS, dialect).values(**values, label=label)
    ended = {name: made.excluded[name] for name in ("outcome", "body", "label")}
    return made.on_conflict_do_update(index_elements=_PLACE, set_=ended, where=CALLS.c.outcome.is_(None))


def _label(dialect: Dialect) -> Any:
    """Return an insert of a label that is not there, as far as the transaction sees: two at once may both write it."""
    given = bindparam("text", type_=Text)
    new = select(given).where(~exists().where(*_is_label(given, dialect)))
    return insert(LABELS).from_select(["text"], new)


def _sweep(name: "Column[Any]", used: "Column[Any]", dialect: Dialect) -> Delete:
    """Return what removes the rows that no call names any more; each database is slow at how the other one is asked."""
    if dialect.name == "postgresql":
        return delete(name.table).where(~exists().where(used == name))
    return delete(name.table).where(name.not_in(select(used).where(used.is_not(None)).distinct()))


def _forget_saved(name: str, dialect: Dialect) -> Delete | TextClause:
    """Return what removes a thread from a table of LangGraph's saver, which has none for blobs in SQLite."""
    if dialect.name != "postgresql":
        if name == "checkpoint_blobs":
            return text("SELECT 1")
        name = name.removeprefix("checkpoint_")
    return delete(table(name)).where(column("thread_id", Text) == bindparam("by_thread_id"))


def _lock(table: Table, dialect: Dialect) -> TextClause:
    """Return what keeps others from naming rows of a table while those that nobody names are removed.

    Postgres would remove what a transaction beside this one has found there and is about to name; SQLite has none.
    """
    return text(f"LOCK TABLE {table.name} IN SHARE ROW EXCLUSIVE MODE" if dialect.name == "postgresql" else "SELECT 1")


def _has(name: str, dialect: Dialect) -> "Select[Any]":
    """Return what finds a table, in Postgres in the schema where it would be created.

    To create one where it is missing is more than Postgres lets many a role do.
    """
    given: Any = literal_column(f"'{name}'")
    found: Select[Any] = select(literal_column("1"))
    if dialect.name == "postgresql":
        mine = column("schemaname") == func.current_schema()
        return found.select_from(table("pg_tables")).where(mine, column("tablename") == given)
    return found.select_from(table("sqlite_master")).where(column("name") == given)


def _each(name: str, dialect: Dialect) -> "Select[Any]":
    """Return the texts that are given as one list in JSON."""
    given = bindparam(name, type_=Text)
    if dialect.name == "postgresql":
        return select(func.json_array_elements_text(cast(given, JSON)))
    return select(func.json_each(given).table_valued("value").c.value)


def statements(dialect: Dialect) -> dict[str, str]:
    """Return every statement of the journal by name, compiled for the database."""
    calls = (
        select(CALLS, BODIES.c.body.label("whole"), LABELS.c.text.label("sources"))
        .join(BODIES, BODIES.c.digest == CALLS.c.body, isouter=True)
        .join(LABELS, LABELS.c.id == CALLS.c.label, isouter=True)
        .where(*_by(CALLS, "run_id"))
    )
    named: dict[str, Statement] = {
        "has_version": _has(VERSIONS.name, dialect),
        "get_version": select(func.max(VERSIONS.c.version)),
        "set_version": insert(VERSIONS),
        "begin": _insert(RUNS, dialect),
        "run": select(RUNS).where(*_by(RUNS, "run_id")),
        "runs": select(RUNS).where(*_by(RUNS, "thread_id")).order_by(RUNS.c.at),
        "begun": select(RUNS).where(*_by(RUNS, "thread_id"), RUNS.c.entry.is_not(None)).order_by(RUNS.c.at),
        "amend": update(RUNS).where(*_by(RUNS, "run_id"), RUNS.c.entry.is_not(None)).values(entry=bindparam("entry")),
        "replace": update(RUNS)  # at most one run of a thread has an entry, and that is the last: no clock tells which
        .where(*_by(RUNS, "thread_id"), RUNS.c.run_id != bindparam("run_id"), RUNS.c.entry.is_not(None))
        .values(entry=null()),
        "keep": update(RUNS).where(*_by(RUNS, "run_id")).values(entry=null()),
        "propose": _insert(PLANS, dialect),
        "proposed": select(PLANS).where(*_by(PLANS, "run_id", "number")),
        "plans": select(PLANS).where(*_by(PLANS, "run_id")).order_by(PLANS.c.number),
        "intend": insert(CALLS).values({name: bindparam(name) for name in _CALL}),
        "record": _record(dialect),
        "calls": calls,
        "calls_in_doubt": calls.where(CALLS.c.outcome.is_(None)),
        "ended": select(func.count(CALLS.c.outcome)).where(*_by(CALLS, "run_id")),
        "answer": _insert(ANSWERS, dialect),
        "answers": select(ANSWERS).where(*_by(ANSWERS, "run_id")).order_by(ANSWERS.c.at),
        "unused": select(ANSWERS.c.review_id).where(
            *_by(ANSWERS, "review_id", "run_id"), ANSWERS.c.used == literal_column("0")
        ),
        "use": update(ANSWERS)
        .where(*_by(ANSWERS, "review_id"), ANSWERS.c.used == literal_column("0"))
        .values(used=literal_column("1")),
        # Locked until the transaction ends: nobody takes the lease between the look at it and what is written under it.
        "lease": select(LEASES).where(*_by(LEASES, "thread_id")).with_for_update(),
        "leases": select(LEASES).where(LEASES.c.thread_id.in_(_each("thread_ids", dialect))),
        "first_lease": _insert(LEASES, dialect),
        "take_lease": update(LEASES)
        .where(*_by(LEASES, "thread_id", "token", "owner"))  # of a thread that was forgotten, tokens begin again
        .values({name: bindparam(name) for name in ("owner", "token", "expires", "touched")}),
        "threads": select(LEASES.c.thread_id).order_by(LEASES.c.touched.desc()),
        "holders": select(LEASES.c.owner).where(LEASES.c.expires > bindparam("now")),  # what is given back expired at 0
        "set_request": update(LEASES).where(*_by(LEASES, "thread_id")).values(request=bindparam("request")),
        "clear": update(LEASES).where(*_by(LEASES, "thread_id", "request")).values(request=null()),
        "store": _insert(BODIES, dialect),
        "label": _label(dialect),
        **{f"lock_{table.name}": _lock(table, dialect) for table in (BODIES, LABELS)},
        f"sweep_{BODIES.name}": _sweep(BODIES.c.digest, CALLS.c.body, dialect),
        f"sweep_{LABELS.name}": _sweep(LABELS.c.id, CALLS.c.label, dialect),
        "forget_lease": delete(LEASES).where(*_by(LEASES, "thread_id")),
        **{f"forget_{table.name}": delete(table).where(*_by(table, "run_id")) for table in OF_A_RUN},
        **{f"forget_{name}": _forget_saved(name, dialect) for name in SAVED},
    }
    return {name: str(statement.compile(dialect=dialect)) for name, statement in named.items()}


def compiled(name: str) -> str:
    """Return everything that a process must know to use a database, as the text of its file."""
    from sqlalchemy.dialects import postgresql, sqlite  # noqa: PLC0415

    make: Any = postgresql.psycopg.dialect if name == "postgresql" else partial(sqlite.dialect, paramstyle="named")
    dialect: Dialect = make()
    known = {"version": VERSION, "definitions": definitions(dialect), "statements": statements(dialect)}
    return json.dumps(known, indent=1) + "\n"


if __name__ == "__main__":
    for name in ("sqlite", "postgresql"):
        Path(__file__).with_name(f"{name}.json").write_text(compiled(name), encoding="utf-8")
