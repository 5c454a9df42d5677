from agentic_workflows.graph.history import (
    NAMELESS,
    SECRECY,
    WITHHELD,
    is_untrusted,
    late_marks,
    marks,
    without_secrets,
    without_untrusted,
)
from agentic_workflows.graph.labels import Source, entrusted
from agentic_workflows.graph.values import JsonObject

READ: JsonObject = {"step": "read", "result": "Evil.", "status": "failed", "reason": "Evil.", "untrusted": True}
CLOCK: JsonObject = {"step": "now", "result": "noon", "status": "succeeded", "untrusted": False}
OLD: JsonObject = {"step": "old", "result": "x", "status": "succeeded"}
REFUSED: JsonObject = {"step": None, "result": {"findings": [{"step": "a", "field": None, "problem": "is wrong."}]}}
FAILED: JsonObject = {"step": None, "result": {"findings": [{"step": "read", "problem": "Evil."}]}, "untrusted": True}
MISSING: JsonObject = {"step": None, "result": {"feedback": "Evil."}, "untrusted": True}


def test_an_entry_of_a_step_is_untrusted_unless_it_says_otherwise() -> None:
    assert [is_untrusted(one) for one in (READ, CLOCK, OLD, REFUSED, FAILED)] == [True, False, True, False, True]


def test_nothing_untrusted_is_left_for_a_planner_to_read() -> None:
    kept = without_untrusted([READ, CLOCK, OLD, REFUSED, FAILED, MISSING])
    assert "Evil" not in str(kept)
    assert (kept[1], kept[3]) == (CLOCK, REFUSED)
    assert kept[0] == {"step": "read", "status": "failed", "untrusted": True, "result": {"$untrusted": WITHHELD}}
    (finding,) = kept[4]["result"]["findings"]  # type: ignore[index, call-overload]
    assert (finding["step"], finding["problem"]) == ("read", f"came to no valid result. {WITHHELD}")  # type: ignore[call-overload, index]
    assert kept[5]["result"] == {"feedback": f"Not yet. {WITHHELD}"}


def test_a_secret_is_left_for_no_planner_to_read() -> None:
    login: JsonObject = {"step": "login", "result": "s3cret", "status": "succeeded", "untrusted": False, "secret": True}
    failed: JsonObject = {"step": None, "result": {"findings": [{"step": "use", "problem": "s3cret"}]}, "secret": True}
    kept = without_secrets([CLOCK, READ, login, failed])
    assert (kept[:2], kept[2]) == ([CLOCK, READ], {**login, "result": {"$secret": SECRECY}})
    (finding,) = kept[3]["result"]["findings"]  # type: ignore[index, call-overload]
    assert (finding["step"], finding["problem"]) == ("use", f"came to no valid result. {SECRECY}")  # type: ignore[call-overload, index]


def test_what_was_got_with_a_secret_is_told_to_no_planner() -> None:
    """A service may give back what it was given."""
    secret = frozenset({Source("output", "login", "token", frozenset({"trusted", "secret"}))})
    assert [marks(label) for label in (secret, entrusted(secret))] == [{"untrusted": False, "secret": True}] * 2


def test_of_a_late_plan_not_even_a_name_is_left_for_a_planner_to_read() -> None:
    step: JsonObject = {"step": "Evil.", "result": 1, "status": "succeeded", "plan": "2:x", **late_marks(is_late=True)}
    wrong: JsonObject = {"step": None, "result": {"findings": [{"step": "Evil.", "problem": "Evil."}]}}
    kept = without_untrusted([step, wrong | late_marks(is_late=True)])
    assert kept[0] == {**step, "step": NAMELESS, "result": {"$untrusted": WITHHELD}}
    assert kept[1]["result"] == {"feedback": f"Not yet. {WITHHELD}"}
