from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic_workflows.errors import ActionError, ReviewError
from agentic_workflows.graph.review import (
    Approve,
    Edit,
    Question,
    Reject,
    Respond,
    approve,
    edit,
    from_json,
    read_answers,
    reject,
    request,
    respond,
    response_schema,
    review_id,
    to_json,
)

BOTH = [
    Question(id=name, step=f"step-{name}", action="act", inputs={"x": 1}, reason="Because.", rules=("r",)).to_json()
    for name in ("one", "two")
]
answers = st.one_of(
    st.just(approve("one")),
    st.builds(edit, st.dictionaries(st.text(), st.integers(-9, 9)), st.just("one")),
    st.builds(reject, st.text(), st.just("one")),
    st.builds(respond, st.none() | st.text() | st.lists(st.booleans()), st.just("one")),
)


@given(answers)
def test_an_answer_survives_json_and_fits_the_published_schema(answer: Any) -> None:
    raw = to_json(answer)
    assert from_json(raw, id="one") == answer
    assert jsonschema_rs.is_valid(response_schema(BOTH), {"decisions": [raw]})


def test_a_form_with_one_question_has_its_id_filled_in() -> None:
    """So that it is not taken for an answer to the next question where it is sent twice."""
    for questions, default in ((BOTH[:1], "one"), (BOTH, None)):
        decision = response_schema(questions)["properties"]["decisions"]["items"]
        assert decision["properties"]["id"].get("default") == default


def test_the_interrupt_asks_everything_in_langchains_form() -> None:
    asked = request(BOTH)
    assert (
        asked["review_configs"]
        == [{"action_name": "act", "allowed_decisions": ["approve", "edit", "reject", "respond"]}] * 2
    )
    assert asked["action_requests"][0] == {  # type: ignore[index, call-overload]  # a list
        "name": "act", "args": {"x": 1}, "description": "Step step-one calls act. Because.", "id": "one",
        "step": "step-one", "item": None, "reason": "Because.", "rules": ["r"], "provenance": {},
            "plan": "", "in_doubt": None, "begun": False, "replaced": False, "expires": None,
    }  # fmt: skip


def test_the_interrupt_says_why_the_last_answer_did_not_count() -> None:
    assert request(BOTH, "No question is called so.") == {**request(BOTH), "problem": "No question is called so."}


def test_an_item_is_named_as_people_count() -> None:
    asked = Question(id="i", step="s", action="act", inputs={}, reason="Because.", item=0).to_json()
    assert asked["description"] == "Step s, item 1 calls act. Because."


def test_a_question_says_until_when_it_can_be_answered() -> None:
    until = "2026-01-08T12:00:00+00:00"
    asked = Question(id="i", step="s", action="act", inputs={}, reason="Because.", expires=until).to_json()
    assert asked["description"] == (
        "Step s calls act. Because. Answer by 2026-01-08 12:00 UTC; then it counts as rejected."
    )
    assert asked["expires"] == until


def test_a_review_id_is_the_same_for_the_same_call_only() -> None:
    same: dict[str, Any] = {"run_id": "r", "policy": "c", "place": ("p", "s", -1), "inputs": {"x": 1}}
    others = [
        {"run_id": "R"}, {"policy": "C"}, {"inputs": {"x": 2}},
        {"place": ("P", "s", -1)}, {"place": ("p", "S", -1)}, {"place": ("p", "s", 0)},
    ]  # fmt: skip
    ids = {review_id(**same)} | {review_id(**{**same, **other}) for other in others}
    assert len(ids) == 1 + len(others)
    assert review_id(**same) == review_id(**same)


def test_answers_come_in_order_or_by_id() -> None:
    wanted = {"one": Approve(id="one"), "two": Reject(feedback="no", id="two")}
    assert read_answers({"decisions": [{"type": "approve"}, {"type": "reject", "message": "no"}]}, BOTH) == wanted
    by_id = [{"type": "reject", "message": "no", "id": "two"}, {"type": "approve", "id": "one"}]
    assert read_answers({"decisions": by_id}, BOTH) == wanted
    assert read_answers({"decisions": [{"type": "approve", "id": "two"}]}, BOTH) == {"two": Approve(id="two")}


@pytest.mark.parametrize(
    "raw",
    [
        None, True, "approve", [], {}, {"decisions": []}, {"decisions": "x"}, {"decisions": [{"type": "approve"}]},
        {"decisions": [{"type": "approve"}] * 3}, {"decisions": [{"type": "approve", "id": "three"}]},
        {"decisions": [{"type": "approve", "id": "one"}, {"type": "approve"}]},
        {"decisions": [{"type": "approve", "id": "one"}, {"type": "reject", "id": "one"}]},
        {"decisions": [{"type": "yes", "id": "one"}]}, {"decisions": ["approve", "approve"]},
        {"decisions": [{"type": "edit", "id": "one"}]}, {"decisions": [{"type": "respond", "id": "one"}]},
        {"decisions": [{"type": "edit", "edited_action": {"args": []}, "id": "one"}]},
        {"decisions": [{"type": "edit", "edited_action": {"name": "rm", "args": {}}, "id": "one"}]},
        {"decisions": [{"type": "approve", "edited_action": {"name": "rm", "args": {}}, "id": "one"}]},
        {"decisions": [{"type": "reject", "message": 5, "id": "one"}]},
        {"decisions": [{"type": "approve", "id": ["one"]}]},
    ],
)  # fmt: skip
def test_a_bad_answer_is_a_review_error(raw: object) -> None:
    with pytest.raises(ReviewError):
        read_answers(raw, BOTH)


def test_a_review_error_lists_what_is_open() -> None:
    with pytest.raises(ReviewError, match=r"Open: one \(step step-one, act\); two \(step step-two, act\)\."):
        read_answers({"decisions": [{"type": "approve", "id": "three"}]}, BOTH)


@pytest.mark.parametrize("make", [lambda: edit({"x": object()}), lambda: respond({1, 2})])  # type: ignore[dict-item, arg-type]
def test_an_answer_that_is_not_json_is_refused_when_it_is_made(make: Any) -> None:
    with pytest.raises(ActionError):
        make()


def test_the_short_forms_make_the_answers() -> None:
    assert [approve(), edit({"x": [1]}), reject("no", "i"), respond(None, id="i")] == [
        Approve(), Edit(inputs={"x": [1]}), Reject(feedback="no", id="i"), Respond(message=None, id="i"),
    ]  # fmt: skip
