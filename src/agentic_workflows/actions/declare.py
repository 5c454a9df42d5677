"""`@action`: a typed Python function is an action; its schemas come from its signature."""

import asyncio
import functools
import inspect
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from contextvars import copy_context
from dataclasses import dataclass, fields
from threading import Thread
from typing import Annotated, Any, TypeAlias, get_type_hints, overload

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from agentic_workflows.actions.action import Action, ActionCall, Reconcile, awaited
from agentic_workflows.errors import ActionError, ResultError
from agentic_workflows.graph.catalogue import Annotations, ArgumentClass, Resources
from agentic_workflows.graph.findings import did_you_mean
from agentic_workflows.graph.json_schema import compiled
from agentic_workflows.graph.values import JsonObject, JsonValue, as_json, canonical
from agentic_workflows.under_way import under_way

Function: TypeAlias = Callable[..., object]

_ARGUMENT = re.compile(r"(\w+)(?:\s*\([^)]*\))?:\s*(.*)")
_SAID = frozenset(one.name for one in fields(Annotations))
_CALLS = (ActionCall, ActionCall | None)
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@overload
def action(function: Function, /) -> Action: ...
@overload
def action(
    *,
    name: str | None = None,
    description: str | None = None,
    read_only: bool = False,
    destructive: bool = True,
    idempotent: bool = False,
    open_world: bool = True,
    arguments: Mapping[str, ArgumentClass] | None = None,
    trusted: bool = False,
    trusted_fields: tuple[str, ...] = (),
    directory_fields: tuple[str, ...] = (),
    secret_fields: tuple[str, ...] = (),
    verbatim: bool = False,
    resources: Resources | None = None,
    reconcile: Reconcile | None = None,
) -> Callable[[Function], Action]: ...
def action(
    function: Function | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    arguments: Mapping[str, ArgumentClass] | None = None,
    resources: Resources | None = None,
    reconcile: Reconcile | None = None,
    **notes: Any,
) -> Action | Callable[[Function], Action]:
    """Declare a typed function, plain or async, as an action; what is not said is taken as the worst.

    A plain function runs in a thread, which nothing can stop: let one that may hang be async. An async one should hand
    an effect to no thread by itself (`asyncio.to_thread`): it may happen yet when the call was cut, and nobody sees it.
    A parameter that is annotated `ActionCall` gets the call, with its `idempotency_key`, and is no input of a plan.

    Args:
        function: what is declared, where nothing else is said of it: `@action` alone.
        name: what plans call it; by default the function's own.
        description: what planners read of it; by default the first paragraph of its docstring.
        arguments: the class of each argument: `target` (whom, where, which; what nobody classed), `value` (how much),
            `secret` (a plan names it, `${secrets.NAME}`, and the call gets it), `param` (when, how) or `content`.
        resources: from the inputs of a call, the names of all that it reads or changes: calls that have none in common
            may run at the same time. Without it each effect keeps its place.
        reconcile: finds out what became of a call that may have had its effect, after a crash, a timeout or a lost
            connection. It gets that `ActionCall` and gives `Found(result=...)` where the effect took place, None where
            it did not, and raises where that cannot be told: then a person is asked, unless it is idempotent.
        **notes: fields of `Annotations`. `read_only`: it changes nothing. `destructive`: it may overwrite or delete.
            `idempotent`: a second call with the same `idempotency_key` changes nothing more, so one that was lost is
            made again without asking. `open_world`: it reaches beyond what this run controls. `trusted`: what it gives
            may steer later steps without a person.

    Raises:
        ActionError: what is declared is no function, its signature does not say what the action takes and gives, or an
            annotation is none.

    """

    def declare(function: Function) -> Action:
        signature = _Signature.of(function)
        return Action(
            name=name or function.__name__,
            description=_summary(function) if description is None else description,
            input_schema=signature.input_schema(_argument_docs(function)),
            output_schema=signature.output_schema,
            annotations=_annotations(function, {**notes, "arguments": {} if arguments is None else arguments}),
            resources=resources,
            run=_runner(function, signature),
            reconcile=reconcile,
        )

    return declare if function is None else declare(function)


