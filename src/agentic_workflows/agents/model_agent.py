"""An agent whose plans a chat model writes, under a schema that names no action but those of its catalogue."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.utils.json import parse_json_markdown, parse_partial_json

from agentic_workflows.actions.text import ModelSource, is_cut
from agentic_workflows.agents.conversions import with_texts
from agentic_workflows.agents.examples import FILE_EXAMPLES
from agentic_workflows.agents.planning_prompt import Example, planning_messages
from agentic_workflows.agents.planning_schema import flat, plan_schema, without_nulls
from agentic_workflows.errors import ActionError, ModelError
from agentic_workflows.graph.catalogue import ActionSpec, Catalogue
from agentic_workflows.graph.values import JsonObject, beginning

_DECODER = json.JSONDecoder(strict=False)
"""Takes a line break inside a text, as LangChain's parser does."""
_MAX_SHOWN = 300
"""Characters of an unusable answer or of an error that are shown."""


class ModelAgent:
    """Plans with a chat model.

    Args:
        model: a chat model, or what makes one at the first plan.
        catalogue: every action that a plan may use.
        examples: goals and good plans over these actions; a small model needs about four.
        include_default_examples: whether those for the built-in file actions come first, as far as they fit.

    Raises:
        ModelError: `model` is neither.
        ActionError: the catalogue is none.

    """

    sees_outputs = False
    """It plans from the goal and typed errors alone, so no stranger's text reaches the model that plans."""

    def __init__(
        self,
        model: ModelSource,
        catalogue: Catalogue,
        *,
        examples: Sequence[Example] = (),
        include_default_examples: bool = True,
    ) -> None:
        _check_model(model)
        self._model = model
        self._catalogue = _checked(catalogue)
        self._examples = (*(FILE_EXAMPLES if include_default_examples else ()), *examples)
        self._schema = plan_schema(self._catalogue)

    async def create_plan(self, goal: str, history: Sequence[Mapping[str, object]]) -> JsonObject:
        """Return a plan for the goal that avoids what the history says went wrong.

        Raises:
            ModelError: the model fails, refuses, or answers with no plan.

        """
        messages = planning_messages(goal, history, self._catalogue, self._examples)
        answer = await self._ask(messages)
        steps = [self._step(step) for step in answer["steps"]]
        return {"goal": goal, "steps": with_texts(steps, self._catalogue)}

    async def _ask(self, messages: Sequence[BaseMessage]) -> Mapping[str, Any]:
        try:
            model = await self._loaded()
            structured = model.with_structured_output(self._schema, method="json_schema", strict=True, include_raw=True)
            answer = cast("Mapping[str, Any]", await structured.ainvoke(list(messages)))
        except ModelError:
            raise
        except Exception as error:
            said = f"{type(error).__name__}: {beginning(str(error), _MAX_SHOWN)}"
            raise ModelError(f"The model{_place(self._model)} gave no plan. {said}") from error
        plan = answer["parsed"]
        if not isinstance(plan, Mapping) or not isinstance(plan.get("steps"), list):
            raise ModelError(f"The model {_instead(answer['raw'])}. Try another goal, or another model.")
        if not _is_whole(answer["raw"], plan):
            remedy = "Raise its max_tokens, or ask for less."
            raise ModelError(f"The model's answer was cut off, so its plan is not whole. {remedy}")
        return plan

    async def _loaded(self) -> BaseChatModel:
        if not isinstance(self._model, BaseChatModel):
            self._model = await asyncio.to_thread(self._model)
        return self._model

    def _step(self, step: Any) -> Any:
        action = self._catalogue.get(str(step.get("action"))) if isinstance(step, Mapping) else None
        if action is None:
            return step
        return {**step, "inputs": without_nulls(step.get("inputs"), flat(action.input_schema))}


def _check_model(model: object) -> None:
    if not isinstance(model, BaseChatModel) and not callable(model):
        remedy = "Give a LangChain chat model as it was made, or a function that makes one."
        raise ModelError(f"{beginning(repr(model), _MAX_SHOWN)} is no chat model. {remedy}")


def _checked(catalogue: Any) -> dict[str, ActionSpec]:
    known: dict[str, Any] | None = None
    with suppress(TypeError, ValueError):
        known = dict(catalogue)
    if known is None or not all(isinstance(one, ActionSpec) for one in known.values()):
        remedy = (
            "`make_registry([...])` of agentic_workflows.actions.registry makes one of actions and LangChain tools."
        )
        raise ActionError(f"{beginning(repr(catalogue), _MAX_SHOWN)} is no mapping of names to actions. {remedy}")
    return known


def _is_whole(answer: BaseMessage, plan: Mapping[str, Any]) -> bool:
    """Tell whether the model wrote a plan to its end: LangChain's parser closes what a text leaves open."""
    if _first_json(answer.text, parse_partial_json) == plan:
        return _first_json(answer.text, _strictly) == plan
    return not is_cut(answer.response_metadata)


def _first_json(text: str, parser: Callable[[str], Any]) -> object:
    """Return the JSON that a text begins with, or that stands in its first fence."""
    try:
        return parse_json_markdown(text, parser=parser)
    except (ValueError, RecursionError):
        return None


def _strictly(text: str) -> object:
    return _DECODER.raw_decode(text)[0]


def _instead(raw: BaseMessage) -> str:
    if refusal := raw.additional_kwargs.get("refusal"):
        return f"refuses to plan: {beginning(str(refusal), _MAX_SHOWN)}"
    if not (text := raw.text.strip()):
        return "gave an empty answer instead of a plan"
    return f"answered with no plan: {beginning(text, _MAX_SHOWN)!r}"


def _place(model: ModelSource) -> str:
    """Say where a model of an endpoint is: what is wrong is often its name or its address."""
    client = getattr(model, "root_client", None)
    return f" {getattr(model, 'model_name', '')} at {client.base_url}" if client else ""
