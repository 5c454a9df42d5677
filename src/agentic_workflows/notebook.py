"""Views for notebooks: a plan as a picture of its dataflow with the decision on every step, questions, and results.

What is shown may come from a model or from a file that it read, so all text is escaped in the one place that makes
markup (`_tag`). A view has no script, and takes the notebook's own colour for text: it reads in light and dark.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from html import escape
from typing import Any, TypeAlias

from agentic_workflows.errors import UnresolvedReferenceError
from agentic_workflows.graph.plan import Plan, WorkflowStep, from_json, restore
from agentic_workflows.policies.decision import word_and_why
from agentic_workflows.policies.report import Report
from agentic_workflows.visible import quoted, quoted_name, visible

MOST_DRAWN = 60
"""A plan of more steps is shown as a table only."""

_GREEN, _AMBER, _RED, _BLUE, _GREY = "#2e9e5b", "#c98500", "#d9453d", "#2f7fd0", "#808080"
"""Each can be told from white and from black; what it says stands beside it in words."""
_COLOURS: dict[str, str] = dict.fromkeys(("Allow", "succeeded", "COMPLETE"), _GREEN)
_COLOURS |= dict.fromkeys(("Ask", "asked", "REVIEWING", "PAUSED"), _AMBER)
_COLOURS |= dict.fromkeys(("Deny", "denied", "failed", "FAILED"), _RED)
_COLOURS |= {"At run time": _BLUE}
_BOX, _LANE, _SPACE, _ABOVE, _LINE = 220, 20, 24, 60, 17
"""Pixels: of a box, of an arrow on its way past boxes, between them, between rows, and of a line of text."""
_IN_BOX, _ON_ARROW, _SHORT = 26, 6.5, 160
"""Characters of a line in a box, pixels of a character on an arrow, characters of a value that is cut."""
_WEIGHTS = ("bold", "normal", "normal", "bold")
_CELL = (
    "text-align:left;vertical-align:top;white-space:pre-wrap;overflow-wrap:break-word;max-width:44em;padding-right:1em"
)


@dataclass(frozen=True, kw_only=True, repr=False)
class View:
    """What a notebook displays; its text where HTML cannot be shown."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def show(thing: Plan | Report | Mapping[str, Any]) -> View:
    """Return a view of a plan, of what `examine` or `create_plan` reported, or of the result of a run."""
    if isinstance(thing, Report):
        return _view(*_plan_parts(_Shown(plan=thing.plan, report=thing.to_json())))
    if isinstance(thing, Plan):
        return _view(*_plan_parts(_Shown(plan=thing)))
    if "state" in thing:
        return _view(*_result_parts(thing))
    return _view(*_plan_parts(_Shown(plan=from_json(thing))))


def show_reviews(result: Mapping[str, Any]) -> View:
    """Return a view of the open questions of a run, each with exactly the inputs that an approval would execute."""
    return _view(*_questions(result)) if result["reviews"] else _view(_Text("No question is open."))


class _Html(str):
    """Markup: whatever came from outside is escaped in it."""

    __slots__ = ()


def _tag(name: str, *children: str, **attributes: object) -> _Html:
    inner = "".join(child if isinstance(child, _Html) else escape(visible(child)) for child in children)
    named = (f' {key.strip("_").replace("_", "-")}="{escape(visible(str(one)))}"' for key, one in attributes.items())
    return _Html(f"<{name}{''.join(named)}>{inner}</{name}>")


def _short(value: object, limit: int = _SHORT) -> str:
    line = " ".join(_whole(value).split())
    return line if len(line) <= limit else f"{line[: max(limit - 1, 1)]}…"


def _whole(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True)
class _Text:
    """A line; the state in front of it has a mark."""

    text: str
    state: str = ""

    def to_html(self) -> _Html:
        return _tag("p", _marked(f"{self.state} ") if self.state else "", self.text)

    def to_text(self) -> str:
        return " ".join(visible(f"{self.state} {self.text}").split())


