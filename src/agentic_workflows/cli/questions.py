"""Questions to the person at the terminal; the answer that costs no thought is reject.

To what is in doubt it is later: whether something happened, silence does not say.
"""

import json
import sys
import termios
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from agentic_workflows.cli.output import Output, in_line, indented, shortened
from agentic_workflows.cli.signals import wait_for_line
from agentic_workflows.cli.tables import came_from
from agentic_workflows.graph.review import (
    Answer,
    Reject,
    answer_by,
    approve,
    edit,
    is_begun,
    reject,
    respond,
    step_of,
)
from agentic_workflows.visible import quoted, quoted_name

_PROMPT: Final = "[a]pprove  {change}[r]eject  re[s]pond  [l]ater  (Enter: reject) > "
_CHANGE: Final = "[e]dit  "
_DOUBT_PROMPT: Final = "It happened: re[s]pond  {again}Give it up: [r]eject  [l]ater  (Enter: later) > "
_AGAIN: Final = "Do it again: [a]pprove  "
_LETTERS: Final = {"approve": "a", "edit": "e", "reject": "r", "respond": "s", "later": "l"}
_MOST: Final = 4_000
"""Characters of one input that are shown; it says so where there are more."""
_OVERVIEW: Final = 80
_INDENT: Final = 12


def ask_all(questions: Sequence[Mapping[str, Any]], output: Output) -> list[Answer]:
    """Show what is asked, then ask one question after the other and return the answers; a later one has none.

    A rejection ends the round: the run plans again, so that no other answer would count. Ctrl-C drops the answers.

    Raises:
        EOFError: the input has ended; that drops them, too.

    """
    if len(questions) > 1:  # nobody has to answer the first one without knowing of the last
        output.say(f"\n{len(questions)} questions wait for you:")
        for number, question in enumerate(questions, start=1):
            output.say(f"  {number}  {_call(question)}  {shortened(question['args'], _OVERVIEW)}")
    answers: list[Answer] = []
    for number, question in enumerate(questions, start=1):
        show_question(question, output, number=number, total=len(questions))
        answer = _ask(question, output)
        if isinstance(answer, Reject):
            return [answer]
        if answer is not None:
            answers.append(answer)
    return answers


def show_question(question: Mapping[str, Any], output: Output, *, number: int, total: int) -> None:
    """Show what would be done, with exactly which inputs, and why a person is asked."""
    may = "did" if question.get("in_doubt") else "may"
    rules = f" [{', '.join(question['rules'])}]" if question["rules"] else ""
    output.say(f"\nQuestion {number} of {total}: {may} {_call(question)}?")
    output.say(f"  Review: {question['id']}")
    output.say(f"  Why:    {indented(question['reason'], _INDENT)}{rules}")
    if by := answer_by(question):
        output.say(f"  Until:  {by}; then it counts as rejected")
    for name, value in question["args"].items():
        text = value if isinstance(value, str) else quoted(value, indent=2)
        more = f" ... ({len(text) - _MOST:,} characters more)" if len(text) > _MOST else ""
        shown = indented(quoted(text[:_MOST]) if text is value else text[:_MOST], _INDENT)
        source = came_from(question.get("provenance", {}).get(name, ()))
        output.say(f"  Input:  {quoted_name(name)} = {shown}{more}{source}")


def _call(question: Mapping[str, Any]) -> str:
    return f"step {in_line(step_of(question))} call {in_line(question['name'])}"


def _ask(question: Mapping[str, Any], output: Output) -> Answer | None:
    one = str(question["id"])
    match _letter(question, output):
        case "a":
            return approve(one)
        case "s":
            return respond(_read("The result to take in its place > "), one)
        case "e":
            inputs = _inputs(question, output)
            return _ask(question, output) if inputs is None else edit(inputs, one)
        case "r":
            return reject(_read("Rejected. What should the planner know? (Enter: nothing) > ").strip(), one)
    return None


def _letter(question: Mapping[str, Any], output: Output) -> str:
    """Return the letter of an answer that the question can have; what is none of them is asked again."""
    change, letters = ("", list("arsl")) if is_begun(question) else (_CHANGE, list("aersl"))
    prompt, enter = _PROMPT.format(change=change), "r"
    if question.get("in_doubt"):
        again, letters = ("", list("rsl")) if question.get("replaced") else (_AGAIN, list("arsl"))
        prompt, enter = _DOUBT_PROMPT.format(again=again), "l"
    while True:
        typed = _read(prompt).strip().lower()
        letter = _LETTERS.get(typed, typed) or enter
        if letter in letters:
            return letter
        output.say(f"{shortened(typed, _OVERVIEW)!r} is no answer. Type one of the letters.")


def _inputs(question: Mapping[str, Any], output: Output) -> dict[str, Any] | None:
    """Return the inputs changed by what is typed; None where that cannot be read."""
    typed = _read('The inputs to change, as JSON such as {"path": "other.md"} > ')
    with suppress(ValueError):
        changes = json.loads(typed)
        if isinstance(changes, dict):
            return {**question["args"], **changes}
    output.say(f"{shortened(typed, _OVERVIEW)!r} is no JSON object. Nothing is changed yet.")
    return None


def _read(prompt: str) -> str:
    """Return a line; what was typed before the question does not count.

    Raises:
        EOFError: the input has ended.

    """
    with suppress(termios.error, OSError, ValueError):
        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
        sys.stderr.write(prompt)
        sys.stderr.flush()
        wait_for_line()
        prompt = ""
    return input(prompt)
