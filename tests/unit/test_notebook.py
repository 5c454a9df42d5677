"""What a notebook shows of plans and runs: complete, harmless, and told in words as well as in colours."""

import re
from html.parser import HTMLParser
from itertools import combinations, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentic_workflows.graph.findings import Finding
from agentic_workflows.graph.plan import Plan, WorkflowStep
from agentic_workflows.notebook import MOST_DRAWN, show, show_reviews
from agentic_workflows.policies.decision import Allow, Ask, AtRunTime, Rule
from agentic_workflows.policies.report import Report

OVERWRITE = Ask(rules=(Rule(id="overwrite"),), reason="It may overwrite something.")
PLAN = Plan(
    "Sum up",
    [
        WorkflowStep("sum", "sum_column", {"path": "a.csv"}, ["total"]),
        WorkflowStep("each", "count", {"text": "${item}"}, ["counts"], foreach="${total}"),
        WorkflowStep("save", "write", {"text": "${total}"}, when="${counts}"),
        WorkflowStep("last", "write", {"path": "b"}, after=["sum"]),
    ],
)
REPORT = Report(
    plan=PLAN,
    order=("sum", "each", "save", "last"),
    decisions={
        "sum": Allow(),
        "each": AtRunTime(at_least=Allow()),
        "save": AtRunTime(at_least=OVERWRITE),
        "last": OVERWRITE,
    },
)
RESULT: dict[str, Any] = {
    "state": "REVIEWING",
    "goal": "Sum up",
    "reason": None,
    "plan": PLAN.to_json(),
    "report": REPORT.to_json(),
    "outputs": {"total": "x" * 1000},
    "history": [
        {"step": "sum", "result": "Deny", "status": "succeeded"},
        {"step": None, "result": [{"problem": "an older plan"}]},
    ],
    "steps": {"sum": {"status": "succeeded", "seconds": 0.25}, "save": {"status": "asked", "seconds": 0.1}},
    "reviews": [
        {"id": "r1", "description": "Step save calls write.", "rules": ["overwrite"], "args": {"text": "y" * 1000}}
    ],
}


TAGS = {"p", "b", "div", "table", "tr", "th", "td", "span", "svg", "g", "title", "rect", "text", "path"}