@dataclass(frozen=True)
class _Table:
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def to_html(self) -> _Html:
        head = _tag("tr", *(_tag("th", name, style=_CELL) for name in self.columns))
        rows = (_tag("tr", *map(_cell, self.columns, row)) for row in self.rows)
        table = _tag("div", _tag("table", head, *rows), style="overflow-x:auto")
        return _Html(_tag("p", _tag("b", self.title)) + table)

    def to_text(self) -> str:
        lines = (" | ".join(cell for cell in row if cell) for row in self.rows)
        return visible("\n".join([self.title, *("  " + line.replace("\n", "\n      ") for line in lines)]))


def _cell(column: str, text: str) -> _Html:
    """Return a cell; only what we say ourselves is marked, an output that reads Allow is not."""
    return _tag("td", _marked(text) if text and column in {"Decision", "Status"} else text, style=_CELL)


def _marked(word: str) -> _Html:
    """Return a decision, a status or a state with a mark in its colour."""
    return _Html(_tag("span", "● ", style=f"color:{_colour(word)}", aria_hidden="true") + escape(word))


def _colour(words: str) -> str:
    """Return the colour of a decision, a status or a state, by what is certain already."""
    said = (one.strip().removesuffix(" at least") for one in reversed(words.split(", ")))
    return next((_COLOURS[one] for one in said if one in _COLOURS), _GREY)


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """A plan, and what is known of its steps."""

    plan: Plan
    report: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, Any] | None = None
    """What became of the steps, after a run."""

    def decision(self, step: str) -> tuple[str, str]:
        """Return the decision on a step and its reason."""
        decision = self.report.get("decisions", {}).get(step)
        return word_and_why(decision) if decision else ("", "")

    def status(self, step: str) -> str:
        """Return what became of a step."""
        if self.steps is None:
            return ""
        one: Mapping[str, Any] = self.steps.get(step) or {"status": "not run"}
        ended = one["status"] in {"succeeded", "failed"}
        return f"{one['status']}, {_time(one['seconds'])}" if ended else one["status"]


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


