"""The graph as a LangGraph server runs it: Studio's forms are drawn from the schemas here; `langgraph.json` names it.

The server asks `graph` for a graph for every run, with that run's context, and for every look at schemas, drawings and
states, without one. Give a context to an assistant rather than to single runs: who resumes a run names the assistant.
What only the first call has brought must be brought again, or the run does not go on: it would do so with the default.

Whoever can call the server chooses workspace, policies, annotations and model, and so has the operator's rights.
`langgraph dev` listens on 127.0.0.1; leave it there, or put authentication in front that fixes these four.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import fields
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph_sdk.runtime import ServerRuntime
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentic_workflows.actions.action import Registry
from agentic_workflows.actions.builtin import builtin_actions
from agentic_workflows.actions.declare import problems_of
from agentic_workflows.actions.workspace import Workspace
from agentic_workflows.agents.chat_model import chat_model
from agentic_workflows.agents.local_model import MODEL_NAME
from agentic_workflows.agents.model_agent import ModelAgent
from agentic_workflows.errors import RunError
from agentic_workflows.graph.build import Graph, Schemas, build_graph
from agentic_workflows.graph.state import Limits, State
from agentic_workflows.graph.values import JsonObject
from agentic_workflows.journal.database import DEFAULT_DATABASE, Database
from agentic_workflows.policies.files import BUILT_IN

Model = TypeVar("Model", bound=BaseModel)
_OF_THE_SERVER = ("__", "checkpoint_", "cron_id", "langgraph_", "run_id", "thread_id")
"""How the names begin that a server adds to a context."""


class StudioInput(BaseModel):
    """What begins a run: a goal, or a plan."""

    model_config = ConfigDict(title="A goal, or a plan", extra="forbid")

    goal: str = Field(
        default="", max_length=10_000, description="What is wanted, in one sentence; a plan may bring its own."
    )
    given_plan: dict[str, Any] | None = Field(
        default=None,
        description="A plan to run instead of asking the model for one; `agentic schema` prints its JSON Schema.",
        examples=[{"steps": [{"name": "list", "action": "list_files", "outputs": ["paths"]}]}],
    )


class StudioContext(BaseModel):
    """What an assistant works with and how much it may use."""

    model_config = ConfigDict(title="An assistant", extra="forbid")

    workspace: str = Field(
        default="examples/workspace",
        min_length=1,
        max_length=4_096,
        description="The folder whose files the actions see; relative to where the server was started.",
    )
    model: str = Field(
        default="",
        max_length=200,
        description=f"{MODEL_NAME} is the embedded model, anything else one of the endpoint in OPENAI_BASE_URL. "
        "Empty: OPENAI_MODEL where the environment names an endpoint, else the embedded model.",
    )
    policies: list[Annotated[str, Field(min_length=1, max_length=4_096)]] = Field(
        default=["default"],
        min_length=1,
        max_length=20,
        description=f"Cedar files, or built-in ones by name: {', '.join(BUILT_IN)}.",
    )
    annotations: list[Annotated[str, Field(min_length=1, max_length=4_096)]] = Field(
        default=[], max_length=20, description="YAML files of what actions do to the world, over what they declare."
    )
    max_iterations: int = Field(default=50, ge=1, le=10_000, description="Planner calls and step starts together.")
    max_replans: int = Field(default=2, ge=0, le=20, description="New plans after a failed step.")
    max_tokens: int = Field(default=1_000_000, ge=1, le=100_000_000, description="Of all planner calls, in and out.")
    max_seconds: float = Field(
        default=3_600, ge=1, le=86_400, description="Seconds of the run's own work; waiting for people does not count."
    )
    max_parallel: int = Field(default=8, ge=1, le=64, description="Action calls at the same time.")
    review_seconds: float = Field(
        default=604_800, ge=1, le=31_536_000, description="A question that nobody answers for this long is rejected."
    )
    grant_seconds: float = Field(
        default=86_400, ge=1, le=31_536_000, description="An approval not used for this long is asked for again."
    )

    def setting(self) -> JsonObject:
        """Return what a run that waits must not go on without: an approval is for these files, under these rules."""
        return {
            "workspace": str(Path(self.workspace).absolute()),
            "policies": [one if one in BUILT_IN else str(Path(one).absolute()) for one in self.policies],
            "annotations": [str(Path(one).absolute()) for one in self.annotations],
        }

    def limits(self) -> Limits:
        """Return how much a run may use."""
        return Limits(**self.model_dump(include={limit.name for limit in fields(Limits)}))


async def graph(runtime: ServerRuntime[dict[str, Any]]) -> Graph:
    """Return the graph of a run under its context; of anything else, one of the same shape.

    Raises:
        WorkflowError: the context is not usable.

    """
    execution = runtime.execution_runtime
    if execution is None:
        return await asyncio.to_thread(_shape)
    return await asyncio.to_thread(_graph_of, _checked(StudioContext, _given(execution.context or {}), "context"))


def _given(context: Mapping[str, Any]) -> JsonObject:
    """Return a context without the names that the server has added to it."""
    return {name: value for name, value in context.items() if not name.startswith(_OF_THE_SERVER)}


def _graph_of(context: StudioContext) -> Graph:
    Workspace(Path(context.workspace)).check()
    return _build(context)


@asynccontextmanager
async def checkpointer() -> AsyncIterator[BaseCheckpointSaver[Any]]:
    """Open the saver of this server, beside the journal: the server's own forgets everything when it is killed."""
    async with (await asyncio.to_thread(_database)).checkpointer() as saver:
        yield saver


