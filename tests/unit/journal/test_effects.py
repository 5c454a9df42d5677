"""The effects of a run: each counts as one call of a plan, and what was done or may have been done before is found."""

from dataclasses import replace

from agentic_workflows.graph.outcome import Outcome, OutcomeStatus
from agentic_workflows.journal.effects import Effects
from agentic_workflows.journal.entries import Intent, Past, Place, Recorded

DONE = Outcome(status=OutcomeStatus.SUCCEEDED, result="done", attempts=1)
FAILED = Outcome(status=OutcomeStatus.FAILED, reason="no", attempts=1)
REFUSED = replace(FAILED, took_place=True)
HERE, THERE = Place("1:p", "a"), Place("2:q", "b")


def effects_after(*, outcomes: tuple[Recorded, ...] = (), in_doubt: tuple[Intent, ...] = ()) -> Effects:
    return Effects(Past(outcomes=outcomes, in_doubt=in_doubt))


def begun(place: Place) -> Intent:
    return Intent(place=place, attempt=0, action="act", key="k", occurrence=0, at="then")


def recorded(place: Place, outcome: Outcome = DONE) -> Recorded:
    return Recorded(intent=begun(place), outcome=outcome)


def test_an_effect_that_may_have_happened_counts_as_one_of_the_calls_that_look_for_it_at_once() -> None:
    effects = effects_after(outcomes=(recorded(HERE, REFUSED),))
    assert [effects.claim_doubt(Place("2:q", name), "k") is not None for name in "xyz"] == [True, False, False]


def test_an_effect_whose_result_was_kept_by_an_older_version_and_refused_may_have_happened() -> None:
    effects = effects_after(outcomes=(recorded(HERE, replace(FAILED, result="no JSON")),))
    assert effects.claim_doubt(THERE, "k") == begun(HERE)


def test_a_done_effect_of_an_earlier_plan_is_claimed_once() -> None:
    one = recorded(HERE)
    effects = effects_after(outcomes=(one,))
    claimed = [effects.claim_done(*one) for one in ((THERE, "k"), (Place("2:q", "c"), "k"), (THERE, "other"))]
    assert claimed == [one, None, None]


def test_a_done_effect_is_not_claimed_by_its_own_plan() -> None:
    effects = effects_after(outcomes=(recorded(HERE),))
    assert effects.claim_done(Place("1:p", "again"), "k") is None


def test_what_an_effect_came_to_at_last_is_claimed_whatever_their_order_in_the_journal() -> None:
    places = [Place(f"{number}:p", "a") for number in (2, 10, 9)]
    effects = effects_after(outcomes=tuple(recorded(place, replace(DONE, result=place.plan)) for place in places))
    claimed = effects.claim_done(Place("11:q", "b"), "k")
    assert claimed is not None
    assert claimed.outcome.result == "10:p"


def test_a_call_that_was_begun_itself_claims_no_effect_of_an_earlier_plan() -> None:
    effects = effects_after(outcomes=(recorded(HERE),), in_doubt=(begun(THERE),))
    assert (effects.claim_done(THERE, "k"), effects.claim_doubt(THERE, "k")) == (None, begun(THERE))


def test_a_failed_effect_is_not_claimed() -> None:
    effects = effects_after(outcomes=(recorded(HERE, FAILED),))
    assert effects.claim_done(THERE, "k") is None


def test_a_doubt_is_recognised_in_a_new_plan_by_its_content() -> None:
    one = begun(HERE)
    effects = effects_after(in_doubt=(one,))
    found = [effects.claim_doubt(*one) for one in ((THERE, "k"), (THERE, "other"), (Place("1:p", "again"), "k"))]
    assert found == [one, None, None]
