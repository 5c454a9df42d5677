"""What a plan may call: names, schemas and annotations of actions, and none of their code."""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property, wraps
from typing import Any, Literal, TypeAlias, TypeVar, cast

from agentic_workflows.errors import ActionError
from agentic_workflows.graph.values import JsonObject, JsonValue, canonical

ArgumentClass: TypeAlias = Literal["target", "value", "secret", "param", "content"]
Find = TypeVar("Find", bound=Callable[..., Any])
Resources: TypeAlias = Callable[[Mapping[str, JsonValue]], Collection[str]]
"""From resolved inputs, the names of all that the call reads or changes; `files/notes` takes in `files/notes/a`."""

DANGEROUS = ("delete_all", "admin_action", "financial_transaction")
"""The three actions that no run ever executes; always part of the policy schema."""
TRUST = "trust"
"""The Cedar action of rules that vouch for data; no action may take this name."""
MOST_REMEMBERED = 1_024
"""Results that are remembered of one action; with one more, all of them are forgotten."""
GROUPS = ("read_only", "effect", "destructive", "open_world", "undeclared")
"""Cedar groups an action can be in; no action may take one of these names."""


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """What an action does to the world, as in MCP; whatever is not said is taken as the worst."""

    read_only: bool = False
    destructive: bool = True
    """Means something only where the action is not read-only."""
    idempotent: bool = False
    """A second equal call changes nothing more."""
    open_world: bool = True
    """Reaches beyond what this run controls: a mailbox, the web, a person."""
    arguments: Mapping[str, ArgumentClass] = field(default_factory=dict)
    """An argument that is not named is a `target`."""
    trusted: bool = False
    """Whether what it gives may steer later steps, as far as what it was given may."""
    trusted_fields: tuple[str, ...] = ()
    """Fields of the output that the system itself assigns, such as ids: dotted names, `*` for any one name."""
    directory_fields: tuple[str, ...] = ()
    """Fields that name who was let in or who the system says it was: members, contacts, senders; `*` for all of it."""
    secret_fields: tuple[str, ...] = ()
    """Fields that hold credentials."""
    verbatim: bool = False
    """The output stands word for word in one of the arguments, so it is no source of its own."""

    def __post_init__(self) -> None:
        for one in fields(self):
            object.__setattr__(self, one.name, _meant(one.name, one.type, getattr(self, one.name)))

    @property
    def is_retryable(self) -> bool:
        """Tell whether a failed attempt may be made again without asking."""
        return self.read_only or self.idempotent

    @property
    def names_fields(self) -> bool:
        """Tell whether single fields of the output are declared to be something else than the rest."""
        return bool(self.trusted_fields or self.directory_fields or self.secret_fields)


def _meant(name: str, kind: object, given: object) -> object:
    """Return the value of an annotation in the type that it is kept in.

    Raises:
        ActionError: it is of another type; the text "no", for example, would pass for a yes.

    """
    if kind is bool:
        if isinstance(given, bool):
            return given
        wanted = "True or False"
    elif name == "arguments":
        if isinstance(given, Mapping):
            return dict(given)
        wanted = 'a mapping of arguments to their classes, such as {"to": "target"}'
    else:
        if isinstance(given, Sequence) and not isinstance(given, str) and all(isinstance(one, str) for one in given):
            return tuple(given)
        wanted = 'a tuple of dotted names, such as ("messages.id",)'
    raise ActionError(f"{name} is {given!r}; give {wanted}.")


@dataclass(frozen=True, kw_only=True, eq=False)
class ActionSpec:
    """The declaration of one action; it equals itself only, so that what was worked out of it can be remembered."""

    name: str
    description: str = ""
    input_schema: JsonObject = field(default_factory=lambda: {"type": "object"})
    output_schema: JsonObject | None = None
    annotations: Annotations = field(default_factory=Annotations)
    resources: Resources | None = None
    """None means everything: the call keeps its place among all effects."""
    undeclared: bool = False
    """Named by a plan only, by an agent without declared actions."""

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy begins with: nothing that was worked out, for it may come to declare something else."""
        kind = type(self)
        worked_out = {name for name in vars(self) if isinstance(getattr(kind, name, None), cached_property)}
        return {name: value for name, value in vars(self).items() if name not in worked_out}

    @cached_property
    def input_validator(self) -> Any:
        """The input schema, compiled."""
        return _compiled(self.input_schema)

    @cached_property
    def output_validator(self) -> Any:
        """The output schema, compiled; None where there is none."""
        return None if self.output_schema is None else _compiled(self.output_schema)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Return the names of the arguments that are declared."""
        properties = self.input_schema.get("properties")
        return tuple(properties) if isinstance(properties, dict) else ()

    @cached_property
    def has_effect(self) -> bool:
        """Whether the action changes anything."""
        return not self.annotations.read_only

    @cached_property
    def takes_secrets(self) -> bool:
        """Whether an argument is declared as a secret; no other one is ever given one."""
        return "secret" in self.annotations.arguments.values()

    def class_of(self, argument: str) -> ArgumentClass:
        """Return the class of an argument; one that nobody classed is a target."""
        return self.annotations.arguments.get(argument, "target")

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """The Cedar groups that the action is in."""
        notes = self.annotations
        member = {
            "read_only": notes.read_only,
            "effect": not notes.read_only,
            "destructive": not notes.read_only and notes.destructive,
            "open_world": notes.open_world,
            "undeclared": self.undeclared,
        }
        return tuple(group for group in GROUPS if member[group])

    @cached_property
    def remembered(self) -> dict[tuple[Hashable, ...], Any]:
        """Results of functions under `@remembered`, by the function and what else it was given."""
        return {}


def _compiled(schema: JsonObject) -> Any:
    from agentic_workflows.graph.json_schema import compiled  # noqa: PLC0415 - slow to import, for what only runs need

    return compiled(canonical(schema))


def remembered(find: Find) -> Find:
    """Remember the results of a function of an action and further hashable arguments, as long as the action lives."""

    @wraps(find)
    def recalled(action: ActionSpec, *more: Hashable) -> Any:
        known, key = action.remembered, (find, *more)
        found = known.get(key)
        if found is None:
            if len(known) >= MOST_REMEMBERED:
                known.clear()
            found = known[key] = find(action, *more)
        return found

    return cast("Find", recalled)


Catalogue: TypeAlias = Mapping[str, ActionSpec]