@dataclass(frozen=True, kw_only=True)
class _Picture:
    """A drawing of a plan in rows, each step below all that it waits for.

    A row also has a lane for each step whose outputs pass it on their way to a later row: no arrow crosses a box.
    """

    shown: _Shown

    def to_text(self) -> str:
        """Return nothing: the table beside it says the same."""
        return ""

    def to_html(self) -> _Html:
        """Return the drawing; empty for a plan that is large, or has no order."""
        if not self._depths:
            return _Html()
        boxes = (self._box(step) for step in self.shown.plan.steps)
        arrows = _tag("g", *self._arrows(), opacity=0.7)
        width, height = self._width, self._top(len(self._rows)) - _ABOVE + 4
        style = "font-family:system-ui,sans-serif;font-size:13px;background:none"
        size = {"width": width, "height": height, "viewBox": f"0 0 {width} {height}", "style": style}
        label = f"The dataflow of {len(self.shown.plan.steps)} steps; the table says the same."
        drawing = _tag("svg", arrows, *boxes, role="img", aria_label=label, fill="currentColor", **size)
        return _tag("div", drawing, style="overflow-x:auto;margin:8px 0")

    @cached_property
    def _depths(self) -> Mapping[str, int]:
        """Return the row of each step."""
        plan, depths = self.shown.plan, dict[str, int]()
        try:
            order = plan.order if len(plan.steps) <= MOST_DRAWN else ()
        except UnresolvedReferenceError:
            order = ()
        for name in order:
            depths[name] = 1 + max((depths[one] for one in plan.dependencies(plan.by_name[name])), default=-1)
        return depths if len(depths) == len(plan.steps) else {}

    @cached_property
    def _rows(self) -> list[list[str]]:
        """Return the names of the steps in each row, and of those with a lane there."""
        last = dict(self._depths)
        for step in self.shown.plan.steps:
            for one in self.shown.plan.dependencies(step):
                last[one] = max(last[one], self._depths[step.name] - 1)
        depths = range(max(last.values()) + 1)
        return [[name for name, first in self._depths.items() if first <= at <= last[name]] for at in depths]

    @cached_property
    def _width(self) -> int:
        return max(sum(self._room(at, name) for name in row) for at, row in enumerate(self._rows))

    def _room(self, at: int, name: str) -> int:
        return _SPACE + (_BOX if self._depths[name] == at else _LANE)

    @cached_property
    def _centres(self) -> Mapping[tuple[int, str], float]:
        """Return where each box and lane of each row is, near to what is above it."""
        centres: dict[tuple[int, str], float] = {}
        for at, row in enumerate(self._rows):
            left = (self._width - sum(self._room(at, name) for name in row)) / 2
            for name in sorted(row, key=partial(self._wanted, centres, at)):
                centres[at, name] = left + self._room(at, name) / 2
                left += self._room(at, name)
        return centres

    def _wanted(self, centres: Mapping[tuple[int, str], float], at: int, name: str) -> float:
        """Return the middle of what stands above a box or a lane; the first row keeps the plan's order."""
        plan = self.shown.plan
        above = plan.dependencies(plan.by_name[name]) if self._depths[name] == at else {name}
        return sum(centres[at - 1, one] for one in above) / len(above) if above else 0.0

    @property
    def _tall(self) -> int:
        return 12 + _LINE * (4 if self.shown.steps is not None else 3)

    def _top(self, at: int) -> int:
        return 4 + at * (self._tall + _ABOVE)

    def _box(self, step: WorkflowStep) -> _Html:
        left, top = self._centres[self._depths[step.name], step.name] - _BOX / 2, self._top(self._depths[step.name])
        word, status = self.shown.decision(step.name)[0] or "not decided", self.shown.status(step.name)
        calls = step.action + (", for each" if step.foreach else "") + (", when" if step.when is not None else "")
        colour = _colour(status or word)
        frame = {"rx": 6, "fill": colour, "fill_opacity": 0.1, "stroke": colour, "stroke_width": 1.5}
        lines = (
            _tag("text", _short(line, _IN_BOX), x=left + 10, y=top + _LINE * number, font_weight=weight)
            for number, (line, weight) in enumerate(
                zip((step.name, calls, word, status), _WEIGHTS, strict=True), start=1
            )
        )
        title = _tag("title", f"{step.name}: {calls}")
        return _tag("g", title, _tag("rect", x=left, y=top, width=_BOX, height=self._tall, **frame), *lines)

    def _arrows(self) -> Iterator[_Html]:
        for step in self.shown.plan.steps:
            at = self._depths[step.name]
            above = sorted((self._centres[at - 1, one], one) for one in self.shown.plan.dependencies(step))
            slot = _BOX / (len(above) + 1)
            for number, (_, one) in enumerate(above, start=1):
                x = self._centres[at, step.name] - _BOX / 2 + number * slot
                yield self._arrow(self.shown.plan.by_name[one], step, x, int(slot / _ON_ARROW))

    def _arrow(self, producer: WorkflowStep, step: WorkflowStep, x: float, room: int) -> _Html:
        """Return the arrow that ends at x, with the names of what it carries as far as there is room."""
        used = {reference.name for _, reference in step.references}
        label = ", ".join(name for name in producer.outputs if name in used)
        end = self._top(self._depths[step.name]) - 7
        name = _tag("text", _short(label or "after", room), x=x + 5, y=end - 4, font_size=11)
        head = _tag("path", d=f"M{x - 4},{end}h8l-4,7z")
        line = {"fill": "none", "stroke": "currentColor", "stroke_dasharray": "none" if label else "4 3"}
        return _Html(_tag("path", d=self._path(producer.name, step.name, x, end), **line) + head + name)

    def _path(self, producer: str, step: str, x: float, end: int) -> str:
        """Return the way from a box through its lanes; the last of it is straight and leaves room for the text."""
        first, last = self._depths[producer], self._depths[step]
        path = f"M{self._centres[first, producer]},{self._top(first) + self._tall}"
        for at in range(first + 1, last + 1):
            to_x, to_y, on = (x, end - 18, end) if at == last else self._lane(at, producer)
            from_x, middle = self._centres[at - 1, producer], self._top(at) - _ABOVE * 0.65
            path += f"C{from_x},{middle} {to_x},{middle} {to_x},{to_y}V{on}"
        return path

    def _lane(self, at: int, name: str) -> tuple[float, int, int]:
        return self._centres[at, name], self._top(at), self._top(at) + self._tall


