"""What brings the journal of an older version to this one, in place, once the tables of this version are there."""

from typing import Final

_OUTCOMES = """
INSERT INTO agentic_calls
    (run_id, plan, step, item, attempt, action, key, occurrence, at, outcome, body, label)
SELECT run_id, plan, step, item, attempt, o.action, o.key, o.occurrence, COALESCE(at, ''), outcome, body, id
FROM agentic_outcomes o
LEFT JOIN agentic_intents i USING (run_id, plan, step, item, attempt)
LEFT JOIN agentic_labels ON text = sources
"""
_IN_DOUBT = """
INSERT INTO agentic_calls
    (run_id, plan, step, item, attempt, action, key, occurrence, at)
SELECT run_id, plan, step, item, attempt, i.action, i.key, i.occurrence, i.at
FROM agentic_intents i
LEFT JOIN agentic_outcomes o USING (run_id, plan, step, item, attempt)
WHERE outcome IS NULL
"""

MIGRATIONS: Final = {
    2: ("ALTER TABLE agentic_outcomes ADD COLUMN sources TEXT",),
    3: (
        "ALTER TABLE agentic_runs ADD COLUMN entry TEXT",
        "ALTER TABLE agentic_calls DROP COLUMN rules",  # the table is new here, with what 5 adds to older ones
        "ALTER TABLE agentic_calls DROP COLUMN token",
        "INSERT INTO agentic_labels (text) SELECT DISTINCT sources FROM agentic_outcomes WHERE sources IS NOT NULL",
        _OUTCOMES,
        _IN_DOUBT,
        "DROP TABLE agentic_intents",
        "DROP TABLE agentic_outcomes",
    ),
    4: (),  # a long plan is compressed, which an older version could not read
    5: (
        "ALTER TABLE agentic_calls ADD COLUMN rules TEXT",
        "ALTER TABLE agentic_calls ADD COLUMN token INTEGER DEFAULT 0 NOT NULL",
    ),
    6: (),  # a usual outcome is a list, which an older version could not read
}
"""By the version that the statements lead to."""
OF_POSTGRES: Final = {5: ("ALTER TABLE agentic_labels DROP CONSTRAINT IF EXISTS agentic_labels_text_key",)}
"""What comes after them in Postgres: its index of that constraint held no long labels."""