def _annotations(function: Function, notes: Mapping[str, Any]) -> Annotations:
    where = f"{function.__name__}() is declared wrongly"
    if unknown := sorted(notes.keys() - _SAID):
        remedy = did_you_mean(unknown[0], sorted(_SAID), title="There are")
        raise ActionError(f"{where}: there is no {unknown[0]!r}. {remedy}")
    try:
        return Annotations(**notes)
    except ActionError as error:
        raise ActionError(f"{where}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class _Signature:
    """What a function takes and gives, as pydantic sees it."""

    function: str
    parameters: tuple[str, ...]
    """Those that are inputs."""
    calls: tuple[str, ...]
    """Those that get the call itself."""
    model: type[BaseModel]
    """A field per input, called by its position, so that no parameter's name is in pydantic's way."""
    result: TypeAdapter[Any]
    """A tuple of the one result: not every type takes the setting that has NaN stay one, and no null."""
    output_schema: JsonObject

    @classmethod
    def of(cls, function: Function) -> "_Signature":
        """Read the signature of a function."""
        if not inspect.isroutine(function):
            raise ActionError(f"{function!r} is no function. Declare a `def`; @action(name=...) names it.")
        name = getattr(function, "__qualname__", repr(function))
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ActionError(f"{name}() yields; an action returns one result. Collect what it yields in a list.")
        parameters = inspect.signature(function).parameters
        hints = _hints(function, name)
        for parameter in parameters.values():
            _check_parameter(parameter, hints, name)
        if "return" not in hints:
            raise ActionError(f"{name}() does not say what it gives; annotate its result, as in `-> str`.")
        calls = tuple(key for key in parameters if hints[key] in _CALLS)
        inputs = {key: parameter for key, parameter in parameters.items() if key not in calls}
        for part, hint in ((part, hint) for part, hint in hints.items() if part not in calls):
            _check_type(hint, "its result" if part == "return" else f"the parameter {part!r}", name)
        fields: dict[str, Any] = {
            f"p{at}": _field(hints[key], parameter) for at, (key, parameter) in enumerate(inputs.items())
        }
        gives = hints["return"]
        alone: Any = tuple.__class_getitem__(gives)
        return cls(
            function=name,
            parameters=tuple(inputs),
            calls=calls,
            model=create_model("Inputs", __config__=ConfigDict(extra="forbid"), **fields),
            result=TypeAdapter(alone, config=ConfigDict(ser_json_inf_nan="constants")),
            output_schema=TypeAdapter(gives).json_schema(mode="serialization", schema_generator=_Untitled),
        )

    def input_schema(self, docs: Mapping[str, str]) -> JsonObject:
        """Return the JSON Schema of the arguments, with what the docstring says of them."""
        schema: JsonObject = {**self.model.model_json_schema(schema_generator=_Untitled), "title": None}
        del schema["title"]
        properties: Any = schema.setdefault("properties", {})
        for key, text in docs.items():
            if key in properties:
                properties[key].setdefault("description", text)
        return schema

    def arguments(self, call: ActionCall) -> dict[str, Any]:
        """Return the arguments of a call, as the annotated types."""
        try:
            values = self.model.model_validate(dict(call.inputs))
        except ValidationError as error:
            raise ActionError(f"{self.function}() cannot be called with these inputs: {problems_of(error)}.") from None
        arguments = {key: getattr(values, f"p{at}") for at, key in enumerate(self.parameters)}
        return arguments | dict.fromkeys(self.calls, call)

    def dumped(self, result: object) -> JsonValue:
        """Return a result as JSON; one that is not what the signature promises is an error.

        The error shows nothing of it: a part of a secret would not be recognised as one.
        """
        where = f"The result of {self.function}()"
        try:
            (written,) = self.result.dump_python((result,), mode="json", warnings="error")
            value = as_json(written, where=where)
        except ActionError as error:
            raise ResultError(str(error)) from None
        except Exception:  # noqa: BLE001 - whatever it is: what the function does is done
            kind = type(result).__name__
            raise ResultError(f"{where} is a {kind}, which cannot be written as what it is annotated with.") from None
        # Pydantic lets None through as anything.
        for broken in compiled(canonical(self.output_schema)).iter_errors(value):
            place = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in broken.instance_path)
            raise ResultError(f"{where}{place} is not what it is annotated with.")
        return value


def problems_of(error: ValidationError) -> str:
    """Return what is wrong with which part of a value; what it holds may be a secret, and pydantic shows it."""
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())


