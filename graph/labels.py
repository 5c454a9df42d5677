"""Labels: which sources a value derives from, and how far each of them is trusted.

A label is a frozen set of sources, shared wherever it does not change. It grows and never shrinks: what an action gives
derives from all that determined the call.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Final, Literal, TypeAlias, cast

from agentic_workflows.graph.catalogue import ActionSpec, remembered
from agentic_workflows.graph.paths import fields_of, is_below, keeps_texts, may_hold
from agentic_workflows.graph.values import JsonValue

Kind: TypeAlias = Literal["goal", "plan", "output"]
Trait: TypeAlias = Literal["trusted", "assigned", "directory", "created", "secret", "behind", "reworked", "entrusted"]


@dataclass(frozen=True)
class Source:
    """Where a part of a value comes from: the goal, the plan itself, or a field of what an action gives."""

    kind: Kind
    action: str = ""
    field: str = ""
    """Dotted names, without the indexes of lists; empty for the whole output."""
    traits: frozenset[Trait] = frozenset()
    """What is known of it:

    - `trusted`: it may steer an effect.
    - `assigned`: the system itself has given it, such as an id.
    - `directory`: it names whom the system knows, such as a member or a sender.
    - `created`: an action with an effect gave it.
    - `secret`: it is a credential, or holds one.
    - `behind`: it only had a part in the call that gave the value, and nothing of it is in the value.
    - `reworked`: something else may have been made of it.
    - `entrusted`: it is a secret that an action was given in an argument made for secrets, and so is taken not to be in
      what that action gave.
    """

    @cached_property
    def is_trusted(self) -> bool:
        """Whether it may steer an effect."""
        return "trusted" in self.traits

    @cached_property
    def is_secret(self) -> bool:
        """Whether it is a secret, and did not only help to get the value."""
        return "secret" in self.traits and "entrusted" not in self.traits

    @cached_property
    def shown(self) -> str:
        """The source in words: `read_inbox.body`."""
        if not self.action:
            return "an unknown source" if self.kind == "output" else f"the {self.kind}"
        return f"{self.action}.{self.field}" if self.field else self.action

    def to_json(self) -> list[JsonValue]:
        """Return the source as plain JSON."""
        return [self.kind, self.action, self.field, cast("JsonValue", sorted(self.traits))]


Label: TypeAlias = frozenset[Source]

NOTHING: Final[Label] = frozenset()
GOAL: Final[Label] = frozenset({Source("goal", traits=frozenset({"trusted"}))})
PLAN: Final[Label] = frozenset({Source("plan", traits=frozenset({"trusted"}))})
LATE_PLAN: Final[Label] = frozenset({Source("plan")})
"""Of the words of a plan that was made after untrusted output was seen."""
_ANYWHERE: Final = frozenset({""})
UNKNOWN: Final[Label] = frozenset({Source("output")})
"""Of what nobody has labelled."""


def label_from_json(data: Iterable[object]) -> Label:
    """Return the label that lists of `Source.to_json` describe."""
    return frozenset(
        _source(kind, action, name, frozenset(traits))
        for kind, action, name, traits in cast("Iterable[list[Any]]", data)
    )


def joined(labels: Iterable[Label]) -> Label:
    """Return the union of labels; the same object where one of them holds all."""
    whole = NOTHING
    for label in labels:
        if not label <= whole:
            whole = label if whole <= label else whole | label
    return whole


@lru_cache(maxsize=1024)
def is_plain(label: Label) -> bool:
    """Tell whether nothing untrusted and no secret is in a label."""
    return all(one.is_trusted and "secret" not in one.traits for one in label)


@lru_cache(maxsize=1024)
def holds_secret(label: Label) -> bool:
    """Tell whether a secret may be in what has a label, and not only have helped to get it."""
    return any(one.is_secret for one in label)


@dataclass(frozen=True)
class Origin:
    """Where one named output comes from: the call that gave it, and which part of the result it is."""

    action: ActionSpec | None
    """None where nobody knows it, and then nothing of it is trusted."""
    inherited: Label
    """All that determined the call, but what was only its content."""
    parts: frozenset[str] = frozenset({""})
    """Fields of the result that the value is or is made of."""
    under: frozenset[str] = frozenset({""})
    """Names in the result below which the fields may stand: empty for the result itself, several before the run."""
    content: Label = NOTHING
    """What the call was given as content, and so steered nothing of what it did."""
    choosing: frozenset[str] = frozenset()
    """Fields of the result that only say which part of it the value is."""
    is_call_certain: bool = True
    """True where nothing at run time can take a source away from what determined the call."""
    added: Label = NOTHING
    """What else is in the value, that the call did not give."""
    is_whole: bool = True
    """Whether the value stands in the result as it is: no path made other text of it."""

    def narrowed(self, path: str, added: Label) -> "Origin":
        """Return the origin of what a path leads to, and of what the path itself adds."""
        if not path:
            return self
        fields = fields_of(path, self.parts)
        choosing = self.choosing | fields.choosing
        is_whole = self.is_whole and keeps_texts(path)
        return replace(self, parts=fields.given, choosing=choosing, added=self.added | added, is_whole=is_whole)

    @cached_property
    def is_certain(self) -> bool:
        """Whether the run can make no difference to how far the value is trusted."""
        if self.action is None:
            return True
        read = self.parts | self.choosing
        return self.is_call_certain and len({output_label(self.action, read, one) for one in self._places}) == 1

    @cached_property
    def label(self) -> Label:
        """The label of the value."""
        if self.action is None:
            return joined([self.inherited, self.content, self.added, UNKNOWN])
        if self.action.annotations.verbatim:
            return joined([self.inherited, self.content, self.added])
        return joined([self.added, *(self._label(self.action, under) for under in self._places)])

    @property
    def _places(self) -> frozenset[str]:
        """Where the fields may stand, as far as it makes a difference."""
        return self.under if self.names_fields else _ANYWHERE

    @property
    def names_fields(self) -> bool:
        """Tell whether it makes a difference where in the result the fields stand."""
        return self.action is not None and self.action.annotations.names_fields

    def _label(self, action: ActionSpec, under: str) -> Label:
        """Return the label of the value if it stands under this name in the result.

        Nothing that the call was given is in an entry which it looked up in a directory, and nothing of its content in
        what the system assigned. Anything else may be made of all that the call was given.
        """
        own, choosing = (output_label(action, fields, under) for fields in (self.parts, self.choosing))
        if own and not action.has_effect and all("directory" in one.traits for one in own):
            inherited, content = behind(self.inherited), behind(self.content)
        elif own and all("assigned" in one.traits for one in own):
            inherited, content = self.inherited, behind(self.content)
        else:
            inherited, content = reworked(self.inherited), reworked(self.content)
        return joined([own, behind(choosing), inherited, content])


@remembered
def result_label(action: ActionSpec, call: Label) -> Label:
    """Return the label of all that an action gives, by the label of the call."""
    return Origin(action, call).label


@lru_cache(maxsize=256)
def behind(label: Label) -> Label:
    """Return the label of what a value was looked up with, which is not in the value itself."""
    return frozenset(map(_behind, label))


@lru_cache(maxsize=256)
def reworked(label: Label) -> Label:
    """Return a label with a note at its untrusted sources that something else may have been made of them."""
    return frozenset(map(_reworked, label))


@lru_cache(maxsize=256)
def entrusted(label: Label) -> Label:
    """Return the label of what was got with a value that was given in an argument made for secrets."""
    return frozenset(map(_entrusted, label))


# One object for all that are equal: sets of them are compared again and again.


_source = lru_cache(maxsize=65_536)(Source)


@lru_cache(maxsize=65_536)
def _behind(source: Source) -> Source:
    return source if source.is_trusted else replace(source, traits=(source.traits - {"reworked"}) | {"behind"})


@lru_cache(maxsize=65_536)
def _reworked(source: Source) -> Source:
    stays = source.is_trusted or "behind" in source.traits
    return source if stays else replace(source, traits=source.traits | {"reworked"})


@lru_cache(maxsize=65_536)
def _entrusted(source: Source) -> Source:
    return replace(source, traits=source.traits | {"entrusted"}) if "secret" in source.traits else source


@remembered
def output_label(action: ActionSpec, fields: frozenset[str], under: str) -> Label:
    """Return the label of fields of an action's output, where they stand under a name in it, or of the whole of it."""
    return frozenset(output_source(action, field, under) for field in fields)


def output_source(action: ActionSpec, part: str, under: str = "") -> Source:
    """Return the source for a field of an action's output, or of what stands under a name in that."""
    notes, field = action.annotations, ".".join(filter(None, (under, part)))
    holds: dict[Trait, bool] = {
        "trusted": notes.trusted,
        "assigned": any(is_below(field, one) for one in notes.trusted_fields),
        "directory": any(is_below(field, one) for one in notes.directory_fields),
        "created": action.has_effect,
        # What holds a secret somewhere inside is one, too.
        "secret": any(may_hold(field, one) for one in notes.secret_fields),
    }
    return _source("output", action.name, part, frozenset(trait for trait, held in holds.items() if held))