@cache
def _shape() -> Graph:
    return _build(StudioContext())


def _build(context: StudioContext) -> Graph:
    """Return the graph of a context; policies and annotations are read anew, so that a run obeys them as they are."""
    rules = (one for one in (*context.policies, *context.annotations) if one not in BUILT_IN)
    setting = context.setting()
    agent, actions = _collaborators(context.workspace, context.model, ("langgraph.json", *rules))
    return build_graph(
        agent,
        actions=actions.values(),
        annotations=context.annotations,
        policies=context.policies,
        limits=context.limits(),
        database=_database(),
        schemas=Schemas(
            input=StudioInput,
            context=StudioContext,
            check_input=_check_input,
            setting=setting,
            check_setting=partial(_check_setting, setting, context.model_fields_set),
        ),
    )


@cache
def _database() -> Database:
    """Return the journal of this server, which outlives it: AGENTIC_DATABASE, or the file of the command line."""
    return Database(os.environ.get("AGENTIC_DATABASE") or DEFAULT_DATABASE)


@lru_cache(maxsize=16)
def _collaborators(workspace: str, model_name: str, reserved: tuple[str, ...]) -> tuple[ModelAgent, Registry]:
    model = cache(partial(chat_model, model_name or None))
    actions = builtin_actions(Path(workspace), model, reserved=reserved)
    return ModelAgent(model, actions), actions


def _check_setting(setting: JsonObject, said: Collection[str], begun: JsonObject) -> str:
    """Return what keeps a run from going on: what was chosen for it, and this call leaves out."""
    left_out = {name: value for name, value in begun.items() if name not in said and value != setting.get(name)}
    if not left_out:
        return ""
    chosen = ", ".join(f"{name} {json.dumps(value, ensure_ascii=False)}" for name, value in left_out.items())
    return f"This run was begun with the {chosen}, which the context of this call leaves out. Give it again."


def _check_input(state: State) -> str:
    given = {name: value for name, value in state.items() if name in StudioInput.model_fields}
    try:
        _checked(StudioInput, given, "input")
    except RunError as error:
        return str(error)
    return ""


def _checked(schema: type[Model], data: object, what: str) -> Model:
    """Return data as the schema has it, or say in one line all that is wrong with it."""
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        raise RunError(f"The {what} cannot be used. {problems_of(error)}.") from None