class _Untitled(GenerateJsonSchema):
    """Leaves out titles that only repeat names; planners read these schemas."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        """Return False."""
        return False


def _runner(function: Function, signature: _Signature) -> Callable[[ActionCall], Any]:
    """Return the coroutine function; the undecorated function is its `__wrapped__`."""

    async def run(call: ActionCall) -> JsonValue:
        arguments = signature.arguments(call)
        if inspect.iscoroutinefunction(function):
            return signature.dumped(await function(**arguments))
        # A plain wrapper around an async function gives a coroutine.
        return signature.dumped(await awaited(await in_thread(function, arguments, call.idempotency_key)))

    return functools.update_wrapper(run, function)


async def in_thread(function: Function, arguments: Mapping[str, Any], key: str) -> Any:
    """Call a plain function without blocking the loop, in a thread that keeps no process alive when it hangs."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()
    context, act = copy_context(), ExitStack()
    act.enter_context(under_way(key))  # from before the thread begins: it may be cut at once

    def deliver(result: Any, error: BaseException | None) -> None:
        if done.done():  # cut by a time limit: nobody waits any more
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def work() -> None:
        result, failed = None, None
        try:
            with act:
                result = context.run(function, **arguments)
        except BaseException as error:  # noqa: BLE001 - it is raised where the call is awaited
            # Ctrl-C never comes to this thread, and neither of these may come out of a coroutine.
            is_odd = isinstance(error, StopIteration | KeyboardInterrupt)
            failed = ActionError(f"It raised {type(error).__name__}.") if is_odd else error
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(deliver, result, failed)

    try:
        Thread(target=work, name=function.__qualname__, daemon=True).start()
    except RuntimeError:  # none is to be had
        act.close()
        raise
    return await done


def _hints(function: Function, name: str) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        remedy = "Import the type at module level, outside `if TYPE_CHECKING`."
        raise ActionError(f"An annotation of {name}() cannot be read: {error}. {remedy}") from None


def _check_parameter(parameter: inspect.Parameter, hints: Mapping[str, Any], name: str) -> None:
    if parameter.kind not in _NAMED:
        remedy = "An action is called by argument names; write an ordinary parameter."
        raise ActionError(f"{name}() has the {parameter.kind.description} parameter `{parameter}`. {remedy}")
    if parameter.name not in hints:
        is_method = parameter.name in ("self", "cls")
        remedy = f"Annotate it, as in `{parameter.name}: str`."
        remedy = "Declare the method of an object: `action(thing.method)`." if is_method else remedy
        raise ActionError(f"The parameter {parameter.name!r} of {name}() has no type. {remedy}")


def _check_type(hint: Any, part: str, name: str) -> None:
    try:
        schema = TypeAdapter(hint).json_schema(mode="serialization" if part == "its result" else "validation")
    except PydanticUserError as error:
        reason = str(error).partition("\n")[0]
        remedy = "Use plain types, dataclasses or pydantic models."
        raise ActionError(f"{name}(): the type of {part} has no JSON form: {reason} {remedy}") from None
    if ActionCall.__name__ in (schema.get("title"), *schema.get("$defs", ())):
        raise ActionError(
            f"{name}(): {part} holds an ActionCall; a parameter gets the call where that is all its type."
        )


def _field(hint: Any, parameter: inspect.Parameter) -> Any:
    """Return the field of a parameter; a default that is a `Field(...)` tells what the field is."""
    given = parameter.default
    if isinstance(given, FieldInfo):
        return Annotated[hint, given], Field(alias=parameter.name)
    return hint, Field(... if given is inspect.Parameter.empty else given, alias=parameter.name)


def _summary(function: Function) -> str:
    return " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())


def _argument_docs(function: Function) -> dict[str, str]:
    """Return what a Google docstring's `Args:` says of each parameter."""
    _, _, section = (inspect.getdoc(function) or "").partition("\nArgs:\n")
    docs: dict[str, str] = {}
    for line in section.splitlines():
        indent = len(line) - len(line.lstrip())
        if line and not indent:
            break
        if (start := _ARGUMENT.fullmatch(line.strip())) and indent <= 4:  # noqa: PLR2004 - deeper is a continuation
            docs[start[1]] = start[2]
        elif line.strip() and docs:
            last = next(reversed(docs))
            docs[last] = f"{docs[last]} {line.strip()}".strip()
    return docs