class Page(HTMLParser):
    """The elements of a view with their attributes and their texts; refuses markup that is not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1], data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == tag]

    def said(self, tag: str) -> list[str]:
        return [text for found, text in self.texts if found == tag]


def page(thing: object) -> Page:
    return Page(show(thing).html)  # type: ignore[arg-type]  # whatever can be shown


def test_a_plan_is_drawn_with_its_decisions_and_the_names_on_its_arrows() -> None:
    assert page(REPORT).said("text") == [
        *("total", "total", "counts", "after"),
        *("sum", "sum_column", "Allow"),
        *("each", "count, for each", "At run time"),
        *("save", "write, when", "At run time, Ask at least"),
        *("last", "write", "Ask"),
    ]


def test_a_run_is_drawn_with_what_became_of_its_steps() -> None:
    words = page(RESULT).said("text")
    assert [words[at] for at in (7, 11, 15, 19)] == ["succeeded, 250 ms", "not run", "asked", "not run"]


def test_the_text_says_all_that_the_table_does() -> None:
    assert repr(show(REPORT)).splitlines() == [
        "Plan: Sum up",
        "Steps, in the order in which they read:",
        "  1 | sum | sum_column | path: a.csv | Allow",
        "  2 | each | count | text: ${item}",
        "      for each ${total} | At run time | Nothing is against it so far.",
        "  3 | save | write | text: ${total}",
        "      when ${counts} | At run time, Ask at least | It may overwrite something. [overwrite]",
        "  4 | last | write | path: b | Ask | It may overwrite something. [overwrite]",
    ]


def test_a_plan_nobody_examined_is_shown_as_a_mapping_too() -> None:
    assert show(PLAN) == show(PLAN.to_json())
    assert page(PLAN).said("text").count("not decided") == 4


def test_findings_say_where_what_and_what_to_do() -> None:
    finding = Finding(step="sum", field="action", problem="is unknown.", remedy="Use another.")
    refused = Report(plan=PLAN, findings=(finding, Finding(problem="is too long.")))
    assert "  sum.action | is unknown. | Use another.\n  the plan | is too long.\n" in show(refused).text


def test_a_question_shows_its_inputs_whole_and_an_output_is_cut() -> None:
    assert "y" * 1000 in show(RESULT).html
    assert "y" * 1000 in show(RESULT).text
    assert "x" * 200 not in show(RESULT).html


def test_the_reviews_are_the_open_questions_and_nothing_else() -> None:
    said = f'May this run? Step save calls write. [overwrite] (review r1)\n  text | "{"y" * 1000}"'
    assert show_reviews(RESULT).text == said
    assert show_reviews({**RESULT, "reviews": []}).text == "No question is open."


def test_only_what_we_say_ourselves_has_a_mark() -> None:
    texts = pairwise(page(RESULT).texts)
    assert [marked.split()[0] for mark, (_, marked) in texts if mark == ("span", "● ")] == ["REVIEWING", "succeeded"]


CYCLE = Plan("c", [WorkflowStep("a", "x", {"i": "${o}"}, ["p"]), WorkflowStep("b", "x", {"i": "${p}"}, ["o"])])
UNREADABLE = Plan("u", [WorkflowStep("a", "x", {"i": "${"})])
LARGE = Plan("l", [WorkflowStep(f"s{at}", "x") for at in range(MOST_DRAWN + 1)])


@pytest.mark.parametrize("plan", [CYCLE, UNREADABLE, LARGE, Plan("none", [])])
def test_a_plan_that_cannot_be_drawn_has_its_table(plan: Plan) -> None:
    shown = page(plan)
    assert shown.all("svg") == []
    assert len(shown.all("tr")) == 1 + len(plan.steps)


def test_a_view_runs_nothing_and_is_left_alone_by_what_typesets_formulas() -> None:
    shown = page(RESULT)
    assert shown.elements[0] == ("div", {"class": "tex2jax_ignore mathjax_ignore"})
    assert {tag for tag, _ in shown.elements} <= TAGS


HOSTILE = "<script>alert(1)</script>\"'&<b onclick=x>\u202e\x00\u0007"


def test_text_from_outside_is_never_markup_and_hides_nothing() -> None:
    plan = Plan(HOSTILE, [WorkflowStep(HOSTILE, HOSTILE, {HOSTILE: HOSTILE}, [HOSTILE])])
    result = {
        "state": "FAILED",
        "goal": HOSTILE,
        "reason": HOSTILE,
        "plan": plan.to_json(),
        "report": None,
        "steps": {},
        "outputs": {HOSTILE: HOSTILE},
        "history": [{"step": HOSTILE, "result": HOSTILE}],
        "reviews": [{"id": "r", "description": HOSTILE, "rules": [HOSTILE], "args": {HOSTILE: HOSTILE}}],
    }
    for view in (show(plan), show(result), show_reviews(result)):
        shown = Page(view.html)
        assert {tag for tag, _ in shown.elements} <= TAGS
        assert not [name for _, attributes in shown.elements for name in attributes if name.startswith("on")]
        assert not set("\u202e\x00\u0007") & set(view.html + view.text)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    count = draw(st.integers(1, 12))
    earlier = [draw(st.sets(st.integers(0, max(at - 1, 0)), max_size=4)) if at else set() for at in range(count)]
    return Plan(
        "g",
        [
            WorkflowStep(f"s{at}", "x", {"i": [f"${{o{one}}}" for one in sorted(needs)]}, [f"o{at}"])
            for at, needs in enumerate(earlier)
        ],
    )


def numbers(attributes: dict[str, str | None], *names: str) -> list[float]:
    return [float(attributes[name] or 0) for name in names]


@settings(max_examples=30)
@given(plans())
def test_no_boxes_overlap_and_every_step_is_below_what_it_needs(plan: Plan) -> None:
    boxes = [numbers(one, "x", "y", "width", "height") for one in page(plan).all("rect")]
    for (x, y, width, height), (to_x, to_y, _, _) in combinations(boxes, 2):
        assert abs(x - to_x) >= width or abs(y - to_y) >= height
    at = {step.name: box for step, box in zip(plan.steps, boxes, strict=True)}
    for step in plan.steps:
        assert all(at[one][1] + at[one][3] < at[step.name][1] for one in plan.dependencies(step))


@settings(max_examples=30)
@given(plans())
def test_no_arrow_crosses_a_box(plan: Plan) -> None:
    shown = page(plan)
    boxes = [numbers(one, "x", "y", "width", "height") for one in shown.all("rect")]
    lines = [one["d"] or "" for one in shown.all("path") if one.get("fill") == "none"]
    assert len(lines) == sum(len(plan.dependencies(step)) for step in plan.steps)
    for line in lines:
        straight = re.findall(r" (\S+?),(\S+?)V([\d.]+)", line)
        for x, y, to_y in straight:
            for left, top, width, height in boxes:
                assert not left < float(x) < left + width or float(to_y) < top or float(y) > top + height
        assert all(float(here[2]) < float(following[1]) for here, following in pairwise(straight))
