"""Policy files: from text to single policies, each with its file, line, `@id` and `@reason`."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from itertools import accumulate
from pathlib import Path
from typing import Final, TypeAlias

import cedarpy

from agentic_workflows.errors import PolicyError
from agentic_workflows.policies.decision import Rule
from agentic_workflows.policies.policy import Policy, policy_set

DEFAULT: Final = "default"
ARTICLE: Final = "article"
REFINEMENTS: Final = (
    "system_assigned",
    "created_by_run",
    "people_directories",
    "looked_up",
    "own_domains",
    "verbatim_reads",
    "destructive_as_planned",
)
"""Beside the default: each says in its file what it trusts, so that fewer questions are asked."""
BUILT_IN: Final = (DEFAULT, ARTICLE, *REFINEMENTS)
Sources: TypeAlias = str | Path | Sequence[str | Path]
"""One or several, each the name of a built-in file or a path."""
MAX_BYTES = 1_000_000

MAX_NESTING: Final = 100
MAX_OPERATORS: Final = 1_000
"""Cedar calls itself for each bracket in a bracket and for each operator of a chain, and too many end the process."""

_PART: Final = re.compile(r'//[^\n\r]*|"(?:\\.|[^"\\])*"|;|\s+|[^\s";/]+|.', re.DOTALL)
"""A comment, a string, the end of a policy, space, or other text."""
_SILENT: Final = re.compile(r'//[^\n\r]*|"(?:\\.|[^"\\])*"', re.DOTALL)
_OPERATOR: Final = re.compile(r"\|\||&&|[-+*.\[]|\b(?:if|has)\b")


def load_policies(sources: Sources) -> tuple[Policy, ...]:
    """Return every policy of several files, in order.

    Args:
        sources: names of built-in ones such as `"default"`, or files; one or several.

    Raises:
        PolicyError: there is none, one cannot be read, two have the same `@id`, or `@replaces` fits no other.

    """
    given = [sources] if isinstance(sources, str | Path) or not isinstance(sources, Iterable) else [*sources]
    if not all(isinstance(source, str | Path) for source in given):
        raise PolicyError(f"policies is {sources!r}. Give names of files, or of built-in ones: {', '.join(BUILT_IN)}.")
    policies = tuple(policy for source in given for policy in load_policy_file(source))
    if not policies:
        raise PolicyError(f"No policy file is given. Name one, or a built-in one: {', '.join(BUILT_IN)}.")
    policies = _without_replaced(policies)
    places: dict[str, str] = {}
    for rule in (policy.rule for policy in policies if policy.rule.id != policy.rule.place):
        if rule.id in places:
            raise PolicyError(f"{rule.place}: the @id {rule.id!r} is taken by {places[rule.id]}. Use another.")
        places[rule.id] = rule.place
    return policies


def _without_replaced(policies: tuple[Policy, ...]) -> tuple[Policy, ...]:
    """Return the policies without those that another one replaces with `@replaces("id")`.

    Raises:
        PolicyError: there is no other one with this id, or one would go without another in its place.

    """
    replacing = [policy for policy in policies if policy.replaces is not None]
    for policy in replacing:
        others = [other for other in policies if other is not policy and other.rule.id == policy.replaces]
        what = f"{policy.rule.place}: the rule {policy.rule.id!r} replaces {policy.replaces!r}, which"
        if not others:
            raise PolicyError(f"{what} no given file has. Give the file that has it, too, or take @replaces away.")
        for other in others:
            if other.replaces == policy.replaces:
                raise PolicyError(f"{what} the rule of that name replaces, too. Give {other.rule.place} another @id.")
    _check_circles(replacing)
    replaced = {policy.replaces for policy in replacing}
    return tuple(one for one in policies if one.rule.id not in replaced or one.rule.id == one.replaces)


def _check_circles(replacing: Sequence[Policy]) -> None:
    by_id: dict[str, set[str]] = {}
    for policy in replacing:
        if policy.replaces is not None and policy.replaces != policy.rule.id:
            by_id.setdefault(policy.rule.id, set()).add(policy.replaces)
    try:
        TopologicalSorter(by_id).prepare()
    except CycleError as error:
        path = " -> ".join(map(repr, reversed(error.args[1])))
        place = next(policy.rule.place for policy in replacing if policy.rule.id == error.args[1][0])
        raise PolicyError(f"{place}: rules replace each other: {path}. Take one @replaces away.") from error


def load_policy_file(source: str | Path) -> tuple[Policy, ...]:
    """Return the policies of one file.

    Raises:
        PolicyError: it is missing, unreadable or empty, or holds something that is no policy.

    """
    path, name, is_built_in = Path(source), str(source), source in BUILT_IN
    if is_built_in:
        path = built_in_file(str(source))
        name = path.name
    found = (_parse(text, f"{name}:{line}") for text, line in _split(_read(path, name)))
    policies = tuple(replace(policy, is_built_in=is_built_in) for policy in found)
    if not policies:
        raise PolicyError(f"{name}:1: there is no policy in this file. Write at least one permit rule.")
    return policies


def built_in_file(name: str) -> Path:
    """Return the file of a built-in policy."""
    folder = Path(__file__).parent
    return (folder / "refinements" if name in REFINEMENTS else folder) / f"{name}.cedar"


def _read(path: Path, name: str) -> str:
    try:
        if not path.exists():
            raise PolicyError(f"There is no policy file {name}. Check the path; built in: {', '.join(BUILT_IN)}.")
        if not path.is_file():
            raise PolicyError(f"{name} is no ordinary file, so no policy can be read from it. Name a .cedar file.")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise PolicyError(f"The policy file {name!r} cannot be read: {error}. Check its permissions.") from error
    if len(data) > MAX_BYTES:
        raise PolicyError(f"The policy file {name} has more than {MAX_BYTES:,} bytes. Split it into several.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PolicyError(f"{name}:{line}: this is not UTF-8 text. Save the file as UTF-8.") from error


def _split(text: str) -> Iterator[tuple[str, int]]:
    """Yield each policy with the line on which it begins; text after the last `;` comes as one more."""
    begin: int | None = None
    for part in _PART.finditer(text):
        word = part.group()
        if begin is None and not (word.isspace() or word.startswith("//")):
            begin = part.start()
        if word == ";" and begin is not None:
            yield text[begin : part.end()], text.count("\n", 0, begin) + 1
            begin = None
    if begin is not None:
        yield text[begin:], text.count("\n", 0, begin) + 1


def _is_too_deep(text: str) -> bool:
    code = _SILENT.sub(" ", text)
    nesting = accumulate((one in "([{") - (one in ")]}") for one in code)
    return max(nesting) > MAX_NESTING or len(_OPERATOR.findall(code)) > MAX_OPERATORS


def _too_deep(place: str) -> PolicyError:
    remedy = 'Write several, or in place of a long chain of operators a list: ["a", "b"].contains(context.inputs.path).'
    return PolicyError(f"{place}: the policy that begins here nests too deeply. {remedy}")


@lru_cache(maxsize=256)
def _parse(text: str, place: str) -> Policy:
    if _is_too_deep(text):
        raise _too_deep(place)
    try:
        parsed = json.loads(cedarpy.policies_to_json_str(text))
    except RecursionError as error:
        raise _too_deep(place) from error
    except ValueError as error:
        remedy = "A policy is permit (...) or forbid (...), and ends with ';'."
        raise PolicyError(f"{place}: the policy that begins here has a syntax error: {error}. {remedy}") from error
    if parsed["templates"]:
        raise PolicyError(f"{place}: a template (?principal, ?resource) allows nothing by itself. Write the name out.")
    (cedar,) = parsed["staticPolicies"].values()
    notes = cedar.get("annotations", {})
    rule = Rule(id=notes.get("id") or place, reason=notes.get("reason") or "", place=place)
    policy = Policy(rule=rule, text=text, cedar=cedar)
    try:
        policy_set({0: policy})
    except ValueError as error:  # it would fail at every decision: Cedar reads less deep JSON than text
        raise _too_deep(place) from error
    return policy
