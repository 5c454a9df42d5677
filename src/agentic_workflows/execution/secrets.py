"""Secrets: a plan names them, and nobody but the action that gets one knows its value.

`${secrets.NAME}` is the whole of an argument that its action declares as `secret`. Plans, policies, journal, traces,
events and people see it as it is written; the execution point puts the value in its place right before an attempt, and
takes it out of whatever the attempt gives back, also without the space around it, as a number if it is a long one, and
as Python and JSON escape it, inside one another as well. A value that an action encodes in another way, or cuts in
pieces, is not recognised; nor is a number of fewer than six digits, or one that the secret writes with zeros in front:
it may be any other number.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple, TypeAlias

from agentic_workflows.graph.plan import WorkflowStep
from agentic_workflows.graph.references import secret_name
from agentic_workflows.graph.values import JsonValue

Secrets: TypeAlias = Callable[[str], str | None] | Mapping[str, str]
"""Gives the value of a secret by its name; a function returns None where it is not set."""

VARIABLE = "AGENTIC_SECRET_"
DEPTH: Final = 3
"""How often text that holds a secret is recognised when it is escaped again: JSON in JSON in the text of an error."""
_NUMBER: Final = re.compile(r"\s*[1-9][0-9]{5,19}\s*")
"""A secret that JSON has the same whole number for, up to 64 bits; a short one would hide what is not the secret."""


def secret_of_environment(name: str) -> str | None:
    """Return the secret that the environment holds as `AGENTIC_SECRET_` and its name."""
    return os.environ.get(VARIABLE + name)


def named_secrets(step: WorkflowStep, inputs: Mapping[str, JsonValue]) -> dict[str, str]:
    """Return the secrets that a call gets, by argument; what a person or a file wrote there instead names none."""
    planned = {argument: secret_name(text) for argument, text in step.inputs.items()}
    same = (argument for argument in planned if inputs.get(argument) == step.inputs[argument])
    return {argument: name for argument in same if (name := planned[argument])}


def fetch(names: Iterable[str], secrets: Secrets) -> tuple[dict[str, str], str]:
    """Return secrets by name, or why they cannot be used; that never shows what they hold."""
    get = secrets.get if isinstance(secrets, Mapping) else secrets
    found: dict[str, str] = {}
    missing: list[str] = []
    for name in sorted(set(names)):
        try:
            secret: object = get(name)
        except Exception as error:  # noqa: BLE001 - the operator's own code
            return {}, f"The secret {name} could not be read: {type(error).__name__}."
        if secret is None or secret == "":
            missing.append(name)
        elif isinstance(secret, str):
            found[name] = secret
        else:
            return {}, f"The secret {name} is given as {type(secret).__name__}; give it as str."
    if missing:
        is_given = secrets is not secret_of_environment
        hint = "is what `secrets=` gives for NAME" if is_given else f"is read from {VARIABLE}NAME"
        return {}, f"These secrets are not set: {', '.join(missing)}. A secret NAME {hint}."
    return found, ""


def hidden(value: JsonValue, known: Mapping[str, str]) -> JsonValue:
    """Return a value with every secret in it replaced by its name."""
    if not known:
        return value
    names = {form: name for name, secret in known.items() for form in _forms(secret)}
    # The longest first: one secret may be the beginning of another.
    anywhere = re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))))
    numbers: dict[object, str] = {int(secret): name for name, secret in known.items() if _NUMBER.fullmatch(secret)}
    return _replaced(value, _Known(anywhere, names, numbers))


class _Known(NamedTuple):
    """What to look for, and the names of the secrets that it is."""

    anywhere: re.Pattern[str]
    names: Mapping[str, str]
    numbers: Mapping[object, str]


def _shown(name: str) -> str:
    return f"[secret {name}]"


def _forms(secret: str) -> set[str]:
    """Return a secret as it is, and as Python and JSON write it inside other text, and that inside other text again."""
    forms = {secret, secret.strip() or secret}  # the files of secrets end in a line break
    for _ in range(DEPTH):
        forms |= {written for form in forms for written in _written(form)}
    return forms


def _written(text: str) -> Iterator[str]:
    yield from (shown[1:-1] for shown in (repr(text), json.dumps(text), json.dumps(text, ensure_ascii=False)))
    # Python writes single quotes in two ways, as the rest of the text has them.
    yield repr('"' + text)[2:-1]


def _replaced(value: JsonValue, known: _Known) -> JsonValue:
    if isinstance(value, str):
        return known.anywhere.sub(lambda found: _shown(known.names[found.group()]), value)
    if isinstance(value, Mapping):
        replaced = ((_replaced(key, known), inner) for key, inner in value.items())
        return {str(key): _replaced(inner, known) for key, inner in replaced}
    if isinstance(value, list):
        return [_replaced(inner, known) for inner in value]
    is_one = isinstance(value, int | float) and not isinstance(value, bool) and value in known.numbers
    return _shown(known.numbers[value]) if is_one else value


@contextmanager
def kept_from_traces(known: Mapping[str, str]) -> Iterator[None]:
    """Keep what is called inside from being traced, where it is given secrets: LangChain traces a tool's arguments.

    Nor is a graph that is called inside a part of the run: LangGraph would stream and keep what that is given.

    A handler of one's own that `register_configure_hook` adds to whatever LangChain calls is not kept from it.
    """
    if not known:
        yield
        return
    from langchain_core.runnables.config import var_child_runnable_config  # noqa: PLC0415 - a run has it loaded
    from langchain_core.tracers.context import run_collector_var  # noqa: PLC0415
    from langsmith.run_helpers import tracing_context  # noqa: PLC0415

    from agentic_workflows.graph.inside import APART  # noqa: PLC0415

    before = var_child_runnable_config.set({"callbacks": [], "configurable": {APART: True}})
    collector = run_collector_var.set(None)
    try:
        with tracing_context(enabled=False):
            yield
    finally:
        run_collector_var.reset(collector)
        var_child_runnable_config.reset(before)