def _plan_parts(shown: _Shown) -> "Iterator[_Part]":
    plan = shown.plan
    yield _Text(f"Plan: {plan.goal}")
    findings = [_finding(one) for one in shown.report.get("findings", ())]
    if findings:
        yield _Table("Refused, nothing of it runs:", ("Where", "What is wrong", "Remedy"), findings)
    yield _Picture(shown=shown)
    names = shown.report.get("order") or [step.name for step in plan.steps]
    rows = [_row(str(at), plan.by_name[name], shown) for at, name in enumerate(names, start=1)]
    yield _Table("Steps, in the order in which they read:", ("", "Step", "Action", "Inputs", "Decision", "Why"), rows)


def _finding(finding: Mapping[str, Any]) -> Sequence[str]:
    where = ".".join(part for part in (finding["step"], finding["field"]) if part)
    return where or "the plan", finding["problem"], finding["remedy"]


def _row(number: str, step: WorkflowStep, shown: _Shown) -> Sequence[str]:
    options = {"for each": step.foreach, "when": step.when}
    inputs = [f"{name}: {_short(value)}" for name, value in step.inputs.items()]
    inputs += [f"{name} {_short(value)}" for name, value in options.items() if value is not None]
    return number, step.name, step.action, "\n".join(inputs), *shown.decision(step.name)


def _result_parts(result: Mapping[str, Any]) -> "Iterator[_Part]":
    yield _Text(" ".join(filter(None, [result["goal"], result["reason"]])), result["state"])
    if result["plan"]:
        plan = restore(result["plan"])
        yield _Picture(shown=_Shown(plan=plan, report=result["report"] or {}, steps=result["steps"]))
    yield from _questions(result)
    if result["outputs"]:
        rows = [(name, _short(value)) for name, value in result["outputs"].items()]
        yield _Table("Outputs:", ("Name", "Value"), rows)
    if result["history"]:
        yield _Table("History:", ("Step", "Status", "Result"), [_entry(one) for one in result["history"]])


def _entry(entry: Mapping[str, Any]) -> Sequence[str]:
    said = entry.get("reason") or entry["result"]
    return entry["step"] or "", entry.get("status", ""), "" if said is None else _short(said)


def _questions(result: Mapping[str, Any]) -> "Iterator[_Part]":
    """Yield each open question, its inputs whole: a person answers for all of them."""
    for one in result["reviews"]:
        rules = f" [{', '.join(one['rules'])}]" if one["rules"] else ""
        rows = [(quoted_name(name), quoted(value)) for name, value in one["args"].items()]
        yield _Table(f"May this run? {one['description']}{rules} (review {one['id']})", ("Input", "Value"), rows)


_Part: TypeAlias = _Text | _Table | _Picture


def _view(*parts: _Part) -> View:
    # A notebook would typeset what stands between two dollar signs, and references have them.
    html = _tag("div", *(part.to_html() for part in parts), class_="tex2jax_ignore mathjax_ignore")
    return View(html=html, text="\n".join(text for text in (part.to_text() for part in parts) if text))
